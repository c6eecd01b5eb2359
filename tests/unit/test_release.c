/* SPDX-License-Identifier: MIT */
#include "hubd/release.h"

#include "tests/unit/rows.h"

#include <errno.h>

#include "common/mem.h"
#include "common/strv.h"
#include "hubd/manifest.h"
#include "hubd/txn.h"

#define C(digits) digits "000000000000000000000000000000000000"

static const wall_t now = { INT64_C(1767225600000000) };

/* One push: an app, a commit, and its services as NAME@VERSION. */
struct push_row {
    const char *app, *commit, *services;
};

/* clang-format off */
static const struct push_row pushes[] = {
    { "shop",    C("aaaa"), "web@0.1.9 auth@0.1.5" },
    { "shop",    C("bbbb"), "web@0.2.0 auth@0.1.5" },
    { "shop",    C("cccc"), "web@0.2.0 auth@0.2.0" },
    { "shop",    C("dddd"), "web@0.2.1-rc.1 auth@0.2.0" },
    { "shop",    C("eeee"), "web@0.1.10" },
    { "billing", C("ab12"), "ledger@1.9.1" },
    { "billing", C("ab34"), "ledger@1.9.1" },
};
/* clang-format on */

static void manifest_of(const char *services, struct manifest *m)
{
    char **words = strv_split(services, " "), *word;
    *m = (struct manifest){ .services = xcalloc(strv_len(words), sizeof(*m->services)) };
    strv_for_each (word, words) {
        struct manifest_service *s = &m->services[m->n_services++];
        const char *at = strchr(word, '@');
        s->name = xstrndup(word, (size_t)(at - word));
        s->version = xstrdup(at + 1);
        s->instances = 1;
        strv_push(&s->run.command, "true");
    }
    strv_free(words);
}

static int push_one(struct state *state, const struct push_row *row, char ***keys, struct error *err)
{
    struct txn *txn = txn_new(state);
    struct manifest m;
    struct release_push push = { .app = row->app, .commit = row->commit, .subject = "x", .now = now };
    manifest_of(row->services, &m);
    int r = release_register(txn, &push, &m, keys, err);
    if (r == 0)
        txn_apply(txn, state, state->revision + 1);
    txn_free(txn);
    manifest_clear(&m);
    return r;
}

static int setup(void **ret)
{
    struct state *state = xcalloc(1, sizeof(*state));
    state_init(state);
    for (size_t i = 0; i < ARRAY_SIZE(pushes); i++) {
        char **keys = NULL;
        assert_int_equal(push_one(state, &pushes[i], &keys, NULL), 0);
        strv_free(keys);
    }
    *ret = state;
    return 0;
}

static int teardown(void **state)
{
    state_done(*state);
    free(*state);
    return 0;
}

/* clang-format off */
static const struct { const char *service, *what, *expected; } names[] = {
    { "web",    NULL,             "0.2.1-rc.1 dddd" },
    { "auth",   NULL,             "0.2.0+gdddd0000 dddd" }, /* among equals the one pushed last */
    { "ledger", NULL,             "1.9.1+gab340000 ab34" },
    { "web",    "0.2.0",          "0.2.0 bbbb" },
    { "web",    "0.2.0+gcccc0000", "0.2.0+gcccc0000 cccc" },
    { "web",    "0.1.10",         "0.1.10 eeee" },
    { "web",    "^0.1",           "0.1.10 eeee" },
    { "web",    "0.1.x",          "0.1.10 eeee" },
    { "web",    "0.2.x",          "0.2.0+gcccc0000 cccc" }, /* pre-releases only where they are named */
    { "web",    "=0.2.0",         "0.2.0+gcccc0000 cccc" },
    { "web",    ">=0.1.9 <0.1.10", "0.1.9 aaaa" },
    { "web",    "*",              "0.2.0+gcccc0000 cccc" },
    { "web",    C("aaaa"),        "0.1.9 aaaa" },
    { "web",    "1.0.0",          "ask" },
    { "web",    "aaaa",           "ask" },
    { "web",    C("abcd"),        "ask" },
    { "web",    "v3",             "ask" },
    { "web",    "release-3/x",    "ask" },
    { "web",    "^0.3",           "no release of web fits \"^0.3\"; newest is web@0.2.1-rc.1" },
    { "ledger", "^2",             "no release of ledger fits \"^2\"; newest is ledger@1.9.1+gab340000" },
    { "wbe",    NULL,             "there is no service \"wbe\", did you mean \"web\"?" },
    { "orders", NULL,             "there is no service \"orders\"; it comes with a push whose manifest names it" },
    { "web",    "--evil",         "\"--evil\" is no version, range, tag or commit" },
    { "web",    "a..b",           "\"a..b\" is no version, range, tag or commit" },
};
/* clang-format on */

static void what_names_mean(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct release *release = NULL;
        struct error err = { 0 };
        int r = release_resolve(*state, names[i].service, names[i].what, &release, &err);
        _cleanup_(free_ptr) char *is = r == 0 ? xasprintf("%s %.4s", release->version, release->commit)
            : r == 1                          ? xstrdup("ask")
                                              : xstrdup(err.text);
        row_str(names[i].what ? names[i].what : names[i].service, is, names[i].expected);
    }
}

/* clang-format off */
static const struct { const char *what; enum release_form form; } forms[] = {
    { NULL, RELEASE_LATEST }, { "", RELEASE_LATEST },
    { "1.2.3", RELEASE_EXACT }, { "1.2.3-rc.1", RELEASE_EXACT }, { "1.2.3+g35819ef7", RELEASE_EXACT },
    { "1", RELEASE_RANGE }, { "123", RELEASE_RANGE }, { "1.2", RELEASE_RANGE }, { "^0.2", RELEASE_RANGE },
    { "~1.2", RELEASE_RANGE }, { "1.x || 3.x", RELEASE_RANGE }, { ">=1", RELEASE_RANGE }, { "*", RELEASE_RANGE },
    { "1234", RELEASE_COMMIT }, { "beef", RELEASE_COMMIT }, { "35819ef7", RELEASE_COMMIT }, { C("35ab"), RELEASE_COMMIT },
    { "v1", RELEASE_TAG }, { "v0.2.2", RELEASE_TAG }, { "BEEF", RELEASE_TAG }, { "abc", RELEASE_TAG }, { "latest", RELEASE_TAG },
};
/* clang-format on */

static void forms_of_names(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        row_int(forms[i].what ? forms[i].what : "NULL", release_form(forms[i].what), forms[i].form);
}

static void the_first_commit_keeps_the_version(void **state)
{
    char **keys = NULL;
    static const struct push_row again[] = {
        { "shop", C("bbbb"), "web@0.2.0 auth@0.1.5" }, /* known: nothing new */
        { "shop", C("ffff"), "web@0.2.0 auth@0.3.0" },
    };
    size_t before = map_size(((struct state *)*state)->rows[STATE_RELEASE]);
    assert_int_equal(push_one(*state, &again[0], &keys, NULL), 0);
    row_str("known", keys[0], "web/0.2.0");
    row_str("known", keys[1], "auth/0.1.5+gbbbb0000");
    assert_int_equal(map_size(((struct state *)*state)->rows[STATE_RELEASE]), before);
    strv_free(keys);
    keys = NULL;
    assert_int_equal(push_one(*state, &again[1], &keys, NULL), 0);
    row_str("later", keys[0], "web/0.2.0+gffff0000");
    row_str("later", keys[1], "auth/0.3.0");
    strv_free(keys);
}

static void eight_digits_may_be_taken(void **state)
{
    char **keys = NULL;
    static const struct push_row twin = { "shop", "cccc0000ffffffffffffffffffffffffffffffff", "web@0.2.0" };
    assert_int_equal(push_one(*state, &twin, &keys, NULL), 0);
    row_str("twin", keys[0], "web/0.2.0+gcccc0000ffffffff");
    strv_free(keys);
}

static void names_belong_to_apps(void **state)
{
    char **keys = NULL;
    struct error err = { 0 };
    static const struct push_row foreign = { "billing", C("1111"), "ledger@2.0.0 web@9.0.0" };
    assert_true(push_one(*state, &foreign, &keys, &err) < 0);
    assert_string_equal(err.text, "service \"web\" belongs to app \"shop\"");
    assert_null(state_release(*state, "ledger", "2.0.0"));
    strv_free(keys);
}

static void routes_belong_to_services(void **state)
{
    struct txn *txn = txn_new(*state);
    struct service *web = txn_edit(txn, STATE_SERVICE, "web");
    struct manifest m;
    struct error err = { 0 };
    strv_push(&web->routes, "www.example.com");
    txn_apply(txn, *state, 100);
    txn_free(txn);
    manifest_of("ledger@2.0.0", &m);
    strv_push(&m.services[0].routes, "www.example.com");
    assert_true(release_check(*state, "billing", &m, &err) < 0);
    assert_string_equal(err.text, "route \"www.example.com\" belongs to service \"web\" of app \"shop\"");
    manifest_clear(&m);
    manifest_of("auth@2.0.0", &m);
    strv_push(&m.services[0].routes, "www.example.com");
    assert_int_equal(release_check(*state, "shop", &m, NULL), 0);
    manifest_clear(&m);
}

static void ambiguous_prefixes(void **state)
{
    struct error err = { 0 };
    int64_t s = now.us / 1000000;
    const struct release_candidate rows[] = {
        { "35819ef700000000000000000000000000000000", "Fix the cart total", s - 2 * 3600 },
        { C("aaaa"), "Old", s - 21 * 86400 },
        { C("1234"), NULL, s + 60 },
    };
    release_ambiguous(*state, "web", "shop", "3581", rows, 2, now, &err);
    row_str("two", err.text,
        "3581 means two commits of shop: 35819ef7 (\"Fix the cart total\", 2 h ago), aaaa0000 (web@0.1.9, 21 "
        "days ago)");
    release_ambiguous(*state, "web", "shop", "3581", rows, 3, now, &err);
    row_has("three", err.text, "3581 means three commits of shop: ");
}

static void hidden_refs(void **state)
{
    const struct release *release = state_release(*state, "web", "0.2.0+gcccc0000");
    _cleanup_(free_ptr) char *ref = release_ref(release);
    assert_string_equal(ref, "refs/stagecoach/releases/web/0.2.0_gcccc0000");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(what_names_mean),
        TEST(forms_of_names),
        TEST(the_first_commit_keeps_the_version),
        TEST(eight_digits_may_be_taken),
        TEST(names_belong_to_apps),
        TEST(routes_belong_to_services),
        TEST(ambiguous_prefixes),
        TEST(hidden_refs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
