/* SPDX-License-Identifier: MIT */
#pragma once

/* A drone for tests of the hub: speaks the real wire over a socketpair, keeps its orders over restarts of the
 * hub, and carries them out at once, in the way it is told to. */

#include <stdbool.h>
#include <stdint.h>

#include "common/messages.h"

struct fake_drone;
struct hubd;
struct loop;

/* How instances of a version fare. */
enum fake_fate {
    FATE_GOOD,     /* run, healthy, at once */
    FATE_EXITS,    /* exit with status 1 at start */
    FATE_PROBING,  /* start, and are never healthy (until told otherwise) */
    FATE_SICK,     /* fail their probes for good */
    FATE_NO_BUILD, /* fail their build */
    FATE_BUILDING, /* build on and on */
    FATE_SILENT,   /* nothing is reported of them */
};

struct fake_drone *fake_drone_new(struct loop *loop, const char *name, const char *address);
void fake_drone_free(struct fake_drone *drone);
void fake_drone_connect(struct fake_drone *drone, struct hubd *hub);
void fake_drone_hang_up(struct fake_drone *drone);
bool fake_drone_is_connected(const struct fake_drone *drone);

void fake_drone_set_fate(struct fake_drone *drone, const char *version, enum fake_fate fate);
/* The next change of orders is refused with this reason. */
void fake_drone_refuse_next(struct fake_drone *drone, const char *reason);
/* What it is ordered now. */
int fake_drone_orders(const struct fake_drone *drone, const char *version); /* NULL: all */
const struct order *fake_drone_order(const struct fake_drone *drone, const char *id);
const struct order *fake_drone_first(const struct fake_drone *drone, const char *version);
int64_t fake_drone_revision(const struct fake_drone *drone);
void fake_drone_set_revision(struct fake_drone *drone, int64_t revision);
int fake_drone_snapshots(const struct fake_drone *drone);
int fake_drone_changes(const struct fake_drone *drone);
/* Something happens to an instance: reported when connected. */
void fake_drone_report(
    struct fake_drone *drone, const char *id, enum instance_phase phase, const char *reason);
/* Offers no features when it connects. */
void fake_drone_set_old(struct fake_drone *drone, bool old);
void fake_drone_goodbye(struct fake_drone *drone);
/* Claims this of an instance that is not its own. */
void fake_drone_lie(struct fake_drone *drone, const struct order *order, enum instance_phase phase);
/* Lines that the next log streams bring; ends with NULL. */
void fake_drone_set_log(struct fake_drone *drone, const char *const *lines, int64_t first_us);
int fake_drone_streams(const struct fake_drone *drone);
