/* SPDX-License-Identifier: MIT */
#include "routerd/brief.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "routerd/certs.h"
#include "routerd/generation.h"
#include "routerd/pool.h"
#include "routerd/routerd.h"
#include "routerd/worker.h"

struct brief {
    struct routerd *routerd;
    mono_t since;
    bool skip; /* what was added is not of this interval */
    struct brief_interval interval;
    int64_t own_errors, retries; /* of all releases, at the last time */
};

struct brief *brief_new(struct routerd *routerd)
{
    struct brief *b = xcalloc(1, sizeof(*b));
    b->routerd = routerd;
    b->since = loop_now(routerd->loop);
    return b;
}

void brief_free(struct brief *b)
{
    free(b);
}

struct brief_interval *brief_interval(struct brief *b)
{
    return &b->interval;
}

void brief_forget(struct brief *b)
{
    b->skip = true;
}

#define LOAD(counter) ((int64_t)atomic_load_explicit(&(counter), memory_order_relaxed))

/* Releases that are gone take their counts with them: then nothing is said of them, rather than less than nothing. */
static int64_t since(int64_t *before, int64_t now)
{
    int64_t grown = now > *before ? now - *before : 0;
    *before = now;
    return grown;
}

struct pool_sums {
    int64_t errors, retries;
};

static struct pool_sums sum_pools(const struct routerd *r)
{
    struct pool_sums sums = { 0 };
    const struct pool *pool;
    list_for_each (pool, &r->registry->pools, link) {
        for (unsigned w = 0; w < pool->n_workers; w++) {
            sums.errors += LOAD(pool->locals[w].own[STATUS_5XX]);
            sums.retries += LOAD(pool->locals[w].retries);
        }
    }
    return sums;
}

static void add_pools(struct brief *b, const struct pool_sums *sums, struct router_brief *ret)
{
    int64_t own = since(&b->own_errors, sums->errors);
    ret->requests += own;
    ret->errors += own;
    ret->retries = since(&b->retries, sums->retries);
}

static void first_to_end(
    void *arg, const char *label, const struct tls_certificate *certificate, const char *problem)
{
    struct router_brief *ret = arg;
    int64_t ends = certificate ? tls_certificate_expires(certificate).us : 0;
    (void)problem;
    if (ends <= 0 || (ret->certificate && ends >= ret->certificate_expires_us))
        return;
    str_set(&ret->certificate, label);
    ret->certificate_expires_us = ends;
}

static void add_router(const struct routerd *r, struct router_brief *ret)
{
    struct strbuf older = STRBUF_INIT;
    ret->generation = generation_number(r->generation);
    for (unsigned w = 0; w < r->n_workers; w++) {
        ret->connections += LOAD(r->workers[w]->counters.connections);
        ret->in_flight += LOAD(r->workers[w]->counters.in_flight);
    }
    if (r->generation)
        generation_describe(r->generation, &older);
    if (older.len > 0)
        ret->older = xstrdup(strbuf_str(&older) + strspn(strbuf_str(&older), "; "));
    strbuf_done(&older);
    if (r->certs)
        certs_each(r->certs, first_to_end, ret);
}

bool brief_fill(struct brief *b, bool now, bool moved, struct router_brief *ret)
{
    struct routerd *r = b->routerd;
    int64_t passed_ms = mono_diff_ms(loop_now(r->loop), b->since);
    *ret = (struct router_brief){ 0 };
    if (generation_is_older(r->generation) || passed_ms <= 0 || (!now && passed_ms < BRIEF_MS))
        return false;
    struct pool_sums sums = sum_pools(r);
    moved = moved || b->interval.requests > 0 || sums.errors != b->own_errors;
    if (!now && !moved && passed_ms < BRIEF_IDLE_MS)
        return false;
    if (!b->skip) {
        ret->requests = (int64_t)b->interval.requests;
        ret->errors = (int64_t)b->interval.errors;
        ret->bytes_in = (int64_t)b->interval.bytes_in;
        ret->bytes_out = (int64_t)b->interval.bytes_out;
    }
    ret->p50_us = latency_percentile(b->interval.latency, 50);
    ret->p99_us = latency_percentile(b->interval.latency, 99);
    ret->interval_ms = passed_ms;
    ret->ejected = b->interval.ejected;
    add_pools(b, &sums, ret);
    add_router(r, ret);
    b->since = loop_now(r->loop);
    b->skip = false;
    b->interval = (struct brief_interval){ 0 };
    return true;
}
