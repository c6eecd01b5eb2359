/* SPDX-License-Identifier: MIT */
#pragma once

/* One connected peer of the hub, whoever it is: its link, what it is (person, drone, router, a stream's second
 * connection), and what it has open (watches, logs). front.c makes sessions, tests make them on socketpairs. */

#include <stdbool.h>

#include "common/clock.h"
#include "common/document.h"
#include "common/link.h"
#include "common/list.h"

struct hubd;
struct stream;

struct session {
    struct hubd *hub;
    struct link *link;
    struct list of_hub;          /* hub->sessions */
    struct list subscriptions;   /* of events and deploys: struct subscription */
    struct list log_views;       /* struct log_view */
    struct document_sink sink;   /* drones: the report */
    struct drone *drone;         /* weak: set while this is the drone's link */
    struct router *router;       /* weak */
    struct drone_stream *stream; /* weak: this connection carries a stream */
    bool closed;
};

/* Takes over an accepted stream; peer (copied) says who the transport proved it to be, role NONE for nobody.
 * The session frees itself when its link has closed. */
struct session *session_new(struct hubd *hub, struct stream *stream, const struct peer *peer);
void session_free(struct session *session);
void session_close(struct session *session, const char *reason_fmt, ...) _printf_(2, 3);

/* Name of the peer, for events and logs; never NULL. */
const char *session_who(const struct session *session);
/* True for admins and for deployers who were given the service; else false with err. */
bool session_may_change(const struct session *session, const char *service, struct error *err);

/* Closes the links of an identity that was revoked or removed. */
void session_close_all(struct hubd *hub, enum role role, const char *name, const char *reason);
