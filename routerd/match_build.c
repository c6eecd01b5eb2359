/* SPDX-License-Identifier: MIT */
#include "routerd/match.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/table.h"
#include "routerd/match_index.h"

/* Everything that belongs to a compiled table is allocated piece by piece and remembered, so that freeing needs
 * no walk through its structure. */
struct memory {
    void **pieces;
    size_t n, cap;
};

struct build {
    struct match_table *table;
    struct match_index *index;
    struct memory *memory;
    const struct table *source;
};

static void *piece(struct memory *m, size_t n, size_t size)
{
    m->pieces = xgrow(m->pieces, m->n, &m->cap, sizeof(*m->pieces));
    return m->pieces[m->n++] = xcalloc(n > 0 ? n : 1, size);
}

static char *piece_str(struct memory *m, const char *s)
{
    if (!s)
        return NULL;
    size_t n = strlen(s) + 1;
    return memcpy(piece(m, n, 1), s, n);
}

static void hash_init(struct memory *m, struct match_hash *t, size_t n)
{
    uint32_t size = 8;
    while (size < 2 * n)
        size *= 2;
    t->cells = piece(m, size, sizeof(*t->cells));
    t->mask = size - 1;
}

/* --- services -------------------------------------------------------------------------------------------- */

static const struct match_release *sort_releases;

static int by_commit(const void *a, const void *b)
{
    return strcmp(sort_releases[*(const uint32_t *)a].commit, sort_releases[*(const uint32_t *)b].commit);
}

static void build_commits(struct build *b, struct match_service *s)
{
    uint32_t *rows = piece(b->memory, s->n_releases, sizeof(*rows)), n = 0;
    for (uint32_t i = 0; i < s->n_releases; i++) {
        if (s->releases[i].commit)
            rows[n++] = i;
    }
    sort_releases = s->releases;
    qsort(rows, n, sizeof(*rows), by_commit);
    s->by_commit = rows;
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

static void build_ranges(struct build *b, const struct table_service *from, struct match_service *s)
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
    struct match_range *ranges = piece(b->memory, 2 * n + 1, sizeof(*ranges));
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

static int build_endpoints(struct build *b, const struct table_release *from, struct match_release *release,
    match_slot_fn slot_fn, void *arg, struct error *err)
{
    uint32_t *slots = piece(b->memory, from->n_endpoints, sizeof(*slots));
    uint32_t *all = (uint32_t *)b->table->slots;
    bool *draining = (bool *)b->table->slot_draining;
    for (size_t i = 0; i < from->n_endpoints; i++) {
        const struct table_endpoint *e = &from->endpoints[i];
        uint32_t slot = slot_fn(arg, e->id ? e->id : e->address, e->address, e->draining, e->max_in_flight);
        if (slot == MATCH_NONE)
            return error_set(err, -ENOSPC, "endpoint %s: too many endpoints at once", e->address);
        if (!e->draining)
            slots[release->n_slots++] = slot;
        draining[b->table->n_slots] = e->draining;
        all[b->table->n_slots++] = slot;
    }
    release->slots = slots;
    return 0;
}

static int build_service(struct build *b, uint32_t at, const struct table_service *from,
    match_slot_fn slot_fn, void *arg, struct error *err)
{
    struct match_service *s = (struct match_service *)&b->table->services[at];
    s->name = piece_str(b->memory, from->name);
    s->pin_header = from->pin_header;
    s->pin_cookie = from->pin_cookie;
    s->pin_host = from->pin_host;
    s->n_releases = (uint32_t)from->n_releases;
    struct match_release *releases = piece(b->memory, from->n_releases, sizeof(*releases));
    s->releases = releases;
    for (uint32_t i = 0; i < s->n_releases; i++) {
        const struct table_release *r = &from->releases[i];
        releases[i].version = piece_str(b->memory, r->version);
        releases[i].commit = piece_str(b->memory, r->commit);
        size_t n = strlen(from->name) + strlen(r->version) + 2;
        char *name = piece(b->memory, n, 1);
        snprintf(name, n, "%s@%s", from->name, r->version);
        releases[i].name = name;
        size_t len = strlen(releases[i].version);
        match_hash_add(&b->index->versions, at, releases[i].version, len,
            match_hash(match_hash_start(at), releases[i].version, len), i);
        int r_endpoints = build_endpoints(b, r, &releases[i], slot_fn, arg, err);
        if (r_endpoints < 0)
            return error_prefix(err, "%s", releases[i].name);
    }
    build_commits(b, s);
    build_ranges(b, from, s);
    size_t len = strlen(s->name);
    match_hash_add(
        &b->index->service_names, 0, s->name, len, match_hash(match_hash_start(0), s->name, len), at);
    return 0;
}

/* --- routes ---------------------------------------------------------------------------------------------- */

static uint32_t host_of(struct build *b, const char *host)
{
    const char *key = host[0] == '*' && host[1] == '.' ? host + 1 : host;
    size_t len = strlen(key);
    uint64_t h = match_hash(match_hash_start(0), key, len);
    const struct match_cell *c = match_hash_find(&b->index->host_names, 0, key, len, h);
    if (c)
        return c->value;
    uint32_t at = b->index->n_hosts++;
    b->index->hosts[at].root = MATCH_NONE;
    b->index->has_wildcards |= key != host;
    match_hash_add(&b->index->host_names, 0, piece_str(b->memory, key), len, h, at);
    return at;
}

/* Segments as find_path() of match.c cuts them: each "/" begins one. */
static uint32_t count_segments(const char *path)
{
    uint32_t n = 0;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

static int build_route(struct build *b, const struct table_route *route, struct error *err)
{
    const struct match_service *s = match_find_service(b->table, route->service, strlen(route->service));
    if (!s)
        return error_set(err, -EINVAL, "route %s: no service \"%s\"", route->host, route->service);
    uint32_t service = (uint32_t)(s - b->table->services), at = host_of(b, route->host);
    struct match_host *host = &b->index->hosts[at];
    size_t len = route->path ? strlen(route->path) : 0;
    while (len > 0 && route->path[len - 1] == '/')
        len--;
    if (len == 0) {
        host->root = service;
        return 0;
    }
    char *path = piece_str(b->memory, route->path);
    path[len] = '\0';
    uint32_t n = count_segments(path);
    if (n > MATCH_SEGMENTS_MAX)
        return error_set(
            err, -EINVAL, "route %s%s: more than %d path segments", route->host, path, MATCH_SEGMENTS_MAX);
    if (n > host->segments_max)
        host->segments_max = n;
    match_hash_add(&b->index->paths, at, path, len, match_hash(match_hash_start(at), path, len), service);
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------- */

static int build_all(struct build *b, match_slot_fn slot_fn, void *arg, struct error *err)
{
    const struct table *from = b->source;
    size_t n_releases = 0, n_endpoints = 0;
    for (size_t i = 0; i < from->n_services; i++) {
        n_releases += from->services[i].n_releases;
        for (size_t j = 0; j < from->services[i].n_releases; j++)
            n_endpoints += from->services[i].releases[j].n_endpoints;
    }
    hash_init(b->memory, &b->index->host_names, from->n_routes);
    hash_init(b->memory, &b->index->paths, from->n_routes);
    hash_init(b->memory, &b->index->service_names, from->n_services);
    hash_init(b->memory, &b->index->versions, n_releases);
    b->index->hosts = piece(b->memory, from->n_routes, sizeof(*b->index->hosts));
    b->table->services = piece(b->memory, from->n_services, sizeof(*b->table->services));
    b->table->n_services = (uint32_t)from->n_services;
    b->table->n_routes = (uint32_t)from->n_routes;
    b->table->slots = piece(b->memory, n_endpoints, sizeof(*b->table->slots));
    b->table->slot_draining = piece(b->memory, n_endpoints, sizeof(*b->table->slot_draining));
    for (uint32_t i = 0; i < from->n_services; i++) {
        int r = build_service(b, i, &from->services[i], slot_fn, arg, err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < from->n_routes; i++) {
        int r = build_route(b, &from->routes[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int match_build(
    const struct table *table, match_slot_fn slot_fn, void *arg, struct match_table **ret, struct error *err)
{
    struct memory *memory = xcalloc(1, sizeof(*memory));
    struct match_table *t = xcalloc(1, sizeof(*t));
    t->memory = memory;
    t->index = piece(memory, 1, sizeof(*t->index));
    t->epoch = table->epoch;
    atomic_init(&t->refs, 1);
    struct build b = { t, t->index, memory, table };
    int r = build_all(&b, slot_fn, arg, err);
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
    struct memory *memory = table->memory;
    for (size_t i = 0; i < memory->n; i++)
        free(memory->pieces[i]);
    free(memory->pieces);
    free(memory);
    free(table);
}
