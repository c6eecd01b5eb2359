/* SPDX-License-Identifier: MIT */
#include "common/semver.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static const char *const valid[] = { "0.0.0", "1.2.3", "10.20.30", "4294967295.0.0", "1.0.0-alpha",
    "1.0.0-alpha.1", "1.0.0-0.3.7", "1.0.0-x.7.z.92", "1.0.0-x-y-z.--", "1.0.0+20130313144700",
    "1.0.0-beta+exp.sha.5114f85", "1.0.0+21AF26D3----117B344092BD", "0.2.2+g35819ef", "1.0.0-alpha0.valid",
    "1.0.0+001", "1.0.0-0A.is.legal", "1.0.0--" };

static const char *const invalid[] = { "", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.03",
    "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b", "1.2.3-a.", "1.2.3-.a", "1.2.3-a.01", "1.2.3+a..b",
    "1.2.3+a+b", "1.2.3-a_b", " 1.2.3", "1.2.3 ", "1.2.-3", "-1.2.3", "1.2.x", "4294967296.0.0",
    "99999999999999999999.0.0", "1.2.3-\xC3\xA4", "1.2.3\n", "a.b.c", "1..3", "1.2." };

static void versions_are_strict(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
        struct semver v;
        row_int(valid[i], semver_parse(valid[i], &v, NULL), 0);
        char *text = semver_format(&v);
        row_str(valid[i], text, valid[i]);
        free(text);
    }
    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
        struct error err = { 0 };
        struct semver v;
        row_true(invalid[i], semver_parse(invalid[i], &v, &err) < 0);
        row_has(invalid[i], err.text, "is not a version: ");
    }
    assert_false(semver_is_valid(NULL));
}

static void long_versions_are_refused(void **state)
{
    char text[300];

    memset(text, '1', sizeof(text));
    memcpy(text, "1.2.3-", 6);
    for (size_t len = 7; len < sizeof(text) - 1; len++) {
        text[len] = '\0';
        row_int(text, semver_is_valid(text), len < SEMVER_TEXT_MAX);
        text[len] = '1';
    }
}

/* Ascending; the first ones are the example of semver.org item 11. */
static const char *const ordered[] = { "0.0.1-0", "0.0.1", "0.1.0", "1.0.0-0", "1.0.0-1", "1.0.0-2",
    "1.0.0-10", "1.0.0--", "1.0.0-Z", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.1.0", "1.0.0-alpha.beta",
    "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-beta1", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.1.0",
    "1.10.0", "2.0.0", "10.0.0" };

static void precedence_of_every_pair(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(ordered); i++)
        for (size_t j = 0; j < ARRAY_SIZE(ordered); j++) {
            struct semver a, b;
            assert_int_equal(semver_parse(ordered[i], &a, NULL), 0);
            assert_int_equal(semver_parse(ordered[j], &b, NULL), 0);
            int order = semver_compare(&a, &b);
            if ((order > 0) - (order < 0) != (i > j) - (i < j))
                fail_msg("%s against %s: %d", ordered[i], ordered[j], order);
        }
}

static void build_metadata_has_no_rank(void **state)
{
    struct semver a, b;

    assert_int_equal(semver_parse("1.0.0+a", &a, NULL), 0);
    assert_int_equal(semver_parse("1.0.0+b", &b, NULL), 0);
    assert_int_equal(semver_compare(&a, &b), 0);
}

struct range_case {
    const char *range, *inside, *outside; /* separated by spaces */
};

/* clang-format off */
static const struct range_case range_cases[] = {
    { "1.2.3",          "1.2.3 1.2.3+g1",          "1.2.4 1.2.2 1.2.3-rc.1" },
    { "=1.2.3",         "1.2.3",                   "1.2.4" },
    { "v1.2.3",         "1.2.3",                   "1.2.4" },
    { "1.2.3+g1",       "1.2.3+g1",                "1.2.3 1.2.3+g2" },
    { "*",              "0.0.0 1.2.3 99.0.0",      "1.0.0-rc.1" },
    { "",               "0.0.0 1.2.3",             "1.0.0-rc.1" },
    { "x",              "0.0.0 1.2.3",             "1.0.0-rc.1" },
    { "1",              "1.0.0 1.9.9",             "0.9.9 2.0.0 2.0.0-0 1.0.0-rc.1" },
    { "1.x",            "1.0.0 1.9.9",             "0.9.9 2.0.0" },
    { "1.X.x",          "1.0.0 1.9.9",             "0.9.9 2.0.0" },
    { "1.*",            "1.0.0 1.9.9",             "0.9.9 2.0.0" },
    { "1.2",            "1.2.0 1.2.9",             "1.1.9 1.3.0" },
    { "1.2.x",          "1.2.0 1.2.9",             "1.1.9 1.3.0" },
    { "0.2.x",          "0.2.0 0.2.9",             "0.1.0 0.3.0" },
    { "^1.2.3",         "1.2.3 1.9.0",             "1.2.2 2.0.0 2.0.0-alpha 1.3.0-rc.1" },
    { "^0.2.3",         "0.2.3 0.2.9",             "0.2.2 0.3.0 0.3.0-0" },
    { "^0.0.3",         "0.0.3",                   "0.0.2 0.0.4 0.1.0" },
    { "^0.0",           "0.0.0 0.0.9",             "0.1.0" },
    { "^0.2",           "0.2.0 0.2.9",             "0.1.9 0.3.0" },
    { "^0",             "0.0.0 0.9.9",             "1.0.0" },
    { "^0.x",           "0.0.0 0.9.9",             "1.0.0" },
    { "^1.x",           "1.0.0 1.9.9",             "0.9.9 2.0.0" },
    { "^1",             "1.0.0 1.9.9",             "2.0.0" },
    { "^*",             "0.0.0 5.0.0",             "1.0.0-a" },
    { "^1.2.3-beta.2",  "1.2.3-beta.2 1.2.3-beta.4 1.2.3 1.5.0", "1.2.3-beta.1 1.2.4-beta.2 2.0.0" },
    { "^0.0.3-beta",    "0.0.3-beta 0.0.3-pr.2 0.0.3", "0.0.4 0.0.4-beta" },
    { "~1.2.3",         "1.2.3 1.2.9",             "1.2.2 1.3.0" },
    { "~>1.2.3",        "1.2.3 1.2.9",             "1.2.2 1.3.0" },
    { "~1.2",           "1.2.0 1.2.9",             "1.1.9 1.3.0" },
    { "~1",             "1.0.0 1.9.9",             "2.0.0" },
    { "~0.2.3",         "0.2.3 0.2.9",             "0.2.2 0.3.0" },
    { "~1.2.3-beta.2",  "1.2.3-beta.4 1.2.9",      "1.2.4-beta.2 1.2.3-beta.1" },
    { ">1.2.3",         "1.2.4 2.0.0",             "1.2.3 1.2.4-rc.1" },
    { ">1.2",           "1.3.0 2.0.0",             "1.2.0 1.2.9" },
    { ">1",             "2.0.0",                   "1.9.9 2.0.0-rc.1" },
    { ">*",             "",                        "0.0.0 9.9.9" },
    { ">=1.2",          "1.2.0 2.0.0",             "1.1.9" },
    { ">=1.2.3",        "1.2.3 9.0.0",             "1.2.2" },
    { ">=1.2.3-rc.1",   "1.2.3-rc.1 1.2.3 1.3.0",  "1.3.0-rc.1 1.2.3-alpha" },
    { ">=1.2.3-0",      "1.2.3-0 1.2.3-rc.1 1.2.3", "1.2.4-0" },
    { "<1.2.3",         "1.2.2 0.0.0",             "1.2.3 1.2.3-rc.1 1.2.2-rc.1" },
    { "<1.2",           "1.1.9",                   "1.2.0 1.2.0-rc.1" },
    { "<1",             "0.9.9",                   "1.0.0 1.0.0-rc.1" },
    { "<*",             "",                        "0.0.0 0.0.0-0 1.0.0" },
    { "<=1.2.3",        "1.2.3 0.1.0",             "1.2.4" },
    { "<=1.2",          "1.2.9 0.1.0",             "1.3.0" },
    { "<=*",            "0.0.0 9.9.9",             "1.0.0-a" },
    { ">=1.2 <2",       "1.2.0 1.9.9",             "1.1.9 2.0.0 2.0.0-rc.1" },
    { ">= 1.2 < 2",     "1.2.0 1.9.9",             "1.1.9 2.0.0" },
    { ">=1.2.3\t<1.2.5", "1.2.3 1.2.4",            "1.2.5" },
    { "1.2 - 1.4",      "1.2.0 1.4.9",             "1.1.9 1.5.0 1.5.0-0" },
    { "1.2.3 - 2.3.4",  "1.2.3 2.3.4",             "1.2.2 2.3.5" },
    { "1.2.3 - 2",      "1.2.3 2.9.9",             "3.0.0 3.0.0-0" },
    { "1 - 2.3.4-rc.2", "1.0.0 2.3.4-rc.1",        "2.3.4 2.3.4-rc.3" },
    { "1.2.3 || 2.x",   "1.2.3 2.0.0 2.9.0",       "1.2.4 3.0.0" },
    { "^0.1 || ^0.3",   "0.1.5 0.3.0",             "0.2.0 0.4.0" },
    { "1.x||",          "1.0.0 7.0.0",             "7.0.0-a" },
    { "1.x||>=3 <4||5", "1.0.0 3.1.0 5.5.5",       "2.0.0 4.0.0 6.0.0" },
    { "^4294967295",    "4294967295.0.0",          "4294967294.9.9" },
    { ">4294967295",    "",                        "4294967295.9.9" },
};
/* clang-format on */

static void check_versions(const char *range, const char *versions, int expected)
{
    char text[SEMVER_TEXT_MAX];

    while (*versions) {
        size_t len = strcspn(versions, " ");
        memcpy(text, versions, len);
        text[len] = '\0';
        if (semver_matches(range, text) != expected)
            fail_msg("\"%s\" and %s: %d, not %d", range, text, semver_matches(range, text), expected);
        versions += len + (versions[len] == ' ');
    }
}

static void range_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(range_cases); i++) {
        check_versions(range_cases[i].range, range_cases[i].inside, 1);
        check_versions(range_cases[i].range, range_cases[i].outside, 0);
    }
}

static const char *const bad_ranges[] = { "a", "1.2.3.4", "1.a", "1.x.3", "x.1", "^", "~", ">=", ">= <2",
    "1.2-rc", "01", "1..2", ">>1", "1.2 -", "1 - 2 - 3", "1.2.3 -2.0.0", "latest", "1,2", "|", "1|2", "--1",
    "^-1", "1.2.3-01", "^^1", "=>1", "\xFF" };

static void bad_ranges_are_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad_ranges); i++) {
        struct semver_range *range = NULL;
        struct error err = { 0 };
        row_true(bad_ranges[i], semver_range_parse(bad_ranges[i], &range, &err) < 0);
        row_has(bad_ranges[i], err.text, "is not a range of versions: ");
        assert_null(range);
    }
    char *long_range = xcalloc(1, 600);
    memset(long_range, '1', 599);
    assert_true(semver_matches(long_range, "1.0.0") < 0);
    memset(long_range, ' ', 511);
    long_range[511] = '\0';
    assert_int_equal(semver_matches(long_range, "1.0.0"), 1);
    for (size_t i = 0; i < 511; i += 2)
        long_range[i] = '1';
    assert_int_equal(semver_matches(long_range, "1.0.0"), 1);
    free(long_range);
    assert_true(semver_matches("*", "1.0") < 0);
    semver_range_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_strict),
        cmocka_unit_test(long_versions_are_refused),
        cmocka_unit_test(precedence_of_every_pair),
        cmocka_unit_test(build_metadata_has_no_rank),
        cmocka_unit_test(range_table),
        cmocka_unit_test(bad_ranges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
