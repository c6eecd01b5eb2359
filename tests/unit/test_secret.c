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
static const struct base64_case url_cases[] = {
    { "",         BYTES("") },
    { "Zg",       BYTES("f") },
    { "Zm8",      BYTES("fo") },
    { "Zm9v",     BYTES("foo") },
    { "Zm9vYg",   BYTES("foob") },
    { "-_-_",     BYTES("\xfb\xff\xbf") },
    { "AAAA",     BYTES("\0\0\0") },
    { "Zg==",     NULL, 0 },
    { "Z",        NULL, 0 },
    { "Zh",       NULL, 0 }, /* bits left over */
    { "Zm9",      NULL, 0 },
    { "Zm 9v",    NULL, 0 },
    { "+/+/",     NULL, 0 },
};

static const struct base64_case plain_cases[] = {
    { "",         BYTES("") },
    { "Zg==",     BYTES("f") },
    { "Zm8=",     BYTES("fo") },
    { "b3BzOng=", BYTES("ops:x") },
    { "+/+/",     BYTES("\xfb\xff\xbf") },
    { "Zg",       NULL, 0 },
    { "Zg=",      NULL, 0 },
    { "Z===",     NULL, 0 },
    { "====",     NULL, 0 },
    { "Zg==Zg==", NULL, 0 },
    { "-_-_",     NULL, 0 },
};
/* clang-format on */

static void check(const struct base64_case *cases, size_t n, int (*decode)(const char *, char **, size_t *))
{
    for (size_t i = 0; i < n; i++) {
        char *out = NULL;
        size_t len = 0;
        int r = decode(cases[i].text, &out, &len);
        if ((r == 0) != (cases[i].bytes != NULL) || (r != 0 && r != -EINVAL))
            fail_msg("\"%s\": %d", cases[i].text, r);
        if (r == 0) {
            assert_int_equal(len, cases[i].len);
            assert_memory_equal(out, cases[i].bytes, len);
            assert_int_equal(out[len], 0);
        }
        free(out);
    }
}

static void base64_is_strict(void **state)
{
    check(url_cases, ARRAY_SIZE(url_cases), base64url_decode);
    check(plain_cases, ARRAY_SIZE(plain_cases), base64_decode);
}

static void base64url_goes_and_comes_back(void **state)
{
    for (size_t len = 0; len < 100; len++) {
        unsigned char bytes[100];
        char *back = NULL;
        size_t n = 0;
        random_bytes(bytes, len);
        char *text = base64url_encode(bytes, len);
        assert_int_equal(strlen(text), (len * 8 + 5) / 6);
        assert_int_equal(base64url_decode(text, &back, &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(back, bytes, len);
        free(text);
        free(back);
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
        cmocka_unit_test(base64url_goes_and_comes_back),
        cmocka_unit_test(random_texts_differ),
        cmocka_unit_test(secrets_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
