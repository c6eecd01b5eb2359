/* SPDX-License-Identifier: MIT */
#pragma once

/* The hub's one port and its local socket: who is at the other end, and whom to hand the connection to. By ALPN:
 * "stagecoach/1" is a session, everything else HTTP. It looks at certificates and credentials; what a peer may
 * do is decided behind it. */

#include "common/error.h"

#define FRONT_CONNECTIONS_MAX 4096  /* of all kinds, beside sessions of joined peers */
#define FRONT_STRANGERS_MAX   256   /* without a certificate, or before it is known */
#define FRONT_SAID_MS         60000 /* a flood is told of once in so long */

struct front;
struct hubd;

/* Listens: on what systemd hands over as "hub" and "local", else on Listen= and LocalSocket=. */
_must_check_ int front_new(struct hubd *hub, struct front **ret, struct error *err);
void front_free(struct front *front);
