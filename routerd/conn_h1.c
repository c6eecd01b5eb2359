/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/mem.h"
#include "routerd/budget.h"
#include "routerd/conn_h1_out.h"
#include "routerd/conn_h2.h"
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

/* The same within the worker's budget. False: there was no room at all, and the connection is closed. */
static bool keep_in_budget(struct conn_h1 *c, const char *data, size_t len, bool fresh)
{
    keep_in(c, data, len, fresh);
    if (!c->in || budget_allows(c->worker))
        return true;
    conn_h1_close(c);
    return false;
}

/* --- refusing -------------------------------------------------------------------------------------------- */

/* What still comes can't be told apart from content. */
static void stop_reading(struct conn_h1 *c)
{
    c->keep = false;
    drop_in(c);
    http1_body_init(&c->body, HTTP1_BODY_CLOSE, 0);
}

/* A head that is not understood, or never whole: data is what came of it. */
static void refuse(struct conn_h1 *c, const struct http1_fault *fault, const char *data, size_t len)
{
    const char *end = len > 0 ? memchr(data, '\n', len) : NULL;
    struct http1_slice line = { data, end ? (size_t)(end - data) : len };
    if (line.len > 0 && data[line.len - 1] == '\r')
        line.len--;
    /* What else it asks for, nobody asks HEAD for content. */
    bool head = line.len >= 5 && memcmp(line.ptr, "HEAD ", 5) == 0;
    enum http1_method method = head ? HTTP1_METHOD_HEAD : HTTP1_METHOD_OTHER;
    exchange_record_refused(c->worker, &c->forward, fault, method, line);
    stop_reading(c);
    conn_h1_refuse(c, fault, method);
    conn_h1_done(c);
}

/* The request breaks off in its body. */
static void break_off(struct conn_h1 *c, const struct http1_fault *fault)
{
    struct exchange *ex = c->exchange;
    if (fault && !ex->head_answered) {
        stop_reading(c);
        exchange_fail(ex, fault->status, fault->reason, 0, fault->reason);
        return;
    }
    c->exchange = NULL;
    exchange_abort(ex, fault ? fault->status : 0, fault ? fault->reason : NULL);
    conn_h1_close(c);
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
    int64_t max = c->exchange->body_max;
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
    struct http1_head *trailers = NULL;
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
    return keep_in_budget(c, data + used, len - used, !content.at_trailers || content.end);
}

int64_t conn_h1_moved(const struct conn_h1 *c)
{
    return c->moved_bytes - (c->out.bytes > 0 ? (int64_t)wire_unsent(&c->wire) : 0);
}

void conn_h1_arm_body(struct conn_h1 *c)
{
    c->window_bytes = conn_h1_moved(c);
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
    c->asked_close = !head->keep_alive;
    c->leaving = false;
    c->chunked = c->cut_short = false;
    c->body_bytes = 0;
    http1_body_init(&c->body, head->body, head->content_length);
    c->state = CONN_EXCHANGE;
    struct exchange *ex = c->exchange = exchange_new(worker, &conn_h1_ops, c);
    bool going = exchange_begin(ex, head, &c->forward);
    if (c->state == CONN_CLOSED)
        return;
    if (!going) {
        (void)keep_in_budget(c, data + used, len - used, true);
        return;
    }
    bool whole = http1_body_is_whole(&c->body);
    if (!whole)
        conn_h1_arm_body(c);
    if (whole) {
        exchange_send(ex, NULL, 0, true, NULL);
        if (c->state != CONN_CLOSED)
            (void)keep_in_budget(c, data + used, len - used, true);
    } else {
        send_content(c, data + used, len - used);
    }
}

/* A client that begins with HTTP/2's preface where that is allowed. */
static bool became_h2(struct conn_h1 *c, const char *data, size_t len)
{
    static const char preface[] = "PRI * HTTP/2.0";
    if (!c->worker->settings->h2c || c->n_requests > 0 || c->forward.tls || len < sizeof(preface) - 1 ||
        memcmp(data, preface, sizeof(preface) - 1) != 0)
        return false;
    conn_h2_new(c->worker, &c->wire, &c->forward, data, len);
    conn_h1_close(c);
    return true;
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
        if (!became_h2(c, data, len))
            refuse(c, &fault, data, len);
        return false;
    case HTTP1_MORE:
        break;
    }
    if (!keep_in_budget(c, data, len, false))
        return false;
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
    if (!c->wire.readable) {
        wire_expect(&c->wire);
        return false;
    }
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

uint64_t conn_h1_weight(const struct conn_h1 *c)
{
    const struct exchange *ex = c->exchange;
    int64_t now_us = worker_now_us(c->worker);
    return budget_weight(c->out.bytes, now_us, c->out_since_us) + (c->in ? c->in->end - c->in->start : 0) +
        (ex ? ex->out.bytes : 0);
}

void conn_h1_cut_off(struct conn_h1 *c)
{
    c->cut_short = true;
    conn_h1_close(c);
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
        enum conn_state state = (enum conn_state)c->state;
        switch (state) {
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
        /* What follows has things of its own to read: the next request, or what is read away. */
        more |= (enum conn_state)c->state != state;
    }
    c->running = false;
    if (more && c->state != CONN_CLOSED)
        wire_again(&c->wire);
    else if (c->state == CONN_HEAD)
        wire_expect(&c->wire);
}

void conn_h1_go_on(struct conn_h1 *c)
{
    run(c);
}

/* A client that resets, or ends its direction and hears nothing for a while, waits no more: what is asked for it is
 * given up. One that has half closed only gets what comes soon. */
static void look_whether_gone(struct conn_h1 *c)
{
    const struct exchange *ex = c->exchange;
    if (!ex || ex->state == EXCHANGE_TUNNEL || !http1_body_is_whole(&c->body))
        return;
    if (c->wire.broken) {
        conn_h1_close(c);
    } else if (!c->leaving && !ex->head_answered) {
        c->leaving = true;
        wheel_set(&c->worker->wheel, &c->deadline, CONN_GONE_MS);
    }
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct conn_h1 *c = container_of(wire, struct conn_h1, wire);
    if (c->state == CONN_EXCHANGE && (wire->eof || wire->broken))
        look_whether_gone(c);
    if (c->state == CONN_CLOSED)
        return;
    if (events & WIRE_CLOSED && c->exchange && exchange_is_waiting(c->exchange)) {
        conn_h1_close(c);
        return;
    }
    if (events & WIRE_WRITABLE && c->out.bytes > 0)
        conn_h1_flush(c);
    run(c);
}

/* Windows of content and of what is to be sent; the rate counts only while the client is what we wait for. */
static void on_window(struct conn_h1 *c)
{
    const struct settings *s = c->worker->settings;
    static const struct http1_fault slow = { 408, "the request came too slowly" };
    /* Who has the beginning of an answer may stop sending (RFC 9112 9.5). */
    bool receiving = c->exchange && !http1_body_is_whole(&c->body) && exchange_wants_content(c->exchange) &&
        c->exchange->state != EXCHANGE_TUNNEL && !c->exchange->head_answered &&
        !exchange_awaits_continue(c->exchange);
    bool enough = conn_h1_moved(c) - c->window_bytes >= s->body_rate * s->body_ms / CLOCK_MS_PER_S;
    if (c->out.bytes > 0 && !enough) {
        endpoint_count(&c->worker->counters.timeouts[TIMED_OUT_WRITE], 1);
        c->cut_short = true;
        conn_h1_close(c);
    } else if (receiving && !enough) {
        endpoint_count(&c->worker->counters.timeouts[TIMED_OUT_BODY], 1);
        break_off(c, &slow);
    } else if (c->out.bytes > 0 || (c->exchange && !http1_body_is_whole(&c->body))) {
        conn_h1_arm_body(c);
    }
}

static void head_is_late(struct conn_h1 *c)
{
    static const struct http1_fault late = { 408, "the head of the request did not come in time" };
    endpoint_count(&c->worker->counters.timeouts[c->in ? TIMED_OUT_HEAD : TIMED_OUT_IDLE], 1);
    if (c->in)
        refuse(c, &late, c->in->data + c->in->start, c->in->end - c->in->start);
    else
        conn_h1_close(c);
}

static void on_deadline(struct wheel_node *node)
{
    struct conn_h1 *c = container_of(node, struct conn_h1, deadline);
    switch ((enum conn_state)c->state) {
    case CONN_HEAD:
        if (c->out.bytes > 0)
            on_window(c);
        else
            head_is_late(c);
        break;
    case CONN_EXCHANGE:
        if (c->leaving && c->exchange && !c->exchange->head_answered)
            conn_h1_close(c);
        else
            on_window(c);
        break;
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
    /* The kernel hands over a connection when its first bytes are there: reading at once saves a turn, and one that asks
     * once and goes is never watched. */
    wire_adopt_lazily(&c->wire, worker->loop, fd);
    run(c);
}

void conn_h1_take(struct worker *worker, struct wire *from, const struct forward *forward)
{
    struct conn_h1 *c = new_conn(worker);
    c->forward = *forward;
    wire_move(from, &c->wire);
    run(c);
}
