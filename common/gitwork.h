/* SPDX-License-Identifier: MIT */
#pragma once

/* The helper program for git work, seen from a daemon: one unprivileged process per job, so that nothing blocks
 * a loop and no daemon links the git library. It writes one JSON object per line (struct gitwork_row) on its
 * standard output; exit status 0 = done, 1 = failed and the last row's `error` is one sentence that says why.
 *
 *   stagecoach-gitwork index REPO
 *        The pack on standard input (thin is fine) goes into the bare repository REPO, which is made if it is
 *        not there. Row: objects, bytes.
 *   stagecoach-gitwork checkout [--fsync] REPO COMMIT DIRECTORY
 *        The tree of COMMIT as files in DIRECTORY, which must not exist and whose parent must; modes 0644, 0755,
 *        directories 0755, links only where they stay inside; every object is checked against its id. On
 *        failure DIRECTORY is gone again. Row: commit, tree, files, links, directories, bytes.
 *   stagecoach-gitwork manifest [--quarantine=DIR] [--tag=NAME=ID]... REPO ID...
 *        One row per id (of a commit or of a tag): name (the id), commit, tree, subject, time_s, and what
 *        describes its services: manifest, or package and procfile, and the newest version tag on its history.
 *        No commit in the row: the id leads to none. --tag names tags that the same push brings and that are no
 *        refs yet.
 *   stagecoach-gitwork resolve REPO NAME
 *        NAME is a commit, a prefix of one (at least 4 digits), or a tag, with or without "v" in front. One row
 *        per commit that it can mean (none: not found), as for manifest without the texts; `name` is the tag.
 *   stagecoach-gitwork refs REPO
 *        One row per ref: name, and commit as it is after peeling tags (NULL if it leads to none).
 *   stagecoach-gitwork has REPO COMMIT...
 *        One row for each of them that is there with its tree: commit.
 *   stagecoach-gitwork run [--read=PATH]... [--write=PATH]... PROGRAM ARGUMENT...
 *        Becomes PROGRAM, which can reach nothing but what programs need to run, and these paths. For stock git.
 *
 * Every job shuts itself in the same way, where the kernel can (Landlock), before it reads what a stranger wrote.
 * Limits of a check-out and of a manifest are named below and in gitwork's refusals. This module does not know
 * what a manifest means. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define GITWORK_PATH "/usr/libexec/stagecoach/stagecoach-gitwork"

#define GITWORK_MANIFEST_MAX   (256 * 1024)        /* bytes of a manifest file */
#define GITWORK_FILES_MAX      500000              /* files, links and directories of a check-out */
#define GITWORK_TREE_BYTES_MAX (INT64_C(16) << 30) /* bytes of a check-out */
#define GITWORK_PATH_DEPTH_MAX 128                 /* directories below each other */
#define GITWORK_PACK_BYTES_MAX (INT64_C(8) << 30)  /* bytes of a pack that comes in */
#define GITWORK_OUTPUT_MAX     (64 * 1024 * 1024)  /* bytes of all rows of one job */
#define GITWORK_COMMITS_MAX    1000                /* commits asked for in one job */
#define GITWORK_SUBJECT_MAX    200                 /* bytes of a subject, cut on a character */
#define GITWORK_CANDIDATES_MAX 20                  /* commits listed for an ambiguous prefix */
#define GITWORK_IDLE_MS        (10 * 60 * 1000) /* from the start, or the last input, to the end of a job */

struct child;
struct gitwork;
struct loop;

struct gitwork_row {
    char *error; /* the job failed: one sentence */
    char *name;  /* refs: of the ref; resolve: the tag that was meant */
    char *commit;
    char *tree;
    char *subject;  /* first line of the commit message, printable */
    int64_t time_s; /* commit time, seconds since 1970 */
    char *manifest; /* text of stagecoach.json */
    char *package;  /* text of package.json */
    char *procfile; /* text of Procfile */
    bool lockfile;  /* there is a package-lock.json */
    char *tag;      /* newest version tag on the commit's history: "1.2.0", without a "v" */
    int64_t objects, bytes;
    int64_t files, links, directories;
};

extern const struct schema gitwork_row_schema;

/* Runs once when the helper has ended, never before gitwork_start has returned. result 0: rows are what it said
 * (borrowed; there may be none). Negative: failed, reason is one sentence for people. */
typedef void (*gitwork_done_fn)(
    void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows);
/* Standard input has room again after gitwork_write said that it is full. */
typedef void (*gitwork_room_fn)(void *arg);

struct gitwork_spec {
    const char *program;     /* NULL: GITWORK_PATH */
    const char *const *args; /* verb first, without the program; NULL at the end */
    bool input;              /* index: bytes come by gitwork_write */
    uid_t uid;               /* 0: keep */
    gid_t gid;
    int nice;
    gitwork_done_fn on_done;
    gitwork_room_fn on_room; /* NULL without input */
    void *arg;
};

_must_check_ int gitwork_start(
    struct loop *loop, const struct gitwork_spec *spec, struct gitwork **ret, struct error *err);
/* Kills a helper that still runs; no callback comes after it. After on_done the job is to be freed as well, and
 * may be within it. */
void gitwork_free(struct gitwork *job);

#define GITWORK_INPUT_HIGH (256 * 1024)
/* Queues bytes; false: more than GITWORK_INPUT_HIGH wait, stop until on_room. */
bool gitwork_write(struct gitwork *job, const void *data, size_t len);
void gitwork_end_input(struct gitwork *job);
