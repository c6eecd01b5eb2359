/* SPDX-License-Identifier: MIT */
#include "droned/instance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/build.h"
#include "droned/checkout.h"
#include "droned/droned.h"
#include "droned/env_file.h"
#include "droned/port.h"
#include "droned/probe.h"
#include "droned/systemd.h"
#include "droned/unit_spec.h"

static void start_fetch(struct instance *instance);

/* --- tree --------------------------------------------------------------------------------------------------------- */

static void on_build(void *arg, int result, const char *reason, char **lines, int64_t ms)
{
    struct instance *instance = arg;
    if (instance->phase != INSTANCE_BUILDING)
        return;
    instance->build_ms = ms;
    instance->again = false;
    if (result < 0)
        instance_fail(instance, reason, lines);
    else
        instance_start_unit(instance);
}

static void on_checkout(void *arg, int result, const char *reason, const struct checkout_stats *stats)
{
    struct instance *instance = arg;
    struct droned *droned = instance->droned;
    if (instance->phase != INSTANCE_FETCHING)
        return;
    if (result == -EAGAIN) {
        /* What it needs is elsewhere: it waits, and says for what. */
        if (!instance->reason || strcmp(instance->reason, reason) != 0)
            instance_set_phase(instance, INSTANCE_FETCHING, reason);
        timer_set(&instance->timer, instance->fetch_retry_ms);
        instance->fetch_retry_ms *= 2;
        if (instance->fetch_retry_ms > INSTANCE_FETCH_RETRY_MAX_MS)
            instance->fetch_retry_ms = INSTANCE_FETCH_RETRY_MAX_MS;
        return;
    }
    if (result < 0) {
        _cleanup_(free_ptr) char *text =
            xasprintf("can't get commit %.8s of %s: %s", instance->order.commit, instance->order.app, reason);
        instance_fail(instance, text, NULL);
        return;
    }
    instance->fetch_ms = stats->ms;
    instance->fetch_objects = stats->objects;
    instance->fetch_bytes = stats->bytes;
    _cleanup_(free_ptr) char *key = build_key(&instance->order);
    if (!key) {
        instance_start_unit(instance);
        return;
    }
    _cleanup_(free_ptr) char *source =
        checkout_path(droned->checkouts, instance->order.app, instance->order.commit);
    instance_set_phase(instance, INSTANCE_BUILDING, NULL);
    build_ensure(droned->builds, &instance->order, source, instance->again, on_build, instance);
}

static void start_fetch(struct instance *instance)
{
    const struct order *order = &instance->order;
    checkout_ensure(
        instance->droned->checkouts, order->app, order->commit, order->base_commit, on_checkout, instance);
}

void instance_start(struct instance *instance)
{
    instance->fetch_retry_ms = INSTANCE_FETCH_RETRY_MS;
    instance->port_changed = false;
    instance_set_phase(instance, INSTANCE_FETCHING, NULL);
    start_fetch(instance);
}

/* --- port and environment ------------------------------------------------------------------------------------------ */

/* The port it had, if nobody took it meanwhile; else another one, once. */
static int reserve_port(struct instance *instance, struct error *err)
{
    struct droned *droned = instance->droned;
    int port;
    if (!instance->order.run.port)
        return 0;
    if (!droned->address)
        return error_set(
            err, -EADDRNOTAVAIL, "no address to listen on is known yet; Address= in droned.conf sets it");
    if (instance->port && port_is_free(droned->address, (int)instance->port)) {
        str_set(&instance->host, droned->address);
        instance_set_address(instance);
        return 0;
    }
    if (instance->port && instance->port_changed)
        return error_set(err, -EADDRINUSE, "port %lld is in use again", (long long)instance->port);
    if (instance->port) {
        log_warning(NULL, "port %lld of instance %s is in use by something else; taking another one",
            (long long)instance->port, instance->id);
        ports_release(droned->ports, (int)instance->port);
        instance->port = 0;
        instance->port_changed = true;
    }
    int r = ports_take(droned->ports, droned->address, &port, err);
    if (r >= 0)
        instance->port = port;
    str_set(&instance->host, droned->address);
    instance_set_address(instance);
    return r;
}

static int write_environment(struct instance *instance, const char *path, struct error *err)
{
    struct env_facts facts = {
        .host_name = instance->droned->name, .address = instance->host, .port = instance->port
    };
    _cleanup_(strv_freep) char **env = env_of_instance(&instance->order, &facts);
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    env_file_print(env, &text);
    return statefile_write(path, strbuf_str(&text), text.len, 0600, err);
}

/* --- unit --------------------------------------------------------------------------------------------------------- */

static void fill_facts(struct instance *instance, char **ret_tree, char **ret_env, struct unit_facts *ret)
{
    struct droned *droned = instance->droned;
    *ret_tree = instance->order.run.build && instance->order.run.build[0]
        ? build_path(droned->builds, &instance->order)
        : checkout_path(droned->checkouts, instance->order.app, instance->order.commit);
    *ret_env = instance_path(instance, ".env");
    *ret = (struct unit_facts){
        .tree = *ret_tree, .env_path = *ret_env, .state_dir = droned->config->state_dir
    };
}

static void retry_start(struct instance *instance, const char *why)
{
    if (++instance->start_tries > INSTANCE_START_TRIES)
        instance_fail(instance, why, NULL);
    else
        timer_set(&instance->timer, INSTANCE_START_RETRY_MS);
}

static void on_started(void *arg, int result, const char *text)
{
    struct instance *instance = arg;
    struct droned *droned = instance->droned;
    const struct unit_status *unit = systemd_unit(droned->systemd, instance->unit);
    if (instance->phase != INSTANCE_STARTING || instance->verdict || droned->host_stopping)
        return;
    if (result == 0 && unit && unit->active == UNIT_ACTIVE) {
        instance_begin_probing(instance);
    } else if (unit) {
        if (result == -EEXIST)
            retry_start(instance, text);
        else
            instance_on_unit(instance, unit, false);
    } else if (result == 0 || result == -EEXIST || result == -EBUSY || result == -ETIMEDOUT ||
        result == -ECANCELED) {
        retry_start(instance, result == 0 ? "it was gone at once" : text);
    } else if (result != -ECONNRESET) {
        _cleanup_(free_ptr) char *reason = xasprintf("systemd did not start it: %s", text);
        instance_fail(instance, reason, NULL);
    }
    /* Else: what became of it is seen when all units are known again, or by the signals on their way. */
}

static void on_reset(void *arg, int result, const char *text)
{
    struct instance *instance = arg;
    if (instance->phase == INSTANCE_STARTING)
        timer_set(&instance->timer, 0);
}

/* A unit of the name is still there: a failed one is forgotten, one that ends is waited for. */
static void clear_the_name(struct instance *instance, const struct unit_status *unit)
{
    if (unit->active == UNIT_FAILED && instance->start_tries++ < INSTANCE_START_TRIES)
        systemd_reset_failed(instance->droned->systemd, instance->unit, on_reset, instance);
    else
        retry_start(instance, "a unit of its name is still there");
}

void instance_start_unit(struct instance *instance)
{
    struct droned *droned = instance->droned;
    struct error err;
    instance->start_begun = loop_now(droned->loop);
    instance->start_sent = false;
    str_set(&instance->boot_id, droned->boot_id);
    if (instance->phase != INSTANCE_STARTING)
        instance_set_phase(instance, INSTANCE_STARTING, NULL);
    const struct unit_status *unit = systemd_unit(droned->systemd, instance->unit);
    if (unit) {
        clear_the_name(instance, unit);
        return;
    }
    _cleanup_(free_ptr) char *tree = NULL;
    _cleanup_(free_ptr) char *env_path = NULL;
    struct unit_facts facts;
    fill_facts(instance, &tree, &env_path, &facts);
    /* On disk before systemd hears of it: a droned that starts then knows what the unit is. */
    if (reserve_port(instance, &err) < 0 || write_environment(instance, env_path, &err) < 0 ||
        instance_save_as(instance, NULL, instance->dropped, &err) < 0) {
        instance_fail(instance, err.text, NULL);
        return;
    }
    _cleanup_(unit_spec_clear) struct unit_spec spec = { 0 };
    unit_spec_instance(&instance->order, &facts, &spec);
    int64_t timeout_ms =
        instance->order.run.health.kind == HEALTH_NOTIFY ? instance->order.run.health.deadline_ms : 0;
    instance->start_sent = true;
    systemd_start(droned->systemd, instance->unit, &spec, timeout_ms > 0 ? timeout_ms + SYSTEMD_JOB_MS : 0,
        on_started, instance);
}

/* --- health ------------------------------------------------------------------------------------------------------- */

static void on_exec_probe(void *arg, int result, const char *text)
{
    struct instance *instance = arg;
    if (!instance->probe)
        return;
    _cleanup_(free_ptr) char *label = probe_label(&instance->order.run.health);
    _cleanup_(free_ptr) char *said = xasprintf("%s: %s", label,
        result == 0              ? "ok"
            : instance->exec_end ? instance->exec_end
                                 : text);
    probe_exec_done(instance->probe, result == 0, said);
}

void instance_on_probe_unit(struct instance *instance, const struct unit_status *unit)
{
    if (unit->active != UNIT_FAILED)
        return;
    free(instance->exec_end);
    instance->exec_end =
        strcmp(unit->result, "timeout") == 0 ? xstrdup("not done in time") : unit_end_text(unit);
}

static void run_exec(void *owner, struct probe *probe)
{
    struct instance *instance = owner;
    _cleanup_(free_ptr) char *tree = NULL;
    _cleanup_(free_ptr) char *env_path = NULL;
    _cleanup_(free_ptr) char *unit =
        xasprintf(UNIT_PREFIX_PROBE "%s-%s.service", instance->order.service, instance->id);
    struct unit_facts facts;
    _cleanup_(unit_spec_clear) struct unit_spec spec = { 0 };
    str_set(&instance->exec_end, NULL);
    fill_facts(instance, &tree, &env_path, &facts);
    unit_spec_probe(&instance->order, &facts, &spec);
    systemd_start(instance->droned->systemd, unit, &spec, instance->order.run.health.timeout_ms + 5000,
        on_exec_probe, instance);
}

static int64_t wanted_passes(const struct instance *instance)
{
    const struct health_spec *health = &instance->order.run.health;
    return health->kind == HEALTH_NOTIFY || health->passes < 1 ? 1 : health->passes;
}

static void become_healthy(struct instance *instance)
{
    struct loop *loop = instance->droned->loop;
    instance->was_healthy = true;
    instance->start_tries = 0;
    instance->running_since = loop_now(loop);
    instance->healthy_ms = mono_diff_ms(loop_now(loop), instance->probing_begun);
    probe_set_slow(instance->probe);
    (void)instance_measure(instance);
    instance_set_phase(instance, INSTANCE_RUNNING, NULL);
}

static void on_probe(void *owner, struct probe *probe, bool passed)
{
    struct instance *instance = owner;
    instance->passes = probe_passes(probe);
    bool healthy = probe_passes(probe) >= wanted_passes(instance);
    bool sick = probe_failures(probe) >= INSTANCE_UNHEALTHY_AFTER;
    if (instance->verdict)
        return;
    if (instance->phase == INSTANCE_PROBING && healthy)
        become_healthy(instance);
    else if (instance->phase == INSTANCE_UNHEALTHY && healthy)
        instance_set_phase(instance, INSTANCE_RUNNING, NULL);
    else if (instance->phase == INSTANCE_RUNNING && sick)
        instance_set_phase(instance, INSTANCE_UNHEALTHY, probe_last(probe));
}

static void start_probe(struct instance *instance, bool fast)
{
    struct probe_spec spec = {
        .health = &instance->order.run.health,
        .address = instance->address,
        .fast = fast,
        .on_result = on_probe,
        .run_exec = run_exec,
        .owner = instance,
    };
    probe_free(instance->probe);
    instance->probe = probe_new(instance->droned->loop, &spec);
}

void instance_begin_probing(struct instance *instance)
{
    struct loop *loop = instance->droned->loop;
    int64_t deadline_ms = instance->order.run.health.deadline_ms;
    instance->probing_begun = loop_now(loop);
    if (instance->phase == INSTANCE_STARTING)
        instance->start_ms = mono_diff_ms(loop_now(loop), instance->start_begun);
    instance_set_phase(instance, INSTANCE_PROBING, instance->was_healthy ? instance->reason : NULL);
    if (deadline_ms > 0)
        timer_set(&instance->timer, deadline_ms);
    start_probe(instance, true);
}

void instance_resume_running(struct instance *instance)
{
    if (instance->phase != INSTANCE_RUNNING && instance->phase != INSTANCE_UNHEALTHY)
        instance_set_phase(instance, INSTANCE_RUNNING, "taken over as it runs");
    instance->running_since = loop_now(instance->droned->loop);
    if (!instance->probe)
        start_probe(instance, false);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void on_deadline(struct instance *instance)
{
    char text[CLOCK_STAMP_MAX];
    if (instance->was_healthy) {
        instance_set_phase(instance, INSTANCE_UNHEALTHY, probe_last(instance->probe));
        return;
    }
    _cleanup_(strv_freep) char **transcript = probe_transcript(instance->probe);
    _cleanup_(free_ptr) char *reason = xasprintf("not healthy within %s: %s",
        duration_format(instance->order.run.health.deadline_ms, text), probe_last(instance->probe));
    instance_fail(instance, reason, transcript);
}

void instance_on_timer_start(struct instance *instance)
{
    if (instance->droned->host_stopping)
        return;
    switch ((enum instance_phase)instance->phase) {
    case INSTANCE_FETCHING:
        start_fetch(instance);
        break;
    case INSTANCE_STARTING:
        instance_start_unit(instance);
        break;
    case INSTANCE_PROBING:
        if (!instance->verdict)
            on_deadline(instance);
        break;
    case INSTANCE_BACKING_OFF:
        instance_on_timer_backing_off(instance);
        break;
    default:
        break;
    }
}
