/* SPDX-License-Identifier: MIT */
#pragma once

/* A field block of HTTP/2 on its way to a struct http1_head: fields are kept as they are decoded, judged together when
 * the block is whole. What a single field may be is common/http1.h's to say; here are the rules of HTTP/2 (RFC 9113 8.2,
 * 8.3; RFC 8441): pseudo-header fields, cookie crumbs, extended CONNECT. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

#define H2_HEAD_FIELD_COST  32 /* beside name and value, as SETTINGS_MAX_HEADER_LIST_SIZE counts */
#define H2_HEAD_FLOOD_TIMES 4  /* a block that decodes to so many times the limit ends the connection */

struct block;
struct block_pool;

struct h2_head {
    struct block *block; /* the fields, one behind the other; NULL: no block is open */
    size_t size, max;    /* decoded, by the count above */
    size_t cookie_bytes; /* of all crumbs, joined */
    unsigned n_cookies;
    bool too_large; /* and so not kept whole */
    bool asks_head; /* :method is HEAD, whatever is wrong beside it */
};

/* max: HeadSize=, or the like for trailers. */
void h2_head_begin(struct h2_head *h, size_t max);
/* False: the block is a flood, and the connection should end. */
bool h2_head_add(
    struct h2_head *h, struct block_pool *pool, struct http1_slice name, struct http1_slice value);
void h2_head_clear(struct h2_head *h, struct block_pool *pool);
static inline bool h2_head_is_open(const struct h2_head *h)
{
    return h->max > 0;
}

/* What else the request needs to know. */
struct h2_request {
    bool ends; /* no content follows */
    const char
        *websocket_key; /* room for WEBSOCKET_KEY_LEN bytes, which the caller fills in if it is a tunnel */
    bool tunnel;        /* out: it is one, and *ret asks for an upgrade */
};

/* The block is a request's. Slices of *ret point into the block and to websocket_key. Never HTTP1_MORE. */
enum http1_result h2_head_request(struct h2_head *h, struct block_pool *pool, struct h2_request *request,
    const struct http1_limits *limits, struct http1_head *ret, struct http1_fault *fault);
/* The block is a trailer section. */
enum http1_result h2_head_trailers(struct h2_head *h, struct block_pool *pool,
    const struct http1_limits *limits, struct http1_head *ret, struct http1_fault *fault);
