/* SPDX-License-Identifier: MIT */
#pragma once

/* What the main thread does for the health of endpoints: says which ones of a release may be picked, looks for those
 * that fail more often than the others, ends what is over, has them probed. Workers eject on their own
 * (endpoint.h) and only say that something has changed. */

#define HEALTH_SOON_MS           10 /* changes are looked at together */
#define HEALTH_OUTLIER_WINDOW_MS 5000

#include <stdbool.h>
#include <stdint.h>

struct health;
struct match_policy;
struct match_table;
struct routerd;

struct health *health_new(struct routerd *routerd);
void health_free(struct health *health);
/* Each table that was compiled: its releases get their pools. */
void health_attach(struct health *health, const struct match_table *table);
/* What is new in it, before the workers have it. */
void health_enter(struct health *health, const struct match_table *table);
/* The workers are given this one: every endpoint is looked at. */
void health_serve(struct health *health, const struct match_table *table);
/* An endpoint was ejected, or is back. */
void health_soon(struct health *health);
/* Each second. */
void health_tick(struct health *health);
/* By what it was asked and got wrong in the window, beside all endpoints of its release together, itself included. */
bool health_is_outlier(const struct match_policy *policy, uint64_t requests, uint64_t errors,
    uint64_t all_requests, uint64_t all_errors);
/* No requests come any more: no probes either. */
void health_stop(struct health *health);
