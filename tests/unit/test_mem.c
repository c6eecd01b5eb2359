/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include "tests/unit/rows.h"

#include <fcntl.h>
#include <unistd.h>

static void arrays_grow_so_that_the_index_is_valid(void **state)
{
    int *numbers = NULL;
    size_t cap = 0;

    for (size_t n = 0; n < 1000; n++) {
        numbers = xgrow(numbers, n, &cap, sizeof(*numbers));
        assert_true(cap > n);
        numbers[n] = (int)n;
    }
    for (int n = 0; n < 1000; n++)
        assert_int_equal(numbers[n], n);
    free(numbers);
}

static void copies_of_nothing_are_nothing(void **state)
{
    assert_null(xstrdup(NULL));
    assert_null(xstrndup(NULL, 3));
    char *empty = xmemdup("", 0);
    assert_string_equal(empty, "");
    free(empty);
    char *part = xstrndup("abcdef", 3);
    assert_string_equal(part, "abc");
    free(part);
}

static void slots_own_their_string(void **state)
{
    char *slot = NULL;

    str_set(&slot, "one");
    assert_string_equal(slot, "one");
    str_set(&slot, slot + 1); /* a part of itself */
    assert_string_equal(slot, "ne");
    str_set(&slot, NULL);
    assert_null(slot);
}

static void ownership_moves(void **state)
{
    char *a = xstrdup("x"), *b = steal_ptr(a);

    assert_null(a);
    assert_string_equal(b, "x");
    free_ptr(&b);
    assert_null(b);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), other = steal_fd(&fd);
    assert_int_equal(fd, -1);
    assert_true(other >= 0);
    close_fd(&other);
    assert_int_equal(other, -1);
    close_fd(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_grow_so_that_the_index_is_valid),
        cmocka_unit_test(copies_of_nothing_are_nothing),
        cmocka_unit_test(slots_own_their_string),
        cmocka_unit_test(ownership_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
