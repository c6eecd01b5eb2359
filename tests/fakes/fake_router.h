/* SPDX-License-Identifier: MIT */
#pragma once

/* A router for tests of the hub: takes tables over the real wire, prepares and commits them, counts what it is
 * told to count. Its table outlives restarts of the hub. */

#include <stdbool.h>
#include <stdint.h>

#include "common/table.h"

struct fake_router;
struct hubd;
struct loop;

struct fake_router *fake_router_new(struct loop *loop, const char *name);
void fake_router_free(struct fake_router *router);
void fake_router_connect(struct fake_router *router, struct hubd *hub);
void fake_router_hang_up(struct fake_router *router);

/* Does not answer prepare any more (answers what it kept back when set to false). */
void fake_router_set_silent(struct fake_router *router, bool silent);
/* Every table is refused with this reason; NULL: no more. */
void fake_router_set_refusal(struct fake_router *router, const char *reason);

/* Offers what the first version did, from its next connection on. */
void fake_router_set_old(struct fake_router *router);
/* What it holds is not quite what the hub thinks: it refuses every diff. */
void fake_router_set_forgetful(struct fake_router *router);
int fake_router_diffs(const struct fake_router *router); /* taken */
int fake_router_refused_diffs(const struct fake_router *router);

const struct table *fake_router_table(
    const struct fake_router *router); /* that it serves; epoch 0: none yet */
int fake_router_commits(const struct fake_router *router);
int fake_router_aborts(const struct fake_router *router);
/* The version that gets all traffic of a service, NULL if there is not exactly one. */
const char *fake_router_serves(const struct fake_router *router, const char *service);
/* Endpoints of a release that take new requests. */
int fake_router_endpoints(const struct fake_router *router, const char *service, const char *version);
int fake_router_draining(const struct fake_router *router, const char *service, const char *version);

/* Requests in flight at an instance from now on; reported at once. */
void fake_router_set_in_flight(struct fake_router *router, const char *instance, int64_t n);
/* Says its numbers again, with the last hit at this time. */
void fake_router_hit(struct fake_router *router, const char *instance, int64_t at_us);
