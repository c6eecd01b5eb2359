/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "routerd/endpoint.h"
#include "routerd/front.h"
#include "routerd/match.h"
#include "routerd/own_answer.h"
#include "routerd/rules.h"
#include "routerd/settings.h"
#include "routerd/upconn.h"
#include "routerd/waiting.h"
#include "routerd/worker.h"

#define MAX_FORWARDS_REACHED "Max-Forwards ends here"

static void attach(struct exchange *ex);

/* --- life ------------------------------------------------------------------------------------------------ */

/* The queue's deadline, while no connection has one of its own. */
static void on_deadline(struct wheel_node *node)
{
    struct exchange *ex = container_of(node, struct exchange, deadline);
    endpoint_count(&ex->worker->counters.timeouts[TIMED_OUT_QUEUE], 1);
    waiting_count_expired(ex);
    exchange_fail(ex, 503, "the service is busy", 1, "waited too long for an endpoint");
}

struct exchange *exchange_new(struct worker *worker, const struct client_ops *ops, void *client)
{
    struct exchange *ex = worker->free_exchanges;
    if (ex) {
        worker->free_exchanges = (struct exchange *)(void *)ex->link.next;
        worker->n_free_exchanges--;
    } else {
        ex = xmalloc(sizeof(*ex));
    }
    memset(ex, 0, offsetof(struct exchange, text));
    ex->worker = worker;
    ex->ops = ops;
    ex->client = client;
    ex->head = ex->head_block;
    list_init(&ex->waiting);
    wheel_node_init(&ex->deadline, on_deadline);
    list_append(&worker->exchanges, &ex->link);
    endpoint_count(&worker->counters.in_flight, 1);
    endpoint_count(&worker->counters.requests, 1);
    return ex;
}

/* Memory is used again only when the turn is over: callers further up the stack may still look at the state. */
static void recycle(void *p)
{
    struct exchange *ex = p;
    struct worker *worker = ex->worker;
    if (worker->n_free_exchanges >= WORKER_FREE_MAX) {
        free(ex);
        return;
    }
    ex->link.next = (struct list *)(void *)worker->free_exchanges;
    worker->free_exchanges = ex;
    worker->n_free_exchanges++;
}

/* Everything but the client's side ends. */
static void release_all(struct exchange *ex, bool keep_upstream, const char *reason)
{
    struct worker *worker = ex->worker;
    exchange_record_end(ex, reason);
    struct upconn *up = ex->up;
    ex->up = NULL;
    if (up && keep_upstream)
        upconn_give_back(up);
    else
        upconn_close(up);
    exchange_count_out(ex);
    waiting_leave(ex);
    if (ex->table)
        worker_table_release(worker, ex->table);
    if (ex->rules_table)
        worker_table_release(worker, ex->rules_table);
    ex->table = ex->rules_table = NULL;
    list_remove(&ex->link);
    wheel_node_done(&worker->wheel, &ex->deadline);
    queue_clear(&ex->out, &worker->blocks);
    if (ex->head != ex->head_block)
        free(ex->head);
    ex->head = ex->head_block;
    ex->state = EXCHANGE_OVER;
    endpoint_count(&worker->counters.in_flight, -1);
    loop_free_later(worker->loop, ex, recycle);
}

/* The answer is whole. The connection to the endpoint goes back if the request was taken whole, too. */
void exchange_finish(struct exchange *ex)
{
    bool clean = ex->state == EXCHANGE_ANSWERING && ex->request_whole && ex->out.bytes == 0 &&
        ex->head_sent == ex->head_len && ex->answer_keeps && !ex->out_broken;
    const struct client_ops *ops = ex->ops;
    void *client = ex->client;
    ex->ops = NULL;
    release_all(ex, clean, NULL);
    if (ops)
        ops->done(client);
}

void exchange_fail_with(struct exchange *ex, const struct own_answer *own, const char *reason)
{
    struct worker *worker = ex->worker;
    const struct client_ops *ops = ex->ops;
    void *client = ex->client;
    struct answer_extra extra = { .rules = ex->rules,
        .service = ex->service,
        .release = ex->release,
        .scratch = worker->rule_values,
        .tls = ex->client_tls };
    bool answered = ex->head_answered;
    ex->ops = NULL;
    if (!answered)
        ex->status = own->status;
    if (!reason)
        reason = own->reason ? own->reason : own->status >= 500 ? own->text : NULL;
    if (ops && answered) {
        release_all(ex, false, reason);
        ops->reset(client, reason);
        return;
    }
    if (ops) {
        struct iovec content;
        struct own_answer page = *own;
        if (ex->rules)
            rules_error_page(ex->rules, &page);
        int n = worker_own_answer(worker, &page, (enum http1_method)ex->method_id, &content);
        ex->down_bytes = n > 0 ? (int64_t)content.iov_len : 0;
        ops->answer(client, &worker->answer, &extra, &content, n, true);
        /* The client may be gone by now, and then has ended us. */
        if (ex->state == EXCHANGE_OVER)
            return;
    }
    release_all(ex, false, reason);
    if (ops)
        ops->done(client);
}

void exchange_fail(struct exchange *ex, int status, const char *text, int retry_after_s, const char *reason)
{
    struct own_answer own = { .status = status, .text = text, .retry_after_s = retry_after_s };
    exchange_fail_with(ex, &own, reason);
}

void exchange_abort(struct exchange *ex, int status, const char *reason)
{
    if (ex->state == EXCHANGE_OVER)
        return;
    ex->ops = NULL;
    if (!ex->head_answered)
        ex->status = status;
    release_all(ex, false, reason);
}

void exchange_abort_refused(struct exchange *ex, const struct http1_fault *fault)
{
    struct own_answer own = { .status = fault->status, .text = fault->reason };
    ex->status = fault->status;
    ex->down_bytes = (int64_t)own_answer_bytes(&own, (enum http1_method)ex->method_id);
    exchange_abort(ex, fault->status, fault->reason);
}

/* --- beginning ------------------------------------------------------------------------------------------- */

static void write_head(struct exchange *ex, const struct http1_head *head, const struct forward *forward,
    const struct trace *trace)
{
    struct request_extra extra = {
        .rules = ex->rules, .trace = trace, .service = ex->service->name, .version = ex->release->version
    };
    struct http1_out out;
    http1_out_init(&out, ex->head_block, EXCHANGE_HEAD_BLOCK);
    headers_request(&out, head, forward, &extra);
    if (out.full) {
        ex->head = xmalloc(WORKER_HEAD_OUT);
        http1_out_init(&out, ex->head, WORKER_HEAD_OUT);
        headers_request(&out, head, forward, &extra);
    }
    ex->head_len = out.full ? 0 : out.len;
}

bool exchange_begin(struct exchange *ex, const struct http1_head *head, const struct forward *forward)
{
    struct worker *worker = ex->worker;
    struct own_answer refusal;
    ex->started_us = clock_mono().us;
    ex->method_id = (uint8_t)head->method_id;
    ex->idempotent = http1_method_is_idempotent(head->method_id);
    ex->request_framing = (uint8_t)head->body;
    ex->upgrade_asked = head->upgrade;
    ex->continue_asked = head->expect_continue;
    ex->client_tls = forward->tls;
    ex->forward = forward;
    ex->table = worker_table_hold(worker);
    const struct trace *trace = NULL;
    if (worker->traces.request_id || worker->traces.trace) {
        trace_make(&worker->trace, &worker->trace_source, &worker->traces, head, forward->trusted);
        trace = &worker->trace;
    }
    exchange_describe(ex, head, trace);
    if (headers_end_here(head)) {
        exchange_fail(ex, 200, MAX_FORWARDS_REACHED, 0, NULL);
        return false;
    }
    if (headers_loop(head)) {
        exchange_fail(ex, 508, "the request runs in circles", 0, "Via names this router again and again");
        return false;
    }
    if (forward->certificate && !front_host_allowed(forward, head->host)) {
        exchange_fail(ex, 421, "this connection was made for another host", 0, NULL);
        return false;
    }
    if (head->https && !forward->tls && !forward->trusted) {
        exchange_fail(ex, 421, "an https address was asked for without TLS", 0, NULL);
        return false;
    }
    if (exchange_route(ex, head, trace, &refusal) != PICK_ENDPOINT) {
        void *memory = refusal.memory;
        exchange_fail_with(ex, &refusal, NULL);
        free(memory);
        return false;
    }
    ex->body_max = ex->rules && ex->rules->body_max >= 0 ? ex->rules->body_max : worker->settings->body_bytes;
    if (ex->body_max > 0 && head->body == HTTP1_BODY_LENGTH &&
        head->content_length > (uint64_t)ex->body_max) {
        exchange_fail(ex, 413, "the body is larger than allowed here", 0, NULL);
        return false;
    }
    write_head(ex, head, forward, trace);
    if (ex->head_len == 0) {
        exchange_fail(ex, 431, "the head is too large to be passed on", 0, NULL);
        return false;
    }
    attach(ex);
    return ex->state != EXCHANGE_OVER;
}

/* --- an upstream connection ------------------------------------------------------------------------------ */

static void wait_for_endpoint(struct exchange *ex)
{
    ex->state = EXCHANGE_PICKING;
    if (!waiting_join(ex))
        exchange_fail(ex, 503, "too many wait for this service", 1, "the queue is full");
}

void exchange_endpoint_broke(struct exchange *ex, bool connecting, const char *reason)
{
    exchange_record_failure(ex);
    if (ex->n_tried < EXCHANGE_TRIES_MAX)
        ex->tried[ex->n_tried++] = ex->endpoint->slot;
    exchange_judge_failure(ex, connecting ? ENDPOINT_UNREACHABLE : ENDPOINT_BROKE, reason);
    /* What was pooled leads to the same nowhere. */
    if (connecting)
        upconn_drop_endpoint(ex->worker, ex->endpoint);
}

/* Picks until a connection stands, is on its way, or nothing is left to pick. */
static void attach(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    for (;;) {
        struct own_answer refusal;
        enum pick pick = exchange_pick(ex, &refusal);
        if (pick == PICK_WAIT) {
            wait_for_endpoint(ex);
            return;
        }
        if (pick == PICK_ANSWER) {
            exchange_fail_with(ex, &refusal, NULL);
            return;
        }
        exchange_count_in(ex);
        int error = 0;
        struct upconn *up = ex->fresh_only ? NULL : upconn_take(worker, ex->endpoint, ex->idempotent);
        if (!up)
            up = upconn_connect(worker, ex->endpoint, &error);
        if (up) {
            ex->up = up;
            up->exchange = ex;
            ex->state = up->connected ? EXCHANGE_ASKING : EXCHANGE_CONNECTING;
            wheel_clear(&ex->deadline);
            exchange_arm(ex);
            return;
        }
        exchange_endpoint_broke(ex, true, strerror(-error));
        exchange_count_out(ex);
        if (!exchange_may_retry(ex, true)) {
            exchange_fail(ex, 503, "the service can't be reached", 1, NULL);
            return;
        }
    }
}

void exchange_wake(struct exchange *ex)
{
    exchange_rebase(ex);
    attach(ex);
    if (ex->state == EXCHANGE_ASKING)
        exchange_flush(ex);
}

static int64_t first_byte_ms(const struct exchange *ex)
{
    int64_t own = ex->rules ? ex->rules->timeout_ms : 0;
    return own > 0 ? own : ex->worker->settings->first_byte_ms;
}

/* The phase's deadline. Content is measured in windows. */
void exchange_arm(struct exchange *ex)
{
    const struct settings *s = ex->worker->settings;
    int64_t ms = 0;
    ex->window_bytes = ex->moved_bytes;
    switch (ex->state) {
    case EXCHANGE_CONNECTING:
        ms = s->connect_ms;
        break;
    case EXCHANGE_ASKING:
        ms = ex->out.bytes > 0 || ex->head_sent < ex->head_len ? s->body_ms : first_byte_ms(ex);
        break;
    case EXCHANGE_ANSWERING:
        ms = s->answer_ms;
        break;
    case EXCHANGE_TUNNEL:
        /* Most clients that end their direction are gone, and not every service answers that with its own end. */
        ms = ex->end_shut && s->tunnel_ms > EXCHANGE_HALF_TUNNEL_MS ? EXCHANGE_HALF_TUNNEL_MS : s->tunnel_ms;
        break;
    default:
        return;
    }
    ex->phase_end_us = worker_now_us(ex->worker) + ms * CLOCK_US_PER_MS;
    if (ex->state == EXCHANGE_ASKING && ms > EXCHANGE_LOOK_MS)
        ms = EXCHANGE_LOOK_MS;
    wheel_set(&ex->worker->wheel, &ex->up->deadline, ms);
}

/* Nothing of an answer has been seen. What may be repeated is asked elsewhere; a pooled connection that was closed
 * while we asked says nothing about the endpoint. */
void exchange_broken(struct exchange *ex, bool connecting, const char *reason)
{
    bool stale = !connecting && ex->up->reused;
    bool repeat =
        connecting || (ex->idempotent && !ex->content_sent && !ex->up->in && ex->n_informational == 0);
    if (!stale)
        exchange_endpoint_broke(ex, connecting, reason);
    ex->fresh_only |= stale;
    ex->cut_off |= !connecting && !stale;
    upconn_close(ex->up);
    ex->up = NULL;
    exchange_count_out(ex);
    /* A connection that had gone stale costs its service nothing. */
    if (!repeat || (!stale && !exchange_may_retry(ex, connecting))) {
        exchange_fail(ex, connecting ? 503 : 502, "the service did not answer", connecting ? 1 : 0, reason);
        return;
    }
    ex->head_sent = 0;
    ex->n_informational = 0;
    exchange_rebase(ex);
    attach(ex);
    if (ex->state == EXCHANGE_ASKING)
        exchange_flush(ex);
}
