/* SPDX-License-Identifier: MIT */
/* From one stage of a deploy to the next, as far as facts allow. */
#include "hubd/deploy.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/instance.h"

/* Bits of deploy_part.told that restart uses beside those of enum deploy_phase. */
#define TOLD_HELD      (1 << 16)
#define TOLD_RESTARTED (1 << 17)

static const struct release *release_of(const struct txn *txn, const struct deploy *deploy)
{
    return state_release(txn_state(txn), deploy->service, deploy->version);
}

static int64_t deadline_us(const struct txn *txn, const struct deploy *deploy)
{
    const struct release *release = release_of(txn, deploy);
    int64_t ms = DEPLOY_SLACK_MS;
    if (release)
        ms += release->run.build_timeout_ms + release->run.health.deadline_ms;
    return deploy->stage_us + ms * CLOCK_US_PER_MS;
}

/* How long the host has been away; -1 if it is there. */
static int64_t away_ms(const struct facts *facts, const char *host, const struct deploy_times *times)
{
    const struct drone_facts *drone = map_get(facts->drones, host);
    if (!drone)
        return INT64_MAX;
    return drone->online ? -1 : mono_diff_ms(times->mono, drone->since);
}

/* "web@0.2.3 is not running. web@0.2.2 serves on, untouched." */
static void fail_start(
    struct txn *txn, struct deploy *deploy, const struct deploy_times *times, const char *why)
{
    _cleanup_(free_ptr) char *serving = deploy_serving(txn, deploy->service);
    _cleanup_(free_ptr) char *what =
        deploy->version ? xasprintf("%s@%s", deploy->service, deploy->version) : xstrdup(deploy->service);
    const char *dot = why ? ": " : "";
    bool same = serving && strcmp(serving, what) == 0;
    if (serving && !same)
        deploy_fail(txn, deploy, false, times, "%s is not running%s%s. %s serves on, untouched.", what, dot,
            why ? why : "", serving);
    else if (serving)
        deploy_fail(txn, deploy, false, times, "%s of %s failed%s%s. What ran before runs on.",
            deploy_kind_names[deploy->kind], what, dot, why ? why : "");
    else
        deploy_fail(txn, deploy, false, times, "%s is not running%s%s.", what, dot, why ? why : "");
}

static int64_t sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* Looks at one part of a starting deploy. True if the deploy has ended by it. */
static bool look_at_part(struct txn *txn, const struct facts *facts, struct deploy *deploy,
    struct deploy_part *part, const struct deploy_times *times, int64_t *wake_us)
{
    const struct instance *instance = txn_get(txn, STATE_INSTANCE, part->instance);
    if (!instance || instance->wanted == WANTED_RETIRED || instance->wanted == WANTED_GONE) {
        fail_start(txn, deploy, times, "an instance of it was removed meanwhile");
        return true;
    }
    int64_t away = away_ms(facts, part->host, times);
    if (away >= times->host_wait_ms) {
        struct msg_deploy_event event = {
            .phase = DEPLOY_START,
            .status = STEP_FAILED,
            .host = part->host,
            .text = (char *)"can't be reached",
        };
        txn_deploy_event(txn, deploy, &event);
        _cleanup_(free_ptr) char *why = xasprintf("%s can't be reached", part->host);
        fail_start(txn, deploy, times, why);
        return true;
    }
    if (away >= 0)
        *wake_us = sooner(*wake_us, times->now.us + (times->host_wait_ms - away) * CLOCK_US_PER_MS);

    const struct instance_facts *known = facts_get_instance(facts, part->instance);
    if (!known || away >= 0 || known->state.generation < instance->generation)
        return false;
    if (part->fresh || deploy->kind == DEPLOY_KIND_START)
        deploy_tell_progress(txn, deploy, part, known);
    if (!instance_has_failed(facts, instance))
        return false;
    deploy_tell_failure(txn, deploy, part, known);
    fail_start(txn, deploy, times, NULL);
    return true;
}

static bool all_started(struct txn *txn, const struct facts *facts, struct deploy *deploy,
    const struct deploy_times *times, int64_t *wake_us)
{
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (look_at_part(txn, facts, deploy, &deploy->parts[i], times, wake_us))
            return false;
    if (deploy_is_ready(txn, facts, deploy))
        return true;
    int64_t end = deadline_us(txn, deploy);
    if (times->now.us >= end)
        fail_start(txn, deploy, times, "it took too long to get healthy");
    else
        *wake_us = sooner(*wake_us, end);
    return false;
}

static void begin_switch(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    deploy_tell_healthy(txn, facts, deploy);
    deploy_set_stage(deploy, STAGE_PREPARING, times, "all instances are healthy");
    deploy->prepare_us = times->now.us;
    const struct release *release = release_of(txn, deploy);
    if (release && !release->run.port)
        deploy_promote(txn, facts, deploy, 0, times); /* no router has to know */
}

static bool has_old_in_flight(const struct txn *txn, const struct facts *facts, const struct deploy *deploy)
{
    for (size_t i = 0; deploy->old && deploy->old[i]; i++) {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, deploy->old[i]);
        if (instance && !instance_is_idle(facts, instance, deploy->epoch))
            return true;
    }
    return false;
}

/* Instances that go for good (none is kept warm) are waited for until they have gone. */
static bool has_old_running(const struct txn *txn, const struct deploy *deploy)
{
    for (size_t i = 0; deploy->old && deploy->old[i]; i++) {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, deploy->old[i]);
        if (instance && (instance->wanted == WANTED_RETIRED || instance->wanted == WANTED_GONE))
            return true;
    }
    return false;
}

static int64_t drain_end_us(const struct txn *txn, const struct deploy *deploy)
{
    int64_t ms = 0;
    for (size_t i = 0; deploy->old && deploy->old[i]; i++) {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, deploy->old[i]);
        const struct release *release =
            instance ? state_release(txn_state(txn), instance->service, instance->version) : NULL;
        if (!release)
            continue;
        int64_t mine = release->run.stop.drain_ms;
        if (instance->wanted != WANTED_WARM)
            mine += release->run.stop.kill_ms + DEPLOY_CONFIRM_MS;
        ms = mine > ms ? mine : ms;
    }
    return deploy->switch_us + ms * CLOCK_US_PER_MS;
}

/* "web@0.2.2 serves." in the words of its kind. */
static void end_well(struct txn *txn, struct deploy *deploy, const struct deploy_times *times)
{
    size_t n = deploy->n_parts;
    if (deploy->kind == DEPLOY_KIND_SCALE)
        deploy_end(txn, deploy, STAGE_DONE, times, "%s@%s runs with %zu instance%s.", deploy->service,
            deploy->version, n, n == 1 ? "" : "s");
    else if (!deploy->promote)
        deploy_end(
            txn, deploy, STAGE_DONE, times, "%s@%s runs, without traffic.", deploy->service, deploy->version);
    else
        deploy_end(txn, deploy, STAGE_DONE, times, "%s@%s serves.", deploy->service, deploy->version);
}

static bool all_online_have(const struct facts *facts, int64_t epoch)
{
    map_for_each (it, facts->routers) {
        const struct router_facts *router = it.value;
        if (router->online && router->acked_epoch < epoch)
            return false;
    }
    return true;
}

static int64_t step_switched(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    if (routers_have(txn, facts, deploy->epoch)) {
        if (deploy->epoch > 0)
            deploy_tell_switch(txn, facts, deploy, times->now);
        deploy_set_stage(deploy, STAGE_DRAINING, times, "all routers have it");
        return times->now.us;
    }
    int64_t end = deploy->switch_us + DEPLOY_CONFIRM_MS * CLOCK_US_PER_MS;
    if (!all_online_have(facts, deploy->epoch) && times->now.us < end)
        return end;
    deploy_tell_switch(txn, facts, deploy, times->now);
    _cleanup_(free_ptr) char *missing = deploy_missing_routers(txn, facts, deploy->epoch);
    deploy_end(txn, deploy, STAGE_INCOMPLETE, times,
        "%s@%s serves, incomplete: router %s has not confirmed it; what it replaces is kept until then.",
        deploy->service, deploy->version, missing ? missing : "?");
    return 0;
}

static int64_t step_draining(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    bool waits = deploy->kind != DEPLOY_KIND_ROLLBACK;
    int64_t end = drain_end_us(txn, deploy);
    if (waits && times->now.us < end &&
        (has_old_in_flight(txn, facts, deploy) || has_old_running(txn, deploy)))
        return end;
    deploy_tell_drain(txn, facts, deploy);
    end_well(txn, deploy, times);
    return 0;
}

/* --- start, stop, restart -------------------------------------------------------------------------------- */

static int64_t step_start(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    int64_t wake_us = 0;
    if (all_started(txn, facts, deploy, times, &wake_us)) {
        deploy_tell_healthy(txn, facts, deploy);
        deploy_end(txn, deploy, STAGE_DONE, times, "%zu instance%s of %s run%s.", deploy->n_parts,
            deploy->n_parts == 1 ? "" : "s", deploy->service, deploy->n_parts == 1 ? "s" : "");
    }
    return wake_us;
}

/* One instance towards standing still; true once it does, or its host is away and will be told. */
static bool stop_part(struct txn *txn, const struct facts *facts, const struct deploy_part *part,
    const struct deploy_times *times, size_t *n_away)
{
    const struct instance *row = txn_get(txn, STATE_INSTANCE, part->instance);
    if (!row)
        return true;
    if (row->hold && instance_is_unreachable(txn, facts, row)) {
        instance_set_wanted(txn_edit(txn, STATE_INSTANCE, part->instance), WANTED_STOPPED, times->now);
        return false;
    }
    if (row->hold)
        return false;
    if (away_ms(facts, part->host, times) >= times->host_wait_ms) {
        (*n_away)++;
        return true;
    }
    const struct instance_state *state = facts_state(facts, part->instance);
    return state && (state->phase == INSTANCE_STOPPED || state->phase == INSTANCE_FAILED);
}

static int64_t step_stop(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    size_t done = 0, n_away = 0;
    for (size_t i = 0; i < deploy->n_parts; i++)
        done += stop_part(txn, facts, &deploy->parts[i], times, &n_away);
    if (done < deploy->n_parts)
        return times->now.us + times->host_wait_ms * CLOCK_US_PER_MS;
    if (n_away > 0)
        deploy_end(txn, deploy, STAGE_DONE, times,
            "%zu of %zu instances of %s stand still; the others' hosts are away and will be told.",
            done - n_away, deploy->n_parts, deploy->service);
    else
        deploy_end(txn, deploy, STAGE_DONE, times, "%zu instance%s of %s stand%s still.", done,
            done == 1 ? "" : "s", deploy->service, done == 1 ? "s" : "");
    return 0;
}

/* One at a time: out of the table, drained, restarted, healthy, back in the table. */
static int64_t step_restart(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    if ((size_t)deploy->step >= deploy->n_parts) {
        deploy_end(txn, deploy, STAGE_DONE, times, "%zu instance%s of %s restarted.", deploy->n_parts,
            deploy->n_parts == 1 ? "" : "s", deploy->service);
        return 0;
    }
    struct deploy_part *part = &deploy->parts[deploy->step];
    int64_t wake_us = 0;
    const struct instance *row = txn_get(txn, STATE_INSTANCE, part->instance);
    if (!row || row->wanted == WANTED_RETIRED || row->wanted == WANTED_GONE) {
        deploy->step++;
        return times->now.us;
    }
    if (!(part->told & TOLD_HELD)) {
        struct instance *instance = txn_edit(txn, STATE_INSTANCE, part->instance);
        instance->hold = true;
        instance->retired_us = times->now.us;
        part->told |= TOLD_HELD;
        return times->now.us;
    }
    if (!(part->told & TOLD_RESTARTED)) {
        if (!instance_is_unreachable(txn, facts, row))
            return 0;
        struct instance *instance = txn_edit(txn, STATE_INSTANCE, part->instance);
        instance->hold = false;
        instance->generation++;
        part->told |= TOLD_RESTARTED;
        deploy->stage_us = times->now.us;
        return times->now.us;
    }
    if (look_at_part(txn, facts, deploy, part, times, &wake_us))
        return 0;
    const struct release *release = state_release(txn_state(txn), row->service, row->version);
    bool in_table = row->endpoint == ENDPOINT_ACTIVE || (release && !release->run.port);
    if (instance_is_healthy(facts, row) && in_table) {
        deploy->step++;
        return times->now.us;
    }
    return wake_us;
}

/* --- the table ------------------------------------------------------------------------------------------- */

static int64_t step_starting(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    int64_t wake_us = 0;
    if (!all_started(txn, facts, deploy, times, &wake_us))
        return deploy_stage_is_open(deploy->stage) ? wake_us : 0;
    begin_switch(txn, facts, deploy, times);
    return times->now.us;
}

/* Its epoch is being prepared; what is not healthy any more must not be switched to. */
static int64_t step_preparing(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times)
{
    int64_t wake_us = 0;
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (look_at_part(txn, facts, deploy, &deploy->parts[i], times, &wake_us))
            return 0;
    if (deploy_is_ready(txn, facts, deploy))
        return wake_us;
    const struct release *release = release_of(txn, deploy);
    int64_t end = deploy->stage_us + (release ? release->run.health.deadline_ms : 0) * CLOCK_US_PER_MS;
    if (times->now.us < end)
        return sooner(wake_us, end);
    fail_start(txn, deploy, times, "it did not stay healthy");
    return 0;
}

typedef int64_t (*step_fn)(
    struct txn *txn, const struct facts *facts, struct deploy *deploy, const struct deploy_times *times);

/* clang-format off */
static const step_fn steps[DEPLOY_KIND_MAX_][STAGE_MAX_] = {
    [DEPLOY_KIND_DEPLOY]   = { step_starting, step_preparing, step_switched, step_draining },
    [DEPLOY_KIND_ROLLBACK] = { step_starting, step_preparing, step_switched, step_draining },
    [DEPLOY_KIND_SCALE]    = { step_starting, step_preparing, step_switched, step_draining },
    [DEPLOY_KIND_START]    = { step_start },
    [DEPLOY_KIND_STOP]     = { [STAGE_DRAINING] = step_stop },
    [DEPLOY_KIND_RESTART]  = { step_restart },
};
/* clang-format on */

int64_t deploy_step(
    struct txn *txn, const struct facts *facts, const char *id, const struct deploy_times *times)
{
    const struct deploy *row = txn_get(txn, STATE_DEPLOY, id);
    if (!row || !deploy_stage_is_open(row->stage) || !steps[row->kind][row->stage])
        return 0;
    return steps[row->kind][row->stage](txn, facts, txn_edit(txn, STATE_DEPLOY, id), times);
}
