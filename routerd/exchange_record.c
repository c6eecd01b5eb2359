/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <stdarg.h>
#include <string.h>

#include "common/clock.h"
#include "routerd/access.h"
#include "routerd/access_file.h"
#include "routerd/client.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/match_policy.h"
#include "routerd/own_answer.h"
#include "routerd/pool.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/trace.h"
#include "routerd/worker.h"

/* What is counted and logged of an exchange. */

#define HOST_MAX  256
#define FIELD_MAX 256 /* of User-Agent and Referer */
#define CUT       "..."

/* --- what the log may say --------------------------------------------------------------------------------- */

struct text_end {
    struct exchange *ex;
    size_t used;
};

static void keep(struct text_end *end, enum exchange_text text, struct http1_slice s, size_t max)
{
    struct exchange *ex = end->ex;
    size_t room = sizeof(ex->text) - end->used;
    size_t n = s.len < max ? s.len : max;
    n = n < room ? n : room;
    char *to = ex->text + end->used;
    if (n > 0)
        memcpy(to, s.ptr, n);
    if (n < s.len && n >= sizeof(CUT))
        memcpy(to + n - (sizeof(CUT) - 1), CUT, sizeof(CUT) - 1);
    ex->text_lens[text] = (uint16_t)n;
    end->used += n;
}

static void keep_field(
    struct text_end *end, enum exchange_text text, const struct http1_head *head, const char *name)
{
    const struct http1_field *f = http1_find_name(head, name);
    if (f)
        keep(end, text, http1_value(f), FIELD_MAX);
}

void exchange_describe(struct exchange *ex, const struct http1_head *head, const struct trace *trace)
{
    struct http1_slice client = client_address(head, ex->forward);
    struct text_end end = { ex, 0 };
    bool whole = ex->worker->access_file;
    ex->protocol = head->is_h2 ? 20 : (uint8_t)(10 + head->minor);
    if (head->is_h2)
        endpoint_count(&ex->worker->counters.h2_requests, 1);
    keep(&end, TEXT_METHOD, head->method, HTTP1_METHOD_MAX);
    keep(&end, TEXT_HOST, head->authority, HOST_MAX);
    if (client_is_named(client, ex->forward))
        keep(&end, TEXT_CLIENT, client, HEADERS_ADDRESS_MAX);
    if (trace) {
        keep(&end, TEXT_REQUEST_ID, trace->request_id, TRACE_REQUEST_ID_MAX);
        keep(&end, TEXT_TRACE_ID, trace->trace_id, TRACE_ID_LEN);
    }
    if (whole) {
        keep_field(&end, TEXT_AGENT, head, "user-agent");
        keep_field(&end, TEXT_REFERER, head, "referer");
    }
    keep(&end, TEXT_TARGET, whole ? head->target : head->path,
        whole ? sizeof(ex->text) : EXCHANGE_TARGET_SHORT);
}

/* --- who gets to read it ---------------------------------------------------------------------------------- */

static bool want_sample(struct worker *worker)
{
    if (worker->settings->sample_per_s == 0)
        return false;
    int64_t second = worker_now_us(worker) / CLOCK_US_PER_S;
    if (second != worker->sample_second) {
        worker->sample_second = second;
        worker->sampled = 0;
    }
    return worker->sampled++ < worker->settings->sample_per_s;
}

/* Of ordinary requests every n-th. */
static bool want_in_file(struct worker *worker, bool ordinary)
{
    if (!worker->access_file)
        return false;
    if (!ordinary || ++worker->access_skipped >= (uint64_t)worker->settings->access_sample) {
        worker->access_skipped = 0;
        return true;
    }
    return false;
}

static void put_in_file(struct worker *worker, const struct access_record *r, const struct http1_slice *texts)
{
    access_put(worker->access_file, r, texts);
    if (access_used(worker->access_file) > ACCESS_FILE_RING / 2)
        access_file_wake(worker->routerd->access_file);
}

/* The journal gets no queries: secrets hide there. */
static void put_in_journal(struct worker *worker, const struct access_record *r, struct http1_slice *texts)
{
    struct http1_slice target = texts[ACCESS_TARGET];
    const char *query = target.len > 0 ? memchr(target.ptr, '?', target.len) : NULL;
    if (query)
        texts[ACCESS_TARGET].len = (size_t)(query - target.ptr);
    if (texts[ACCESS_TARGET].len > EXCHANGE_TARGET_SHORT)
        texts[ACCESS_TARGET].len = EXCHANGE_TARGET_SHORT;
    access_put(worker->access, r, texts);
    texts[ACCESS_TARGET] = target;
}

static struct http1_slice text_of(const char *s)
{
    return (struct http1_slice){ s, s ? strlen(s) : 0 };
}

static void fill_texts(const struct exchange *ex, const char *reason, struct http1_slice *texts)
{
    static const uint8_t places[TEXT_MAX_] = {
        [TEXT_METHOD] = ACCESS_METHOD,
        [TEXT_HOST] = ACCESS_HOST,
        [TEXT_CLIENT] = ACCESS_CLIENT,
        [TEXT_REQUEST_ID] = ACCESS_REQUEST_ID,
        [TEXT_TRACE_ID] = ACCESS_TRACE_ID,
        [TEXT_AGENT] = ACCESS_AGENT,
        [TEXT_REFERER] = ACCESS_REFERER,
        [TEXT_TARGET] = ACCESS_TARGET,
    };
    const char *at = ex->text;
    for (int i = 0; i < TEXT_MAX_; at += ex->text_lens[i++])
        texts[places[i]] = (struct http1_slice){ at, ex->text_lens[i] };
    texts[ACCESS_PEER] = text_of(ex->forward ? ex->forward->peer : NULL);
    /* A tunnel holds on to no table; its endpoint knows the release as well. */
    texts[ACCESS_RELEASE] = text_of(ex->endpoint ? ex->endpoint->release
            : ex->table && ex->release           ? ex->release->name
                                                 : NULL);
    texts[ACCESS_ENDPOINT] = text_of(ex->endpoint ? ex->endpoint->id : NULL);
    texts[ACCESS_REASON] = text_of(reason);
}

static void fill_record(const struct exchange *ex, int64_t duration_us, bool slow, struct access_record *r)
{
    *r = (struct access_record){
        .status = (uint16_t)ex->status,
        .protocol = ex->protocol,
        .n_retries = (uint8_t)(ex->n_tried > 0 && !ex->head_answered ? ex->n_tried - 1 : ex->n_tried),
        .slow = slow,
        .tls_version = ex->forward ? ex->forward->tls_version : 0,
        .tls_cipher = ex->forward ? ex->forward->tls_cipher : 0,
        .wall_us = loop_wall(ex->worker->loop).us,
        .duration_us = duration_us,
        .first_byte_us = ex->first_byte_us > 0 ? ex->first_byte_us - ex->started_us : -1,
        .bytes_in = ex->up_bytes,
        .bytes_out = ex->down_bytes,
    };
    if (ex->first_byte_us > 0 && r->first_byte_us < 0)
        r->first_byte_us = 0;
}

static void log_end(struct exchange *ex, int64_t duration_us, const char *reason)
{
    struct worker *worker = ex->worker;
    bool slow = worker->settings->slow_ms > 0 && duration_us > worker->settings->slow_ms * CLOCK_US_PER_MS &&
        ex->state != EXCHANGE_TUNNEL;
    bool ordinary = !reason && ex->status < 500 && !slow;
    bool journal = !ordinary || want_sample(worker), file = want_in_file(worker, ordinary);
    if (!journal && !file)
        return;
    struct access_record r;
    struct http1_slice texts[ACCESS_TEXT_MAX_] = { 0 };
    fill_record(ex, duration_us, slow, &r);
    fill_texts(ex, reason, texts);
    if (file)
        put_in_file(worker, &r, texts);
    if (journal)
        put_in_journal(worker, &r, texts);
}

void exchange_note(struct exchange *ex, enum log_level level, const char *fmt, ...)
{
    struct error text; /* only for its capped buffer */
    struct access_record r = { .note = (uint8_t)level, .wall_us = loop_wall(ex->worker->loop).us };
    struct http1_slice texts[ACCESS_TEXT_MAX_] = { 0 };
    va_list args;
    va_start(args, fmt);
    error_vset(&text, -1, fmt, args);
    va_end(args);
    texts[ACCESS_RELEASE] = text_of(ex->endpoint->release);
    texts[ACCESS_ENDPOINT] = text_of(ex->endpoint->id);
    texts[ACCESS_REASON] = text_of(text.text);
    access_put(ex->worker->access, &r, texts);
}

/* --- counting --------------------------------------------------------------------------------------------- */

static void count_answer(struct exchange *ex, int64_t duration_us)
{
    struct worker *worker = ex->worker;
    struct endpoint_local *local = registry_local(worker->registry, worker->index, ex->endpoint->slot);
    endpoint_count(&local->status[status_class(ex->status)], 1);
    atomic_store_explicit(&local->last_hit_us, loop_wall(worker->loop).us, memory_order_relaxed);
    if (ex->up_bytes > 0)
        endpoint_count(&local->bytes_in, (uint64_t)ex->up_bytes);
    endpoint_count(&local->bytes_out, (uint64_t)ex->down_bytes);
    if (ex->state != EXCHANGE_TUNNEL) {
        endpoint_count(&local->latency[latency_bucket(duration_us)], 1);
        endpoint_count(&local->latency_sum_us, (uint64_t)duration_us);
    }
}

/* No endpoint answered: we did, or nobody. */
static void count_own(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    struct pool *all = ex->table && ex->release ? ex->release->slots->pool : NULL;
    struct pool_local *pool = all ? &all->locals[worker->index] : NULL;
    if (pool && ex->status == 0)
        endpoint_count(&pool->unanswered, 1);
    else if (pool)
        endpoint_count(&pool->own[status_class(ex->status)], 1);
    else if (ex->status == 0)
        endpoint_count(&worker->counters.unanswered, 1);
    else
        endpoint_count(&worker->counters.own[status_class(ex->status)], 1);
}

void exchange_record_failure(struct exchange *ex)
{
    struct endpoint_local *local =
        registry_local(ex->worker->registry, ex->worker->index, ex->endpoint->slot);
    endpoint_count(&local->failures, 1);
}

void exchange_record_end(struct exchange *ex, const char *reason)
{
    int64_t duration_us = clock_mono().us - ex->started_us;
    log_end(ex, duration_us, reason);
    if (ex->endpoint && ex->head_answered)
        count_answer(ex, duration_us);
    else
        count_own(ex);
}

/* --- what never became an exchange ------------------------------------------------------------------------- */

static enum worker_refusal refusal_of(int status)
{
    switch (status) {
#define ROW(number) \
    case number:    \
        return REFUSED_##number;
        WORKER_REFUSALS(ROW)
#undef ROW
    default:
        return REFUSED_OTHER;
    }
}

void exchange_record_refused(struct worker *worker, const struct forward *forward,
    const struct http1_fault *fault, enum http1_method method, struct http1_slice first_line)
{
    struct own_answer own = { .status = fault->status, .text = fault->reason };
    endpoint_count(&worker->counters.refused[refusal_of(fault->status)], 1);
    if (!want_in_file(worker, false))
        return;
    struct access_record r = {
        .status = (uint16_t)fault->status,
        .tls_version = forward->tls_version,
        .tls_cipher = forward->tls_cipher,
        .wall_us = loop_wall(worker->loop).us,
        .first_byte_us = -1,
        .bytes_out = (int64_t)own_answer_bytes(&own, method),
    };
    struct http1_slice texts[ACCESS_TEXT_MAX_] = { 0 };
    if (first_line.len > EXCHANGE_TARGET_SHORT)
        first_line.len = EXCHANGE_TARGET_SHORT;
    texts[ACCESS_PEER] = text_of(forward->peer);
    texts[ACCESS_TARGET] = first_line;
    texts[ACCESS_REASON] = text_of(fault->reason);
    put_in_file(worker, &r, texts);
}
