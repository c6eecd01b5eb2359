/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <stdlib.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/env_file.h"

static void any_value_survives(void **state)
{
    static const struct {
        const char *name, *pair, *expected;
    } rows[] = {
        { "plain", "A=b", "A=\"b\"\n" },
        { "empty", "A=", "A=\"\"\n" },
        { "blanks at the ends", "A=  b  ", "A=\"  b  \"\n" },
        { "double quotes", "A=a \"b\"", "A=\"a \\\"b\\\"\"\n" },
        { "single quotes", "A='b'", "A=\"'b'\"\n" },
        { "dollar", "A=$HOME", "A=\"\\$HOME\"\n" },
        { "back tick", "A=`id`", "A=\"\\`id\\`\"\n" },
        { "backslash", "A=a\\nb\\", "A=\"a\\\\nb\\\\\"\n" },
        { "line break", "A=a\nb", "A=\"a\nb\"\n" },
        { "comment signs", "A=#b;c", "A=\"#b;c\"\n" },
        { "percent", "A=100%", "A=\"100%\"\n" },
        { "equals sign", "A=b=c", "A=\"b=c\"\n" },
        { "no UTF-8", "A=\xff", "" },
        { "bad key", "A B=c", "" },
        { "no key", "=c", "" },
        { "no pair", "A", "" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *pairs[] = { (char *)rows[i].pair, NULL };
        _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
        env_file_print(pairs, &text);
        row_str(rows[i].name, strbuf_str(&text), rows[i].expected);
    }
}

static void instance_is_told_who_it_is(void **state)
{
    char *env[] = { (char *)"LOG_LEVEL=info", (char *)"PORT=1", (char *)"STAGECOACH_HOST=evil",
        (char *)"PATH=/opt/bin", NULL };
    struct order order = {
        .id = (char *)"3f9a12c0",
        .app = (char *)"shop",
        .service = (char *)"web",
        .version = (char *)"0.2.2",
        .commit = (char *)"35819ef7",
        .branch = (char *)"main",
        .deploy = (char *)"d-4f2a",
        .previous = (char *)"0.2.1",
        .run = { .env = env },
    };
    struct env_facts facts = { .host_name = "app1", .address = "10.0.0.11", .port = 20117 };
    static const struct {
        const char *key, *value;
    } rows[] = {
        { "PORT", "20117" },
        { "HOST", "10.0.0.11" },
        { "STAGECOACH_APP", "shop" },
        { "STAGECOACH_SERVICE", "web" },
        { "STAGECOACH_VERSION", "0.2.2" },
        { "STAGECOACH_INSTANCE", "3f9a12c0" },
        { "STAGECOACH_HOST", "app1" },
        { "STAGECOACH_DEPLOY", "d-4f2a" },
        { "REPO", "shop" },
        { "BRANCH", "main" },
        { "PROCESS_ID", "3f9a12c0" },
        { "DRONE_ID", "app1" },
        { "PREV", "0.2.1" },
        { "LOG_LEVEL", "info" },
        { "PATH", "/opt/bin" },
        { "HOME", "/var/lib/stagecoach/web" },
    };
    _cleanup_(strv_freep) char **all = env_of_instance(&order, &facts);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        row_str(rows[i].key, pairs_get(all, rows[i].key), rows[i].value);
}

static void worker_has_no_port(void **state)
{
    struct order order = { .id = (char *)"3f9a12c0",
        .app = (char *)"shop",
        .service = (char *)"mailer",
        .version = (char *)"1.0.3",
        .commit = (char *)"35819ef7" };
    struct env_facts facts = { .host_name = "app1", .address = "10.0.0.11" };
    _cleanup_(strv_freep) char **all = env_of_instance(&order, &facts);
    assert_null(pairs_get(all, "PORT"));
    assert_null(pairs_get(all, "HOST"));
    assert_null(pairs_get(all, "PREV"));
}

static void builds_of_a_commit_share_their_environment(void **state)
{
    struct order web = { .id = (char *)"3f9a12c0",
        .app = (char *)"shop",
        .service = (char *)"web",
        .version = (char *)"0.2.2",
        .commit = (char *)"35819ef7" };
    struct order auth = web;
    auth.id = (char *)"81c05e2d";
    auth.service = (char *)"auth";
    auth.version = (char *)"0.1.5";
    _cleanup_(strv_freep) char **a = env_of_build(&web, "/home"), **b = env_of_build(&auth, "/home");
    assert_true(strv_equal(a, b));
    assert_string_equal(pairs_get(a, "HOME"), "/home");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value_survives),
        cmocka_unit_test(instance_is_told_who_it_is),
        cmocka_unit_test(worker_has_no_port),
        cmocka_unit_test(builds_of_a_commit_share_their_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
