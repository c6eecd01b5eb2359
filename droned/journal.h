/* SPDX-License-Identifier: MIT */
#pragma once

/* The only reader of the journal: the last lines of something that just ended, and logs that are followed.
 * Lines of instances carry STAGECOACH_* fields (unit_spec.c); lines about them that daemons wrote are left out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"

#define JOURNAL_LINE_MAX    4096 /* bytes of a line; the rest is cut off */
#define JOURNAL_LAST_LINES  20   /* of an instance that ended */
#define JOURNAL_BATCH_LINES 100  /* given to on_lines at once */
#define JOURNAL_BATCH_BYTES (48 * 1024)
#define JOURNAL_SCAN_MAX    20000 /* entries looked at for lines of the past */

struct loop;

/* What to read: each that is not NULL has to match. */
struct journal_match {
    const char *service, *version, *instance, *build;
};

struct journal_query {
    struct journal_match match;
    int64_t since_us; /* wall clock */
    size_t lines;
};

/* Appends at most query->lines last lines, oldest first, to *ret, printable. */
_must_check_ int journal_tail(const struct journal_query *query, char ***ret, struct error *err);

/* Reads the same from somewhere else: for tests. NULL: back. */
typedef int (*journal_tail_fn)(void *arg, const struct journal_query *query, char ***ret);
void journal_set_tail(journal_tail_fn fn, void *arg);

/* --- the last lines of an exit --------------------------------------------------------------------------------
 * What a process wrote last arrives in the journal a little after its end is known: it is asked for at once, and
 * again after 50 and 120 ms, until nothing more comes. */

struct journal_exit;

typedef void (*journal_exit_fn)(
    void *arg, char **lines); /* borrowed; once, never before journal_exit_new returned */

struct journal_exit *journal_exit_new(
    struct loop *loop, const struct journal_query *query, journal_exit_fn fn, void *arg);
void journal_exit_free(struct journal_exit *exit); /* NULL is fine; cancels */

/* How systemd said that a unit's main process ended, after since_us: for units that are gone already. False:
 * it said nothing. */
bool journal_unit_end(const char *unit, int64_t since_us, int64_t *ret_code, int64_t *ret_status);

/* --- logs that are followed --------------------------------------------------------------------------------------- */

struct journal_follow;

struct journal_follow_spec {
    struct journal_match match; /* copied */
    int64_t lines;              /* from the past */
    bool follow;                /* and what comes */
    void (*on_lines)(void *arg, struct log_line *lines, size_t n);
    /* All of the past was given and nothing follows, or reading failed: reason. */
    void (*on_end)(void *arg, const char *reason);
    void *arg;
};

_must_check_ int journal_follow_new(struct loop *loop, const struct journal_follow_spec *spec,
    struct journal_follow **ret, struct error *err);
void journal_follow_free(struct journal_follow *follow);
void journal_follow_pause(struct journal_follow *follow, bool pause);
