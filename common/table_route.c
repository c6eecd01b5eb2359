/* SPDX-License-Identifier: MIT */
#include "common/table_route.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "common/http1.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/network.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "common/table_service.h"

#define BIT(kind) (1U << VALUE_##kind)

/* --- the shape ------------------------------------------------------------------------------------------- */

static bool is_route_host(const char *s)
{
    return strcmp(s, "*") == 0 || name_is_dns(s);
}

static bool is_field_name(const char *s)
{
    return http1_is_token(s, strlen(s));
}

static bool is_field_value(const char *s)
{
    return http1_is_field_value(s, strlen(s));
}

bool table_is_method(const char *s)
{
    for (const char *c = s; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            return false; /* "get" is another method, which nobody sends */
    return strlen(s) <= HTTP1_METHOD_MAX && http1_is_token(s, strlen(s)) && strcmp(s, "CONNECT") != 0 &&
        strcmp(s, "TRACE") != 0;
}

/* "404", "5xx" */
static bool is_error_status(const char *s)
{
    return strlen(s) == 3 && (s[0] == '4' || s[0] == '5') &&
        (strcmp(s + 1, "xx") == 0 || (isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2])));
}

static const char path_must[] = "a path that begins with \"/\", without \"..\" and escapes";
static const char name_must[] = "the name of a field";
static const char redirect_status_must[] = "301, 302, 303, 307 or 308";

/* clang-format off */
static const struct field field_fields[] = {
    F_STRING(struct table_field, set,    0, .check = is_field_name,  .must = name_must),
    F_STRING(struct table_field, add,    0, .check = is_field_name,  .must = name_must),
    F_STRING(struct table_field, remove, 0, .check = is_field_name,  .must = name_must),
    F_STRING(struct table_field, value,  0, .check = is_field_value, .must = "what a field may hold",
        .max = TABLE_VALUE_MAX),
};
const struct schema table_field_schema = SCHEMA("field", struct table_field, field_fields, true);

static const struct field redirect_fields[] = {
    F_STRING(struct table_redirect, to,     FIELD_REQUIRED,   .check = is_field_value, .must = "an address",
        .max = TABLE_VALUE_MAX),
    F_INT(struct table_redirect,    status, FIELD_OMIT_EMPTY, 301, 308, .fallback = 308,
        .must = redirect_status_must),
};
static const struct schema redirect_schema =
    SCHEMA("redirect", struct table_redirect, redirect_fields, true);

static const struct field hsts_fields[] = {
    F_INT(struct table_hsts,  max_age,            FIELD_OMIT_EMPTY, 0, TABLE_HSTS_MAX_AGE_MAX,
        .fallback = -1),
    F_BOOL(struct table_hsts, include_subdomains, FIELD_OMIT_EMPTY),
    F_BOOL(struct table_hsts, preload,            FIELD_OMIT_EMPTY),
};
const struct schema table_hsts_schema = SCHEMA("hsts", struct table_hsts, hsts_fields, true);

static const struct field route_fields[] = {
    F_STRING(struct table_route, host,    FIELD_REQUIRED, .check = is_route_host,
        .must = "a host name in lower case without a port, *.name or *"),
    F_STRING(struct table_route, path,    0, .check = name_is_path_prefix, .must = path_must),
    F_STRING(struct table_route, service, 0, .check = name_is_service, .must = table_service_must),
    F_BOOL(struct table_route,   https,           FIELD_OMIT_EMPTY),
    F_STRUCT(struct table_route, redirect,        FIELD_OMIT_EMPTY, &redirect_schema),
    F_STRUCT(struct table_route, hsts,            FIELD_OMIT_EMPTY, &table_hsts_schema),
    F_LIST(struct table_route,   request_headers, 0, &table_field_schema, .max = TABLE_RULES_MAX),
    F_LIST(struct table_route,   answer_headers,  0, &table_field_schema, .max = TABLE_RULES_MAX),
    F_BOOL(struct table_route,   strip_prefix,    FIELD_OMIT_EMPTY),
    F_STRING(struct table_route, rewrite_prefix,  0, .check = name_is_path_prefix, .must = path_must),
    F_INT(struct table_route,    body_size,       FIELD_OMIT_EMPTY, 0, 0, .fallback = -1),
    F_INT(struct table_route,    timeout_ms,      FIELD_OMIT_EMPTY, 0, 86400000),
    F_STRV(struct table_route,   methods,         FIELD_NOT_EMPTY, .check = table_is_method,
        .must = "a method in capitals other than CONNECT and TRACE", .max = TABLE_RULES_MAX),
    F_STRV(struct table_route,   allow,           FIELD_NOT_EMPTY, .check = network_is,
        .must = "a network such as 10.0.0.0/8", .max = TABLE_RULES_MAX),
    F_PAIRS(struct table_route,  error_pages,     0, .check = name_is_path_prefix,
        .must = "the absolute path of a file (\"/…\"), without \"..\" and blanks", .check_key = is_error_status,
        .must_key = "an error status (\"404\", \"503\") or a class of them (\"4xx\", \"5xx\")",
        .max = TABLE_RULES_MAX),
    F_STRING(struct table_route, files,           0, .check = name_is_path_prefix,
        .must = "the absolute path of a folder (\"/…\"), without \"..\" and blanks"),
};
/* clang-format on */

const struct schema table_route_schema = SCHEMA("route", struct table_route, route_fields, true);

/* --- rows ------------------------------------------------------------------------------------------------ */

void table_route_init(struct table_route *route)
{
    schema_set_fallbacks(&table_route_schema, route);
}

char *table_route_key(const struct table_route *route)
{
    const char *path = route->path ? route->path : "/";
    size_t len = strlen(path);

    if (len > 0 && path[len - 1] == '/')
        len--;
    return xasprintf("%s%.*s", route->host, (int)len, path);
}

void table_routes_copy(const struct table_route *routes, size_t n, struct table_route **ret, size_t *ret_n)
{
    for (size_t i = 0; i < *ret_n; i++)
        schema_clear(&table_route_schema, &(*ret)[i]);
    free(*ret);
    *ret_n = n;
    *ret = n > 0 ? xcalloc(n, sizeof(**ret)) : NULL;
    for (size_t i = 0; i < n; i++)
        schema_copy(&table_route_schema, &routes[i], &(*ret)[i]);
}

/* --- values ---------------------------------------------------------------------------------------------- */

const char *const table_value_names[VALUE_MAX_] = {
    [VALUE_TEXT] = NULL,
    [VALUE_CLIENT] = "client",
    [VALUE_HOST] = "host",
    [VALUE_PATH] = "path",
    [VALUE_QUERY] = "query",
    [VALUE_REQUEST_ID] = "request_id",
    [VALUE_SCHEME] = "scheme",
    [VALUE_SERVICE] = "service",
    [VALUE_URI] = "uri",
    [VALUE_VERSION] = "version",
};

static size_t word_length(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyz_");
}

bool table_value_next(const char **at, enum table_value *ret_kind, const char **ret, size_t *ret_len)
{
    const char *s = *at;

    if (*s == '\0')
        return false;
    *ret_kind = VALUE_TEXT;
    *ret = s;
    *ret_len = s[0] == '$' && s[1] == '$' ? 1 : strcspn(s, "$");
    if (*ret_len > 0) {
        *at = s + *ret_len + (s[0] == '$');
        return true;
    }
    size_t len = word_length(s + 1);
    for (int kind = VALUE_TEXT + 1; kind < VALUE_MAX_; kind++)
        if (strlen(table_value_names[kind]) == len && memcmp(table_value_names[kind], s + 1, len) == 0) {
            *ret_kind = (enum table_value)kind;
            *at = s + 1 + len;
            return true;
        }
    return false;
}

static const unsigned request_values =
    BIT(CLIENT) | BIT(HOST) | BIT(SCHEME) | BIT(REQUEST_ID) | BIT(SERVICE) | BIT(VERSION);
static const unsigned answer_values = BIT(SERVICE) | BIT(VERSION);
static const unsigned redirect_values = BIT(HOST) | BIT(SCHEME) | BIT(PATH) | BIT(QUERY) | BIT(URI);

/* Every placeholder is one of `known`. */
static int check_value(
    const char *where, const char *key, const char *value, unsigned known, struct error *err)
{
    enum table_value kind;
    const char *text, *at = value;
    size_t len;

    while (table_value_next(&at, &kind, &text, &len))
        if (kind != VALUE_TEXT && !(known & 1U << kind))
            return error_set(err, -EINVAL, "%s: %s can't hold $%s", where, key, table_value_names[kind]);
    if (*at)
        return error_set(err, -EINVAL,
            "%s: %s: \"$%.*s\" is no placeholder (a dollar itself is written \"$$\")", where, key,
            (int)word_length(at + 1), at + 1);
    return 0;
}

/* --- what the keys mean together ------------------------------------------------------------------------- */

/* Fields that frame, route or end at this hop, and those that the router writes itself. */
static const char *const never[] = { "Connection", "Content-Length", "Expect", "Host", "HTTP2-Settings",
    "Keep-Alive", "Proxy", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
    "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", NULL };
static const char *const not_in_requests[] = { "Forwarded", "Max-Forwards", "Via", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Real-IP",
    "X-Request-Id", "traceparent", NULL };

/* '_' for '-' is the same name to many a reader. */
static bool is_named(const char *const *names, const char *name)
{
    size_t len = strlen(name);

    for (; *names; names++)
        if (strlen(*names) == len && http1_is_alike(*names, name, len))
            return true;
    return false;
}

static int check_field(
    const struct table_field *field, const char *where, const char *key, bool request, struct error *err)
{
    int n = (field->set != NULL) + (field->add != NULL) + (field->remove != NULL);
    const char *name = field->set ? field->set : field->add ? field->add : field->remove;

    if (n != 1)
        return error_set(err, -EINVAL, "%s: each of %s must have one of set, add and remove", where, key);
    if (is_named(never, name) || (request && is_named(not_in_requests, name)))
        return error_set(err, -EINVAL, "%s: %s: the field %s is the router's own", where, key, name);
    if (field->remove && field->value)
        return error_set(err, -EINVAL, "%s: %s: a field that is removed (%s) has no value", where, key, name);
    if (!field->remove && !field->value)
        return error_set(err, -EINVAL, "%s: %s: the field %s has no value", where, key, name);
    return field->value
        ? check_value(where, name, field->value, request ? request_values : answer_values, err)
        : 0;
}

static int check_fields(const struct table_field *fields, size_t n, const char *where, const char *key,
    bool request, struct error *err)
{
    int result = 0;
    size_t bytes = 0;

    for (size_t i = 0; i < n && result == 0; i++) {
        const struct table_field *f = &fields[i];
        result = check_field(f, where, key, request, err);
        if (f->value)
            bytes += strlen(f->set ? f->set : f->add ? f->add : "") + strlen(f->value) + strlen(": \r\n");
    }
    if (result == 0 && bytes > TABLE_FIELDS_BYTES_MAX)
        return error_set(err, -EINVAL, "%s: %s makes %zu bytes of fields, %d at most", where, key, bytes,
            TABLE_FIELDS_BYTES_MAX);
    return result;
}

/* "https://example.com$uri", "/elsewhere": that a client can't turn it into another host, something of the table's own
 * stands behind the "/" or "//". */
static bool is_address(const char *to)
{
    const char *rest = strncmp(to, "https://", 8) == 0 ? to + 8
        : strncmp(to, "http://", 7) == 0               ? to + 7
        : *to == '/'                                   ? to + 1
                                                       : NULL;

    if (!rest || strpbrk(to, " \t\"<>\\^`{|}"))
        return false;
    for (const char *s = to; *s; s++)
        if ((unsigned char)*s > 0x7e)
            return false;
    if (*to == '/')
        return *rest == '\0' || (*rest != '/' && *rest != '$');
    return isalnum((unsigned char)*rest) || *rest == '[' ||
        (strncmp(rest, "$host", 5) == 0 && (rest[5] == '\0' || strchr("/:$?", rest[5])));
}

static int check_redirect(const struct table_route *route, const char *where, struct error *err)
{
    const struct table_redirect *redirect = &route->redirect;

    if (!redirect->to)
        return 0;
    if (redirect->status > 303 && redirect->status < 307)
        return error_set(err, -EINVAL, "%s: redirect.status must be %s, not %" PRId64, where,
            redirect_status_must, redirect->status);
    if (!is_address(redirect->to)) {
        struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;
        strbuf_add_printable(&shown, redirect->to, strlen(redirect->to), 60);
        return error_set(err, -EINVAL,
            "%s: redirect.to must be https://HOST…, http://HOST… or /PATH, not \"%s\"", where,
            strbuf_str(&shown));
    }
    return check_value(where, "redirect.to", redirect->to, redirect_values, err);
}

/* One of service, redirect and files. */
static int check_end(const struct table_route *route, const char *where, struct error *err)
{
    int n = (route->service != NULL) + (route->redirect.to != NULL) + (route->files != NULL);

    if (n == 1 || (n == 0 && route->https))
        return 0;
    return error_set(err, -EINVAL, "%s: a route leads to one of service, redirect and files, not to %s",
        where, n == 0 ? "none" : "several");
}

static bool has_path(const struct table_route *route)
{
    return route->path && strcmp(route->path, "/") != 0;
}

int table_route_check(const struct table_route *route, const char *where, struct error *err)
{
    if (!table_route_has_rules(route) && route->service)
        return 0;
    if (route->strip_prefix && route->rewrite_prefix)
        return error_set(err, -EINVAL, "%s: strip_prefix and rewrite_prefix exclude each other", where);
    if (route->strip_prefix && !has_path(route))
        return error_set(err, -EINVAL, "%s: strip_prefix, but there is no path to strip", where);
    if (route->hsts.max_age < 0 && (route->hsts.include_subdomains || route->hsts.preload))
        return error_set(err, -EINVAL, "%s: hsts has no max_age", where);
    int result = check_end(route, where, err);
    if (result == 0)
        result = check_redirect(route, where, err);
    if (result == 0)
        result = check_fields(
            route->request_headers, route->n_request_headers, where, "request_headers", true, err);
    if (result == 0)
        result =
            check_fields(route->answer_headers, route->n_answer_headers, where, "answer_headers", false, err);
    return result;
}

bool table_route_has_rules(const struct table_route *r)
{
    return r->https || r->redirect.to || r->redirect.status != 308 || r->hsts.max_age >= 0 ||
        r->hsts.include_subdomains || r->hsts.preload || r->n_request_headers > 0 ||
        r->n_answer_headers > 0 || r->strip_prefix || r->rewrite_prefix || r->body_size >= 0 ||
        r->timeout_ms > 0 || strv_len(r->methods) > 0 || strv_len(r->allow) > 0 ||
        strv_len(r->error_pages) > 0 || r->files;
}
