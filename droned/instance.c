/* SPDX-License-Identifier: MIT */
#include "droned/instance.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/statefile.h"
#include "common/strv.h"
#include "droned/build.h"
#include "droned/checkout.h"
#include "droned/droned.h"
#include "droned/instance_file.h"
#include "droned/journal.h"
#include "droned/port.h"
#include "droned/probe.h"
#include "droned/systemd.h"

#define TO(phase) (1u << INSTANCE_##phase)

// clang-format off
static const unsigned may[INSTANCE_PHASE_MAX_] = {
    [INSTANCE_WAITING]     = TO(FETCHING) | TO(STARTING) | TO(PROBING) | TO(RUNNING) | TO(BACKING_OFF) | TO(STOPPING) |
                             TO(STOPPED) | TO(FAILED),
    [INSTANCE_FETCHING]    = TO(WAITING) | TO(BUILDING) | TO(STARTING) | TO(PROBING) | TO(RUNNING) | TO(STOPPING) | TO(STOPPED) | TO(FAILED),
    [INSTANCE_BUILDING]    = TO(WAITING) | TO(STARTING) | TO(PROBING) | TO(RUNNING) | TO(STOPPING) | TO(STOPPED) | TO(FAILED),
    [INSTANCE_STARTING]    = TO(WAITING) | TO(PROBING) | TO(RUNNING) | TO(BACKING_OFF) | TO(STOPPING) | TO(STOPPED) |
                             TO(FAILED),
    [INSTANCE_PROBING]     = TO(WAITING) | TO(RUNNING) | TO(UNHEALTHY) | TO(BACKING_OFF) | TO(STOPPING) |
                             TO(STOPPED) | TO(FAILED),
    [INSTANCE_RUNNING]     = TO(WAITING) | TO(PROBING) | TO(UNHEALTHY) | TO(BACKING_OFF) | TO(STOPPING) |
                             TO(STOPPED) | TO(FAILED),
    [INSTANCE_UNHEALTHY]   = TO(WAITING) | TO(PROBING) | TO(RUNNING) | TO(BACKING_OFF) | TO(STOPPING) | TO(STOPPED) |
                             TO(FAILED),
    [INSTANCE_BACKING_OFF] = TO(WAITING) | TO(FETCHING) | TO(STARTING) | TO(PROBING) | TO(STOPPING) | TO(STOPPED) |
                             TO(FAILED),
    [INSTANCE_STOPPING]    = TO(WAITING) | TO(STOPPED) | TO(FAILED),
    [INSTANCE_STOPPED]     = TO(WAITING) | TO(PROBING) | TO(RUNNING) | TO(STARTING) | TO(STOPPING),
    [INSTANCE_FAILED]      = TO(WAITING) | TO(STOPPING) | TO(STOPPED),
};
// clang-format on

/* Phases whose beginning has to be on disk: what a droned that starts would decide otherwise without them. */
static const unsigned saved =
    TO(WAITING) | TO(RUNNING) | TO(BACKING_OFF) | TO(STOPPING) | TO(STOPPED) | TO(FAILED);

static struct log_about about(const struct instance *instance)
{
    return (struct log_about){
        .host = instance->droned->name,
        .app = instance->order.app,
        .service = instance->order.service,
        .version = instance->order.version,
        .instance = instance->id,
        .deploy = instance->order.deploy,
    };
}

char *instance_path(const struct instance *instance, const char *suffix)
{
    return xasprintf("%s/instances/%s%s", instance->droned->config->state_dir, instance->id, suffix);
}

/* --- on disk ------------------------------------------------------------------------------------------------------ */

int instance_save_as(
    const struct instance *instance, const struct order *order, bool dropped, struct error *err)
{
    struct instance_file file = {
        .format = INSTANCE_FILE_FORMAT,
        .order = order ? *order : instance->order,
        .dropped = dropped,
        .boot_id = instance->boot_id,
        .phase = instance->phase,
        .generation = instance->generation,
        .host = instance->host,
        .port = instance->port,
        .was_healthy = instance->was_healthy,
        .by_hand = instance->by_hand,
        .reason = instance->reason,
        .lines = instance->lines,
        .since_us = instance->since.us,
        .restarts = instance->restarts,
        .tries = instance->tries,
        .fetch_ms = instance->fetch_ms,
        .build_ms = instance->build_ms,
        .start_ms = instance->start_ms,
        .healthy_ms = instance->healthy_ms,
        .fetch_objects = instance->fetch_objects,
        .fetch_bytes = instance->fetch_bytes,
    };
    _cleanup_(free_ptr) char *path = instance_path(instance, ".json");
    return instance_file_write(path, &file, err);
}

/* Where going on is better than stopping: what runs, runs on, whatever the disk says. */
void instance_save(struct instance *instance)
{
    struct error err;
    struct log_about who = about(instance);
    if (instance_save_as(instance, NULL, instance->dropped, &err) < 0)
        log_error(&who, "can't keep the state of instance %s: %s", instance->id, err.text);
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

void instance_cancel_work(struct instance *instance)
{
    struct droned *droned = instance->droned;
    timer_clear(&instance->timer);
    probe_free(steal_ptr(instance->probe));
    journal_exit_free(steal_ptr(instance->exit));
    checkout_forget(droned->checkouts, instance);
    build_forget(droned->builds, instance);
    systemd_forget(droned->systemd, instance);
    instance->verdict = false;
    instance->passes = 0;
}

void instance_set_phase(struct instance *instance, enum instance_phase phase, const char *why)
{
    _cleanup_(free_ptr) char *reason = xstrdup(why); /* may be the present one */
    enum instance_phase before = (enum instance_phase)instance->phase;
    struct log_about who = about(instance);
    assert(before == phase || (may[before] & (1u << phase)));
    timer_clear(&instance->timer);
    instance->waiting = false;
    if (before != phase)
        instance->since = loop_wall(instance->droned->loop);
    instance->phase = phase;
    str_set(&instance->reason, reason);
    log_write(phase == INSTANCE_FAILED ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, &who,
        "instance %s@%s %s: %s → %s%s%s%s", instance->order.service, instance->order.version, instance->id,
        instance_phase_names[before], instance_phase_names[phase], reason ? " (" : "", reason ? reason : "",
        reason ? ")" : "");
    if (saved & (1u << phase))
        instance_save(instance);
    droned_report(instance->droned, instance, false);
    droned_update_status(instance->droned);
}

bool instance_wants_run(const struct instance *instance)
{
    return !instance->dropped && !instance->order.stopped;
}

/* --- what is wanted ----------------------------------------------------------------------------------------------- */

static void destroy(void *p)
{
    struct instance *instance = p;
    schema_clear(&order_schema, &instance->order);
    strv_free(instance->lines);
    free(instance->id);
    free(instance->reason);
    free(instance->boot_id);
    free(instance->unit);
    free(instance->host);
    free(instance->address);
    free(instance->exec_end);
    free(instance);
}

void instance_free(struct instance *instance)
{
    if (!instance)
        return;
    instance_cancel_work(instance);
    timer_done(&instance->timer);
    loop_free_later(instance->droned->loop, instance, destroy);
}

/* Stopped and not wanted any more: nothing of it stays but its service's state directory. */
static void forget(struct instance *instance)
{
    struct droned *droned = instance->droned;
    struct log_about who = about(instance);
    struct error err;
    _cleanup_(free_ptr) char *path = instance_path(instance, ".json");
    _cleanup_(free_ptr) char *env = instance_path(instance, ".env");
    _cleanup_(free_ptr) char *app = xstrdup(instance->order.app);
    unlink(env);
    if (statefile_remove(path, &err) < 0)
        log_error(&who, "can't forget instance %s: %s", instance->id, err.text);
    if (instance->port)
        ports_release(droned->ports, (int)instance->port);
    droned_report(droned, instance, true);
    map_remove(droned->instances, instance->id);
    droned_collect(droned, app);
    droned_update_status(droned);
}

/* Its unit is not there (any more), and it is not to run. */
static void rest(struct instance *instance)
{
    instance_cancel_work(instance);
    if (instance->dropped) {
        forget(instance);
        return;
    }
    if (instance->phase == INSTANCE_STOPPED)
        return;
    instance->pid = 0;
    instance->generation = instance->order.generation;
    instance_set_phase(instance, INSTANCE_STOPPED, "stopped by order");
}

/* Another generation: begins anew, on probation. */
static void begin_generation(struct instance *instance)
{
    instance_cancel_work(instance);
    instance->generation = instance->order.generation;
    instance->again = instance->order.rebuild;
    instance->was_healthy = instance->by_hand = false;
    instance->tries = 0;
    instance->start_tries = 0;
    instance->pid = 0;
    strv_free(steal_ptr(instance->lines));
    if (instance->phase != INSTANCE_WAITING)
        instance_set_phase(instance, INSTANCE_WAITING, NULL);
    instance_start(instance);
}

void instance_reconcile(struct instance *instance)
{
    struct droned *droned = instance->droned;
    if (!droned->units_known || droned->host_stopping || instance->phase == INSTANCE_STOPPING)
        return;
    bool loaded = systemd_unit(droned->systemd, instance->unit) != NULL;
    bool anew = instance->generation != instance->order.generation;
    if (!instance_wants_run(instance)) {
        if (loaded || instance->phase == INSTANCE_STARTING)
            instance_stop_unit(instance, instance->dropped ? "dropped" : "stopped by order");
        else
            rest(instance);
    } else if (anew && (loaded || instance->phase == INSTANCE_STARTING)) {
        instance_stop_unit(instance, "restarted by order");
    } else if (anew || (instance->phase == INSTANCE_STOPPED && !instance->by_hand)) {
        begin_generation(instance);
    } else if (instance->phase == INSTANCE_WAITING && loaded) {
        instance_adopt_stranger(instance);
    } else if (instance->phase == INSTANCE_WAITING) {
        instance_start(instance);
    }
}

void instance_set_order(struct instance *instance, const struct order *order)
{
    struct order copy;
    schema_copy(&order_schema, order, &copy);
    schema_clear(&order_schema, &instance->order);
    instance->order = copy;
    instance->dropped = false;
}

void instance_set_dropped(struct instance *instance)
{
    instance->dropped = true;
}

/* --- making one --------------------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    struct instance *instance = arg;
    if (instance->phase == INSTANCE_STOPPING)
        instance_on_timer_stopping(instance);
    else
        instance_on_timer_start(instance);
}

struct instance *instance_new(struct droned *droned, const struct order *order)
{
    struct instance *instance = xcalloc(1, sizeof(*instance));
    instance->droned = droned;
    instance->id = xstrdup(order->id);
    schema_copy(&order_schema, order, &instance->order);
    instance->unit = name_unit(order->service, order->id);
    instance->boot_id = xstrdup(droned->boot_id);
    instance->phase = INSTANCE_WAITING;
    instance->generation = order->generation;
    instance->again = order->rebuild;
    instance->since = loop_wall(droned->loop);
    instance->fetch_ms = instance->build_ms = instance->start_ms = instance->healthy_ms = -1;
    timer_init(&instance->timer, droned->loop, on_timer, instance);
    return instance;
}

struct instance *instance_new_from(struct droned *droned, const struct instance_file *file)
{
    struct instance *instance = instance_new(droned, &file->order);
    instance->dropped = file->dropped;
    str_set(&instance->boot_id, file->boot_id ? file->boot_id : "");
    instance->phase = file->phase;
    instance->generation = file->generation;
    instance->port = file->port;
    str_set(&instance->host, file->host);
    instance->was_healthy = file->was_healthy;
    instance->by_hand = file->by_hand;
    instance->again = false;
    instance->start_sent = true;
    str_set(&instance->reason, file->reason);
    instance->lines = strv_copy(file->lines);
    instance->since.us = file->since_us;
    instance->restarts = file->restarts;
    instance->tries = file->tries;
    instance->fetch_ms = file->fetch_ms;
    instance->build_ms = file->build_ms;
    instance->start_ms = file->start_ms;
    instance->healthy_ms = file->healthy_ms;
    instance->fetch_objects = file->fetch_objects;
    instance->fetch_bytes = file->fetch_bytes;
    /* Two of one port can only come from a file that was copied by hand: the second takes another. */
    if (instance->port && !ports_keep(droned->ports, (int)instance->port))
        instance->port = 0;
    instance_set_address(instance);
    return instance;
}

void instance_set_address(struct instance *instance)
{
    free(instance->address);
    instance->address =
        instance->port && instance->host ? port_address(instance->host, (int)instance->port) : NULL;
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

void instance_fill_state(const struct instance *instance, struct instance_state *ret)
{
    const struct droned *droned = instance->droned;
    const struct order *order = &instance->order;
    *ret = (struct instance_state){
        .id = instance->id,
        .host = droned->name,
        .app = order->app,
        .service = order->service,
        .version = order->version,
        .commit = order->commit,
        .deploy = order->deploy,
        .phase = instance->phase,
        .generation = instance->generation,
        .address = instance->address,
        .pid = instance->pid,
        .unit = instance->unit,
        .since_us = instance->since.us,
        .restarts = instance->restarts,
        .reason = instance->reason,
        .lines = instance->lines,
        .memory_bytes = instance->memory_bytes,
        .fetch_ms = instance->fetch_ms,
        .build_ms = instance->build_ms,
        .start_ms = instance->start_ms,
        .healthy_ms = instance->healthy_ms,
        .fetch_objects = instance->fetch_objects,
        .fetch_bytes = instance->fetch_bytes,
        .build = order->run.build,
        .passes = instance->passes,
    };
}

/* The process's control group, as the kernel names it; version 2, or the memory hierarchy of version 1. */
static bool memory_path(int64_t pid, char *buf, size_t size)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%lld/cgroup", (long long)pid);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        char *group = strstr(line, ":memory:");
        if (group) {
            snprintf(buf, size, "/sys/fs/cgroup/memory%.400s/memory.usage_in_bytes", group + 8);
            found = true;
        } else if (strncmp(line, "0::", 3) == 0) {
            snprintf(buf, size, "/sys/fs/cgroup%.400s/memory.current", line + 3);
            found = access(buf, R_OK) == 0;
        }
    }
    if (file)
        fclose(file);
    return found;
}

bool instance_measure(struct instance *instance)
{
    char path[512];
    long long bytes = 0;
    if (instance->pid <= 0 || !memory_path(instance->pid, path, sizeof(path)))
        return false;
    FILE *file = fopen(path, "re");
    bool read = file && fscanf(file, "%lld", &bytes) == 1;
    if (file)
        fclose(file);
    int64_t before = instance->memory_bytes, moved = before > bytes ? before - bytes : bytes - before;
    if (!read || moved <= before / 10)
        return false;
    instance->memory_bytes = bytes;
    return true;
}
