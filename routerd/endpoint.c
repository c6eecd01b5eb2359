/* SPDX-License-Identifier: MIT */
#include "routerd/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/map.h"
#include "common/mem.h"
#include "routerd/match.h"

static void endpoint_free(void *p)
{
    struct endpoint *e = p;
    if (!e)
        return;
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
    return r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->n_slots; i++)
        endpoint_free(r->slots[i]);
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
    for (uint32_t i = 0; i < r->n_slots; i++) {
        if (!r->slots[i])
            return i;
    }
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
        l->requests = l->failures = 0;
        l->last_hit_us = 0;
        for (size_t i = 0; i < ARRAY_SIZE(l->status); i++)
            l->status[i] = 0;
        for (size_t i = 0; i < ARRAY_SIZE(l->latency); i++)
            l->latency[i] = 0;
    }
}

uint32_t registry_claim(
    struct registry *r, const char *id, const char *address, int64_t max_in_flight, int64_t serial)
{
    _cleanup_(free_ptr) char *key = xasprintf("%s %s", id, address);
    struct endpoint *e = map_get(r->by_key, key);
    if (!e) {
        struct wire_address parsed;
        if (wire_address_parse(address, 0, &parsed, NULL) < 0)
            return MATCH_NONE;
        uint32_t slot = free_slot(r);
        if (slot == MATCH_NONE)
            return MATCH_NONE;
        e = xcalloc(1, sizeof(*e));
        e->id = xstrdup(id);
        e->address_text = xstrdup(address);
        e->address = parsed;
        e->slot = slot;
        zero_locals(r, slot);
        r->slots[slot] = e;
        map_set(r->by_key, key, e);
    }
    atomic_store_explicit(&e->max_in_flight, max_in_flight, memory_order_relaxed);
    if (serial > e->named_by)
        e->named_by = serial;
    return e->slot;
}

int64_t endpoint_in_flight(const struct registry *r, uint32_t slot)
{
    int64_t sum = 0;
    for (unsigned w = 0; w < r->n_workers; w++)
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

void registry_sweep(struct registry *r, int64_t oldest)
{
    for (uint32_t i = 0; i < r->n_slots; i++) {
        struct endpoint *e = r->slots[i];
        if (!e || e->named_by >= oldest || !is_idle(r, i))
            continue;
        _cleanup_(free_ptr) char *key = xasprintf("%s %s", e->id, e->address_text);
        map_remove(r->by_key, key);
        r->slots[i] = NULL;
        endpoint_free(e);
    }
}

/* --- ejection -------------------------------------------------------------------------------------------- */

bool endpoint_failed(struct endpoint *e, int64_t now_us, bool connecting, int64_t *ret_ms)
{
    uint32_t failures = atomic_fetch_add_explicit(&e->failures_in_row, 1, memory_order_relaxed) + 1;
    if ((!connecting && failures < ENDPOINT_FAILURES_MAX) || endpoint_is_ejected(e, now_us))
        return false;
    uint32_t n = atomic_fetch_add_explicit(&e->ejections_in_row, 1, memory_order_relaxed);
    int64_t ms = n >= 6 ? ENDPOINT_EJECT_MAX_MS : (int64_t)ENDPOINT_EJECT_MS << n;
    if (ms > ENDPOINT_EJECT_MAX_MS)
        ms = ENDPOINT_EJECT_MAX_MS;
    atomic_store_explicit(&e->ejected_until_us, now_us + ms * CLOCK_US_PER_MS, memory_order_relaxed);
    *ret_ms = ms;
    return true;
}

bool endpoint_succeeded(struct endpoint *e)
{
    /* Reading first keeps the line shared in the usual case. */
    if (atomic_load_explicit(&e->failures_in_row, memory_order_relaxed) == 0)
        return false;
    atomic_store_explicit(&e->failures_in_row, 0, memory_order_relaxed);
    bool was = atomic_exchange_explicit(&e->ejections_in_row, 0, memory_order_relaxed) > 0;
    atomic_store_explicit(&e->ejected_until_us, 0, memory_order_relaxed);
    return was;
}

/* --- latency --------------------------------------------------------------------------------------------- */

#define LATENCY_FLOOR_BITS 4 /* 16 µs */

unsigned latency_bucket(int64_t us)
{
    if (us < 1 << LATENCY_FLOOR_BITS)
        return 0;
    unsigned bits = 63 - (unsigned)__builtin_clzll((unsigned long long)us);
    unsigned b = (bits - LATENCY_FLOOR_BITS) * 4 + (unsigned)(us >> (bits - 2) & 3) + 1;
    return b < ENDPOINT_LATENCY_BUCKETS ? b : ENDPOINT_LATENCY_BUCKETS - 1;
}

int64_t latency_value(unsigned bucket)
{
    if (bucket == 0)
        return 1 << LATENCY_FLOOR_BITS;
    unsigned bits = (bucket - 1) / 4 + LATENCY_FLOOR_BITS;
    return (int64_t)((bucket - 1) % 4 + 5) << (bits - 2);
}
