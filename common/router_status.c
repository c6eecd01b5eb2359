/* SPDX-License-Identifier: MIT */
#include "common/router_status.h"

/* clang-format off */
static const struct field latency_fields[] = {
    F_INT(struct router_latency, us, FIELD_REQUIRED, 0, 0),
    F_INT(struct router_latency, n,  FIELD_REQUIRED, 0, 0),
};
static const struct schema latency_schema = SCHEMA("latency", struct router_latency, latency_fields, false);

static const struct field release_fields[] = {
    F_STRING(struct router_release, service,     FIELD_REQUIRED),
    F_STRING(struct router_release, version,     0),
    F_INT(struct router_release,    endpoints,   0, 0, 0),
    F_INT(struct router_release,    usable,      0, 0, 0),
    F_INT(struct router_release,    requests,    0, 0, 0),
    F_INT(struct router_release,    errors,      0, 0, 0),
    F_INT(struct router_release,    unanswered,  0, 0, 0),
    F_INT(struct router_release,    in_flight,   0, 0, 0),
    F_INT(struct router_release,    waiting,     0, 0, 0),
    F_INT(struct router_release,    failures,    0, 0, 0),
    F_INT(struct router_release,    retries,     0, 0, 0),
    F_INT(struct router_release,    ejections,   0, 0, 0),
    F_INT(struct router_release,    bytes_in,    0, 0, 0),
    F_INT(struct router_release,    bytes_out,   0, 0, 0),
    F_INT(struct router_release,    last_hit_us, 0, 0, 0),
    F_LIST(struct router_release,   latency,     0, &latency_schema),
};
const struct schema router_release_schema = SCHEMA("release", struct router_release, release_fields, false);

static const struct field certificate_fields[] = {
    F_STRING(struct router_certificate, name,       FIELD_REQUIRED),
    F_STRING(struct router_certificate, problem,    0),
    F_INT(struct router_certificate,    expires_us, 0, INT64_MIN, INT64_MAX),
};
static const struct schema certificate_schema =
    SCHEMA("certificate", struct router_certificate, certificate_fields, false);

static const struct field status_fields[] = {
    F_STRING(struct router_status, version,      FIELD_REQUIRED),
    F_INT(struct router_status,    pid,          0, 0, 0),
    F_INT(struct router_status,    generation,   0, 0, 0),
    F_INT(struct router_status,    workers,      0, 0, 0),
    F_INT(struct router_status,    started_us,   0, 0, 0),
    F_INT(struct router_status,    now_us,       0, 0, 0),
    F_INT(struct router_status,    epoch,        0, 0, 0),
    F_INT(struct router_status,    served_us,    0, 0, 0),
    F_INT(struct router_status,    routes,       0, 0, 0),
    F_STRING(struct router_status, hub,          0),
    F_STRING(struct router_status, older,        0),
    F_INT(struct router_status,    connections,  0, 0, 0),
    F_INT(struct router_status,    in_flight,    0, 0, 0),
    F_INT(struct router_status,    requests,     0, 0, 0),
    F_INT(struct router_status,    h2_requests,  0, 0, 0),
    F_INT(struct router_status,    refused,      0, 0, 0),
    F_INT(struct router_status,    timeouts,     0, 0, 0),
    F_INT(struct router_status,    unrouted,     0, 0, 0),
    F_INT(struct router_status,    rss_bytes,    0, 0, 0),
    F_STRING(struct router_status, access_log,   0),
    F_LIST(struct router_status,   certificates, 0, &certificate_schema),
    F_LIST(struct router_status,   releases,     0, &router_release_schema),
};
const struct schema router_status_schema = SCHEMA("status", struct router_status, status_fields, false);
/* clang-format on */
