/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <string.h>

#include "common/mem.h"
#include "routerd/assign.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/routerd.h"
#include "routerd/worker.h"

#define PIN_COOKIE    "stagecoach-version"
#define RETRY_AFTER_S 1

static enum pick answer(struct exchange_refusal *refusal, int status, const char *text, int retry_after_s)
{
    *refusal = (struct exchange_refusal){ status, text, retry_after_s };
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
static enum pick find_pin(
    struct exchange *ex, const struct http1_head *head, struct exchange_refusal *refusal)
{
    const struct match_table *table = ex->table->table;
    const struct http1_field *f =
        ex->service->pin_header ? http1_find(head, HTTP1_FIELD_X_STAGECOACH_VERSION) : NULL;
    struct http1_slice cookie;
    if (f) {
        ex->release = match_find_release(table, ex->service, http1_value(f));
        if (!ex->release)
            return answer(refusal, 404, "the version that X-Stagecoach-Version names does not run here", 0);
    } else if (ex->service->pin_cookie && find_cookie(head, PIN_COOKIE, &cookie)) {
        ex->release = match_find_release(table, ex->service, cookie);
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

enum pick exchange_route(struct exchange *ex, const struct http1_head *head, struct exchange_refusal *refusal)
{
    struct match_route route = match_route(ex->table->table, head->host, head->path);
    if (ex->table->table->n_services == 0)
        return answer(refusal, 503, "there is no routing table yet", RETRY_AFTER_S);
    if (!route.service)
        return answer(refusal, 404, "no service for this host and path", 0);
    ex->service = route.service;
    ex->rules = route.rules;
    ex->release = route.release;
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
        return answer(refusal, 503, "no release of this service takes requests", RETRY_AFTER_S);
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
        release = match_find_release(now, service, version);
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

static bool was_tried(const struct exchange *ex, uint32_t slot)
{
    for (unsigned i = 0; i < ex->n_tried; i++) {
        if (ex->tried[i] == slot)
            return true;
    }
    return false;
}

static bool is_full(struct endpoint *e)
{
    int64_t max = atomic_load_explicit(&e->max_in_flight, memory_order_relaxed);
    return max > 0 && atomic_load_explicit(&e->limited_in_flight, memory_order_relaxed) >= max;
}

static struct endpoint *candidate(const struct exchange *ex, uint32_t slot, bool also_ejected)
{
    struct endpoint *e = registry_at(ex->worker->registry, slot);
    if (was_tried(ex, slot) || is_full(e) ||
        (!also_ejected && endpoint_is_ejected(e, worker_now_us(ex->worker))))
        return NULL;
    return e;
}

/* The first that can be had, from a random one on. */
static struct endpoint *scan(struct exchange *ex, bool also_ejected)
{
    const struct match_release *r = ex->release;
    uint32_t start = (uint32_t)(worker_random(ex->worker) % r->n_slots);
    for (uint32_t i = 0; i < r->n_slots; i++) {
        struct endpoint *e = candidate(ex, r->slots[(start + i) % r->n_slots], also_ejected);
        if (e)
            return e;
    }
    return NULL;
}

/* Two at random, the one with less in flight. */
static struct endpoint *best_of_two(struct exchange *ex)
{
    const struct match_release *r = ex->release;
    uint64_t random = worker_random(ex->worker);
    uint32_t a = (uint32_t)(random & UINT32_MAX) % r->n_slots;
    uint32_t b = (a + 1 + (uint32_t)(random >> 32) % (r->n_slots - 1)) % r->n_slots;
    struct endpoint *x = candidate(ex, r->slots[a], false), *y = candidate(ex, r->slots[b], false);
    if (!x || !y)
        return x ? x : y;
    const struct registry *registry = ex->worker->registry;
    return endpoint_in_flight(registry, y->slot) < endpoint_in_flight(registry, x->slot) ? y : x;
}

/* Endpoints that have a limit are claimed here; false: another worker was faster. */
static bool claim(struct exchange *ex, struct endpoint *e)
{
    int64_t max = atomic_load_explicit(&e->max_in_flight, memory_order_relaxed);
    ex->claimed = max > 0;
    if (max == 0 || atomic_fetch_add_explicit(&e->limited_in_flight, 1, memory_order_relaxed) < max)
        return true;
    atomic_fetch_sub_explicit(&e->limited_in_flight, 1, memory_order_relaxed);
    return false;
}

static bool any_full(const struct exchange *ex)
{
    for (uint32_t i = 0; i < ex->release->n_slots; i++) {
        if (is_full(registry_at(ex->worker->registry, ex->release->slots[i])))
            return true;
    }
    return false;
}

/* Ejected ones are better than none: they may be back. */
enum pick exchange_pick(struct exchange *ex, struct exchange_refusal *refusal)
{
    const struct match_release *r = ex->release;
    struct endpoint *e = NULL;
    if (r->n_slots > 1)
        e = best_of_two(ex);
    if (!e && r->n_slots > 0)
        e = scan(ex, false);
    if (!e && r->n_slots > 0)
        e = scan(ex, true);
    if (e && claim(ex, e)) {
        ex->endpoint = e;
        return PICK_ENDPOINT;
    }
    if (e || (r->n_slots > 0 && any_full(ex)))
        return PICK_WAIT;
    if (ex->cut_off)
        return answer(refusal, 502, "the service did not answer", 0);
    return answer(refusal, 503,
        ex->n_tried > 0 ? "the service can't be reached" : "the release has no endpoint that takes requests",
        RETRY_AFTER_S);
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
    ex->counted = false;
    if (ex->claimed)
        atomic_fetch_sub_explicit(&e->limited_in_flight, 1, memory_order_relaxed);
    atomic_store_explicit(&local->in_flight,
        atomic_load_explicit(&local->in_flight, memory_order_relaxed) - 1, memory_order_release);
    if (atomic_load_explicit(&e->draining, memory_order_relaxed))
        routerd_wake(worker->routerd, ROUTERD_DRAINED);
    worker_wake_waiter(worker);
}
