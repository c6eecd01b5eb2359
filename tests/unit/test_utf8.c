/* SPDX-License-Identifier: MIT */
#include "common/utf8.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

struct character_case {
    const char *name, *bytes;
    size_t len, expected;
};

/* clang-format off */
static const struct character_case cases[] = {
    { "ASCII",                    "a",                1, 1 },
    { "NUL",                      "\0",               1, 1 },
    { "two bytes, lowest",        "\xC2\x80",         2, 2 },
    { "two bytes, overlong",      "\xC1\xBF",         2, 0 },
    { "two bytes, cut",           "\xC2",             1, 0 },
    { "two bytes, no tail",       "\xC2z",            2, 0 },
    { "three bytes, lowest",      "\xE0\xA0\x80",     3, 3 },
    { "three bytes, overlong",    "\xE0\x9F\xBF",     3, 0 },
    { "below the surrogates",     "\xED\x9F\xBF",     3, 3 },
    { "first surrogate",          "\xED\xA0\x80",     3, 0 },
    { "last surrogate",           "\xED\xBF\xBF",     3, 0 },
    { "above the surrogates",     "\xEE\x80\x80",     3, 3 },
    { "four bytes, lowest",       "\xF0\x90\x80\x80", 4, 4 },
    { "four bytes, overlong",     "\xF0\x8F\xBF\xBF", 4, 0 },
    { "U+10FFFF",                 "\xF4\x8F\xBF\xBF", 4, 4 },
    { "above U+10FFFF",           "\xF4\x90\x80\x80", 4, 0 },
    { "a lone tail",              "\x80",             1, 0 },
    { "a byte that is never used", "\xFF",            1, 0 },
    { "nothing",                  "",                 0, 0 },
};
/* clang-format on */

static void character_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        row_int(cases[i].name, utf8_character((const unsigned char *)cases[i].bytes, cases[i].len),
            cases[i].expected);
}

static void every_code_point_reads_back(void **state)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        char buf[4];
        if (c == 0xD800)
            c = 0xE000;
        size_t n = utf8_encode(c, buf);
        assert_int_equal(utf8_character((const unsigned char *)buf, n), n);
    }
}

static void cuts_between_characters(void **state)
{
    static const char text[] = "a\xC3\xB6\xE2\x82\xAC\xF0\x9F\x98\x80"; /* 1, 2, 3, 4 bytes */
    static const size_t expected[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10 };

    for (size_t max = 0; max < ARRAY_SIZE(expected); max++)
        assert_int_equal(utf8_cut(text, 10, max), expected[max]);
    assert_true(utf8_is_valid(text, 10));
    assert_false(utf8_is_valid(text, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(character_table),
        cmocka_unit_test(every_code_point_reads_back),
        cmocka_unit_test(cuts_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
