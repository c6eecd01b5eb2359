/* SPDX-License-Identifier: MIT */
#pragma once

/* What the hub is told of traffic: absolute counters of endpoints that moved, every second and soon after the count
 * of a draining endpoint changed. Summed from the workers' counters on the main thread. */

#include <stdbool.h>

struct routerd;
struct traffic;

struct traffic *traffic_new(struct routerd *routerd);
void traffic_free(struct traffic *traffic);
/* Sends what moved; `all`: also when nothing did, and whatever has something in flight (after a switch). */
void traffic_report(struct traffic *traffic, bool all);
/* Within ROUTERD_DRAIN_REPORT_MS. */
void traffic_report_soon(struct traffic *traffic);
/* Whoever is told has heard nothing yet: everything counts as moved. */
void traffic_report_anew(struct traffic *traffic);
