/* SPDX-License-Identifier: MIT */
#include "routerd/assign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"

static const struct assign_key key = { "0123456789abcde", 'k' };

/* From the appendix of the SipHash paper, and the first of the reference vectors. */
static void siphash_is_siphash(void **state)
{
    uint8_t k[16], data[16];
    for (int i = 0; i < 16; i++)
        k[i] = data[i] = (uint8_t)i;
    assert_true(siphash24(k, data, 15) == UINT64_C(0xa129ca6149be45e5));
    assert_true(siphash24(k, data, 0) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(siphash24(k, data, 1) == UINT64_C(0x74f839c593dc67fd));
    assert_true(siphash24(k, data, 8) == UINT64_C(0x93f5f5799a932462));
}

static struct http1_slice slice(const char *s)
{
    return (struct http1_slice){ s, strlen(s) };
}

static void what_was_printed_is_read(void **state)
{
    static const uint32_t values[] = { 0, 1, 0x12345678, UINT32_MAX };
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        char text[ASSIGN_VALUE_LEN + 1];
        uint32_t back = 7;
        assign_print(&key, values[i], text);
        assert_int_equal(strlen(text), ASSIGN_VALUE_LEN);
        assert_true(assign_read(&key, slice(text), &back));
        assert_int_equal(back, values[i]);
    }
}

static void what_was_changed_is_not(void **state)
{
    char text[ASSIGN_VALUE_LEN + 1];
    uint32_t back;
    struct assign_key other = key;
    other.bytes[3] ^= 1;
    assign_print(&key, 0x12345678, text);
    assert_false(assign_read(&other, slice(text), &back));
    for (int i = 0; i < ASSIGN_VALUE_LEN; i++) {
        char spoilt[ASSIGN_VALUE_LEN + 1];
        memcpy(spoilt, text, sizeof(spoilt));
        spoilt[i] = spoilt[i] == '0' ? '1' : '0';
        assert_false(assign_read(&key, slice(spoilt), &back));
        assert_false(assign_read(&key, (struct http1_slice){ text, (size_t)i }, &back));
    }
    assert_false(assign_read(&key, slice("k-12345678-AAAAAAAAAAAAAAA"), &back));
}

/* Positions are spread, differ by service, and are the same everywhere. */
static void positions_are_fixed_and_even(void **state)
{
    int quarter[4] = { 0 };
    assert_int_equal(assign_position(1, "web"), assign_position(1, "web"));
    assert_int_not_equal(assign_position(1, "web"), assign_position(1, "auth"));
    for (uint32_t i = 0; i < 40000; i++)
        quarter[assign_position(i, "web") >> 30]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(quarter[i], 9700, 10300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_is_siphash),
        cmocka_unit_test(what_was_printed_is_read),
        cmocka_unit_test(what_was_changed_is_not),
        cmocka_unit_test(positions_are_fixed_and_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
