/* SPDX-License-Identifier: MIT */
#pragma once

/* The sockets that take connections: handed over by systemd or by the generation before, or opened as Listen= says;
 * which worker watches which; and what the next generation gets. Each is kept open here for as long as this process is
 * the one that owns them, whoever watches copies of it: a member of a group that shares a port is never closed while it
 * serves, for the kernel would drop what waits in its queue. */

#include "common/error.h"

#define LISTENERS_NAME_MAX 255 /* of a descriptor's name, as systemd limits it */

struct routerd;
struct settings;

struct routerd_socket {
    int fd;
    unsigned flags; /* enum listener_flags (front.h) */
    char *name;     /* as it was handed over, and will be; NULL reads as "http" */
};

/* What systemd or the generation before handed over; *ret is the caller's. Returns the count. */
int listeners_take(struct routerd_socket **ret);
/* Are these addresses? Nothing is opened. */
_must_check_ int listeners_check(const struct settings *settings, struct error *err);
/* Opens what Listen= and ListenTLS= say and is not there yet; of such sockets those are closed that are no longer said.
 * Where systemd hands over sockets, only these count. */
_must_check_ int listeners_open(struct routerd *routerd, struct error *err);
/* Gives every worker its own copies: where several sockets share an address, number j is for worker j; where they are
 * fewer than workers, some share one. */
_must_check_ int listeners_hand_out(struct routerd *routerd, struct error *err);
/* The status socket gets its copies. */
void listeners_give_status(struct routerd *routerd);
void listeners_close(struct routerd *routerd);
