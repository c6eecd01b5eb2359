/* SPDX-License-Identifier: MIT */
#pragma once

/* Built trees on this host: builds/APP/COMMIT-KEY, made once per commit, build command and environment, in a
 * sandboxed unit of its own, and never written again. A build that runs when droned is restarted is waited for;
 * one that failed is remembered, and not tried again until it is asked for.
 *
 *   building/KEY               the tree while it is made; KEY.env its environment
 *   builds/APP/COMMIT-KEY      the result; COMMIT-KEY.failed instead: why there is none */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"

#define BUILD_KEY_LEN      16
#define BUILD_LAST_LINES   40 /* of a failed build's log */
#define BUILD_KEEP_UNUSED  3
#define BUILD_SETTLE_MS    500 /* for the state of a failed unit to arrive after its job */
#define BUILD_JOB_SLACK_MS 60000

struct builds;
struct loop;
struct systemd;
struct trash;
struct unit_status;

/* result 0: build_path() is there. -EACCES: it failed; reason and last lines say why. Once, never before
 * build_ensure has returned. */
typedef void (*build_fn)(void *arg, int result, const char *reason, char **lines, int64_t ms);

struct builds_spec {
    const char *state_dir;
    const char *seal; /* NULL: the installed one */
    int64_t at_once;
    int64_t bytes_max; /* of a result */
    struct systemd *systemd;
    struct trash *trash;
    bool (*is_used)(void *owner, const char *app, const char *commit, const char *key);
    void *owner;
};

struct builds *builds_new(struct loop *loop, const struct builds_spec *spec);
void builds_free(struct builds *builds);

/* What the order's build is known by: STAGECOACH_BUILD of its log lines. NULL: it has none. Caller frees. */
char *build_key(const struct order *order);
/* Caller frees. */
char *build_path(const struct builds *builds, const struct order *order);

/* The order is copied. again: what failed before is tried anew. */
void build_ensure(
    struct builds *builds, const struct order *order, const char *source, bool again, build_fn fn, void *arg);
void build_forget(struct builds *builds, const void *arg);
void builds_collect(struct builds *builds, const char *app);

/* From systemd: a unit of a build changed; all units are known (again). */
void builds_on_unit(struct builds *builds, const struct unit_status *unit, bool gone);
void builds_on_ready(struct builds *builds);
