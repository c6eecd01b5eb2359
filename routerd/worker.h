/* SPDX-License-Identifier: MIT */
#pragma once

/* One thread that serves requests: its loop, its listeners, its connections, pools and counters. Nothing of it is
 * touched by another thread but what is marked so. Main speaks to it through worker_post and worker_stop (an
 * eventfd wakes it), it speaks to main through routerd_wake. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/http1.h"
#include "common/list.h"
#include "common/loop.h"
#include "routerd/access.h"
#include "routerd/endpoint.h"
#include "routerd/own_answer.h"
#include "routerd/queue.h"
#include "routerd/wheel.h"

#define WORKER_BUFFER         (128 * 1024)
#define WORKER_SLOW_READ      (16 * 1024) /* once the other side was too slow, until it has caught up */
#define WORKER_HEAD_OUT       (HTTP1_HEAD_MAX + 8 * 1024)
#define WORKER_LISTENERS_MAX  64
#define WORKER_FREE_MAX       256  /* exchanges kept for reuse */
#define WORKER_STOP_MS        5000 /* worker_stop: requests that have not ended by then are cut off */
#define WORKER_BEAT_MS        500
#define WORKER_WAITER_POLL_MS 20

struct exchange;
struct match_table;
struct routerd;
struct settings;
struct wire_listener;

/* A table that this worker uses: as the present one, or because exchanges began with it. */
struct worker_table {
    struct match_table *table;
    uint32_t n_exchanges;
};

/* Written by the worker, read by main. */
struct worker_counters {
    _Atomic uint64_t accepted, requests, refused; /* refused: not understood */
    _Atomic int64_t connections, in_flight;
    _Atomic uint64_t beat;
    _Atomic int64_t starved; /* how often accepting ran out of descriptors */
};

struct worker_listener {
    struct worker *worker;
    struct wire_listener *listener;
    unsigned flags; /* enum listener_flags */
};

struct worker {
    struct routerd *routerd;
    const struct settings *settings;
    struct registry *registry;
    unsigned index;
    pthread_t thread;
    bool started;
    struct loop *loop;
    struct wheel wheel;
    struct timer beat;

    char *buffer;             /* WORKER_BUFFER: what was read this moment */
    char *head_out;           /* WORKER_HEAD_OUT: an answer's head on its way */
    struct http1_head head;   /* of the request being begun */
    struct http1_head answer; /* of the answer being read, or made */
    struct own_answer_store own;
    struct http1_limits limits;
    struct block_pool blocks;

    struct worker_listener listeners[WORKER_LISTENERS_MAX];
    unsigned n_listeners;
    bool listeners_paused;
    struct list conns;
    struct list idle_upconns; /* of all endpoints */
    struct list waiters;      /* exchanges without an endpoint */
    struct timer waiter_poll; /* an endpoint may have room because another worker's exchange ended */
    struct list exchanges;
    struct exchange *free_exchanges;
    unsigned n_free_exchanges;
    struct worker_table *table; /* never NULL once serving */

    uint64_t random;
    int64_t sample_second;
    int64_t sampled;
    struct access_ring *access;
    struct worker_counters counters;

    /* the door */
    int mail_fd;
    struct io *mail;
    _Atomic(struct match_table *) posted; /* with a reference; taken by the worker */
    _Atomic int64_t serving;              /* serial of its table */
    _Atomic bool stop_posted, ended;
    uint64_t beat_seen;   /* main's */
    int64_t starved_seen; /* main's */
    bool stopping, idle_grace_over;
    struct timer stop_timer;
};

struct worker *worker_new(struct routerd *routerd, unsigned index);
void worker_free(struct worker *worker); /* joined, or never started */
/* Before the thread starts. fd is taken. flags: enum listener_flags. */
void worker_listen(struct worker *worker, int fd, unsigned flags);
int worker_start(struct worker *worker);

/* --- main thread ----------------------------------------------------------------------------------------- */

/* The worker swaps between two exchanges; then `serving` says so and main is woken. */
void worker_post(struct worker *worker, struct match_table *table);
/* No new connection; requests finish, at most WORKER_STOP_MS long; then the thread ends. */
void worker_stop(struct worker *worker);

/* --- the worker's own ------------------------------------------------------------------------------------ */

uint64_t worker_random(struct worker *worker);
struct worker_table *worker_table_hold(struct worker *worker);
void worker_table_release(struct worker *worker, struct worker_table *table);
/* The exchange waits for an endpoint. */
void worker_add_waiter(struct worker *worker, struct exchange *ex);
/* An exchange ended: someone who waits may go on. */
void worker_wake_waiter(struct worker *worker);
/* A connection or exchange is gone: stop if that was what we waited for, accept again if there is room. */
void worker_check_room(struct worker *worker);
static inline int64_t worker_now_us(const struct worker *worker)
{
    return loop_now(worker->loop).us;
}
