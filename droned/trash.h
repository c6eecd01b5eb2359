/* SPDX-License-Identifier: MIT */
#pragma once

/* Directories on their way out: renamed aside at once, so that the name is free and nobody sees half of one, and
 * removed by a child process of low priority. */

#include "common/error.h"

struct loop;
struct trash;

/* dir: on the same file system as what is thrown into it. What lies there from before is removed. */
struct trash *trash_new(struct loop *loop, const char *dir);
void trash_free(struct trash *trash);
/* No such path is fine. */
_must_check_ int trash_take(struct trash *trash, const char *path, struct error *err);
