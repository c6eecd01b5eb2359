/* SPDX-License-Identifier: MIT */
#pragma once

/* "did you mean …?": the known word that a misspelt one is most like. Pure. */

/* The word of the NULL-terminated list with the fewest letters inserted, left out, changed or swapped; NULL if
 * none is near enough to be meant. */
const char *nearest_word(const char *word, const char *const *known);
