/* SPDX-License-Identifier: MIT */
#pragma once

/* PID 1 as droned sees it: its units of ours, kept up to date by signals, and jobs on them. The only module that
 * sends on the bus. It reports what is and carries out what it is told; what should be is instance.c's.
 *
 * The seam for tests is the connection: open_bus may hand out one end of a socketpair with a fake manager at the
 * other, so that every byte of the real protocol is exercised without root and without systemd. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/map.h"

#define SYSTEMD_JOBS_MAX          64     /* queued in PID 1 at once; with some 500 it falls off the bus */
#define SYSTEMD_QUERIES_MAX       32     /* property reads in flight */
#define SYSTEMD_JOB_MS            100000 /* a job without an end by then is given up: -ETIMEDOUT */
#define SYSTEMD_RECONNECT_MS      1000   /* between attempts to reach the bus */
#define SYSTEMD_SHUTDOWN_DELAY_MS 3000
#define UNIT_NAME_MAX             256

struct loop;
struct sd_bus;
struct systemd;
struct unit_spec;

enum unit_active {
    UNIT_INACTIVE,
    UNIT_ACTIVATING,
    UNIT_ACTIVE,
    UNIT_RELOADING,
    UNIT_DEACTIVATING,
    UNIT_FAILED,
    UNIT_ACTIVE_MAX_
};
extern const char *const unit_active_names[UNIT_ACTIVE_MAX_];

/* What systemd says of a loaded unit. */
struct unit_status {
    char name[UNIT_NAME_MAX];
    int active;       /* enum unit_active */
    char sub[32];     /* "running", "auto-restart", "stop-sigterm", … */
    char result[32];  /* "success", "exit-code", "signal", "timeout", "oom-kill", … */
    int64_t main_pid; /* 0: none */
    int64_t
        exit_code; /* how the main process ended last: CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0: it did not */
    int64_t exit_status;           /* its status or signal */
    int64_t restarts;              /* by systemd itself, since it was started */
    int64_t started_us, exited_us; /* wall clock, of the main process */
    char **log_fields;             /* LogExtraFields; only of units that ran when we connected */
};

/* The unit waits for systemd's own restart. */
bool unit_is_between_restarts(const struct unit_status *unit);
/* "exited with status 1", "killed by SIGKILL", "did not start: …": how it ended, for people. Caller frees. */
char *unit_end_text(const struct unit_status *unit);

struct systemd_spec {
    /* A connection that is started, or a negative errno. */
    int (*open_bus)(void *owner, struct sd_bus **ret);
    /* Something of it changed. gone: it is not loaded any more; unit says what was known last. */
    void (*on_unit)(void *owner, const struct unit_status *unit, bool gone);
    /* Connected, and all units are known. Again after each reconnection: units may have changed or gone. */
    void (*on_ready)(void *owner);
    /* The host goes down; or not after all. */
    void (*on_host_stopping)(void *owner, bool stopping);
    void *owner;
};

/* Connects, and connects again when the connection is lost. */
struct systemd *systemd_new(struct loop *loop, const struct systemd_spec *spec);
void systemd_free(struct systemd *systemd);
bool systemd_is_ready(const struct systemd *systemd);
/* Lets a shutdown begin that waits for us; it does so by itself after SYSTEMD_SHUTDOWN_DELAY_MS. */
void systemd_release_shutdown(struct systemd *systemd);
/* NULL: not loaded. Borrowed until the next turn. */
const struct unit_status *systemd_unit(const struct systemd *systemd, const char *name);
/* Name → struct unit_status, of all units of ours. */
const struct map *systemd_units(const struct systemd *systemd);

/* open_bus of the real one: the system bus, or without one systemd's private socket. */
int systemd_open_bus(void *owner, struct sd_bus **ret);

/* result: 0, or -EIO failed, -EEXIST a unit of that name is loaded, -ECANCELED, -ETIMEDOUT (unknown),
 * -ECONNRESET (unknown: the bus went away; on_ready follows), -EPERM and others as systemd said. Runs exactly
 * once, never before the call returned. */
typedef void (*systemd_done_fn)(void *arg, int result, const char *text);

/* fn may be NULL. timeout_ms 0: SYSTEMD_JOB_MS. Rows that are optional and unknown to this systemd are left out. */
void systemd_start(struct systemd *systemd, const char *unit, const struct unit_spec *spec,
    int64_t timeout_ms, systemd_done_fn fn, void *arg);
/* A unit that is not loaded is stopped: 0. */
void systemd_stop(
    struct systemd *systemd, const char *unit, int64_t timeout_ms, systemd_done_fn fn, void *arg);
void systemd_kill(struct systemd *systemd, const char *unit, int signal, systemd_done_fn fn, void *arg);
/* Forgets a failed unit and its count of starts. */
void systemd_reset_failed(struct systemd *systemd, const char *unit, systemd_done_fn fn, void *arg);
/* No callback with this arg comes any more; the jobs themselves go on. */
void systemd_forget(struct systemd *systemd, const void *arg);
