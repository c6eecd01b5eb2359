/* SPDX-License-Identifier: MIT */
#include "routerd/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

#define ALIGN     16
#define BLOCK_MAX (1024 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t size_; /* keeps data aligned */
    char data[] __attribute__((aligned(ALIGN)));
};

void arena_init(struct arena *arena, size_t first)
{
    *arena = (struct arena){ .next_size = first };
}

void arena_done(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *b = arena->blocks;
        arena->blocks = b->next;
        free(b);
    }
    *arena = (struct arena){ .next_size = arena->next_size };
}

static void add_block(struct arena *arena, size_t at_least)
{
    size_t size = arena->next_size > at_least ? arena->next_size : at_least;
    struct arena_block *b = xcalloc(1, sizeof(*b) + size);
    b->next = arena->blocks;
    arena->blocks = b;
    arena->at = b->data;
    arena->end = b->data + size;
    if (arena->next_size < BLOCK_MAX)
        arena->next_size *= 2;
}

void *arena_alloc(struct arena *arena, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        abort();
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (bytes > (size_t)(arena->end - arena->at))
        add_block(arena, bytes);
    void *p = arena->at;
    arena->at += bytes;
    return p;
}

char *arena_strn(struct arena *arena, const char *s, size_t n)
{
    return memcpy(arena_alloc(arena, n + 1, 1), s, n);
}

char *arena_str(struct arena *arena, const char *s)
{
    return s ? arena_strn(arena, s, strlen(s)) : NULL;
}
