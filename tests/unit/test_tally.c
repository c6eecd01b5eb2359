/* SPDX-License-Identifier: MIT */
#include "routerd/tally.h"

#include <string.h>

#include "common/mem.h"
#include "routerd/pool.h"
#include "tests/unit/rows.h"

/* Sums of what was counted, and that they never go backwards. */

static void every_time_falls_into_the_first_bucket_that_holds_it(void **state)
{
    static const int64_t times[] = { 0, 1, 9, 10, 11, 12, 13, 99, 100, 101, 999, 1000, 1001, 2500, 2501,
        99999, 100000, 100001, 1000000, 99999999, 100000000, 100000001, INT64_MAX };
    unsigned before = 0;
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        unsigned b = latency_bucket(times[i]);
        assert_in_range(b, before, ENDPOINT_LATENCY_BUCKETS - 1);
        if (b < ENDPOINT_LATENCY_BUCKETS - 1 && times[i] > latency_value(b))
            fail_msg("%lld µs: bucket %u ends at %lld", (long long)times[i], b, (long long)latency_value(b));
        if (b > 0 && times[i] <= latency_value(b - 1))
            fail_msg("%lld µs: bucket %u is not the first", (long long)times[i], b);
        before = b;
    }
    for (int64_t us = 0; us < 200000; us += 7) {
        unsigned b = latency_bucket(us);
        assert_true(us <= latency_value(b) && (b == 0 || us > latency_value(b - 1)));
    }
}

static const struct tally_row *row_of(const struct tally_view *v, const char *service, const char *version)
{
    const struct tally_row *rows = version ? v->releases : v->services;
    size_t n = version ? v->n_releases : v->n_services;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].service, service) == 0 && (!version || strcmp(rows[i].version, version) == 0))
            return &rows[i];
    }
    return NULL;
}

static uint64_t answers(const struct registry *r, const char *service, const char *version)
{
    struct tally_view *v = tally_view_new(r->tally, r);
    while (!tally_view_step(v, 0))
        ;
    const struct tally_row *row = row_of(v, service, version);
    uint64_t n = row ? counts_answers(&row->counts) : 0;
    tally_view_free(v);
    return n;
}

static void count(const struct registry *r, uint32_t slot, uint64_t n)
{
    for (unsigned w = 0; w < r->n_workers; w++)
        endpoint_count(&registry_local(r, w, slot)->status[STATUS_2XX], n);
}

/* Endpoints into their release, releases into their service. */
static void what_is_gone_stays_counted(void **state)
{
    struct registry *r = registry_new(2);
    r->tally = tally_new();
    uint32_t a = registry_claim(r, "web@1.0.0", "a", "127.0.0.1:1", 0, 1);
    uint32_t b = registry_claim(r, "web@1.0.0", "b", "127.0.0.1:2", 0, 2);
    uint32_t c = registry_claim(r, "web@2.0.0", "a", "127.0.0.1:1", 0, 3);
    assert_true(a != b && b != c && a != c);
    registry_pool(r, "web@1.0.0", 2);
    registry_pool(r, "web@2.0.0", 3);
    count(r, a, 10);
    count(r, b, 100);
    count(r, c, 1000);
    assert_int_equal(answers(r, "web", "1.0.0"), 220);
    assert_int_equal(answers(r, "web", "2.0.0"), 2000);
    assert_int_equal(answers(r, "web", NULL), 2220);
    registry_sweep(r, 2);
    assert_null(registry_at(r, a));
    assert_int_equal(answers(r, "web", "1.0.0"), 220);
    registry_sweep(r, 3);
    assert_int_equal(answers(r, "web", "1.0.0"), 0);
    assert_int_equal(answers(r, "web", NULL), 2220);
    registry_sweep(r, 4);
    assert_int_equal(answers(r, "web", NULL), 2220);
    /* The same release again begins anew, its service goes on. */
    uint32_t d = registry_claim(r, "web@1.0.0", "a", "127.0.0.1:1", 0, 5);
    registry_pool(r, "web@1.0.0", 5);
    count(r, d, 1);
    assert_int_equal(answers(r, "web", "1.0.0"), 2);
    assert_int_equal(answers(r, "web", NULL), 2222);
    tally_free(r->tally);
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_time_falls_into_the_first_bucket_that_holds_it),
        cmocka_unit_test(what_is_gone_stays_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
