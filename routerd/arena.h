/* SPDX-License-Identifier: MIT */
#pragma once

/* Memory for many small things that end together: taken from blocks one behind the other, so that they lie close, and
 * given back all at once. */

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
    char *at, *end;
    size_t next_size; /* of the next block */
};

/* `first`: size of the first block; later ones double. */
void arena_init(struct arena *arena, size_t first);
void arena_done(struct arena *arena);
/* n × size zeroed bytes, aligned for anything; never NULL. */
void *arena_alloc(struct arena *arena, size_t n, size_t size);
char *arena_str(struct arena *arena, const char *s); /* NULL stays NULL */
char *arena_strn(struct arena *arena, const char *s, size_t n);
