/* SPDX-License-Identifier: MIT */
#pragma once

/* Hosts that are gone: after a grace time their instances get stand-ins elsewhere, if it is the hosts and not
 * the hub that is cut off. What comes back is drained once its stand-in is healthy
 * (instance.c). */

#include "hubd/deploy.h"

/* Places stand-ins where they are due. Returns the wall time (µs) to look again, 0 if only events can help. */
int64_t lost_step(
    struct txn *txn, const struct facts *facts, int64_t grace_ms, const struct deploy_times *times);

/* Why stand-ins are held back, NULL if they are not. Static text. */
const char *lost_hold_reason(const struct txn *view, const struct facts *facts, int64_t grace_ms, mono_t now);
