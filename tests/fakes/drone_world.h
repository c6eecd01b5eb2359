/* SPDX-License-Identifier: MIT */
#pragma once

/* A whole struct droned in this process: clock that stands still, fake systemd, a directory of its own, reports
 * kept, the journal made up. Orders come in as the hub's would. */

#include <stdbool.h>
#include <stdint.h>

#include "common/messages.h"
#include "droned/droned.h"
#include "tests/fakes/fake_systemd.h"

#define WORLD_APP    "shop"
#define WORLD_COMMIT "35819ef7a0b1c2d3e4f5061728394a5b6c7d8e9f"
#define WORLD_ID     "3f9a12c0"
#define WORLD_UNIT   "stagecoach-run-web-3f9a12c0.service"
#define WORLD_BOOT   "boot-1"

struct world {
    struct loop *loop;
    struct fake_systemd *systemd;
    struct droned *droned;
    struct droned_config config;
    char dir[64];
    char boot[32];
    char hub[108];
    /* The last report of each kind of thing, and all phases in the order they were told, joined by blanks. */
    char phases[1024];
    char *reason;
    char **lines;
    char *address;
    int64_t restarts, pid;
    int n_gone;
    char **journal;      /* last lines of any instance */
    int64_t reported_us; /* of the last report */
};

struct world *world_new(void);
/* The same, linked to a hub at this address without TLS; orders are the hub's then. */
struct world *world_new_linked(const char *hub);
void world_free(struct world *world);
/* Ends droned as kill -9 does (nothing is said to anybody) and starts another on what is on disk. */
void world_crash(struct world *world);
void world_kill(struct world *world);
void world_start(struct world *world);
/* Handles what is due until nothing is. */
void world_settle(struct world *world);
void world_advance(struct world *world, int64_t ms);

/* An order of web@0.2.2 that has to stay up for 3 × 1 s; a literal for tests to change. Its tree is there. */
struct order world_order(void);
/* As a document of these alone, with the revision after the one held. */
int world_order_all(struct world *world, const struct order *orders, size_t n);
int world_put(struct world *world, const struct order *order);
int world_drop(struct world *world, const char *id);
const char *world_phase(const struct world *world, const char *id);
/* One order, carried out until it runs. */
void world_run(struct world *world);
char *world_file(
    const struct world *world, const char *name); /* content; caller frees; NULL if there is none */
