/* SPDX-License-Identifier: MIT */
#include "hubd/requests.h"

#include "common/schema.h"
#include "common/table_service.h"

/* clang-format off */
static const struct field fields[] = {
    F_INT(struct requests_spec,  at_once,       FIELD_OMIT_EMPTY, 0, 1000000),
    F_INT(struct requests_spec,  queue,         FIELD_OMIT_EMPTY, REQUESTS_NO_QUEUE, TABLE_QUEUE_MAX),
    F_INT(struct requests_spec,  wait_ms,       FIELD_OMIT_EMPTY, 0, 3600000),
    F_INT(struct requests_spec,  slow_start_ms, FIELD_OMIT_EMPTY, 0, 3600000),
    F_BOOL(struct requests_spec, no_retry,      FIELD_OMIT_EMPTY),
};
/* clang-format on */
const struct schema requests_spec_schema = SCHEMA("requests", struct requests_spec, fields, false);

void requests_apply(const struct requests_spec *spec, struct table_limits *limits)
{
    limits->max_in_flight = spec->at_once;
    limits->slow_start_ms = spec->slow_start_ms;
    if (spec->queue != 0)
        limits->queue = spec->queue == REQUESTS_NO_QUEUE ? 0 : spec->queue;
    if (spec->wait_ms > 0)
        limits->queue_ms = spec->wait_ms;
    if (spec->no_retry)
        limits->retries = 0;
}
