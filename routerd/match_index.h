/* SPDX-License-Identifier: MIT */
#pragma once

/* The inside of a compiled table, for match.c and match_build.c only: open-addressed hash tables, at most half
 * full, filled once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct match_cell {
    uint64_t hash;
    const char *key; /* NULL: empty */
    uint32_t scope;  /* keys of several owners lie in one table: host of a path, service of a version */
    uint32_t value;
    uint32_t len;
};

struct match_hash {
    struct match_cell *cells;
    uint32_t mask;
};

struct match_host {
    uint32_t root;         /* service of "/", or MATCH_NONE */
    uint32_t segments_max; /* of its longest path */
};

struct match_index {
    struct match_hash host_names;    /* "www.example.com", ".example.com", "*" → host */
    struct match_hash paths;         /* host, "/shop" → service */
    struct match_hash service_names; /* → service */
    struct match_hash versions;      /* service, "0.2.2" → release */
    struct match_host *hosts;
    uint32_t n_hosts;
    bool has_wildcards;
};

uint64_t match_hash_start(uint32_t scope);
uint64_t match_hash(uint64_t h, const char *s, size_t len);
const struct match_cell *match_hash_find(
    const struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h);
struct match_cell *match_hash_add(
    struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h, uint32_t value);
