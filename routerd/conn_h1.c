/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/mem.h"
#include "routerd/conn_h1_out.h"
#include "routerd/endpoint.h"
#include "routerd/exchange.h"
#include "routerd/front.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

static void run(struct conn_h1 *c);

/* --- input that is kept ---------------------------------------------------------------------------------- */

static void drop_in(struct conn_h1 *c)
{
    block_free(&c->worker->blocks, c->in);
    c->in = NULL;
    c->in_fresh = false;
}

/* Keeps data[0…len) for later; data may lie in c->in. */
static void keep_in(struct conn_h1 *c, const char *data, size_t len, bool fresh)
{
    struct block *old = c->in;
    if (len == 0) {
        drop_in(c);
        return;
    }
    c->in_fresh = fresh;
    if (old && data >= old->data && data <= old->data + old->cap) {
        old->start = (uint32_t)(data - old->data);
        old->end = old->start + (uint32_t)len;
        return;
    }
    struct block *b = block_new(&c->worker->blocks, len);
    memcpy(b->data, data, len);
    b->end = (uint32_t)len;
    block_free(&c->worker->blocks, old);
    c->in = b;
}

/* --- refusing -------------------------------------------------------------------------------------------- */

static void refuse(struct conn_h1 *c, const struct http1_fault *fault)
{
    endpoint_count(&c->worker->counters.refused, 1);
    c->keep = false;
    drop_in(c);
    /* What still comes can't be told apart from content. */
    http1_body_init(&c->body, HTTP1_BODY_CLOSE, 0);
    conn_h1_refuse(c, fault);
    conn_h1_done(c);
}

/* The request breaks off in its body. */
static void break_off(struct conn_h1 *c, const struct http1_fault *fault)
{
    struct exchange *ex = c->exchange;
    bool answered = ex->head_answered;
    c->exchange = NULL;
    exchange_abort(ex, fault ? fault->status : 0, fault ? fault->reason : NULL);
    if (!fault || answered) {
        conn_h1_close(c);
        return;
    }
    refuse(c, fault);
}

/* --- content --------------------------------------------------------------------------------------------- */

struct content {
    struct iovec parts[EXCHANGE_CONTENT_IOV];
    int n;
    bool end, at_trailers;
};

/* Negative: refused. */
static int take_content(
    struct conn_h1 *c, char *data, size_t len, size_t *used, struct content *ret, struct http1_fault *fault)
{
    struct http1_slice slice;
    int64_t max = c->worker->settings->body_bytes;
    *ret = (struct content){ .n = 0 };
    for (;;) {
        switch (http1_body_next(&c->body, data, len, used, &slice, fault)) {
        case HTTP1_BODY_DATA:
            c->body_bytes += slice.len;
            if (max > 0 && c->body_bytes > (uint64_t)max && c->body.kind == HTTP1_BODY_CHUNKED) {
                *fault = (struct http1_fault){ 413, "the body is larger than allowed here" };
                return -1;
            }
            if (ret->n < EXCHANGE_CONTENT_IOV) {
                ret->parts[ret->n++] = (struct iovec){ (void *)slice.ptr, slice.len };
            } else {
                struct iovec *last = &ret->parts[ret->n - 1];
                memmove((char *)last->iov_base + last->iov_len, slice.ptr, slice.len);
                last->iov_len += slice.len;
            }
            break;
        case HTTP1_BODY_REFUSED:
            return -1;
        case HTTP1_BODY_TRAILERS:
            ret->at_trailers = true;
            return 0;
        case HTTP1_BODY_END:
            ret->end = true;
            return 0;
        default:
            return 0;
        }
    }
}

/* Hands content on; what is left stays in c->in. False: the request broke off, or the connection is gone. */
static bool send_content(struct conn_h1 *c, char *data, size_t len)
{
    struct exchange *ex = c->exchange;
    struct worker *worker = c->worker;
    struct http1_fault fault;
    struct content content;
    const struct http1_head *trailers = NULL;
    size_t used = 0;
    int r = take_content(c, data, len, &used, &content, &fault);
    if (r == 0 && content.at_trailers) {
        switch (http1_trailers_parse(data + used, len - used, &worker->limits, &worker->head, &fault)) {
        case HTTP1_REFUSED:
            r = -1;
            break;
        case HTTP1_DONE:
            used += worker->head.size;
            http1_body_end(&c->body);
            content.end = true;
            trailers = worker->head.n_fields > 0 ? &worker->head : NULL;
            break;
        case HTTP1_MORE:
            break;
        }
    }
    if (r < 0) {
        break_off(c, &fault);
        return false;
    }
    c->moved_bytes += (int64_t)used;
    if (content.n > 0 || content.end || ex->head_sent == 0)
        exchange_send(ex, content.parts, content.n, content.end, trailers);
    if (c->state == CONN_CLOSED)
        return false;
    keep_in(c, data + used, len - used, !content.at_trailers || content.end);
    return true;
}

static void arm_body(struct conn_h1 *c)
{
    c->window_bytes = c->moved_bytes;
    wheel_set(&c->worker->wheel, &c->deadline, c->worker->settings->body_ms);
}

/* One piece of content from the client to the exchange. False: nothing to do now. */
static bool pump_content(struct conn_h1 *c)
{
    struct worker *worker = c->worker;
    struct exchange *ex = c->exchange;
    if (!ex || http1_body_is_whole(&c->body) || !exchange_wants_content(ex))
        return false;
    if (c->in && c->in_fresh)
        return send_content(c, c->in->data + c->in->start, c->in->end - c->in->start);
    size_t have = 0, max = exchange_read_size(ex);
    if (c->in) {
        have = c->in->end - c->in->start;
        memcpy(worker->buffer, c->in->data + c->in->start, have);
        max = have + max <= WORKER_BUFFER ? have + max : WORKER_BUFFER;
    }
    if (!c->wire.readable)
        return false;
    ssize_t n = wire_read(&c->wire, worker->buffer + have, max - have);
    if (n == -EAGAIN)
        return false;
    if (n == 0 && http1_body_eof(&c->body)) {
        exchange_send(ex, NULL, 0, true, NULL);
        return false;
    }
    if (n <= 0) {
        break_off(c, NULL);
        return false;
    }
    drop_in(c);
    return send_content(c, worker->buffer, have + (size_t)n);
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static void begin(struct conn_h1 *c, char *data, size_t len)
{
    struct worker *worker = c->worker;
    struct http1_head *head = &worker->head;
    size_t used = head->size;
    c->n_requests++;
    c->minor = (uint8_t)head->minor;
    c->keep = head->keep_alive && !worker->stopping &&
        c->n_requests < (uint32_t)worker->settings->requests_per_connection;
    c->chunked = c->cut_short = false;
    c->body_bytes = 0;
    http1_body_init(&c->body, head->body, head->content_length);
    c->state = CONN_EXCHANGE;
    struct exchange *ex = c->exchange = exchange_new(worker, &conn_h1_ops, c);
    bool going = exchange_begin(ex, head, &c->forward);
    if (c->state == CONN_CLOSED)
        return;
    if (!going) {
        keep_in(c, data + used, len - used, true);
        return;
    }
    bool whole = http1_body_is_whole(&c->body);
    if (!whole)
        arm_body(c);
    if (whole) {
        exchange_send(ex, NULL, 0, true, NULL);
        if (c->state != CONN_CLOSED)
            keep_in(c, data + used, len - used, true);
    } else {
        send_content(c, data + used, len - used);
    }
}

static bool parse(struct conn_h1 *c, char *data, size_t len, size_t n_new)
{
    struct worker *worker = c->worker;
    struct http1_fault fault;
    bool first = len == n_new;
    /* A head is parsed again only when a line end has come. */
    enum http1_result r = HTTP1_MORE;
    if (first || len > worker->limits.head_max || memchr(data + len - n_new, '\n', n_new))
        r = http1_request_parse(data, len, &worker->limits, &worker->head, &fault);
    switch (r) {
    case HTTP1_DONE:
        begin(c, data, len);
        return c->state != CONN_CLOSED;
    case HTTP1_REFUSED:
        refuse(c, &fault);
        return false;
    case HTTP1_MORE:
        break;
    }
    keep_in(c, data, len, false);
    if (first)
        wheel_set(&worker->wheel, &c->deadline, worker->settings->head_ms);
    return c->wire.readable;
}

static bool read_head(struct conn_h1 *c)
{
    struct worker *worker = c->worker;
    if (c->out.bytes > 0)
        return false;
    if (c->in && c->in_fresh) {
        size_t len = c->in->end - c->in->start;
        c->in_fresh = false;
        return parse(c, c->in->data + c->in->start, len, len);
    }
    if (!c->wire.readable)
        return false;
    size_t have = 0;
    if (c->in) {
        have = c->in->end - c->in->start;
        memcpy(worker->buffer, c->in->data + c->in->start, have);
    }
    ssize_t n = wire_read(&c->wire, worker->buffer + have, WORKER_BUFFER - have);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        conn_h1_close(c);
        return false;
    }
    /* The socket is empty; looking again would cost a call per request. What it could show, a reset that came with
     * these bytes, shows when the answer is written. */
    if ((size_t)n < WORKER_BUFFER - have && !c->wire.eof)
        c->wire.readable = false;
    return parse(c, worker->buffer, have + (size_t)n, (size_t)n);
}

/* --- the end --------------------------------------------------------------------------------------------- */

static bool linger(struct conn_h1 *c)
{
    if (!c->wire.readable)
        return false;
    ssize_t n = wire_read(&c->wire, c->worker->buffer, WORKER_BUFFER);
    if (n == -EAGAIN)
        return false;
    c->body_bytes += n > 0 ? (uint64_t)n : 0;
    if (n <= 0 || c->body_bytes > CONN_LINGER_MAX)
        conn_h1_close(c);
    return n > 0;
}

static void free_later(void *p)
{
    free(p);
}

void conn_h1_close(struct conn_h1 *c)
{
    struct worker *worker = c->worker;
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    struct exchange *ex = c->exchange;
    c->exchange = NULL;
    if (ex)
        exchange_abort(ex, 0, NULL);
    if (c->cut_short)
        wire_abort(&c->wire);
    else
        wire_close(&c->wire);
    drop_in(c);
    queue_clear(&c->out, &worker->blocks);
    wheel_node_done(&worker->wheel, &c->deadline);
    list_remove(&c->link);
    endpoint_count(&worker->counters.connections, -1);
    loop_free_later(worker->loop, c, free_later);
    worker_check_room(worker);
}

bool conn_h1_is_idle(const struct conn_h1 *c)
{
    return c->state == CONN_HEAD && !c->in && c->out.bytes == 0;
}

/* --- events ---------------------------------------------------------------------------------------------- */

static void run(struct conn_h1 *c)
{
    if (c->running)
        return;
    c->running = true;
    bool more = true;
    for (int i = 0; more && i < CONN_TURN_MAX; i++) {
        switch ((enum conn_state)c->state) {
        case CONN_HEAD:
            more = read_head(c);
            break;
        case CONN_EXCHANGE:
            more = pump_content(c);
            break;
        case CONN_LINGER:
            more = linger(c);
            break;
        default:
            more = false;
        }
        /* An answer that came at once leaves the next request to be read. */
        if (!more && c->state == CONN_HEAD && c->in && c->in_fresh && c->out.bytes == 0)
            more = true;
    }
    c->running = false;
    if (more && c->state != CONN_CLOSED)
        wire_again(&c->wire);
}

void conn_h1_go_on(struct conn_h1 *c)
{
    run(c);
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct conn_h1 *c = container_of(wire, struct conn_h1, wire);
    if (c->state == CONN_CLOSED)
        return;
    if (events & WIRE_WRITABLE && c->out.bytes > 0)
        conn_h1_flush(c);
    run(c);
}

/* Windows of content and of what is to be sent; the rate counts only while the client is what we wait for. */
static void on_window(struct conn_h1 *c)
{
    const struct settings *s = c->worker->settings;
    static const struct http1_fault slow = { 408, "the request came too slowly" };
    bool receiving = c->exchange && !http1_body_is_whole(&c->body) && exchange_wants_content(c->exchange) &&
        c->exchange->state != EXCHANGE_TUNNEL && !exchange_awaits_continue(c->exchange);
    bool enough = c->moved_bytes - c->window_bytes >= s->body_rate * s->body_ms / CLOCK_MS_PER_S;
    if (c->out.bytes > 0 && !enough) {
        c->cut_short = true;
        conn_h1_close(c);
    } else if (receiving && !enough) {
        break_off(c, &slow);
    } else if (c->out.bytes > 0 || (c->exchange && !http1_body_is_whole(&c->body))) {
        arm_body(c);
    }
}

static void on_deadline(struct wheel_node *node)
{
    static const struct http1_fault late = { 408, "the head of the request did not come in time" };
    struct conn_h1 *c = container_of(node, struct conn_h1, deadline);
    switch ((enum conn_state)c->state) {
    case CONN_HEAD:
        if (c->out.bytes > 0)
            on_window(c);
        else if (c->in)
            refuse(c, &late);
        else
            conn_h1_close(c);
        break;
    case CONN_EXCHANGE:
    case CONN_FLUSH:
        on_window(c);
        break;
    default:
        conn_h1_close(c);
    }
}

/* --- beginning ------------------------------------------------------------------------------------------- */

static struct conn_h1 *new_conn(struct worker *worker)
{
    struct conn_h1 *c = xcalloc(1, sizeof(*c));
    c->worker = worker;
    c->state = CONN_HEAD;
    wheel_node_init(&c->deadline, on_deadline);
    wire_init(&c->wire, on_wire);
    list_append(&worker->conns, &c->link);
    endpoint_count(&worker->counters.connections, 1);
    endpoint_count(&worker->counters.accepted, 1);
    wheel_set(&worker->wheel, &c->deadline, worker->settings->head_ms);
    return c;
}

void conn_h1_new(struct worker *worker, int fd, const struct wire_address *peer)
{
    struct conn_h1 *c = new_conn(worker);
    front_describe(worker, peer, &c->forward);
    wire_adopt_accepted(&c->wire, worker->loop, fd);
    /* The kernel hands over a connection when its first bytes are there: reading at once saves a turn. */
    c->wire.readable = c->wire.writable = true;
    run(c);
}

void conn_h1_take(struct worker *worker, struct wire *from, const struct forward *forward)
{
    struct conn_h1 *c = new_conn(worker);
    c->forward = *forward;
    wire_move(from, &c->wire);
}
