/* SPDX-License-Identifier: MIT */
#pragma once

/* Small files, read whole: error pages, and what a route serves from a folder. Only regular ones, and none outside the
 * folder, whatever links say. They are read at once, on the thread that asks: a file of some kB is in the page cache or
 * one read away, and who is asked for more should be a service. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "common/http1.h"

#define FILES_MAX_KB   1024 /* of a file that is served */
#define FILES_MAX      (FILES_MAX_KB * 1024)
#define FILES_PATH_MAX 1024

/* The name that `path` of a request stands for, its escapes decoded; *ret_len without the NUL behind it. False: it is too
 * long or stands for none: malformed escapes, an encoded NUL, an encoded "/". */
bool files_name(struct http1_slice path, char ret[FILES_PATH_MAX], size_t *ret_len);
/* Reads `folder` + `path` ("/a/b", as files_name gives it; no hidden names but ".well-known").
 * 0; -ENOENT: nothing that may be shown; -EFBIG. *ret is the caller's to free. */
_must_check_ int files_read(
    const char *folder, struct http1_slice path, size_t max, char **ret, size_t *ret_len);
/* "text/html; charset=utf-8" for "index.html"; text/plain without an extension. */
const char *files_type(const char *path, size_t len);
