/* SPDX-License-Identifier: MIT */
#pragma once

/* struct hubd: every collection of the daemon. hubd_new builds it without touching the world, hubd_start loads
 * the state and takes up every open deploy, hubd_free undoes both. It decides nothing itself. */

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/error.h"
#include "common/list.h"
#include "common/loop.h"
#include "hubd/facts.h"
#include "hubd/state.h"

struct ca;
struct command_queue;
struct epochs;
struct enroll;
struct front;
struct git_http;
struct repos;
struct store;

struct hubd_config {
    char *state_dir;
    char *listen;         /* address:port when systemd hands over no socket */
    char *local_socket;   /* the same for the local socket */
    char **names;         /* further names in the hub's certificate */
    int64_t warm_ms;      /* how long a replaced release runs on */
    int64_t grace_ms;     /* until instances of a lost host are placed elsewhere */
    int64_t host_wait_ms; /* how long a deploy waits for a host that is away */
    int64_t history_days;
    int64_t certificate_ms; /* lifetime of certificates */
    int64_t push_max_bytes;
    int64_t pack_cache_bytes;
    int64_t git_children_max; /* pushes and fetches served at a time */
    char *git;                /* stock git */
    char *gitwork;            /* the helper program */
    char *hooks_dir;          /* pre-receive and post-receive */
    char *hook_socket;        /* where they find the hub */
    bool debug;
};
extern const struct option_table hubd_options;

struct hubd {
    struct loop *loop;
    struct hubd_config config;
    struct store *store;
    struct state state;
    struct facts facts;
    struct command_queue *commands;
    struct map *drones;  /* name → struct drone */
    struct map *routers; /* name → struct router */
    struct list sessions;
    struct list streams; /* struct drone_stream */
    struct epochs *epochs;
    int64_t last_event; /* number of the newest event */
    struct timer reconcile_timer;
    struct timer housekeeping;
    struct timer quiet;
    void (*on_quiet)(void *arg);
    void *on_quiet_arg;
    bool reconcile_queued;
    bool stopping;
    /* gitid's; NULL in tests that need none: */
    struct ca *ca;
    struct enroll *enroll;
    struct front *front;
    struct git_http *git_http;
    struct repos *repos;
    struct pushes *pushes;
    struct git_hooks *git_hooks;
    struct packs *packs;
    struct finds *finds;
};

/* Takes over store and config's strings. */
struct hubd *hubd_new(struct loop *loop, struct hubd_config *config, struct store *store);
void hubd_free(struct hubd *hub);

_must_check_ int hubd_start(struct hubd *hub, struct error *err);
/* Says goodbye to all peers; nothing new is begun. */
void hubd_stop(struct hubd *hub);
/* fn runs once, when no link is left or the time is over. */
void hubd_when_quiet(struct hubd *hub, int64_t at_most_ms, void (*fn)(void *arg), void *arg);
void hubd_session_ended(struct hubd *hub);
/* What can change while running: times and the log level. Takes config's strings over. */
void hubd_reconfigure(struct hubd *hub, struct hubd_config *config);
/* "3 hosts, 2 routers, revision 118"; ready: also that the hub serves. */
void hubd_show_status(struct hubd *hub, bool ready);

struct txn;
/* A transaction is durable and in the state: tell of it, and go on. */
void hubd_committed(struct hubd *hub, const struct txn *txn);
/* Look again at everything that may have to go on: soon, once, however often it is called. */
void hubd_reconcile_soon(struct hubd *hub);
