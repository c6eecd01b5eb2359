/* SPDX-License-Identifier: MIT */
#pragma once

/* Identity, git and the port, as one part of the hub: made before the state is loaded, opened after it, closed
 * before the rest goes. Only main.c and tests call it. */

#include "common/error.h"

struct hubd;

/* The CA (made if the store is new), and everything that answers people and git; nobody is let in yet. */
_must_check_ int serve_prepare(struct hubd *hub, struct error *err);
/* After hubd_start: repositories are tidied, refs compared, and the port opens. */
_must_check_ int serve_open(struct hubd *hub, struct error *err);
/* No connection, child or search is left. Before hubd_free. */
void serve_close(struct hubd *hub);
