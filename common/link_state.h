/* SPDX-License-Identifier: MIT */
#pragma once

/* What link.c (frames, heartbeat, the end), link_hello.c and link_call.c (calls and replies) share. For these
 * alone. */

#include "common/envelope.h"
#include "common/link.h"
#include "common/list.h"
#include "common/loop.h"

enum link_state {
    LINK_HELLO, /* server: waits for it; client: waits for its answer */
    LINK_OPEN,
    LINK_CLOSING, /* what is queued goes out */
    LINK_GONE,
};

struct link {
    struct loop *loop;
    struct stream *stream;
    struct link_spec spec;
    enum link_state state;
    bool is_server;
    bool freed; /* link_free ran: nothing may be told any more */
    bool congested, paused;
    struct peer peer;
    struct msg_hello hello; /* the peer's */
    bool has_hello;
    enum error_kind refusal;
    char *reason;      /* why it ends; the first one counts */
    char *peer_reason; /* what the peer said before it closed */

    struct list calls; /* struct call: ours, by id */
    size_t n_calls;
    int64_t next_id;
    struct list replies; /* struct reply: owed to the peer */
    size_t n_replies;
    struct list feeds; /* struct link_feed */

    struct timer timer; /* hello, then heartbeat and silence */
    struct task begin;  /* client: says hello */
    struct task drop;   /* too slow: out of whatever call found out */
    struct task feed;
    mono_t sent, received, begun;
};

/* A hub's peer without an identity: little is allowed, not for long. */
bool link_is_nobody(const struct link *link);
/* The longest frame that the peer may send now. */
size_t link_frame_max(const struct link *link);
/* Frames one envelope. -EMSGSIZE if it is too long; nothing was sent then. */
int link_send(struct link *link, const struct envelope *envelope);
/* Tells the peer and ends the link: frames that can't be understood. */
void link_protocol_error(struct link *link, enum error_kind kind, const char *fmt, ...) _printf_(3, 4);

/* link_call.c */
void link_take_request(struct link *link, const struct envelope *envelope);
void link_take_answer(struct link *link, const struct envelope *envelope);
struct reply *link_reply_new(struct link *link, int64_t id, const struct msg_info *info);
/* closed: every waiting call completes with -ECONNRESET; else they are forgotten. Replies lose their link. */
void link_end_calls(struct link *link, bool closed);

/* link_hello.c: the first call of a peer (server), our own (client; arg: the link). */
void link_take_hello(struct link *link, const struct envelope *envelope);
void link_say_hello(void *arg);

/* The first reason is the one that counts. */
void link_set_reason(struct link *link, const char *reason);
/* What is queued goes out, then STREAM_CLOSED. */
void link_begin_closing(struct link *link);
