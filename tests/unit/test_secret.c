/* SPDX-License-Identifier: MIT */
#include "common/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/mem.h"

#define BYTES(s) (s), sizeof(s) - 1

struct base64_case {
    const char *text;
    const char *bytes; /* NULL: refused */
    size_t len;
};

/* clang-format off */
static const struct base64_case plain_cases[] = {
    { "",         BYTES("") },
    { "Zg==",     BYTES("f") },
    { "Zm8=",     BYTES("fo") },
    { "b3BzOng=", BYTES("ops:x") },
    { "+/+/",     BYTES("\xfb\xff\xbf") },
    { "Zg",       NULL, 0 },
    { "Zg=",      NULL, 0 },
    { "Zh==",     NULL, 0 }, /* bits left over */
    { "Zm 9v===", NULL, 0 },
    { "Z===",     NULL, 0 },
    { "====",     NULL, 0 },
    { "Zg==Zg==", NULL, 0 },
    { "-_-_",     NULL, 0 },
};
/* clang-format on */

static void base64_is_strict(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(plain_cases); i++) {
        const struct base64_case *c = &plain_cases[i];
        char *out = NULL;
        size_t len = 0;
        int r = base64_decode(c->text, &out, &len);
        if ((r == 0) != (c->bytes != NULL) || (r != 0 && r != -EINVAL))
            fail_msg("\"%s\": %d", c->text, r);
        if (r == 0) {
            assert_int_equal(len, c->len);
            assert_memory_equal(out, c->bytes, len);
            assert_int_equal(out[len], 0);
        }
        free(out);
    }
}

/* RFC 4648, 10, with the other alphabet. */
static void base64url_is_written_without_padding(void **state)
{
    static const struct base64_case cases[] = { { "", BYTES("") }, { "Zg", BYTES("f") },
        { "Zm8", BYTES("fo") }, { "Zm9v", BYTES("foo") }, { "Zm9vYg", BYTES("foob") },
        { "-_-_", BYTES("\xfb\xff\xbf") }, { "AAAA", BYTES("\0\0\0") } };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *text = base64url_encode(cases[i].bytes, cases[i].len);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

static void random_texts_differ(void **state)
{
    char *a = random_hex(16), *b = random_hex(16), *c = random_base64url(32);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(c), 43);
    free(a);
    free(b);
    free(c);
}

static void secrets_compare(void **state)
{
    assert_true(secret_equal("", ""));
    assert_true(secret_equal("abc", "abc"));
    assert_false(secret_equal("abc", "abd"));
    assert_false(secret_equal("abc", "ab"));
    assert_false(secret_equal("abc", "abcd"));
    assert_false(secret_equal(NULL, ""));
    assert_false(secret_equal(NULL, NULL));
    char s[] = "secret";
    secret_erase(s);
    assert_memory_equal(s, "\0\0\0\0\0\0", 6);
    secret_erase(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(base64url_is_written_without_padding),
        cmocka_unit_test(random_texts_differ),
        cmocka_unit_test(secrets_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
