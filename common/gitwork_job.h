/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside the helper program: what its jobs share. Each job is one function that writes rows and returns 0, or a
 * negative errno with the sentence. Only these files see the git library. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/gitwork.h"

struct git_oid;
struct git_repository;
struct git_commit;

struct job {
    const char *quarantine; /* --quarantine */
    char **tags;            /* --tag, "NAME=COMMIT" */
    bool fsync;             /* --fsync */
    char **reads, **writes; /* --read, --write */
};

typedef int (*job_fn)(const struct job *job, char **args, int n_args, struct error *err);

int job_index(const struct job *job, char **args, int n_args, struct error *err);
int job_checkout(const struct job *job, char **args, int n_args, struct error *err);
int job_manifest(const struct job *job, char **args, int n_args, struct error *err);
int job_resolve(const struct job *job, char **args, int n_args, struct error *err);
int job_refs(const struct job *job, char **args, int n_args, struct error *err);
int job_has(const struct job *job, char **args, int n_args, struct error *err);
int job_run(const struct job *job, char **args, int n_args, struct error *err);

/* From here on the job can reach nothing but what programs need to run, and these (each may be NULL). */
_must_check_ int job_confine(const struct job *job, const char *reads, const char *writes, struct error *err);
/* The same for a check-out into the directory top, which its parent's descriptor may remove again. */
_must_check_ int job_confine_checkout(
    const struct job *job, const char *repo, int top, int parent, struct error *err);

/* One line on standard output. */
void job_row(const struct gitwork_row *row);

/* The bare repository, with the quarantine's objects if there is one. */
_must_check_ int job_open(
    const struct job *job, const char *path, struct git_repository **ret, struct error *err);
/* Exactly 40 hex digits that name a commit which is there. */
_must_check_ int job_commit(
    struct git_repository *repo, const char *hex, struct git_commit **ret, struct error *err);
/* Fills commit, tree, subject and time_s; the row's strings are the caller's to free. */
void job_describe(struct git_commit *commit, struct gitwork_row *row);
/* "…: what the git library says". */
int job_git_error(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);
