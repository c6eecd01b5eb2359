/* SPDX-License-Identifier: MIT */
#pragma once

/* One byte stream with buffers, on top of wire.h: connect or accept, TLS or not, marks, deadline, half close.
 * For links, git and people's programs; the request path of the router uses wires. It knows no framing.
 *
 * Events come one at a time and never from inside a call of ours, except that stream_free ends them. After
 * STREAM_CLOSED none comes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/tls.h"
#include "common/wire.h"

#define STREAM_READ_MAX   (64 * 1024)  /* default: unread bytes at which reading pauses */
#define STREAM_WRITE_HIGH (256 * 1024) /* default marks of the write queue */
#define STREAM_WRITE_LOW  (64 * 1024)
#define STREAM_CONNECT_MS 10000        /* default: for name and connection, and for TLS, each */
#define STREAM_CLOSE_MS   5000         /* default: closing, without the peer taking a byte */
#define STREAM_TURN_MAX   (256 * 1024) /* bytes read or written in one turn */

struct loop;
struct stream;

enum stream_event {
    STREAM_CONNECTED, /* the connection stands (not for adopted descriptors) */
    STREAM_TLS_READY, /* the handshake is done: stream_tls() */
    STREAM_DATA,      /* stream_data() has more than before */
    STREAM_LOW,       /* the write queue was above its high mark and is below the low one */
    STREAM_EOF,       /* the peer ended its direction; unread bytes can still be taken, ours is open */
    STREAM_TIMEOUT,   /* the deadline of stream_set_deadline passed; the stream is as before */
    STREAM_ERROR,     /* it failed: stream_error(); STREAM_CLOSED follows */
    STREAM_CLOSED,    /* the last event; the owner frees the stream (now or later) */
};

typedef void (*stream_fn)(void *arg, struct stream *stream, enum stream_event event);

struct stream_options {
    struct tls_context *tls;      /* NULL: plain. Not taken; may be freed once the stream exists */
    int default_port;             /* stream_connect */
    int64_t connect_ms;           /* as STREAM_CONNECT_MS, shared by the addresses of a name; 0: that */
    size_t read_max;              /* 0: STREAM_READ_MAX */
    size_t write_high, write_low; /* 0: the defaults */
};

/* "hub1:7000", "10.0.0.5:7000", "[::1]:7000", "unix:/run/x.sock", "/run/x.sock". Always returns a stream; what
 * cannot be reached tells so by STREAM_ERROR. Names are resolved without blocking, each address is tried. */
struct stream *stream_connect(
    struct loop *loop, const char *address, const struct stream_options *options, stream_fn fn, void *arg);
/* Takes a connected descriptor: socketpair, pipe end, accepted socket (is_server: side of TLS). */
struct stream *stream_adopt(
    struct loop *loop, int fd, bool is_server, const struct stream_options *options, stream_fn fn, void *arg);
void stream_free(struct stream *stream); /* at once; also inside an event; NULL is fine */
/* Sends what is queued, then STREAM_CLOSED. Reading stops now. A peer that takes nothing for STREAM_CLOSE_MS, or for what
 * was set before, loses the rest. */
void stream_close(struct stream *stream);
void stream_set_close_ms(struct stream *stream, int64_t ms);
/* Hands the stream to another owner; unread bytes are announced to it again by STREAM_DATA, an end by
 * STREAM_EOF. */
void stream_set_owner(struct stream *stream, stream_fn fn, void *arg);

/* Unread bytes, contiguous; valid until the next call that takes or reads. */
const char *stream_data(const struct stream *stream, size_t *ret_len);
void stream_consume(struct stream *stream, size_t n);
void stream_set_read_max(struct stream *stream, size_t max);
void stream_pause(struct stream *stream, bool pause); /* stop and go on reading; an end waits, too */
/* Another STREAM_DATA next turn if there are unread bytes: for owners that bound their work. */
void stream_again(struct stream *stream);
bool stream_is_eof(const struct stream *stream);

/* Queued in order; never blocks, never fails: a broken stream says so by event. Copied. Ignored after
 * stream_close, stream_end or a failure. */
void stream_write(struct stream *stream, const void *data, size_t len);
size_t stream_queued(const struct stream *stream);
bool stream_is_congested(const struct stream *stream); /* above the high mark, until STREAM_LOW */
void stream_set_marks(struct stream *stream, size_t high, size_t low);
/* Ends our direction once all is sent; the peer may go on. */
void stream_end(struct stream *stream);

/* One deadline, moved by each call; 0: none. */
void stream_set_deadline(struct stream *stream, int64_t in_ms);

const char *stream_error(const struct stream *stream);           /* "" without one */
int stream_error_code(const struct stream *stream);              /* negative errno, 0 without one */
const struct tls_facts *stream_tls(const struct stream *stream); /* NULL: plain, or not that far */
const char *stream_peer(const struct stream *stream);            /* "10.0.0.5:51234", "local" */
const char *stream_local(const struct stream *stream);           /* our end; "" if not connected */
/* Of a unix socket, by the kernel. -ENOTSUP for others. */
_must_check_ int stream_credentials(const struct stream *stream, uid_t *ret_uid, gid_t *ret_gid);

/* --- listening -------------------------------------------------------------------------------------------- */

struct stream_listener;

/* The stream is the callee's: it gives it an owner (stream_set_owner) or frees it. With TLS the handshake is
 * still to come (STREAM_TLS_READY or STREAM_ERROR). */
typedef void (*stream_accept_fn)(void *arg, struct stream *stream);

/* fd: a listening socket, taken. */
struct stream_listener *stream_listener_new(
    struct loop *loop, int fd, const struct stream_options *options, stream_accept_fn fn, void *arg);
void stream_listener_free(struct stream_listener *listener);
/* For the streams accepted from now on (a renewed certificate). */
void stream_listener_set_tls(struct stream_listener *listener, struct tls_context *tls);
