/* SPDX-License-Identifier: MIT */
#pragma once

/* NULL-terminated vectors of owned strings. NULL is a valid empty vector. Pairs are entries "KEY=value". */

#include <stdbool.h>
#include <stddef.h>

#define strv_for_each(s, v) for (char **s##_it = (v); s##_it && ((s) = *s##_it); s##_it++)

void strv_free(char **v);
void strv_freep(char ***v); /* for _cleanup_ */
size_t strv_len(char *const *v);
char **strv_copy(char *const *v);
bool strv_contains(char *const *v, const char *s);
bool strv_equal(char *const *a, char *const *b);
void strv_push(char ***v, const char *s); /* appends a copy */
void strv_push_take(char ***v, char *s);  /* appends s itself */
char *strv_join(char *const *v, const char *separator);
char **strv_split(const char *s, const char *separators); /* empty parts are left out */

/* Value of KEY in a vector of pairs, or NULL; borrowed. */
const char *pairs_get(char *const *v, const char *key);
/* Sets KEY, replacing an earlier pair in place. */
void pairs_set(char ***v, const char *key, const char *value);
/* All of b set over a. */
void pairs_merge(char ***a, char *const *b);
