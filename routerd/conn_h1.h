/* SPDX-License-Identifier: MIT */
#pragma once

/* One client connection that speaks HTTP/1: heads in, one exchange at a time, framing out, keep-alive, pipelining,
 * tunnels, and an end that loses no answer. What a request means and where it goes is the exchange's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"
#include "common/list.h"
#include "common/wire.h"
#include "routerd/headers.h"
#include "routerd/queue.h"
#include "routerd/wheel.h"

#define CONN_LINGER_MS  2000 /* what still comes is read so long, so that the answer is not lost by a reset */
#define CONN_LINGER_MAX (1024 * 1024)
#define CONN_GONE_MS    500 /* a client that has ended its direction may still read, but rarely does */
#define CONN_TURN_MAX   64  /* heads and pieces of content in one turn */

struct exchange;
struct worker;

enum conn_state {
    CONN_HEAD,     /* between requests, or inside a head */
    CONN_EXCHANGE, /* a request is under way; also tunnels */
    CONN_FLUSH,    /* the last answer is being sent */
    CONN_LINGER,   /* all is said; reading until the client closes */
    CONN_CLOSED,
};

struct conn_h1 {
    struct wire wire;
    struct list link; /* in worker->conns */
    struct worker *worker;
    struct exchange *exchange;
    struct block *in; /* read and not used: the beginning of a head, pipelined requests, early content */
    struct queue out;
    struct wheel_node deadline;
    struct http1_body body; /* of the request */
    uint64_t body_bytes;
    int64_t window_bytes, moved_bytes;
    int64_t out_since_us; /* something waits in `out` */
    uint32_t n_requests;
    uint8_t state; /* enum conn_state */
    uint8_t minor;
    bool in_fresh; /* `in` has not been looked at */
    bool keep;     /* another request may follow */
    bool asked_close;
    bool leaving;   /* has ended its direction, and its answer has not begun */
    bool chunked;   /* the answer is framed so */
    bool cut_short; /* an end now would make the answer look whole: reset instead */
    bool running;
    struct forward forward;
};

/* fd is taken. */
void conn_h1_new(struct worker *worker, int fd, const struct wire_address *peer);
/* The same with a wire that is open already (TLS, or behind a PROXY header); `from` is closed behind it. */
void conn_h1_take(struct worker *worker, struct wire *from, const struct forward *forward);
/* At once; an exchange is aborted. */
void conn_h1_close(struct conn_h1 *conn);
/* Of content that came, and of answers that the client has really got: what the rate of a body is judged by. */
int64_t conn_h1_moved(const struct conn_h1 *conn);
/* Of what it makes the worker keep, its request's among it (budget.h). */
uint64_t conn_h1_weight(const struct conn_h1 *conn);
/* Closes it so that what it got does not look whole. */
void conn_h1_cut_off(struct conn_h1 *conn);
bool conn_h1_is_idle(const struct conn_h1 *conn);
