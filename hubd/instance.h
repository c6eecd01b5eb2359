/* SPDX-License-Identifier: MIT */
#pragma once

/* One instance as the hub knows it: what is wanted of it (its row) against what its drone reports, and from
 * both what it is ordered, what the routing table says of it, and when it may go on to be stopped. Asks nobody
 * and changes nothing but the row it is given. Pure. */

#include <stdbool.h>
#include <stdint.h>

#include "hubd/facts.h"
#include "hubd/txn.h"

struct order;

/* The one setter of instance->wanted. What is retired begins its drain at `now`. False: there is no way from what
 * is wanted to that (what is on its way out stays so), and nothing was changed. */
bool instance_set_wanted(struct instance *instance, enum wanted wanted, wall_t now);

/* Whether its drone has an order for it. */
bool instance_is_ordered(const struct instance *instance);
/* An owned copy: schema_clear(&order_schema, …). */
void instance_order(const struct state *state, const struct instance *instance, struct order *ret);
/* Of the order's text; 0 when there is none (also for NULL). */
uint64_t instance_order_hash(const struct state *state, const struct instance *instance);

/* True if it was reported to run, healthy, in the generation asked for, by a drone that is there. */
bool instance_is_healthy(const struct facts *facts, const struct instance *instance);
/* True if the drone knows that it is not running and will not be: given up, or stopped by hand. */
bool instance_has_failed(const struct facts *facts, const struct instance *instance);

/* All registered routers serve this epoch or a newer one. */
bool routers_have(const struct txn *view, const struct facts *facts, int64_t epoch);
/* Every router that is there serves `epoch` and reports nothing in flight at the instance. */
bool instance_is_idle(const struct facts *facts, const struct instance *instance, int64_t epoch);
/* Out of the table on every registered router: it can be stopped, its port used again. */
bool instance_is_unreachable(
    const struct txn *view, const struct facts *facts, const struct instance *instance);

struct instance_endpoint {
    enum endpoint_status status;
    const char *address; /* borrowed from the facts or the row; NULL with ENDPOINT_NONE */
};

/* What the next table should say of it, as things are. */
struct instance_endpoint instance_endpoint_wanted(
    const struct txn *view, const struct facts *facts, const struct instance *instance, wall_t now);

/* Moves a row on when nothing holds it any more: held or retired ones out of the table, warm ones whose time
 * is over, gone ones that the drone has dropped (the row is deleted). Returns the wall time in microseconds at
 * which looking again may change something, 0 if only events can. */
int64_t instance_step(struct txn *txn, const struct facts *facts, const char *id, wall_t now);
