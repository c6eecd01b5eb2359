/* SPDX-License-Identifier: MIT */
#pragma once

/* A host name's addresses, by the system's own rules (hosts file, DNS, whatever nsswitch.conf says), without
 * blocking the loop: getent(1) runs as a child. */

#include <stddef.h>

#include "common/error.h"
#include "common/wire.h"

#define RESOLVE_ADDRESSES_MAX 8

struct loop;
struct resolve;

/* n 0: not found, err says why. Runs once, never before resolve_start returned. */
typedef void (*resolve_fn)(
    void *arg, const struct wire_address *addresses, size_t n, const struct error *err);

struct resolve *resolve_start(struct loop *loop, const char *host, int port, resolve_fn fn, void *arg);
void resolve_free(struct resolve *resolve); /* NULL is fine; cancels */
