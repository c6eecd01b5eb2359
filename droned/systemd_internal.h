/* SPDX-License-Identifier: MIT */
#pragma once

/* What systemd.c (connection, units, signals) and systemd_job.c (calls and their jobs) share. */

#include "common/list.h"
#include "common/loop.h"
#include "droned/systemd.h"

#define SYSTEMD_NAME      "org.freedesktop.systemd1"
#define SYSTEMD_PATH      "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER   "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT_PATH "/org/freedesktop/systemd1/unit"

struct bus;
struct sd_bus_message;

struct systemd {
    struct loop *loop;
    struct systemd_spec spec;
    struct sd_bus *connection; /* borrowed from bus; NULL: not connected */
    struct bus *bus;
    struct timer reconnect;
    struct map *units;              /* name → struct unit_status */
    struct map *unknown_properties; /* names that this systemd refused */
    struct list queries;            /* property reads to come or in flight */
    size_t n_queries;
    struct list jobs; /* in order of asking */
    size_t n_active;  /* of them sent */
    bool listing;     /* units are being read; ready when queries are done */
    bool ready;
    bool host_stopping;
    int shutdown_lock;    /* of logind; -1: none */
    struct timer release; /* of it */
    bool lost_logged;
};

struct unit_status *systemd_unit_slot(struct systemd *systemd, const char *name);
bool systemd_is_ours(const char *unit);

/* systemd_job.c */
void systemd_jobs_pump(struct systemd *systemd);
void systemd_job_removed(struct systemd *systemd, const char *path, const char *unit, const char *result);
/* Completes everything that was sent with -ECONNRESET; what waits goes on waiting. */
void systemd_jobs_lost(struct systemd *systemd);
void systemd_jobs_free(struct systemd *systemd);

/* systemd_append.c: the rows of spec as a(sv), without those in `without`. Negative errno. */
int systemd_append_spec(struct sd_bus_message *m, const struct unit_spec *spec, const struct map *without);

/* systemd_shutdown.c */
void systemd_shutdown_init(struct systemd *systemd);
void systemd_shutdown_done(struct systemd *systemd);
/* direct: straight to PID 1, where no logind can be. */
int systemd_watch_shutdown(struct systemd *systemd, bool direct);
