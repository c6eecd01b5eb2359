/* SPDX-License-Identifier: MIT */
#pragma once

/* What match_build.c (services, the whole) and match_routes.c (routes) share while a table is being compiled. */

#include "routerd/arena.h"
#include "routerd/match.h"
#include "routerd/match_index.h"

/* A compiled service with its memory; in every table that has it. */
struct shared_service {
    struct match_service service; /* first: what tables point to */
    struct table_sum sum;
    uint32_t refs; /* tables; the main thread's, as the next one */
    uint32_t at;   /* in the table before the one being built */
    struct arena arena;
};

static inline struct shared_service *shared_of(const struct match_service *service)
{
    return (struct shared_service *)(uintptr_t)service;
}

struct match_build {
    struct match_table *table;
    const struct match_table *before;
    const struct match_slot_ops *slots;
    struct arena *arena;
    const struct table *source;
    bool same_names; /* services as before, by name and place */
};

/* Of as many cells, with the same keys; where they lead is the caller's to say. */
void match_hash_copy(struct match_hash *to, const struct match_hash *from);
/* Rows of the source, once its services are there. */
_must_check_ int match_build_routes(struct match_build *b, struct error *err);
