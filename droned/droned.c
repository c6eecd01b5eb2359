/* SPDX-License-Identifier: MIT */
#include "droned/droned.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/semver.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/build.h"
#include "droned/checkout.h"
#include "droned/host.h"
#include "droned/instance.h"
#include "droned/orders.h"
#include "droned/pack.h"
#include "droned/port.h"
#include "droned/streams.h"
#include "droned/systemd.h"
#include "droned/trash.h"
#include "droned/unit_spec.h"
#include "droned/uplink.h"

#define GIT_USER         "stagecoach-drone" /* of the git helper */
#define ADDRESS_FILE_MAX 256

// clang-format off
static const struct option_row option_rows[] = {
    { "Drone", "Address",     OPTION_STRING, offsetof(struct droned_config, address), 0, 0, "",
      "Where instances listen and where routers reach them; empty: the local end of the link to the hub." },
    { "Drone", "StateDir",    OPTION_STRING, offsetof(struct droned_config, state_dir), 0, 0,
      "/var/lib/stagecoach-drone", "Orders, commits, builds and our identity." },
    { "Drone", "Ports",       OPTION_STRING, offsetof(struct droned_config, ports), 0, 0, "20000-29999",
      "Ports that instances get; keep it out of net.ipv4.ip_local_port_range." },
    { "Drone", "AllowUsers",  OPTION_STRV,   offsetof(struct droned_config, allow_users), 0, 0, "",
      "Users that a manifest may name in place of a user of the service's own." },
    { "Drone", "Debug",       OPTION_BOOL,   offsetof(struct droned_config, debug), 0, 0, "no",
      "Also log what is only of use for finding mistakes." },
    { "Build", "AtOnce",      OPTION_INT,    offsetof(struct droned_config, builds), 1, 64, "2",
      "Builds that run at the same time." },
    { "Build", "SizeMax",     OPTION_SIZE,   offsetof(struct droned_config, build_size), 1048576, 0, "4G",
      "What one build may leave behind, and its largest single file." },
    { "Helpers", "Gitwork",   OPTION_STRING, offsetof(struct droned_config, gitwork), 0, 0,
      "/usr/libexec/stagecoach/stagecoach-gitwork", "The helper that indexes packs and checks out commits." },
    { "Helpers", "Seal",      OPTION_STRING, offsetof(struct droned_config, seal), 0, 0,
      "/usr/libexec/stagecoach/stagecoach-seal", "The helper that checks finished trees and write-protects them." },
};
// clang-format on
const struct option_table droned_options = {
    .program = "stagecoach-droned",
    .size = sizeof(struct droned_config),
    .rows = option_rows,
    .n_rows = ARRAY_SIZE(option_rows),
};

/* --- what is told --------------------------------------------------------------------------------------------------------- */

static void send_state(struct droned *droned, const struct instance_state *state, bool gone)
{
    struct msg_instance_report report = { .instance = *state, .gone = gone };
    if (droned->seams.on_report)
        droned->seams.on_report(droned->seams.on_report_arg, &report);
    uplink_send(droned->uplink, MSG_INSTANCE_REPORT, &report);
}

void droned_report(struct droned *droned, const struct instance *instance, bool gone)
{
    struct instance_state state;
    instance_fill_state(instance, &state);
    send_state(droned, &state, gone);
}

/* stagecoach-run-SERVICE-ID.service. False: not one of those. */
static bool parse_unit_name(const char *unit, char **ret_service, char **ret_id)
{
    const size_t prefix = strlen(UNIT_PREFIX_RUN), suffix = strlen(".service");
    size_t len = strlen(unit);
    if (len < prefix + suffix + NAME_INSTANCE_LEN + 2 || strncmp(unit, UNIT_PREFIX_RUN, prefix) != 0)
        return false;
    size_t end = len - suffix - NAME_INSTANCE_LEN;
    _cleanup_(free_ptr) char *id = xstrndup(unit + end, NAME_INSTANCE_LEN);
    _cleanup_(free_ptr) char *service = xstrndup(unit + prefix, end - 1 - prefix);
    if (unit[end - 1] != '-' || !name_is_instance(id) || !name_is_service(service))
        return false;
    *ret_id = steal_ptr(id);
    *ret_service = steal_ptr(service);
    return true;
}

static char *checked_field(const struct unit_status *unit, const char *key, bool (*is_valid)(const char *))
{
    const char *value = pairs_get(unit->log_fields, key);
    return value && is_valid(value) ? xstrdup(value) : NULL;
}

static char *address_of_process(int64_t pid)
{
    _cleanup_(free_ptr) char *host = host_process_env(pid, "HOST");
    _cleanup_(free_ptr) char *port = host_process_env(pid, "PORT");
    _cleanup_(free_ptr) char *address = host && port ? port_address(host, (int)strtol(port, NULL, 10)) : NULL;
    return address && name_is_address(address) ? steal_ptr(address) : NULL;
}

/* Somebody's instance without an order here (our state was lost): it is left running, and told. False: it has an
 * order, or is none. */
static bool fill_unknown(struct droned *droned, const struct unit_status *unit, struct instance_state *ret)
{
    _cleanup_(free_ptr) char *service = NULL;
    _cleanup_(free_ptr) char *id = NULL;
    if (!parse_unit_name(unit->name, &service, &id) || map_get(droned->instances, id))
        return false;
    bool runs = unit->active == UNIT_ACTIVE;
    *ret = (struct instance_state){
        .id = steal_ptr(id),
        .host = xstrdup(droned->name),
        .app = checked_field(unit, "STAGECOACH_APP", name_is_app),
        .service = steal_ptr(service),
        .version = checked_field(unit, "STAGECOACH_VERSION", semver_is_valid),
        .commit = checked_field(unit, "STAGECOACH_COMMIT", name_is_commit),
        .deploy = checked_field(unit, "STAGECOACH_DEPLOY", name_is_deploy),
        .phase = runs ? INSTANCE_RUNNING : INSTANCE_BACKING_OFF,
        .address = address_of_process(unit->main_pid),
        .pid = unit->main_pid,
        .unit = xstrdup(unit->name),
        .since_us = unit->started_us,
        .reason = xstrdup("runs without an order on this host"),
        .fetch_ms = -1,
        .build_ms = -1,
        .start_ms = -1,
        .healthy_ms = -1,
    };
    return true;
}

void droned_fill_report(struct droned *droned, struct report *ret)
{
    size_t most = map_size(droned->instances) + map_size(systemd_units(droned->systemd)), n = 0;
    struct instance_state *states = xcalloc(most ? most : 1, sizeof(*states));
    map_for_each (it, droned->instances) {
        struct instance_state state;
        instance_fill_state(it.value, &state);
        schema_copy(&instance_state_schema, &state, &states[n++]);
    }
    map_for_each (unit, systemd_units(droned->systemd))
        if (fill_unknown(droned, unit.value, &states[n]))
            n++;
    *ret = (struct report){ .instances = states, .n_instances = n, .revision = droned->revision };
}

static void on_host_timer(void *arg)
{
    struct droned *droned = arg;
    timer_set(&droned->host_timer, DRONED_HOST_REPORT_MS);
    if (!droned->uplink || !uplink_is_connected(droned->uplink))
        return;
    struct msg_host_report report;
    host_report_read("/proc", "/etc", droned->config->state_dir, &report);
    uplink_send(droned->uplink, MSG_HOST_REPORT, &report);
    host_report_clear(&report);
    map_for_each (it, droned->instances)
        if (instance_measure(it.value))
            droned_report(droned, it.value, false);
}

void droned_update_status(struct droned *droned)
{
    size_t running = 0, all = map_size(droned->instances);
    if (droned->seams.no_uplink)
        return;
    map_for_each (it, droned->instances) {
        const struct instance *instance = it.value;
        running += instance->phase == INSTANCE_RUNNING;
    }
    const char *trouble = droned->uplink ? member_trouble(uplink_member(droned->uplink)) : NULL;
    if (!droned->units_known)
        daemon_status("%zu instances; waiting for systemd", all);
    else if (trouble)
        daemon_status("%zu of %zu instances running; no hub: %s", running, all, trouble);
    else
        daemon_status("%zu of %zu instances running", running, all);
}

/* --- systemd ---------------------------------------------------------------------------------------------------------------- */

static int open_bus(void *owner, struct sd_bus **ret)
{
    const struct droned *droned = owner;
    return droned->seams.open_bus ? droned->seams.open_bus(droned->seams.open_bus_arg, ret)
                                  : systemd_open_bus(NULL, ret);
}

/* "…-ID.service": the instance a unit belongs to, NULL if it has no order here. */
static struct instance *instance_of(struct droned *droned, const char *unit)
{
    size_t len = strlen(unit), suffix = strlen(".service");
    if (len < suffix + NAME_INSTANCE_LEN)
        return NULL;
    _cleanup_(free_ptr) char *id = xstrndup(unit + len - suffix - NAME_INSTANCE_LEN, NAME_INSTANCE_LEN);
    return map_get(droned->instances, id);
}

static void on_unit(void *owner, const struct unit_status *unit, bool gone)
{
    struct droned *droned = owner;
    if (strncmp(unit->name, UNIT_PREFIX_BUILD, strlen(UNIT_PREFIX_BUILD)) == 0) {
        builds_on_unit(droned->builds, unit, gone);
        return;
    }
    struct instance *instance = instance_of(droned, unit->name);
    if (!instance)
        return;
    if (strcmp(unit->name, instance->unit) == 0)
        instance_on_unit(instance, unit, gone);
    else if (strncmp(unit->name, UNIT_PREFIX_PROBE, strlen(UNIT_PREFIX_PROBE)) == 0)
        instance_on_probe_unit(instance, unit);
}

/* The ids first: instances may go while they look at their units. */
static void on_ready(void *owner)
{
    struct droned *droned = owner;
    _cleanup_(strv_freep) char **ids = NULL;
    char *id;
    droned->units_known = true;
    builds_on_ready(droned->builds);
    map_for_each (it, droned->instances)
        strv_push(&ids, it.key);
    strv_for_each (id, ids) {
        struct instance *instance = map_get(droned->instances, id);
        if (instance)
            instance_on_ready(instance);
    }
    if (droned->uplink)
        uplink_send_report(droned->uplink);
    timer_set(&droned->host_timer, 0);
    droned_update_status(droned);
}

static void on_host_stopping(void *owner, bool stopping)
{
    struct droned *droned = owner;
    droned->host_stopping = stopping;
    if (!stopping) {
        log_info(NULL, "the host does not go down after all");
        on_ready(droned);
        return;
    }
    log_info(NULL, "the host goes down; its instances come back when it does");
    if (droned->uplink && uplink_is_connected(droned->uplink))
        uplink_say_goodbye(droned->uplink, "the host goes down");
    else
        systemd_release_shutdown(droned->systemd);
}

/* --- trees ------------------------------------------------------------------------------------------------------------------- */

static struct pack *open_pack(void *owner, struct pack_spec *spec, struct error *err)
{
    struct droned *droned = owner;
    const struct member *member = droned->uplink ? uplink_member(droned->uplink) : NULL;
    const char *hub = member ? member_identity(member)->hub : NULL;
    if (!hub) {
        error_set(err, -EAGAIN, "waiting for the hub");
        return NULL;
    }
    spec->hub = hub;
    spec->tls = member_tls(member, MEMBER_DOWNLOADS);
    return pack_new(droned->loop, spec);
}

static bool uses_source(void *owner, const char *app, const char *commit)
{
    const struct droned *droned = owner;
    map_for_each (it, droned->instances) {
        const struct instance *instance = it.value;
        if (strcmp(instance->order.commit, commit) == 0 && strcmp(instance->order.app, app) == 0)
            return true;
    }
    return false;
}

static bool uses_build(void *owner, const char *app, const char *commit, const char *key)
{
    return uses_source(owner, app, commit);
}

void droned_collect(struct droned *droned, const char *app)
{
    checkouts_collect(droned->checkouts, app);
    builds_collect(droned->builds, app);
}

/* --- name and address ---------------------------------------------------------------------------------------------------------- */

void droned_set_name(struct droned *droned, const char *name)
{
    str_set(&droned->name, name);
}

static char *address_path(const struct droned *droned)
{
    return xasprintf("%s/address", droned->config->state_dir);
}

void droned_set_address(struct droned *droned, const char *address)
{
    const char *configured = droned->config->address;
    if (configured && configured[0])
        address = configured;
    if (droned->address && strcmp(droned->address, address) == 0)
        return;
    if (droned->address)
        log_warning(NULL, "instances listen on %s from now on, not on %s", address, droned->address);
    str_set(&droned->address, address);
    struct error err;
    _cleanup_(free_ptr) char *path = address_path(droned);
    if (statefile_write(path, address, strlen(address), 0600, &err) < 0)
        log_warning(NULL, "can't keep our address: %s", err.text);
}

/* As it was with the last hub: after a reboot everything starts without one. */
static void load_address(struct droned *droned)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = address_path(droned);
    if (droned->config->address && droned->config->address[0])
        str_set(&droned->address, droned->config->address);
    else if (statefile_read(path, ADDRESS_FILE_MAX, &text, NULL) >= 0 && text.len > 0)
        str_set(&droned->address, strbuf_str(&text));
}

/* --- the whole ---------------------------------------------------------------------------------------------------------------- */

/* The state directory can be passed through, not listed: the git helper has its own corner in it. */
static int make_state_dir(const char *path, struct error *err)
{
    int r = statefile_mkdir(path, 0711, err);
    if (r >= 0 && chmod(path, 0711) < 0)
        r = error_set_errno(err, -errno, "can't open %s to the git helper", path);
    return r;
}

/* Where trees are mounted inside the units; PID 1 makes them too, but not with these modes. */
static void make_mount_points(void)
{
    static const char *const dirs[] = { "/srv/stagecoach", UNIT_APP_DIR, UNIT_SOURCE_DIR };
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        if (mkdir(dirs[i], 0755) == 0 && chmod(dirs[i], 0755) < 0)
            log_debug(NULL, "%s: %s", dirs[i], strerror(errno));
}

static void instance_free_value(void *value)
{
    instance_free(value);
}

static void make_trees(struct droned *droned)
{
    const struct droned_config *config = droned->config;
    const struct passwd *git = geteuid() == 0 ? getpwnam(GIT_USER) : NULL;
    if (geteuid() == 0 && !git && !droned->seams.open_bus)
        log_warning(NULL, "there is no user " GIT_USER "; the git helper runs as root");
    _cleanup_(free_ptr) char *trash = xasprintf("%s/trash", config->state_dir);
    droned->trash = trash_new(droned->loop, trash);
    droned->checkouts = checkouts_new(droned->loop,
        &(struct checkouts_spec){
            .state_dir = config->state_dir,
            .gitwork = config->gitwork,
            .seal = config->seal,
            .trash = droned->trash,
            .uid = git ? git->pw_uid : 0,
            .gid = git ? git->pw_gid : 0,
            .open_pack = open_pack,
            .is_used = uses_source,
            .owner = droned,
        });
    droned->builds = builds_new(droned->loop,
        &(struct builds_spec){
            .state_dir = config->state_dir,
            .seal = config->seal,
            .at_once = config->builds,
            .bytes_max = config->build_size,
            .systemd = droned->systemd,
            .trash = droned->trash,
            .is_used = uses_build,
            .owner = droned,
        });
}

int droned_new(struct loop *loop, const struct droned_config *config, const struct droned_seams *seams,
    struct droned **ret, struct error *err)
{
    int first, last;
    int r = port_range_parse(config->ports, &first, &last, err);
    if (r >= 0)
        r = make_state_dir(config->state_dir, err);
    if (r < 0)
        return r;
    struct droned *droned = xcalloc(1, sizeof(*droned));
    droned->loop = loop;
    droned->config = config;
    if (seams)
        droned->seams = *seams;
    droned->boot_id = droned->seams.boot_id ? xstrdup(droned->seams.boot_id) : host_boot_id();
    droned->instances = map_new(instance_free_value);
    timer_init(&droned->host_timer, loop, on_host_timer, droned);
    if (!droned->seams.open_bus)
        make_mount_points();
    load_address(droned);
    _cleanup_(free_ptr) char *ports = xasprintf("%s/ports", config->state_dir);
    droned->ports = ports_new(first, last, ports);
    droned->systemd = systemd_new(loop,
        &(struct systemd_spec){
            .open_bus = open_bus,
            .on_unit = on_unit,
            .on_ready = on_ready,
            .on_host_stopping = on_host_stopping,
            .owner = droned,
        });
    make_trees(droned);
    r = orders_load(droned, err);
    if (r < 0) {
        droned_free(droned);
        return r;
    }
    droned->streams = streams_new(droned);
    if (!droned->seams.no_uplink)
        droned->uplink = uplink_new(droned);
    timer_set(&droned->host_timer, DRONED_HOST_REPORT_MS);
    *ret = droned;
    return 0;
}

static bool text_equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

void droned_reload(struct droned *droned, struct droned_config *config, struct droned_config *fresh)
{
    char **users = config->allow_users;
    config->allow_users = fresh->allow_users;
    fresh->allow_users = users;
    config->debug = fresh->debug;
    log_set_level(config->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    if (!text_equal(config->address, fresh->address) || !text_equal(config->state_dir, fresh->state_dir) ||
        !text_equal(config->ports, fresh->ports) || config->builds != fresh->builds ||
        config->build_size != fresh->build_size)
        log_warning(NULL,
            "of the configuration only AllowUsers and Debug change at a reload; "
            "systemctl restart stagecoach-droned for the rest (instances run on)");
}

void droned_free(struct droned *droned)
{
    if (!droned)
        return;
    timer_done(&droned->host_timer);
    streams_free(droned->streams);
    map_free(droned->instances);
    builds_free(droned->builds);
    checkouts_free(droned->checkouts);
    uplink_free(droned->uplink);
    systemd_free(droned->systemd);
    trash_free(droned->trash);
    ports_free(droned->ports);
    free(droned->name);
    free(droned->joined_fleet);
    free(droned->fleet);
    free(droned->address);
    free(droned->boot_id);
    free(droned);
}
