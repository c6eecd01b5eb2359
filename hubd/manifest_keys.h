/* SPDX-License-Identifier: MIT */
#pragma once

/* The keys of a service in stagecoach.json: what each may hold, its default, and the sentence that refuses it.
 * Only for manifest.c, which owns files and services. Pure. */

#include "common/error.h"

struct json;
struct manifest_service;
struct run_spec;

struct manifest_reader {
    const char *file;    /* for messages */
    const char *service; /* that is being read; NULL at the top */
    struct error *err;
};

/* NULL: refused with file and line. */
struct json *manifest_parse(struct manifest_reader *rd, const char *text);
_must_check_ int manifest_read_service(
    struct manifest_reader *rd, const struct json *v, struct manifest_service *service);

void manifest_run_defaults(struct run_spec *run);
/* Fills what depends on other keys: the kind of health check of a service with and without a port. */
void manifest_run_finish(struct run_spec *run);

/* `FILE:LINE: "KEY" must be MUST, not …`; -EINVAL. */
int manifest_bad(struct manifest_reader *rd, const struct json *v, const char *must);
/* `FILE:LINE: unknown key "KEY" in …, did you mean …?`; known ends with NULL. */
int manifest_unknown_key(
    struct manifest_reader *rd, const struct json *v, const char *where, const char *const *known);
