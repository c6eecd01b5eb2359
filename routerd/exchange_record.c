/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "routerd/access.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

/* What is counted and logged of an exchange. */

static void add_text(struct exchange *ex, struct http1_slice s)
{
    size_t room = sizeof(ex->request_text) - ex->request_text_len;
    size_t n = s.len < room ? s.len : room;
    if (n > 0)
        memcpy(ex->request_text + ex->request_text_len, s.ptr, n);
    ex->request_text_len = (uint16_t)(ex->request_text_len + n);
}

/* The parser let only visible ASCII into method, host and path. */
void exchange_describe(struct exchange *ex, const struct http1_head *head)
{
    add_text(ex, head->method);
    add_text(ex, HTTP1_SLICE(" "));
    add_text(ex, head->authority);
    add_text(ex, head->path);
}

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

static void log_end(struct exchange *ex, int64_t duration_us, const char *reason)
{
    struct worker *worker = ex->worker;
    bool slow = worker->settings->slow_ms > 0 && duration_us > worker->settings->slow_ms * CLOCK_US_PER_MS &&
        ex->state != EXCHANGE_TUNNEL;
    if (!reason && ex->status < 500 && !slow && !want_sample(worker))
        return;
    struct access_record *r = access_begin(worker->access);
    if (!r)
        return;
    r->duration_us = duration_us;
    r->status = ex->status;
    r->slow = slow;
    r->reason = reason;
    memcpy(r->request, ex->request_text, ex->request_text_len);
    if (ex->table && ex->release)
        snprintf(r->release, sizeof(r->release), "%s", ex->release->name);
    if (ex->endpoint)
        snprintf(r->endpoint, sizeof(r->endpoint), "%s", ex->endpoint->id);
    access_commit(worker->access);
}

static void count_answer(struct exchange *ex, int64_t duration_us)
{
    struct worker *worker = ex->worker;
    struct endpoint_local *local = registry_local(worker->registry, worker->index, ex->endpoint->slot);
    endpoint_count(&local->requests, 1);
    endpoint_count(&local->status[ex->status / 100], 1);
    atomic_store_explicit(&local->last_hit_us, loop_wall(worker->loop).us, memory_order_relaxed);
    if (ex->state != EXCHANGE_TUNNEL)
        endpoint_count(&local->latency[latency_bucket(duration_us)], 1);
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
}
