/* SPDX-License-Identifier: MIT */
#pragma once

/* The entries of a directory, by age. */

/* Names in dir, the one changed last first, without dot files; NULL if there are none or dir can't be read.
 * Caller frees (strv_free). */
char **listing_newest_first(const char *dir);
