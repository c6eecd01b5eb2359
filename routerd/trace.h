/* SPDX-License-Identifier: MIT */
#pragma once

/* Ids that follow a request: X-Request-Id, and the W3C trace context (traceparent; tracestate passes with it). A valid
 * one of the client's is passed on, or where it is not believed, and where there is none, a new one is made. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

#define TRACE_ID_LEN         32  /* of a trace id, and of a request id of ours */
#define TRACE_REQUEST_ID_MAX 128 /* of one that a trusted proxy made; a longer one is replaced */
#define TRACE_FIELDS_MAX     256

/* What the settings say. */
struct trace_policy {
    bool request_id;        /* made, or kept from trusted peers */
    bool trace;             /* traceparent is made where a valid one is missing */
    bool trust;             /* anybody's traceparent is passed on, not only that of trusted peers */
    unsigned sample_of_100; /* traces begun here that are marked as sampled */
};

/* Ids of one worker: unique over workers and starts by 128 random bits, of which the lower half counts on. */
struct trace_source {
    char high[TRACE_ID_LEN / 2]; /* as digits already */
    uint64_t low, span;
};

/* What it is for one request; slices point into the request's head or into `fields`. */
struct trace {
    uint64_t drops; /* bit per enum http1_field_id: fields of the client's that do not pass */
    struct http1_slice request_id, trace_id;
    char fields[TRACE_FIELDS_MAX]; /* "X-Request-Id: …\r\ntraceparent: …\r\n", what is added */
    size_t fields_len;
};

/* random: TRACE_SEEDS numbers that nobody else has. */
#define TRACE_SEEDS 3
void trace_source_init(struct trace_source *source, const uint64_t *random);
/* `trusted`: the peer is a trusted proxy. */
void trace_make(struct trace *ret, struct trace_source *source, const struct trace_policy *policy,
    const struct http1_head *head, bool trusted);

/* W3C Trace Context, 3.2: "00-<32 hex>-<16 hex>-<2 hex>", neither id all zeros; later versions may say more behind it. */
bool trace_parent_is_valid(struct http1_slice value);
