/* SPDX-License-Identifier: MIT */
#include "hubd/manifest_keys.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/http1.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strv.h"
#include "common/table_route.h"
#include "hubd/manifest.h"

/* "routes" of a service: a route as text, or an object with the rules for what goes through. What a rule may say here is
 * less than in a table written by hand: nothing that reads files of the router's host, and no route that leads
 * elsewhere than to the service. */

#define SECOND       INT64_C(1000)
#define BODY_MAX     (INT64_C(1) << 40)
#define ROUTE_MUST   "a host name with or without a path, like \"example.com/shop\""
#define LIST_MUST    "a list of at most 100 routes"
#define METHODS_MUST "a list of methods like \"GET\""

/* "Example.com/shop/" → "example.com/shop"; NULL if it is no route. */
static char *route_normalise(const char *s)
{
    size_t host_len = strcspn(s, "/");
    _cleanup_(free_ptr) char *host = xstrndup(s, host_len);
    _cleanup_(free_ptr) char *path = xstrdup(s + host_len);
    for (char *p = host; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    size_t len = strlen(path);
    if (len > 0 && path[len - 1] == '/')
        path[len - 1] = '\0';
    if ((!name_is_dns(host) && strcmp(host, "*") != 0) || (*path && !name_is_path_prefix(path)))
        return NULL;
    return xasprintf("%s%s", host, path);
}

/* --- rules ------------------------------------------------------------------------------------------------ */

static int read_route(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct table_route *row = target;
    _cleanup_(free_ptr) char *route = json_is(v, JSON_STRING) ? route_normalise(json_string(v)) : NULL;
    if (!route)
        return manifest_bad(rd, v, ROUTE_MUST);
    char *slash = strchr(route, '/');
    str_set(&row->path, slash);
    if (slash)
        *slash = '\0';
    str_set(&row->host, route);
    return 0;
}

/* Objects that a table has just so. */
static int read_by_schema(
    struct manifest_reader *rd, const struct json *v, const struct schema *schema, void *target)
{
    int line = json_line(v);
    int r = schema_read_json(schema, v, target, &line, rd->err);
    return r < 0 ? error_prefix(rd->err, "%s:%d", rd->file, line) : 0;
}

static int read_hsts(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    return read_by_schema(rd, v, &table_hsts_schema, target);
}

/* key->min: of answers. */
static int read_fields(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct table_route *row = target;
    struct table_field **fields = key->min ? &row->answer_headers : &row->request_headers;
    size_t *n = key->min ? &row->n_answer_headers : &row->n_request_headers;
    if (!json_is(v, JSON_LIST) || json_size(v) > TABLE_RULES_MAX)
        return manifest_bad(rd, v, key->must);
    *fields = xcalloc(json_size(v) + 1, sizeof(**fields));
    json_for_each(item, v)
    {
        int r = read_by_schema(rd, item, &table_field_schema, &(*fields)[*n]);
        if (r < 0)
            return r;
        (*n)++;
    }
    return 0;
}

static int read_methods(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    char ***methods = target;
    if (!json_is(v, JSON_LIST) || json_size(v) > TABLE_RULES_MAX)
        return manifest_bad(rd, v, key->must);
    json_for_each(item, v)
    {
        if (!json_is(item, JSON_STRING) || !table_is_method(json_string(item)))
            return manifest_bad_item(rd, v, item, "a method in capitals other than CONNECT and TRACE");
        strv_push(methods, json_string(item));
    }
    return 0;
}

static int read_prefix(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    if (!json_is(v, JSON_STRING) || !name_is_path_prefix(json_string(v)))
        return manifest_bad(rd, v, key->must);
    str_set((char **)target, json_string(v));
    return 0;
}

/* clang-format off */
#define ROUTE(m) offsetof(struct table_route, m)
static const struct manifest_key route_keys[] = {
    { "route",           read_route, 0, 0, 0, ROUTE_MUST },
    { "https",           manifest_read_bool, ROUTE(https), 0, 0, NULL },
    { "hsts",            read_hsts, ROUTE(hsts), 0, 0, NULL },
    { "request_headers", read_fields, 0, 0, 0, "a list of at most 64 fields to set, add or remove" },
    { "answer_headers",  read_fields, 0, 1, 0, "a list of at most 64 fields to set, add or remove" },
    { "strip_prefix",    manifest_read_bool, ROUTE(strip_prefix), 0, 0, NULL },
    { "rewrite_prefix",  read_prefix, ROUTE(rewrite_prefix), 0, 0, "a path like \"/v2\"" },
    { "body_size",       manifest_read_size, ROUTE(body_size), 1, BODY_MAX, "a size from \"1\" to \"1T\"" },
    { "timeout",         manifest_read_duration, ROUTE(timeout_ms), 100, 86400 * SECOND,
      "a duration from \"100ms\" to \"24h\"" },
    { "methods",         read_methods, ROUTE(methods), 0, 0, METHODS_MUST },
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(route_keys) <= MANIFEST_KEYS_MAX, "known words fit");

static int read_rules(struct manifest_reader *rd, const struct json *item, struct table_route *row)
{
    int r = manifest_read_keys(rd, item, route_keys, ARRAY_SIZE(route_keys), "a route", row);
    if (r < 0)
        return r;
    if (!row->host)
        return error_set(rd->err, -EINVAL, "%s:%d: a route must have a \"route\"", rd->file, json_line(item));
    row->service = xstrdup(rd->service);
    _cleanup_(free_ptr) char *key = table_route_key(row);
    r = table_route_check(row, key, rd->err);
    return r < 0 ? error_prefix(rd->err, "%s:%d", rd->file, json_line(item)) : 0;
}

/* One that says nothing more is as good as its text. */
static int add_rules(
    struct manifest_reader *rd, const struct json *item, struct manifest_service *service, char **ret_route)
{
    struct table_route row = { .host = NULL };
    table_route_init(&row);
    int r = read_rules(rd, item, &row);
    if (r < 0) {
        schema_clear(&table_route_schema, &row);
        return r;
    }
    *ret_route = table_route_key(&row);
    if (!table_route_has_rules(&row)) {
        schema_clear(&table_route_schema, &row);
        return 0;
    }
    service->route_rules =
        xrealloc(service->route_rules, (service->n_route_rules + 1) * sizeof(*service->route_rules));
    service->route_rules[service->n_route_rules++] = row;
    return 0;
}

/* --- routes ----------------------------------------------------------------------------------------------- */

static int read_item(struct manifest_reader *rd, const struct json *list, const struct json *item,
    struct manifest_service *service)
{
    _cleanup_(free_ptr) char *route = NULL;
    if (json_is(item, JSON_OBJECT)) {
        int r = add_rules(rd, item, service, &route);
        if (r < 0)
            return r;
    } else {
        route = json_is(item, JSON_STRING) ? route_normalise(json_string(item)) : NULL;
    }
    if (!route)
        return manifest_bad_item(rd, list, item, ROUTE_MUST);
    if (strv_contains(service->routes, route))
        return error_set(
            rd->err, -EINVAL, "%s:%d: route \"%s\" is there twice", rd->file, json_line(item), route);
    strv_push_take(&service->routes, steal_ptr(route));
    return 0;
}

int manifest_read_routes(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct manifest_service *service = target;
    if (!json_is(v, JSON_LIST) || json_size(v) > MANIFEST_ROUTES_MAX)
        return manifest_bad(rd, v, LIST_MUST);
    json_for_each(item, v)
    {
        int r = read_item(rd, v, item, service);
        if (r < 0)
            return r;
    }
    return 0;
}
