/* SPDX-License-Identifier: MIT */
#include "routerd/match_build.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "routerd/match_policy.h"
#include "routerd/rules.h"

#define TABLE_ARENA   (64 * 1024)
#define SERVICE_ARENA 512

_Static_assert(TABLE_ROUTES_MAX < 1 << MATCH_INDEX_BITS, "a tag numbers every cell");

struct match_memory {
    struct arena arena;
};

#define LINE _Alignof(struct match_cell)

/* Cells are lines of the cache. */
static void *lines(struct arena *arena, size_t bytes)
{
    uintptr_t p = (uintptr_t)arena_alloc(arena, 1, bytes + LINE - 1);
    return (void *)((p + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

static void hash_init(struct arena *arena, struct match_hash *t, size_t n)
{
    uint32_t size = 8;
    while (size < 2 * n)
        size *= 2;
    t->tags = arena_alloc(arena, size, sizeof(*t->tags));
    t->mask = size - 1;
    t->cells = lines(arena, n * sizeof(*t->cells));
}

void match_hash_copy(struct match_hash *to, const struct match_hash *from)
{
    memcpy(to->tags, from->tags, ((size_t)from->mask + 1) * sizeof(*to->tags));
    memcpy(to->cells, from->cells, from->n * sizeof(*to->cells));
    to->n = from->n;
}

/* With zeros behind it, as match_hash_words() wants it. */
static const char *key_str(struct arena *arena, const char *s, size_t len)
{
    return memcpy(arena_alloc(arena, len + sizeof(uint64_t), 1), s, len);
}

/* --- services -------------------------------------------------------------------------------------------- */

static const struct match_release *sort_releases; /* qsort hands no argument on; main alone builds */

static int by_commit(const void *a, const void *b)
{
    return strcmp(sort_releases[*(const uint32_t *)a].commit, sort_releases[*(const uint32_t *)b].commit);
}

static int by_version(const void *a, const void *b)
{
    return strcmp(sort_releases[*(const uint32_t *)a].version, sort_releases[*(const uint32_t *)b].version);
}

static void build_order(struct arena *arena, struct match_service *s)
{
    uint32_t *versions = arena_alloc(arena, s->n_releases, sizeof(*versions));
    uint32_t *commits = arena_alloc(arena, s->n_releases, sizeof(*commits)), n = 0;
    for (uint32_t i = 0; i < s->n_releases; i++) {
        versions[i] = i;
        if (s->releases[i].commit)
            commits[n++] = i;
    }
    sort_releases = s->releases;
    qsort(versions, s->n_releases, sizeof(*versions), by_version);
    qsort(commits, n, sizeof(*commits), by_commit);
    s->by_version = versions;
    s->by_commit = commits;
    s->n_by_commit = n;
}

struct range_row {
    uint32_t first, last, release;
};

static int by_first(const void *a, const void *b)
{
    uint32_t x = ((const struct range_row *)a)->first, y = ((const struct range_row *)b)->first;
    return x < y ? -1 : x > y;
}

static void build_ranges(struct arena *arena, const struct table_service *from, struct match_service *s)
{
    size_t n = 0;
    s->only = MATCH_NONE;
    for (size_t i = 0; i < from->n_releases; i++) {
        n += from->releases[i].n_ranges;
        if (from->releases[i].n_ranges > 0) {
            s->only = s->n_live == 0 ? (uint32_t)i : MATCH_NONE;
            s->n_live++;
        }
    }
    struct range_row *rows = xcalloc(n + 1, sizeof(*rows));
    size_t k = 0;
    for (size_t i = 0; i < from->n_releases; i++) {
        for (size_t j = 0; j < from->releases[i].n_ranges; j++)
            rows[k++] = (struct range_row){ (uint32_t)from->releases[i].ranges[j].first,
                (uint32_t)from->releases[i].ranges[j].last, (uint32_t)i };
    }
    qsort(rows, n, sizeof(*rows), by_first);
    struct match_range *ranges = arena_alloc(arena, 2 * n + 1, sizeof(*ranges));
    uint64_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].first > next)
            ranges[s->n_ranges++] = (struct match_range){ rows[i].first - 1, MATCH_NONE };
        ranges[s->n_ranges++] = (struct match_range){ rows[i].last, rows[i].release };
        next = (uint64_t)rows[i].last + 1;
    }
    s->ranges = ranges;
    free(rows);
}

static int build_endpoints(struct match_build *b, struct shared_service *shared,
    const struct table_service *from, const struct table_release *from_release, struct match_release *release,
    struct error *err)
{
    struct match_service *s = &shared->service;
    struct match_slots *slots =
        arena_alloc(&shared->arena, 1, sizeof(*slots) + from_release->n_endpoints * sizeof(slots->slot[0]));
    uint32_t *all = (uint32_t *)s->slots;
    bool *draining = (bool *)s->slot_draining;
    for (size_t i = 0; i < from_release->n_endpoints; i++) {
        const struct table_endpoint *e = &from_release->endpoints[i];
        uint32_t slot = b->slots->claim(b->slots->arg, release->name, from, e);
        if (slot == MATCH_NONE)
            return error_set(err, -ENOSPC, "endpoint %s: too many endpoints at once", e->address);
        if (!e->draining)
            atomic_init(&slots->slot[slots->n++], slot);
        draining[s->n_slots] = e->draining;
        all[s->n_slots++] = slot;
    }
    atomic_init(&slots->n_usable, slots->n);
    release->slots = slots;
    return 0;
}

static int build_releases(
    struct match_build *b, struct shared_service *shared, const struct table_service *from, struct error *err)
{
    struct match_service *s = &shared->service;
    struct arena *arena = &shared->arena;
    struct match_release *releases = arena_alloc(arena, from->n_releases, sizeof(*releases));
    size_t n_endpoints = 0;
    for (size_t i = 0; i < from->n_releases; i++)
        n_endpoints += from->releases[i].n_endpoints;
    s->releases = releases;
    s->n_releases = (uint32_t)from->n_releases;
    s->slots = arena_alloc(arena, n_endpoints, sizeof(*s->slots));
    s->slot_draining = arena_alloc(arena, n_endpoints, sizeof(*s->slot_draining));
    for (uint32_t i = 0; i < s->n_releases; i++) {
        const struct table_release *r = &from->releases[i];
        releases[i].version = arena_str(arena, r->version);
        releases[i].commit = arena_str(arena, r->commit);
        size_t n = strlen(from->name) + strlen(r->version) + 2;
        char *name = arena_alloc(arena, n, 1);
        snprintf(name, n, "%s@%s", from->name, r->version);
        releases[i].name = name;
        int result = build_endpoints(b, shared, from, r, &releases[i], err);
        if (result < 0)
            return error_prefix(err, "%s", releases[i].name);
    }
    return 0;
}

static void service_unref(const struct match_service *service)
{
    struct shared_service *shared = shared_of(service);
    if (--shared->refs > 0)
        return;
    match_policy_free(shared->service.policy);
    arena_done(&shared->arena);
    free(shared);
}

static int build_service(struct match_build *b, const struct table_service *from,
    const struct match_service **ret, struct error *err)
{
    struct shared_service *shared = xcalloc(1, sizeof(*shared));
    struct match_service *s = &shared->service;
    shared->refs = 1;
    shared->sum = from->sum;
    arena_init(&shared->arena, SERVICE_ARENA);
    s->name = key_str(&shared->arena, from->name, strlen(from->name));
    s->pin_header = from->pin_header;
    s->pin_cookie = from->pin_cookie;
    s->pin_host = from->pin_host;
    s->paused = from->paused;
    s->policy = match_policy_new(from);
    int r = build_releases(b, shared, from, err);
    if (r < 0) {
        service_unref(s);
        return r;
    }
    build_order(&shared->arena, s);
    build_ranges(&shared->arena, from, s);
    *ret = s;
    return 0;
}

/* The compiled form that the table before has of just this row. */
static const struct match_service *unchanged(
    const struct match_build *b, size_t at, const struct table_service *from)
{
    if (!b->before || table_sum_is_empty(&from->sum))
        return NULL;
    /* Most rows stay where they are. */
    const struct match_service *s = at < b->before->n_services ? b->before->services[at] : NULL;
    if (s && table_sum_is_equal(&shared_of(s)->sum, &from->sum))
        return s;
    s = match_find_service(b->before, from->name, strlen(from->name));
    return s && table_sum_is_equal(&shared_of(s)->sum, &from->sum) ? s : NULL;
}

static bool is_same_name(const struct match_service *a, const struct match_service *b)
{
    return a == b || strcmp(a->name, b->name) == 0;
}

static int add_service(struct match_build *b, size_t at, struct error *err)
{
    const struct table_service *from = &b->source->services[at];
    struct match_table *t = b->table;
    const struct match_service *s = unchanged(b, at, from);
    if (s) {
        shared_of(s)->refs++;
    } else {
        int r = build_service(b, from, &s, err);
        if (r < 0)
            return r;
        t->fresh[t->n_fresh++] = s;
    }
    b->same_names &= b->before && at < b->before->n_services && is_same_name(b->before->services[at], s);
    t->services[t->n_services++] = s;
    return 0;
}

static void unref_rules(const struct match_hash *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        rules_unref(t->cells[i].rules);
}

/* The same names in the same order: the index is the same, too. */
static void index_services(struct match_build *b)
{
    struct match_table *t = b->table;
    struct match_hash *index = &t->index->services;
    if (b->same_names) {
        match_hash_copy(index, &b->before->index->services);
        for (uint32_t i = 0; i < t->n_services; i++)
            index->cells[i].service = t->services[i];
        return;
    }
    for (uint32_t i = 0; i < t->n_services; i++) {
        const char *name = t->services[i]->name;
        size_t len = strlen(name);
        match_hash_add(index, 0, name, len, match_hash_words(name, len))->service = t->services[i];
    }
}

/* --- the whole ------------------------------------------------------------------------------------------- */

static int build_all(struct match_build *b, struct error *err)
{
    const struct table *from = b->source;
    struct match_table *t = b->table;
    hash_init(b->arena, &t->index->hosts, from->n_routes);
    hash_init(b->arena, &t->index->paths, from->n_routes);
    hash_init(b->arena, &t->index->services, from->n_services);
    t->services = arena_alloc(b->arena, from->n_services, sizeof(*t->services));
    t->fresh = arena_alloc(b->arena, from->n_services, sizeof(*t->fresh));
    t->n_routes = (uint32_t)from->n_routes;
    for (size_t i = 0; i < from->n_services; i++) {
        int r = add_service(b, i, err);
        if (r < 0)
            return r;
    }
    b->same_names &= t->n_services > 0 && b->before && b->before->n_services == t->n_services;
    index_services(b);
    return match_build_routes(b, err);
}

int match_build(const struct table *table, const struct match_table *before,
    const struct match_slot_ops *slots, struct match_table **ret, struct error *err)
{
    struct match_memory *memory = xcalloc(1, sizeof(*memory));
    struct match_table *t = xcalloc(1, sizeof(*t));
    arena_init(&memory->arena, TABLE_ARENA);
    t->memory = memory;
    t->index = lines(&memory->arena, sizeof(*t->index));
    t->epoch = table->epoch;
    atomic_init(&t->refs, 1);
    struct match_build b = { t, before, slots, &memory->arena, table, before != NULL };
    int r = build_all(&b, err);
    if (r < 0) {
        match_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void match_free(struct match_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < table->n_services; i++)
        service_unref(table->services[i]);
    unref_rules(&table->index->hosts);
    unref_rules(&table->index->paths);
    rules_unref(table->index->any.rules);
    arena_done(&table->memory->arena);
    free(table->memory);
    free(table);
}
