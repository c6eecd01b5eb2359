/* SPDX-License-Identifier: MIT */
#pragma once

/* The keys of a service in stagecoach.json: what each may hold, its default, and the sentence that refuses it.
 * Readers of single values are in manifest_values.c, the tables of keys in manifest_keys.c and manifest_routes.c. Only for manifest.c,
 * which owns files and services. Pure. */

#include <stddef.h>
#include <stdint.h>

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
/* The same for one item of a list or object, which has no key of its own or one that is no keyword. */
int manifest_bad_item(
    struct manifest_reader *rd, const struct json *list, const struct json *item, const char *must);

/* --- tables of keys ---------------------------------------------------------------------------------------- */

#define MANIFEST_KEYS_MAX 16

struct manifest_key;
typedef int (*manifest_read_fn)(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);

struct manifest_key {
    const char *name;
    manifest_read_fn read;
    size_t offset; /* in the target */
    int64_t min, max;
    const char *must;
};

/* Every member of an object by its row; unknown ones are refused. where: "service \"web\"", for messages. */
_must_check_ int manifest_read_keys(struct manifest_reader *rd, const struct json *object,
    const struct manifest_key *keys, size_t n_keys, const char *where, void *target);

/* Readers for rows. The target is a bool, an int64_t (number, milliseconds, bytes, percent), a char * (text) or a
 * char ** (argv: a string is run by /bin/sh -c, a list is the arguments as they are). */
int manifest_read_bool(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_int(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_duration(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_size(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_percent(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_text(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
int manifest_read_argv(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
/* manifest_routes.c: the target is the struct manifest_service. */
int manifest_read_routes(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target);
