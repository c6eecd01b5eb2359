/* SPDX-License-Identifier: MIT */
#pragma once

/* The router: its main thread owns everything that is not a request (settings, registry of endpoints, the tables,
 * the feed from file or hub, reports, logs), its workers serve. Main never waits for a worker: it posts, and is
 * woken. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/loop.h"
#include "routerd/assign.h"
#include "routerd/settings.h"

#define ROUTERD_TICK_MS         1000
#define ROUTERD_DRAIN_REPORT_MS 20 /* how long a change of a draining endpoint's count may wait */

struct feed;
struct match_table;
struct network;
struct registry;
struct traffic;
struct table;
struct uplink;
struct worker;

/* Why main is woken; or-ed. */
enum routerd_wake {
    ROUTERD_SERVED = 1,   /* a worker has swapped its table */
    ROUTERD_DRAINED = 2,  /* the count of a draining endpoint moved */
    ROUTERD_STOPPED = 8,  /* a worker has ended */
    ROUTERD_RETIRED = 16, /* a table is to be freed */
};

/* All workers serve the table that was given to routerd_serve. */
typedef void (*routerd_served_fn)(void *arg);

struct routerd_socket {
    int fd;
    unsigned flags; /* enum listener_flags (front.h) */
};

struct routerd {
    struct settings settings;
    struct loop *loop;
    struct registry *registry;
    struct worker **workers;
    unsigned n_workers;
    struct routerd_socket *sockets; /* that listen, until the workers have them */
    int n_sockets;
    struct assign_key cookie_key; /* set before the workers start */
    struct network *trusted;
    size_t n_trusted;

    struct match_table *table; /* posted last; with a reference of ours */
    int64_t serial;
    int64_t *live_serials; /* of tables not yet freed */
    size_t n_live_serials, live_serials_cap;
    bool serving; /* all workers have it */
    routerd_served_fn served_fn;
    void *served_arg;

    struct feed *feed;
    struct uplink *uplink;
    struct traffic *traffic;
    bool started, ready, stopping;
    uint64_t last_beats;

    struct timer tick;
    int wake_fd;
    struct io *wake_io;
    _Atomic unsigned wake_bits;
    _Atomic(struct match_table *) retired;
    char status[160]; /* as told last */
};

/* settings and sockets are taken over; without any socket, Listen= and ListenTLS= of the settings count. */
struct routerd *routerd_new(
    struct loop *loop, struct settings *settings, struct routerd_socket *sockets, int n_sockets);
/* Loads what there is of a table, starts workers, feed and hub link. */
_must_check_ int routerd_start(struct routerd *routerd, struct error *err);
/* Requests finish, at most 5 s long; then the loop is stopped. */
void routerd_stop(struct routerd *routerd);
/* Reads the table file again and takes over what of the settings may change while running. */
void routerd_reload(struct routerd *routerd, struct settings *settings);
void routerd_free(struct routerd *routerd);

/* --- tables ---------------------------------------------------------------------------------------------- */

_must_check_ int routerd_compile(
    struct routerd *routerd, const struct table *table, struct match_table **ret, struct error *err);
/* Takes the reference. fn (may be NULL) runs once all workers serve it, or a later one. */
void routerd_serve(struct routerd *routerd, struct match_table *table, routerd_served_fn fn, void *arg);
/* Drops a table that was compiled and is not to be served. */
void routerd_drop(struct routerd *routerd, struct match_table *table);
int64_t routerd_epoch(const struct routerd *routerd);

/* --- for workers ------------------------------------------------------------------------------------------ */

void routerd_wake(struct routerd *routerd, unsigned why);
/* Frees the table, on the main thread. */
void routerd_retire(struct routerd *routerd, struct match_table *table);
/* Is that peer (address bytes, 0 of them: unix) a trusted proxy? */
bool routerd_trusts(const struct routerd *routerd, const uint8_t *address, size_t len);
/* All workers' beats moved since the last time. */
bool routerd_is_alive(void *routerd);
