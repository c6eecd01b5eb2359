/* SPDX-License-Identifier: MIT */
#pragma once

/* The PROXY header by which a load balancer says for whom it connects: versions 1 (a line) and 2 (binary) of the PROXY
 * protocol. It comes once, before anything else, and only from peers that are configured to send it: a listener that
 * expects it serves nobody who does not.
 *
 * Strict: the grammar as written, lengths that fit exactly, a checksum that is right where there is one. Bytes behind the
 * header are not looked at: who hands the socket on peeks, and reads no more than `size`. No I/O: of wire.h it takes the addresses. */

#include <stdbool.h>
#include <stddef.h>

#include "common/wire.h"

#define PROXY_HEADER_V1_MAX 107 /* line end included */
#define PROXY_HEADER_MAX    4096

struct proxy_header {
    bool
        is_own; /* the balancer speaks for itself (LOCAL) or does not know (UNKNOWN, UNSPEC): what the socket says holds */
    bool tls;                                /* the client speaks TLS with the balancer, which has ended it */
    struct wire_address source, destination; /* unless is_own */
    size_t size;                             /* bytes of the header */
};

enum proxy_header_result {
    PROXY_HEADER_REFUSED = -1, /* *reason says why: a constant */
    PROXY_HEADER_MORE = 0,     /* call again with all bytes so far and more */
    PROXY_HEADER_DONE = 1,
};

enum proxy_header_result proxy_header_parse(
    const void *data, size_t len, struct proxy_header *ret, const char **reason);
