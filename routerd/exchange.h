/* SPDX-License-Identifier: MIT */
#pragma once

/* One request: its head → pick → an upstream connection → its body → the answer → done, or a tunnel. It reads and
 * writes the upstream side; to its client it speaks through client_ops, behind which HTTP/1 (conn_h1.h) stands
 * today. Nothing it does blocks or locks.
 *
 * Back-pressure: content from the client goes on while nothing waits for the upstream (exchange_wants_content),
 * the answer while nothing waits for the client (client_ops.is_congested). */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/http1.h"
#include "common/list.h"
#include "common/log.h"
#include "common/wire.h"
#include "routerd/endpoint.h"
#include "routerd/headers.h"
#include "routerd/queue.h"
#include "routerd/wheel.h"

#define EXCHANGE_HEAD_BLOCK        4096 /* larger heads are allocated */
#define EXCHANGE_TRIES_MAX         8    /* endpoints of one request */
#define EXCHANGE_REFUSED_MS        1000 /* so long those that refuse the connection count as no retry */
#define EXCHANGE_INFORMATIONAL_MAX 16   /* 1xx before an answer */
#define EXCHANGE_CONTENT_IOV       10   /* parts of content in one write */
#define EXCHANGE_LOOK_MS           500  /* while asking: is the endpoint's host still there? */
#define EXCHANGE_READS_MAX         8    /* of 128 kB in one turn */
#define EXCHANGE_HALF_TUNNEL_MS    5000 /* silence of the endpoint once the client has ended its direction */
#define EXCHANGE_TEXT_MAX          1536 /* what the log may say of a request */
#define EXCHANGE_TARGET_SHORT      256  /* where no access log asks for more */

struct endpoint;
struct exchange;
struct match_release;
struct match_service;
struct match_rules;
struct own_answer;
struct pool_local;
struct trace;
struct upconn;
struct worker;
struct worker_table;

struct client_ops {
    /* An answer's head, the endpoint's or one of our own, and the content that came with it. `end`: that is all. After it
     * the exchange may be gone. Content is copied or written before this returns. */
    void (*answer)(void *client, const struct http1_head *head, const struct answer_extra *extra,
        struct iovec *content, int n, bool end);
    /* More content, the end, and trailers (NULL: none). */
    void (*content)(void *client, struct iovec *content, int n, bool end, const struct http1_head *trailers);
    void (*informational)(void *client, const struct http1_head *head);
    /* The answer can't be completed: what went out must not look whole. */
    void (*reset)(void *client, const char *reason);
    bool (*is_congested)(void *client);
    /* Where content may go without us: the client's wire, while it is plain, takes content as it is and nothing waits
     * before it. NULL, also for the function: nowhere. */
    struct wire *(*direct)(void *client);
    /* exchange_wants_content() is true again. */
    void (*credit)(void *client);
    /* The exchange is over and forgets its client; what was answered is whole. */
    void (*done)(void *client);
};

enum exchange_state {
    EXCHANGE_PICKING, /* no endpoint yet; in a queue if it has to wait */
    EXCHANGE_CONNECTING,
    EXCHANGE_ASKING, /* request on its way, no final head yet */
    EXCHANGE_ANSWERING,
    EXCHANGE_TUNNEL,
    EXCHANGE_OVER,
    EXCHANGE_STATE_MAX_
};

/* Texts of the request, kept for the log one behind the other. */
enum exchange_text {
    TEXT_METHOD,
    TEXT_HOST,
    TEXT_CLIENT, /* where the peer is not who asks */
    TEXT_REQUEST_ID,
    TEXT_TRACE_ID,
    TEXT_AGENT, /* these two only for an access log */
    TEXT_REFERER,
    TEXT_TARGET, /* takes the room that is left */
    TEXT_MAX_
};

struct exchange {
    struct list link; /* in worker->exchanges, or the freelist */
    struct worker *worker;
    const struct client_ops *ops; /* NULL once the client is told that it is over */
    void *client;
    enum exchange_state state;
    struct list waiting;      /* in a queue (waiting.h), or in worker->waiting.again */
    struct pool_local *queue; /* that one */
    uint8_t turn;             /* enum waiting_turn: it is being asked again */
    struct wheel_node deadline;
    const struct forward *forward; /* weak: the connection's, which ends us before itself */

    struct worker_table *table; /* what the three below point into; NULL in tunnels */
    const struct match_service *service;
    const struct match_release *release;
    const struct match_rules *rules;  /* of the route; NULL: none */
    struct worker_table *rules_table; /* what it points into, once `table` is a later one */
    struct endpoint *endpoint;
    struct upconn *up;
    bool counted; /* in the endpoint's in_flight */
    bool claimed; /* and among those that its limit counts */

    char *head; /* as sent upstream: head_block or allocated; kept until a retry is out of the question */
    size_t head_len, head_sent;
    struct queue out; /* content for the upstream, framed */
    uint32_t tried[EXCHANGE_TRIES_MAX];
    uint8_t n_tried;
    uint8_t n_informational;
    uint8_t method_id;
    uint8_t request_framing; /* enum http1_body_kind, to the upstream */
    bool idempotent;
    bool pinned;        /* the request named the release */
    bool in_need;       /* the endpoint was picked for want of a better one */
    bool content_sent;  /* of the request: a part is gone and not kept */
    bool request_whole; /* the client's side is complete */
    bool upgrade_asked, continue_asked;
    bool continued;   /* the endpoint's 100 was passed on */
    bool slow;        /* the upstream took less than was offered */
    bool client_slow; /* the client did; set by its side */
    bool client_tls;
    bool end_shut; /* tunnel: our direction is ended */
    bool running;  /* inside the reading of an answer */
    bool assigned; /* a new cookie goes with the answer */
    bool head_answered;
    bool cut_off;           /* an endpoint took it and did not answer */
    bool fresh_only;        /* pooled connections have failed it */
    bool out_broken;        /* the endpoint takes no more of the request */
    bool answer_keeps;      /* the endpoint keeps the connection behind its answer */
    struct http1_body body; /* of the answer */
    int status;
    uint32_t position;                 /* in the service's ranges */
    uint32_t assignment;               /* value of the cookie */
    int64_t body_max;                  /* of the request's content; 0: any */
    int64_t started_us;                /* monotonic, exact */
    int64_t window_bytes, moved_bytes; /* of the present body window */
    size_t unsent;                     /* of the request, at the last look */
    int64_t phase_end_us;              /* while asking: the deadline is looked at in steps */
    int64_t up_bytes, down_bytes;      /* content: to the endpoint, framing included; to the client */
    int64_t first_byte_us;             /* when the head of the answer came; 0: not yet */
    uint8_t protocol;                  /* 10, 11, 20 */
    uint16_t text_lens[TEXT_MAX_];
    char text[EXCHANGE_TEXT_MAX]; /* from here on nothing is cleared for a new request */
    char head_block[EXCHANGE_HEAD_BLOCK];
};

/* Begins with a parsed head; content follows by exchange_send. True: it goes on. False: it was answered already and
 * ops->done has run. */
struct exchange *exchange_new(struct worker *worker, const struct client_ops *ops, void *client);
bool exchange_begin(struct exchange *ex, const struct http1_head *head, const struct forward *forward);

/* Content from the client (NULL, 0: none), `end` when that was all. The first call sends the head too. Trailers that the
 * route removes are taken out of *trailers. */
void exchange_send(
    struct exchange *ex, const struct iovec *content, int n, bool end, struct http1_head *trailers);
bool exchange_wants_content(const struct exchange *ex);
/* No endpoint has it yet: a client that hangs up now has not asked anybody. */
static inline bool exchange_is_waiting(const struct exchange *ex)
{
    return ex->state == EXCHANGE_PICKING;
}
/* The client may rightly be silent: the endpoint has not said 100 yet. */
bool exchange_awaits_continue(const struct exchange *ex);
/* How much to read from the client at once. */
size_t exchange_read_size(const struct exchange *ex);
/* The client has taken all that waited. */
void exchange_resume(struct exchange *ex);
/* The client is gone, or breaks off: nothing more goes to it, the upstream connection ends. `reason` for the log,
 * NULL: none. */
void exchange_abort(struct exchange *ex, int status, const char *reason);
/* The same, of an answer whose head can't be told: the client's side answers with the fault instead. */
void exchange_abort_refused(struct exchange *ex, const struct http1_fault *fault);

/* --- from upconn.c ---------------------------------------------------------------------------------------- */

void exchange_on_upstream(struct exchange *ex, unsigned events);
void exchange_on_upstream_timeout(struct exchange *ex);

/* --- between exchange*.c ----------------------------------------------------------------------------------- */

/* WAIT: there are endpoints, but all at their limit, not proven yet or paused; someone wakes us (waiting.h). ANSWER: *refusal says what. */
enum pick { PICK_ENDPOINT, PICK_WAIT, PICK_ANSWER };

/* exchange_pick.c: route, pin, assignment. */
enum pick exchange_route(struct exchange *ex, const struct http1_head *head, const struct trace *trace,
    struct own_answer *refusal);
/* The same service and release in the table of now, if there are; before another try. */
void exchange_rebase(struct exchange *ex);
/* Endpoint of the release that was chosen; sets ex->endpoint. */
enum pick exchange_pick(struct exchange *ex, struct own_answer *refusal);
void exchange_count_in(struct exchange *ex);
void exchange_count_out(struct exchange *ex);
/* exchange.c: ends it with an answer of our own, if nothing was answered yet; else resets. */
void exchange_fail(struct exchange *ex, int status, const char *text, int retry_after_s, const char *reason);
/* The same with any answer (own_answer.h). */
void exchange_fail_with(struct exchange *ex, const struct own_answer *answer, const char *reason);
void exchange_finish(struct exchange *ex);
/* exchange_answer.c */
void exchange_read_answer(struct exchange *ex);
/* exchange_splice.c: a piece of a large answer, socket to socket. False: nothing to do now, or the exchange is over. */
bool exchange_may_splice(struct exchange *ex);
bool exchange_splice_answer(struct exchange *ex);
/* exchange.c: the upstream connection broke before anything of the answer came. */
void exchange_broken(struct exchange *ex, bool connecting, const char *reason);
void exchange_arm(struct exchange *ex);
/* Counts a failure of the present endpoint, which is not picked again for this request. */
void exchange_endpoint_broke(struct exchange *ex, bool connecting, const char *reason);
/* exchange_pick.c: what the present endpoint did tells how healthy it is. */
void exchange_judge_failure(struct exchange *ex, enum endpoint_failure failure, const char *reason);
void exchange_judge_answer(struct exchange *ex);
/* Another try: the service allows one, and its budget. */
bool exchange_may_retry(struct exchange *ex, bool connecting);
/* exchange_record.c: what is counted and logged of an exchange. */
void exchange_describe(struct exchange *ex, const struct http1_head *head, const struct trace *trace);
void exchange_record_end(struct exchange *ex, const char *reason);
void exchange_record_failure(struct exchange *ex);
/* A line of the log about the endpoint. Workers don't write to the journal, which may be slow: main does. */
void exchange_note(struct exchange *ex, enum log_level level, const char *fmt, ...) _printf_(3, 4);
/* A request that never became an exchange. first_line may be empty. */
void exchange_record_refused(struct worker *worker, const struct forward *forward,
    const struct http1_fault *fault, enum http1_method method, struct http1_slice first_line);
/* exchange_send.c: writes what waits for the endpoint. */
void exchange_flush(struct exchange *ex);
void exchange_wake(struct exchange *ex);
