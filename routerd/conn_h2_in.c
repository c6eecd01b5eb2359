/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2_state.h"

#include <string.h>

#include "routerd/budget.h"
#include "routerd/conn_h1.h"
#include "routerd/conn_h2.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

/* The receiving half of conn_h2.c: field blocks become heads and exchanges, DATA becomes their content. All of it runs
 * inside nghttp2_session_mem_recv. */

/* --- content --------------------------------------------------------------------------------------------- */

void conn_h2_give_credit(struct h2_stream *s)
{
    struct conn_h2 *c = s->conn;
    if (s->unconsumed == 0)
        return;
    if (s->closed)
        nghttp2_session_consume_connection(c->session, s->unconsumed);
    else
        nghttp2_session_consume(c->session, s->id, s->unconsumed);
    s->unconsumed = 0;
    conn_h2_touch(c);
}

void conn_h2_send_gathered(struct conn_h2 *c, bool end, struct http1_head *trailers)
{
    struct h2_stream *s = c->gather;
    int n = c->n_parts;
    c->gather = NULL;
    c->n_parts = 0;
    if (!s)
        return;
    if (s->exchange && (n > 0 || end || s->exchange->head_sent == 0))
        exchange_send(s->exchange, c->parts, n, end, trailers);
    if (!s->exchange || exchange_wants_content(s->exchange))
        conn_h2_give_credit(s);
    else if (!budget_allows(c->worker))
        conn_h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static void gather(struct h2_stream *s)
{
    struct conn_h2 *c = s->conn;
    if (c->gather != s)
        conn_h2_send_gathered(c, false, NULL);
    c->gather = s;
}

/* What comes stands behind what came before the tunnel did. */
static bool waits_for_tunnel(const struct h2_stream *s)
{
    return s->tunnel && (s->exchange->state != EXCHANGE_TUNNEL || s->early.bytes > 0);
}

void conn_h2_send_early(struct h2_stream *s)
{
    struct worker *worker = s->conn->worker;
    struct iovec parts[EXCHANGE_CONTENT_IOV];
    while (s->exchange && s->early.bytes > 0) {
        int n = queue_iov(&s->early, parts, EXCHANGE_CONTENT_IOV);
        size_t bytes = 0;
        for (int i = 0; i < n; i++)
            bytes += parts[i].iov_len;
        exchange_send(s->exchange, parts, n, false, NULL);
        queue_consume(&s->early, &worker->blocks, bytes);
    }
    if (s->exchange && s->request_ended)
        exchange_send(s->exchange, NULL, 0, true, NULL);
    if (!s->exchange || exchange_wants_content(s->exchange))
        conn_h2_give_credit(s);
}

void conn_h2_break_off(struct h2_stream *s, const struct http1_fault *fault)
{
    struct exchange *ex = s->exchange;
    if (!ex)
        return;
    if (ex->ops && !ex->head_answered && !s->answered) {
        s->refused = true;
        exchange_fail(ex, fault->status, fault->reason, 0, fault->reason);
        return;
    }
    s->exchange = NULL;
    s->conn->n_exchanges--;
    if (s->answered) {
        exchange_abort(ex, fault->status, fault->reason);
        conn_h2_reset(s, NGHTTP2_CANCEL);
    } else {
        exchange_abort_refused(ex, fault);
        conn_h2_refuse(s, fault);
    }
}

static void end_receiving(struct h2_stream *s)
{
    s->conn->n_receiving -= !s->request_ended;
    s->request_ended = true;
}

static void end_content(struct h2_stream *s, struct http1_head *trailers)
{
    end_receiving(s);
    if (!s->exchange)
        return;
    if (s->has_length && s->body_left > 0) {
        conn_h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (waits_for_tunnel(s))
        return; /* said when the tunnel stands */
    gather(s);
    conn_h2_send_gathered(s->conn, true, trailers);
}

/* False: it is not to go on. */
static bool count_content(struct h2_stream *s, size_t len)
{
    static const struct http1_fault large = { 413, "the body is larger than allowed here" };
    int64_t max = s->exchange->body_max;
    s->moved_bytes += (int64_t)len;
    s->body_bytes += len;
    if (s->has_length && len > s->body_left) {
        conn_h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return false;
    }
    s->body_left -= s->has_length ? len : 0;
    if (max > 0 && s->body_bytes > (uint64_t)max && !s->tunnel) {
        conn_h2_break_off(s, &large);
        return false;
    }
    return true;
}

/* Of a request that is answered. */
static void count_unwanted(struct h2_stream *s, size_t len)
{
    s->linger_bytes += (int64_t)len;
    if (s->lingers && s->linger_bytes > CONN_LINGER_MAX)
        conn_h2_reset(s, NGHTTP2_NO_ERROR);
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user)
{
    struct conn_h2 *c = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s || !s->exchange || !count_content(s, len)) {
        nghttp2_session_consume(session, id, len);
        if (s)
            count_unwanted(s, len);
        return 0;
    }
    s->unconsumed += (uint32_t)len;
    if (waits_for_tunnel(s)) {
        queue_add(&s->early, &c->worker->blocks, data, len);
        return 0;
    }
    gather(s);
    if (c->n_parts == EXCHANGE_CONTENT_IOV) {
        conn_h2_send_gathered(c, false, NULL);
        c->gather = s;
    }
    c->parts[c->n_parts++] = (struct iovec){ (void *)data, len };
    return c->failure ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static void make_key(struct h2_stream *s, char *key)
{
    uint64_t random[WEBSOCKET_KEY_BYTES / sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof(random) / sizeof(random[0]); i++)
        random[i] = worker_random(s->conn->worker);
    websocket_key((const uint8_t *)random, key);
    websocket_accept(key, s->accept);
}

static void begin_exchange(struct h2_stream *s, const struct http1_head *head)
{
    struct conn_h2 *c = s->conn;
    struct exchange *ex = s->exchange = exchange_new(c->worker, &conn_h2_ops, s);
    c->n_exchanges++;
    ex->client_slow = conn_h2_has_small_window(s);
    s->has_length = head->has_content_length;
    s->body_left = head->content_length;
    if (!exchange_begin(ex, head, &c->forward))
        return;
    if (s->request_ended || s->tunnel) {
        exchange_send(ex, NULL, 0, true, NULL);
        return;
    }
    /* What of its content came in the same read goes with the head. */
    gather(s);
    conn_h2_arm(s);
}

static void on_request(struct conn_h2 *c, struct h2_stream *s, bool ends)
{
    struct worker *worker = c->worker;
    char key[WEBSOCKET_KEY_LEN + 1];
    struct h2_request request = { .ends = ends, .websocket_key = key };
    struct http1_fault fault;
    enum http1_result r =
        h2_head_request(&c->head, &worker->blocks, &request, &worker->limits, &worker->head, &fault);
    s->asks_head = c->head.asks_head;
    if (ends)
        end_receiving(s);
    c->n_requests++;
    if (r == HTTP1_DONE) {
        s->tunnel = request.tunnel;
        if (s->tunnel)
            make_key(s, key);
        begin_exchange(s, &worker->head);
    } else {
        exchange_record_refused(worker, &c->forward, &fault,
            s->asks_head ? HTTP1_METHOD_HEAD : HTTP1_METHOD_OTHER, (struct http1_slice){ "", 0 });
        conn_h2_refuse(s, &fault);
        (void)conn_h2_spend(c, H2_COST_RESET);
    }
    h2_head_clear(&c->head, &worker->blocks);
    if (c->n_requests >= (uint32_t)worker->settings->requests_per_connection)
        conn_h2_drain(c);
}

static void on_trailers(struct conn_h2 *c, struct h2_stream *s)
{
    struct worker *worker = c->worker;
    struct http1_fault fault;
    enum http1_result r = HTTP1_DONE;
    if (s->exchange) {
        conn_h2_send_gathered(c, false, NULL);
        r = h2_head_trailers(&c->head, &worker->blocks, &worker->limits, &worker->head, &fault);
    }
    if (r == HTTP1_DONE) {
        end_content(s, s->exchange && worker->head.n_fields > 0 ? &worker->head : NULL);
    } else {
        end_receiving(s);
        conn_h2_break_off(s, &fault);
    }
    h2_head_clear(&c->head, &worker->blocks);
}

/* --- callbacks ------------------------------------------------------------------------------------------- */

static int verdict(const struct conn_h2 *c)
{
    return c->failure ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct conn_h2 *c = user;
    c->greeted = true;
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        return 0;
    case NGHTTP2_DATA:
        if (hd->length > 0 || hd->flags & NGHTTP2_FLAG_END_STREAM)
            return 0;
        break;
    default:
        break;
    }
    (void)conn_h2_spend(c, H2_COST_FRAME);
    return verdict(c);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn_h2 *c = user;
    struct worker *worker = c->worker;
    h2_head_clear(&c->head, &worker->blocks);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        h2_head_begin(&c->head, HTTP1_TRAILERS_MAX);
        return 0;
    }
    size_t max = worker->limits.head_max;
    h2_head_begin(&c->head, max > 0 && max < HTTP1_HEAD_MAX ? max : HTTP1_HEAD_MAX);
    /* Those that the client has given up in the same breath are not gone yet. */
    if (c->n_exchanges >= (unsigned)worker->settings->h2_streams) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        (void)conn_h2_spend(c, H2_COST_FRAME);
        return verdict(c);
    }
    struct h2_stream *s = conn_h2_stream_new(c, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct conn_h2 *c = user;
    if (h2_head_is_open(&c->head) &&
        !h2_head_add(&c->head, &c->worker->blocks, (struct http1_slice){ (const char *)name, name_len },
            (struct http1_slice){ (const char *)value, value_len }))
        c->failure = NGHTTP2_ENHANCE_YOUR_CALM;
    return verdict(c);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn_h2 *c = user;
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_stream *s = NULL;
    if (frame->hd.type == NGHTTP2_HEADERS || (frame->hd.type == NGHTTP2_DATA && ends))
        s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s) {
        if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK)
            conn_h2_last_word(c);
        else if (frame->hd.type == NGHTTP2_HEADERS)
            h2_head_clear(&c->head, &c->worker->blocks);
        return verdict(c);
    }
    if (frame->hd.type == NGHTTP2_DATA)
        end_content(s, NULL);
    else if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        on_request(c, s, ends);
    else
        on_trailers(c, s);
    return verdict(c);
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct conn_h2 *c = user;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2_head_clear(&c->head, &c->worker->blocks);
    return verdict(c);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct conn_h2 *c = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return 0;
    s->closed = true;
    end_receiving(s);
    if (code != NGHTTP2_NO_ERROR && s->exchange)
        (void)conn_h2_spend(c, H2_COST_RESET);
    conn_h2_later(s, H2_TODO_ABORT);
    return 0;
}

void conn_h2_in_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    /* What nghttp2 would pass over is judged like all the rest, and refused. */
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
