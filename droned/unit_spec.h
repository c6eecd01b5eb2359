/* SPDX-License-Identifier: MIT */
#pragma once

/* What a transient unit is made of: an order becomes a list of property rows, which systemd_append.c writes out
 * without knowing what they mean. Here is the whole sandbox. Pure: it decides nothing about when. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"

/* Where every instance, build and probe sees its tree, so that absolute paths baked in by a build stay right. */
#define UNIT_APP_DIR "/srv/stagecoach/app"
/* Where a build sees the pristine sources that it starts from. */
#define UNIT_SOURCE_DIR     "/srv/stagecoach/source"
#define UNIT_PREFIX_RUN     "stagecoach-run-"
#define UNIT_PREFIX_BUILD   "stagecoach-build-"
#define UNIT_PREFIX_PROBE   "stagecoach-probe-"
#define UNIT_RESTART_MS     300 /* systemd's own restarts of an instance… */
#define UNIT_START_BURST    5   /* …so many… */
#define UNIT_START_WINDOW_S 10  /* …in so long, then droned decides */

enum property_type {
    PROPERTY_STRING,    /* s: text */
    PROPERTY_BOOL,      /* b: number */
    PROPERTY_INT32,     /* i: number */
    PROPERTY_UINT32,    /* u: number */
    PROPERTY_UINT64,    /* t: number */
    PROPERTY_STRV,      /* as: list */
    PROPERTY_COMMAND,   /* a(sasas): list is one argument vector, taken literally (no $, no %) */
    PROPERTY_ENV_FILES, /* a(sb): list of paths that must exist */
    PROPERTY_FIELDS,    /* aay: list of FIELD=value */
    PROPERTY_ALLOW,     /* (bas): only what the list names */
    PROPERTY_BINDS,     /* a(ssbt): list of source, destination, source, destination… */
    PROPERTY_TYPE_MAX_
};

struct unit_property {
    const char *name; /* a constant */
    enum property_type type;
    int64_t number;
    char *text;
    char **list;
    bool optional; /* a systemd that does not know it may go without */
};

struct unit_spec {
    struct unit_property *rows;
    size_t n_rows, cap;
};

void unit_spec_clear(struct unit_spec *spec);
/* NULL if there is no such row. */
const struct unit_property *unit_spec_find(const struct unit_spec *spec, const char *name);

/* What the host adds to an order. */
struct unit_facts {
    const char *tree;      /* directory that becomes UNIT_APP_DIR */
    const char *env_path;  /* EnvironmentFile */
    const char *state_dir; /* droned's own: hidden */
};

/* An instance. The order is checked (schema, AllowUsers) before. */
void unit_spec_instance(const struct order *order, const struct unit_facts *facts, struct unit_spec *ret);
/* One run of the health command of an instance, in the same sandbox; it ends by itself or after timeout_ms. */
void unit_spec_probe(const struct order *order, const struct unit_facts *facts, struct unit_spec *ret);

struct build_facts {
    const char *key;    /* STAGECOACH_BUILD= of its log lines */
    const char *source; /* pristine tree */
    const char *tree;   /* empty directory that the result is made in */
    const char *env_path;
    const char *state_dir;
    int64_t file_bytes_max; /* of a single file */
};

/* The build of a commit: copies the sources, then runs order->run.build in the copy. */
void unit_spec_build(const struct order *order, const struct build_facts *facts, struct unit_spec *ret);

/* "sc-" + 12 hex digits are what a service's user looks like; builds have a user per app. Caller frees. */
char *unit_build_user(const char *app);
