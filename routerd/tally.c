/* SPDX-License-Identifier: MIT */
#include "routerd/tally.h"

#include <stdlib.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "routerd/pool.h"

#define ROWS_PER_STEP 512 /* of an endpoint and worker, or releases */

struct tally {
    struct map *services; /* name → struct counts, of releases that are gone */
};

/* --- adding ------------------------------------------------------------------------------------------------ */

#define LOAD(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

static void add_local(struct counts *c, const struct endpoint_local *l)
{
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        c->status[i] += LOAD(l->status[i]);
    c->bytes_in += LOAD(l->bytes_in);
    c->bytes_out += LOAD(l->bytes_out);
    c->latency_sum_us += LOAD(l->latency_sum_us);
    c->failures += LOAD(l->failures);
    for (int i = 0; i < ENDPOINT_LATENCY_BUCKETS; i++)
        c->latency[i] += LOAD(l->latency[i]);
    c->in_flight += LOAD(l->in_flight);
    c->idle_connections += LOAD(l->n_idle);
    if (LOAD(l->last_hit_us) > c->last_hit_us)
        c->last_hit_us = LOAD(l->last_hit_us);
}

void counts_add_endpoint(
    struct counts *c, const struct registry *registry, const struct endpoint *e, int64_t now_us)
{
    for (unsigned w = 0; w < registry->n_workers; w++)
        add_local(c, registry_local(registry, w, e->slot));
    c->ejections += LOAD(e->n_ejections);
    if (!LOAD(e->draining)) {
        c->endpoints++;
        c->usable += endpoint_is_usable(e, now_us);
    }
}

void counts_add_pool(struct counts *c, const struct pool *pool)
{
    for (unsigned w = 0; w < pool->n_workers; w++) {
        const struct pool_local *l = &pool->locals[w];
        for (int i = 0; i < STATUS_CLASS_MAX_; i++)
            c->own[i] += LOAD(l->own[i]);
        c->unanswered += LOAD(l->unanswered);
        c->retries += LOAD(l->retries);
        c->retries_denied += LOAD(l->retries_denied);
        c->queued += LOAD(l->queued);
        c->queue_full += LOAD(l->queue_full);
        c->queue_expired += LOAD(l->queue_expired);
        c->waiting += LOAD(l->n_waiting);
    }
    if (pool->gone)
        counts_add(c, pool->gone);
}

/* Whatever is a count; what is so now is of those who are here. */
static void keep(struct counts *c, const struct counts *from)
{
    for (int i = 0; i < STATUS_CLASS_MAX_; i++) {
        c->status[i] += from->status[i];
        c->own[i] += from->own[i];
    }
    c->unanswered += from->unanswered;
    c->bytes_in += from->bytes_in;
    c->bytes_out += from->bytes_out;
    c->latency_sum_us += from->latency_sum_us;
    c->failures += from->failures;
    c->retries += from->retries;
    c->retries_denied += from->retries_denied;
    c->ejections += from->ejections;
    c->queued += from->queued;
    c->queue_full += from->queue_full;
    c->queue_expired += from->queue_expired;
    for (int i = 0; i < ENDPOINT_LATENCY_BUCKETS; i++)
        c->latency[i] += from->latency[i];
    if (from->last_hit_us > c->last_hit_us)
        c->last_hit_us = from->last_hit_us;
}

void counts_add(struct counts *c, const struct counts *from)
{
    keep(c, from);
    c->in_flight += from->in_flight;
    c->waiting += from->waiting;
    c->idle_connections += from->idle_connections;
    c->endpoints += from->endpoints;
    c->usable += from->usable;
}

uint64_t counts_answers(const struct counts *c)
{
    uint64_t sum = 0;
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        sum += c->status[i];
    return sum;
}

bool counts_touched(const struct counts *c)
{
    uint64_t sum = counts_answers(c) + c->unanswered + c->failures + c->queued;
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        sum += c->own[i];
    return sum > 0 || c->in_flight > 0;
}

/* --- what is gone ------------------------------------------------------------------------------------------ */

struct tally *tally_new(void)
{
    struct tally *tally = xcalloc(1, sizeof(*tally));
    tally->services = map_new(free);
    return tally;
}

void tally_free(struct tally *tally)
{
    if (!tally)
        return;
    map_free(tally->services);
    free(tally);
}

void tally_endpoint_gone(const struct registry *registry, const struct endpoint *e)
{
    struct counts counts = { 0 };
    counts_add_endpoint(&counts, registry, e, 0);
    if (!e->pool)
        return;
    if (!e->pool->gone)
        e->pool->gone = xcalloc(1, sizeof(*e->pool->gone));
    keep(e->pool->gone, &counts);
}

static char *service_of(const char *release)
{
    return xstrndup(release, strcspn(release, "@"));
}

void tally_pool_gone(struct tally *tally, struct pool *pool)
{
    struct counts counts = { 0 };
    counts_add_pool(&counts, pool);
    free(steal_ptr(pool->gone));
    _cleanup_(free_ptr) char *service = service_of(pool->name);
    const char *name = service;
    if (!map_get(tally->services, name) && map_size(tally->services) >= TALLY_SERVICES_MAX)
        name = TALLY_OTHERS;
    struct counts *sum = map_get(tally->services, name);
    if (!sum) {
        sum = xcalloc(1, sizeof(*sum));
        map_set(tally->services, name, sum);
    }
    keep(sum, &counts);
}

/* --- a look at all of it ----------------------------------------------------------------------------------- */

static struct tally_row *find(struct map *map, const char *key, struct tally_row *rows)
{
    uintptr_t place = (uintptr_t)map_get(map, key);
    return place ? &rows[place - 1] : NULL;
}

static struct tally_row *add_row(
    struct map *map, const char *key, struct tally_row *rows, size_t *n, char *service, char *version)
{
    struct tally_row *row = &rows[(*n)++];
    *row = (struct tally_row){ .service = service, .version = version };
    map_set(map, key, (void *)(uintptr_t)*n);
    return row;
}

static size_t list_size(const struct list *list)
{
    size_t n = 0;
    for (const struct list *l = list->next; l != list; l = l->next)
        n++;
    return n;
}

struct tally_view *tally_view_new(const struct tally *tally, const struct registry *registry)
{
    struct tally_view *v = xcalloc(1, sizeof(*v));
    size_t n = list_size(&registry->pools);
    v->registry = registry;
    v->by_release = map_new(NULL);
    v->by_service = map_new(NULL);
    v->releases = xcalloc(n + 1, sizeof(*v->releases));
    v->services = xcalloc(n + map_size(tally->services) + 1, sizeof(*v->services));
    map_for_each (it, tally->services) {
        struct tally_row *row =
            add_row(v->by_service, it.key, v->services, &v->n_services, xstrdup(it.key), NULL);
        counts_add(&row->counts, it.value);
    }
    const struct pool *pool;
    list_for_each (pool, &registry->pools, link) {
        const char *at = strchr(pool->name, '@');
        struct tally_row *row = add_row(v->by_release, pool->name, v->releases, &v->n_releases,
            service_of(pool->name), xstrdup(at ? at + 1 : ""));
        counts_add_pool(&row->counts, pool);
    }
    return v;
}

static void add_to_service(struct tally_view *v, const struct tally_row *release)
{
    struct tally_row *row = find(v->by_service, release->service, v->services);
    if (!row)
        row = add_row(
            v->by_service, release->service, v->services, &v->n_services, xstrdup(release->service), NULL);
    counts_add(&row->counts, &release->counts);
}

static int by_name(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    int r = strcmp(x->service, y->service);
    return r != 0 || !x->version ? r : strcmp(x->version, y->version);
}

bool tally_view_step(struct tally_view *v, int64_t now_us)
{
    const struct registry *registry = v->registry;
    unsigned rows = 0;
    for (; v->next_slot < registry->n_slots && rows < ROWS_PER_STEP; v->next_slot++) {
        const struct endpoint *e = registry_at(registry, v->next_slot);
        struct tally_row *row = e ? find(v->by_release, e->release, v->releases) : NULL;
        if (row)
            counts_add_endpoint(&row->counts, registry, e, now_us);
        rows += e ? registry->n_workers : 0;
    }
    if (v->next_slot < registry->n_slots)
        return false;
    for (; v->next_release < v->n_releases && rows < ROWS_PER_STEP; rows++)
        add_to_service(v, &v->releases[v->next_release++]);
    if (v->next_release < v->n_releases)
        return false;
    if (!v->done) {
        qsort(v->releases, v->n_releases, sizeof(*v->releases), by_name);
        qsort(v->services, v->n_services, sizeof(*v->services), by_name);
    }
    v->done = true;
    return true;
}

static void free_rows(struct tally_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].service);
        free(rows[i].version);
    }
    free(rows);
}

void tally_view_free(struct tally_view *v)
{
    if (!v)
        return;
    free_rows(v->releases, v->n_releases);
    free_rows(v->services, v->n_services);
    map_free(v->by_release);
    map_free(v->by_service);
    free(v);
}
