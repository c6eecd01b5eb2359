/* SPDX-License-Identifier: MIT */
#pragma once

/* One instance on this host: tree → port → unit → healthy → … → gone. An order says what is wanted, systemd what
 * is; this brings the two together and tells the hub about every change.
 *
 *   waiting → fetching → building → starting → probing → running ⇄ unhealthy
 *                                       ▲          │         │
 *                                       └── backing-off ◄────┘    stopping → stopped | failed | gone
 *
 * Until it was healthy once an instance is on probation: its first exit, or its deadline, ends it. After that
 * systemd restarts it at once, and when it gives up, we do, more and more slowly. instance_start.c has the way
 * up, instance_unit.c what systemd tells and the way down. */

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/loop.h"
#include "common/messages.h"

#define INSTANCE_FETCH_RETRY_MS     1000 /* doubles up to… */
#define INSTANCE_FETCH_RETRY_MAX_MS 30000
#define INSTANCE_START_TRIES        10 /* while the name of its unit is still in use */
#define INSTANCE_START_RETRY_MS     300
#define INSTANCE_BACK_OFF_MS        10000  /* droned's restarts: 10 s, 20 s … */
#define INSTANCE_BACK_OFF_MAX_MS    300000 /* … 5 min */
#define INSTANCE_BACK_OFF_TRIES     10     /* then it is given up */
#define INSTANCE_SETTLE_MS          200    /* a failed unit that is not restarted by then stays failed */
#define INSTANCE_STEADY_MS          600000 /* running for so long: the tries count from 0 again */
#define INSTANCE_UNHEALTHY_AFTER    3      /* failed probes in a row */
#define INSTANCE_STOP_SLACK_MS      10000  /* past the kill time: systemd is asked again */

struct droned;
struct instance_file;
struct journal_exit;
struct probe;
struct unit_status;

struct instance {
    struct droned *droned;
    char *id;
    struct order order;
    bool dropped;
    int phase; /* enum instance_phase; only instance_set_phase assigns it */
    int64_t generation;
    char *host;   /* address it listens on; NULL: none yet */
    int64_t port; /* 0: none */
    bool was_healthy;
    bool by_hand;
    char *reason;
    char **lines;
    char *boot_id;
    wall_t since;
    int64_t restarts, tries;
    int64_t fetch_ms, build_ms, start_ms, healthy_ms;
    int64_t fetch_objects, fetch_bytes;

    char *unit;
    char *address; /* host and port in one; NULL without */
    int64_t pid;
    int64_t memory_bytes;
    int64_t passes;
    struct timer timer; /* the phase's one timer */
    struct probe *probe;
    struct journal_exit *exit;
    int64_t fetch_retry_ms;
    int start_tries;
    char *exec_end;    /* how the last health command ended */
    bool port_changed; /* the one other port was taken already */
    bool waiting;      /* backing off: for our own restart, not for systemd's */
    bool start_sent;   /* what its unit does is about this start, not about what was left of an earlier one */
    bool again;        /* the build is to be tried anew */
    bool verdict;      /* on probation and over: its last lines are read, then it has failed */
    int64_t last_exit_us; /* of the exit that was handled last */
    mono_t start_begun, probing_begun, running_since;
};

/* A new one for an order, waiting; or one from disk. Owned by droned->instances from then on. */
struct instance *instance_new(struct droned *droned, const struct order *order);
struct instance *instance_new_from(struct droned *droned, const struct instance_file *file);
void instance_free(struct instance *instance);

/* Writes instances/ID.json as it would be with another order (NULL: its own). */
_must_check_ int instance_save_as(
    const struct instance *instance, const struct order *order, bool dropped, struct error *err);
/* The order is on disk: from now on it holds. */
void instance_set_order(struct instance *instance, const struct order *order);
void instance_set_dropped(struct instance *instance);
/* Takes the next step towards what is wanted, if one can be taken now. */
void instance_reconcile(struct instance *instance);

/* From systemd: all units are known (again); its unit changed. */
void instance_on_ready(struct instance *instance);
void instance_on_unit(struct instance *instance, const struct unit_status *unit, bool gone);
/* The unit of a run of its health command. */
void instance_on_probe_unit(struct instance *instance, const struct unit_status *unit);

bool instance_wants_run(const struct instance *instance);
/* Strings are borrowed. */
void instance_fill_state(const struct instance *instance, struct instance_state *ret);
/* Memory of its control group, for reports; true if it moved by more than a tenth. */
bool instance_measure(struct instance *instance);

/* --- between the parts ------------------------------------------------------------------------------------------- */

/* The one setter: checks the transition, logs it, clears the timer, saves where it matters, reports. */
void instance_set_phase(struct instance *instance, enum instance_phase phase, const char *reason);
/* Clears what an earlier phase had under way. */
void instance_cancel_work(struct instance *instance);
void instance_save(struct instance *instance);
void instance_set_address(struct instance *instance); /* after host or port changed */
void instance_start(struct instance *instance);       /* from waiting: the way up */
void instance_start_unit(struct instance *instance);
void instance_begin_probing(struct instance *instance);  /* its unit is active */
void instance_resume_running(struct instance *instance); /* adopted, was healthy */
void instance_adopt_stranger(struct instance *instance); /* a new order, and its unit runs already */
void instance_fail(
    struct instance *instance, const char *reason, char **lines); /* stops the unit; lines copied */
void instance_stop_unit(struct instance *instance, const char *reason);
void instance_on_timer_stopping(struct instance *instance);
void instance_on_timer_backing_off(struct instance *instance);
void instance_on_timer_start(struct instance *instance);
char *instance_path(
    const struct instance *instance, const char *suffix); /* instances/ID<suffix>. Caller frees. */
