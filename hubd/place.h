/* SPDX-License-Identifier: MIT */
#pragma once

/* Which hosts get an instance: facts in, list or reasons out. Copies of one release are spread over hosts; among
 * equals the host with the fewest instances, then the one with the most free memory, then by name. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define PLACE_REASONS_MAX 12 /* hosts named in a refusal */

struct place_host {
    const char *name;
    bool online;
    const char *problem;       /* why it takes nothing ("cordoned by ops"); NULL: it does */
    int64_t away_ms;           /* when not online */
    int64_t memory_free_bytes; /* -1: unknown, then it is not counted */
    int64_t n_instances;
    int64_t n_same; /* of the release to be placed */
};

struct place_wish {
    const char *what; /* "web@0.2.4" */
    int64_t count;
    int64_t total;        /* as the user counts: with those that run already; for the refusal's text */
    char *const *hosts;   /* only these; NULL: any */
    int64_t memory_bytes; /* of one instance; 0: no limit, always fits */
};

/* ret_hosts: `count` indices into hosts. Negative: refused with a line per host, nothing chosen. */
_must_check_ int place(const struct place_wish *wish, const struct place_host *hosts, size_t n_hosts,
    size_t *ret_hosts, struct error *err);

/* "256M", "1.5G"; buf of 32 bytes, returned. */
char *place_format_bytes(int64_t bytes, char *buf);
