/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/args.h"

#define DEPLOY "TARGET [--instances=N] [--host=HOST]... [--no-traffic] [--env=K=V]... [--wait|--no-wait]"
#define LOGS   "TARGET [-n|--lines=N] [-f|--follow]"

/* What was read, as "words | options"; or the error. */
static char *describe(const char *usage, const char *line)
{
    _cleanup_(strv_freep) char **argv = strv_split(line, " ");
    char *none[] = { NULL };
    struct args args;
    struct error err = { 0 };
    if (args_parse(usage, argv ? argv : none, &args, &err) < 0)
        return xstrdup(err.text);
    _cleanup_(free_ptr) char *words = strv_join(args.words, " "), *options = strv_join(args.options, " ");
    char *text = xasprintf("%s | %s", words, options);
    args_done(&args);
    return text;
}

static void command_lines(void **state)
{
    static const struct {
        const char *usage, *line, *expected;
    } rows[] = {
        // clang-format off
        { DEPLOY, "web@0.2.2 --instances=2",        "web@0.2.2 | instances=2" },
        { DEPLOY, "--instances 2 web",              "web | instances=2" },
        { DEPLOY, "web --host=a --host b",          "web | host=a host=b" },
        { DEPLOY, "web --env=A=1 --env B=x=y",      "web | env=A=1 env=B=x=y" },
        { DEPLOY, "web --no-wait --json",           "web | no-wait= json=" },
        { DEPLOY, "web --remote=prod",              "web | remote=prod" },
        { DEPLOY, "+prod web",                      "web | remote=prod" },
        { DEPLOY, "web --timeout=90s",              "web | timeout=90s" },
        { DEPLOY, "-- --instances=2",               "--instances=2 | " },
        { DEPLOY, "-h",                             " | help=" },
        { DEPLOY, "",                               "TARGET is missing" },
        { DEPLOY, "web auth",                       "\"auth\" is one argument too many" },
        { DEPLOY, "web --instances=two",            "--instances must be a whole number, not \"two\"" },
        { DEPLOY, "web --instances=-1",             "--instances must be a whole number, not \"-1\"" },
        { DEPLOY, "web --instances=9999999999",     "--instances must be a whole number, not \"9999999999\"" },
        { DEPLOY, "web --instances=2 --instances=3", "--instances is given twice" },
        { DEPLOY, "web --instances",                "--instances needs a value" },
        { DEPLOY, "web --host=",                    "--host needs a value" },
        { DEPLOY, "web --no-traffic=1",             "--no-traffic takes no value" },
        { DEPLOY, "web --timeout=30",
          "--timeout must be a time like 250ms, 30s, 5min or 1h30m, not \"30\"" },
        { DEPLOY, "web --env=1A=x",                 "--env must be a name, \"=\" and a value, not \"1A=x\"" },
        { DEPLOY, "web --env=A",                    "--env must be a name, \"=\" and a value, not \"A\"" },
        { DEPLOY, "web --instancse=2",              "there is no option --instancse, did you mean --instances?" },
        { DEPLOY, "web --frobnicate",               "there is no option --frobnicate" },
        { DEPLOY, "web -x",                         "there is no option -x" },
        { DEPLOY, "web --color=blue",               "--color must be auto, always or never, not \"blue\"" },
        { LOGS,   "web -f -n 20",                   "web | follow= lines=20" },
        { LOGS,   "web -fn20",                      "web | follow= lines=20" },
        { LOGS,   "web -n",                         "-n needs a value" },
        { "[REF]...", "main v1 v2",                 "main v1 v2 | " },
        { "[TARGET]", "",                           " | " },
        { "",         "x",                          "\"x\" is one argument too many" },
        // clang-format on
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(free_ptr) char *got = describe(rows[i].usage, rows[i].line);
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("\"%s\": got \"%s\", expected \"%s\"", rows[i].line, got, rows[i].expected);
    }
}

static void values_are_found(void **state)
{
    char *argv[] = { (char[]){ "web" }, (char[]){ "--instances=7" }, (char[]){ "--host=a" },
        (char[]){ "--host=b" }, (char[]){ "--timeout=2min" }, NULL };
    struct args args;
    assert_int_equal(args_parse(DEPLOY, argv, &args, NULL), 0);
    assert_string_equal(args_word(&args, 0), "web");
    assert_null(args_word(&args, 1));
    assert_int_equal(args_number(&args, "instances", 1), 7);
    assert_int_equal(args_number(&args, "lines", 20), 20);
    assert_int_equal(args_time_ms(&args, "timeout", 0), 120000);
    assert_string_equal(args_text(&args, "host"), "b");
    assert_false(args_has(&args, "wait"));
    _cleanup_(strv_freep) char **hosts = args_list(&args, "host");
    assert_int_equal(strv_len(hosts), 2);
    assert_string_equal(hosts[0], "a");
    args_done(&args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_lines),
        cmocka_unit_test(values_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
