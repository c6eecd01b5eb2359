/* SPDX-License-Identifier: MIT */
#pragma once

/* The routing table compiled for lookup: host and path → service → release → endpoint slots. Immutable once
 * built; shared by all workers, each of which holds one reference; nothing in it is locked. Cost of a lookup
 * does not grow with the number of routes, services, releases or endpoints.
 *
 * Services and rules that did not change are shared with the table before: a small change costs little. They are
 * counted, on the main thread alone, which builds and frees.
 *
 * Run-time state of endpoints is elsewhere (endpoint.h): here they are slot numbers, which the builder's caller
 * hands out. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/http1.h"
#include "common/table.h"

struct match_policy; /* what a service says of its endpoints (match_policy.h) */
struct match_rules;  /* what else a route says (rules.h) */
struct match_slots;  /* endpoints that take new requests (match_policy.h) */

#define MATCH_SEGMENTS_MAX 32 /* of a route's path */
#define MATCH_HOST_MAX     255
#define MATCH_NONE         UINT32_MAX

struct match_release {
    const char *version;
    const char *commit; /* NULL if the table gives none */
    const char *name;   /* "web@0.2.2", for logs and answers */
    struct match_slots *slots;
};

/* Positions up to and including `last` that no earlier row took. */
struct match_range {
    uint32_t last;
    uint32_t release; /* index, or MATCH_NONE for a gap */
};

struct match_service {
    const char *name;
    const struct match_release *releases;
    const struct match_range *ranges;
    uint32_t n_releases;
    uint32_t n_ranges;
    uint32_t n_live; /* releases that have a range */
    uint32_t only;   /* the one, if n_live is 1; else MATCH_NONE */
    bool pin_header, pin_cookie, pin_host;
    bool paused;
    const struct match_policy *policy;
    const uint32_t *by_version; /* releases, sorted */
    const uint32_t *by_commit;  /* those that have a commit, sorted by it */
    uint32_t n_by_commit;
    /* Slots that are named, draining ones too. */
    uint32_t n_slots;
    const uint32_t *slots;
    const bool *slot_draining;
};

struct match_table {
    int64_t epoch;
    int64_t serial; /* of this process: what workers acknowledge */
    const struct match_service **services;
    uint32_t n_services;
    uint32_t n_routes;
    const struct match_service **fresh; /* services that the table before does not share */
    uint32_t n_fresh;
    struct table_sum routes_sum; /* of its rows; zero where one has none */
    _Atomic int refs;
    struct match_table *next_retired; /* routerd.c's list of those to be freed */
    struct match_index *index;        /* match.c's own */
    struct match_memory *memory;      /* everything above is in it, but the services */
};

/* Slots of endpoints: `claim` is called once for each that a fresh service names. MATCH_NONE: no room. */
struct match_slot_ops {
    uint32_t (*claim)(void *arg, const char *release, const struct table_service *service,
        const struct table_endpoint *endpoint);
    void *arg;
};

/* `table` is a valid one (table_read). Rows whose sum (table_sum_rows) is that of a row of `before` (may be NULL) share
 * what was compiled of it. The result has one reference. */
_must_check_ int match_build(const struct table *table, const struct match_table *before,
    const struct match_slot_ops *slots, struct match_table **ret, struct error *err);
void match_ref(struct match_table *table);
/* True if that was the last one: the caller then frees it, on the main thread. */
bool match_unref(struct match_table *table);
void match_free(struct match_table *table); /* NULL is fine */

struct match_route {
    const struct match_service *service; /* NULL: no such host, no route for that path, or its rules answer */
    const struct match_release *release; /* the host names a version: it; NULL otherwise */
    const struct match_rules *rules;     /* of the route; NULL: none */
    bool pinned_by_host;                 /* with release NULL: the host names a version that is not there */
};

/* Exact host, then version host ("0-2-2.web.…", "g35819ef.web.…"), then wildcards from the longest, then "*";
 * in the first of them that has a route for the path, the longest path by whole segments. host: without port, in
 * any case, a dot at its end does not count. */
struct match_route match_route(
    const struct match_table *table, struct http1_slice host, struct http1_slice path);

/* Another reader of the path, who decodes and resolves it (path.h), would take another route. scratch: path.len + 1 bytes. */
bool match_is_ambiguous(const struct match_table *table, struct http1_slice host, struct http1_slice path,
    const struct match_route *route, char *scratch);

const struct match_service *match_find_service(const struct match_table *table, const char *name, size_t len);
/* A pin as people write it: "0.2.2", "0.2.2+g35819ef", "g35819ef" (at least 4 digits). NULL: none, or ambiguous. */
const struct match_release *match_find_release(const struct match_service *service, struct http1_slice pin);
/* Release of a position; NULL where there is none (no range at all, or a gap). */
const struct match_release *match_at(const struct match_service *service, uint32_t position);
