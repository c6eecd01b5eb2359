/* SPDX-License-Identifier: MIT */
#pragma once

/* The only writer of logs: journal fields where stderr is the journal, "<n>text" lines elsewhere. What a peer
 * sent is made printable before it gets here or by log itself; secrets have no way in.
 * error = someone must act; warning = we coped; info = state changes; debug = the rest. */

#include "common/error.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Whom a line is about. Any may be NULL; each that is set becomes a journal field STAGECOACH_<NAME>=. */
struct log_about {
    const char *host;
    const char *app;
    const char *service;
    const char *version;
    const char *instance;
    const char *deploy;
    const char *request;
    const char *message_id; /* 128-bit id of notable events, as MESSAGE_ID= */
};

void log_init(const char *program); /* decides where lines go */
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* Tests: lines go to fn instead. NULL: back. */
void log_set_sink(void (*fn)(enum log_level level, const struct log_about *about, const char *text));

void log_write(enum log_level level, const struct log_about *about, const char *fmt, ...) _printf_(3, 4);

/* The first argument is a `struct log_about *` or NULL: log_info(&(struct log_about){ .host = d->name }, "…") */
#define log_error(about, ...)   log_write(LOG_LEVEL_ERROR, (about), __VA_ARGS__)
#define log_warning(about, ...) log_write(LOG_LEVEL_WARNING, (about), __VA_ARGS__)
#define log_info(about, ...)    log_write(LOG_LEVEL_INFO, (about), __VA_ARGS__)
#define log_debug(about, ...)                                 \
    do {                                                      \
        if (log_level() >= LOG_LEVEL_DEBUG)                   \
            log_write(LOG_LEVEL_DEBUG, (about), __VA_ARGS__); \
    } while (0)
