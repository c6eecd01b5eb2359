/* SPDX-License-Identifier: MIT */
#pragma once

/* How a router does, as text for people. Rates, errors and times are of what happened between two looks. Pure but for the
 * time zone. */

#include "common/router_status.h"
#include "ctl/output.h"

/* All routers of a fleet, as the hub knows them. */
void text_routers(struct output *o, const struct msg_routers *m);
/* before: NULL, or an earlier look at the same router. */
void text_router(struct output *o, const struct router_status *before, const struct router_status *now);
