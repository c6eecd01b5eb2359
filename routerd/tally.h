/* SPDX-License-Identifier: MIT */
#pragma once

/* What was counted, added up: over the workers, over the endpoints of a release, over the releases of a service. What an
 * endpoint counted is kept by its release when it is gone, what a release counted by its service, so that no sum ever
 * goes backwards while the process lives. Main thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routerd/endpoint.h"

#define TALLY_SERVICES_MAX 10000 /* that are gone; the counts of further ones are kept together */
#define TALLY_OTHERS       "(gone)"

struct pool;

struct counts {
    uint64_t status[STATUS_CLASS_MAX_]; /* answers of endpoints */
    uint64_t own[STATUS_CLASS_MAX_];    /* answers of the router's own */
    uint64_t unanswered;                /* the client went away before */
    uint64_t bytes_in, bytes_out, latency_sum_us;
    uint64_t failures, retries, retries_denied, ejections;
    uint64_t queued, queue_full, queue_expired;
    uint64_t latency[ENDPOINT_LATENCY_BUCKETS];
    /* as it is now; not kept */
    int64_t in_flight, waiting, idle_connections, last_hit_us;
    int64_t endpoints, usable; /* that take new requests */
};

/* Of one endpoint now, added to *c. */
void counts_add_endpoint(
    struct counts *c, const struct registry *registry, const struct endpoint *e, int64_t now_us);
/* What a release counts beside its endpoints, those that are gone included. */
void counts_add_pool(struct counts *c, const struct pool *pool);
void counts_add(struct counts *c, const struct counts *from);
uint64_t counts_answers(const struct counts *c); /* of endpoints */
bool counts_touched(const struct counts *c);     /* was anything ever asked of it? */

struct tally;

struct tally *tally_new(void);
void tally_free(struct tally *tally);
/* Before they are freed. */
void tally_endpoint_gone(const struct registry *registry, const struct endpoint *e);
void tally_pool_gone(struct tally *tally, struct pool *pool);

/* --- a look at all of it ----------------------------------------------------------------------------------- */

struct tally_row {
    char *service;
    char *version; /* NULL: of the service */
    struct counts counts;
};

/* Made in steps, so that thousands of endpoints hold nobody up. */
struct tally_view {
    struct tally_row *services, *releases; /* releases in no order */
    size_t n_services, n_releases;
    struct map *by_release, *by_service; /* → place + 1 */
    const struct registry *registry;
    uint32_t next_slot;
    size_t next_release;
    bool done;
};

struct tally_view *tally_view_new(const struct tally *tally, const struct registry *registry);
/* One more step, of less than a millisecond or two. True: it is whole. Between the steps nothing may be swept. */
bool tally_view_step(struct tally_view *view, int64_t now_us);
void tally_view_free(struct tally_view *view);
