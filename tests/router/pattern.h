/* SPDX-License-Identifier: MIT */
#pragma once

/* What checker and service agree on. A request is GET or POST /SIZE/ID; its answer is "VERSION ID SIZE\n" and SIZE bytes
 * that follow from ID, with a Content-Length where SIZE is even and in chunks where it is odd. A POST's body is the same
 * SIZE bytes. */

#include <stddef.h>
#include <stdint.h>

#define PATTERN_SIZE_MAX (1 << 20)

static inline char pattern_at(uint64_t id, size_t i)
{
    return (char)('a' + (id * 7 + i) % 26);
}

static inline void pattern_fill(char *buf, uint64_t id, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = pattern_at(id, i);
}

/* Offset of the first byte that is wrong, n if none is. */
static inline size_t pattern_check(const char *buf, uint64_t id, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (buf[i] != pattern_at(id, i))
            return i;
    }
    return n;
}
