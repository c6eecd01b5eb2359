/* SPDX-License-Identifier: MIT */
#pragma once

/* A route of the routing table: host and path, where they lead, and the rules for what goes through: fields of heads,
 * prefixes, redirects, limits. A route without rules costs nothing. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct schema;

#define TABLE_RULES_MAX        64                 /* of one list of a route */
#define TABLE_VALUE_MAX        4096               /* bytes of a field's value or of a redirect's target */
#define TABLE_FIELDS_BYTES_MAX 16384              /* of all fields that one list makes */
#define TABLE_HSTS_MAX_AGE_MAX INT64_C(315360000) /* ten years */

/* What a row says, as a number: equal ones say the same. Zero until table_sum_rows(); not written out. */
struct table_sum {
    uint64_t words[2];
};

static inline bool table_sum_is_empty(const struct table_sum *sum)
{
    return (sum->words[0] | sum->words[1]) == 0;
}

static inline bool table_sum_is_equal(const struct table_sum *a, const struct table_sum *b)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1];
}

/* A field of a head; one of the three holds its name. */
struct table_field {
    char *set;    /* in place of all that have the name */
    char *add;    /* beside them */
    char *remove; /* all of them */
    char *value;  /* may hold placeholders */
};

struct table_redirect {
    char *to; /* NULL: none. Placeholders; "https://…", "http://…" or "/…" */
    int64_t status;
};

struct table_hsts {
    int64_t max_age; /* seconds; -1: not said */
    bool include_subdomains, preload;
};

struct table_route {
    char *host;    /* "www.example.com", "*.example.com", or "*" for any host */
    char *path;    /* prefix by whole segments; "/" or NULL: all */
    char *service; /* NULL: the rules answer (redirect, files) */
    /* rules */
    bool https; /* plain requests are sent to https:// */
    struct table_redirect redirect;
    struct table_hsts hsts;
    struct table_field *request_headers, *answer_headers;
    size_t n_request_headers, n_answer_headers;
    bool strip_prefix;
    char *rewrite_prefix;
    int64_t body_size;  /* bytes; 0: any; -1: as the router is set */
    int64_t timeout_ms; /* to the first byte of the answer; 0: as the router is set */
    char **methods;     /* none: all */
    char **allow;       /* networks; none: all */
    char **error_pages; /* pairs "502=FILE", "5xx=FILE" */
    char *files;        /* folder to which the path is added */
    struct table_sum sum;
};

extern const struct schema table_route_schema, table_hsts_schema, table_field_schema;

/* A row (zeroed) as if nothing was said of it. */
void table_route_init(struct table_route *route);
/* "www.example.com/shop": what tells routes apart; "/shop" and "/shop/" take the same requests. Caller frees. */
char *table_route_key(const struct table_route *route);
/* In place of what *ret holds. */
void table_routes_copy(const struct table_route *routes, size_t n, struct table_route **ret, size_t *ret_n);
bool table_is_method(const char *s);

/* What its keys mean together. `where` (the route's key) for messages. */
_must_check_ int table_route_check(const struct table_route *route, const char *where, struct error *err);
/* Anything beside host, path and service. */
bool table_route_has_rules(const struct table_route *route);

/* --- values with placeholders -------------------------------------------------------------------------------- */

enum table_value {
    VALUE_TEXT,
    VALUE_CLIENT,     /* the peer's address */
    VALUE_HOST,       /* of the request, without port */
    VALUE_PATH,       /* as it goes on */
    VALUE_QUERY,      /* with "?"; or nothing */
    VALUE_REQUEST_ID, /* or nothing */
    VALUE_SCHEME,     /* http or https */
    VALUE_SERVICE,
    VALUE_URI, /* path and query */
    VALUE_VERSION,
    VALUE_MAX_
};
extern const char *const table_value_names[VALUE_MAX_]; /* without "$" */

/* The next part at *at; "$$" is a dollar. For VALUE_TEXT *ret and *ret_len are its text. False at the end, and with
 * *at not at the end where no known placeholder follows a "$". */
bool table_value_next(const char **at, enum table_value *ret_kind, const char **ret, size_t *ret_len);
