/* SPDX-License-Identifier: MIT */
#pragma once

/* org.freedesktop.systemd1.Manager at the other end of a socketpair, spoken through sd-bus itself: no bus daemon,
 * no root, no systemd. It keeps a list of units and says what PID 1 would say about them; what happens to them is
 * told by the test. */

#include <stdbool.h>
#include <stdint.h>

struct fake_systemd;
struct loop;
struct sd_bus;

struct fake_unit {
    char *name;
    const char *active, *sub, *result;
    int64_t pid, exit_code, exit_status, restarts;
    int64_t started_us, exited_us;
    char **properties; /* "Name=value" of StartTransientUnit, lists joined by blanks */
    int starts, stops, kills;
};

struct fake_systemd *fake_systemd_new(struct loop *loop);
void fake_systemd_free(struct fake_systemd *fake);
/* For systemd_spec.open_bus and droned_seams.open_bus; arg is the fake. */
int fake_systemd_open(void *arg, struct sd_bus **ret);

/* NULL: not loaded. */
struct fake_unit *fake_systemd_unit(struct fake_systemd *fake, const char *name);
const char *fake_unit_property(const struct fake_unit *unit, const char *name);
/* How often the method was called, and with the unit it named last. */
int fake_systemd_calls(const struct fake_systemd *fake, const char *method);

/* A unit that runs already, as after a restart of the drone. */
struct fake_unit *fake_systemd_add(struct fake_systemd *fake, const char *name);
/* The main process ends; Restart=always: waits for its restart. */
void fake_systemd_exit(struct fake_systemd *fake, const char *name, int code, int status);
void fake_systemd_restart(struct fake_systemd *fake, const char *name); /* …which happens now */
void fake_systemd_give_up(struct fake_systemd *fake, const char *name); /* …or not any more: failed */
void fake_systemd_finish(
    struct fake_systemd *fake, const char *name); /* a oneshot ended well: job done, unit gone */
/* A oneshot failed. */
void fake_systemd_fail_oneshot(struct fake_systemd *fake, const char *name, int status);
void fake_systemd_ready(struct fake_systemd *fake, const char *name); /* of Type=notify: READY=1 */
void fake_systemd_stop_by_hand(struct fake_systemd *fake, const char *name);
void fake_systemd_shutdown(struct fake_systemd *fake); /* a job for shutdown.target */

/* The next call of the method is answered with an error; a D-Bus name, or NULL for a plain failure. */
void fake_systemd_fail_next(
    struct fake_systemd *fake, const char *method, const char *error, const char *text);
/* Calls of the method are not answered any more; on false, from now on again. */
void fake_systemd_hold(struct fake_systemd *fake, const char *method, bool hold);
/* Units asked to stop don't (they ignore SIGTERM) until fake_systemd_killed. */
void fake_systemd_ignore_stop(struct fake_systemd *fake, bool ignore);
void fake_systemd_killed(struct fake_systemd *fake, const char *name);
/* Refuses this property as one it does not know. */
void fake_systemd_without(struct fake_systemd *fake, const char *property);
/* The connection breaks; units stay. */
void fake_systemd_hang_up(struct fake_systemd *fake);
