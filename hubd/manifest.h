/* SPDX-License-Identifier: MIT */
#pragma once

/* What a commit says about its services: stagecoach.json, or package.json, or a Procfile, turned into services
 * with every default filled in. Every refusal is one sentence with file, line and key. It does not know where
 * the text came from, nor whether names and routes belong to somebody else already. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"
#include "common/table_route.h"
#include "hubd/requests.h"

#define MANIFEST_SERVICES_MAX 100
#define MANIFEST_COMMAND_MAX  32768 /* bytes of a command, all arguments */
#define MANIFEST_ARGS_MAX     256
#define MANIFEST_DEPENDS_MAX  100
#define MANIFEST_ROUTES_MAX   100
#define MANIFEST_ENV_MAX      200
#define MANIFEST_ENV_BYTES_MAX \
    (128 * 1024) /* all pairs of a service; a kernel takes 2 MiB with the command */
#define MANIFEST_VERSION_DEFAULT "0.0.0"

/* Nothing in the commit describes services: it may be pushed, there is nothing to run. */
enum { MANIFEST_ABSENT = 1 };

struct manifest_service {
    char *name;
    char *version;
    struct run_spec run;
    char **depends; /* pairs NAME=RANGE; NAME is a service or "config:…" */
    char **routes;  /* "www.example.com" or "example.com/shop", host in lower case, no "/" at the end */
    struct table_route *route_rules; /* rows of the table for those that have rules */
    size_t n_route_rules;
    int64_t instances;
    struct requests_spec requests;
};

struct manifest {
    const char *file; /* "stagecoach.json", "package.json" or "Procfile" */
    struct manifest_service *services;
    size_t n_services;
};

extern const struct schema manifest_service_schema;

/* Texts may be NULL for a file that is not there. */
struct manifest_source {
    const char *app;      /* names the services of a Procfile */
    const char *manifest; /* stagecoach.json */
    const char *package;  /* package.json */
    const char *procfile;
    bool lockfile;   /* package-lock.json is there: the build is `npm ci` */
    const char *tag; /* newest version tag, without "v": the version where none is written */
};

_must_check_ int manifest_read(const struct manifest_source *source, struct manifest *ret, struct error *err);
void manifest_clear(struct manifest *manifest);
const struct manifest_service *manifest_get(const struct manifest *manifest, const char *service);

/* "64M", "2G", "1024": bytes. 0 or -EINVAL. */
int manifest_size_parse(const char *s, int64_t *ret_bytes);
