/* SPDX-License-Identifier: MIT */
#pragma once

/* One fuzz target: built with libFuzzer (-Dfuzz=true, clang), or with replay_main.c as a normal test. What it
 * asserts holds for every input. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert, in every build. */
#define must(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* The input as a C string; the caller frees. */
static inline char *as_text(const uint8_t *data, size_t size)
{
    return xmemdup(data, size);
}
