/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2_state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "routerd/budget.h"
#include "routerd/conn_h1.h"
#include "routerd/own_answer.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

/* The sending half of conn_h2.c: the client_ops of HTTP/2. Heads are handed to nghttp2, which copies them; content is
 * framed straight from where it lies into conn->out, as far as the client's windows go, and the rest is kept. */

struct h2_trailers {
    size_t n;
    nghttp2_nv nva[];
};

/* --- content --------------------------------------------------------------------------------------------- */

static size_t now_left(const struct h2_stream *s)
{
    return s->now_bytes - s->now_skip;
}

void conn_h2_drop_content(struct h2_stream *s)
{
    queue_clear(&s->out, &s->conn->worker->blocks);
    queue_clear(&s->early, &s->conn->worker->blocks);
    free(s->trailers);
    s->trailers = NULL;
    s->now = NULL;
    s->n_now = 0;
    s->now_bytes = s->now_skip = 0;
}

/* How much goes into the next DATA frame. */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
    nghttp2_data_source *source, void *user)
{
    struct conn_h2 *c = user;
    struct h2_stream *s = source->ptr;
    size_t have = s->out.bytes + now_left(s);
    bool full = c->blocked && c->out.bytes >= H2_OUT_DATA_MAX;
    if (have > 0 ? full : !s->ended) {
        s->asleep = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (have > len)
        return (ssize_t)len;
    if (s->ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            (void)nghttp2_submit_trailer(session, id, s->trailers->nva, s->trailers->n);
        }
    }
    return (ssize_t)have;
}

static void take_queued(struct h2_stream *s, struct queue *out, size_t len)
{
    struct block_pool *pool = &s->conn->worker->blocks;
    while (len > 0) {
        struct iovec part;
        (void)queue_iov(&s->out, &part, 1);
        size_t n = part.iov_len < len ? part.iov_len : len;
        queue_add(out, pool, part.iov_base, n);
        queue_consume(&s->out, pool, n);
        len -= n;
    }
}

static void take_now(struct h2_stream *s, struct queue *out, size_t len)
{
    struct block_pool *pool = &s->conn->worker->blocks;
    size_t skip = s->now_skip;
    s->now_skip += len;
    for (int i = 0; len > 0; i++) {
        size_t here = s->now[i].iov_len;
        if (skip >= here) {
            skip -= here;
            continue;
        }
        size_t n = here - skip < len ? here - skip : len;
        queue_add(out, pool, (const char *)s->now[i].iov_base + skip, n);
        skip = 0;
        len -= n;
    }
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
    nghttp2_data_source *source, void *user)
{
    struct conn_h2 *c = user;
    struct h2_stream *s = source->ptr;
    size_t queued = len < s->out.bytes ? len : s->out.bytes;
    queue_add(&c->out, &c->worker->blocks, head, H2_FRAME_HEAD);
    s->moved_bytes += (int64_t)len;
    if (!s->refused)
        conn_h2_earn(c, H2_EARN_FRAME + (int)(len / H2_EARN_BYTES));
    if (queued > 0) {
        take_queued(s, &c->out, queued);
        if (s->out.bytes == 0)
            conn_h2_later(s, H2_TODO_RESUME);
    }
    take_now(s, &c->out, len - queued);
    return 0;
}

void conn_h2_wake(struct h2_stream *s)
{
    if (!s->asleep || s->closed)
        return;
    s->asleep = false;
    (void)nghttp2_session_resume_data(s->conn->session, s->id);
}

bool conn_h2_has_small_window(const struct h2_stream *s)
{
    return nghttp2_session_get_stream_remote_window_size(s->conn->session, s->id) < WORKER_SLOW_READ ||
        nghttp2_session_get_remote_window_size(s->conn->session) < WORKER_SLOW_READ;
}

/* A client with small windows is not read ahead for. */
static bool is_slow(struct h2_stream *s, size_t offered)
{
    struct conn_h2 *c = s->conn;
    if (s->out.bytes > 0 || c->blocked)
        return true;
    return offered >= WORKER_SLOW_READ &&
        nghttp2_session_get_stream_remote_window_size(c->session, s->id) < WORKER_BUFFER;
}

/* For the client's window; an end without bytes may have to wait for it, too. */
static void begin_waiting(struct h2_stream *s)
{
    s->out_since_us = worker_now_us(s->conn->worker);
    conn_h2_arm(s);
}

/* Frames or keeps it all. */
static void put(struct h2_stream *s, const struct iovec *parts, int n, bool end)
{
    struct conn_h2 *c = s->conn;
    struct block_pool *pool = &c->worker->blocks;
    bool waited = s->out.bytes > 0;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    s->ended |= end;
    conn_h2_touch(c);
    if (c->in_session) {
        queue_add_rest(&s->out, pool, parts, n, 0);
        conn_h2_wake(s);
        if (!waited && (s->out.bytes > 0 || s->ended))
            begin_waiting(s);
        return;
    }
    s->now = parts;
    s->n_now = n;
    s->now_bytes = total;
    s->now_skip = 0;
    conn_h2_wake(s);
    conn_h2_pump(c);
    if (!s->closed && now_left(s) > 0)
        queue_add_rest(&s->out, pool, parts, n, s->now_skip);
    s->now = NULL;
    s->now_bytes = s->now_skip = 0;
    if (s->exchange)
        s->exchange->client_slow = is_slow(s, total);
    if (s->out.bytes == 0 && (!s->ended || s->closed || s->lingers))
        return;
    if (s->out.bytes > 0 && !budget_allows(c->worker))
        conn_h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    else if (!waited)
        begin_waiting(s);
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static nghttp2_nv nv_of(const char *name, size_t name_len, const char *value, size_t value_len)
{
    return (nghttp2_nv){
        .name = (uint8_t *)name, .namelen = name_len, .value = (uint8_t *)value, .valuelen = value_len
    };
}

static bool is_accept(const struct http1_field *f)
{
    return f->name_len == sizeof("sec-websocket-accept") - 1 &&
        strncasecmp(f->name, "sec-websocket-accept", f->name_len) == 0;
}

struct head_text {
    char status[4], length[24];
};

/* The head as nghttp2 takes it, in the worker's h2->nva; negative: too many fields. `text` has to live as long. */
static int collect(struct h2_stream *s, const struct http1_head *head, const struct answer_extra *extra,
    struct head_text *text)
{
    struct h2_worker *h2 = s->conn->worker->h2;
    bool tunnel = s->tunnel && head->status == 101;
    struct http1_out length;
    int status = tunnel ? 200 : head->status, k = 0;
    int n = headers_answer_fields(head, extra, h2->fields, H2_FIELDS_MAX);
    if (n < 0)
        return -1;
    for (int i = 0, div = 100; i < 3; i++, div /= 10)
        text->status[i] = (char)('0' + status / div % 10);
    h2->nva[k++] = nv_of(":status", 7, text->status, 3);
    for (int i = 0; i < n; i++) {
        const struct http1_field *f = &h2->fields[i];
        if (!tunnel || !is_accept(f))
            h2->nva[k++] = nv_of(f->name, f->name_len, f->value, f->value_len);
    }
    if (head->has_content_length && head->status >= 200 && head->status != 204) {
        http1_out_init(&length, text->length, sizeof(text->length));
        http1_out_uint(&length, head->content_length);
        h2->nva[k++] = nv_of("content-length", 14, length.data, length.len);
    }
    return k;
}

static bool accepts(const struct h2_stream *s, const struct http1_head *head)
{
    const struct http1_field *f = http1_find_name(head, "sec-websocket-accept");
    return f && f->value_len == WEBSOCKET_ACCEPT_LEN && memcmp(f->value, s->accept, f->value_len) == 0;
}

static void answer(void *client, const struct http1_head *head, const struct answer_extra *extra,
    struct iovec *content, int n, bool end)
{
    static const struct http1_fault not_websocket = { 502, "the service did not accept the websocket" };
    static const struct http1_fault too_many = { 502, "the answer has too many fields" };
    struct h2_stream *s = client;
    struct conn_h2 *c = s->conn;
    struct head_text text;
    nghttp2_data_provider provider = { .source.ptr = s, .read_callback = on_read };
    if (s->closed)
        return;
    /* To a client whose CONNECT any 2xx answers, the websocket would stand (RFC 8441 5). */
    if (extra->upgrade ? !accepts(s, head) : s->tunnel && head->status / 100 == 2) {
        conn_h2_break_off(s, &not_websocket);
        return;
    }
    int k = collect(s, head, extra, &text);
    if (k < 0) {
        conn_h2_break_off(s, &too_many);
        return;
    }
    bool bare = end && n == 0;
    s->answered = true;
    if (nghttp2_submit_response(c->session, s->id, c->worker->h2->nva, (size_t)k, bare ? NULL : &provider) !=
        0) {
        conn_h2_reset(s, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    if (!s->refused)
        conn_h2_earn(c, H2_EARN_ANSWER);
    put(s, content, n, end);
    if (extra->upgrade && (s->early.bytes > 0 || s->request_ended))
        conn_h2_later(s, H2_TODO_EARLY);
}

static void informational(void *client, const struct http1_head *head)
{
    struct h2_stream *s = client;
    struct conn_h2 *c = s->conn;
    struct answer_extra extra = { .rules = NULL };
    struct head_text text;
    int k = s->closed ? -1 : collect(s, head, &extra, &text);
    if (k < 0)
        return;
    (void)nghttp2_submit_headers(
        c->session, NGHTTP2_FLAG_NONE, s->id, NULL, c->worker->h2->nva, (size_t)k, NULL);
    conn_h2_touch(c);
    /* From now on content is due. */
    if (head->status == 100)
        conn_h2_arm(s);
}

static struct h2_trailers *copy_trailers(const struct http1_head *head)
{
    size_t size = sizeof(struct h2_trailers) + head->n_fields * sizeof(nghttp2_nv), bytes = 0;
    for (unsigned i = 0; i < head->n_fields; i++)
        bytes += (size_t)head->fields[i].name_len + head->fields[i].value_len;
    struct h2_trailers *t = xmalloc(size + bytes);
    char *p = (char *)t + size;
    t->n = head->n_fields;
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        memcpy(p, f->name, f->name_len);
        memcpy(p + f->name_len, f->value, f->value_len);
        t->nva[i] = nv_of(p, f->name_len, p + f->name_len, f->value_len);
        p += f->name_len + f->value_len;
    }
    return t;
}

static void content(void *client, struct iovec *parts, int n, bool end, const struct http1_head *trailers)
{
    struct h2_stream *s = client;
    if (s->closed)
        return;
    if (trailers && end && !s->trailers)
        s->trailers = copy_trailers(trailers);
    put(s, parts, n, end);
}

/* --- the other client_ops -------------------------------------------------------------------------------- */

void conn_h2_refuse(struct h2_stream *s, const struct http1_fault *fault)
{
    struct worker *worker = s->conn->worker;
    struct own_answer own = { .status = fault->status, .text = fault->reason };
    struct answer_extra extra = { .tls = s->conn->forward.tls };
    struct iovec part;
    s->refused = true;
    int n = worker_own_answer(worker, &own, s->asks_head ? HTTP1_METHOD_HEAD : HTTP1_METHOD_OTHER, &part);
    answer(s, &worker->answer, &extra, &part, n, true);
}

static void forget_exchange(struct h2_stream *s)
{
    if (s->exchange)
        s->conn->n_exchanges--;
    s->exchange = NULL;
    if (s->closed)
        conn_h2_later(s, H2_TODO_ABORT);
}

static void reset(void *client, const char *reason)
{
    struct h2_stream *s = client;
    forget_exchange(s);
    conn_h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static bool is_congested(void *client)
{
    const struct h2_stream *s = client;
    return s->out.bytes > 0 || s->conn->blocked;
}

static void credit(void *client)
{
    conn_h2_give_credit(client);
}

static void done(void *client)
{
    forget_exchange(client);
}

const struct client_ops conn_h2_ops = {
    .answer = answer,
    .content = content,
    .informational = informational,
    .reset = reset,
    .is_congested = is_congested,
    .credit = credit,
    .done = done,
};

/* --- callbacks ------------------------------------------------------------------------------------------- */

static bool is_our_mistake(uint32_t code)
{
    return code == NGHTTP2_NO_ERROR || code == NGHTTP2_REFUSED_STREAM || code == NGHTTP2_INTERNAL_ERROR ||
        code == NGHTTP2_CANCEL;
}

/* An answer that overtook its request: what of the request still comes is not wanted (RFC 9113 8.1). But some clients
 * look at a reset before the answer that came with it, so it is put off a little. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    static const uint8_t mark[8] = "drained";
    struct conn_h2 *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY && c->draining && !c->drained)
        nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, mark);
    if (frame->hd.type == NGHTTP2_RST_STREAM && !is_our_mistake(frame->rst_stream.error_code))
        (void)conn_h2_spend(c, H2_COST_RESET);
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!ends)
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s && !s->request_ended && !s->lingers) {
        s->lingers = true;
        wheel_set(&c->worker->wheel, &s->deadline, CONN_LINGER_MS);
    }
    return 0;
}

/* A head that could not be framed: the stream would hang. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s && frame->hd.type == NGHTTP2_HEADERS)
        conn_h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

void conn_h2_out_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
}
