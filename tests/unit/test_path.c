/* SPDX-License-Identifier: MIT */
#include "routerd/path.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static void what_can_be_read_in_one_way_is_plain(void **state)
{
    static const struct {
        const char *path;
        bool plain;
    } rows[] = {
        { "/", true },
        { "/a/b.c/..d/.e/f..", true },
        { "/a/", true },
        { "//", false },
        { "/a//b", false },
        { "/.", false },
        { "/a/./b", false },
        { "/..", false },
        { "/a/../b", false },
        { "/...", true },
        { "/a;b", false },
        { "/a%20b", false },
        { "/a\\b", false },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        row_int(rows[i].path, path_is_plain((struct http1_slice){ rows[i].path, strlen(rows[i].path) }),
            rows[i].plain);
}

static void the_other_reading_is_decoded_and_resolved(void **state)
{
    static const struct {
        const char *path, *expected;
    } rows[] = {
        { "/", "/" },
        { "/a/b", "/a/b" },
        { "/a/b/", "/a/b/" },
        { "//a///b//", "/a/b/" },
        { "/./a/./b/.", "/a/b" },
        { "/a/../b", "/b" },
        { "/a/b/..", "/a" },
        { "/..", "/" },
        { "/../../a", "/a" },
        { "/a/../../b", "/b" },
        { "/%61%2fb", "/a/b" },
        { "/a%2F%2e%2E/b", "/b" },
        { "/a;x=1/b;y", "/a/b" },
        { "/a;/../b", "/b" },
        { "/;", "/" },
        { "/a\\b%5cc", "/a/b/c" },
        { "/a%", "/a%" },
        { "/a%4", "/a%4" },
        { "/a%zz", "/a%zz" },
        { "/%2561", "/%61" },
        { "/.../a", "/.../a" },
    };
    char out[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t len = strlen(rows[i].path);
        char *path = xstrndup(rows[i].path, len); /* so that a byte too many is seen */
        size_t n = path_normalize((struct http1_slice){ path, len }, out);
        row_true(rows[i].path, n <= len + 1);
        out[n] = '\0';
        row_str(rows[i].path, out, rows[i].expected);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_read_in_one_way_is_plain),
        cmocka_unit_test(the_other_reading_is_decoded_and_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
