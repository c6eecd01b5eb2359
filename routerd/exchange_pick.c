/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "routerd/assign.h"
#include "routerd/client.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/match_policy.h"
#include "routerd/own_answer.h"
#include "routerd/pool.h"
#include "routerd/routerd.h"
#include "routerd/rules.h"
#include "routerd/settings.h"
#include "routerd/waiting.h"
#include "routerd/worker.h"

#define PIN_COOKIE    "stagecoach-version"
#define RETRY_AFTER_S 1

static enum pick answer(struct own_answer *refusal, int status, const char *text, int retry_after_s)
{
    *refusal = (struct own_answer){ .status = status, .text = text, .retry_after_s = retry_after_s };
    return PICK_ANSWER;
}

/* --- which release --------------------------------------------------------------------------------------- */

static bool find_cookie(const struct http1_head *head, const char *name, struct http1_slice *ret)
{
    for (unsigned i = 0; http1_has(head, HTTP1_FIELD_COOKIE) && i < head->n_fields; i++) {
        if (head->fields[i].id == HTTP1_FIELD_COOKIE &&
            http1_cookie_get(http1_value(&head->fields[i]), name, ret))
            return true;
    }
    return false;
}

/* A header that names a release which is not here is an error; a cookie may have been forgotten in a browser, and
 * then counts for nothing. */
static enum pick find_pin(struct exchange *ex, const struct http1_head *head, struct own_answer *refusal)
{
    const struct http1_field *f =
        ex->service->pin_header ? http1_find(head, HTTP1_FIELD_X_STAGECOACH_VERSION) : NULL;
    struct http1_slice cookie;
    if (f) {
        ex->release = match_find_release(ex->service, http1_value(f));
        if (!ex->release)
            return answer(refusal, 404, "the version that X-Stagecoach-Version names does not run here", 0);
    } else if (ex->service->pin_cookie && find_cookie(head, PIN_COOKIE, &cookie)) {
        ex->release = match_find_release(ex->service, cookie);
    }
    ex->pinned = ex->release;
    return PICK_ENDPOINT;
}

/* One live release needs no assignment. */
static void find_position(struct exchange *ex, const struct http1_head *head)
{
    struct http1_slice cookie;
    const struct assign_key *key = &ex->worker->routerd->cookie_key;
    if (!find_cookie(head, ASSIGN_COOKIE, &cookie) || !assign_read(key, cookie, &ex->assignment)) {
        ex->assignment = (uint32_t)worker_random(ex->worker);
        ex->assigned = true;
    }
    ex->position = assign_position(ex->assignment, ex->service->name);
}

static const struct match_release *live_release(
    const struct exchange *ex, const struct match_service *service)
{
    if (service->only != MATCH_NONE)
        return &service->releases[service->only];
    return match_at(service, ex->position);
}

/* Does a rule of the route, or the folder of proofs for certificates, answer? */
static bool answered_here(
    struct exchange *ex, const struct http1_head *head, const struct trace *trace, struct own_answer *refusal)
{
    const char *acme = ex->worker->settings->acme_directory;
    if (acme && rules_is_acme(head) &&
        (head->method_id == HTTP1_METHOD_GET || head->method_id == HTTP1_METHOD_HEAD) &&
        rules_file(acme, NULL, head, refusal) == 0)
        return true;
    if (!ex->rules || !ex->rules->answers)
        return false;
    struct rules_values values = { .rules = ex->rules,
        .head = head,
        .forward = ex->forward,
        .trace = trace,
        .service = ex->service ? ex->service->name : NULL,
        .tls = client_is_tls(head, ex->forward) };
    return rules_answer(&values, refusal);
}

/* Clients are not told the name, which may be nobody's but ours. */
static enum pick no_release(const struct match_service *service, struct own_answer *refusal)
{
    (void)answer(refusal, 503, "no release of this service takes requests", RETRY_AFTER_S);
    refusal->memory = xasprintf("no release of %s takes requests", service->name);
    refusal->reason = refusal->memory;
    return PICK_ANSWER;
}

enum pick exchange_route(
    struct exchange *ex, const struct http1_head *head, const struct trace *trace, struct own_answer *refusal)
{
    struct match_route route = match_route(ex->table->table, head->host, head->path);
    ex->service = route.service;
    ex->rules = route.rules;
    ex->release = route.release;
    if (match_is_ambiguous(ex->table->table, head->host, head->path, &route, ex->worker->head_out))
        return answer(refusal, 400, "the path can be read in two ways, which lead to different places", 0);
    if ((ex->rules || ex->worker->settings->acme_directory) && answered_here(ex, head, trace, refusal))
        return PICK_ANSWER;
    if (ex->table->table->n_routes == 0 && ex->table->table->n_services == 0)
        return answer(refusal, 503, "there is no routing table yet", RETRY_AFTER_S);
    if (!route.service)
        return answer(refusal, 404, "no service for this host and path", 0);
    ex->pinned = route.pinned_by_host;
    if (route.pinned_by_host && !route.release)
        return answer(refusal, 404, "the version that this host name asks for does not run here", 0);
    if (!ex->release) {
        enum pick r = find_pin(ex, head, refusal);
        if (r != PICK_ENDPOINT)
            return r;
    }
    if (!ex->release && ex->service->n_live > 1)
        find_position(ex, head);
    if (!ex->release)
        ex->release = live_release(ex, ex->service);
    if (!ex->release)
        return no_release(ex->service, refusal);
    endpoint_count(&ex->release->slots->pool->locals[ex->worker->index].requests, 1);
    return PICK_ENDPOINT;
}

void exchange_rebase(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    if (!ex->table || ex->table == worker->table)
        return;
    const struct match_table *now = worker->table->table;
    const struct match_service *service =
        match_find_service(now, ex->service->name, strlen(ex->service->name));
    const struct match_release *release = NULL;
    if (service && ex->pinned) {
        struct http1_slice version = { ex->release->version, strlen(ex->release->version) };
        release = match_find_release(service, version);
    } else if (service) {
        release = live_release(ex, service);
    }
    if (!release)
        return;
    /* The rules go on pointing into the table that they were found in. */
    if (ex->rules && !ex->rules_table)
        ex->rules_table = ex->table;
    else
        worker_table_release(worker, ex->table);
    ex->table = worker_table_hold(worker);
    ex->endpoint = NULL; /* nothing keeps that one any more */
    ex->service = service;
    ex->release = release;
}

/* --- which endpoint -------------------------------------------------------------------------------------- */

#define PICK_SAMPLES 16 /* looked at one after another where two at random were no good */

/* What kept endpoints from being picked, for the answer. */
struct pick_view {
    bool full, unproven;
};

static bool was_tried(const struct exchange *ex, uint32_t slot)
{
    for (unsigned i = 0; i < ex->n_tried; i++) {
        if (ex->tried[i] == slot)
            return true;
    }
    return false;
}

/* A place that is free belongs to those who wait already. */
static bool has_no_place(const struct exchange *ex, const struct endpoint *e)
{
    return endpoint_is_full(e) ||
        (ex->turn == WAITING_NOT && atomic_load_explicit(&e->pool->waiting, memory_order_relaxed) != 0);
}

/* Of an endpoint that has any flag. in_need: there is no better one. */
static bool may_take_flagged(
    struct exchange *ex, struct endpoint *e, uint32_t flags, bool in_need, struct pick_view *view)
{
    int64_t now_us = worker_now_us(ex->worker);
    if (flags & ENDPOINT_UNPROVEN) {
        view->unproven = true;
        return false;
    }
    if (flags & ENDPOINT_LIMITED && has_no_place(ex, e)) {
        view->full = true;
        return false;
    }
    if (in_need)
        return true;
    if (flags & ENDPOINT_PROBE_FAILED)
        return false;
    if (flags & ENDPOINT_EJECTED)
        return endpoint_awaits_trial(e, now_us, ex->idempotent);
    return !(flags & ENDPOINT_WARMING) ||
        endpoint_is_warm(e, ex->service->policy, now_us, worker_random(ex->worker));
}

static struct endpoint *candidate(struct exchange *ex, uint32_t slot, bool in_need, struct pick_view *view)
{
    struct endpoint *e = registry_at(ex->worker->registry, slot);
    uint32_t flags = endpoint_flags(e);
    if (ex->n_tried > 0 && was_tried(ex, slot))
        return NULL;
    return flags == 0 || may_take_flagged(ex, e, flags, in_need, view) ? e : NULL;
}

/* A few from a random one on, among the first n. */
static struct endpoint *sample(struct exchange *ex, uint32_t n, bool in_need, struct pick_view *view)
{
    const struct match_slots *slots = ex->release->slots;
    uint32_t at = n > 0 ? (uint32_t)(worker_random(ex->worker) % n) : 0;
    for (uint32_t i = 0; i < n && i < PICK_SAMPLES; i++, at = at + 1 < n ? at + 1 : 0) {
        struct endpoint *e = candidate(ex, match_slot(slots, at), in_need, view);
        if (e)
            return e;
    }
    return NULL;
}

static bool awaits_trial(const struct endpoint *e)
{
    return endpoint_flags(e) & ENDPOINT_EJECTED;
}

/* Two at random, the one with less in flight; but one that awaits its trial gets it. */
static struct endpoint *best_of_two(struct exchange *ex, uint32_t n, struct pick_view *view)
{
    const struct worker *worker = ex->worker;
    const struct match_slots *slots = ex->release->slots;
    uint64_t random = worker_random(ex->worker);
    uint32_t a = (uint32_t)((random & UINT32_MAX) * n >> 32);
    uint32_t b = a + 1 + (uint32_t)((random >> 32) * (n - 1) >> 32);
    if (b >= n)
        b -= n;
    struct endpoint *x = candidate(ex, match_slot(slots, a), false, view);
    struct endpoint *y = candidate(ex, match_slot(slots, b), false, view);
    if (!x || !y || awaits_trial(x))
        return x ? x : y;
    if (awaits_trial(y))
        return y;
    int64_t x_load = endpoint_load(worker->registry, worker->index, x->slot);
    return endpoint_load(worker->registry, worker->index, y->slot) < x_load ? y : x;
}

/* One of those that are in use; NULL: none of them can be had. Costs the same for any number. */
static struct endpoint *choose(struct exchange *ex, struct pick_view *view)
{
    uint32_t n = atomic_load_explicit(&ex->release->slots->n_usable, memory_order_relaxed);
    struct endpoint *e = n > 1 ? best_of_two(ex, n, view) : NULL;
    return e ? e : sample(ex, n, false, view);
}

/* Endpoints that have a limit are claimed here, and those that await a trial; false: another worker was faster. */
static bool claim(struct exchange *ex, struct endpoint *e, bool in_need)
{
    uint32_t flags = endpoint_flags(e);
    ex->claimed = ex->in_need = false;
    if (flags == 0)
        return true;
    if (flags & ENDPOINT_EJECTED && !in_need && !endpoint_begin_trial(e, worker_now_us(ex->worker)))
        return false;
    int64_t max = atomic_load_explicit(&e->max_in_flight, memory_order_relaxed);
    if (max > 0 && atomic_fetch_add(&e->limited_in_flight, 1) >= max) {
        atomic_fetch_sub(&e->limited_in_flight, 1);
        return false;
    }
    ex->claimed = max > 0;
    ex->in_need = in_need;
    return true;
}

static struct endpoint *choose_and_claim(struct exchange *ex, bool in_need, struct pick_view *view)
{
    struct endpoint *e = in_need ? sample(ex, ex->release->slots->n, true, view) : choose(ex, view);
    if (!e || claim(ex, e, in_need))
        return e;
    view->full |= endpoint_is_full(e);
    return NULL;
}

static enum pick pick_none(struct exchange *ex, const struct pick_view *view, struct own_answer *refusal)
{
    if (view->full || (view->unproven && ex->n_tried == 0))
        return PICK_WAIT;
    if (ex->cut_off)
        return answer(refusal, 502, "the service did not answer", 0);
    return answer(refusal, 503,
        ex->n_tried > 0 ? "the service can't be reached" : "the release has no endpoint that takes requests",
        RETRY_AFTER_S);
}

/* Ejected ones and those that fail their probes are better than none, but not better than a place that will come
 * free. */
enum pick exchange_pick(struct exchange *ex, struct own_answer *refusal)
{
    struct pick_view view = { false, false };
    if (ex->service->paused || waiting_are_others(ex))
        return PICK_WAIT;
    /* Twice, as another worker may have been faster. */
    ex->endpoint = choose_and_claim(ex, false, &view);
    if (!ex->endpoint)
        ex->endpoint = choose_and_claim(ex, false, &view);
    if (!ex->endpoint && !view.full)
        ex->endpoint = choose_and_claim(ex, true, &view);
    return ex->endpoint ? PICK_ENDPOINT : pick_none(ex, &view, refusal);
}

/* --- what became of it ----------------------------------------------------------------------------------- */

void exchange_judge_failure(struct exchange *ex, enum endpoint_failure failure, const char *reason)
{
    struct worker *worker = ex->worker;
    struct endpoint *e = ex->endpoint;
    /* A tunnel holds no table; what ends it says nothing of the endpoint. */
    if (!ex->table)
        return;
    int64_t ms =
        endpoint_failed(e, ex->service->policy, failure, worker_now_us(worker), worker_random(worker));
    if (ms == 0)
        return;
    exchange_note(ex, LOG_LEVEL_WARNING, "endpoint %s of %s gets no requests for %" PRId64 " ms: %s",
        e->address_text, e->release, ms, reason);
    routerd_wake(worker->routerd, ROUTERD_HEALTH);
}

void exchange_judge_answer(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    struct endpoint *e = ex->endpoint;
    const struct match_policy *policy = ex->service->policy;
    if (ex->status >= 500 && policy->eject_errors > 0) {
        exchange_judge_failure(ex, ENDPOINT_ERROR, "it answered with errors only");
        return;
    }
    if (!endpoint_answered(e, policy, ex->started_us, worker_now_us(worker), ex->status))
        return;
    exchange_note(ex, LOG_LEVEL_INFO, "endpoint %s of %s answers again", e->address_text, e->release);
    routerd_wake(worker->routerd, ROUTERD_HEALTH);
}

/* Where a connection is refused nobody has seen the request, and those endpoints are ejected one by one: trying on
 * costs no service anything, unless it is for want of a better one. All else is bounded. */
bool exchange_may_retry(struct exchange *ex, bool connecting)
{
    const struct match_policy *policy = ex->service->policy;
    struct pool_local *local = &ex->release->slots->pool->locals[ex->worker->index];
    int64_t now_us = worker_now_us(ex->worker);
    if (ex->n_tried == EXCHANGE_TRIES_MAX || policy->retries == 0)
        return false;
    if (connecting && !ex->in_need && now_us - ex->started_us < EXCHANGE_REFUSED_MS * CLOCK_US_PER_MS) {
        endpoint_count(&local->retries, 1);
        return true;
    }
    return ex->n_tried <= policy->retries && pool_may_retry(local, now_us, policy->retry_percent);
}

/* --- counting -------------------------------------------------------------------------------------------- */

void exchange_count_in(struct exchange *ex)
{
    struct endpoint_local *local =
        registry_local(ex->worker->registry, ex->worker->index, ex->endpoint->slot);
    endpoint_count(&local->in_flight, 1);
    ex->counted = true;
}

void exchange_count_out(struct exchange *ex)
{
    if (!ex->counted)
        return;
    struct worker *worker = ex->worker;
    struct endpoint *e = ex->endpoint;
    struct endpoint_local *local = registry_local(worker->registry, worker->index, e->slot);
    bool claimed = ex->claimed;
    ex->counted = ex->claimed = false;
    if (claimed)
        atomic_fetch_sub(&e->limited_in_flight, 1);
    atomic_store_explicit(&local->in_flight,
        atomic_load_explicit(&local->in_flight, memory_order_relaxed) - 1, memory_order_release);
    if (atomic_load_explicit(&e->draining, memory_order_relaxed))
        routerd_wake(worker->routerd, ROUTERD_DRAINED);
    if (claimed)
        waiting_freed(worker, e->pool);
}
