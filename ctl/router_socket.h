/* SPDX-License-Identifier: MIT */
#pragma once

/* The status socket of a router on this machine, or wherever it can be reached: asks for /status. */

#include "common/error.h"
#include "common/router_status.h"

#define ROUTER_SOCKET     "/run/stagecoach/router.sock"
#define ROUTER_SOCKET_MS  5000
#define ROUTER_STATUS_MAX (64 * 1024 * 1024)

struct loop;

/* address: a path or IP:PORT. -ENOENT: nobody listens there. */
_must_check_ int router_socket_ask(
    struct loop *loop, const char *address, struct router_status *ret, struct error *err);
