/* SPDX-License-Identifier: MIT */
#pragma once

/* What a worker keeps in memory for peers that are slower than others has a limit, Buffered=. Beyond it whoever has made
 * the worker keep most for longest is cut off, not whoever happens to need a little at that moment. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

/* What weighs: bytes, and for how long they have waited (now_us - since_us). Everybody is slow for a moment. */
static inline uint64_t budget_weight(size_t bytes, int64_t now_us, int64_t since_us)
{
    return bytes * (uint64_t)((now_us - since_us) / 1000 + 1);
}

void budget_init(struct worker *worker);
void budget_done(struct worker *worker);
/* Something was kept. False: so much is kept already (twice the limit) that who asks has to be cut off at once; between the
 * two others are, when this turn of the loop ends. */
bool budget_allows(struct worker *worker);
