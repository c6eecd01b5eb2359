/* SPDX-License-Identifier: MIT */
#pragma once

/* The router in a few numbers, for the hub: how much, how well, how fast in the interval since the last time, and what
 * somebody should know of. Main thread. */

#include <stdbool.h>
#include <stdint.h>

#include "routerd/endpoint.h"

#define BRIEF_MS      1000  /* at least between two */
#define BRIEF_IDLE_MS 10000 /* the same while nothing happens */

struct brief;
struct router_brief;
struct routerd;

/* What endpoints counted since the last one; whoever walks them adds it here. */
struct brief_interval {
    uint64_t requests, errors, bytes_in, bytes_out;
    uint64_t latency[ENDPOINT_LATENCY_BUCKETS];
    int64_t ejected; /* now */
};

struct brief *brief_new(struct routerd *routerd);
void brief_free(struct brief *brief);
struct brief_interval *brief_interval(struct brief *brief);
/* What was added is not of this interval. */
void brief_forget(struct brief *brief);
/* True: one is due, *ret is the caller's to clear, and the next interval begins. now: whatever the time is; moved: there
 * is something to say. */
bool brief_fill(struct brief *brief, bool now, bool moved, struct router_brief *ret);
