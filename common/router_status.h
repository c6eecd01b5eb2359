/* SPDX-License-Identifier: MIT */
#pragma once

/* What a router says of itself at /status of its status socket, and what stagecoachctl reads there. Counts are since the
 * process started; who wants rates asks twice. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/schema.h"

/* Answers that took at most so long, and longer than the row before. */
struct router_latency {
    int64_t us, n;
};

struct router_release {
    char *service, *version;
    int64_t endpoints, usable;
    int64_t requests, errors; /* answers; of these 5xx, the router's own among them */
    int64_t unanswered;       /* the client went away before an answer */
    int64_t in_flight, waiting;
    int64_t failures, retries, ejections;
    int64_t bytes_in, bytes_out;
    int64_t last_hit_us; /* wall clock; 0: never */
    struct router_latency *latency;
    size_t n_latency;
};

struct router_certificate {
    char *name, *problem; /* problem: what lies there now can't be used */
    int64_t expires_us;   /* wall clock; 0: there is none */
};

struct router_status {
    char *version; /* of the program */
    int64_t pid, generation, workers;
    int64_t started_us, now_us; /* wall clock */
    int64_t epoch, served_us;   /* of the table; since when */
    int64_t routes;
    char *hub;   /* "linked", or what is wrong; NULL: none is asked */
    char *older; /* "2 older generations with 14 connections", NULL: none */
    int64_t connections, in_flight, requests, h2_requests, refused, timeouts;
    int64_t unrouted; /* requests that reached no release */
    int64_t rss_bytes;
    char *access_log; /* what is wrong with it, NULL: nothing */
    struct router_certificate *certificates;
    size_t n_certificates;
    struct router_release *releases;
    size_t n_releases;
};

extern const struct schema router_status_schema, router_release_schema;
