/* SPDX-License-Identifier: MIT */
#include "hubd/rollout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/schema.h"

#define MAX 4

/* Weights one after the other; after each: how many of the 2^32 changed their release, and by how much it may be
 * more than what has to. */
struct step {
    struct rollout_weight weights[MAX];
    double moved; /* share of the space that has to move */
};

struct row {
    const char *name;
    struct step steps[MAX];
};

static const struct row rows[] = {
    { "everything to one",
        { { { { "1.0.0", 1 } }, 1 }, { { { "1.1.0", 1 } }, 1 }, { { { "1.1.0", 5 } }, 0 } } },
    { "a canary grows",
        { { { { "1.0.0", 100 } }, 1 }, { { { "1.0.0", 95 }, { "1.1.0", 5 } }, 0.05 },
            { { { "1.0.0", 50 }, { "1.1.0", 50 } }, 0.45 }, { { { "1.1.0", 100 } }, 0.5 } } },
    { "a third one takes from both alike",
        { { { { "a", 1 }, { "b", 1 } }, 1 }, { { { "a", 1 }, { "b", 1 }, { "c", 2 } }, 0.5 },
            { { { "c", 2 }, { "b", 1 }, { "a", 1 } }, 0 } } },
    { "one that others leave alone keeps its users",
        { { { { "a", 30 }, { "b", 30 }, { "c", 40 } }, 1 },
            { { { "a", 10 }, { "b", 30 }, { "c", 60 } }, 0.2 },
            { { { "a", 0 }, { "b", 30 }, { "c", 70 } }, 0.1 } } },
    { "nobody", { { { { "a", 1 } }, 1 }, { { { "a", 0 } }, 1 } } },
};

/* Whose an assignment is; NULL: nobody's. Overlaps fail. */
static const char *owner(const struct live_set *live, int64_t at)
{
    const char *found = NULL;
    for (size_t i = 0; i < live->n_releases; i++)
        for (size_t k = 0; k < live->releases[i].n_ranges; k++) {
            const struct table_range *range = &live->releases[i].ranges[k];
            if (at < range->first || at > range->last)
                continue;
            assert_null(found);
            found = live->releases[i].version;
        }
    return found;
}

static int64_t sum_of(const struct live_set *live, const char *version)
{
    int64_t sum = 0;
    for (size_t i = 0; i < live->n_releases; i++)
        for (size_t k = 0; strcmp(live->releases[i].version, version) == 0 && k < live->releases[i].n_ranges;
             k++)
            sum += live->releases[i].ranges[k].last - live->releases[i].ranges[k].first + 1;
    return sum;
}

#define SAMPLES 4000

static double moved(const struct live_set *a, const struct live_set *b)
{
    int n = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int64_t at = ROLLOUT_SPACE / SAMPLES * i + 77;
        const char *x = owner(a, at), *y = owner(b, at);
        n += !x || !y ? x != y : strcmp(x, y) != 0;
    }
    return (double)n / SAMPLES;
}

static void check_step(
    const struct row *row, size_t k, const struct live_set *before, const struct live_set *after)
{
    const struct step *step = &row->steps[k];
    int64_t weights = 0, space = 0;
    for (size_t i = 0; i < MAX && step->weights[i].version; i++)
        weights += step->weights[i].weight;
    for (size_t i = 0; i < MAX && step->weights[i].version; i++) {
        int64_t have = sum_of(after, step->weights[i].version);
        int64_t want = weights ? ROLLOUT_SPACE * step->weights[i].weight / weights : 0;
        space += have;
        if (have < want - 1 || have > want + 1)
            fail_msg("%s, step %zu: %s has a wrong share", row->name, k, step->weights[i].version);
    }
    if (space != (weights ? ROLLOUT_SPACE : 0))
        fail_msg("%s, step %zu: the space is not covered", row->name, k);
    double share = moved(before, after);
    if (share > step->moved + 0.002 || share < step->moved - 0.002)
        fail_msg("%s, step %zu: %.3f moved instead of %.3f", row->name, k, share, step->moved);
}

static void as_little_as_can_be_moves(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct live_set now = { 0 };
        for (size_t k = 0; k < MAX && rows[i].steps[k].weights[0].version; k++) {
            struct live_set next;
            size_t n = 0;
            while (n < MAX && rows[i].steps[k].weights[n].version)
                n++;
            rollout_next(&now, rows[i].steps[k].weights, n, &next);
            check_step(&rows[i], k, &now, &next);
            schema_clear(&live_set_schema, &now);
            now = next;
        }
        schema_clear(&live_set_schema, &now);
    }
}

static void percents_are_whole_and_rounded(void **state)
{
    struct live_set none = { 0 }, live;
    const struct rollout_weight weights[] = { { "a", 1 }, { "b", 2 } };
    rollout_next(&none, weights, 2, &live);
    assert_int_equal(rollout_percent(&live, "a"), 33);
    assert_int_equal(rollout_percent(&live, "b"), 67);
    assert_int_equal(rollout_percent(&live, "c"), -1);
    schema_clear(&live_set_schema, &live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_little_as_can_be_moves),
        cmocka_unit_test(percents_are_whole_and_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
