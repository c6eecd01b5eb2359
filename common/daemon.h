/* SPDX-License-Identifier: MIT */
#pragma once

/* What the three mains share: command line, descriptors from systemd by name, readiness and status, watchdog,
 * process limits. The only module that sees sd-daemon. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/error.h"
#include "common/loop.h"

#define STAGECOACH_VERSION_TEXT STAGECOACH_VERSION /* from the build */

/* umask 0077, SIGPIPE ignored, descriptor limit raised, log set up. First line of every main. */
void daemon_init(const char *program);

/* Handles --help, --version, --print-config, --config=FILE, --set=Section.Key=VALUE, and every key of the table as
 * an option of its own (Key "TableFile": --table-file=VALUE); loads the configuration into obj. What the command
 * line sets is in ret_args->settings, the caller's to free with strv_free.
 * about: one sentence on what the program is, for --help.
 * 0: go on. Positive: end with exit status (value - 1). Negative: refused, err says why (exit status 2). */
_must_check_ int daemon_configure(const struct option_table *table, int argc, char **argv, const char *about,
    void *obj, struct daemon_args *ret_args, struct error *err);

/* The file and the command line's settings over it, into a fresh obj: for a reload. On failure *obj is empty. */
_must_check_ int daemon_load_config(
    const struct option_table *table, const struct daemon_args *args, void *obj, struct error *err);

/* Descriptors handed over by systemd under `name`, in their order; *ret_fds is the caller's. Returns the count.
 * The descriptors are close-on-exec and non-blocking; each can be taken once. */
int daemon_take_fds(const char *name, int **ret_fds);
/* The next one whose name begins with `prefix`; *ret_rest (what follows it) is the caller's. False: no more. */
bool daemon_take_named_fd(const char *prefix, int *ret_fd, char **ret_rest);

void daemon_ready(const char *status_fmt, ...) _printf_(1, 2);
/* Not told where systemd does not keep up. */
void daemon_status(const char *fmt, ...) _printf_(1, 2);
void daemon_reloading(void);
void daemon_stopping(void);
/* Another process takes our place as the service's main one, and does the talking from now on: nothing more is told to
 * systemd from here, the watchdog is no longer fed. */
void daemon_hand_over(pid_t pid);

/* Feeds systemd's watchdog from the loop at half its interval, as long as alive_fn (may be NULL) says true. */
void daemon_watchdog(struct loop *loop, bool (*alive_fn)(void *arg), void *arg);
