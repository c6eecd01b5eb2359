/* SPDX-License-Identifier: MIT */
#pragma once

/* State files that are whole or absent: written to a temporary name beside the target, fsynced, renamed, the
 * directory fsynced. Does not know what is in them. */

#include <stddef.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/strbuf.h"

#define STATEFILE_SIZE_MAX (256 * 1024 * 1024)

_must_check_ int statefile_write(
    const char *path, const void *data, size_t len, mode_t mode, struct error *err);
/* Appends the content to *ret. -ENOENT if there is none; files above max bytes are refused. */
_must_check_ int statefile_read(const char *path, size_t max, struct strbuf *ret, struct error *err);
/* All of it, however often the kernel takes a part only. Negative errno. */
_must_check_ int statefile_write_all(int fd, const char *data, size_t len);
/* Unlinks and fsyncs the directory; no file is fine. */
_must_check_ int statefile_remove(const char *path, struct error *err);
/* mkdir -p with mode for what is made; refuses a symlink or a file in the way. */
_must_check_ int statefile_mkdir(const char *path, mode_t mode, struct error *err);
