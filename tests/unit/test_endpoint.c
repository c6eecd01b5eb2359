/* SPDX-License-Identifier: MIT */
#include "routerd/endpoint.h"

#include "tests/unit/rows.h"

#include "common/mem.h"
#include "common/table.h"
#include "routerd/health.h"
#include "routerd/match_policy.h"
#include "routerd/pool.h"

/* What becomes of an endpoint's health, told as a story: time goes on, something happens, something is seen. */

#define MS 1000 /* µs */

static struct match_policy *policy_of(int64_t slow_start_ms, int64_t eject_errors)
{
    struct table_service service = { 0 };
    table_service_init(&service);
    service.limits.slow_start_ms = slow_start_ms;
    service.limits.eject_errors = eject_errors;
    return match_policy_new(&service);
}

enum step {
    END, /* what is behind the last step */
    UNREACHABLE,
    BROKE,
    ERROR,
    ANSWERED,    /* 200, to a request that began now */
    LATE_ANSWER, /* 200, to one that began before everything */
    ANSWERED_5XX,
    TRIAL,        /* asks for it; seen: got it */
    UNSAFE_TRIAL, /* with a request that can't be sent again; seen: might */
    FORGIVE,      /* main's tick */
    USABLE,       /* seen: it is */
    BACK_OFF,     /* seen: ms of the ejection, a quarter more or less */
};

struct story {
    const char *name;
    int64_t eject_errors, slow_start_ms;
    struct {
        int64_t after_ms;
        enum step step;
        int64_t seen;
    } steps[20];
};

/* clang-format off */
static const struct story stories[] = {
    { "whom nobody reaches is ejected at once, and tried again by one", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 0, USABLE, 0 }, { 700, USABLE, 0 }, { 600, USABLE, 1 },
        { 0, TRIAL, 1 }, { 0, TRIAL, 0 }, { 0, USABLE, 0 }, { 1, ANSWERED, 1 }, { 0, USABLE, 1 }, { 0, TRIAL, 0 } } },
    { "four failures are no ejection, the fifth is one", 0, 0, {
        { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, USABLE, 1 }, { 0, BROKE, 1 },
        { 0, USABLE, 0 } } },
    { "an answer in between begins anew", 0, 0, {
        { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, ANSWERED, 0 },
        { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, USABLE, 1 } } },
    { "so does an answer of 500", 0, 0, {
        { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, BROKE, 0 }, { 0, ANSWERED_5XX, 0 },
        { 0, BROKE, 0 }, { 0, USABLE, 1 } } },
    { "a failed trial doubles the time, up to a minute", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 0, BACK_OFF, 1000 }, { 2000, TRIAL, 1 }, { 0, UNREACHABLE, 1 }, { 0, BACK_OFF, 2000 },
        { 4000, TRIAL, 1 }, { 0, BROKE, 1 }, { 0, BACK_OFF, 4000 }, { 8000, TRIAL, 1 }, { 0, BROKE, 1 },
        { 16000, TRIAL, 1 }, { 0, BROKE, 1 }, { 32000, TRIAL, 1 }, { 0, BROKE, 1 }, { 0, BACK_OFF, 32000 },
        { 64000, TRIAL, 1 }, { 0, BROKE, 1 }, { 0, BACK_OFF, 60000 } } },
    { "who failed while it was ejected already adds nothing", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 0, UNREACHABLE, 0 }, { 0, BROKE, 0 }, { 0, BACK_OFF, 1000 } } },
    { "an old answer does not bring it back", 0, 0, {
        { 5, UNREACHABLE, 1 }, { 0, LATE_ANSWER, 0 }, { 0, USABLE, 0 }, { 5, ANSWERED, 1 }, { 0, USABLE, 1 } } },
    { "a trial that never ends is followed by another", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 2000, TRIAL, 1 }, { 4000, TRIAL, 0 }, { 1000, TRIAL, 1 } } },
    { "what can't be sent again waits until nothing else came", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 1300, UNSAFE_TRIAL, 0 }, { 2000, UNSAFE_TRIAL, 1 } } },
    { "errors count only where the service says so", 0, 0, {
        { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 0 },
        { 0, USABLE, 1 } } },
    { "three errors in a row", 3, 0, {
        { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ANSWERED, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 0 }, { 0, ERROR, 1 },
        { 0, USABLE, 0 }, { 2000, TRIAL, 1 }, { 0, ERROR, 1 }, { 0, BACK_OFF, 2000 } } },
    { "in use again for ten seconds, one ejection is forgotten", 0, 0, {
        { 0, UNREACHABLE, 1 }, { 2000, TRIAL, 1 }, { 0, UNREACHABLE, 1 }, { 4000, TRIAL, 1 }, { 1, ANSWERED, 1 },
        { 0, FORGIVE, 0 }, { 10000, FORGIVE, 0 }, { 0, UNREACHABLE, 1 }, { 0, BACK_OFF, 2000 } } },
};
/* clang-format on */

static int64_t do_step(struct endpoint *e, const struct match_policy *policy, enum step step, int64_t now_us)
{
    switch (step) {
    case UNREACHABLE:
    case BROKE:
    case ERROR: {
        static const enum endpoint_failure failures[] = {
            [UNREACHABLE] = ENDPOINT_UNREACHABLE, [BROKE] = ENDPOINT_BROKE, [ERROR] = ENDPOINT_ERROR
        };
        return endpoint_failed(e, policy, failures[step], now_us, 250) > 0;
    }
    case ANSWERED:
        return endpoint_answered(e, policy, now_us, now_us, 200);
    case LATE_ANSWER:
        return endpoint_answered(e, policy, 1, now_us, 200);
    case ANSWERED_5XX:
        return endpoint_answered(e, policy, now_us, now_us, 500);
    case TRIAL:
        return endpoint_awaits_trial(e, now_us, true) && endpoint_begin_trial(e, now_us);
    case UNSAFE_TRIAL:
        return endpoint_awaits_trial(e, now_us, false);
    case FORGIVE:
        endpoint_forgive(e, now_us);
        return 0;
    case USABLE:
        return endpoint_is_usable(e, now_us);
    case BACK_OFF:
        return (e->ejected_until_us - e->ejected_at_us) / MS;
    case END:
        break;
    }
    return -1;
}

static void endpoints_are_ejected_and_come_back(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        const struct story *s = &stories[i];
        struct registry *registry = registry_new(1);
        struct match_policy *policy = policy_of(s->slow_start_ms, s->eject_errors);
        struct endpoint *e =
            registry_at(registry, registry_claim(registry, "web@1.0.0", "a", "10.0.0.1:80", 0, 1));
        pool_set_members(e->pool, 2, 50);
        int64_t now_us = 1000 * MS;
        for (size_t j = 0; j < ARRAY_SIZE(s->steps) && s->steps[j].step != END; j++) {
            char row[128];
            now_us += s->steps[j].after_ms * MS;
            snprintf(row, sizeof(row), "%s, step %zu", s->name, j);
            int64_t seen = do_step(e, policy, s->steps[j].step, now_us), expected = s->steps[j].seen;
            if (s->steps[j].step == BACK_OFF)
                row_true(row, seen >= expected * 3 / 4 && seen <= expected * 5 / 4);
            else
                row_int(row, seen, expected);
        }
        match_policy_free(policy);
        registry_free(registry);
    }
}

/* Property: whatever fails, in whatever order, at most half are ejected and one stays. */
static void never_are_too_many_ejected(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 3, 10, 51 };
    struct match_policy *policy = policy_of(0, 0);
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct registry *registry = registry_new(2);
        struct endpoint *all[51];
        for (uint32_t i = 0; i < sizes[s]; i++) {
            char address[32];
            snprintf(address, sizeof(address), "10.0.0.%u:80", i + 1);
            all[i] = registry_at(registry, registry_claim(registry, "web@1.0.0", address, address, 0, 1));
        }
        pool_set_members(all[0]->pool, sizes[s], 50);
        srand(7);
        for (int64_t now_us = 1; now_us < 100000 * (int64_t)MS; now_us += 10 * MS) {
            struct endpoint *e = all[(uint32_t)rand() % sizes[s]];
            uint32_t n = 0;
            if (rand() % 4 == 0 && endpoint_awaits_trial(e, now_us, true))
                (void)endpoint_begin_trial(e, now_us);
            if (rand() % 16 == 0)
                (void)endpoint_answered(e, policy, now_us, now_us, 200);
            else
                (void)endpoint_failed(e, policy, ENDPOINT_UNREACHABLE, now_us, (uint64_t)rand());
            for (uint32_t i = 0; i < sizes[s]; i++)
                n += (endpoint_flags(all[i]) & ENDPOINT_EJECTED) != 0;
            assert_int_equal(n, all[0]->pool->n_ejected);
            assert_true(n <= sizes[s] / 2 && n < sizes[s]);
        }
        assert_true(sizes[s] < 2 || all[0]->pool->n_ejected > 0);
        registry_free(registry);
    }
    match_policy_free(policy);
}

static void a_limit_of_all_spares_one(void **state)
{
    struct pool *pool = pool_new("web@1.0.0", 1);
    pool_set_members(pool, 4, 100);
    for (int i = 0; i < 3; i++)
        assert_true(pool_take_ejection(pool));
    assert_false(pool_take_ejection(pool));
    pool_return_ejection(pool);
    assert_true(pool_take_ejection(pool));
    pool_free(pool);
}

/* Its share grows with the time, from a tenth on. */
static void slow_start_lets_more_and_more_through(void **state)
{
    static const struct {
        int64_t at_ms;
        int percent;
    } rows[] = { { 0, 10 }, { 500, 10 }, { 5000, 50 }, { 9000, 90 }, { 10000, 100 }, { 20000, 100 } };
    struct registry *registry = registry_new(1);
    struct match_policy *policy = policy_of(10000, 0);
    struct endpoint *e =
        registry_at(registry, registry_claim(registry, "web@1.0.0", "a", "10.0.0.1:80", 0, 1));
    pool_set_members(e->pool, 2, 50);
    assert_true(endpoint_failed(e, policy, ENDPOINT_UNREACHABLE, MS, 0) > 0);
    assert_true(endpoint_begin_trial(e, 3000 * MS));
    assert_true(endpoint_answered(e, policy, 3000 * MS, 3000 * MS, 200));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int n = 0;
        for (unsigned r = 0; r < 1000; r++)
            n += endpoint_is_warm(e, policy, 3000 * MS + rows[i].at_ms * MS, r);
        assert_int_equal(n, rows[i].percent * 10);
    }
    assert_int_equal(endpoint_health(e), HEALTH_HEALTHY);
    match_policy_free(policy);
    registry_free(registry);
}

static void retries_are_a_part_of_the_requests(void **state)
{
    static const struct {
        const char *name;
        unsigned percent;
        uint64_t requests_per_s, tries_per_s;
        int64_t at_most, at_least; /* in 60 s */
    } rows[] = {
        { "few failures among many", 20, 1000, 50, 3000, 3000 },
        { "all fail", 20, 1000, 1000, 12000 + 2 * RETRY_FLOOR * 7, 11000 },
        { "all fail twice", 20, 1000, 2000, 12000 + 2 * RETRY_FLOOR * 7, 11000 },
        { "a request a second, all fail", 20, 1, 1, 60, 30 },
        { "none allowed", 0, 1000, 1000, 0, 0 },
        { "as many as there are", 100, 100, 100, 6000, 5400 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct retry_budget b = { 0 };
        uint64_t requests = 0;
        int64_t taken = 0;
        for (int s = 0; s < 60; s++) {
            requests += rows[i].requests_per_s;
            for (uint64_t t = 0; t < rows[i].tries_per_s; t++)
                taken += retry_budget_take(&b, s * CLOCK_US_PER_S + 1, requests, rows[i].percent);
        }
        row_true(rows[i].name, taken <= rows[i].at_most);
        row_true(rows[i].name, taken >= rows[i].at_least);
    }
}

/* A quiet hour is no credit for a bad second. */
static void old_requests_pay_for_no_retries(void **state)
{
    struct retry_budget b = { 0 };
    int64_t taken = 0;
    for (int i = 0; i < 1000000; i++)
        taken += retry_budget_take(&b, 3600 * CLOCK_US_PER_S, 3600000, 20);
    /* 1,000 a second: a window's worth. */
    assert_in_range(taken, 900, 1100);
}

static void outliers_are_worse_than_the_others(void **state)
{
    static const struct {
        const char *name;
        uint64_t requests, errors, all_requests, all_errors;
        bool is;
    } rows[] = {
        { "all is well", 100, 0, 1000, 0, false },
        { "one of ten fails always", 100, 100, 1000, 100, true },
        { "one of two fails mostly", 100, 60, 200, 60, true },
        { "half is not more than half", 100, 50, 200, 50, false },
        { "too few to tell", 19, 19, 1000, 19, false },
        { "enough", 20, 20, 1000, 20, true },
        { "all fail alike", 100, 90, 1000, 900, false },
        { "not twice as bad", 100, 90, 200, 140, false },
        { "nobody to compare with", 100, 100, 100, 100, false },
    };
    struct match_policy *policy = policy_of(0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        row_int(rows[i].name,
            health_is_outlier(
                policy, rows[i].requests, rows[i].errors, rows[i].all_requests, rows[i].all_errors),
            rows[i].is);
    match_policy_free(policy);
}

static void slots_are_used_again_and_pools_go_with_them(void **state)
{
    struct registry *r = registry_new(2);
    uint32_t a = registry_claim(r, "web@1.0.0", "a", "10.0.0.1:80", 0, 1);
    uint32_t b = registry_claim(r, "web@1.0.0", "b", "10.0.0.2:80", 0, 1);
    assert_int_equal(registry_claim(r, "web@1.0.0", "b", "10.0.0.2:80", 0, 2), b);
    registry_sweep(r, 2);
    assert_null(registry_at(r, a));
    assert_non_null(registry_at(r, b));
    assert_int_equal(registry_claim(r, "web@2.0.0", "c", "[::1]:80", 0, 3), a);
    registry_sweep(r, 3);
    assert_null(registry_at(r, b));
    assert_ptr_equal(r->pools.next, r->pools.prev);
    assert_string_equal(list_first(&r->pools, struct pool, link)->name, "web@2.0.0");
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_ejected_and_come_back),
        cmocka_unit_test(never_are_too_many_ejected),
        cmocka_unit_test(a_limit_of_all_spares_one),
        cmocka_unit_test(slow_start_lets_more_and_more_through),
        cmocka_unit_test(retries_are_a_part_of_the_requests),
        cmocka_unit_test(old_requests_pay_for_no_retries),
        cmocka_unit_test(outliers_are_worse_than_the_others),
        cmocka_unit_test(slots_are_used_again_and_pools_go_with_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
