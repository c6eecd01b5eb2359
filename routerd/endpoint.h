/* SPDX-License-Identifier: MIT */
#pragma once

/* Endpoints at run time: what outlives routing tables. The registry (main thread) hands out dense slots; every
 * worker has an array by slot of its own counters and pools, written by that worker alone and read by all with
 * relaxed atomics. Shared by workers, besides, only what is wrong with an endpoint and the count of those that have a
 * limit. An endpoint belongs to one release, whose pool (pool.h) it is in.
 *
 * A slot is used again when no table names it, nothing is in flight and no worker keeps a connection to it. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/list.h"
#include "common/wire.h"

struct map;
struct match_policy;
struct pool;
struct probe;

#define ENDPOINT_WORKERS_MAX     64
#define ENDPOINT_PAGE            64 /* slots */
#define ENDPOINT_PAGES_MAX       2048
#define ENDPOINT_SLOTS_MAX       (ENDPOINT_PAGE * ENDPOINT_PAGES_MAX)
#define ENDPOINT_EJECT_MS        1000 /* the first time; doubles each time */
#define ENDPOINT_EJECT_MAX_MS    60000
#define ENDPOINT_TRIAL_MS        5000  /* for the one request that tries it again; then another may */
#define ENDPOINT_TRIAL_ANY_MS    2000  /* so long only requests that could be sent again are a trial */
#define ENDPOINT_FORGIVE_MS      10000 /* in use for so long: the next ejection is half as long */
#define ENDPOINT_WARM_MIN        10 /* percent of its share that an endpoint gets at the start of slow start */
#define ENDPOINT_SUMMED_WORKERS  4  /* of more workers only so many are asked for what is in flight */
#define ENDPOINT_LATENCY_BUCKETS 72 /* ten per decade from 10 µs to 100 s, and what took longer */

/* Answers by hundreds, the usual ones first. */
enum status_class { STATUS_2XX, STATUS_3XX, STATUS_4XX, STATUS_5XX, STATUS_1XX, STATUS_CLASS_MAX_ };
extern const char *const status_class_names[STATUS_CLASS_MAX_]; /* "2xx" */

/* One worker's part. The worker writes, anyone reads. An ordinary request touches the first cache line and one bucket
 * of latency. */
struct endpoint_local {
    _Atomic int32_t in_flight;
    _Atomic uint32_t n_idle;              /* pooled connections */
    struct list idle;                     /* struct upconn, the one used last in front; the worker's alone */
    _Atomic int64_t last_hit_us;          /* wall clock */
    _Atomic uint64_t bytes_in, bytes_out; /* content of requests and of answers */
    _Atomic uint64_t latency_sum_us;
    _Atomic uint64_t status[STATUS_CLASS_MAX_];
    _Atomic uint64_t failures;
    _Atomic uint64_t latency[ENDPOINT_LATENCY_BUCKETS];
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct endpoint_local, status) + sizeof(uint64_t) <= 64, "2xx is in the first line");

/* Why an endpoint can't simply be picked; none in ordinary times. */
enum endpoint_flags {
    ENDPOINT_EJECTED = 1,      /* until ejected_until_us, and then until a trial has gone well */
    ENDPOINT_TRIAL = 2,        /* which is on its way */
    ENDPOINT_PROBE_FAILED = 4, /* main's */
    ENDPOINT_UNPROVEN = 8,     /* main's: new, and the table wants a probe to pass first */
    ENDPOINT_WARMING = 16,     /* slow start */
    ENDPOINT_LIMITED = 32,     /* has a max_in_flight */
    ENDPOINT_STUMBLED = 64,    /* failures are counted; it may be picked */
};

enum endpoint_failure {
    ENDPOINT_UNREACHABLE, /* no connection came about: nobody listens there */
    ENDPOINT_BROKE,       /* none or half an answer, or no HTTP */
    ENDPOINT_ERROR,       /* an answer of 5xx */
};

enum endpoint_health {
    HEALTH_HEALTHY,
    HEALTH_WARMING,
    HEALTH_EJECTED,
    HEALTH_PROBE_FAILED,
    HEALTH_UNPROVEN,
    HEALTH_MAX_
};
extern const char *const endpoint_health_names[HEALTH_MAX_];

struct endpoint {
    /* what each pick reads */
    _Atomic uint32_t flags;
    uint32_t slot;
    struct pool *pool; /* weak: outlives us */
    /* shared by workers, touched when something is wrong */
    _Atomic uint32_t failures_in_row, errors_in_row;
    _Atomic uint32_t ejections_in_row;
    _Atomic int64_t ejected_at_us, ejected_until_us; /* monotonic */
    _Atomic int64_t warm_from_us;                    /* since when it is in use, or again */
    _Atomic int64_t max_in_flight;                   /* 0: no limit */
    _Atomic int64_t limited_in_flight;               /* only where max_in_flight > 0 */
    _Atomic uint64_t n_ejections;
    _Atomic bool draining; /* or gone from the table: the hub waits for its count */
    const char *release;   /* "web@0.2.2": the pool's name */
    char *id, *address_text;
    struct wire_address address;
    /* the main thread's */
    struct probe *probe; /* probe.c's */
    struct outlier_window {
        uint64_t requests, errors; /* as counted at the last look */
        uint32_t now_requests, now_errors, last_requests, last_errors;
    } window;
    uint64_t probes_passed, probes_failed;
    bool in_use;         /* takes requests, by the table that is served */
    int64_t forgiven_us; /* when ejections_in_row was last made smaller */
    bool named;          /* by a table that is served or prepared */
    int64_t named_by;
    int64_t reported_in_flight;
    uint64_t reported_requests, reported_failures, reported_errors;
    uint64_t reported_bytes_in, reported_bytes_out;
    bool reported_ejected, was_reported;
    uint64_t reported_latency[ENDPOINT_LATENCY_BUCKETS];
};

struct endpoint_page {
    struct endpoint_local slots[ENDPOINT_PAGE];
};

struct tally;

struct registry {
    unsigned n_workers;
    struct endpoint **slots; /* NULL: free; ENDPOINT_SLOTS_MAX pointers, reserved at once, touched as used */
    uint32_t n_slots;        /* highest ever used + 1 */
    struct map *by_key;      /* "release id address" → struct endpoint */
    struct tally *tally;     /* keeps what they counted when they are gone; may be NULL */
    struct list pools;       /* struct pool */
    struct map *pool_names;  /* of them */
    uint32_t free_from;      /* all slots below are taken */
    struct endpoint_page **pages[ENDPOINT_WORKERS_MAX]; /* by worker, then page */
};

struct registry *registry_new(unsigned n_workers);
void registry_free(struct registry *registry);

/* --- main thread ----------------------------------------------------------------------------------------- */

/* Slot of the release's endpoint with that id and address, a new one if need be; MATCH_NONE when all are taken or the
 * address can't be read. `serial` is that of the table that names it. */
uint32_t registry_claim(struct registry *registry, const char *release, const char *id, const char *address,
    int64_t max_in_flight, int64_t serial);
/* A table with that serial names the slot, too. */
void registry_keep(struct registry *registry, uint32_t slot, int64_t serial);
/* Pool of a release, a new one if need be. */
struct pool *registry_pool(struct registry *registry, const char *release, int64_t serial);
/* Frees slots and pools that no table from `oldest` on names and nobody uses. */
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

/* Summed over workers, of which only ENDPOINT_SUMMED_WORKERS from `worker` on are asked; others move while we add. */
int64_t endpoint_load(const struct registry *registry, unsigned worker, uint32_t slot);

static inline uint32_t endpoint_flags(const struct endpoint *e)
{
    return atomic_load_explicit(&e->flags, memory_order_relaxed);
}

/* main: 0 is none. */
void endpoint_set_limit(struct endpoint *e, int64_t max_in_flight);
bool endpoint_is_full(const struct endpoint *e);
/* May be picked while others can be, too: not ejected, or long enough; probes pass. */
bool endpoint_is_usable(const struct endpoint *e, int64_t now_us);
/* Its turn for a trial has come; endpoint_begin_trial says who makes it: one of those who ask at the same time. */
bool endpoint_awaits_trial(const struct endpoint *e, int64_t now_us, bool idempotent);
bool endpoint_begin_trial(struct endpoint *e, int64_t now_us);
/* Does slow start let this one through? By chance. */
bool endpoint_is_warm(struct endpoint *e, const struct match_policy *policy, int64_t now_us, uint64_t random);

/* Counts; 0, or for how many ms it is ejected now. */
int64_t endpoint_failed(struct endpoint *e, const struct match_policy *policy, enum endpoint_failure failure,
    int64_t now_us, uint64_t random);
/* An answer of a request that began at started_us. True: it was ejected before, and is back. */
bool endpoint_answered(
    struct endpoint *e, const struct match_policy *policy, int64_t started_us, int64_t now_us, int status);
/* Whatever was counted; 0 if too many are ejected already. */
int64_t endpoint_eject(struct endpoint *e, int64_t now_us, uint64_t random);
enum endpoint_health endpoint_health(const struct endpoint *e);
/* main: an ejection grows old. */
void endpoint_forgive(struct endpoint *e, int64_t now_us);
/* main: it is no longer one of those that count, or is again as new. */
void endpoint_end_ejection(struct endpoint *e);

/* Counters have one writer, so that no locked instruction is needed. */
#define endpoint_count(counter, n) \
    atomic_store_explicit(         \
        (counter), atomic_load_explicit((counter), memory_order_relaxed) + (n), memory_order_relaxed)

static inline enum status_class status_class(int status)
{
    return status >= 200 ? (enum status_class)(status / 100 - 2) : STATUS_1XX;
}

/* 0 if there is none. */
int64_t latency_percentile(const uint64_t *buckets, unsigned percent);
unsigned latency_bucket(int64_t us);
int64_t latency_value(
    unsigned bucket); /* upper end, itself included; of the last one that of the one before */
