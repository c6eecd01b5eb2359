/* SPDX-License-Identifier: MIT */
#pragma once

/* One deploy as people see it: a line per phase, with a cell per host. On a terminal the lines change in place,
 * with the last build output of the slowest host dimmed below; elsewhere every event is a line of its own.
 * Appends to the output's text; knows nothing of hubs. */

#include <stdbool.h>

#include "common/messages.h"

#define PROGRESS_HOSTS_MAX    1000 /* cells of one phase; more are counted, not shown */
#define PROGRESS_OUTPUT_LINES 6    /* of build output below the phases */

struct output;
struct progress;

/* live: change lines in place. */
struct progress *progress_new(struct output *output, bool live);
void progress_free(struct progress *progress);

void progress_event(struct progress *progress, const struct msg_deploy_event *m);
/* The last state of every phase stays, then what came out. */
void progress_result(struct progress *progress, const struct msg_deploy_result *m);
/* Moves the clocks of running phases on; now_us is the wall clock. For a timer, live only. */
void progress_tick(struct progress *progress, int64_t now_us);
/* Leaves the lines as they are, so that something else can be written below them. */
void progress_leave(struct progress *progress);
