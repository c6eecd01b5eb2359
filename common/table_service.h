/* SPDX-License-Identifier: MIT */
#pragma once

/* What a service of the routing table says about its endpoints: how their health is known, and how much they are
 * given. Every key has a default that is right where nothing is known about the service. Pure. */

#include <stdbool.h>
#include <stdint.h>

struct schema;

#define TABLE_QUEUE_MAX   100000
#define TABLE_RETRIES_MAX 2

enum table_start {
    TABLE_START_HEALTHY,   /* whoever wrote the table vouches for new endpoints */
    TABLE_START_UNHEALTHY, /* no request before the first probe has passed */
    TABLE_START_MAX_
};

/* Probes by the router. */
struct table_health {
    char *path; /* NULL: no probes, and nothing else is said */
    char *host; /* NULL: the endpoint's address */
    int64_t interval_ms, timeout_ms;
    int64_t rise, fall; /* probes in a row that turn it */
    int64_t status_min, status_max;
    int start; /* enum table_start */
};

struct table_limits {
    int64_t max_in_flight; /* of an endpoint that says none of its own; 0: no limit */
    int64_t queue;         /* requests that wait; 0: none does */
    int64_t queue_ms;      /* how long; -1: as the router is set */
    int64_t retries;       /* after the first try */
    int64_t retry_percent; /* of the requests, in a window */
    int64_t eject_after;   /* failures in a row; 0: not for that */
    int64_t eject_errors;  /* answers of 5xx in a row; 0: not for that */
    int64_t outlier_percent;
    int64_t outlier_requests;
    int64_t max_ejected_percent;
    int64_t slow_start_ms;
};

extern const struct schema table_health_schema, table_limits_schema;
extern const char table_service_must[]; /* what the name of a service is: completes "must be …" */

/* Path and query of a probe. */
bool table_is_probe_path(const char *s);
