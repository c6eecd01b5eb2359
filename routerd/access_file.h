/* SPDX-License-Identifier: MIT */
#pragma once

/* The access log as a file. A thread of its own takes records out of the workers' rings, formats and writes them in
 * batches. It alone waits for the disk: while the disk is slow the rings fill, and what finds them full is dropped and
 * counted, and so are lines that can't be written. The file is opened again when asked to, and when its name leads to
 * another file, as after logrotate: older generations of the process notice it, too. */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "routerd/access_format.h"

#define ACCESS_FILE_LOOK_MS 250 /* between two looks at the rings, unless one of them is half full */
#define ACCESS_FILE_CHECK_MS \
    1000 /* between two looks at where the name leads, and two tries after a failure */

struct access_file;

struct access_file_stats {
    uint64_t lines, bytes; /* written */
    uint64_t dropped;      /* rings were full, or the file could not be written */
    bool failing;          /* the last write failed */
};

/* Opens the file and starts the thread; one ring for each of n_workers is made. */
_must_check_ int access_file_new(const char *path, enum access_format format, unsigned n_workers,
    struct access_file **ret, struct error *err);
/* Writes what is there; the writers are gone. NULL is fine. */
void access_file_free(struct access_file *file);
struct access_ring *access_file_ring(struct access_file *file, unsigned worker);
/* Any thread: there is much to write. */
void access_file_wake(struct access_file *file);
/* Any thread: the file is opened anew before anything else is written. */
void access_file_reopen(struct access_file *file);
struct access_file_stats access_file_stats(struct access_file *file);
