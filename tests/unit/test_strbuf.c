/* SPDX-License-Identifier: MIT */
#include "common/strbuf.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static void grows_and_stays_terminated(void **state)
{
    struct strbuf sb = STRBUF_INIT;

    assert_string_equal(strbuf_str(&sb), "");
    for (int i = 0; i < 1000; i++) {
        strbuf_addf(&sb, "%d,", i);
        assert_int_equal(sb.data[sb.len], '\0');
    }
    assert_int_equal(sb.len, 10 * 2 + 90 * 3 + 900 * 4);
    strbuf_consume(&sb, 2);
    assert_memory_equal(sb.data, "1,2,", 4);
    strbuf_clear(&sb);
    assert_string_equal(strbuf_str(&sb), "");
    strbuf_add(&sb, "a\0b", 3);
    assert_int_equal(sb.len, 3);
    strbuf_consume(&sb, 3);
    assert_int_equal(sb.len, 0);
    strbuf_done(&sb);
}

static void formats_longer_than_its_room(void **state)
{
    struct strbuf sb = STRBUF_INIT;
    char long_text[5000];

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    strbuf_addf(&sb, "<%s>", long_text);
    assert_int_equal(sb.len, sizeof(long_text) + 1);
    assert_int_equal(sb.data[sb.len - 1], '>');
    strbuf_done(&sb);
}

static void stolen_strings_are_never_null(void **state)
{
    struct strbuf sb = STRBUF_INIT;
    char *s = strbuf_steal(&sb);

    assert_string_equal(s, "");
    free(s);
    strbuf_adds(&sb, "left");
    s = strbuf_steal(&sb);
    assert_string_equal(s, "left");
    assert_null(sb.data);
    free(s);
}

struct printable_case {
    const char *name, *in;
    size_t max;
    const char *out;
};

/* clang-format off */
static const struct printable_case printable_cases[] = {
    { "plain",                     "web@0.2.2",              60, "web@0.2.2" },
    { "umlauts stay",              "Größe",                  60, "Größe" },
    { "escape sequence",           "\x1b[31mred",            60, "\\x1b[31mred" },
    { "newline",                   "a\nb",                   60, "a\\x0ab" },
    { "DEL",                       "a\x7f",                  60, "a\\x7f" },
    { "C1 control (CSI)",          "a\xC2\x9B" "31m",        60, "a\\xc2\\x9b31m" },
    { "not UTF-8",                 "a\xFFz",                 60, "a\\xffz" },
    { "overlong slash",            "\xC0\xAF",               60, "\\xc0\\xaf" },
    { "surrogate",                 "\xED\xA0\x80",           60, "\\xed\\xa0\\x80" },
    { "right-to-left override",    "a\xE2\x80\xAEz",         60, "a\\xe2\\x80\\xaez" },
    { "isolate",                   "\xE2\x81\xA6",           60, "\\xe2\\x81\\xa6" },
    { "half a character at the end", "a\xC3",                60, "a\\xc3" },
    { "exactly the limit",         "abc",                    3,  "abc" },
    { "one over the limit",        "abcd",                   3,  "abc…" },
    { "cut before a character",    "abö",                    3,  "ab…" },
    { "nothing allowed",           "a",                      0,  "…" },
    { "nothing there",             "",                       0,  "" },
};
/* clang-format on */

static void printable_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(printable_cases); i++) {
        const struct printable_case *c = &printable_cases[i];
        struct strbuf sb = STRBUF_INIT;
        strbuf_add_printable(&sb, c->in, strlen(c->in), c->max);
        row_str(c->name, strbuf_str(&sb), c->out);
        strbuf_done(&sb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(formats_longer_than_its_room),
        cmocka_unit_test(stolen_strings_are_never_null),
        cmocka_unit_test(printable_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
