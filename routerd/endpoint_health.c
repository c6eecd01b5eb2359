/* SPDX-License-Identifier: MIT */
#include "routerd/endpoint.h"

#include "common/mem.h"
#include "routerd/match_policy.h"
#include "routerd/pool.h"

/* What is wrong with an endpoint, and when it is tried again. All of it is atomic and may be asked and told by any
 * worker at any time: who is first decides, and being a request late does no harm. */

const char *const endpoint_health_names[] = {
    [HEALTH_HEALTHY] = "healthy",
    [HEALTH_WARMING] = "slow-start",
    [HEALTH_EJECTED] = "ejected",
    [HEALTH_PROBE_FAILED] = "probe-failed",
    [HEALTH_UNPROVEN] = "unproven",
};
_Static_assert(ARRAY_SIZE(endpoint_health_names) == HEALTH_MAX_, "a word for each");

#define NOT_USABLE (ENDPOINT_EJECTED | ENDPOINT_PROBE_FAILED | ENDPOINT_UNPROVEN)

static int64_t load(const _Atomic int64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void store(_Atomic int64_t *p, int64_t value)
{
    atomic_store_explicit(p, value, memory_order_relaxed);
}

static uint32_t set_flags(struct endpoint *e, uint32_t flags)
{
    return atomic_fetch_or_explicit(&e->flags, flags, memory_order_acq_rel);
}

static uint32_t clear_flags(struct endpoint *e, uint32_t flags)
{
    return atomic_fetch_and_explicit(&e->flags, ~flags, memory_order_acq_rel);
}

/* --- what may be picked ---------------------------------------------------------------------------------- */

void endpoint_set_limit(struct endpoint *e, int64_t max_in_flight)
{
    store(&e->max_in_flight, max_in_flight);
    if (max_in_flight > 0)
        set_flags(e, ENDPOINT_LIMITED);
    else
        clear_flags(e, ENDPOINT_LIMITED);
}

bool endpoint_is_full(const struct endpoint *e)
{
    int64_t max = load(&e->max_in_flight);
    return max > 0 && load(&e->limited_in_flight) >= max;
}

bool endpoint_is_usable(const struct endpoint *e, int64_t now_us)
{
    uint32_t flags = endpoint_flags(e) & NOT_USABLE;
    return flags == 0 || (flags == ENDPOINT_EJECTED && load(&e->ejected_until_us) <= now_us);
}

bool endpoint_awaits_trial(const struct endpoint *e, int64_t now_us, bool idempotent)
{
    int64_t since_us = now_us - load(&e->ejected_until_us);
    return (endpoint_flags(e) & ENDPOINT_EJECTED) &&
        since_us >= (idempotent ? 0 : ENDPOINT_TRIAL_ANY_MS * CLOCK_US_PER_MS);
}

bool endpoint_begin_trial(struct endpoint *e, int64_t now_us)
{
    int64_t until = load(&e->ejected_until_us);
    /* Should the trial never end, another one may begin. */
    if (until > now_us ||
        !atomic_compare_exchange_strong_explicit(&e->ejected_until_us, &until,
            now_us + ENDPOINT_TRIAL_MS * CLOCK_US_PER_MS, memory_order_relaxed, memory_order_relaxed))
        return false;
    set_flags(e, ENDPOINT_TRIAL);
    return true;
}

bool endpoint_is_warm(struct endpoint *e, const struct match_policy *policy, int64_t now_us, uint64_t random)
{
    int64_t whole = policy->slow_start_ms * CLOCK_US_PER_MS, elapsed = now_us - load(&e->warm_from_us);
    if (elapsed >= whole) {
        clear_flags(e, ENDPOINT_WARMING);
        return true;
    }
    int64_t percent = elapsed > 0 ? elapsed * 100 / whole : 0;
    return (int64_t)(random % 100) < (percent > ENDPOINT_WARM_MIN ? percent : ENDPOINT_WARM_MIN);
}

/* --- ejection -------------------------------------------------------------------------------------------- */

/* 1 s, 2 s, 4 s … 60 s, a quarter more or less, so that many are not tried at once. */
static int64_t back_off_ms(struct endpoint *e, uint64_t random)
{
    uint32_t n = atomic_fetch_add_explicit(&e->ejections_in_row, 1, memory_order_relaxed);
    int64_t ms = n < 6 ? (int64_t)ENDPOINT_EJECT_MS << n : ENDPOINT_EJECT_MAX_MS;
    return ms * 3 / 4 + (int64_t)(random % (uint64_t)(ms / 2));
}

static int64_t eject_until(struct endpoint *e, int64_t now_us, uint64_t random)
{
    int64_t ms = back_off_ms(e, random);
    store(&e->ejected_at_us, now_us);
    store(&e->ejected_until_us, now_us + ms * CLOCK_US_PER_MS);
    atomic_fetch_add_explicit(&e->n_ejections, 1, memory_order_relaxed);
    return ms;
}

int64_t endpoint_eject(struct endpoint *e, int64_t now_us, uint64_t random)
{
    uint32_t flags = endpoint_flags(e);
    if (flags & ENDPOINT_EJECTED) {
        /* The trial went wrong; whoever else is still there from before, or for want of a better one, adds nothing. */
        return flags & ENDPOINT_TRIAL && clear_flags(e, ENDPOINT_TRIAL) & ENDPOINT_TRIAL
            ? eject_until(e, now_us, random)
            : 0;
    }
    if (!pool_take_ejection(e->pool))
        return 0;
    /* Nobody shall take it for one that awaits its trial. */
    store(&e->ejected_until_us, now_us + ENDPOINT_EJECT_MS * CLOCK_US_PER_MS);
    if (set_flags(e, ENDPOINT_EJECTED) & ENDPOINT_EJECTED) {
        pool_return_ejection(e->pool);
        return 0;
    }
    return eject_until(e, now_us, random);
}

int64_t endpoint_failed(struct endpoint *e, const struct match_policy *policy, enum endpoint_failure failure,
    int64_t now_us, uint64_t random)
{
    bool error = failure == ENDPOINT_ERROR;
    uint32_t limit = error ? policy->eject_errors : policy->eject_after;
    uint32_t n =
        atomic_fetch_add_explicit(error ? &e->errors_in_row : &e->failures_in_row, 1, memory_order_relaxed) +
        1;
    if (!(endpoint_flags(e) & ENDPOINT_STUMBLED))
        set_flags(e, ENDPOINT_STUMBLED);
    if (error)
        atomic_store_explicit(&e->failures_in_row, 0, memory_order_relaxed);
    if (limit == 0)
        return 0;
    if (failure == ENDPOINT_UNREACHABLE)
        limit = 1;
    /* Whoever failed his trial has failed. */
    return n >= limit || endpoint_flags(e) & ENDPOINT_TRIAL ? endpoint_eject(e, now_us, random) : 0;
}

void endpoint_end_ejection(struct endpoint *e)
{
    if (clear_flags(e, ENDPOINT_EJECTED | ENDPOINT_TRIAL) & ENDPOINT_EJECTED)
        pool_return_ejection(e->pool);
}

/* Answers to what was sent before the ejection say nothing about now. */
static bool come_back(
    struct endpoint *e, const struct match_policy *policy, int64_t started_us, int64_t now_us)
{
    if (started_us < load(&e->ejected_at_us))
        return false;
    store(&e->warm_from_us, now_us);
    if (policy->slow_start_ms > 0)
        set_flags(e, ENDPOINT_WARMING);
    if (!(clear_flags(e, ENDPOINT_EJECTED | ENDPOINT_TRIAL) & ENDPOINT_EJECTED))
        return false;
    pool_return_ejection(e->pool);
    return true;
}

bool endpoint_answered(
    struct endpoint *e, const struct match_policy *policy, int64_t started_us, int64_t now_us, int status)
{
    uint32_t flags = endpoint_flags(e);
    /* The usual case reads one word. */
    if (!(flags & (ENDPOINT_STUMBLED | ENDPOINT_EJECTED)))
        return false;
    if (flags & ENDPOINT_STUMBLED) {
        atomic_store_explicit(&e->failures_in_row, 0, memory_order_relaxed);
        if (status < 500) {
            atomic_store_explicit(&e->errors_in_row, 0, memory_order_relaxed);
            clear_flags(e, ENDPOINT_STUMBLED);
        }
    }
    return flags & ENDPOINT_EJECTED && come_back(e, policy, started_us, now_us);
}

void endpoint_forgive(struct endpoint *e, int64_t now_us)
{
    uint32_t n = atomic_load_explicit(&e->ejections_in_row, memory_order_relaxed);
    if (n == 0 || endpoint_flags(e) & ENDPOINT_EJECTED) {
        e->forgiven_us = now_us;
        return;
    }
    if (now_us - e->forgiven_us < ENDPOINT_FORGIVE_MS * CLOCK_US_PER_MS)
        return;
    e->forgiven_us = now_us;
    /* Beyond six nothing grows any more. */
    atomic_store_explicit(&e->ejections_in_row, n > 6 ? 5 : n - 1, memory_order_relaxed);
}

enum endpoint_health endpoint_health(const struct endpoint *e)
{
    static const struct {
        uint32_t flag;
        enum endpoint_health health;
    } rows[] = {
        { ENDPOINT_UNPROVEN, HEALTH_UNPROVEN },
        { ENDPOINT_PROBE_FAILED, HEALTH_PROBE_FAILED },
        { ENDPOINT_EJECTED, HEALTH_EJECTED },
        { ENDPOINT_WARMING, HEALTH_WARMING },
    };
    uint32_t flags = endpoint_flags(e);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (flags & rows[i].flag)
            return rows[i].health;
    }
    return HEALTH_HEALTHY;
}
