/* SPDX-License-Identifier: MIT */
#include "common/table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/json.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/semver.h"

#define ASSIGNMENTS     (INT64_C(1) << 32)
#define WEIGHT_MAX      1000000
#define RELEASES_MAX    1000 /* of one service */
#define ENDPOINT_ID_MAX 64
#define UNIX_PATH_MAX   107   /* of sun_path, without its NUL */
#define RANGES_MAX      10000 /* of one release */

/* --- the shape ------------------------------------------------------------------------------------------- */

static bool is_endpoint_address(const char *s)
{
    if (strncmp(s, "unix:", 5) == 0)
        return s[5] == '/' && strlen(s + 5) <= UNIX_PATH_MAX && name_is_path_prefix(s + 5);
    return name_is_address(s);
}

static bool is_endpoint_id(const char *s)
{
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

    /* An endpoint without an id is known by its address. */
    return (s[len] == '\0' && len > 0 && len <= ENDPOINT_ID_MAX) || is_endpoint_address(s);
}

static const char address_must[] = "IPv4:port, [IPv6]:port or unix:/path";

/* clang-format off */
static const struct field range_fields[] = {
    F_INT(struct table_range, first, FIELD_REQUIRED, 0, ASSIGNMENTS - 1),
    F_INT(struct table_range, last,  FIELD_REQUIRED, 0, ASSIGNMENTS - 1),
};
static const struct schema range_schema = SCHEMA("range", struct table_range, range_fields, true);

static const struct field endpoint_fields[] = {
    F_STRING(struct table_endpoint, id,            0,                .check = is_endpoint_id,
        .must = "1 to 64 lower-case letters, digits and dashes"),
    F_STRING(struct table_endpoint, address,       FIELD_REQUIRED,   .check = is_endpoint_address,
        .must = address_must),
    F_BOOL(struct table_endpoint,   draining,      FIELD_OMIT_EMPTY),
    F_INT(struct table_endpoint,    max_in_flight, FIELD_OMIT_EMPTY, 0, 1000000),
};
static const struct schema endpoint_schema =
    SCHEMA("endpoint", struct table_endpoint, endpoint_fields, true);

static const struct field release_fields[] = {
    F_STRING(struct table_release, version,   FIELD_REQUIRED, .check = semver_is_valid,
        .must = "a version such as 1.2.3"),
    F_STRING(struct table_release, commit,    0,              .check = name_is_commit,
        .must = "a commit: 40 hex digits"),
    F_INT(struct table_release,    weight,    FIELD_OMIT_EMPTY, 0, WEIGHT_MAX, .fallback = -1),
    F_LIST(struct table_release,   ranges,    0, &range_schema, .max = RANGES_MAX),
    F_LIST(struct table_release,   endpoints, 0, &endpoint_schema, .max = TABLE_ENDPOINTS_MAX),
};
static const struct schema release_schema = SCHEMA("release", struct table_release, release_fields, true);

static const struct field service_fields[] = {
    F_STRING(struct table_service, name,       FIELD_REQUIRED, .check = name_is_service,
        .must = table_service_must),
    F_BOOL(struct table_service,   pin_header, FIELD_OMIT_EMPTY, .fallback = true),
    F_BOOL(struct table_service,   pin_cookie, FIELD_OMIT_EMPTY, .fallback = true),
    F_BOOL(struct table_service,   pin_host,   FIELD_OMIT_EMPTY, .fallback = true),
    F_BOOL(struct table_service,   paused,     FIELD_OMIT_EMPTY),
    F_STRUCT(struct table_service, health,     FIELD_OMIT_EMPTY, &table_health_schema),
    F_STRUCT(struct table_service, limits,     FIELD_OMIT_EMPTY, &table_limits_schema),
    F_LIST(struct table_service,   releases,   0, &release_schema, .max = RELEASES_MAX),
};
const struct schema table_service_schema = SCHEMA("service", struct table_service, service_fields, true);

static const struct field table_fields[] = {
    F_INT(struct table,    format,   FIELD_REQUIRED, 1, TABLE_FORMAT),
    F_STRING(struct table, fleet,    0, .max = 64),
    F_INT(struct table,    epoch,    FIELD_OMIT_EMPTY, 0, 0),
    F_LIST(struct table,   routes,   0, &table_route_schema, .max = TABLE_ROUTES_MAX),
    F_LIST(struct table,   services, 0, &table_service_schema, .max = TABLE_ROUTES_MAX),
};
/* clang-format on */

const struct schema table_schema = SCHEMA("table", struct table, table_fields, true);

/* --- what the parts mean together ------------------------------------------------------------------------ */

struct owned_range {
    int64_t first, last;
    const char *version;
};

static int compare_ranges(const void *a, const void *b)
{
    const struct owned_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* Ranges of all releases of a service, sorted; the caller frees. */
static struct owned_range *collect_ranges(const struct table_service *service, size_t *ret_n)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_releases; i++)
        n += service->releases[i].n_ranges;
    struct owned_range *ranges = xcalloc(n, sizeof(*ranges));
    *ret_n = 0;
    for (size_t i = 0; i < service->n_releases; i++) {
        const struct table_release *release = &service->releases[i];
        for (size_t j = 0; j < release->n_ranges; j++)
            ranges[(*ret_n)++] =
                (struct owned_range){ release->ranges[j].first, release->ranges[j].last, release->version };
    }
    qsort(ranges, n, sizeof(*ranges), compare_ranges);
    return ranges;
}

/* Together they are nothing, or each assignment exactly once. */
static int check_ranges(const struct table_service *service, struct error *err)
{
    int64_t next = 0;
    size_t n;
    struct owned_range *ranges _cleanup_(free_ptr) = collect_ranges(service, &n);

    for (size_t i = 0; i < n; i++) {
        const struct owned_range *range = &ranges[i];
        if (range->last < range->first)
            return error_set(err, -EINVAL,
                "table: a range of %s@%s ends before it begins (%" PRId64 " to %" PRId64 ")", service->name,
                range->version, range->first, range->last);
        if (range->first < next)
            return error_set(err, -EINVAL, "table: ranges of %s@%s and %s@%s overlap (both have %" PRId64 ")",
                service->name, ranges[i - 1].version, service->name, range->version, range->first);
        if (range->first > next)
            return error_set(err, -EINVAL,
                "table: no release of %s has the assignments from %" PRId64 " to %" PRId64, service->name,
                next, range->first - 1);
        next = range->last + 1;
    }
    if (n > 0 && next != ASSIGNMENTS)
        return error_set(err, -EINVAL, "table: no release of %s has the assignments from %" PRId64 " on",
            service->name, next);
    return 0;
}

static bool has_weight(const struct table_service *service)
{
    for (size_t i = 0; i < service->n_releases; i++)
        if (service->releases[i].weight >= 0)
            return true;
    return false;
}

static bool has_ranges(const struct table_service *service)
{
    for (size_t i = 0; i < service->n_releases; i++)
        if (service->releases[i].n_ranges > 0)
            return true;
    return false;
}

static int check_shares(const struct table *table, struct table_service *service, struct error *err)
{
    if (has_weight(service) && has_ranges(service))
        return error_set(err, -EINVAL, "table: %s has both weights and ranges", service->name);
    if (has_ranges(service))
        return check_ranges(service, err);
    /* Who writes a table by hand and names one release means it to serve; the hub's one release without
     * ranges is one that shall get no traffic. */
    if (!table->fleet && !has_weight(service) && service->n_releases == 1)
        service->releases[0].weight = 1;
    table_ranges_from_weights(service);
    return 0;
}

/* The same id twice must be the same place: counters and health are kept by id. */
static int check_endpoints(struct table_service *service, struct table_release *release, struct map *all,
    size_t *n_endpoints, struct error *err)
{
    struct map *own = map_new(NULL);
    int result = 0;

    for (size_t i = 0; i < release->n_endpoints && result == 0; i++) {
        struct table_endpoint *endpoint = &release->endpoints[i];
        if (!endpoint->id)
            str_set(&endpoint->id, endpoint->address);
        const char *address = map_get(all, endpoint->id);
        if (map_get(own, endpoint->id))
            result = error_set(err, -EINVAL, "table: %s@%s has the endpoint %s twice", service->name,
                release->version, endpoint->id);
        else if (address && strcmp(address, endpoint->address) != 0)
            result = error_set(err, -EINVAL, "table: the endpoint %s has two addresses, %s and %s",
                endpoint->id, address, endpoint->address);
        else if (++*n_endpoints > TABLE_ENDPOINTS_MAX)
            result = error_set(err, -EINVAL, "table: more than %d endpoints", TABLE_ENDPOINTS_MAX);
        map_set(own, endpoint->id, endpoint);
        map_set(all, endpoint->id, endpoint->address);
    }
    map_free(own);
    return result;
}

static int check_health(const struct table_service *service, struct error *err)
{
    const struct table_health *health = &service->health;
    struct table_health unsaid = { 0 };

    schema_set_fallbacks(&table_health_schema, &unsaid);
    if (!health->path && !schema_equal(&table_health_schema, health, &unsaid))
        return error_set(err, -EINVAL, "table: the health of %s has no path to probe", service->name);
    if (health->status_min > health->status_max)
        return error_set(err, -EINVAL,
            "table: the health of %s takes no status at all (%" PRId64 " to %" PRId64 ")", service->name,
            health->status_min, health->status_max);
    return 0;
}

static int check_service(const struct table *table, struct table_service *service, struct map *endpoints,
    size_t *n, struct error *err)
{
    struct map *versions = map_new(NULL);
    int result = 0;

    for (size_t i = 0; i < service->n_releases && result == 0; i++) {
        struct table_release *release = &service->releases[i];
        if (map_get(versions, release->version))
            result = error_set(err, -EINVAL, "table: %s@%s is there twice", service->name, release->version);
        map_set(versions, release->version, release);
        if (result == 0)
            result = check_endpoints(service, release, endpoints, n, err);
    }
    map_free(versions);
    if (result == 0)
        result = check_health(service, err);
    return result < 0 ? result : check_shares(table, service, err);
}

/* Where it is: the list and the row in it. */
struct mistake {
    const char *list;
    size_t row;
};

static int check_services(
    struct table *table, struct map *services, struct mistake *ret_mistake, struct error *err)
{
    struct map *endpoints = map_new(NULL);
    size_t n_endpoints = 0;
    int result = 0;

    for (size_t i = 0; i < table->n_services && result == 0; i++) {
        struct table_service *service = &table->services[i];
        *ret_mistake = (struct mistake){ "services", i };
        if (map_get(services, service->name))
            result = error_set(err, -EINVAL, "table: the service %s is there twice", service->name);
        map_set(services, service->name, service);
        if (result == 0)
            result = check_service(table, service, endpoints, &n_endpoints, err);
    }
    map_free(endpoints);
    return result;
}

int table_check_services(struct table *part, struct error *err)
{
    struct map *services = map_new(NULL);
    struct mistake mistake = { "services", 0 };
    int result = check_services(part, services, &mistake, err);

    map_free(services);
    return result;
}

static int check_routes(
    struct table *table, const struct map *services, struct mistake *ret_mistake, struct error *err)
{
    struct map *known = map_new(NULL);
    int result = 0;

    for (size_t i = 0; i < table->n_routes && result == 0; i++) {
        struct table_route *route = &table->routes[i];
        *ret_mistake = (struct mistake){ "routes", i };
        char *key _cleanup_(free_ptr) = table_route_key(route);
        result = table_route_check(route, key, err);
        if (result < 0)
            error_prefix(err, "table");
        if (result == 0 && route->service && !map_get(services, route->service))
            result = error_set(err, -EINVAL,
                "table: the route %s leads to the service %s, which is not there", key, route->service);
        else if (result == 0 && map_get(known, key))
            result = error_set(err, -EINVAL, "table: the route %s is there twice", key);
        map_set(known, key, route);
    }
    map_free(known);
    return result;
}

/* The text is parsed once more: only a table with a mistake costs that. */
static int line_of(const char *text, size_t len, const struct mistake *mistake)
{
    struct json *root _cleanup_(json_freep) = json_parse(text, len, NULL, NULL);
    const struct json *row = json_first(json_get(root, mistake->list));

    for (size_t i = 0; i < mistake->row; i++)
        row = json_next(row);
    return json_line(row);
}

int table_read(const char *text, size_t len, struct table *ret, struct error *err)
{
    int line = 1, result = schema_read_at(&table_schema, text, len, ret, &line, err);

    if (result < 0) {
        error_prefix(err, "line %d", line);
        return result;
    }
    struct map *services = map_new(NULL);
    struct mistake mistake = { "services", 0 };
    result = check_services(ret, services, &mistake, err);
    if (result == 0)
        result = check_routes(ret, services, &mistake, err);
    map_free(services);
    if (result < 0) {
        error_prefix(err, "line %d", line_of(text, len, &mistake));
        table_clear(ret);
    }
    return result;
}

void table_print(const struct table *table, struct strbuf *out)
{
    schema_print_pretty(&table_schema, table, out);
}

bool table_needs_2(const struct table *table)
{
    struct table_service unsaid = { .paused = false };

    table_service_init(&unsaid);
    for (size_t i = 0; i < table->n_routes; i++)
        if (table_route_has_rules(&table->routes[i]))
            return true;
    for (size_t i = 0; i < table->n_services; i++) {
        const struct table_service *s = &table->services[i];
        if (s->paused || !schema_equal(&table_health_schema, &s->health, &unsaid.health) ||
            !schema_equal(&table_limits_schema, &s->limits, &unsaid.limits))
            return true;
    }
    return false;
}

void table_service_init(struct table_service *service)
{
    schema_set_fallbacks(&table_service_schema, service);
}

void table_clear(struct table *table)
{
    schema_clear(&table_schema, table);
}

/* --- weights --------------------------------------------------------------------------------------------- */

struct share {
    int64_t width, remainder;
    size_t index;
};

static int compare_remainders(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    if (x->remainder != y->remainder)
        return x->remainder < y->remainder ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static int compare_indexes(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

/* Widths by largest remainder, so that they add up to all assignments exactly. */
static void divide(const struct table_service *service, int64_t total, struct share *shares)
{
    int64_t left = ASSIGNMENTS;

    for (size_t i = 0; i < service->n_releases; i++) {
        int64_t weight = service->releases[i].weight > 0 ? service->releases[i].weight : 0;
        shares[i] = (struct share){
            .width = ASSIGNMENTS * weight / total, .remainder = ASSIGNMENTS * weight % total, .index = i
        };
        left -= shares[i].width;
    }
    qsort(shares, service->n_releases, sizeof(*shares), compare_remainders);
    for (size_t i = 0; left > 0; i++, left--)
        shares[i].width++;
    qsort(shares, service->n_releases, sizeof(*shares), compare_indexes);
}

void table_ranges_from_weights(struct table_service *service)
{
    int64_t total = 0, next = 0;
    bool rests = service->n_releases == 1 && service->releases[0].weight == 0;

    for (size_t i = 0; i < service->n_releases; i++)
        total += service->releases[i].weight > 0 ? service->releases[i].weight : 0;
    struct share *shares _cleanup_(free_ptr) = xcalloc(service->n_releases, sizeof(*shares));
    if (total > 0)
        divide(service, total, shares);
    for (size_t i = 0; i < service->n_releases; i++) {
        struct table_release *release = &service->releases[i];
        free(release->ranges);
        release->ranges = NULL;
        release->n_ranges = 0;
        release->weight = -1;
        if (shares[i].width == 0)
            continue;
        release->ranges = xcalloc(1, sizeof(*release->ranges));
        release->n_ranges = 1;
        release->ranges[0] = (struct table_range){ .first = next, .last = next + shares[i].width - 1 };
        next += shares[i].width;
    }
    /* The only release, and it is not to serve: without a word it would, when a table by hand is read again. */
    if (rests)
        service->releases[0].weight = 0;
}
