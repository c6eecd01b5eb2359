/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "routerd/endpoint.h"
#include "routerd/rules.h"
#include "routerd/settings.h"
#include "routerd/upconn.h"
#include "routerd/worker.h"

/* The request's side of an exchange: head and content to the endpoint, its events and deadlines. */

#define UP_IOV 15

/* --- sending --------------------------------------------------------------------------------------------- */

static void sent(struct exchange *ex, size_t n)
{
    size_t head_rest = ex->head_len - ex->head_sent;
    size_t of_head = n < head_rest ? n : head_rest;
    ex->head_sent += of_head;
    ex->moved_bytes += (int64_t)n;
    if (n > of_head) {
        ex->content_sent = true;
        ex->up_bytes += (int64_t)(n - of_head);
    }
}

static bool all_sent(const struct exchange *ex)
{
    return ex->out.bytes == 0 && ex->head_sent == ex->head_len;
}

/* Our direction of a tunnel ends when the client's has. */
static void shut_if_due(struct exchange *ex)
{
    if (ex->state == EXCHANGE_TUNNEL && ex->request_whole && !ex->end_shut && all_sent(ex)) {
        ex->end_shut = true;
        wire_shutdown_write(&ex->up->wire);
        exchange_arm(ex);
    }
}

static void write_failed(struct exchange *ex, int code)
{
    /* The endpoint may have answered before it closed: what it said is still to be read. */
    if (code == -EPIPE || code == -ECONNRESET) {
        ex->out_broken = true;
        ex->content_sent |= ex->out.bytes > 0 || ex->request_framing != HTTP1_BODY_NONE;
        queue_clear(&ex->out, &ex->worker->blocks);
        ex->head_sent = ex->head_len;
        ex->up->wire.readable = true;
        wire_again(&ex->up->wire);
        return;
    }
    exchange_broken(ex, false, "writing to the endpoint failed");
}

/* Head and content in one write; what is left waits. */
static void send_now(struct exchange *ex, const struct iovec *parts, int n)
{
    struct iovec iov[UP_IOV + 1];
    int k = 0;
    size_t total = 0, head_rest = ex->head_len - ex->head_sent;
    if (head_rest > 0)
        iov[k++] = (struct iovec){ ex->head + ex->head_sent, head_rest };
    for (int i = 0; i < n; i++)
        iov[k++] = parts[i];
    for (int i = 0; i < k; i++)
        total += iov[i].iov_len;
    ssize_t w = wire_writev(&ex->up->wire, iov, k);
    if (w == -EAGAIN)
        w = 0;
    if (w < 0) {
        queue_add_rest(&ex->out, &ex->worker->blocks, parts, n, 0); /* it may be repeated */
        write_failed(ex, (int)w);
        return;
    }
    sent(ex, (size_t)w);
    ex->slow = (size_t)w < total;
    size_t skip = (size_t)w > head_rest ? (size_t)w - head_rest : 0;
    queue_add_rest(&ex->out, &ex->worker->blocks, parts, n, skip);
    exchange_arm(ex);
    shut_if_due(ex);
}

/* Chunk framing around content; room for two more parts than n must be in `parts`. */
static int frame(struct exchange *ex, struct iovec *parts, const struct iovec *content, int n, bool end,
    const struct http1_head *trailers, char *chunk_head)
{
    static char crlf[] = "\r\n", last[] = HTTP1_LAST_CHUNK, crlf_last[] = "\r\n" HTTP1_LAST_CHUNK;
    size_t total = 0;
    int k = 0;
    for (int i = 0; i < n; i++)
        total += content[i].iov_len;
    bool chunked = ex->request_framing == HTTP1_BODY_CHUNKED && ex->state != EXCHANGE_TUNNEL;
    if (chunked && total > 0)
        parts[k++] = (struct iovec){ chunk_head, http1_chunk_head(chunk_head, total) };
    for (int i = 0; i < n; i++) {
        if (content[i].iov_len > 0)
            parts[k++] = content[i];
    }
    if (!chunked)
        return k;
    if (end && !trailers)
        parts[k++] = total > 0 ? (struct iovec){ crlf_last, sizeof(crlf_last) - 1 }
                               : (struct iovec){ last, sizeof(last) - 1 };
    else if (total > 0)
        parts[k++] = (struct iovec){ crlf, sizeof(crlf) - 1 };
    if (end && trailers) {
        struct http1_out out;
        http1_out_init(&out, ex->worker->head_out, WORKER_HEAD_OUT);
        http1_out_literal(&out, "0\r\n");
        headers_trailers(&out, trailers);
        parts[k++] = (struct iovec){ out.data, out.len };
    }
    return k;
}

void exchange_send(
    struct exchange *ex, const struct iovec *content, int n, bool end, struct http1_head *trailers)
{
    struct iovec parts[UP_IOV];
    char chunk_head[HTTP1_CHUNK_HEAD_MAX];
    if (ex->state == EXCHANGE_OVER || ex->out_broken) {
        ex->request_whole |= end;
        return;
    }
    if (trailers && ex->rules)
        rules_hide_trailers(&ex->rules->request, trailers);
    int k = frame(ex, parts, content, n, end, trailers, chunk_head);
    ex->request_whole |= end;
    bool later = ex->state == EXCHANGE_PICKING || ex->state == EXCHANGE_CONNECTING || ex->out.bytes > 0;
    if (later)
        queue_add_rest(&ex->out, &ex->worker->blocks, parts, k, 0);
    else
        send_now(ex, parts, k);
}

bool exchange_wants_content(const struct exchange *ex)
{
    return ex->state != EXCHANGE_PICKING && ex->state != EXCHANGE_CONNECTING && ex->out.bytes == 0;
}

bool exchange_awaits_continue(const struct exchange *ex)
{
    return ex->continue_asked && !ex->continued && !ex->content_sent && ex->out.bytes == 0;
}

size_t exchange_read_size(const struct exchange *ex)
{
    return ex->slow ? WORKER_SLOW_READ : WORKER_BUFFER;
}

void exchange_flush(struct exchange *ex)
{
    bool any = !all_sent(ex);
    while (!all_sent(ex)) {
        struct iovec iov[UP_IOV + 1];
        int k = 0;
        size_t head_rest = ex->head_len - ex->head_sent;
        if (head_rest > 0)
            iov[k++] = (struct iovec){ ex->head + ex->head_sent, head_rest };
        k += queue_iov(&ex->out, iov + k, UP_IOV);
        ssize_t w = wire_writev(&ex->up->wire, iov, k);
        if (w == -EAGAIN)
            return;
        if (w < 0) {
            write_failed(ex, (int)w);
            return;
        }
        sent(ex, (size_t)w);
        if ((size_t)w > head_rest)
            queue_consume(&ex->out, &ex->worker->blocks, (size_t)w - head_rest);
    }
    if (any)
        exchange_arm(ex);
    shut_if_due(ex);
    if (ex->ops)
        ex->ops->credit(ex->client);
}

/* --- the upstream's events ------------------------------------------------------------------------------- */

static const char *connect_reason(const struct exchange *ex)
{
    return ex->up->wire.error == -ECONNREFUSED ? "connection refused" : "can't be reached";
}

void exchange_on_upstream(struct exchange *ex, unsigned events)
{
    struct upconn *up = ex->up;
    if (ex->state == EXCHANGE_CONNECTING) {
        if (events & WIRE_CONNECTED) {
            up->connected = true;
            ex->state = EXCHANGE_ASKING;
            exchange_arm(ex);
        } else if (events & WIRE_CLOSED) {
            exchange_broken(ex, true, connect_reason(ex));
            return;
        } else {
            return;
        }
    }
    if (events & WIRE_WRITABLE)
        exchange_flush(ex);
    if (ex->state != EXCHANGE_OVER && ex->up == up)
        exchange_read_answer(ex);
}

/* What the endpoint has taken out of the kernel's hands counts as moved, too. */
static void look_again(struct exchange *ex)
{
    size_t unsent = wire_unsent(&ex->up->wire);
    if (unsent < ex->unsent)
        ex->window_bytes -= (int64_t)(ex->unsent - unsent);
    ex->unsent = unsent;
    int64_t left_ms = (ex->phase_end_us - worker_now_us(ex->worker)) / CLOCK_US_PER_MS + 1;
    wheel_set(&ex->worker->wheel, &ex->up->deadline, left_ms < EXCHANGE_LOOK_MS ? left_ms : EXCHANGE_LOOK_MS);
}

static void count_timeout(struct exchange *ex, enum worker_timeout what)
{
    endpoint_count(&ex->worker->counters.timeouts[what], 1);
}

/* A window in which enough moved is followed by another one. While the client is what we wait for, its own
 * deadline counts. */
void exchange_on_upstream_timeout(struct exchange *ex)
{
    const struct settings *s = ex->worker->settings;
    int64_t moved = ex->moved_bytes - ex->window_bytes;
    bool sending = !all_sent(ex);
    switch (ex->state) {
    case EXCHANGE_CONNECTING:
        count_timeout(ex, TIMED_OUT_CONNECT);
        exchange_broken(ex, true, "connecting timed out");
        return;
    case EXCHANGE_ASKING:
        if (wire_is_unheard(&ex->up->wire)) {
            exchange_broken(ex, false, "can't be reached any more");
            return;
        }
        if (worker_now_us(ex->worker) < ex->phase_end_us) {
            look_again(ex);
            return;
        }
        /* The client is what we wait for, and has a deadline of its own; unless it waits for a 100 itself. */
        if (!ex->request_whole && !sending && !exchange_awaits_continue(ex)) {
            exchange_arm(ex);
            return;
        }
        if (sending && moved >= s->body_rate * s->body_ms / CLOCK_MS_PER_S) {
            exchange_arm(ex);
            return;
        }
        count_timeout(ex, TIMED_OUT_FIRST_BYTE);
        exchange_endpoint_broke(ex, false, "timed out");
        exchange_fail(ex, 504, "the service did not answer in time", 0, "timed out");
        return;
    case EXCHANGE_ANSWERING:
        if (moved > 0 || (ex->ops && ex->ops->is_congested(ex->client))) {
            exchange_arm(ex);
            return;
        }
        count_timeout(ex, TIMED_OUT_ANSWER);
        exchange_fail(ex, 504, "", 0, "the answer stopped");
        return;
    case EXCHANGE_TUNNEL:
        if (moved > 0) {
            exchange_arm(ex);
            return;
        }
        count_timeout(ex, TIMED_OUT_TUNNEL);
        exchange_fail(ex, 504, "", 0, NULL);
        return;
    default:
        return;
    }
}
