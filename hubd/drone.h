/* SPDX-License-Identifier: MIT */
#pragma once

/* One host as the hub knows it: its link, and which orders it has confirmed. Orders follow from the state:
 * after each commit what differs from what the drone holds goes out, one change in flight; a drone whose
 * counter is not ours gets all of them. What it reports becomes facts. Nothing is decided here. */

#include <stdbool.h>
#include <stdint.h>

#include "common/messages.h"

#define DRONE_RETRY_MS 10000 /* after orders were refused */

struct drone;
struct hubd;
struct link;
struct reply;
struct session;

/* For each host of the state: away until it connects. */
void drones_start(struct hubd *hub);
void drone_free(struct drone *drone);

void drone_connected(struct session *session);
void drone_disconnected(struct session *session, const char *reason);
const char *drone_name(const struct drone *drone);
/* Sends what has changed; to one, to all. */
void drone_sync(struct drone *drone);
void drones_sync(struct hubd *hub);
/* The link to a host, NULL while it is away. */
struct link *drone_link(struct hubd *hub, const char *name);

/* Handlers; owner is the session. */
void on_instance_report(void *owner, struct link *link, const void *m, struct reply *reply);
void on_host_report(void *owner, struct link *link, const void *m, struct reply *reply);
void on_goodbye(void *owner, struct link *link, const void *m, struct reply *reply);
void on_document_begin(void *owner, struct link *link, const void *m, struct reply *reply);
void on_document_part(void *owner, struct link *link, const void *m, struct reply *reply);
void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply);
