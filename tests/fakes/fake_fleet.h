/* SPDX-License-Identifier: MIT */
#pragma once

/* A whole struct hubd in this process, with drones, routers and a person at the ends of socketpairs, a disk in
 * memory and a clock that stands still: everything happens in fleet_settle and fleet_advance. */

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "hubd/hubd.h"
#include "tests/fakes/fake_drone.h"
#include "tests/fakes/fake_router.h"
#include "tests/fakes/fake_store.h"

#define FLEET_MAX 8

struct fleet {
    struct loop *loop;
    struct fake_disk *disk;
    struct hubd *hub;
    struct fake_drone *drones[FLEET_MAX]; /* app1, app2, … */
    int n_drones;
    struct fake_router *routers[FLEET_MAX]; /* r1, r2, … */
    int n_routers;
    struct link *person; /* an admin, "ops" */
    int64_t warm_ms, grace_ms;
    int64_t request; /* counts request ids */
    /* Of the last call: */
    enum error_kind kind;
    char error[2048];
    /* Notices that came: */
    struct strbuf steps;  /* "fetch done app1 14 objects, 6.1 kB\n" … */
    struct strbuf events; /* "deploy: …\n" */
    struct strbuf lines;  /* of logs */
    int64_t last_step;
};

void fleet_init(struct fleet *f, int n_drones, int n_routers);
void fleet_done(struct fleet *f);

/* Until nothing more happens by itself. */
void fleet_settle(struct fleet *f);
/* Time passes, in small steps. */
void fleet_advance(struct fleet *f, int64_t ms);
/* The hub is gone as by kill -9, and comes back on the same disk; everybody connects again. */
void fleet_restart(struct fleet *f);
void fleet_kill_hub(struct fleet *f);
void fleet_start_hub(struct fleet *f);
void fleet_connect_all(struct fleet *f);
void fleet_connect_person(struct fleet *f, enum role role); /* instead of the one before */

/* RELEASE_RULES: its route has one. */
enum { RELEASE_WORKER = 1, RELEASE_BUILD = 2, RELEASE_RULES = 4 };
void fleet_add_release(struct fleet *f, const char *service, const char *version, unsigned flags);
/* depends and routes: may be NULL; one entry. */
void fleet_add_release_full(struct fleet *f, const char *service, const char *version, unsigned flags,
    const char *depends, const char *route, int64_t memory_bytes);

/* Sends and settles. ret (may be NULL) gets a copy of the answer's struct. The kind, 0 if it was answered, -1 if
 * there is no answer yet. */
int fleet_call(struct fleet *f, enum msg_type type, const void *m, void *ret);
/* The id of the deploy (static buffer), NULL when refused or nothing to do. */
const char *fleet_deploy(struct fleet *f, const char *target, int64_t instances);
const char *fleet_deploy_with(struct fleet *f, const struct msg_deploy *m);
const char *fleet_target(struct fleet *f, enum msg_type type, const char *target);
/* Starts to watch; steps come into f->steps, the end into *ret (zeroed until then). */
struct fleet_watch {
    bool ended;
    enum deploy_outcome outcome;
    char text[512];
};
/* With build output, from now on. */
void fleet_watch_output(struct fleet *f, const char *deploy, struct fleet_watch *ret);
void fleet_watch(struct fleet *f, const char *deploy, int64_t after, struct fleet_watch *ret);

const struct deploy *fleet_get(const struct fleet *f, const char *deploy);
/* "done", "failed", "starting" … */
const char *fleet_stage(const struct fleet *f, const char *deploy);
int fleet_orders(const struct fleet *f, const char *version); /* on all drones */
char *fleet_request_id(struct fleet *f);                      /* caller frees */
