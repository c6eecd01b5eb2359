/* SPDX-License-Identifier: MIT */
#include "routerd/match_policy.h"

#include <string.h>

#include "common/mem.h"
#include "common/table.h"

struct match_policy *match_policy_new(const struct table_service *service)
{
    const struct table_health *health = &service->health;
    const struct table_limits *limits = &service->limits;
    size_t path = health->path ? strlen(health->path) + 1 : 0;
    size_t host = health->host ? strlen(health->host) + 1 : 0;
    struct match_policy *p = xcalloc(1, sizeof(*p) + path + host);
    char *text = (char *)(p + 1);
    *p = (struct match_policy){
        .probe_path = path > 0 ? memcpy(text, health->path, path) : NULL,
        .probe_host = host > 0 ? memcpy(text + path, health->host, host) : NULL,
        .interval_ms = (uint32_t)health->interval_ms,
        .timeout_ms = (uint32_t)health->timeout_ms,
        .status_min = (uint16_t)health->status_min,
        .status_max = (uint16_t)health->status_max,
        .rise = (uint8_t)health->rise,
        .fall = (uint8_t)health->fall,
        .start_unhealthy = health->start == TABLE_START_UNHEALTHY,
        .retries = (uint8_t)limits->retries,
        .retry_percent = (uint8_t)limits->retry_percent,
        .outlier_percent = (uint8_t)limits->outlier_percent,
        .max_ejected_percent = (uint8_t)limits->max_ejected_percent,
        .eject_after = (uint16_t)limits->eject_after,
        .eject_errors = (uint16_t)limits->eject_errors,
        .outlier_requests = (uint32_t)limits->outlier_requests,
        .queue = (uint32_t)limits->queue,
        .queue_ms = (int32_t)limits->queue_ms,
        .slow_start_ms = (uint32_t)limits->slow_start_ms,
    };
    return p;
}
