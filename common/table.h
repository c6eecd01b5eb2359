/* SPDX-License-Identifier: MIT */
#pragma once

/* The routing table as data: what the hub writes, what lies on a router's disk, what routing-table(5)
 * describes. Strict: an unknown key refuses the whole table, by name. Holds no compiled form (routerd/match.h)
 * and no counters. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "common/table_route.h"
#include "common/table_service.h"

struct schema;

#define TABLE_FORMAT        1
#define TABLE_ROUTES_MAX    100000
#define TABLE_ENDPOINTS_MAX 100000

/* Assignments first…last (of 2^32) belong to the release. */
struct table_range {
    int64_t first, last;
};

struct table_endpoint {
    char *id;      /* of the instance; in hand-written tables any [a-z0-9-]{1,64}, NULL: the address */
    char *address; /* "10.0.0.11:20117", "[::1]:80" or "unix:/run/app.sock" */
    bool draining; /* gets no new request */
    int64_t max_in_flight; /* 0: no limit */
};

struct table_release {
    char *version;
    char *commit;               /* may be NULL in hand-written tables */
    int64_t weight;             /* hand-written form: ranges are made in declared order. -1: absent */
    struct table_range *ranges; /* the hub's form; always there after table_read where traffic is meant */
    size_t n_ranges;
    struct table_endpoint *endpoints;
    size_t n_endpoints;
};

struct table_service {
    char *name;
    bool pin_header, pin_cookie, pin_host; /* may a request choose its version so; default true */
    bool paused;                           /* requests wait, as in a full queue */
    struct table_health health;
    struct table_limits limits;
    struct table_release *releases;
    size_t n_releases;
    struct table_sum sum;
};

struct table {
    int64_t format;
    char *fleet; /* NULL in hand-written tables */
    int64_t epoch;
    struct table_route *routes;
    size_t n_routes;
    struct table_service *services;
    size_t n_services;
    struct table_sum sum; /* of all rows; table_diff.h */
};

extern const struct schema table_schema, table_service_schema;

/* Reads and validates: names, addresses, services that exist, no two equal routes, ranges that neither overlap
 * nor leave gaps where traffic is meant, weights turned into ranges. On failure *ret is empty. */
_must_check_ int table_read(const char *text, size_t len, struct table *ret, struct error *err);
/* What table_read says of services, for some of them. */
_must_check_ int table_check_services(struct table *part, struct error *err);
void table_print(const struct table *table, struct strbuf *out);
void table_clear(struct table *table);

/* Does it say more than routers of the first version understand: rules of routes, health and limits of services? */
bool table_needs_2(const struct table *table);
/* A service (zeroed) as if nothing was said of it. */
void table_service_init(struct table_service *service);

/* Ranges in declared order for whole weights, in place of the ranges there; the last one with a weight ends at
 * 2^32 - 1. The weights become -1: what they said is in the ranges. */
void table_ranges_from_weights(struct table_service *service);
