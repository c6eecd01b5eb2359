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
#include "routerd/headers.h"
#include "routerd/front.h"
#include "routerd/own_answer.h"
#include "routerd/queue.h"
#include "routerd/splice.h"
#include "routerd/trace.h"
#include "routerd/waiting.h"
#include "routerd/wheel.h"

#define WORKER_BUFFER        (128 * 1024)
#define WORKER_SLOW_READ     (16 * 1024) /* once the other side was too slow, until it has caught up */
#define WORKER_HEAD_OUT      (HTTP1_HEAD_MAX + 24 * 1024) /* TABLE_FIELDS_BYTES_MAX of rules, and our own */
#define WORKER_LISTENERS_MAX 64
#define WORKER_FREE_MAX      256   /* exchanges kept for reuse */
#define WORKER_STOP_MS       5000  /* worker_stop: requests that have not ended by then are cut off */
#define WORKER_DRAIN_IDLE_MS 10000 /* worker_drain: clients that were silent for so long are closed */
#define WORKER_BEAT_MS       500
#define WORKER_SWEEP         1 /* pooled connections in one turn: closing one takes tens of µs */

struct exchange;
struct match_table;
struct routerd;
struct settings;
struct tls_context;
struct wire_listener;

/* A table that this worker uses: as the present one, or because exchanges began with it. */
struct worker_table {
    struct match_table *table;
    uint32_t n_exchanges;
};

/* Statuses of requests that were not understood, and all others. */
#define WORKER_REFUSALS(row) row(400) row(408) row(413) row(414) row(417) row(421) row(431) row(501) row(505)
enum worker_refusal {
#define ROW(status) REFUSED_##status,
    WORKER_REFUSALS(ROW)
#undef ROW
        REFUSED_OTHER,
    REFUSED_MAX_
};

/* What ran out of time. */
enum worker_timeout {
    TIMED_OUT_HEAD,
    TIMED_OUT_IDLE,
    TIMED_OUT_BODY,  /* the client sends too slowly */
    TIMED_OUT_WRITE, /* the client takes too slowly */
    TIMED_OUT_QUEUE,
    TIMED_OUT_CONNECT,
    TIMED_OUT_FIRST_BYTE,
    TIMED_OUT_ANSWER,
    TIMED_OUT_TUNNEL,
    TIMED_OUT_MAX_
};
extern const char *const worker_timeout_names[TIMED_OUT_MAX_];

/* Written by the worker, read by main. What each request moves comes first. */
struct worker_counters {
    _Atomic uint64_t requests, h2_requests;
    _Atomic int64_t connections, in_flight;
    _Atomic uint64_t accepted;
    _Atomic uint64_t beat;
    _Atomic int64_t starved;      /* how often accepting ran out of descriptors */
    _Atomic uint64_t crowded_out; /* connections cut off because they made us keep most */
    _Atomic uint64_t refused[REFUSED_MAX_], timeouts[TIMED_OUT_MAX_];
    _Atomic uint64_t own[STATUS_CLASS_MAX_]; /* answers of our own to requests that reached no release */
    _Atomic uint64_t unanswered;             /* of these the client went away before */
    _Atomic int64_t buffered_bytes;          /* as of the last beat */
    _Atomic int64_t longest_swap_us;         /* that a new table kept the worker from its requests */
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
    char rule_values[HEADERS_SCRATCH]; /* of an answer's fields */
    struct trace trace;                /* of the request being begun */
    struct trace_source trace_source;
    struct trace_policy traces;
    struct http1_limits limits;
    struct block_pool blocks;
    struct splice splice;

    struct worker_listener listeners[WORKER_LISTENERS_MAX];
    unsigned n_listeners;
    bool listeners_paused;
    struct list conns;
    struct list h2_conns;
    struct h2_worker *h2;    /* conn_h2.c's; NULL until the first connection */
    struct list fronts;      /* connections before their first request: handshakes */
    struct tls_context *tls; /* NULL: no listener speaks TLS */
    struct front_counters front;
    struct list idle_upconns; /* of all endpoints */
    uint32_t n_idle_upconns;
    uint32_t n_to_sweep; /* of them are still to be looked at for the present table */
    struct task sweep;
    struct task relief;     /* budget.c's */
    struct waiting waiting; /* exchanges without an endpoint */
    struct list exchanges;
    struct exchange *free_exchanges;
    unsigned n_free_exchanges;
    struct worker_table *table; /* never NULL once serving */

    uint64_t random;
    int64_t sample_second;
    int64_t sampled;
    struct access_ring *access;      /* for the journal */
    struct access_ring *access_file; /* weak: the file's; NULL: there is none */
    uint64_t access_skipped;         /* since the last ordinary request that was written */
    struct worker_counters counters;

    /* the door */
    int mail_fd;
    struct io *mail;
    _Atomic(struct match_table *) posted; /* with a reference; taken by the worker */
    _Atomic int64_t serving;              /* serial of its table */
    _Atomic bool accept_posted, drain_posted, stop_posted, ended;
    uint64_t beat_seen;   /* main's */
    int64_t starved_seen; /* main's */
    bool accepting;
    bool stopping; /* no new connection; the old ones end behind their next answer */
    bool ending;   /* and soon, too */
    bool idle_grace_over;
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
/* New connections are taken from now on: before the thread has begun, or later. */
void worker_accept(struct worker *worker);
/* No new connection; each ends behind its next answer, an idle one after WORKER_DRAIN_IDLE_MS; the thread ends with the
 * last of them. */
void worker_drain(struct worker *worker);
/* The same, but requests finish at most WORKER_STOP_MS long; then the thread ends. */
void worker_stop(struct worker *worker);

/* --- any thread ------------------------------------------------------------------------------------------- */

/* There is something for it to look at. */
void worker_ring(struct worker *worker);

/* --- the worker's own ------------------------------------------------------------------------------------ */

uint64_t worker_random(struct worker *worker);
struct worker_table *worker_table_hold(struct worker *worker);
void worker_table_release(struct worker *worker, struct worker_table *table);
/* A connection or exchange is gone: stop if that was what we waited for, accept again if there is room. */
void worker_check_room(struct worker *worker);
/* How long a client may be silent between requests: less while we drain. */
int64_t worker_idle_ms(const struct worker *worker);
static inline int64_t worker_now_us(const struct worker *worker)
{
    return loop_now(worker->loop).us;
}
/* What Date says of an answer made now. */
static inline const char *worker_date(struct worker *worker)
{
    own_answer_set_time(&worker->own, loop_wall(worker->loop).us / CLOCK_US_PER_S);
    return worker->own.date;
}
/* Makes worker->answer; returns how many parts of content there are. */
static inline int worker_own_answer(
    struct worker *worker, const struct own_answer *own, enum http1_method method, struct iovec *content)
{
    (void)worker_date(worker);
    return own_answer_make(own, method, &worker->own, &worker->answer, content);
}
