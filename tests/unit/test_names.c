/* SPDX-License-Identifier: MIT */
#include "common/names.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

#define A10 "aaaaaaaaaa"
#define A40 A10 A10 A10 A10
#define A60 A40 A10 A10
#define H40 "0123456789abcdef0123456789abcdef01234567"

struct name_case {
    bool (*is)(const char *s);
    const char *fn, *s;
    bool expected;
};

#define YES(fn, s)       \
    {                    \
        fn, #fn, s, true \
    }
#define NO(fn, s)         \
    {                     \
        fn, #fn, s, false \
    }

/* clang-format off */
static const struct name_case cases[] = {
    YES(name_is_service, "a"),
    YES(name_is_service, "web"),
    YES(name_is_service, "web-api"),
    YES(name_is_service, "a1-b2-c3"),
    YES(name_is_service, A40 "a"),
    NO(name_is_service,  A40 "aa"),
    NO(name_is_service,  ""),
    NO(name_is_service,  NULL),
    NO(name_is_service,  "1web"),
    NO(name_is_service,  "-web"),
    NO(name_is_service,  "web-"),
    NO(name_is_service,  "we--b"),
    NO(name_is_service,  "Web"),
    NO(name_is_service,  "web.api"),
    NO(name_is_service,  "web_api"),
    NO(name_is_service,  "we/b"),
    NO(name_is_service,  ".."),
    NO(name_is_service,  "web\n"),
    NO(name_is_service,  "w\xC3\xA9" "b"),
    NO(name_is_service,  A60 A60 A60 A60 A60),
    YES(name_is_app,     "shop"),
    NO(name_is_app,      "../shop"),
    NO(name_is_app,      "shop.git"),

    YES(name_is_host,    "app1"),
    YES(name_is_host,    "1"),
    YES(name_is_host,    "app1.example.com"),
    YES(name_is_host,    "xn--bcher-kva"),
    YES(name_is_host,    A60 "aaa"),
    NO(name_is_host,     A60 "aaaa"),
    NO(name_is_host,     "--app"),
    NO(name_is_host,     "-app"),
    NO(name_is_host,     ".app"),
    NO(name_is_host,     "app."),
    NO(name_is_host,     "app..1"),
    NO(name_is_host,     "App1"),
    NO(name_is_host,     "app_1"),
    NO(name_is_host,     "app 1"),

    YES(name_is_person,  "ops"),
    YES(name_is_person,  "anna.b@example.com"),
    YES(name_is_person,  "ci_runner-2"),
    NO(name_is_person,   "@ops"),
    NO(name_is_person,   "ops@"),
    NO(name_is_person,   "a..b"),
    NO(name_is_person,   "ops\x1b[31m"),
    NO(name_is_person,   ""),

    YES(name_is_instance, "3f9a12c0"),
    NO(name_is_instance, "3F9A12C0"),
    NO(name_is_instance, "3f9a12c"),
    NO(name_is_instance, "3f9a12c00"),
    NO(name_is_instance, "3f9a12cg"),
    YES(name_is_commit,  H40),
    NO(name_is_commit,   H40 "0"),
    NO(name_is_commit,   "0123"),
    YES(name_is_commit_prefix, "35819ef7"),
    YES(name_is_commit_prefix, "3581"),
    YES(name_is_commit_prefix, H40),
    NO(name_is_commit_prefix,  "358"),
    NO(name_is_commit_prefix,  H40 "0"),
    NO(name_is_commit_prefix,  "358g"),
    YES(name_is_deploy,  "d-4f2a"),
    YES(name_is_deploy,  "d-0123456789ab"),
    NO(name_is_deploy,   "d-0123456789abc"),
    NO(name_is_deploy,   "d-4f2"),
    NO(name_is_deploy,   "d-4F2A"),
    NO(name_is_deploy,   "4f2a"),
    NO(name_is_deploy,   "d"),
    NO(name_is_deploy,   ""),
    YES(name_is_request_id, "abcdEF_-"),
    NO(name_is_request_id,  "abcdefg"),
    NO(name_is_request_id,  A60 "aaaaa"),
    NO(name_is_request_id,  "abcdefg/h"),

    YES(name_is_env_key, "LOG_LEVEL"),
    YES(name_is_env_key, "_x1"),
    NO(name_is_env_key,  "1X"),
    NO(name_is_env_key,  "A-B"),
    NO(name_is_env_key,  "A=B"),
    NO(name_is_env_key,  ""),
    NO(name_is_env_key,  A60 A60 "aaaaaaaaa"),
    YES(name_is_env_value, ""),
    YES(name_is_env_value, "a b=\"c\" $d"),
    YES(name_is_env_value, "line\nline"),
    YES(name_is_env_value, "gr\xC3\xBC\xC3\x9F"),
    NO(name_is_env_value,  "end\n"),
    NO(name_is_env_value,  "\nstart"),
    NO(name_is_env_value,  "a\x01"),
    NO(name_is_env_value,  "a\rb"),
    NO(name_is_env_value,  "a\x7f"),
    NO(name_is_env_value,  "a\xFF"),
    NO(name_is_env_value,  NULL),

    YES(name_is_dns,     "www.example.com"),
    YES(name_is_dns,     "*.example.com"),
    YES(name_is_dns,     "localhost"),
    YES(name_is_dns,     "xn--bcher-kva.example"),
    YES(name_is_dns,     A60 "aaa.example"),
    NO(name_is_dns,      A60 "aaaa.example"),
    NO(name_is_dns,      "*"),
    NO(name_is_dns,      "*."),
    NO(name_is_dns,      "www.*.com"),
    NO(name_is_dns,      "*.*.com"),
    NO(name_is_dns,      "example.com."),
    NO(name_is_dns,      ".example.com"),
    NO(name_is_dns,      "a..b"),
    NO(name_is_dns,      "-a.com"),
    NO(name_is_dns,      "a-.com"),
    NO(name_is_dns,      "Example.com"),
    NO(name_is_dns,      "example.com:80"),
    NO(name_is_dns,      "a_b.com"),
    NO(name_is_dns,      A60 "." A60 "." A60 "." A60 "." A60),

    YES(name_is_path_prefix, "/"),
    YES(name_is_path_prefix, "/shop"),
    YES(name_is_path_prefix, "/shop/"),
    YES(name_is_path_prefix, "/a/b.c/~d/e...f"),
    YES(name_is_path_prefix, "/.well-known/acme"),
    NO(name_is_path_prefix,  ""),
    NO(name_is_path_prefix,  "shop"),
    NO(name_is_path_prefix,  "//"),
    NO(name_is_path_prefix,  "/a//b"),
    NO(name_is_path_prefix,  "/../etc"),
    NO(name_is_path_prefix,  "/a/.."),
    NO(name_is_path_prefix,  "/a/."),
    NO(name_is_path_prefix,  "/./a"),
    NO(name_is_path_prefix,  "/a?b"),
    NO(name_is_path_prefix,  "/a#b"),
    NO(name_is_path_prefix,  "/a b"),
    NO(name_is_path_prefix,  "/a%2e%2e"),
    NO(name_is_path_prefix,  "/a\\b"),
    NO(name_is_path_prefix,  "/a\n"),

    YES(name_is_address, "10.0.0.11:20117"),
    YES(name_is_address, "[::1]:80"),
    YES(name_is_address, "[2001:db8::1]:65535"),
    NO(name_is_address,  "10.0.0.11"),
    NO(name_is_address,  "10.0.0.11:0"),
    NO(name_is_address,  "10.0.0.11:080"),
    NO(name_is_address,  "10.0.0.11:65536"),
    NO(name_is_address,  "10.0.0.11:99999999999"),
    NO(name_is_address,  "10.0.0.256:80"),
    NO(name_is_address,  "10.0.0:80"),
    NO(name_is_address,  "localhost:80"),
    NO(name_is_address,  "::1:80"),
    NO(name_is_address,  "[::1]80"),
    NO(name_is_address,  "[::1:80"),
    NO(name_is_address,  "[]:80"),
    NO(name_is_address,  "[:80"),
    NO(name_is_address,  ":80"),
    NO(name_is_address,  "[fe80::1%eth0]:80"),
    NO(name_is_address,  ""),

    YES(name_is_ref,     "refs/heads/main"),
    YES(name_is_ref,     "refs/tags/v1.2.3"),
    YES(name_is_ref,     "refs/heads/feature/a_b+c"),
    NO(name_is_ref,      "refs/heads"),
    NO(name_is_ref,      "refs/heads/"),
    NO(name_is_ref,      "refs/heads//a"),
    NO(name_is_ref,      "refs/heads/-a"),
    NO(name_is_ref,      "refs/heads/a..b"),
    NO(name_is_ref,      "refs/heads/.a"),
    NO(name_is_ref,      "refs/heads/a.lock"),
    NO(name_is_ref,      "refs/heads/a.lock/b"),
    NO(name_is_ref,      "refs/heads/a@{1}"),
    NO(name_is_ref,      "refs/heads/a b"),
    NO(name_is_ref,      "refs/heads/a~1"),
    NO(name_is_ref,      "refs/heads/a."),
    NO(name_is_ref,      "HEAD"),
    NO(name_is_ref,      "main"),
    NO(name_is_ref,      "refs/heads/" A60 A60 A60 A60),
    YES(name_is_tag,     "v1.2.3"),
    YES(name_is_tag,     "release/2026"),
    NO(name_is_tag,      "-v1"),
    NO(name_is_tag,      "a/-b"),
    NO(name_is_tag,      ""),
    NO(name_is_tag,      "a/"),
    NO(name_is_tag,      "@"),
    NO(name_is_tag,      "a\x1b"),
};
/* clang-format on */

static void name_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (cases[i].is(cases[i].s) != cases[i].expected)
            fail_msg("%s(\"%s\") must be %s", cases[i].fn, cases[i].s ? cases[i].s : "(null)",
                cases[i].expected ? "true" : "false");
}

static void an_env_value_has_a_limit(void **state)
{
    char *value = xcalloc(1, 32 * 1024 + 2);

    memset(value, 'x', 32 * 1024);
    assert_true(name_is_env_value(value));
    value[32 * 1024] = 'x';
    assert_false(name_is_env_value(value));
    free(value);
}

struct target_case {
    const char *target, *service, *what, *text; /* text: part of the refusal */
};

/* clang-format off */
static const struct target_case target_cases[] = {
    { "web",            "web", NULL,      NULL },
    { "web@0.2.2",      "web", "0.2.2",   NULL },
    { "web@^0.2",       "web", "^0.2",    NULL },
    { "web@a@b",        "web", "a@b",     NULL },
    { "web@",           NULL,  NULL,      "names no version" },
    { "@0.2.2",         NULL,  NULL,      "does not begin with the name of a service" },
    { "",               NULL,  NULL,      "does not begin" },
    { "-x@1",           NULL,  NULL,      "\"-x@1\" does not begin" },
    { "w\x1b[2J",       NULL,  NULL,      "w\\x1b[2J" },
};
/* clang-format on */

static void target_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(target_cases); i++) {
        const struct target_case *c = &target_cases[i];
        char *service = NULL, *what = NULL;
        struct error err = { 0 };
        row_int(c->target, name_split_target(c->target, &service, &what, &err) == 0, c->service != NULL);
        row_str(c->target, service, c->service);
        row_str(c->target, what, c->what);
        if (c->text)
            row_has(c->target, err.text, c->text);
        free(service);
        free(what);
    }
}

static void unit_names_are_derived(void **state)
{
    char *slice = name_slice("web-api"), *unit = name_unit("web-api", "3f9a12c0");
    char *user = name_service_user("web"), *other = name_service_user("web2");

    assert_string_equal(slice, "stagecoach-web\\x2dapi.slice");
    assert_string_equal(unit, "stagecoach-run-web-api-3f9a12c0.service");
    assert_int_equal(strlen(user), strlen("sc-") + 12);
    assert_memory_equal(user, "sc-", 3);
    assert_string_not_equal(user, other);
    free(slice);
    free(unit);
    free(user);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_table),
        cmocka_unit_test(an_env_value_has_a_limit),
        cmocka_unit_test(target_table),
        cmocka_unit_test(unit_names_are_derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
