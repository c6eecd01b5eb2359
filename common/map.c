/* SPDX-License-Identifier: MIT */
#include "common/map.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/mem.h"

/* Entries lie in an array in order of insertion; a removed one leaves a hole (key NULL) until the array is
 * packed. The table holds index + 1 of an entry; 0 is free, SLOT_GONE was one. */

#define TABLE_FIRST 8
#define SLOT_GONE   UINT32_MAX

struct entry {
    char *key;
    void *value;
    uint64_t hash;
};

struct map {
    map_free_fn free_fn;
    struct entry *entries;
    size_t n_entries, cap_entries; /* holes included */
    size_t n_live;
    uint32_t *table;
    size_t n_table; /* power of two, or 0 */
    size_t n_used;  /* slots that are not free, gone ones included */
};

/* --- SipHash-1-3, seeded once per process ---------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, int n)
{
    return (x << n) | (x >> (64 - n));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static const uint64_t *seed(void)
{
    static uint64_t words[2];
    static bool made;

    if (!made) {
        if (getrandom(words, sizeof(words), GRND_NONBLOCK) != (ssize_t)sizeof(words)) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            words[0] = (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15);
            words[1] = (uint64_t)(uintptr_t)&words ^ (uint64_t)now.tv_sec;
        }
        made = true;
    }
    return words;
}

uint64_t map_hash(const void *data, size_t len)
{
    const unsigned char *p = data;
    const uint64_t *k = seed();
    uint64_t v[4] = { k[0] ^ UINT64_C(0x736f6d6570736575), k[1] ^ UINT64_C(0x646f72616e646f6d),
        k[0] ^ UINT64_C(0x6c7967656e657261), k[1] ^ UINT64_C(0x7465646279746573) };
    uint64_t last = (uint64_t)len << 56;

    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- the map --------------------------------------------------------------------------------------------- */

struct map *map_new(map_free_fn free_fn)
{
    struct map *map = xcalloc(1, sizeof(*map));

    map->free_fn = free_fn;
    return map;
}

void map_free(struct map *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->n_entries; i++) {
        struct entry *e = &map->entries[i];
        if (!e->key)
            continue;
        if (map->free_fn)
            map->free_fn(e->value);
        free(e->key);
    }
    free(map->entries);
    free(map->table);
    free(map);
}

size_t map_size(const struct map *map)
{
    return map ? map->n_live : 0;
}

/* Slot of the key, or the slot where it would go (*ret_found false). The table has free slots. */
static size_t find_slot(const struct map *map, const char *key, uint64_t hash, bool *ret_found)
{
    size_t mask = map->n_table - 1, first_gone = SIZE_MAX;

    for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
        uint32_t ref = map->table[slot];
        if (ref == 0) {
            *ret_found = false;
            return first_gone != SIZE_MAX ? first_gone : slot;
        }
        if (ref == SLOT_GONE) {
            if (first_gone == SIZE_MAX)
                first_gone = slot;
            continue;
        }
        const struct entry *e = &map->entries[ref - 1];
        if (e->hash == hash && strcmp(e->key, key) == 0) {
            *ret_found = true;
            return slot;
        }
    }
}

static struct entry *find_entry(const struct map *map, const char *key, size_t *ret_slot)
{
    bool found;

    if (!map || map->n_live == 0)
        return NULL;
    size_t slot = find_slot(map, key, map_hash(key, strlen(key)), &found);
    if (!found)
        return NULL;
    if (ret_slot)
        *ret_slot = slot;
    return &map->entries[map->table[slot] - 1];
}

/* Packs the entries and makes a table with room for one more at half load. */
static void rebuild(struct map *map)
{
    size_t n = 0, wanted = TABLE_FIRST;

    for (size_t i = 0; i < map->n_entries; i++)
        if (map->entries[i].key)
            map->entries[n++] = map->entries[i];
    map->n_entries = n;
    while (wanted < (n + 1) * 2)
        wanted *= 2;
    assert(wanted < SLOT_GONE);
    free(map->table);
    map->table = xcalloc(wanted, sizeof(*map->table));
    map->n_table = wanted;
    map->n_used = n;
    for (size_t i = 0; i < n; i++) {
        size_t slot = map->entries[i].hash & (wanted - 1);
        while (map->table[slot])
            slot = (slot + 1) & (wanted - 1);
        map->table[slot] = (uint32_t)(i + 1);
    }
}

void *map_get(const struct map *map, const char *key)
{
    struct entry *e = find_entry(map, key, NULL);

    return e ? e->value : NULL;
}

void map_set(struct map *map, const char *key, void *value)
{
    uint64_t hash = map_hash(key, strlen(key));
    struct entry *old = find_entry(map, key, NULL);

    if (old) {
        void *before = old->value;
        old->value = value;
        if (map->free_fn && before != value)
            map->free_fn(before);
        return;
    }
    if ((map->n_used + 1) * 4 > map->n_table * 3 || map->n_entries > 2 * map->n_live + TABLE_FIRST)
        rebuild(map);
    bool found;
    size_t slot = find_slot(map, key, hash, &found);
    map->entries = xgrow(map->entries, map->n_entries, &map->cap_entries, sizeof(*map->entries));
    map->entries[map->n_entries++] = (struct entry){ .key = xstrdup(key), .value = value, .hash = hash };
    if (map->table[slot] == 0)
        map->n_used++;
    map->table[slot] = (uint32_t)map->n_entries;
    map->n_live++;
}

void *map_steal(struct map *map, const char *key)
{
    size_t slot;
    struct entry *e = find_entry(map, key, &slot);

    if (!e)
        return NULL;
    void *value = e->value;
    char *old_key = e->key;
    map->table[slot] = SLOT_GONE;
    e->key = NULL;
    e->value = NULL;
    map->n_live--;
    /* Last, because the caller may have passed the entry's own key. */
    free(old_key);
    return value;
}

bool map_remove(struct map *map, const char *key)
{
    if (!find_entry(map, key, NULL))
        return false;
    void *value = map_steal(map, key);
    if (map->free_fn)
        map->free_fn(value);
    return true;
}

bool map_next(const struct map *map, struct map_iter *it)
{
    for (; map && it->index < map->n_entries; it->index++) {
        const struct entry *e = &map->entries[it->index];
        if (!e->key)
            continue;
        it->key = e->key;
        it->value = e->value;
        it->index++;
        return true;
    }
    return false;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **map_sorted_keys(const struct map *map)
{
    size_t n = 0;
    const char **keys = xcalloc(map_size(map) + 1, sizeof(*keys));

    map_for_each (it, map)
        keys[n++] = it.key;
    qsort(keys, n, sizeof(*keys), compare_keys);
    return keys;
}
