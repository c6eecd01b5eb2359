/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include "tests/unit/rows.h"

#include <errno.h>

#include "common/mem.h"

struct duration_case {
    const char *text;
    int64_t ms; /* -1: refused */
    const char *formatted;
};

/* clang-format off */
static const struct duration_case duration_cases[] = {
    { "250ms",        250,            "250ms" },
    { "0s",           0,              "0s" },
    { "0ms",          0,              "0s" },
    { "30s",          30000,          "30s" },
    { "1500ms",       1500,           "1s500ms" },
    { "90s",          90000,          "1min30s" },
    { "5min",         300000,         "5min" },
    { "5m",           300000,         "5min" },
    { "2h",           7200000,        "2h" },
    { "1h30m",        5400000,        "1h30min" },
    { "1d2h3min4s5ms", 93784005,      "1d2h3min4s5ms" },
    { "106751991167d", 9223372036828800000, "106751991167d" },
    { "106751991168d", -1, NULL },
    { "999999999999999d", -1, NULL },
    { "1234567890123456s", -1, NULL },
    { "30",           -1, NULL },
    { "",             -1, NULL },
    { "s",            -1, NULL },
    { "-1s",          -1, NULL },
    { "+1s",          -1, NULL },
    { "1 s",          -1, NULL },
    { " 1s",          -1, NULL },
    { "1s ",          -1, NULL },
    { "1.5s",         -1, NULL },
    { "1S",           -1, NULL },
    { "1weeks",       -1, NULL },
    { "30s1h",        -1, NULL },
    { "1s1s",         -1, NULL },
    { "1m30min",      -1, NULL },
};
/* clang-format on */

static void duration_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(duration_cases); i++) {
        const struct duration_case *c = &duration_cases[i];
        char buf[CLOCK_STAMP_MAX];
        int64_t ms = -1, again = -1;
        row_int(c->text, duration_parse(c->text, &ms), c->ms < 0 ? -EINVAL : 0);
        row_int(c->text, ms, c->ms);
        if (c->ms < 0)
            continue;
        row_str(c->text, duration_format(ms, buf), c->formatted);
        row_int(c->text, duration_parse(buf, &again), 0);
        row_int(c->text, again, ms);
    }
    assert_int_equal(duration_parse(NULL, &(int64_t){ 0 }), -EINVAL);
}

static void the_largest_duration_fits_its_buffer(void **state)
{
    char buf[CLOCK_STAMP_MAX];
    int64_t again;

    assert_int_equal(duration_parse(duration_format(INT64_MAX, buf), &again), 0);
    assert_int_equal(again, INT64_MAX);
}

struct people_case {
    int64_t ms;
    const char *text;
};

static const struct people_case people_cases[] = {
    { -5, "0.0s" },
    { 0, "0.0s" },
    { 349, "0.3s" },
    { 9999, "9.9s" },
    { 10000, "10 s" },
    { 59999, "59 s" },
    { 60000, "1 min" },
    { 240000, "4 min" },
    { 3599999, "59 min" },
    { 7200000, "2 h" },
    { 86400000, "1 day" },
    { 172800000, "2 days" },
};

static void people_table(void **state)
{
    char buf[CLOCK_STAMP_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(people_cases); i++)
        row_str(people_cases[i].text, duration_for_people(people_cases[i].ms, buf), people_cases[i].text);
}

static void stamps_are_utc(void **state)
{
    char buf[CLOCK_STAMP_MAX];

    assert_string_equal(wall_format_utc((wall_t){ 0 }, buf), "1970-01-01T00:00:00Z");
    assert_string_equal(wall_format_utc((wall_t){ INT64_C(1795254067999999) }, buf), "2026-11-21T09:41:07Z");
    assert_string_equal(wall_format_utc((wall_t){ -1 }, buf), "1969-12-31T23:59:59Z");
    assert_string_equal(wall_format_http((wall_t){ 0 }, buf), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(
        wall_format_http((wall_t){ INT64_C(1795254067999999) }, buf), "Sat, 21 Nov 2026 09:41:07 GMT");
    assert_true(strlen(wall_format_utc((wall_t){ INT64_MAX }, buf)) < CLOCK_STAMP_MAX);
}

static void clocks_move_on(void **state)
{
    mono_t before = clock_mono();

    assert_true(clock_mono().us >= before.us);
    assert_true(clock_wall().us > INT64_C(1600000000000000));
    assert_int_equal(mono_diff_ms((mono_t){ 3500 }, (mono_t){ 500 }), 3);
    assert_int_equal(wall_diff_ms((wall_t){ 500 }, (wall_t){ 3500 }), -3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duration_table),
        cmocka_unit_test(the_largest_duration_fits_its_buffer),
        cmocka_unit_test(people_table),
        cmocka_unit_test(stamps_are_utc),
        cmocka_unit_test(clocks_move_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
