/* SPDX-License-Identifier: MIT */
#pragma once

/* What stream.c (buffers, the work of a turn, the end) and stream_begin.c (addresses, connecting, TLS handshake)
 * share. For these two alone. */

#include "common/loop.h"
#include "common/resolve.h"
#include "common/stream.h"

#define STREAM_LINGER_MS 1000 /* after the last byte of ours: for the peer to take it and say its own end */

enum stream_state {
    STATE_RESOLVING,
    STATE_CONNECTING,
    STATE_HANDSHAKE,
    STATE_OPEN,
    STATE_CLOSING, /* ours is being sent, theirs thrown away */
    STATE_CLOSED,
};

/* A queue of bytes: data[start … end). */
struct buffer {
    char *data;
    size_t start, end, cap;
};

struct stream {
    struct wire wire;
    struct loop *loop;
    stream_fn fn;
    void *arg;
    enum stream_state state;
    bool freed; /* stream_free ran: nothing may be told any more */

    struct resolve *resolve;
    struct wire_address addresses[RESOLVE_ADDRESSES_MAX];
    size_t n_addresses, next_address;
    int64_t connect_ms, close_ms;
    struct tls_context *tls;       /* a count of its own */
    struct tls_session *ended_tls; /* the facts outlive the connection */
    bool is_server;

    struct buffer in, out;
    size_t read_max, write_high, write_low;
    bool paused, eof, eof_told, announce;
    bool congested, low_due;
    bool end_wanted, ended;
    int write_error;

    struct task task;
    struct timer deadline; /* the owner's */
    struct timer guard;    /* ours: connecting, closing */
    struct error err;
    bool failed, failure_told;
    char peer[WIRE_ADDRESS_TEXT_MAX], local[WIRE_ADDRESS_TEXT_MAX];
};

/* False once the stream is gone or has no more to do: the caller returns. */
bool stream_tell(struct stream *s, enum stream_event event);
bool stream_tell_failure(struct stream *s);
/* The work of a turn, when this one is over. */
void stream_soon(struct stream *s);
void stream_work(void *arg);
/* To be followed by stream_finish, at once or by the work. The first reason is the one that counts. */
void stream_fail(struct stream *s, const struct error *err);
void stream_fail_code(struct stream *s, int code);
/* Takes the connection down and tells the owner. */
void stream_finish(struct stream *s);
void stream_drop_output(struct stream *s);
void stream_on_guard(void *arg);
void stream_on_deadline(void *arg);

/* stream_begin.c */
/* This address does not answer: the next one. False: there is none. */
bool stream_try_next(struct stream *s, const struct error *why);
void stream_work_handshake(struct stream *s);
