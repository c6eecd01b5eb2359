/* SPDX-License-Identifier: MIT */
#pragma once

/* One registered router as the hub knows it: its link, the table it has prepared, the epoch it serves, what it
 * counts. It is driven towards the table that epochs.c wants: table, prepare, and commit once that epoch is
 * decided; one step in flight. Which tables there are is not decided here. */

#include <stdbool.h>
#include <stdint.h>

struct hubd;
struct link;
struct reply;
struct router;
struct session;

void routers_start(struct hubd *hub);
void router_free(struct router *router);

void router_connected(struct session *session);
void router_disconnected(struct session *session, const char *reason);

/* Goes on with the next step, if one is due. */
void router_pump(struct router *router);
void routers_pump(struct hubd *hub);

const char *router_name(const struct router *router);
bool router_is_usable(const struct router *router); /* connected, and not ahead of this hub */
bool router_has_prepared(const struct router *router, int64_t epoch);
/* Why it refused the table of an epoch, NULL if it did not. */
const char *router_refusal(const struct router *router, int64_t epoch);
/* An undecided table is dropped. */
void router_abort(struct router *router, int64_t epoch);

/* Of the program there; NULL while it is not linked. */
const char *router_version(const struct hubd *hub, const char *name);
void on_traffic_report(void *owner, struct link *link, const void *m, struct reply *reply);
