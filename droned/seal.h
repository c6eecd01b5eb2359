/* SPDX-License-Identifier: MIT */
#pragma once

/* The helper program that makes a finished tree safe to run from: nothing in it is writable, everything belongs
 * to the owner of the process, links stay inside, no set-id bits, no devices; all of it is on disk when it ends.
 * Its own process, since a tree may have a million files.
 *
 *   stagecoach-seal [--max-bytes=N] DIRECTORY
 *
 * Exit status 1 with one sentence on standard error if the tree is refused. */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define SEAL_PATH        "/usr/libexec/stagecoach/stagecoach-seal"
#define SEAL_ENTRIES_MAX 2000000
#define SEAL_DEPTH_MAX   256

struct loop;
struct seal;

/* Once, never before seal_start has returned. */
typedef void (*seal_fn)(void *arg, int result, const char *reason);

/* program NULL: SEAL_PATH. max_bytes 0: no limit. */
_must_check_ int seal_start(struct loop *loop, const char *program, const char *dir, int64_t max_bytes,
    seal_fn fn, void *arg, struct seal **ret, struct error *err);
void seal_free(struct seal *seal); /* kills it; also inside fn; NULL is fine */
