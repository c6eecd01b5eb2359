/* SPDX-License-Identifier: MIT */
#pragma once

/* String → pointer, in order of insertion, hashed with a seed of the process so that names chosen by a peer
 * cannot make it slow. Keys are copied; values are borrowed unless free_fn is set, which then runs when an
 * entry is replaced, removed, or the map ends. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*map_free_fn)(void *value);

struct map;

struct map *map_new(map_free_fn free_fn);
void map_free(struct map *map);

size_t map_size(const struct map *map);
void *map_get(const struct map *map, const char *key); /* NULL if absent */
void map_set(struct map *map, const char *key, void *value);
bool map_remove(struct map *map, const char *key);
void *map_steal(struct map *map, const char *key); /* removed without free_fn */

/* Iteration in order of insertion. The current entry may be removed in the body, others and new ones not. */
struct map_iter {
    size_t index;
    const char *key;
    void *value;
};
bool map_next(const struct map *map, struct map_iter *it);
#define map_for_each(it, map) for (struct map_iter it = { 0 }; map_next((map), &it);)

/* Keys sorted by strcmp, NULL at the end; the vector (not the keys) is the caller's to free. */
const char **map_sorted_keys(const struct map *map);

/* The hash that maps use: good for one process only, never for files or the wire. */
uint64_t map_hash(const void *data, size_t len);
