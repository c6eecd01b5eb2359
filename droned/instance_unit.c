/* SPDX-License-Identifier: MIT */
#include "droned/instance.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/strv.h"
#include "droned/droned.h"
#include "droned/host.h"
#include "droned/journal.h"
#include "droned/port.h"
#include "droned/probe.h"
#include "droned/systemd.h"

static void check_stopped(struct instance *instance);

/* --- the way down --------------------------------------------------------------------------------------------------- */

/* Its unit is gone: what is wanted decides what comes now. */
static void finish_stop(struct instance *instance)
{
    instance_cancel_work(instance);
    instance->pid = 0;
    instance->memory_bytes = 0;
    if (instance_wants_run(instance)) {
        instance_set_phase(instance, INSTANCE_WAITING, NULL);
        /* Makes it begin as after an order, whatever its generation was. */
        instance->generation = instance->order.generation - 1;
    } else {
        instance_set_phase(instance, INSTANCE_STOPPED, instance->dropped ? "dropped" : "stopped by order");
        instance->generation = instance->order.generation;
        if (!instance->dropped)
            return;
    }
    instance_reconcile(instance);
}

static void on_stopped(void *arg, int result, const char *text)
{
    struct instance *instance = arg;
    if (instance->phase == INSTANCE_STOPPING && result == 0)
        check_stopped(instance);
    /* Else the timer asks again. */
}

static void on_reset(void *arg, int result, const char *text)
{
    struct instance *instance = arg;
    if (instance->phase == INSTANCE_STOPPING && !systemd_unit(instance->droned->systemd, instance->unit))
        finish_stop(instance);
}

static void check_stopped(struct instance *instance)
{
    const struct unit_status *unit = systemd_unit(instance->droned->systemd, instance->unit);
    if (!unit)
        finish_stop(instance);
    else if (unit->active == UNIT_FAILED)
        systemd_reset_failed(instance->droned->systemd, instance->unit, on_reset, instance);
}

static void ask_to_stop(struct instance *instance)
{
    int64_t most_ms = instance->order.run.stop.kill_ms + INSTANCE_STOP_SLACK_MS;
    systemd_forget(instance->droned->systemd, instance);
    systemd_stop(instance->droned->systemd, instance->unit, most_ms, on_stopped, instance);
    timer_set(&instance->timer, most_ms);
}

void instance_stop_unit(struct instance *instance, const char *reason)
{
    instance_cancel_work(instance);
    instance_set_phase(instance, INSTANCE_STOPPING, reason);
    ask_to_stop(instance);
}

void instance_on_timer_stopping(struct instance *instance)
{
    const struct unit_status *unit = systemd_unit(instance->droned->systemd, instance->unit);
    if (!systemd_is_ready(instance->droned->systemd))
        timer_set(&instance->timer, INSTANCE_STOP_SLACK_MS);
    else if (!unit)
        finish_stop(instance);
    else
        ask_to_stop(instance);
}

/* For good: until another order or a start. What is left of its unit goes too. */
void instance_fail(struct instance *instance, const char *reason, char **lines)
{
    struct droned *droned = instance->droned;
    const struct unit_status *unit = systemd_unit(droned->systemd, instance->unit);
    _cleanup_(free_ptr) char *kept = xstrdup(reason);
    char **copy = strv_copy(lines);
    bool asked = instance->phase == INSTANCE_STARTING;
    instance_cancel_work(instance);
    strv_free(instance->lines);
    instance->lines = copy;
    instance->pid = 0;
    if (unit && unit->active == UNIT_FAILED)
        systemd_reset_failed(droned->systemd, instance->unit, NULL, NULL);
    else if (unit || asked)
        systemd_stop(droned->systemd, instance->unit, 0, NULL, NULL);
    instance_set_phase(instance, INSTANCE_FAILED, kept);
}

/* --- exits ---------------------------------------------------------------------------------------------------------- */

static bool has_exited(const struct unit_status *unit)
{
    return unit->active == UNIT_FAILED || unit_is_between_restarts(unit) ||
        (unit->exit_code != 0 && unit->main_pid == 0 && unit->active != UNIT_ACTIVE);
}

/* "exited with status 1 after 0.21s". Caller frees. */
static char *exit_text(const struct unit_status *unit)
{
    _cleanup_(free_ptr) char *how = unit_end_text(unit);
    int64_t ms = (unit->exited_us - unit->started_us) / CLOCK_US_PER_MS;
    if (unit->exit_code == 0 || unit->started_us <= 0 || ms < 0)
        return steal_ptr(how);
    if (ms >= 60000) {
        char text[CLOCK_STAMP_MAX];
        return xasprintf("%s after %s", how, duration_for_people(ms, text));
    }
    return xasprintf("%s after %lld.%02llds", how, (long long)(ms / 1000), (long long)(ms % 1000 / 10));
}

static void on_last_lines(void *arg, char **lines)
{
    struct instance *instance = arg;
    char **copy = strv_copy(lines);
    journal_exit_free(steal_ptr(instance->exit));
    if (instance->verdict) {
        _cleanup_(free_ptr) char *reason = xstrdup(instance->reason);
        instance_fail(instance, reason, copy);
        strv_free(copy);
        return;
    }
    strv_free(instance->lines);
    instance->lines = copy;
    droned_report(instance->droned, instance, false);
}

static void read_last_lines(struct instance *instance, const struct unit_status *unit)
{
    struct journal_query query = {
        .match = { .instance = instance->id },
        .since_us = unit->started_us,
        .lines = JOURNAL_LAST_LINES,
    };
    journal_exit_free(instance->exit);
    instance->exit = journal_exit_new(instance->droned->loop, &query, on_last_lines, instance);
}

/* On probation the first exit is the verdict. systemd is told to stop at once, before it restarts; the verdict is
 * told as soon as the last lines are there. */
static void end_probation(struct instance *instance, const struct unit_status *unit)
{
    instance->verdict = true;
    timer_clear(&instance->timer);
    probe_free(steal_ptr(instance->probe));
    free(instance->reason);
    instance->reason = exit_text(unit);
    if (unit->active != UNIT_FAILED)
        systemd_stop(instance->droned->systemd, instance->unit, 0, NULL, NULL);
    read_last_lines(instance, unit);
}

/* systemd has given up on it (or never restarts: then the unit was changed by hand). Now it is our turn. */
static void back_off(struct instance *instance, const struct unit_status *unit)
{
    struct droned *droned = instance->droned;
    _cleanup_(free_ptr) char *how = exit_text(unit);
    systemd_reset_failed(droned->systemd, instance->unit, NULL, NULL);
    if (instance->tries >= INSTANCE_BACK_OFF_TRIES) {
        _cleanup_(free_ptr) char *text =
            xasprintf("%s, %lld restarts, gave up", how, (long long)instance->restarts);
        _cleanup_(strv_freep) char **lines = strv_copy(instance->lines);
        instance_fail(instance, text, lines);
        return;
    }
    int64_t wait_ms = INSTANCE_BACK_OFF_MS << instance->tries;
    if (wait_ms > INSTANCE_BACK_OFF_MAX_MS)
        wait_ms = INSTANCE_BACK_OFF_MAX_MS;
    instance->tries++;
    char text[CLOCK_STAMP_MAX];
    _cleanup_(free_ptr) char *reason =
        xasprintf("%s, restarts at once did not help; again in %s", how, duration_format(wait_ms, text));
    instance_set_phase(instance, INSTANCE_BACKING_OFF, reason);
    instance->waiting = true;
    timer_set(&instance->timer, wait_ms);
}

void instance_on_timer_backing_off(struct instance *instance)
{
    const struct unit_status *unit = systemd_unit(instance->droned->systemd, instance->unit);
    if (instance->waiting) {
        instance->waiting = false;
        instance_start(instance);
    } else if (unit && unit->active == UNIT_FAILED) {
        back_off(instance, unit);
    }
}

/* Off probation. The exit is told at once. That a unit has failed is seen at each exit, for a moment, before
 * systemd restarts it: only if it lasts has systemd given up. */
static void on_crash(struct instance *instance, const struct unit_status *unit)
{
    bool seen = instance->phase == INSTANCE_BACKING_OFF && unit->exited_us == instance->last_exit_us;
    instance->last_exit_us = unit->exited_us;
    /* Whoever ran steadily for a while begins to count anew. */
    if (instance->running_since.us &&
        mono_diff_ms(loop_now(instance->droned->loop), instance->running_since) > INSTANCE_STEADY_MS)
        instance->tries = 0;
    instance->running_since.us = 0;
    if (!seen) {
        _cleanup_(free_ptr) char *reason = exit_text(unit);
        probe_free(steal_ptr(instance->probe));
        instance->restarts++;
        instance->pid = 0;
        instance_set_phase(instance, INSTANCE_BACKING_OFF, reason);
        read_last_lines(instance, unit);
    }
    if (unit->active == UNIT_FAILED)
        timer_set(&instance->timer, INSTANCE_SETTLE_MS);
}

static void on_unit_exit(struct instance *instance, const struct unit_status *unit)
{
    if (instance->was_healthy)
        on_crash(instance, unit);
    else
        end_probation(instance, unit);
}

/* --- changes nobody ordered ----------------------------------------------------------------------------------------- */

/* Restart=always brings back whatever ends by itself; a unit that is simply gone was stopped by somebody. */
static void on_vanished(struct instance *instance)
{
    int64_t code = 0, status = 0;
    _cleanup_(free_ptr) char *how = NULL;
    if (journal_unit_end(instance->unit, instance->since.us, &code, &status)) {
        struct unit_status unit = { .exit_code = code, .exit_status = status };
        how = unit_end_text(&unit);
    }
    if (!instance->was_healthy) {
        _cleanup_(free_ptr) char *reason =
            xasprintf("%s before it was healthy", how ? how : "stopped on this host");
        instance_fail(instance, reason, NULL);
        return;
    }
    _cleanup_(free_ptr) char *reason =
        xasprintf("stopped by hand on this host%s%s%s", how ? " (" : "", how ? how : "", how ? ")" : "");
    instance_cancel_work(instance);
    instance->pid = 0;
    instance->by_hand = true;
    instance_set_phase(instance, INSTANCE_STOPPED, reason);
}

/* The unit runs although we thought otherwise: somebody started it, or we did before we were restarted. */
static void adopt(struct instance *instance, const struct unit_status *unit)
{
    bool adopted = instance->phase < INSTANCE_STARTING || instance->phase == INSTANCE_STOPPED;
    if (instance->phase < INSTANCE_STARTING)
        instance_cancel_work(instance);
    instance->pid = unit->main_pid;
    instance->by_hand = false;
    str_set(&instance->boot_id, instance->droned->boot_id);
    if (instance->was_healthy &&
        (adopted || instance->phase == INSTANCE_RUNNING || instance->phase == INSTANCE_UNHEALTHY))
        instance_resume_running(instance);
    else if (!instance->probe)
        instance_begin_probing(instance);
}

/* Our files were lost, and the hub orders what runs here: it is taken over as it runs, with the port that its
 * process was given. Only what is not up is begun anew. */
void instance_adopt_stranger(struct instance *instance)
{
    struct droned *droned = instance->droned;
    const struct unit_status *unit = systemd_unit(droned->systemd, instance->unit);
    if (unit->active != UNIT_ACTIVE) {
        instance_stop_unit(instance, "what was left of an earlier start");
        return;
    }
    _cleanup_(free_ptr) char *host = host_process_env(unit->main_pid, "HOST");
    _cleanup_(free_ptr) char *port = host_process_env(unit->main_pid, "PORT");
    if (instance->order.run.port && host && port) {
        str_set(&instance->host, host);
        instance->port = strtol(port, NULL, 10);
        (void)ports_keep(droned->ports, (int)instance->port);
        instance_set_address(instance);
    }
    instance->was_healthy = true;
    adopt(instance, unit);
}

/* --- what systemd tells ---------------------------------------------------------------------------------------------- */

static void on_unit_at_work(struct instance *instance, const struct unit_status *unit, bool gone)
{
    bool ours = instance->phase == INSTANCE_BACKING_OFF && instance->waiting;
    bool stale = instance->phase == INSTANCE_STARTING && !instance->start_sent;
    if (instance->verdict || ours || stale)
        return;
    if (gone || unit->active == UNIT_INACTIVE) {
        /* Before its first start is answered, and between an exit and its end, there is nothing to see. */
        if (gone && instance->phase != INSTANCE_STARTING)
            on_vanished(instance);
        else if (gone && unit->exit_code != 0)
            on_unit_exit(instance, unit);
        return;
    }
    if (has_exited(unit)) {
        on_unit_exit(instance, unit);
        return;
    }
    instance->pid = unit->main_pid;
    if (unit->active == UNIT_ACTIVE &&
        (instance->phase == INSTANCE_STARTING || instance->phase == INSTANCE_BACKING_OFF))
        instance_begin_probing(instance);
}

void instance_on_unit(struct instance *instance, const struct unit_status *unit, bool gone)
{
    if (instance->droned->host_stopping)
        return;
    switch ((enum instance_phase)instance->phase) {
    case INSTANCE_STOPPING:
        if (gone)
            finish_stop(instance);
        else if (unit->active == UNIT_FAILED)
            check_stopped(instance);
        break;
    case INSTANCE_STOPPED:
        if (!gone && unit->active == UNIT_ACTIVE && instance->by_hand && instance_wants_run(instance))
            adopt(instance, unit);
        break;
    case INSTANCE_STARTING:
    case INSTANCE_PROBING:
    case INSTANCE_RUNNING:
    case INSTANCE_UNHEALTHY:
    case INSTANCE_BACKING_OFF:
        on_unit_at_work(instance, unit, gone);
        break;
    default:
        break;
    }
}

/* --- all units are known ----------------------------------------------------------------------------------------------- */

/* It is to run and was at work, and its unit is not there. */
static void on_missing(struct instance *instance, bool same_boot)
{
    if (!same_boot || instance->phase == INSTANCE_STARTING) {
        str_set(&instance->boot_id, instance->droned->boot_id);
        instance_cancel_work(instance);
        instance_set_phase(instance, INSTANCE_WAITING, same_boot ? NULL : "the host was restarted");
        instance_start(instance);
    } else if (instance->phase == INSTANCE_BACKING_OFF) {
        if (!instance->waiting)
            timer_set(&instance->timer, INSTANCE_BACK_OFF_MS);
        instance->waiting = true;
    } else {
        on_vanished(instance);
    }
}

static void on_ready_at_work(struct instance *instance, const struct unit_status *unit, bool same_boot)
{
    if (!unit)
        on_missing(instance, same_boot);
    else if (unit->active == UNIT_ACTIVE)
        adopt(instance, unit);
    else if (has_exited(unit))
        on_unit_at_work(instance, unit, false);
    else if (unit->active == UNIT_ACTIVATING)
        instance->pid = unit->main_pid;
}

void instance_on_ready(struct instance *instance)
{
    const struct unit_status *unit = systemd_unit(instance->droned->systemd, instance->unit);
    bool same_boot = strcmp(instance->boot_id, instance->droned->boot_id) == 0;
    bool rests = instance->phase == INSTANCE_STOPPED || instance->phase == INSTANCE_FAILED;
    if (instance->droned->host_stopping || instance->verdict)
        return;
    if (instance->phase == INSTANCE_STOPPING) {
        if (unit)
            ask_to_stop(instance);
        else
            finish_stop(instance);
        return;
    }
    if (!instance_wants_run(instance) || instance->generation != instance->order.generation) {
        instance_reconcile(instance);
        return;
    }
    if (!same_boot && rests && (instance->was_healthy || instance->by_hand)) {
        on_missing(instance, false);
    } else if (rests) {
        if (unit && unit->active == UNIT_ACTIVE && instance->by_hand)
            adopt(instance, unit);
    } else if (instance->phase >= INSTANCE_STARTING) {
        on_ready_at_work(instance, unit, same_boot);
    } else if (unit) {
        adopt(instance, unit);
    } else if (instance->phase == INSTANCE_WAITING) {
        instance_start(instance);
    } else if (!timer_is_set(&instance->timer) && !same_boot) {
        on_missing(instance, false);
    }
}
