/* SPDX-License-Identifier: MIT */
#pragma once

/* One authenticated peer: JSON-RPC 2.0 in frames over a stream, hello first, heartbeats both ways, our calls
 * matched with their answers. It checks direction, role and shape of every message against the tables of
 * messages.c before a handler sees it; a handler gets a checked struct and a reply to complete, now or later.
 *
 * A peer's mistake ends the call (wrong fields, unknown method, not allowed) or the link (bad frame, bad JSON,
 * no hello, silence), never the process. On loss every waiting call completes with -ECONNRESET, once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/list.h"
#include "common/messages.h"

#define LINK_HEARTBEAT_MS     5000              /* a ping after so much silence of ours */
#define LINK_SILENCE_MS       15000             /* a peer silent for so long is closed */
#define LINK_HELLO_MS         10000             /* time from the connection to hello */
#define LINK_CALLS_MAX        1024              /* calls in flight, of ours and of the peer's */
#define LINK_OUTPUT_HIGH      (256 * 1024)      /* above this link_is_congested() */
#define LINK_OUTPUT_MAX       (8 * 1024 * 1024) /* above this the peer is dropped as too slow */
#define LINK_NOBODY_FRAME_MAX (32 * 1024)       /* from a peer without an identity: enough to join */
#define LINK_NOBODY_MS        60000             /* and it has so long to do it */
#define LINK_NOBODY_CALLS_MAX 8
#define LINK_FRAMES_PER_TURN  64 /* the rest waits for the next turn */

struct link;
struct loop;
struct stream;

/* Who is at the other end: from its certificate, or from the socket's credentials, or nobody yet. */
struct peer {
    enum role role; /* ROLE_NONE before join */
    char *name;     /* "app1", "ops", "root" */
    char *fleet;    /* of the certificate; NULL on the local socket */
    char *address;  /* "10.0.0.5:51234" or "local" */
    char *serial;   /* of the certificate, hex; NULL without one */
    bool expired;   /* a certificate past its date: may only renew */
    char *key;      /* SHA-256 of its public key, hex; NULL without one */
};

/* --- answering -------------------------------------------------------------------------------------------
 * A reply is completed exactly once, by one of the two below, during the handler or later. It survives its
 * link: completing it then does nothing. */

struct reply;

void reply_ok(struct reply *reply, const void *result); /* struct of the message's answer; NULL: {} */
void reply_error(struct reply *reply, enum error_kind kind, const char *fmt, ...) _printf_(3, 4);
/* NULL once the link is gone. */
struct link *reply_link(const struct reply *reply);

/* A checked message. For a notice reply is NULL. The handler may read m only until it returns (schema_copy what
 * it keeps). */
typedef void (*link_handler_fn)(void *owner, struct link *link, const void *m, struct reply *reply);

struct link_handler {
    enum msg_type type;
    link_handler_fn fn;
};

enum link_event {
    LINK_CONNECTED, /* hello is done both ways: link_peer() and link_hello() are set */
    LINK_CLOSED,    /* gone for good; reason says why; the owner frees it (link_free defers itself) */
    LINK_DRAINED,   /* was congested, has room again */
};

typedef void (*link_event_fn)(void *owner, struct link *link, enum link_event event, const char *reason);

struct link_spec {
    const struct link_handler *handlers; /* ends with a row of type 0 */
    link_event_fn on_event;
    void *owner;
    /* Server side: judges the peer's hello; 0, or negative with err, which goes to the peer and closes. */
    int (*check_hello)(void *owner, struct link *link, const struct msg_hello *hello, struct error *err);
    /* Fills our own hello (client) or our answer to it (server); called once. Strings are copied. */
    void (*fill_hello)(void *owner, struct link *link, struct msg_hello *hello);
};

/* Takes over a stream that is connected, TLS and all (server: accepted). `is_server` waits for hello, the other
 * side sends it. The peer is known at once as far as the certificate tells. */
struct link *link_new(struct loop *loop, struct stream *stream, bool is_server, const struct link_spec *spec);
void link_free(struct link *link); /* NULL is fine; no callback comes after it */
/* Sends what is queued, then closes; LINK_CLOSED follows. */
void link_close(struct link *link, const char *reason_fmt, ...) _printf_(2, 3);

const struct peer *link_peer(const struct link *link);
void link_set_peer(struct link *link, const struct peer *peer); /* copied; server side, before hello */
const struct msg_hello *link_hello(const struct link *link);    /* the peer's; NULL before LINK_CONNECTED */
bool link_is_connected(const struct link *link);
bool link_is_congested(const struct link *link);
size_t link_output_bytes(const struct link *link);
/* Stops and goes on reading the peer's frames; its silence does not count meanwhile. */
void link_pause(struct link *link, bool pause);
bool link_offers(const struct link *link, const char *feature);
struct loop *link_loop(const struct link *link);
/* Why the peer refused our hello, ERROR_NONE if it did not; at LINK_CLOSED. */
enum error_kind link_refusal(const struct link *link);

/* Completes exactly once, never before link_call has returned: with result 0 and the answer's struct (borrowed),
 * or with a negative errno: -ECONNRESET lost, -ETIMEDOUT, -EREMOTEIO refused by the peer (kind and reason are
 * then the peer's). */
typedef void (*link_answer_fn)(
    void *arg, int result, enum error_kind kind, const char *reason, const void *answer);

/* timeout_ms 0: waits as long as the link lives. Returns the call's id, for link_cancel. */
int64_t link_call(
    struct link *link, enum msg_type type, const void *m, int64_t timeout_ms, link_answer_fn fn, void *arg);
void link_cancel(struct link *link, int64_t id); /* fn will not run */
void link_notify(struct link *link, enum msg_type type, const void *m);

/* For document.c: something that sends when there is room, in the order of being added, one at a time. */
struct link_feed {
    struct list link;
    bool (*on_room)(struct link_feed *feed); /* little is queued: send some; false: nothing to send */
    void (*on_gone)(struct link_feed *feed, bool closed); /* out of the list already; not closed: freed */
};
void link_feed_add(struct link *link, struct link_feed *feed); /* on_room follows, not at once */
void link_feed_remove(struct link *link, struct link_feed *feed);
