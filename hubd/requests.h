/* SPDX-License-Identifier: MIT */
#pragma once

/* How a service wants to be given its requests: what its manifest says, and the hub writes into routing tables. Zeros
 * are what is not said. Pure. */

#include <stdbool.h>
#include <stdint.h>

struct schema;
struct table_limits;

#define REQUESTS_NO_QUEUE (-1)

struct requests_spec {
    int64_t at_once; /* to one instance; 0: any number */
    int64_t queue;   /* that wait for one; REQUESTS_NO_QUEUE: none */
    int64_t wait_ms;
    int64_t slow_start_ms;
    bool no_retry;
};

extern const struct schema requests_spec_schema;

/* What is not said stays as it is. */
void requests_apply(const struct requests_spec *spec, struct table_limits *limits);
