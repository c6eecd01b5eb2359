/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h1_out.h"

#include <errno.h>
#include <string.h>

#include "routerd/budget.h"
#include "routerd/conn_h1.h"
#include "routerd/endpoint.h"
#include "routerd/own_answer.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

#define PARTS_MAX (EXCHANGE_CONTENT_IOV + 4) /* head, chunk head, content, line end, trailers */

/* --- writing --------------------------------------------------------------------------------------------- */

/* Writes or queues all of it. False: the client is gone, and so is the exchange. */
static bool put(struct conn_h1 *c, const struct iovec *parts, int n)
{
    struct worker *worker = c->worker;
    size_t total = 0, done = 0;
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    if (total == 0)
        return true;
    if (c->out.bytes == 0) {
        ssize_t w = wire_writev(&c->wire, parts, n);
        if (w < 0 && w != -EAGAIN) {
            conn_h1_close(c);
            return false;
        }
        done = w > 0 ? (size_t)w : 0;
        c->moved_bytes += (int64_t)done;
    }
    if (c->exchange)
        c->exchange->client_slow = done < total;
    if (done == total)
        return true;
    bool waits = c->out.bytes > 0;
    queue_add_rest(&c->out, &worker->blocks, parts, n, done);
    if (!budget_allows(worker)) {
        conn_h1_cut_off(c);
        return false;
    }
    if (!waits) {
        c->out_since_us = worker_now_us(worker);
        c->window_bytes = conn_h1_moved(c);
        wheel_set(&worker->wheel, &c->deadline, worker->settings->body_ms);
    }
    return true;
}

/* All is said. Unread bytes would turn our close into a reset that can take the answer with it, so a client that may
 * still be sending is listened to for a while. */
static void end_connection(struct conn_h1 *c)
{
    /* Of a connection that is not watched yet nobody knows whether more came. */
    bool more = c->wire.readable || (c->wire.unwatched && !c->asked_close);
    if (!more && (c->wire.eof || (http1_body_is_whole(&c->body) && !c->in))) {
        conn_h1_close(c);
        return;
    }
    c->state = CONN_LINGER;
    c->body_bytes = 0;
    wire_expect(&c->wire);
    wire_shutdown_write(&c->wire);
    wheel_set(&c->worker->wheel, &c->deadline, CONN_LINGER_MS);
    conn_h1_go_on(c);
}

void conn_h1_flush(struct conn_h1 *c)
{
    while (c->out.bytes > 0) {
        struct iovec iov[WIRE_IOV_MAX];
        int n = queue_iov(&c->out, iov, WIRE_IOV_MAX);
        ssize_t w = wire_writev(&c->wire, iov, n);
        if (w == -EAGAIN)
            return;
        if (w < 0) {
            conn_h1_close(c);
            return;
        }
        c->moved_bytes += w;
        queue_consume(&c->out, &c->worker->blocks, (size_t)w);
    }
    if (c->state == CONN_FLUSH)
        end_connection(c);
    else if (c->exchange)
        exchange_resume(c->exchange);
    else if (c->state == CONN_HEAD)
        wheel_set(&c->worker->wheel, &c->deadline, worker_idle_ms(c->worker));
}

/* --- framing --------------------------------------------------------------------------------------------- */

static int frame(struct conn_h1 *c, struct iovec *parts, struct iovec *content, int n, bool end,
    const struct http1_head *trailers, char *chunk_head, struct http1_out *trailer_out)
{
    static char crlf[] = "\r\n", last[] = HTTP1_LAST_CHUNK, crlf_last[] = "\r\n" HTTP1_LAST_CHUNK;
    size_t total = 0;
    int k = 0;
    for (int i = 0; i < n; i++)
        total += content[i].iov_len;
    if (c->chunked && total > 0)
        parts[k++] = (struct iovec){ chunk_head, http1_chunk_head(chunk_head, total) };
    for (int i = 0; i < n; i++)
        parts[k++] = content[i];
    if (!c->chunked)
        return k;
    if (end && !trailers)
        parts[k++] = total > 0 ? (struct iovec){ crlf_last, sizeof(crlf_last) - 1 }
                               : (struct iovec){ last, sizeof(last) - 1 };
    else if (total > 0)
        parts[k++] = (struct iovec){ crlf, sizeof(crlf) - 1 };
    if (end && trailers) {
        http1_out_literal(trailer_out, "0\r\n");
        headers_trailers(trailer_out, trailers);
        parts[k++] = (struct iovec){ trailer_out->data, trailer_out->len };
    }
    return k;
}

/* --- client_ops ------------------------------------------------------------------------------------------ */

static enum answer_framing choose_framing(const struct conn_h1 *c, const struct http1_head *head)
{
    if (head->body == HTTP1_BODY_NONE || head->body == HTTP1_BODY_LENGTH)
        return ANSWER_AS_IT_IS;
    return c->minor == 1 ? ANSWER_CHUNKED : ANSWER_UNTIL_CLOSE;
}

/* A head that can't be told: the exchange ends, and the client gets an answer without rules. */
static void head_is_too_large(struct conn_h1 *c)
{
    static const struct http1_fault fault = { 502, "the head of the answer is too large" };
    struct exchange *ex = c->exchange;
    c->exchange = NULL;
    c->keep = c->chunked = c->cut_short = false;
    if (ex)
        exchange_abort_refused(ex, &fault);
    conn_h1_refuse(c, &fault, ex ? (enum http1_method)ex->method_id : HTTP1_METHOD_OTHER);
    conn_h1_done(c);
}

static void answer(void *client, const struct http1_head *head, const struct answer_extra *extra,
    struct iovec *content, int n, bool end)
{
    struct conn_h1 *c = client;
    struct worker *worker = c->worker;
    bool upgrade = extra->upgrade;
    struct answer_style style = { .framing = choose_framing(c, head), .extra = *extra };
    /* An answer that overtakes its request ends the connection: what of the request still comes is not read. */
    c->keep = c->keep && !worker->stopping && http1_body_is_whole(&c->body) &&
        style.framing != ANSWER_UNTIL_CLOSE && !upgrade;
    style.close = !c->keep && !upgrade;
    style.say_keep_alive = c->keep && c->minor == 0;
    c->chunked = style.framing == ANSWER_CHUNKED;
    c->cut_short = style.framing == ANSWER_UNTIL_CLOSE && !end;
    if (upgrade)
        http1_body_init(&c->body, HTTP1_BODY_CLOSE, 0);

    struct http1_out out;
    struct iovec parts[PARTS_MAX];
    char chunk_head[HTTP1_CHUNK_HEAD_MAX];
    http1_out_init(&out, worker->head_out, WORKER_HEAD_OUT);
    headers_answer(&out, head, &style);
    if (out.full) {
        head_is_too_large(c);
        return;
    }
    parts[0] = (struct iovec){ out.data, out.len };
    int k = 1 + frame(c, parts + 1, content, n, end, NULL, chunk_head, NULL);
    if (end && !c->keep && !upgrade && c->out.bytes == 0)
        wire_last(&c->wire);
    if (put(c, parts, k) && upgrade)
        conn_h1_go_on(c);
}

static void content(
    void *client, struct iovec *content_parts, int n, bool end, const struct http1_head *trailers)
{
    struct conn_h1 *c = client;
    struct iovec parts[PARTS_MAX];
    char chunk_head[HTTP1_CHUNK_HEAD_MAX];
    struct http1_out trailer_out;
    http1_out_init(&trailer_out, c->worker->head_out, WORKER_HEAD_OUT);
    if (end)
        c->cut_short = false;
    int k = frame(c, parts, content_parts, n, end, trailers, chunk_head, &trailer_out);
    if (end && !c->keep && c->out.bytes == 0)
        wire_last(&c->wire);
    (void)put(c, parts, k);
}

static void informational(void *client, const struct http1_head *head)
{
    struct conn_h1 *c = client;
    struct answer_style style = { .framing = ANSWER_AS_IT_IS };
    struct http1_out out;
    if (c->minor == 0)
        return;
    http1_out_init(&out, c->worker->head_out, WORKER_HEAD_OUT);
    headers_answer(&out, head, &style);
    if (out.full)
        return;
    struct iovec part = { out.data, out.len };
    /* From now on content is due. */
    if (put(c, &part, 1) && head->status == 100 && c->out.bytes == 0)
        conn_h1_arm_body(c);
}

void conn_h1_refuse(struct conn_h1 *c, const struct http1_fault *fault, enum http1_method method)
{
    struct worker *worker = c->worker;
    struct own_answer own = { .status = fault->status, .text = fault->reason };
    struct answer_extra extra = { .tls = c->forward.tls };
    struct iovec part;
    if (c->state == CONN_CLOSED)
        return;
    int n = worker_own_answer(worker, &own, method, &part);
    answer(c, &worker->answer, &extra, &part, n, true);
}

static void reset(void *client, const char *reason)
{
    struct conn_h1 *c = client;
    (void)reason;
    c->exchange = NULL;
    conn_h1_close(c);
}

static bool is_congested(void *client)
{
    const struct conn_h1 *c = client;
    return c->out.bytes > 0;
}

static struct wire *direct(void *client)
{
    struct conn_h1 *c = client;
    return c->out.bytes > 0 || c->wire.tls || c->chunked ? NULL : &c->wire;
}

static void credit(void *client)
{
    conn_h1_go_on(client);
}

void conn_h1_done(struct conn_h1 *c)
{
    c->exchange = NULL;
    if (c->state == CONN_CLOSED)
        return;
    if (c->keep) {
        c->state = CONN_HEAD;
        c->in_fresh = c->in != NULL;
        if (c->out.bytes == 0)
            wheel_set(&c->worker->wheel, &c->deadline, worker_idle_ms(c->worker));
        conn_h1_go_on(c);
        return;
    }
    c->state = CONN_FLUSH;
    if (c->out.bytes == 0)
        end_connection(c);
}

static void done(void *client)
{
    conn_h1_done(client);
}

const struct client_ops conn_h1_ops = {
    .answer = answer,
    .content = content,
    .informational = informational,
    .reset = reset,
    .is_congested = is_congested,
    .direct = direct,
    .credit = credit,
    .done = done,
};
