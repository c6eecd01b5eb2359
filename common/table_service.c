/* SPDX-License-Identifier: MIT */
#include "common/table_service.h"

#include <string.h>

#include "common/names.h"
#include "common/schema.h"

#define PROBE_PATH_MAX 1024
#define PROBE_HOST_MAX 255

const char table_service_must[] =
    "the name of a service (lower-case letters, digits, single dashes, at most 41)";
_Static_assert(NAME_SERVICE_MAX == 41, "as the text says");

/* Visible ASCII, as HTTP takes it; a fragment is not sent. */
static bool is_visible(const char *s, size_t max)
{
    size_t n = 0;

    for (; s[n] > ' ' && s[n] < 0x7f && s[n] != '#'; n++)
        if (n == max)
            return false;
    return s[n] == '\0' && n > 0;
}

bool table_is_probe_path(const char *s)
{
    return s[0] == '/' && is_visible(s, PROBE_PATH_MAX);
}

static bool is_probe_host(const char *s)
{
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]");

    return len > 0 && len <= PROBE_HOST_MAX && s[len] == '\0';
}

static const char *const start_names[] = {
    [TABLE_START_HEALTHY] = "healthy",
    [TABLE_START_UNHEALTHY] = "unhealthy",
};
_Static_assert(sizeof(start_names) / sizeof(start_names[0]) == TABLE_START_MAX_, "a word for each");

/* clang-format off */
static const struct field health_fields[] = {
    F_STRING(struct table_health, path,        0,                .check = table_is_probe_path,
        .must = "a path that begins with \"/\", in visible ASCII"),
    F_STRING(struct table_health, host,        0,                .check = is_probe_host,
        .must = "a host name, with or without a port"),
    F_INT(struct table_health,    interval_ms, FIELD_OMIT_EMPTY, 100, 3600000, .fallback = 2000),
    F_INT(struct table_health,    timeout_ms,  FIELD_OMIT_EMPTY, 10, 600000, .fallback = 2000),
    F_INT(struct table_health,    rise,        FIELD_OMIT_EMPTY, 1, 100, .fallback = 2),
    F_INT(struct table_health,    fall,        FIELD_OMIT_EMPTY, 1, 100, .fallback = 3),
    F_INT(struct table_health,    status_min,  FIELD_OMIT_EMPTY, 200, 599, .fallback = 200),
    F_INT(struct table_health,    status_max,  FIELD_OMIT_EMPTY, 200, 599, .fallback = 399),
    F_ENUM(struct table_health,   start,       FIELD_OMIT_EMPTY, start_names),
};
const struct schema table_health_schema = SCHEMA("health", struct table_health, health_fields, true);

static const struct field limits_fields[] = {
    F_INT(struct table_limits, max_in_flight,       FIELD_OMIT_EMPTY, 0, 1000000),
    F_INT(struct table_limits, queue,               FIELD_OMIT_EMPTY, 0, TABLE_QUEUE_MAX, .fallback = 1000),
    F_INT(struct table_limits, queue_ms,            FIELD_OMIT_EMPTY, -1, 3600000, .fallback = -1),
    F_INT(struct table_limits, retries,             FIELD_OMIT_EMPTY, 0, TABLE_RETRIES_MAX,
        .fallback = TABLE_RETRIES_MAX),
    F_INT(struct table_limits, retry_percent,       FIELD_OMIT_EMPTY, 0, 100, .fallback = 20),
    F_INT(struct table_limits, eject_after,         FIELD_OMIT_EMPTY, 0, 10000, .fallback = 5),
    F_INT(struct table_limits, eject_errors,        FIELD_OMIT_EMPTY, 0, 10000),
    F_INT(struct table_limits, outlier_percent,     FIELD_OMIT_EMPTY, 0, 100, .fallback = 50),
    F_INT(struct table_limits, outlier_requests,    FIELD_OMIT_EMPTY, 1, 1000000, .fallback = 20),
    F_INT(struct table_limits, max_ejected_percent, FIELD_OMIT_EMPTY, 0, 100, .fallback = 50),
    F_INT(struct table_limits, slow_start_ms,       FIELD_OMIT_EMPTY, 0, 3600000),
};
/* clang-format on */
const struct schema table_limits_schema = SCHEMA("limits", struct table_limits, limits_fields, true);
