/* SPDX-License-Identifier: MIT */
#pragma once

/* A release at run time: what outlives routing tables and is of all its endpoints together. How many of them may be
 * ejected, who waits for one (waiting.h), what may still be tried again. The registry (endpoint.h) keeps pools by the
 * name of the release; main makes and frees them. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "routerd/endpoint.h"

#define RETRY_WINDOW_US 5000000
#define POOL_LINE       64
#define RETRY_FLOOR     100 /* in two windows and of one worker, however few requests there are */

struct counts;
struct pool;

/* Retries of one worker in the present window and the one before. */
struct retry_budget {
    int64_t window_start_us;
    uint64_t window_requests; /* the count of requests when it began */
    uint64_t last_requests;   /* in the window before */
    uint32_t retries, last_retries;
};

/* One worker's part. The worker writes; counters and n_waiting are read by main. */
struct pool_local {
    _Atomic uint64_t requests; /* that came here, whether or not an endpoint was found */
    struct retry_budget budget;
    struct pool *pool;
    _Atomic uint64_t retries, retries_denied;
    _Atomic uint64_t queued, queue_full, queue_expired;
    _Atomic uint64_t own[STATUS_CLASS_MAX_]; /* answers of the router's own */
    _Atomic uint64_t unanswered;             /* the client went away before an answer */
    _Atomic uint32_t n_waiting;
    _Atomic uint32_t n_freed; /* by other workers: so many of ours may go on */
    struct list waiting;      /* struct exchange, the oldest in front */
    struct list link;         /* in worker->queues while someone waits */
    bool looking;             /* the first one is to be asked again when this turn is over */
    char fill_[15];
};

struct pool {
    struct list link;    /* in registry->pools */
    char *name;          /* "web@0.2.2" */
    int64_t named_by;    /* serial of the last table that has it */
    uint32_t n_refs;     /* endpoints in the registry */
    struct counts *gone; /* what endpoints that are no more had counted (tally.h); NULL: nothing */
    unsigned n_workers;
    _Atomic uint32_t n_members;   /* that take new requests, by the table that is served */
    _Atomic uint32_t n_ejected;   /* of them */
    _Atomic uint32_t max_ejected; /* at once */
    _Atomic uint64_t waiting;     /* workers in which someone waits, a bit for each */
    char fill_[56];
    struct pool_local locals[];
};

/* Whole cache lines; filled up by hand, as the head of a list of aligned structs would have to be aligned, too. */
_Static_assert(sizeof(struct pool_local) % POOL_LINE == 0, "a worker's part begins with a cache line");
_Static_assert(offsetof(struct pool, locals) % POOL_LINE == 0, "so does the first one");

struct pool *pool_new(const char *name, unsigned n_workers);
void pool_free(struct pool *pool);

/* Members and how many of them may be ejected: at least one stays. */
void pool_set_members(struct pool *pool, uint32_t n_members, unsigned max_ejected_percent);
/* One more is ejected; false: too many are. */
bool pool_take_ejection(struct pool *pool);
void pool_return_ejection(struct pool *pool);

/* May one more request be sent again? If so it is counted. `requests`: how many there ever were. */
bool retry_budget_take(struct retry_budget *budget, int64_t now_us, uint64_t requests, unsigned percent);
/* The same for a worker's part, with its counters. */
bool pool_may_retry(struct pool_local *local, int64_t now_us, unsigned percent);
