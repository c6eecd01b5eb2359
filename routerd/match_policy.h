/* SPDX-License-Identifier: MIT */
#pragma once

/* What of a compiled table is about the endpoints of a service: its policy (immutable, by the table), and which
 * endpoints of a release may be picked. Pure. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct pool;
struct table_service;

/* table_health and table_limits (common/table_service.h says what they mean), packed. */
struct match_policy {
    const char *probe_path, *probe_host; /* in the same block of memory */
    uint32_t interval_ms, timeout_ms;
    uint16_t status_min, status_max;
    uint8_t rise, fall;
    bool start_unhealthy;
    uint8_t retries, retry_percent;
    uint8_t outlier_percent, max_ejected_percent;
    uint16_t eject_after, eject_errors;
    uint32_t outlier_requests;
    uint32_t queue;
    int32_t queue_ms;
    uint32_t slow_start_ms;
};

struct match_policy *match_policy_new(const struct table_service *service);
static inline void match_policy_free(const struct match_policy *policy)
{
    free((void *)policy);
}

/* Endpoints of a release that take new requests. The first n_usable are healthy; the main thread moves them (health.h),
 * which is all that ever changes in a compiled table. A reader may meanwhile meet one twice, or not at all: whoever
 * picks looks at the endpoint itself in any case. */
struct match_slots {
    uint32_t n;
    _Atomic uint32_t n_usable;
    struct pool *pool; /* weak: the release's state at run time (pool.h); set before the table is served */
    _Atomic uint32_t slot[];
};

static inline uint32_t match_slot(const struct match_slots *slots, uint32_t i)
{
    return atomic_load_explicit(&slots->slot[i], memory_order_relaxed);
}
