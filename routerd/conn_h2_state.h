/* SPDX-License-Identifier: MIT */
#pragma once

/* What conn_h2*.c share: a connection, its streams, and what may be done when.
 *
 * nghttp2 may not be entered from its own callbacks, and the worker's read buffer may be in use while exchanges call us. So
 * callbacks and client_ops only note what is to be done to other exchanges (conn_h2_later); it is done by conn_h2_settle,
 * which runs when nothing of this connection is on the stack.
 *
 * Frames gather in conn->out for the time of a turn, and go out with one write. */

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/http1.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/wire.h"
#include "routerd/conn_h2_head.h"
#include "routerd/exchange.h"
#include "routerd/headers.h"
#include "routerd/queue.h"
#include "routerd/websocket.h"
#include "routerd/wheel.h"

#define H2_STREAM_WINDOW (128 * 1024)  /* of content that no endpoint has taken yet */
#define H2_CONN_WINDOW   (1024 * 1024) /* the same, of all streams together */
#define H2_READ_HEADS    (16 * 1024)   /* at once, while no content is expected */
#define H2_READS_MAX     2             /* in one turn */
#define H2_WRITE_AT      (64 * 1024)   /* gathered: write, even inside a turn */
#define H2_OUT_MAX       (256 * 1024)  /* waiting for the socket: no more is read from the client */
#define H2_OUT_DATA_MAX  (64 * 1024)   /* the same: no more content is framed */
#define H2_FRAME_HEAD    9
#define H2_CONTINUATIONS 8  /* frames of one field block */
#define H2_OWN_FIELDS    16 /* room for fields of our own in an answer */
#define H2_FIELDS_MAX    (HTTP1_FIELDS_MAX + H2_OWN_FIELDS)
#define H2_SEND_HEAD_MAX (256 * 1024) /* of an answer's fields, more than its head can hold */
#define H2_DRAIN_MS      1000         /* from the notice to the last word, if the client does not hurry */

/* A bucket for what costs us and brings nothing; empty: GOAWAY with ENHANCE_YOUR_CALM. */
#define H2_PATIENCE       2000
#define H2_PATIENCE_PER_S 200
enum h2_cost {
    H2_COST_FRAME = 1, /* PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA */
    H2_COST_RESET = 4, /* a request that was begun for nothing; a mistake that we had to reset */
};
#define H2_EARN_ANSWER 2
#define H2_EARN_FRAME \
    2 /* content that went out: its window is given back, on the stream and the connection … */
#define H2_EARN_BYTES 1024 /* … and by some clients for every few kB */

enum h2_todo {
    H2_TODO_ABORT = 1, /* the exchange has no client any more */
    H2_TODO_RESUME = 2,
    H2_TODO_EARLY = 4, /* what came before the tunnel stood */
};

struct h2_trailers;

struct h2_stream {
    struct conn_h2 *conn;
    struct exchange *exchange; /* NULL: over, or never begun */
    struct list link;          /* in conn->streams */
    struct list todo_link;     /* in conn->todo */
    struct wheel_node deadline;
    int32_t id;
    uint8_t todo;       /* enum h2_todo, or-ed */
    bool closed;        /* for nghttp2: nothing may be said on it any more */
    bool request_ended; /* the client's side is complete */
    bool answered;      /* the final head was submitted */
    bool ended;         /* all content of the answer is here */
    bool asleep;        /* nghttp2 was told that there is nothing to send */
    bool tunnel;        /* an extended CONNECT */
    bool refused;       /* the answer is the connection's own */
    bool asks_head;     /* no content may follow the answer */
    bool lingers;       /* all is answered; what of the request still comes is read for a while */
    int64_t linger_bytes;
    bool has_length;
    uint64_t body_left, body_bytes; /* of the request; body_left with has_length */
    uint32_t unconsumed;            /* content whose window the client has not got back */
    int64_t window_bytes, moved_bytes;
    int64_t out_since_us;    /* something waits in `out` */
    int64_t conn_bytes;      /* of the connection, when the window began */
    struct queue early;      /* of a tunnel that does not stand yet */
    struct queue out;        /* content of the answer that its windows have no room for */
    const struct iovec *now; /* content of the present call, behind `out` */
    int n_now;
    size_t now_skip, now_bytes;
    struct h2_trailers *trailers;
    char accept[WEBSOCKET_ACCEPT_LEN + 1];
};

enum conn_h2_state {
    CONN_H2_OPEN,
    CONN_H2_LEAVING, /* the last GOAWAY is being sent */
    CONN_H2_LINGER,  /* all is said; reading until the client closes */
    CONN_H2_CLOSED,
};

/* What the connection's deadline is for; streams have their own. */
enum conn_h2_deadline {
    DEADLINE_NONE, /* requests are under way */
    DEADLINE_GREETING,
    DEADLINE_HEAD,
    DEADLINE_IDLE,
    DEADLINE_BLOCKED,
    DEADLINE_DRAIN,
    DEADLINE_LINGER,
};

struct conn_h2 {
    struct wire wire;
    struct list link; /* in worker->h2_conns */
    struct worker *worker;
    nghttp2_session *session;
    struct forward forward;
    struct list streams, todo;
    unsigned n_streams, n_exchanges, n_receiving; /* receiving: requests whose content is not complete */
    uint32_t n_requests;
    struct task end; /* at the turn's end: settle, write */
    struct queue out;
    struct wheel_node deadline;
    int64_t window_bytes, moved_bytes;
    int64_t linger_bytes;
    struct h2_head head;      /* being received */
    struct h2_stream *gather; /* whose content is being gathered from one read */
    struct iovec parts[EXCHANGE_CONTENT_IOV];
    int n_parts;
    int patience;
    int64_t patience_us;    /* when it was looked at */
    uint32_t failure;       /* error code of a GOAWAY that is due; NO_ERROR: none */
    uint8_t state;          /* enum conn_h2_state */
    uint8_t deadline_of;    /* enum conn_h2_deadline */
    bool blocked;           /* the socket took less than was offered */
    bool broken;            /* the socket is gone */
    bool in_session;        /* inside a call of nghttp2 */
    bool draining, drained; /* the notice is out; the last word, too */
    bool greeted;           /* the client's first frame is here */
};

/* What the connections of a worker share: fields on their way, of which only one answer at a time is. */
struct h2_worker {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct http1_field fields[H2_FIELDS_MAX];
    nghttp2_nv nva[H2_FIELDS_MAX + 2];
};

extern const struct client_ops conn_h2_ops;

/* --- conn_h2.c --------------------------------------------------------------------------------------------- */

void conn_h2_later(struct h2_stream *s, enum h2_todo what);
/* Something is to be written, or to be settled, when the turn ends. */
void conn_h2_touch(struct conn_h2 *c);
/* Frames what may be sent. */
void conn_h2_pump(struct conn_h2 *c);
struct h2_stream *conn_h2_stream_new(struct conn_h2 *c, int32_t id);
/* The stream's exchange ends, and nothing more is said on the stream but this. */
void conn_h2_reset(struct h2_stream *s, uint32_t code);
/* Of a connection that is being drained: what was not begun until now is not answered. */
void conn_h2_last_word(struct conn_h2 *c);
/* For good: whatever is under way is cut off. */
void conn_h2_leave(struct conn_h2 *c, uint32_t code);

/* --- conn_h2_limits.c -------------------------------------------------------------------------------------- */

/* False: our patience with the client is at its end; c->failure is set. */
bool conn_h2_spend(struct conn_h2 *c, enum h2_cost cost);
void conn_h2_earn(struct conn_h2 *c, int n);
/* A window in which content has to move. */
void conn_h2_arm(struct h2_stream *s);
/* Sets the deadline that is due now, if that is another one, or `again`. */
void conn_h2_watch(struct conn_h2 *c, bool again);
void conn_h2_on_stream_deadline(struct wheel_node *node);
void conn_h2_on_deadline(struct wheel_node *node);

/* --- conn_h2_in.c ------------------------------------------------------------------------------------------ */

void conn_h2_in_callbacks(nghttp2_session_callbacks *callbacks);
/* What was gathered goes to the exchange. */
void conn_h2_send_gathered(struct conn_h2 *c, bool end, struct http1_head *trailers);
/* The client may send as much again as the exchange has taken. */
void conn_h2_give_credit(struct h2_stream *s);
void conn_h2_send_early(struct h2_stream *s);
/* The request breaks off: an answer of our own if none has begun, else a reset. */
void conn_h2_break_off(struct h2_stream *s, const struct http1_fault *fault);

/* --- conn_h2_out.c ----------------------------------------------------------------------------------------- */

void conn_h2_out_callbacks(nghttp2_session_callbacks *callbacks);
/* An answer of the connection's own. */
void conn_h2_refuse(struct h2_stream *s, const struct http1_fault *fault);
/* The client has hardly room for content: what is read ahead for it would be kept. */
bool conn_h2_has_small_window(const struct h2_stream *s);
/* There may be room again. */
void conn_h2_wake(struct h2_stream *s);
void conn_h2_drop_content(struct h2_stream *s);
