/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include "tests/unit/rows.h"

#include <errno.h>

#include "common/utf8.h"

static void set_returns_the_code_and_keeps_the_text(void **state)
{
    struct error err = { 0 };

    assert_int_equal(error_set(&err, -EINVAL, "no %s in %d", "host", 3), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_string_equal(err.text, "no host in 3");
    assert_int_equal(error_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void a_failure_never_looks_like_success(void **state)
{
    struct error err = { 0 };

    assert_int_equal(error_set(&err, 0, "x"), -EIO);
    assert_int_equal(err.code, -EIO);
    assert_int_equal(error_set_errno(NULL, EINVAL, "x"), -EIO);
    err = (struct error){ 0 };
    assert_true(error_prefix(&err, "before") < 0); /* nobody filled it */
}

static void errno_is_told_in_words(void **state)
{
    struct error err = { 0 };

    assert_int_equal(error_set_errno(&err, -ENOENT, "can't read %s", "x"), -ENOENT);
    assert_string_equal(err.text, "can't read x: No such file or directory");
}

static void prefix_goes_in_front(void **state)
{
    struct error err = { 0 };

    error_set(&err, -EBUSY, "busy");
    assert_int_equal(error_prefix(&err, "deploy %s", "web"), -EBUSY);
    assert_string_equal(err.text, "deploy web: busy");
    assert_true(error_prefix(NULL, "x") < 0);
    error_set(&err, -EIO, "again: %s", err.text);
    assert_string_equal(err.text, "again: deploy web: busy");
}

/* Whatever is cut off, at each of the four places of a character, what stays is UTF-8. */
static void long_texts_are_cut_between_characters(void **state)
{
    for (int shift = 0; shift < 4; shift++) {
        char text[2 * ERROR_TEXT_MAX] = "";
        struct error err = { 0 };
        size_t len = (size_t)shift;
        memset(text, 'a', len);
        while (len < sizeof(text) - 8) {
            memcpy(text + len, "\xF0\x9F\x98\x80", 4);
            len += 4;
        }
        error_set(&err, -EINVAL, "%s", text);
        assert_true(strlen(err.text) >= ERROR_TEXT_MAX - 4);
        assert_true(utf8_is_valid(err.text, strlen(err.text)));
        error_prefix(&err, "before");
        assert_true(utf8_is_valid(err.text, strlen(err.text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_returns_the_code_and_keeps_the_text),
        cmocka_unit_test(a_failure_never_looks_like_success),
        cmocka_unit_test(errno_is_told_in_words),
        cmocka_unit_test(prefix_goes_in_front),
        cmocka_unit_test(long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
