/* SPDX-License-Identifier: MIT */
#include "routerd/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/map.h"
#include "common/mem.h"
#include "routerd/match.h"
#include "routerd/pool.h"
#include "routerd/tally.h"

const char *const status_class_names[STATUS_CLASS_MAX_] = { "2xx", "3xx", "4xx", "5xx", "1xx" };

static void endpoint_free(void *p)
{
    struct endpoint *e = p;
    if (!e)
        return;
    if (e->pool)
        e->pool->n_refs--;
    free(e->id);
    free(e->address_text);
    free(e);
}

/* Reserved whole, so that growing never moves what workers read; the kernel gives pages as they are touched. */
static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

struct registry *registry_new(unsigned n_workers)
{
    struct registry *r = xcalloc(1, sizeof(*r));
    r->n_workers = n_workers < ENDPOINT_WORKERS_MAX ? n_workers : ENDPOINT_WORKERS_MAX;
    r->slots = reserve(ENDPOINT_SLOTS_MAX * sizeof(struct endpoint *));
    for (unsigned w = 0; w < r->n_workers; w++)
        r->pages[w] = xcalloc(ENDPOINT_PAGES_MAX, sizeof(struct endpoint_page *));
    r->by_key = map_new(NULL);
    r->pool_names = map_new(NULL);
    list_init(&r->pools);
    return r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->n_slots; i++)
        endpoint_free(r->slots[i]);
    struct pool *pool, *next;
    list_for_each_safe (pool, next, &r->pools, link)
        pool_free(pool);
    map_free(r->pool_names);
    for (unsigned w = 0; w < r->n_workers; w++) {
        for (uint32_t p = 0; p < ENDPOINT_PAGES_MAX && r->pages[w][p]; p++)
            free(r->pages[w][p]);
        free(r->pages[w]);
    }
    munmap(r->slots, ENDPOINT_SLOTS_MAX * sizeof(struct endpoint *));
    map_free(r->by_key);
    free(r);
}

static void add_pages(struct registry *r, uint32_t page)
{
    for (unsigned w = 0; w < r->n_workers; w++) {
        if (r->pages[w][page])
            continue;
        struct endpoint_page *p = aligned_alloc(64, sizeof(*p));
        if (!p)
            abort();
        memset(p, 0, sizeof(*p));
        for (int i = 0; i < ENDPOINT_PAGE; i++)
            list_init(&p->slots[i].idle);
        r->pages[w][page] = p;
    }
}

static uint32_t free_slot(struct registry *r)
{
    while (r->free_from < r->n_slots && r->slots[r->free_from])
        r->free_from++;
    if (r->free_from < r->n_slots)
        return r->free_from;
    if (r->n_slots == ENDPOINT_SLOTS_MAX)
        return MATCH_NONE;
    add_pages(r, r->n_slots / ENDPOINT_PAGE);
    return r->n_slots++;
}

static void zero_locals(struct registry *r, uint32_t slot)
{
    for (unsigned w = 0; w < r->n_workers; w++) {
        struct endpoint_local *l = registry_local(r, w, slot);
        l->in_flight = 0;
        l->last_hit_us = 0;
        l->bytes_in = l->bytes_out = l->latency_sum_us = l->failures = 0;
        for (size_t i = 0; i < ARRAY_SIZE(l->status); i++)
            l->status[i] = 0;
        for (size_t i = 0; i < ARRAY_SIZE(l->latency); i++)
            l->latency[i] = 0;
    }
}

struct pool *registry_pool(struct registry *r, const char *release, int64_t serial)
{
    struct pool *pool = map_get(r->pool_names, release);
    if (!pool) {
        pool = pool_new(release, r->n_workers);
        list_append(&r->pools, &pool->link);
        map_set(r->pool_names, pool->name, pool);
    }
    if (serial > pool->named_by)
        pool->named_by = serial;
    return pool;
}

static struct endpoint *endpoint_new(
    struct registry *r, struct pool *pool, const char *id, const char *address)
{
    struct wire_address parsed;
    if (wire_address_parse(address, 0, &parsed, NULL) < 0)
        return NULL;
    uint32_t slot = free_slot(r);
    if (slot == MATCH_NONE)
        return NULL;
    struct endpoint *e = xcalloc(1, sizeof(*e));
    e->pool = pool;
    pool->n_refs++;
    e->release = pool->name;
    e->id = xstrdup(id);
    e->address_text = xstrdup(address);
    e->address = parsed;
    e->slot = slot;
    zero_locals(r, slot);
    r->slots[slot] = e;
    return e;
}

uint32_t registry_claim(struct registry *r, const char *release, const char *id, const char *address,
    int64_t max_in_flight, int64_t serial)
{
    _cleanup_(free_ptr) char *key = xasprintf("%s %s %s", release, id, address);
    struct endpoint *e = map_get(r->by_key, key);
    if (!e) {
        e = endpoint_new(r, registry_pool(r, release, serial), id, address);
        if (!e)
            return MATCH_NONE;
        map_set(r->by_key, key, e);
    }
    endpoint_set_limit(e, max_in_flight);
    if (serial > e->named_by)
        e->named_by = serial;
    return e->slot;
}

void registry_keep(struct registry *r, uint32_t slot, int64_t serial)
{
    struct endpoint *e = registry_at(r, slot);
    if (serial > e->named_by)
        e->named_by = serial;
}

int64_t endpoint_load(const struct registry *r, unsigned worker, uint32_t slot)
{
    unsigned n = r->n_workers < ENDPOINT_SUMMED_WORKERS ? r->n_workers : ENDPOINT_SUMMED_WORKERS;
    int64_t sum = 0;
    for (unsigned i = 0, w = worker; i < n; i++, w = w + 1 < r->n_workers ? w + 1 : 0)
        sum += atomic_load_explicit(&registry_local(r, w, slot)->in_flight, memory_order_relaxed);
    return sum;
}

static bool is_idle(const struct registry *r, uint32_t slot)
{
    for (unsigned w = 0; w < r->n_workers; w++) {
        const struct endpoint_local *l = registry_local(r, w, slot);
        if (atomic_load_explicit(&l->n_idle, memory_order_acquire) > 0 ||
            atomic_load_explicit(&l->in_flight, memory_order_acquire) > 0)
            return false;
    }
    return true;
}

static void give_up(struct registry *r, struct endpoint *e)
{
    _cleanup_(free_ptr) char *key = xasprintf("%s %s %s", e->release, e->id, e->address_text);
    tally_endpoint_gone(r, e);
    endpoint_end_ejection(e);
    map_remove(r->by_key, key);
    r->slots[e->slot] = NULL;
    if (e->slot < r->free_from)
        r->free_from = e->slot;
    endpoint_free(e);
}

void registry_sweep(struct registry *r, int64_t oldest)
{
    for (uint32_t i = 0; i < r->n_slots; i++) {
        struct endpoint *e = r->slots[i];
        if (e && e->named_by < oldest && !e->probe && is_idle(r, i))
            give_up(r, e);
    }
    struct pool *pool, *next;
    list_for_each_safe (pool, next, &r->pools, link) {
        if (pool->named_by >= oldest || pool->n_refs > 0)
            continue;
        map_remove(r->pool_names, pool->name);
        if (r->tally)
            tally_pool_gone(r->tally, pool);
        pool_free(pool);
    }
}

/* --- latency --------------------------------------------------------------------------------------------- */

/* Upper ends in µs, round in decimal so that objectives (100 ms, 2.5 s) fall on them. */
#define DECADE(n) \
    10 * (n), 125 * (n) / 10, 15 * (n), 20 * (n), 25 * (n), 30 * (n), 40 * (n), 50 * (n), 60 * (n), 80 * (n)
static const uint32_t bounds[ENDPOINT_LATENCY_BUCKETS - 1] = { DECADE(1), DECADE(10), DECADE(100),
    DECADE(1000), DECADE(10000), DECADE(100000), DECADE(1000000), 100000000 };

/* First bucket whose end is at least 2^i: from there a few steps lead to the right one. */
static const uint8_t starts[] = { 0, 0, 0, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45, 48, 51,
    54, 57, 60, 63, 66, 69 };

unsigned latency_bucket(int64_t us)
{
    if (us <= bounds[0])
        return 0;
    if (us > bounds[ARRAY_SIZE(bounds) - 1])
        return ARRAY_SIZE(bounds);
    unsigned b = starts[31 - (unsigned)__builtin_clz((unsigned)us)];
    while (bounds[b] < us)
        b++;
    return b;
}

int64_t latency_value(unsigned bucket)
{
    return bounds[bucket < ARRAY_SIZE(bounds) ? bucket : ARRAY_SIZE(bounds) - 1];
}

int64_t latency_percentile(const uint64_t *buckets, unsigned percent)
{
    uint64_t all = 0, seen = 0;
    unsigned b = 0;
    for (unsigned i = 0; i < ENDPOINT_LATENCY_BUCKETS; i++)
        all += buckets[i];
    if (all == 0)
        return 0;
    for (; b < ENDPOINT_LATENCY_BUCKETS - 1; b++) {
        seen += buckets[b];
        if (seen * 100 >= all * percent)
            break;
    }
    return latency_value(b);
}
