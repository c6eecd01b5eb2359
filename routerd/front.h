/* SPDX-License-Identifier: MIT */
#pragma once

/* What stands between an accepted socket and a connection that speaks HTTP: a PROXY header, a TLS handshake, the choice
 * of the protocol. Plain listeners without a PROXY header pass it by. */

#include "common/wire.h"
#include "routerd/headers.h"

struct worker;

enum listener_flags {
    LISTENER_TLS = 1,
    LISTENER_PROXY = 2, /* each connection begins with a PROXY header */
};

/* fd is taken. */
void front_new(struct worker *worker, int fd, const struct wire_address *peer, unsigned flags);
/* Who the peer is, as requests are told. */
void front_describe(struct worker *worker, const struct wire_address *peer, struct forward *ret);
