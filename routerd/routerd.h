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
#include "common/tls_public.h"
#include "routerd/assign.h"
#include "routerd/listeners.h"
#include "routerd/settings.h"

#define ROUTERD_TICK_MS         1000
#define ROUTERD_DRAIN_REPORT_MS 20 /* how long a change of a draining endpoint's count may wait */

struct access_file;
struct certs;
struct feed;
struct health;
struct generation;
struct match_table;
struct network;
struct registry;
struct tickets;
struct traffic;
struct status;
struct table;
struct uplink;
struct worker;

/* Why main is woken; or-ed. */
enum routerd_wake {
    ROUTERD_SERVED = 1,   /* a worker has swapped its table */
    ROUTERD_DRAINED = 2,  /* the count of a draining endpoint moved */
    ROUTERD_STOPPED = 8,  /* a worker has ended */
    ROUTERD_RETIRED = 16, /* a table is to be freed */
    ROUTERD_HEALTH = 64,  /* an endpoint was ejected, or is back */
};

struct routerd {
    struct settings settings;
    struct loop *loop;
    struct registry *registry;
    struct worker **workers;
    unsigned n_workers;
    struct routerd_socket *sockets; /* that listen; workers watch copies */
    int n_sockets;
    struct assign_key cookie_key; /* set before the workers start */
    struct certs *certs;          /* NULL: no listener speaks TLS */
    struct tickets *tickets;      /* the same */
    struct tls_public tls;        /* what the workers' contexts ask */
    struct network *trusted;
    size_t n_trusted;

    struct match_table *table; /* posted last; with a reference of ours */
    int64_t serial;
    int64_t *live_serials; /* of tables not yet freed */
    size_t n_live_serials, live_serials_cap;
    bool serving; /* all workers have it, and the older generations too */

    struct generation *generation; /* weak; NULL: this process is never replaced */
    struct feed *feed;
    struct uplink *uplink;
    struct traffic *traffic;
    struct health *health;
    struct access_file *access_file; /* NULL: none */
    struct status *status_socket;    /* NULL: an older generation has none */
    wall_t started_at, served_at;    /* served_at: the table */
    bool started, ready;
    bool stopping; /* requests finish, at most 5 s long */
    bool draining; /* an older generation: what it has finishes */

    struct timer tick;
    int wake_fd;
    struct io *wake_io;
    _Atomic unsigned wake_bits;
    _Atomic(struct match_table *) retired;
    char *status; /* as told last */
};

/* settings and sockets are taken over; without any socket, Listen= and ListenTLS= of the settings count. */
struct routerd *routerd_new(
    struct loop *loop, struct settings *settings, struct routerd_socket *sockets, int n_sockets);
/* Loads what there is of a table, starts workers, feed and hub link. The next generation of a router that serves does not
 * accept nor speak to the hub before it is told so. */
_must_check_ int routerd_start(struct routerd *routerd, struct error *err);
/* Are settings, certificates and the table file as they should be? What is wrong beside the error is logged; nothing is
 * opened or served. */
_must_check_ int routerd_check(struct routerd *routerd, struct error *err);
/* Requests finish, at most 5 s long, here and in older generations; then the loop is stopped. */
void routerd_stop(struct routerd *routerd);
void routerd_free(struct routerd *routerd);

/* --- for generation.c ------------------------------------------------------------------------------------- */

/* Connections are taken from now on. */
void routerd_accept(struct routerd *routerd);
/* The hub's link, systemd's watchdog and the word to systemd are ours from now on. */
void routerd_take_charge(struct routerd *routerd);
/* No table comes from the hub, until routerd_resume or for ever. */
void routerd_pause(struct routerd *routerd);
void routerd_resume(struct routerd *routerd);
/* Another process serves from now on; when our last connection is gone, the loop is stopped. */
void routerd_step_back(struct routerd *routerd);
int64_t routerd_connections(const struct routerd *routerd);

/* --- tables ---------------------------------------------------------------------------------------------- */

_must_check_ int routerd_compile(
    struct routerd *routerd, const struct table *table, struct match_table **ret, struct error *err);
/* Takes the reference. When all workers and all older generations serve it, `serving` says so, and the uplink is told. */
void routerd_serve(struct routerd *routerd, struct match_table *table);
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
