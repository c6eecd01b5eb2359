/* SPDX-License-Identifier: MIT */
#pragma once

/* The keys of session tickets: one that seals new tickets, the one before it, which still opens them, and the next one,
 * which is known early so that a generation that is about to take over opens what the other one seals. All workers use
 * them, main rotates them. They never touch a disk. */

#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/tls_public.h"

struct tickets;

struct tickets *tickets_new(int64_t rotation_ms, wall_t now);
void tickets_free(struct tickets *tickets);
/* name NULL: the key for new tickets. By any thread. */
enum tls_ticket_use tickets_key(
    struct tickets *tickets, const unsigned char *name, struct tls_ticket_key *ret);
/* Main's, every second. */
void tickets_tick(struct tickets *tickets, wall_t now);

/* To another process: a descriptor of memory with the keys in it, the caller's. */
_must_check_ int tickets_export(struct tickets *tickets, int *ret_fd, struct error *err);
/* Takes over what another process exported; the descriptor stays the caller's. */
_must_check_ int tickets_import(struct tickets *tickets, int fd, struct error *err);
