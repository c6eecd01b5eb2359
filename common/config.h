/* SPDX-License-Identifier: MIT */
#pragma once

/* INI files into a struct, driven by a table of options; the same table makes --help, --print-config and the
 * test that etc/PROGRAM.conf names every key with its default. A file is read into a new struct and checked
 * whole before anyone sees it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"

enum option_type {
    OPTION_STRING,   /* char * */
    OPTION_INT,      /* int64_t */
    OPTION_BOOL,     /* bool: yes, no, true, false, on, off, 1, 0 */
    OPTION_DURATION, /* int64_t, milliseconds: 250ms, 30s, 5min, 2h */
    OPTION_SIZE,     /* int64_t, bytes: 64K, 256M, 2G */
    OPTION_STRV,     /* char **, separated by white space */
};

struct option_row {
    const char *section, *key;
    enum option_type type;
    size_t offset;
    int64_t min, max;     /* numbers; max 0 = no limit */
    const char *fallback; /* as text, in the form of a file */
    const char *help;     /* one sentence */
};

struct option_table {
    const char *program; /* "stagecoach-hubd" */
    size_t size;         /* of the struct */
    const struct option_row *rows;
    size_t n_rows;
};

/* Sets every fallback, then reads path over it. No file is fine unless must_exist. Errors name file, line and
 * key, and the nearest key for a misspelt one. On failure *obj is empty. */
_must_check_ int config_load(
    const struct option_table *table, const char *path, bool must_exist, void *obj, struct error *err);
/* One "Section.Key=value" over what is there, as the command line's --set does. */
_must_check_ int config_set(
    const struct option_table *table, void *obj, const char *assignment, struct error *err);
void config_clear(const struct option_table *table, void *obj);
/* As a file: every key with its help and its present value; commented out where it equals the default. */
void config_print(const struct option_table *table, const void *obj, struct strbuf *out);

/* What every daemon takes on its command line, beside `extra` rows of its own. */
struct daemon_args {
    const char *config_path; /* default /etc/stagecoach/PROGRAM.conf */
    bool config_given;
    char **settings; /* --set=Section.Key=value, repeatable */
};
