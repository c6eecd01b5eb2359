/* SPDX-License-Identifier: MIT */
#include "routerd/health.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/secret.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/match_policy.h"
#include "routerd/pool.h"
#include "routerd/probe.h"
#include "routerd/routerd.h"
#include "routerd/waiting.h"

struct health {
    struct routerd *routerd;
    struct timer soon;
    int64_t window_us; /* when the present window of outliers began */
    struct probes *probes;
    bool stopped; /* an older generation only finishes: nothing is probed */
};

#define WINDOW_US (HEALTH_OUTLIER_WINDOW_MS * CLOCK_US_PER_MS)

/* --- which may be picked --------------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When does time alone change this one? INT64_MAX: it doesn't. */
static int64_t next_change(const struct endpoint *e, int64_t now_us)
{
    int64_t until = atomic_load_explicit(&e->ejected_until_us, memory_order_relaxed);
    return endpoint_flags(e) & ENDPOINT_EJECTED && until > now_us ? until : INT64_MAX;
}

static void swap(struct match_slots *slots, uint32_t i, uint32_t j)
{
    uint32_t a = match_slot(slots, i), b = match_slot(slots, j);
    atomic_store_explicit(&slots->slot[i], b, memory_order_relaxed);
    atomic_store_explicit(&slots->slot[j], a, memory_order_relaxed);
}

/* Usable ones to the front. Where nothing has changed nothing is written. */
static void sort_out(struct health *h, struct match_slots *slots, int64_t now_us, int64_t *next_us)
{
    const struct registry *registry = h->routerd->registry;
    uint32_t i = 0, j = slots->n, before = atomic_load_explicit(&slots->n_usable, memory_order_relaxed);
    while (i < j) {
        const struct endpoint *front = registry_at(registry, match_slot(slots, i));
        if (endpoint_is_usable(front, now_us)) {
            i++;
            continue;
        }
        const struct endpoint *back = registry_at(registry, match_slot(slots, j - 1));
        if (endpoint_is_usable(back, now_us))
            swap(slots, i, j - 1);
        else
            j--;
    }
    for (uint32_t k = i; k < slots->n; k++)
        *next_us = earlier(*next_us, next_change(registry_at(registry, match_slot(slots, k)), now_us));
    if (i != before)
        atomic_store_explicit(&slots->n_usable, i, memory_order_relaxed);
    if (i > before && atomic_load_explicit(&slots->pool->waiting, memory_order_relaxed))
        waiting_ring(h->routerd, slots->pool);
}

static void sort_out_all(struct health *h, const struct match_table *table)
{
    int64_t now_us = loop_now(h->routerd->loop).us, next_us = INT64_MAX;
    for (uint32_t i = 0; i < table->n_services; i++) {
        for (uint32_t j = 0; j < table->services[i]->n_releases; j++)
            sort_out(h, table->services[i]->releases[j].slots, now_us, &next_us);
    }
    if (next_us == INT64_MAX)
        return;
    int64_t ms = (next_us - now_us) / CLOCK_US_PER_MS + 1;
    timer_set(&h->soon, ms > HEALTH_SOON_MS ? ms : HEALTH_SOON_MS);
}

static void on_soon(void *arg)
{
    struct health *h = arg;
    if (h->routerd->table)
        sort_out_all(h, h->routerd->table);
}

void health_soon(struct health *h)
{
    int64_t due = loop_now(h->routerd->loop).us + HEALTH_SOON_MS * CLOCK_US_PER_MS;
    if (!timer_is_set(&h->soon) || h->soon.due.us > due)
        timer_set(&h->soon, HEALTH_SOON_MS);
}

static void on_probed(void *arg)
{
    health_soon(arg);
}

/* --- a new table ----------------------------------------------------------------------------------------- */

void health_attach(struct health *h, const struct match_table *table)
{
    for (uint32_t i = 0; i < table->n_fresh; i++) {
        const struct match_service *s = table->fresh[i];
        for (uint32_t j = 0; j < s->n_releases; j++)
            s->releases[j].slots->pool =
                registry_pool(h->routerd->registry, s->releases[j].name, table->serial);
    }
}

static void enter(struct health *h, struct endpoint *e, const struct match_policy *policy, bool late)
{
    uint32_t flags = 0;
    if (policy->probe_path && policy->start_unhealthy && !h->stopped)
        flags |= ENDPOINT_UNPROVEN;
    else if (late && policy->slow_start_ms > 0)
        flags |= ENDPOINT_WARMING;
    e->in_use = true;
    atomic_store_explicit(&e->warm_from_us, loop_now(h->routerd->loop).us, memory_order_relaxed);
    atomic_fetch_or_explicit(&e->flags, flags, memory_order_relaxed);
}

/* Whoever comes to others that are at work already starts slowly. */
static void enter_release(
    struct health *h, const struct match_release *release, const struct match_policy *policy)
{
    struct match_slots *slots = release->slots;
    bool late = atomic_load_explicit(&slots->pool->n_members, memory_order_relaxed) > 0;
    pool_set_members(slots->pool, slots->n, policy->max_ejected_percent);
    for (uint32_t i = 0; i < slots->n; i++) {
        struct endpoint *e = registry_at(h->routerd->registry, match_slot(slots, i));
        if (!e->in_use)
            enter(h, e, policy, late);
        if (!policy->probe_path && endpoint_flags(e) & (ENDPOINT_PROBE_FAILED | ENDPOINT_UNPROVEN))
            atomic_fetch_and_explicit(
                &e->flags, ~(uint32_t)(ENDPOINT_PROBE_FAILED | ENDPOINT_UNPROVEN), memory_order_relaxed);
    }
}

/* Endpoints that take no new request are watched: the hub waits for their counts. */
static void mark_draining(struct registry *registry, const struct match_table *table)
{
    bool *live = xcalloc(registry->n_slots + 1, sizeof(*live));
    for (uint32_t i = 0; i < table->n_services; i++) {
        const struct match_service *s = table->services[i];
        for (uint32_t k = 0; k < s->n_slots; k++) {
            live[s->slots[k]] |= !s->slot_draining[k];
            registry_keep(registry, s->slots[k], table->serial);
        }
    }
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        struct endpoint *e = registry_at(registry, i);
        if (!e)
            continue;
        atomic_store_explicit(&e->draining, !live[i], memory_order_relaxed);
        if (live[i] || !e->in_use)
            continue;
        e->in_use = false;
        endpoint_end_ejection(e);
    }
    free(live);
}

static void enter_service(struct health *h, const struct match_service *s, int64_t serial)
{
    for (uint32_t j = 0; j < s->n_releases; j++) {
        struct pool *pool = s->releases[j].slots->pool;
        if (serial > pool->named_by)
            pool->named_by = serial;
        enter_release(h, &s->releases[j], s->policy);
    }
}

void health_enter(struct health *h, const struct match_table *table)
{
    int64_t now_us = loop_now(h->routerd->loop).us, next_us = INT64_MAX;
    for (uint32_t i = 0; i < table->n_fresh; i++) {
        const struct match_service *s = table->fresh[i];
        enter_service(h, s, table->serial);
        for (uint32_t j = 0; j < s->n_releases; j++)
            sort_out(h, s->releases[j].slots, now_us, &next_us);
    }
}

void health_serve(struct health *h, const struct match_table *table)
{
    mark_draining(h->routerd->registry, table);
    for (uint32_t i = 0; i < table->n_services; i++)
        enter_service(h, table->services[i], table->serial);
    probes_serve(h->probes, h->stopped ? NULL : table);
    sort_out_all(h, table);
}

/* --- outliers -------------------------------------------------------------------------------------------- */

struct sum {
    uint64_t requests, errors;
};

static uint64_t count(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct sum sum_of(const struct registry *registry, uint32_t slot)
{
    struct sum sum = { 0, 0 };
    for (unsigned w = 0; w < registry->n_workers; w++) {
        const struct endpoint_local *l = registry_local(registry, w, slot);
        for (unsigned c = 0; c < STATUS_CLASS_MAX_; c++)
            sum.requests += count(&l->status[c]);
        sum.errors += count(&l->status[STATUS_5XX]) + count(&l->failures);
        sum.requests += count(&l->failures);
    }
    return sum;
}

static void look(const struct registry *registry, struct endpoint *e, bool new_window)
{
    struct outlier_window *w = &e->window;
    struct sum sum = sum_of(registry, e->slot);
    if (new_window) {
        w->last_requests = w->now_requests;
        w->last_errors = w->now_errors;
        w->now_requests = w->now_errors = 0;
    }
    w->now_requests += (uint32_t)(sum.requests - w->requests);
    w->now_errors += (uint32_t)(sum.errors - w->errors);
    w->requests = sum.requests;
    w->errors = sum.errors;
}

static struct sum window_of(const struct endpoint *e)
{
    return (struct sum){ e->window.now_requests + e->window.last_requests,
        e->window.now_errors + e->window.last_errors };
}

/* Often enough asked, wrong too often, and twice as often as the others: where all go wrong it is not the endpoint. */
bool health_is_outlier(const struct match_policy *policy, uint64_t requests, uint64_t errors,
    uint64_t all_requests, uint64_t all_errors)
{
    uint64_t others = all_requests - requests, others_errors = all_errors - errors;
    return policy->outlier_percent > 0 && requests >= policy->outlier_requests && others > 0 &&
        errors * 100 > requests * policy->outlier_percent && errors * others > 2 * others_errors * requests;
}

static void eject_outlier(struct health *h, struct endpoint *e, struct sum own, int64_t now_us)
{
    uint64_t random;
    random_bytes(&random, sizeof(random));
    int64_t ms = endpoint_eject(e, now_us, random);
    if (ms == 0)
        return;
    /* What it has done is paid for. */
    e->window.now_requests = e->window.now_errors = e->window.last_requests = e->window.last_errors = 0;
    log_warning(&(struct log_about){ .instance = e->id },
        "endpoint %s of %s gets no requests for %" PRId64 " ms: %" PRIu64 " of %" PRIu64
        " went wrong, more than elsewhere",
        e->address_text, e->release, ms, own.errors, own.requests);
    health_soon(h);
}

static void look_at_release(
    struct health *h, const struct match_slots *slots, const struct match_policy *policy, bool new_window)
{
    const struct registry *registry = h->routerd->registry;
    int64_t now_us = loop_now(h->routerd->loop).us;
    struct sum all = { 0, 0 };
    for (uint32_t i = 0; i < slots->n; i++) {
        struct endpoint *e = registry_at(registry, match_slot(slots, i));
        endpoint_forgive(e, now_us);
        if (slots->n < 2 || policy->outlier_percent == 0)
            continue;
        look(registry, e, new_window);
        struct sum own = window_of(e);
        all.requests += own.requests;
        all.errors += own.errors;
    }
    for (uint32_t i = 0; all.errors > 0 && i < slots->n; i++) {
        struct endpoint *e = registry_at(registry, match_slot(slots, i));
        struct sum own = window_of(e);
        if (!(endpoint_flags(e) & ENDPOINT_EJECTED) &&
            health_is_outlier(policy, own.requests, own.errors, all.requests, all.errors))
            eject_outlier(h, e, own, now_us);
    }
}

/* Whoever waits looks again: should a word have been lost, it costs a second. */
static void wake_all(struct health *h)
{
    struct pool *pool;
    list_for_each (pool, &h->routerd->registry->pools, link) {
        if (atomic_load_explicit(&pool->waiting, memory_order_relaxed))
            waiting_ring(h->routerd, pool);
    }
}

void health_tick(struct health *h)
{
    const struct match_table *table = h->routerd->table;
    int64_t now_us = loop_now(h->routerd->loop).us;
    bool new_window = now_us - h->window_us >= WINDOW_US;
    if (new_window)
        h->window_us = now_us;
    for (uint32_t i = 0; table && i < table->n_services; i++) {
        const struct match_service *s = table->services[i];
        for (uint32_t j = 0; j < s->n_releases; j++)
            look_at_release(h, s->releases[j].slots, s->policy, new_window);
    }
    wake_all(h);
}

/* --- life ------------------------------------------------------------------------------------------------ */

struct health *health_new(struct routerd *routerd)
{
    struct health *h = xcalloc(1, sizeof(*h));
    h->routerd = routerd;
    timer_init(&h->soon, routerd->loop, on_soon, h);
    h->probes = probes_new(routerd->loop, routerd->registry, on_probed, h);
    return h;
}

void health_stop(struct health *h)
{
    const struct registry *registry = h->routerd->registry;
    h->stopped = true;
    probes_serve(h->probes, NULL);
    /* Nobody proves anything here any more: those that are left try for themselves. */
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        struct endpoint *e = registry_at(registry, i);
        if (e)
            atomic_fetch_and_explicit(&e->flags, ~(uint32_t)ENDPOINT_UNPROVEN, memory_order_relaxed);
    }
}

void health_free(struct health *h)
{
    if (!h)
        return;
    timer_done(&h->soon);
    probes_free(h->probes);
    free(h);
}
