/* SPDX-License-Identifier: MIT */
#pragma once

/* What other generations of this router count, added up by endpoint: each says absolute numbers of its own; what one that
 * has ended had counted stays, but for what was in flight. Pure. */

#include <stdbool.h>
#include <stddef.h>

struct endpoint_traffic;
struct map;
struct sums;

struct sums *sums_new(void);
void sums_free(struct sums *sums);

/* What one other generation said last, by endpoint: an empty map to begin with. */
struct map *sums_said_new(void);
/* It says a row. */
void sums_take(struct sums *sums, struct map *said, const struct endpoint_traffic *row);
/* It ended; with `all`, it says everything to somebody else from now on, and its counts go too. */
void sums_leave(struct sums *sums, struct map *said, bool all);

/* Adds the sums of the row's endpoint to it. */
void sums_add(struct sums *sums, struct endpoint_traffic *row);
/* Rows that moved since the last time, of endpoints for which sums_add was not called since: nobody else tells them.
 * NULL at the end. *at begins as 0; the row is good until the next call. */
const struct endpoint_traffic *sums_next(struct sums *sums, size_t *at);
