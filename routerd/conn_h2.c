/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2.h"

#include <errno.h>
#include <stdlib.h>

#include "common/mem.h"
#include "routerd/conn_h1.h"
#include "routerd/conn_h2_state.h"
#include "routerd/endpoint.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

/* --- what is to be done later ---------------------------------------------------------------------------- */

void conn_h2_touch(struct conn_h2 *c)
{
    loop_at_end(c->worker->loop, &c->end);
}

void conn_h2_later(struct h2_stream *s, enum h2_todo what)
{
    s->todo |= (uint8_t)what;
    if (list_empty(&s->todo_link))
        list_append(&s->conn->todo, &s->todo_link);
    conn_h2_touch(s->conn);
}

/* --- streams --------------------------------------------------------------------------------------------- */

struct h2_stream *conn_h2_stream_new(struct conn_h2 *c, int32_t id)
{
    struct h2_stream *s = xcalloc(1, sizeof(*s));
    s->conn = c;
    s->id = id;
    list_append(&c->streams, &s->link);
    list_init(&s->todo_link);
    wheel_node_init(&s->deadline, conn_h2_on_stream_deadline);
    c->n_streams++;
    c->n_receiving++;
    return s;
}

static void stream_free(struct h2_stream *s)
{
    struct conn_h2 *c = s->conn;
    if (c->gather == s)
        c->gather = NULL;
    c->n_receiving -= !s->request_ended;
    c->n_streams--;
    conn_h2_drop_content(s);
    wheel_node_done(&c->worker->wheel, &s->deadline);
    list_remove(&s->link);
    list_remove(&s->todo_link);
    free(s);
}

static void abort_exchange(struct h2_stream *s)
{
    struct exchange *ex = s->exchange;
    if (!ex)
        return;
    s->exchange = NULL;
    s->conn->n_exchanges--;
    exchange_abort(ex, 0, NULL);
}

void conn_h2_reset(struct h2_stream *s, uint32_t code)
{
    if (!s->closed)
        nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
    conn_h2_later(s, H2_TODO_ABORT);
}

/* Nothing of this connection is on the stack. */
static void settle_stream(struct h2_stream *s)
{
    unsigned what = s->todo;
    s->todo = 0;
    if (what & H2_TODO_ABORT)
        abort_exchange(s);
    if (s->closed && !s->exchange) {
        conn_h2_give_credit(s);
        stream_free(s);
        return;
    }
    if (what & H2_TODO_EARLY)
        conn_h2_send_early(s);
    if (what & H2_TODO_RESUME && s->exchange && !conn_h2_ops.is_congested(s))
        exchange_resume(s->exchange);
}

/* What comes up meanwhile waits for the end of the next turn. */
static void settle(struct conn_h2 *c)
{
    struct list batch = LIST_INIT(batch);
    while (!list_empty(&c->todo)) {
        struct list *l = c->todo.next;
        list_remove(l);
        list_append(&batch, l);
    }
    while (!list_empty(&batch)) {
        struct h2_stream *s = list_first(&batch, struct h2_stream, todo_link);
        list_remove(&s->todo_link);
        settle_stream(s);
    }
}

/* --- writing --------------------------------------------------------------------------------------------- */

static void unblock(struct conn_h2 *c)
{
    struct h2_stream *s;
    c->blocked = false;
    list_for_each (s, &c->streams, link) {
        conn_h2_wake(s);
        if (s->exchange)
            conn_h2_later(s, H2_TODO_RESUME);
    }
    conn_h2_touch(c);
    if (c->wire.readable)
        wire_again(&c->wire);
}

static void flush(struct conn_h2 *c)
{
    while (c->out.bytes > 0 && !c->broken) {
        struct iovec iov[WIRE_IOV_MAX];
        int n = queue_iov(&c->out, iov, WIRE_IOV_MAX);
        ssize_t w = wire_writev(&c->wire, iov, n);
        if (w == -EAGAIN) {
            c->blocked = true;
            return;
        }
        if (w < 0) {
            c->broken = true;
            conn_h2_touch(c);
            return;
        }
        c->moved_bytes += w;
        queue_consume(&c->out, &c->worker->blocks, (size_t)w);
    }
    if (c->blocked)
        unblock(c);
}

void conn_h2_pump(struct conn_h2 *c)
{
    const uint8_t *data;
    if (c->in_session || c->state == CONN_H2_CLOSED)
        return;
    for (;;) {
        c->in_session = true;
        ssize_t n = nghttp2_session_mem_send(c->session, &data);
        c->in_session = false;
        if (n <= 0) {
            c->broken |= n < 0;
            return;
        }
        queue_add(&c->out, &c->worker->blocks, data, (size_t)n);
        if (c->out.bytes >= H2_WRITE_AT && !c->blocked)
            flush(c);
    }
}

/* --- leaving --------------------------------------------------------------------------------------------- */

static void begin_leaving(struct conn_h2 *c)
{
    struct h2_stream *s;
    c->state = CONN_H2_LEAVING;
    list_for_each (s, &c->streams, link)
        conn_h2_later(s, H2_TODO_ABORT);
    conn_h2_touch(c);
}

void conn_h2_leave(struct conn_h2 *c, uint32_t code)
{
    if (c->state != CONN_H2_OPEN)
        return;
    nghttp2_session_terminate_session(c->session, code);
    begin_leaving(c);
}

void conn_h2_drain(struct conn_h2 *c)
{
    if (c->draining || c->state != CONN_H2_OPEN)
        return;
    c->draining = true;
    /* Requests that are on their way to us are still answered. A PING follows (conn_h2_out.c): when it comes back, the
     * client has seen this, and the last word is said. */
    nghttp2_submit_shutdown_notice(c->session);
    conn_h2_touch(c);
}

void conn_h2_last_word(struct conn_h2 *c)
{
    if (!c->draining || c->drained)
        return;
    c->drained = true;
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
        NGHTTP2_NO_ERROR, NULL, 0);
    conn_h2_touch(c);
}

static void free_later(void *p)
{
    struct conn_h2 *c = p;
    nghttp2_session_del(c->session);
    free(c);
}

void conn_h2_close(struct conn_h2 *c)
{
    struct worker *worker = c->worker;
    if (c->state == CONN_H2_CLOSED)
        return;
    c->state = CONN_H2_CLOSED;
    while (!list_empty(&c->streams)) {
        struct h2_stream *s = list_first(&c->streams, struct h2_stream, link);
        abort_exchange(s);
        stream_free(s);
    }
    wire_close(&c->wire);
    h2_head_clear(&c->head, &worker->blocks);
    queue_clear(&c->out, &worker->blocks);
    wheel_node_done(&worker->wheel, &c->deadline);
    task_done(&c->end);
    list_remove(&c->link);
    endpoint_count(&worker->counters.connections, -1);
    loop_free_later(worker->loop, c, free_later);
    worker_check_room(worker);
}

/* --- the end of a turn ----------------------------------------------------------------------------------- */

static void linger(struct conn_h2 *c)
{
    for (;;) {
        ssize_t n = wire_read(&c->wire, c->worker->buffer, WORKER_BUFFER);
        if (n == -EAGAIN)
            return;
        c->linger_bytes += n;
        if (n <= 0 || c->linger_bytes > CONN_LINGER_MAX) {
            conn_h2_close(c);
            return;
        }
    }
}

static void begin_linger(struct conn_h2 *c)
{
    c->state = CONN_H2_LINGER;
    wire_shutdown_write(&c->wire);
    conn_h2_watch(c, false);
    if (c->wire.eof)
        conn_h2_close(c);
    else
        linger(c);
}

static void on_end(void *arg)
{
    struct conn_h2 *c = arg;
    if (c->state == CONN_H2_CLOSED || c->state == CONN_H2_LINGER)
        return;
    settle(c);
    if (c->failure)
        conn_h2_leave(c, c->failure);
    conn_h2_pump(c);
    flush(c);
    if (c->broken) {
        conn_h2_close(c);
        return;
    }
    /* The last word has gone, its or ours, and so has every stream. */
    if (c->state == CONN_H2_OPEN && !nghttp2_session_want_read(c->session) &&
        !nghttp2_session_want_write(c->session))
        begin_leaving(c);
    if (c->state == CONN_H2_LEAVING && c->out.bytes == 0 && list_empty(&c->todo)) {
        begin_linger(c);
        return;
    }
    conn_h2_watch(c, false);
}

/* --- reading --------------------------------------------------------------------------------------------- */

static void take(struct conn_h2 *c, const char *data, size_t len)
{
    c->in_session = true;
    ssize_t r = nghttp2_session_mem_recv(c->session, (const uint8_t *)data, len);
    conn_h2_send_gathered(c, false, NULL);
    c->in_session = false;
    if (r == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        c->broken = true;
    else if (r < 0 && !c->failure)
        c->failure = r == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_INTERNAL_ERROR;
    if (c->failure)
        conn_h2_leave(c, c->failure);
    settle(c);
    conn_h2_touch(c);
}

/* Heads are small and their work is not: while no content is expected, less is taken at once. */
static void receive(struct conn_h2 *c)
{
    struct worker *worker = c->worker;
    for (int i = 0; i < H2_READS_MAX; i++) {
        if (c->state != CONN_H2_OPEN || c->broken)
            return;
        if (c->out.bytes > H2_OUT_MAX) {
            /* What waits here is read when all that has gone: also if it goes at once, without the socket ever being full. */
            c->blocked = true;
            conn_h2_touch(c);
            return;
        }
        size_t max = c->n_receiving > 0 ? WORKER_BUFFER : H2_READ_HEADS;
        ssize_t n = wire_read(&c->wire, worker->buffer, max);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            conn_h2_close(c);
            return;
        }
        take(c, worker->buffer, (size_t)n);
    }
    if (c->wire.readable)
        wire_again(&c->wire);
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct conn_h2 *c = container_of(wire, struct conn_h2, wire);
    if (c->state == CONN_H2_CLOSED)
        return;
    if (c->state == CONN_H2_LINGER) {
        linger(c);
        return;
    }
    if (events & WIRE_WRITABLE && c->blocked) {
        flush(c);
        conn_h2_touch(c);
    }
    if (c->state == CONN_H2_OPEN)
        receive(c);
    else if (c->wire.eof)
        conn_h2_close(c);
}

/* --- beginning ------------------------------------------------------------------------------------------- */

static struct h2_worker *shared(struct worker *worker)
{
    struct h2_worker *h2 = worker->h2;
    if (h2)
        return h2;
    h2 = worker->h2 = xcalloc(1, sizeof(*h2));
    if (nghttp2_session_callbacks_new(&h2->callbacks) != 0 || nghttp2_option_new(&h2->option) != 0)
        abort(); /* no memory for a few hundred bytes */
    conn_h2_in_callbacks(h2->callbacks);
    conn_h2_out_callbacks(h2->callbacks);
    nghttp2_option_set_no_auto_window_update(h2->option, 1);
    nghttp2_option_set_no_closed_streams(h2->option, 1);
    nghttp2_option_set_max_continuations(h2->option, H2_CONTINUATIONS);
    nghttp2_option_set_max_send_header_block_length(h2->option, H2_SEND_HEAD_MAX);
    return h2;
}

static void greet(struct conn_h2 *c)
{
    const struct settings *s = c->worker->settings;
    const nghttp2_settings_entry ours[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)s->h2_streams },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)s->head_bytes },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    (void)nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, ours, ARRAY_SIZE(ours));
    (void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW);
}

void conn_h2_new(
    struct worker *worker, struct wire *from, const struct forward *forward, const char *data, size_t len)
{
    struct h2_worker *h2 = shared(worker);
    struct conn_h2 *c = xcalloc(1, sizeof(*c));
    c->worker = worker;
    c->forward = *forward;
    c->patience = H2_PATIENCE;
    c->patience_us = worker_now_us(worker);
    list_init(&c->streams);
    list_init(&c->todo);
    task_init(&c->end, on_end, c);
    wheel_node_init(&c->deadline, conn_h2_on_deadline);
    wire_init(&c->wire, on_wire);
    list_append(&worker->h2_conns, &c->link);
    endpoint_count(&worker->counters.connections, 1);
    endpoint_count(&worker->counters.accepted, 1);
    wire_move(from, &c->wire);
    wire_again(&c->wire);
    if (nghttp2_session_server_new2(&c->session, h2->callbacks, c, h2->option) != 0) {
        conn_h2_close(c);
        return;
    }
    greet(c);
    if (worker->stopping)
        conn_h2_drain(c);
    conn_h2_watch(c, true);
    conn_h2_touch(c);
    if (len > 0)
        take(c, data, len);
}

/* --- all of a worker's ----------------------------------------------------------------------------------- */

void conn_h2_close_all(struct worker *worker)
{
    struct conn_h2 *c, *next;
    list_for_each_safe (c, next, &worker->h2_conns, link)
        conn_h2_close(c);
}

void conn_h2_end_idle(struct worker *worker)
{
    struct conn_h2 *c;
    list_for_each (c, &worker->h2_conns, link) {
        if (c->n_streams == 0)
            conn_h2_last_word(c);
    }
}

void conn_h2_drain_all(struct worker *worker)
{
    struct conn_h2 *c;
    list_for_each (c, &worker->h2_conns, link)
        conn_h2_drain(c);
}

void conn_h2_worker_done(struct worker *worker)
{
    if (!worker->h2)
        return;
    nghttp2_session_callbacks_del(worker->h2->callbacks);
    nghttp2_option_del(worker->h2->option);
    free(worker->h2);
    worker->h2 = NULL;
}
