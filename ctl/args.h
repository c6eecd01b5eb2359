/* SPDX-License-Identifier: MIT */
#pragma once

/* The command line, read by its usage line: "deploy TARGET [--instances=N] [--host=HOST]..." is what help
 * prints and also what is parsed, so the two can't differ. Knows no verbs. Pure.
 *
 * A usage line is words separated by blanks:
 *   NAME  [NAME]  [NAME]...          arguments: needed, optional, any number
 *   [--flag]  [--key=VALUE]          options; [-n|--lines=N] has a short form; [--wait|--no-wait] are two
 *   [--key=VALUE]...                 an option that may be repeated
 * VALUE says what is taken: N a whole number, TIME a duration, K=V an assignment, anything else any text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct args {
    char **words;   /* arguments in order */
    char **options; /* "key=value" in order; flags have an empty value */
};

/* What every verb takes. */
extern const char args_global_usage[];

/* argv without the verb. On failure *ret is empty. */
_must_check_ int args_parse(const char *usage, char *const *argv, struct args *ret, struct error *err);
void args_done(struct args *args);

const char *args_word(const struct args *args, size_t i);        /* NULL: not given */
bool args_has(const struct args *args, const char *key);         /* "no-wait" */
const char *args_text(const struct args *args, const char *key); /* the last one given, or NULL */
char **args_list(const struct args *args, const char *key);      /* all of them; caller frees */
int64_t args_number(const struct args *args, const char *key, int64_t fallback);
int64_t args_time_ms(const struct args *args, const char *key, int64_t fallback);
