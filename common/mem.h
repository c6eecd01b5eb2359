/* SPDX-License-Identifier: MIT */
#pragma once

/* Allocation of small things, which cannot fail (the process logs and aborts), and ownership helpers.
 * Sizes that a peer chose do not belong here: check them against a named limit first. */

#include <stddef.h>
#include <stdlib.h>

#include "common/banned.h"
#include "common/error.h"

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Runs fn(&variable) when the variable leaves its scope. */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
/* Grows an array of n items of `size` bytes by doubling so that index n is valid; *cap is kept by the caller. */
void *xgrow(void *p, size_t n, size_t *cap, size_t size);
char *xstrdup(const char *s); /* NULL stays NULL */
char *xstrndup(const char *s, size_t n);
char *xmemdup(const void *p, size_t n); /* adds a NUL behind the copy */
char *xasprintf(const char *fmt, ...) _printf_(1, 2);

/* Takes the pointer out of the variable: `return steal_ptr(x);` hands over what _cleanup_ would free. */
#define steal_ptr(p)                 \
    __extension__({                  \
        __typeof__(p) stolen_ = (p); \
        (p) = NULL;                  \
        stolen_;                     \
    })

/* Replaces an owned string by a copy of another (either may be NULL). */
void str_set(char **slot, const char *value);

/* For _cleanup_: */
void free_ptr(void *pp); /* char * and other plain heap memory */
void close_fd(int *fd);  /* closes unless -1, sets -1, keeps errno */
int steal_fd(int *fd);
