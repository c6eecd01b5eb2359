/* SPDX-License-Identifier: MIT */
#pragma once

/* Endpoints at run time: what outlives routing tables. The registry (main thread) hands out dense slots; every
 * worker has an array by slot of its own counters and pools, written by that worker alone and read by all with
 * relaxed atomics. Shared by workers, besides, only ejection and the count of endpoints that have a limit.
 *
 * A slot is used again when no table names it, nothing is in flight and no worker keeps a connection to it. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/list.h"
#include "common/wire.h"

#define ENDPOINT_WORKERS_MAX     64
#define ENDPOINT_PAGE            64 /* slots */
#define ENDPOINT_PAGES_MAX       2048
#define ENDPOINT_SLOTS_MAX       (ENDPOINT_PAGE * ENDPOINT_PAGES_MAX)
#define ENDPOINT_FAILURES_MAX    5    /* in a row, after the connection stood, until it is ejected */
#define ENDPOINT_EJECT_MS        1000 /* the first time; doubles each time */
#define ENDPOINT_EJECT_MAX_MS    60000
#define ENDPOINT_LATENCY_BUCKETS 88 /* four per octave from 16 µs */

/* One worker's part. The worker writes, anyone reads. */
struct endpoint_local {
    _Atomic int32_t in_flight;
    _Atomic uint32_t n_idle; /* pooled connections */
    _Atomic uint64_t requests, failures;
    _Atomic uint64_t status[6];  /* by hundreds; [0] is unused */
    _Atomic int64_t last_hit_us; /* wall clock */
    struct list idle;            /* struct upconn, the one used last in front; the worker's alone */
    _Atomic uint32_t latency[ENDPOINT_LATENCY_BUCKETS];
} __attribute__((aligned(64)));

struct endpoint {
    char *id, *address_text;
    struct wire_address address;
    uint32_t slot;
    /* shared by workers */
    _Atomic int64_t max_in_flight;    /* 0: no limit */
    _Atomic int64_t ejected_until_us; /* monotonic; 0: never */
    _Atomic uint32_t failures_in_row;
    _Atomic uint32_t ejections_in_row;
    _Atomic int64_t limited_in_flight; /* only where max_in_flight > 0 */
    _Atomic bool draining;             /* or gone from the table: the hub waits for its count */
    /* the main thread's */
    bool named; /* by a table that is served or prepared */
    int64_t named_by;
    int64_t reported_in_flight;
    uint64_t reported_requests, reported_failures;
    bool reported_ejected, was_reported;
    uint32_t reported_latency[ENDPOINT_LATENCY_BUCKETS];
};

struct endpoint_page {
    struct endpoint_local slots[ENDPOINT_PAGE];
};

struct registry {
    unsigned n_workers;
    struct endpoint **slots; /* NULL: free; ENDPOINT_SLOTS_MAX pointers, reserved at once, touched as used */
    uint32_t n_slots;        /* highest ever used + 1 */
    struct map *by_key;      /* "id address" → struct endpoint */
    struct endpoint_page **pages[ENDPOINT_WORKERS_MAX]; /* by worker, then page */
};

struct registry *registry_new(unsigned n_workers);
void registry_free(struct registry *registry);

/* --- main thread ----------------------------------------------------------------------------------------- */

/* Slot of the endpoint with that id and address, a new one if need be; MATCH_NONE when all are taken or the address
 * can't be read. `serial` is that of the table that names it. */
uint32_t registry_claim(
    struct registry *registry, const char *id, const char *address, int64_t max_in_flight, int64_t serial);
/* Frees slots that no table from `oldest` on names and nobody uses. */
void registry_sweep(struct registry *registry, int64_t oldest);

/* --- any thread ------------------------------------------------------------------------------------------- */

static inline struct endpoint *registry_at(const struct registry *registry, uint32_t slot)
{
    return registry->slots[slot];
}

static inline struct endpoint_local *registry_local(
    const struct registry *registry, unsigned worker, uint32_t slot)
{
    return &registry->pages[worker][slot / ENDPOINT_PAGE]->slots[slot % ENDPOINT_PAGE];
}

/* Summed over workers; others move while we add. */
int64_t endpoint_in_flight(const struct registry *registry, uint32_t slot);

static inline bool endpoint_is_ejected(struct endpoint *e, int64_t now_us)
{
    return atomic_load_explicit(&e->ejected_until_us, memory_order_relaxed) > now_us;
}

/* A connection that did not come about ejects at once: nobody listens there. Other failures count. True if it
 * was ejected now: *ret_ms says for how long. */
bool endpoint_failed(struct endpoint *e, int64_t now_us, bool connecting, int64_t *ret_ms);
/* True if it was ejected before: it is back. */
bool endpoint_succeeded(struct endpoint *e);

/* Counters have one writer, so that no locked instruction is needed. */
#define endpoint_count(counter, n) \
    atomic_store_explicit(         \
        (counter), atomic_load_explicit((counter), memory_order_relaxed) + (n), memory_order_relaxed)

unsigned latency_bucket(int64_t us);
int64_t latency_value(unsigned bucket); /* upper end */
