/* SPDX-License-Identifier: MIT */
#include "routerd/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "routerd/brief.h"
#include "routerd/endpoint.h"
#include "routerd/generation.h"
#include "routerd/match.h"
#include "routerd/routerd.h"
#include "routerd/sums.h"
#include "routerd/uplink.h"
#include "routerd/worker.h"

#define ENDPOINTS_PER_REPORT 200 /* of one frame, to the hub or between generations */

struct traffic {
    struct routerd *routerd;
    struct brief *brief;
    struct timer soon;
};

static void on_soon(void *arg)
{
    traffic_report(arg, false);
}

struct traffic *traffic_new(struct routerd *routerd)
{
    struct traffic *traffic = xcalloc(1, sizeof(*traffic));
    traffic->routerd = routerd;
    traffic->brief = brief_new(routerd);
    timer_init(&traffic->soon, routerd->loop, on_soon, traffic);
    return traffic;
}

void traffic_free(struct traffic *traffic)
{
    if (!traffic)
        return;
    timer_done(&traffic->soon);
    brief_free(traffic->brief);
    free(traffic);
}

void traffic_report_soon(struct traffic *traffic)
{
    if (!timer_is_set(&traffic->soon))
        timer_set(&traffic->soon, ROUTERD_DRAIN_REPORT_MS);
}

#define LOAD(counter) ((int64_t)atomic_load_explicit(&(counter), memory_order_relaxed))

/* What one worker counts of an endpoint, but for its latency. */
static void add_local(struct endpoint_traffic *t, const struct endpoint_local *l)
{
    t->in_flight += LOAD(l->in_flight);
    t->status_1xx += LOAD(l->status[STATUS_1XX]);
    t->status_2xx += LOAD(l->status[STATUS_2XX]);
    t->status_3xx += LOAD(l->status[STATUS_3XX]);
    t->status_4xx += LOAD(l->status[STATUS_4XX]);
    t->status_5xx += LOAD(l->status[STATUS_5XX]);
    for (unsigned i = 0; i < STATUS_CLASS_MAX_; i++)
        t->requests += LOAD(l->status[i]);
    t->failures += LOAD(l->failures);
    if (LOAD(l->last_hit_us) > t->last_hit_us)
        t->last_hit_us = LOAD(l->last_hit_us);
}

/* Percentiles of what came since the last report; the interval gets it, too. */
static void fill_latency(
    struct traffic *traffic, struct endpoint_traffic *t, struct endpoint *e, struct brief_interval *interval)
{
    struct routerd *r = traffic->routerd;
    uint64_t latency[ENDPOINT_LATENCY_BUCKETS] = { 0 }, fresh[ENDPOINT_LATENCY_BUCKETS];
    for (unsigned w = 0; w < r->n_workers; w++) {
        const struct endpoint_local *l = registry_local(r->registry, w, e->slot);
        for (unsigned b = 0; b < ENDPOINT_LATENCY_BUCKETS; b++)
            latency[b] += (uint64_t)LOAD(l->latency[b]);
    }
    for (unsigned b = 0; b < ENDPOINT_LATENCY_BUCKETS; b++) {
        fresh[b] = latency[b] - e->reported_latency[b];
        interval->latency[b] += fresh[b];
    }
    t->p50_us = latency_percentile(fresh, 50);
    t->p99_us = latency_percentile(fresh, 99);
    memcpy(e->reported_latency, latency, sizeof(e->reported_latency));
}

static void fill_bytes(struct routerd *r, struct endpoint *e, struct brief_interval *interval)
{
    uint64_t in = 0, out = 0;
    for (unsigned w = 0; w < r->n_workers; w++) {
        const struct endpoint_local *l = registry_local(r->registry, w, e->slot);
        in += (uint64_t)LOAD(l->bytes_in);
        out += (uint64_t)LOAD(l->bytes_out);
    }
    interval->bytes_in += in - e->reported_bytes_in;
    interval->bytes_out += out - e->reported_bytes_out;
    e->reported_bytes_in = in;
    e->reported_bytes_out = out;
}

/* What a generation that has left had counted may go with it. */
static uint64_t grown(int64_t now, uint64_t before)
{
    return (uint64_t)now > before ? (uint64_t)now - before : 0;
}

/* True if it is to be told. */
static bool fill(struct traffic *traffic, struct endpoint *e, bool all, struct endpoint_traffic *ret)
{
    struct routerd *r = traffic->routerd;
    struct brief_interval *interval = brief_interval(traffic->brief);
    *ret = (struct endpoint_traffic){ .endpoint = e->id };
    for (unsigned w = 0; w < r->n_workers; w++)
        add_local(ret, registry_local(r->registry, w, e->slot));
    if (generation_sums(r->generation))
        sums_add(generation_sums(r->generation), ret);
    ret->ejected = endpoint_health(e) == HEALTH_EJECTED;
    interval->ejected += ret->ejected;
    bool moved = ret->in_flight != e->reported_in_flight || (uint64_t)ret->requests != e->reported_requests ||
        (uint64_t)ret->failures != e->reported_failures || ret->ejected != e->reported_ejected;
    if (!moved && !(all && ret->in_flight > 0))
        return false;
    interval->requests += grown(ret->requests, e->reported_requests);
    interval->errors += grown(ret->status_5xx, e->reported_errors);
    e->reported_in_flight = ret->in_flight;
    e->reported_requests = (uint64_t)ret->requests;
    e->reported_failures = (uint64_t)ret->failures;
    e->reported_errors = (uint64_t)ret->status_5xx;
    e->reported_ejected = ret->ejected;
    fill_latency(traffic, ret, e, interval);
    fill_bytes(r, e, interval);
    return true;
}

/* An older generation tells the present one, that one the hub. */
static bool has_listener(const struct routerd *r)
{
    return generation_is_older(r->generation) || (r->uplink && uplink_is_connected(r->uplink) && r->serving);
}

static void send_report(struct routerd *r, const struct msg_traffic_report *m)
{
    if (generation_is_older(r->generation))
        generation_report(r->generation, m);
    else
        uplink_send(r->uplink, MSG_TRAFFIC_REPORT, m);
}

void traffic_report_anew(struct traffic *traffic)
{
    struct registry *registry = traffic->routerd->registry;
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        struct endpoint *e = registry_at(registry, i);
        if (e) {
            e->reported_in_flight = 0;
            e->reported_requests = e->reported_failures = e->reported_errors = 0;
            e->reported_ejected = false;
        }
    }
    brief_forget(traffic->brief);
    traffic_report_soon(traffic);
}

void traffic_report(struct traffic *traffic, bool all)
{
    struct routerd *r = traffic->routerd;
    struct sums *sums = generation_sums(r->generation);
    const struct endpoint_traffic *other;
    if (!has_listener(r))
        return;
    timer_clear(&traffic->soon);
    struct endpoint_traffic *rows = xcalloc(ENDPOINTS_PER_REPORT, sizeof(*rows));
    struct msg_traffic_report m = { .epoch = routerd_epoch(r), .endpoints = rows };
    bool sent = false;
    brief_interval(traffic->brief)->ejected = 0;
    for (uint32_t i = 0; i < r->registry->n_slots; i++) {
        struct endpoint *e = registry_at(r->registry, i);
        if (e && fill(traffic, e, all, &rows[m.n_endpoints]))
            m.n_endpoints++;
        if (m.n_endpoints == ENDPOINTS_PER_REPORT) {
            send_report(r, &m);
            m.n_endpoints = 0;
            sent = true;
        }
    }
    bool brief = brief_fill(traffic->brief, all, m.n_endpoints > 0 || sent, &m.router);
    if (m.n_endpoints > 0 || brief || (all && !sent))
        send_report(r, &m);
    schema_clear(&router_brief_schema, &m.router);
    m.n_endpoints = 1;
    for (size_t at = 0; sums && (other = sums_next(sums, &at));) {
        rows[0] = *other;
        send_report(r, &m);
    }
    free(rows);
}
