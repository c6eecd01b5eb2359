/* SPDX-License-Identifier: MIT */
#pragma once

/* From a live set and the weights wanted to the next live set: explicit ranges of the 2^32 assignments, such
 * that as few assignments as can be change their release. A user who stays with a release that keeps its weight
 * is never moved. Pure. */

#include <stddef.h>
#include <stdint.h>

#include "hubd/state.h"

#define ROLLOUT_SPACE (INT64_C(1) << 32)

#define ROLLOUT_WEIGHT_MAX 1000000 /* so that 2^32 times the sum of some hundred fits 63 bits */

struct rollout_weight {
    const char *version;
    int64_t weight; /* 0 to ROLLOUT_WEIGHT_MAX; shares of the sum */
};

/* ret is overwritten; the caller owns it (schema_clear(&live_set_schema, …)). Releases with weight 0 are not in
 * it; all weights 0: an empty set. */
void rollout_next(
    const struct live_set *now, const struct rollout_weight *weights, size_t n, struct live_set *ret);

/* Assignments of a release, in whole percent, rounded; -1 if it is not in the set. */
int64_t rollout_percent(const struct live_set *live, const char *version);
