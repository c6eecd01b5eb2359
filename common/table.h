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

struct schema;

#define TABLE_FORMAT        1
#define TABLE_ROUTES_MAX    100000
#define TABLE_ENDPOINTS_MAX 100000

struct table_route {
    char *host; /* "www.example.com", "*.example.com", or "*" for any host */
    char *path; /* prefix by whole segments; "/" or NULL: all */
    char *service;
};

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
    struct table_release *releases;
    size_t n_releases;
};

struct table {
    int64_t format;
    char *fleet; /* NULL in hand-written tables */
    int64_t epoch;
    struct table_route *routes;
    size_t n_routes;
    struct table_service *services;
    size_t n_services;
};

extern const struct schema table_schema;

/* Reads and validates: names, addresses, services that exist, no two equal routes, ranges that neither overlap
 * nor leave gaps where traffic is meant, weights turned into ranges. On failure *ret is empty. */
_must_check_ int table_read(const char *text, size_t len, struct table *ret, struct error *err);
void table_print(const struct table *table, struct strbuf *out);
void table_clear(struct table *table);

/* Ranges in declared order for whole weights, in place of the ranges there; the last one with a weight ends at
 * 2^32 - 1. The weights become -1: what they said is in the ranges. */
void table_ranges_from_weights(struct table_service *service);
