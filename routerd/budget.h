/* SPDX-License-Identifier: MIT */
#pragma once

/* What a worker keeps in memory for peers that are slower than others has a limit, Buffered=. Beyond it whoever makes the
 * worker keep most is cut off, not whoever happens to need a little at that moment. */

#include <stdbool.h>

struct worker;

void budget_init(struct worker *worker);
void budget_done(struct worker *worker);
/* Something was kept. False: so much is kept already (twice the limit) that who asks has to be cut off at once; between the
 * two others are, when this turn of the loop ends. */
bool budget_allows(struct worker *worker);
