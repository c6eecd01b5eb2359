/* SPDX-License-Identifier: MIT */
#pragma once

/* The inside of a compiled table, for match.c and match_build.c only. A hash table is an array of 32-bit tags, at most
 * half full (a tag holds a cell's number and some bits of its hash), and the cells one behind the other: one cache line
 * each, with the key inside. A hit reads one line of tags and one cell. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MATCH_KEY_INLINE 36
#define MATCH_INDEX_BITS 17 /* of a tag: the cell's number + 1 */

struct match_rules;
struct match_service;

struct match_cell {
    const struct match_service
        *service; /* where "/" of a host, a path or a name of a service leads; NULL: nowhere */
    const struct match_rules *rules;
    uint32_t hash;
    uint32_t scope; /* of a path: number of its host's cell */
    uint16_t len;
    uint8_t segments_max;       /* of a host: of its longest path */
    bool is_route : 1;          /* hosts that have paths only are none; of a service: a route leads to it */
    bool closed : 1;            /* of a service: it has no version hosts */
    char key[MATCH_KEY_INLINE]; /* one that is longer: a pointer to it */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct match_cell) == 64, "a cell is a cache line");

struct match_hash {
    uint32_t *tags; /* 0: empty */
    uint32_t mask;
    uint32_t n;
    struct match_cell *cells;
};

struct match_index {
    struct match_hash hosts;    /* "www.example.com", ".example.com" */
    struct match_hash paths;    /* host, "/shop" */
    struct match_hash services; /* by name; rules: of the first route that leads there */
    struct match_cell any;      /* the host "*"; number MATCH_ANY */
    bool has_any, has_wildcards;
    bool has_pages; /* rules that read files: they are built anew each time */
};

#define MATCH_ANY UINT32_MAX /* as a scope */

/* A key is hashed by words; eight zero bytes must follow it. */
uint64_t match_hash_words(const char *key, size_t len);
/* Paths are hashed by bytes, so that each of their prefixes has its hash on the way. */
uint64_t match_hash_path_start(uint32_t scope);
uint64_t match_hash_path(uint64_t h, const char *s, size_t len);

const struct match_cell *match_hash_find(
    const struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h);
/* The key is not there yet; one that is not inline is borrowed. */
struct match_cell *match_hash_add(
    struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h);
