/* SPDX-License-Identifier: MIT */
#include "hubd/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"

#define M (INT64_C(1024) * 1024)

static const struct place_host fleet[] = {
    { .name = "app1", .online = true, .memory_free_bytes = 812 * M, .n_instances = 2 },
    { .name = "app2", .online = true, .memory_free_bytes = 1100 * M, .n_instances = 1, .n_same = 1 },
    { .name = "app3",
        .online = true,
        .memory_free_bytes = 4000 * M,
        .problem = "cordoned by ops since 09:12" },
    { .name = "app4", .online = false, .away_ms = 120000, .memory_free_bytes = 4000 * M },
    { .name = "app5", .online = true, .memory_free_bytes = -1, .n_instances = 2 },
};

struct row {
    const char *name;
    size_t n_hosts;
    int64_t count, total;
    const char *hosts[3];
    int64_t memory;
    const char *expected; /* hosts in order, or the refusal */
};

static const struct row rows[] = {
    { "fewest copies first, then fewest instances, then most memory", 5, 3, 0, { NULL }, 0,
        "app1 app5 app2" },
    { "copies are spread before they are doubled", 2, 3, 0, { NULL }, 256 * M, "app1 app2 app1" },
    { "only where it was asked for", 5, 2, 0, { "app2" }, 256 * M, "app2 app2" },
    { "nothing to place", 5, 0, 0, { NULL }, 256 * M, "" },
    { "as much as there is room", 2, 7, 0, { NULL }, 256 * M, "app1 app2 app1 app2 app1 app2 app2" },
    { "too many", 4, 8, 9, { NULL }, 256 * M,
        "9 instances of web@0.2.4 don't fit\n"
        "  app1  room for 3 (memory 256M each, 812M free)\n"
        "  app2  room for 4 (memory 256M each, 1100M free)\n"
        "  app3  cordoned by ops since 09:12\n"
        "  app4  not reached for 2 min\n"
        "Nothing was changed." },
    { "one, and its host is away", 5, 1, 0, { "app4" }, 0,
        "no host can take web@0.2.4\n  app4  not reached for 2 min\nNothing was changed." },
    { "no host at all", 0, 1, 0, { NULL }, 0,
        "no host can take web@0.2.4\n"
        "  no host has joined yet: stagecoachctl token create --role=drone\nNothing was changed." },
    { "a host that is none", 5, 1, 0, { "app9" }, 0, "there is no host \"app9\"" },
    { "memory of the host is unknown", 5, 2, 0, { "app5" }, 9000 * M, "app5 app5" },
};

static void each_row(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];
        struct place_wish wish = {
            .what = "web@0.2.4",
            .count = row->count,
            .total = row->total,
            .memory_bytes = row->memory,
            .hosts = (char *const *)(row->hosts[0] ? row->hosts : NULL),
        };
        size_t chosen[16];
        char text[2048] = "";
        struct error err;
        if (place(&wish, fleet, row->n_hosts, chosen, &err) < 0) {
            snprintf(text, sizeof(text), "%s", err.text);
        } else {
            for (int64_t k = 0; k < row->count; k++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", k ? " " : "",
                    fleet[chosen[k]].name);
        }
        if (strcmp(text, row->expected) != 0)
            fail_msg("%s: \"%s\" instead of \"%s\"", row->name, text, row->expected);
    }
}

static void a_long_refusal_names_some_hosts_and_counts_the_rest(void **state)
{
    struct place_host many[40];
    char names[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof(names[i]), "host%02d", i);
        many[i] = (struct place_host){ .name = names[i], .online = true, .problem = "full" };
    }
    struct place_wish wish = { .what = "web@1.0.0", .count = 1 };
    size_t chosen;
    struct error err;
    assert_true(place(&wish, many, 40, &chosen, &err) < 0);
    assert_non_null(strstr(err.text, "host11  full"));
    assert_null(strstr(err.text, "host12"));
    assert_non_null(strstr(err.text, "… and 28 more\nNothing was changed."));
}

static void bytes_read_well(void **state)
{
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = { { 512 * 1024, "512K" }, { 256 * M, "256M" }, { 1100 * M, "1100M" }, { 2048 * M, "2G" },
        { 15 * 1024 * M + 512 * M, "15.5G" } };
    char buf[32];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(place_format_bytes(cases[i].bytes, buf), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row),
        cmocka_unit_test(a_long_refusal_names_some_hosts_and_counts_the_rest),
        cmocka_unit_test(bytes_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
