/* SPDX-License-Identifier: MIT */
#include "common/strv.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

#define S(literal) ((char[]){ literal })

static void null_is_an_empty_vector(void **state)
{
    char *s, *joined = strv_join(NULL, ",");
    int n = 0;

    strv_for_each (s, (char **)NULL)
        n++;
    assert_int_equal(n, 0);
    assert_int_equal(strv_len(NULL), 0);
    assert_null(strv_copy(NULL));
    assert_false(strv_contains(NULL, "a"));
    assert_true(strv_equal(NULL, NULL));
    assert_string_equal(joined, "");
    assert_null(pairs_get(NULL, "A"));
    free(joined);
    strv_free(NULL);
}

static void pushes_behind_copies_of_every_length(void **state)
{
    char **v = NULL;

    for (size_t n = 0; n < 40; n++) {
        char **copy = strv_copy(v);
        strv_push(&copy, "last");
        assert_int_equal(strv_len(copy), n + 1);
        assert_string_equal(copy[n], "last");
        strv_free(copy);
        strv_push_take(&v, xasprintf("%zu", n));
    }
    assert_true(strv_contains(v, "39"));
    assert_false(strv_contains(v, "40"));
    strv_freep(&v);
    assert_null(v);
}

struct split_case {
    const char *in, *separators, *joined;
};

static const struct split_case split_cases[] = {
    { "", " ", "" },
    { "   ", " ", "" },
    { "a", " ", "a" },
    { " a  b ", " ", "a|b" },
    { "a,b;c", ",;", "a|b|c" },
    { NULL, " ", "" },
};

static void split_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(split_cases); i++) {
        char **v = strv_split(split_cases[i].in, split_cases[i].separators);
        char *joined = strv_join(v, "|");
        row_str(split_cases[i].in, joined, split_cases[i].joined);
        free(joined);
        strv_free(v);
    }
}

static void compares_in_order(void **state)
{
    char *ab[] = { S("a"), S("b"), NULL }, *ba[] = { S("b"), S("a"), NULL }, *a[] = { S("a"), NULL };

    assert_true(strv_equal(ab, ab));
    assert_false(strv_equal(ab, ba));
    assert_false(strv_equal(ab, a));
    assert_false(strv_equal(a, NULL));
}

static void pairs_are_set_in_place(void **state)
{
    char *more[] = { S("B=4"), S("not a pair"), S("AB=5"), NULL };
    char **v = NULL;

    pairs_set(&v, "A", "1");
    pairs_set(&v, "B", "2");
    pairs_set(&v, "A", "3=x");
    assert_string_equal(pairs_get(v, "A"), "3=x");
    assert_string_equal(v[0], "A=3=x");
    pairs_merge(&v, more);
    char *joined = strv_join(v, " ");
    assert_string_equal(joined, "A=3=x B=4 AB=5");
    assert_null(pairs_get(v, "AB="));
    assert_null(pairs_get(v, ""));
    free(joined);
    strv_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_is_an_empty_vector),
        cmocka_unit_test(pushes_behind_copies_of_every_length),
        cmocka_unit_test(split_table),
        cmocka_unit_test(compares_in_order),
        cmocka_unit_test(pairs_are_set_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
