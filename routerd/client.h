/* SPDX-License-Identifier: MIT */
#pragma once

/* Who asks: the peer, or whom a trusted proxy names with X-Forwarded-For and X-Forwarded-Proto. Pure. */

#include <stdbool.h>

#include "common/http1.h"
#include "routerd/headers.h"

/* From the right the first address of X-Forwarded-For that is no trusted proxy itself, the leftmost if all are; what
 * stands left of something that is no address is not looked at. Without a port, an IPv6 address without brackets. The
 * peer's own where it is not trusted or said nothing. Lives as long as head and forward. */
struct http1_slice client_address(const struct http1_head *head, const struct forward *forward);
/* Is that address, which client_address() gave, another than the peer's own? */
static inline bool client_is_named(struct http1_slice address, const struct forward *forward)
{
    return address.ptr != forward->peer;
}
/* Did the client ask over TLS? */
bool client_is_tls(const struct http1_head *head, const struct forward *forward);
