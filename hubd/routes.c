/* SPDX-License-Identifier: MIT */
#include "hubd/routes.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"

void routes_split(const char *route, char **ret_host, char **ret_path)
{
    const char *slash = strchr(route, '/');
    *ret_host = slash ? xstrndup(route, (size_t)(slash - route)) : xstrdup(route);
    *ret_path = xstrdup(slash ? slash : "/");
    size_t len = strlen(*ret_path);
    if (len > 1 && (*ret_path)[len - 1] == '/')
        (*ret_path)[len - 1] = '\0';
    if (**ret_host == '\0')
        str_set(ret_host, "*");
}

static bool routes_are_equal(const char *a, const char *b)
{
    _cleanup_(free_ptr) char *a_host = NULL, *a_path = NULL, *b_host = NULL, *b_path = NULL;
    routes_split(a, &a_host, &a_path);
    routes_split(b, &b_host, &b_path);
    return strcmp(a_host, b_host) == 0 && strcmp(a_path, b_path) == 0;
}

const char *routes_owner(const struct txn *view, const char *route, const char *except)
{
    state_for_each(it, txn_state(view), STATE_SERVICE)
    {
        const struct service *service = txn_get(view, STATE_SERVICE, it.key);
        if (!service || (except && strcmp(service->name, except) == 0))
            continue;
        char *other;
        strv_for_each (other, service->routes) {
            if (routes_are_equal(other, route))
                return service->name;
        }
    }
    return NULL;
}

/* A release that the table names: at least one endpoint, or a share of the traffic. */
static struct table_release *release_row(
    struct table_service *service, size_t *cap, const char *version, const char *commit)
{
    for (size_t i = 0; i < service->n_releases; i++)
        if (strcmp(service->releases[i].version, version) == 0)
            return &service->releases[i];
    service->releases = xgrow(service->releases, service->n_releases, cap, sizeof(*service->releases));
    struct table_release *row = &service->releases[service->n_releases++];
    *row = (struct table_release){ .version = xstrdup(version), .commit = xstrdup(commit), .weight = -1 };
    return row;
}

static void add_endpoint(struct table_release *release, const struct instance *instance)
{
    size_t n = release->n_endpoints;
    release->endpoints = xrealloc(release->endpoints, (n + 1) * sizeof(*release->endpoints));
    release->endpoints[n] = (struct table_endpoint){
        .id = xstrdup(instance->id),
        .address = xstrdup(instance->address),
        .draining = instance->endpoint == ENDPOINT_DRAINING,
    };
    release->n_endpoints++;
}

static void add_ranges(struct table_release *row, const struct live_release *live)
{
    row->n_ranges = live->n_ranges;
    row->ranges = (struct table_range *)(void *)xmemdup(live->ranges, live->n_ranges * sizeof(*live->ranges));
}

static bool has_port(const struct txn *view, const struct service *service)
{
    for (size_t i = 0; i < service->live.n_releases; i++) {
        const struct release *release =
            state_release(txn_state(view), service->name, service->live.releases[i].version);
        if (release && release->run.port)
            return true;
    }
    return false;
}

static int64_t share_of(const struct live_release *live)
{
    int64_t sum = 0;
    for (size_t i = 0; i < live->n_ranges; i++)
        sum += live->ranges[i].last - live->ranges[i].first + 1;
    return sum;
}

/* There is one queue and one limit for a service: as the release wants it that has most of the traffic. */
static void apply_requests(const struct txn *view, const struct service *service, struct table_service *ret)
{
    const struct live_release *best = NULL;
    for (size_t i = 0; i < service->live.n_releases; i++) {
        const struct live_release *live = &service->live.releases[i];
        if (!best || share_of(live) > share_of(best))
            best = live;
    }
    _cleanup_(free_ptr) char *key = best ? xasprintf("%s/%s", service->name, best->version) : NULL;
    const struct release *release = key ? txn_get(view, STATE_RELEASE, key) : NULL;
    if (release)
        requests_apply(&release->requests, &ret->limits);
}

static void build_service(const struct txn *view, const struct service *service, const char *const *instances,
    struct table_service *ret)
{
    size_t cap = 0;
    *ret = (struct table_service){ .name = xstrdup(service->name) };
    table_service_init(ret);
    apply_requests(view, service, ret);
    if (has_port(view, service)) {
        for (size_t i = 0; i < service->live.n_releases; i++) {
            const struct live_release *live = &service->live.releases[i];
            const struct release *release = state_release(txn_state(view), service->name, live->version);
            add_ranges(release_row(ret, &cap, live->version, release ? release->commit : NULL), live);
        }
    }
    for (size_t i = 0; instances[i]; i++) {
        const struct instance *instance = txn_get(view, STATE_INSTANCE, instances[i]);
        if (!instance || instance->endpoint == ENDPOINT_NONE || !instance->address ||
            strcmp(instance->service, service->name) != 0)
            continue;
        add_endpoint(release_row(ret, &cap, instance->version, instance->commit), instance);
    }
}

static void make_route(const struct service *service, const char *route, struct table_route *row)
{
    for (size_t i = 0; i < service->n_route_rules; i++) {
        _cleanup_(free_ptr) char *key = table_route_key(&service->route_rules[i]);
        if (routes_are_equal(key, route)) {
            schema_copy(&table_route_schema, &service->route_rules[i], row);
            return;
        }
    }
    *row = (struct table_route){ .service = xstrdup(service->name) };
    table_route_init(row);
    routes_split(route, &row->host, &row->path);
}

static void add_routes(struct table *table, size_t *cap, const struct service *service)
{
    char *route;
    strv_for_each (route, service->routes) {
        table->routes = xgrow(table->routes, table->n_routes, cap, sizeof(*table->routes));
        make_route(service, route, &table->routes[table->n_routes++]);
    }
}

void routes_build(const struct txn *view, int64_t epoch, struct table *ret)
{
    const struct state *state = txn_state(view);
    *ret = (struct table){
        .format = TABLE_FORMAT,
        .fleet = xstrdup(state_meta(state)->fleet),
        .epoch = epoch,
    };
    const char **services = map_sorted_keys(state->rows[STATE_SERVICE]);
    const char **instances = map_sorted_keys(state->rows[STATE_INSTANCE]);
    size_t services_cap = 0, routes_cap = 0;
    for (size_t i = 0; services[i]; i++) {
        const struct service *service = txn_get(view, STATE_SERVICE, services[i]);
        struct table_service row;
        if (!service)
            continue;
        build_service(view, service, instances, &row);
        if (row.n_releases == 0) {
            free(row.name);
            continue;
        }
        ret->services = xgrow(ret->services, ret->n_services, &services_cap, sizeof(*ret->services));
        ret->services[ret->n_services++] = row;
        add_routes(ret, &routes_cap, service);
    }
    free(services);
    free(instances);
}
