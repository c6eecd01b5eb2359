/* SPDX-License-Identifier: MIT */
#pragma once

/* A network as people write it: "10.0.0.0/8", "2001:db8::/32", one address, or "unix" for the peers of a unix socket.
 * Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct network {
    uint8_t bytes[16];
    uint8_t prefix; /* bits */
    uint8_t len;    /* 4, 16; 0: unix */
};

bool network_parse(const char *text, struct network *ret);
bool network_is(const char *text);
/* `len` bytes of an address in network order; 0: the peer is of a unix socket. */
bool network_contains(const struct network *network, const uint8_t *address, size_t len);
/* The same for an address as text; "unknown" is a unix socket. */
bool network_contains_text(const struct network *network, const char *address);
