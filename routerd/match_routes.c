/* SPDX-License-Identifier: MIT */
#include "routerd/match_build.h"

#include <errno.h>
#include <string.h>

#include "routerd/rules.h"

/* The index of routes. */

/* As tables write it: "*.example.com", "*". The cell of "*" is always there. */
static const struct match_cell *find_host(
    const struct match_index *index, const char *host, uint64_t *ret_hash)
{
    const char *name = host[0] == '*' ? host + 1 : host;
    size_t len = strlen(name);
    char padded[MATCH_HOST_MAX + 1 + sizeof(uint64_t)] = "";
    memcpy(padded, name, len < MATCH_HOST_MAX ? len : MATCH_HOST_MAX);
    *ret_hash = match_hash_words(padded, len);
    return len == 0 ? &index->any : match_hash_find(&index->hosts, 0, name, len, *ret_hash);
}

static size_t path_length(const char *path)
{
    size_t len = path ? strlen(path) : 0;
    while (len > 0 && path[len - 1] == '/')
        len--;
    return len;
}

static const struct match_rules *rules_before(
    const struct match_table *before, const struct table_route *route)
{
    const struct match_index *index = before->index;
    uint64_t h;
    const struct match_cell *c = find_host(index, route->host, &h);
    size_t len = path_length(route->path);
    if (c && len > 0) {
        uint32_t scope = c == &index->any ? MATCH_ANY : (uint32_t)(c - index->hosts.cells);
        c = match_hash_find(&index->paths, scope, route->path, len,
            match_hash_path(match_hash_path_start(scope), route->path, len));
    }
    return c ? c->rules : NULL;
}

static struct match_cell *host_of(struct match_build *b, const char *host, uint32_t *ret_scope)
{
    struct match_index *index = b->table->index;
    struct match_hash *hosts = &index->hosts;
    const char *name = host[0] == '*' ? host + 1 : host;
    size_t len = strlen(name);
    uint64_t h;
    struct match_cell *c = (struct match_cell *)(uintptr_t)find_host(index, host, &h);
    *ret_scope = MATCH_ANY;
    if (len == 0) {
        index->has_any = true;
        return c;
    }
    if (!c) {
        index->has_wildcards |= name != host;
        c = match_hash_add(hosts, 0, len > MATCH_KEY_INLINE ? arena_strn(b->arena, name, len) : name, len, h);
    }
    *ret_scope = (uint32_t)(c - hosts->cells);
    return c;
}

/* Segments as find_path() of match.c cuts them: each "/" begins one. */
static uint32_t count_segments(const char *path, size_t len)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += path[i] == '/';
    return n;
}

static struct match_cell *path_of(
    struct match_build *b, struct match_cell *host, uint32_t scope, const char *path, size_t len)
{
    uint32_t n = count_segments(path, len);
    if (n > MATCH_SEGMENTS_MAX)
        return NULL;
    if (n > host->segments_max)
        host->segments_max = (uint8_t)n;
    return match_hash_add(&b->table->index->paths, scope,
        len > MATCH_KEY_INLINE ? arena_strn(b->arena, path, len) : path, len,
        match_hash_path(match_hash_path_start(scope), path, len));
}

/* What the table before has for just this row, or what it says now. */
static int route_rules(const struct match_build *b, const struct table_route *route,
    const struct match_rules **ret, struct error *err)
{
    struct match_rules *rules = NULL;
    *ret = NULL;
    if (!table_route_has_rules(route))
        return 0;
    const struct match_rules *before = b->before ? rules_before(b->before, route) : NULL;
    if (before && rules_are_current(before, &route->sum)) {
        ((struct match_rules *)(uintptr_t)before)->refs++;
        *ret = before;
        return 0;
    }
    int r = rules_build(route, &rules, err);
    *ret = rules;
    b->table->index->has_pages |= rules && rules->n_pages > 0;
    return r;
}

/* A version host of a service has the rules of its first route. Where these can't hold for it, because they change paths
 * that it need not have, or because another route restricts who may ask for what, there is none. */
static void note_route(struct match_build *b, const struct match_cell *route)
{
    const char *name = route->service->name;
    size_t len = strlen(name);
    const struct match_rules *rules = route->rules;
    struct match_cell *c = (struct match_cell *)(uintptr_t)match_hash_find(
        &b->table->index->services, 0, name, len, match_hash_words(name, len));
    if (!c->is_route)
        c->rules = rules;
    c->closed |= rules && (c->is_route ? rules_restrict(rules) : rules->prefix != NULL);
    c->is_route = true;
}

static int add_route(struct match_build *b, const struct table_route *route, struct error *err)
{
    uint32_t scope;
    struct match_cell *c = host_of(b, route->host, &scope);
    size_t len = path_length(route->path);
    if (len > 0)
        c = path_of(b, c, scope, route->path, len);
    if (!c)
        return error_set(err, -EINVAL, "route %s%s: more than %d path segments", route->host, route->path,
            MATCH_SEGMENTS_MAX);
    c->is_route = true;
    if (route->service)
        c->service = match_find_service(b->table, route->service, strlen(route->service));
    if (route->service && !c->service)
        return error_set(err, -EINVAL, "route %s: no service \"%s\"", route->host, route->service);
    int r = route_rules(b, route, &c->rules, err);
    if (r == 0 && c->service)
        note_route(b, c);
    return r < 0 ? error_prefix(err, "route %s%s", route->host, route->path ? route->path : "") : r;
}

/* Zero where a row has no sum. */
static struct table_sum sum_routes(const struct table *table)
{
    struct table_sum sum = { { 0, 0 } };
    for (size_t i = 0; i < table->n_routes; i++) {
        if (table_sum_is_empty(&table->routes[i].sum))
            return (struct table_sum){ { 0, 0 } };
        sum.words[0] += table->routes[i].sum.words[0];
        sum.words[1] += table->routes[i].sum.words[1];
    }
    return sum;
}

static void move_cell(const struct match_build *b, struct match_cell *c)
{
    if (c->service)
        c->service = b->table->services[shared_of(c->service)->at];
    if (c->rules)
        ((struct match_rules *)(uintptr_t)c->rules)->refs++;
}

/* Usually it is services that change. Then the index of routes is as before but for what the cells point to. */
static bool copy_routes(struct match_build *b)
{
    const struct match_table *before = b->before;
    struct match_index *index = b->table->index;
    if (!b->same_names || before->n_services != b->table->n_services ||
        before->n_routes != b->table->n_routes || before->index->has_pages ||
        table_sum_is_empty(&b->table->routes_sum) ||
        !table_sum_is_equal(&before->routes_sum, &b->table->routes_sum))
        return false;
    for (uint32_t i = 0; i < before->n_services; i++)
        shared_of(before->services[i])->at = i;
    match_hash_copy(&index->hosts, &before->index->hosts);
    match_hash_copy(&index->paths, &before->index->paths);
    index->any = before->index->any;
    index->has_any = before->index->has_any;
    index->has_wildcards = before->index->has_wildcards;
    for (uint32_t i = 0; i < index->hosts.n; i++)
        move_cell(b, &index->hosts.cells[i]);
    for (uint32_t i = 0; i < index->paths.n; i++)
        move_cell(b, &index->paths.cells[i]);
    move_cell(b, &index->any);
    return true;
}

int match_build_routes(struct match_build *b, struct error *err)
{
    const struct table *from = b->source;
    b->table->routes_sum = sum_routes(from);
    if (copy_routes(b))
        return 0;
    for (uint32_t i = 0; i < b->table->index->services.n; i++) {
        struct match_cell *c = &b->table->index->services.cells[i];
        c->rules = NULL;
        c->is_route = c->closed = false;
    }
    for (size_t i = 0; i < from->n_routes; i++) {
        int r = add_route(b, &from->routes[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}
