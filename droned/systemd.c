/* SPDX-License-Identifier: MIT */
#include "droned/systemd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/strv.h"
#include "droned/bus.h"
#include "droned/systemd_internal.h"
#include "droned/unit_spec.h"

const char *const unit_active_names[] = {
    "inactive",
    "activating",
    "active",
    "reloading",
    "deactivating",
    "failed",
};
_Static_assert(ARRAY_SIZE(unit_active_names) == UNIT_ACTIVE_MAX_, "a name per state");

/* A read of a unit's properties, when we connect to a manager that runs units of ours already. */
struct query {
    struct list link;
    struct systemd *systemd;
    char *name;
    sd_bus_slot *slot; /* NULL: not sent yet */
};

static void connect_bus(struct systemd *systemd);
static void queries_pump(struct systemd *systemd);

/* --- what is known of a unit ------------------------------------------------------------------------------ */

static void unit_status_free(void *p)
{
    struct unit_status *unit = p;
    strv_free(unit->log_fields);
    free(unit);
}

bool systemd_is_ours(const char *unit)
{
    static const char *const prefixes[] = { UNIT_PREFIX_RUN, UNIT_PREFIX_BUILD, UNIT_PREFIX_PROBE };
    size_t len = strlen(unit);
    if (len >= UNIT_NAME_MAX || len < 8 || strcmp(unit + len - 8, ".service") != 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (strncmp(unit, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

struct unit_status *systemd_unit_slot(struct systemd *systemd, const char *name)
{
    struct unit_status *unit = map_get(systemd->units, name);
    if (!unit) {
        unit = xcalloc(1, sizeof(*unit));
        snprintf(unit->name, sizeof(unit->name), "%s", name);
        map_set(systemd->units, name, unit);
    }
    return unit;
}

bool unit_is_between_restarts(const struct unit_status *unit)
{
    return strcmp(unit->sub, "auto-restart") == 0;
}

char *unit_end_text(const struct unit_status *unit)
{
    if (strcmp(unit->result, "oom-kill") == 0)
        return xstrdup("killed by the kernel for memory");
    if (strcmp(unit->result, "timeout") == 0 && unit->exit_code == 0)
        return xstrdup("did not start in time");
    if (strcmp(unit->result, "watchdog") == 0)
        return xstrdup("killed by its watchdog");
    if (unit->exit_code == CLD_EXITED && unit->exit_status >= 200 && unit->exit_status <= 245)
        return xasprintf("could not be set up by systemd (status %lld)", (long long)unit->exit_status);
    if (unit->exit_code == CLD_EXITED)
        return xasprintf("exited with status %lld", (long long)unit->exit_status);
    if (unit->exit_code == CLD_KILLED || unit->exit_code == CLD_DUMPED) {
        const char *name = sigabbrev_np((int)unit->exit_status);
        return name
            ? xasprintf("killed by SIG%s%s", name, unit->exit_code == CLD_DUMPED ? ", core dumped" : "")
            : xasprintf("killed by signal %lld", (long long)unit->exit_status);
    }
    if (strcmp(unit->result, "resources") == 0)
        return xstrdup("could not be started: no resources");
    return xstrdup("stopped");
}

static void set_active(struct unit_status *unit, const char *text)
{
    for (int i = 0; i < UNIT_ACTIVE_MAX_; i++)
        if (strcmp(unit_active_names[i], text) == 0)
            unit->active = i;
}

/* --- properties from a{sv} --------------------------------------------------------------------------------- */

enum slot_type { SLOT_ACTIVE, SLOT_TEXT, SLOT_UINT32, SLOT_INT32, SLOT_UINT64, SLOT_FIELDS };

// clang-format off
static const struct property_slot {
    const char *name;
    enum slot_type type;
    const char *signature;
    size_t offset;
} property_slots[] = {
    { "ActiveState",            SLOT_ACTIVE, "s",   0 },
    { "ExecMainCode",           SLOT_INT32,  "i",   offsetof(struct unit_status, exit_code) },
    { "ExecMainExitTimestamp",  SLOT_UINT64, "t",   offsetof(struct unit_status, exited_us) },
    { "ExecMainStartTimestamp", SLOT_UINT64, "t",   offsetof(struct unit_status, started_us) },
    { "ExecMainStatus",         SLOT_INT32,  "i",   offsetof(struct unit_status, exit_status) },
    { "LogExtraFields",         SLOT_FIELDS, "aay", offsetof(struct unit_status, log_fields) },
    { "MainPID",                SLOT_UINT32, "u",   offsetof(struct unit_status, main_pid) },
    { "NRestarts",              SLOT_UINT32, "u",   offsetof(struct unit_status, restarts) },
    { "Result",                 SLOT_TEXT,   "s",   offsetof(struct unit_status, result) },
    { "SubState",               SLOT_TEXT,   "s",   offsetof(struct unit_status, sub) },
};
// clang-format on
#define STATUS_TEXT_MAX 32 /* sub and result */

static int read_fields(sd_bus_message *m, char ***ret)
{
    int r = sd_bus_message_enter_container(m, 'a', "ay");
    if (r < 0)
        return r;
    strv_free(steal_ptr(*ret));
    const void *data;
    size_t len;
    while ((r = sd_bus_message_read_array(m, 'y', &data, &len)) > 0) {
        _cleanup_(free_ptr) char *text = xmemdup(data, len);
        strv_push(ret, text);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_slot(sd_bus_message *m, const struct property_slot *slot, struct unit_status *unit)
{
    char *base = (char *)unit + slot->offset;
    const char *text;
    uint32_t u = 0;
    int32_t i = 0;
    uint64_t t = 0;
    int r;
    switch (slot->type) {
    case SLOT_ACTIVE:
    case SLOT_TEXT:
        r = sd_bus_message_read_basic(m, 's', &text);
        if (r > 0 && slot->type == SLOT_ACTIVE)
            set_active(unit, text);
        else if (r > 0)
            snprintf(base, STATUS_TEXT_MAX, "%s", text);
        return r;
    case SLOT_UINT32:
        r = sd_bus_message_read_basic(m, 'u', &u);
        *(int64_t *)base = u;
        return r;
    case SLOT_INT32:
        r = sd_bus_message_read_basic(m, 'i', &i);
        *(int64_t *)base = i;
        return r;
    case SLOT_UINT64:
        r = sd_bus_message_read_basic(m, 't', &t);
        *(int64_t *)base = (int64_t)t;
        return r;
    case SLOT_FIELDS:
        return read_fields(m, (char ***)base);
    }
    return -EINVAL;
}

static int read_property(sd_bus_message *m, const char *name, struct unit_status *unit)
{
    const char *signature;
    int r = sd_bus_message_peek_type(m, NULL, &signature);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(property_slots); i++) {
        const struct property_slot *slot = &property_slots[i];
        if (strcmp(slot->name, name) != 0 || strcmp(slot->signature, signature) != 0)
            continue;
        r = sd_bus_message_enter_container(m, 'v', signature);
        if (r >= 0)
            r = read_slot(m, slot, unit);
        return r < 0 ? r : sd_bus_message_exit_container(m);
    }
    return sd_bus_message_skip(m, "v");
}

static int read_properties(sd_bus_message *m, struct unit_status *unit)
{
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        const char *name;
        r = sd_bus_message_read_basic(m, 's', &name);
        if (r > 0)
            r = read_property(m, name, unit);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* --- signals ------------------------------------------------------------------------------------------------ */

static int on_properties_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    _cleanup_(free_ptr) char *name = NULL;
    const char *interface;
    if (sd_bus_path_decode(sd_bus_message_get_path(m), SYSTEMD_UNIT_PATH, &name) <= 0 ||
        !systemd_is_ours(name))
        return 0;
    if (sd_bus_message_read_basic(m, 's', &interface) <= 0)
        return 0;
    struct unit_status *unit = systemd_unit_slot(systemd, name);
    int r = read_properties(m, unit);
    if (r < 0)
        log_debug(NULL, "systemd: can't read the properties of %s: %s", name, strerror(-r));
    /* systemd tells the service's part first and the unit's last: then the picture is whole. */
    if (systemd->ready && strcmp(interface, "org.freedesktop.systemd1.Unit") == 0)
        systemd->spec.on_unit(systemd->spec.owner, unit, false);
    return 0;
}

static int on_unit_removed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    const char *name, *path;
    if (sd_bus_message_read(m, "so", &name, &path) < 0)
        return 0;
    struct unit_status *unit = map_steal(systemd->units, name);
    if (!unit)
        return 0;
    unit->active = UNIT_INACTIVE;
    unit->main_pid = 0;
    if (systemd->ready)
        systemd->spec.on_unit(systemd->spec.owner, unit, true);
    unit_status_free(unit);
    return 0;
}

static int on_job_removed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    uint32_t id;
    const char *path, *unit, *result;
    if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) >= 0)
        systemd_job_removed(arg, path, unit, result);
    return 0;
}

/* --- connecting ---------------------------------------------------------------------------------------------- */

static void query_free(struct query *query)
{
    list_remove(&query->link);
    sd_bus_slot_unref(query->slot);
    free(query->name);
    free(query);
}

static void disconnect(struct systemd *systemd)
{
    struct query *query, *tmp;
    list_for_each_safe (query, tmp, &systemd->queries, link)
        query_free(query);
    systemd->n_queries = 0;
    systemd->ready = systemd->listing = false;
    systemd->connection = NULL;
    bus_free(steal_ptr(systemd->bus));
}

static void on_bus_lost(void *arg, int result)
{
    struct systemd *systemd = arg;
    if (!systemd->lost_logged)
        log_warning(
            NULL, "lost the connection to systemd (%s); units run on, trying again", strerror(-result));
    systemd->lost_logged = true;
    disconnect(systemd);
    systemd_jobs_lost(systemd);
    timer_set(&systemd->reconnect, SYSTEMD_RECONNECT_MS);
}

static void on_reconnect(void *arg)
{
    struct systemd *systemd = arg;
    if (systemd->bus)
        on_bus_lost(systemd, -ECONNRESET);
    else
        connect_bus(systemd);
}

/* PID 1 left the bus and came back (it does after a crash of the bus, or when it has too many matches): it has
 * forgotten that we listen, and we don't know what happened meanwhile. */
static int on_owner_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    const char *name, *before, *after;
    if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0 || strcmp(name, SYSTEMD_NAME) != 0)
        return 0;
    /* Not from inside the bus's own callback. */
    systemd->ready = false;
    timer_set(&systemd->reconnect, 0);
    return 0;
}

static void finish_listing(struct systemd *systemd)
{
    if (!systemd->listing || !list_empty(&systemd->queries))
        return;
    systemd->listing = false;
    systemd->ready = true;
    systemd->lost_logged = false;
    systemd->spec.on_ready(systemd->spec.owner);
    systemd_jobs_pump(systemd);
}

static int on_properties(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct query *query = arg;
    struct systemd *systemd = query->systemd;
    struct unit_status *unit = map_get(systemd->units, query->name);
    if (unit && !sd_bus_message_is_method_error(m, NULL) && read_properties(m, unit) < 0)
        log_warning(NULL, "systemd: can't read the properties of %s", query->name);
    systemd->n_queries--;
    query_free(query);
    queries_pump(systemd);
    finish_listing(systemd);
    return 0;
}

static void queries_pump(struct systemd *systemd)
{
    struct query *query, *tmp;
    list_for_each_safe (query, tmp, &systemd->queries, link) {
        if (systemd->n_queries >= SYSTEMD_QUERIES_MAX)
            return;
        if (query->slot)
            continue;
        _cleanup_(free_ptr) char *path = NULL;
        if (sd_bus_path_encode(SYSTEMD_UNIT_PATH, query->name, &path) < 0 ||
            sd_bus_call_method_async(systemd->connection, &query->slot, SYSTEMD_NAME, path,
                "org.freedesktop.DBus.Properties", "GetAll", on_properties, query, "s",
                "org.freedesktop.systemd1.Service") < 0) {
            query_free(query);
            continue;
        }
        systemd->n_queries++;
    }
}

static int on_list(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    if (sd_bus_message_is_method_error(m, NULL)) {
        timer_set(&systemd->reconnect, 0);
        return 0;
    }
    map_free(systemd->units);
    systemd->units = map_new(unit_status_free);
    const char *name, *description, *load, *active, *sub, *following, *path, *job_type, *job_path;
    uint32_t job_id;
    int r = sd_bus_message_enter_container(m, 'a', "(ssssssouso)");
    while (r >= 0 &&
        (r = sd_bus_message_read(m, "(ssssssouso)", &name, &description, &load, &active, &sub, &following,
             &path, &job_id, &job_type, &job_path)) > 0) {
        if (!systemd_is_ours(name) || strcmp(load, "not-found") == 0)
            continue;
        struct unit_status *unit = systemd_unit_slot(systemd, name);
        set_active(unit, active);
        snprintf(unit->sub, sizeof(unit->sub), "%s", sub);
        struct query *query = xcalloc(1, sizeof(*query));
        query->systemd = systemd;
        query->name = xstrdup(name);
        list_append(&systemd->queries, &query->link);
    }
    queries_pump(systemd);
    finish_listing(systemd);
    return 0;
}

static int begin(struct systemd *systemd)
{
    sd_bus *bus = systemd->connection;
    /* Straight to PID 1 (its private socket, or a test) messages have no sender. */
    bool direct = sd_bus_is_bus_client(bus) <= 0;
    const char *from = direct ? NULL : SYSTEMD_NAME;
    // clang-format off
    const struct { const char *member; sd_bus_message_handler_t fn; } signals[] = {
        { "JobRemoved",  on_job_removed },
        { "UnitRemoved", on_unit_removed },
    };
    // clang-format on
    int r = 0;
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
        r = sd_bus_match_signal_async(
            bus, NULL, from, SYSTEMD_PATH, SYSTEMD_MANAGER, signals[i].member, signals[i].fn, NULL, systemd);
    _cleanup_(free_ptr) char *match =
        xasprintf("type='signal',%s%s%sinterface='org.freedesktop.DBus.Properties',"
                  "member='PropertiesChanged',path_namespace='%s'",
            direct ? "" : "sender='", direct ? "" : SYSTEMD_NAME, direct ? "" : "',", SYSTEMD_UNIT_PATH);
    if (r >= 0)
        r = sd_bus_add_match_async(bus, NULL, match, on_properties_changed, NULL, systemd);
    if (r >= 0 && !direct)
        r = sd_bus_match_signal_async(bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
            "org.freedesktop.DBus", "NameOwnerChanged", on_owner_changed, NULL, systemd);
    if (r >= 0)
        r = systemd_watch_shutdown(systemd, direct);
    if (r >= 0)
        r = sd_bus_call_method_async(
            bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe", NULL, NULL, NULL);
    if (r >= 0)
        r = sd_bus_call_method_async(bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
            "ListUnitsByPatterns", on_list, systemd, "asas", 0, 3, UNIT_PREFIX_RUN "*.service",
            UNIT_PREFIX_BUILD "*.service", UNIT_PREFIX_PROBE "*.service");
    return r;
}

static void connect_bus(struct systemd *systemd)
{
    sd_bus *connection = NULL;
    int r = systemd->spec.open_bus(systemd->spec.owner, &connection);
    if (r >= 0) {
        systemd->connection = connection;
        systemd->bus = bus_new(systemd->loop, connection, on_bus_lost, systemd);
        systemd->listing = true;
        r = begin(systemd);
        bus_sent(systemd->bus);
    }
    if (r >= 0)
        return;
    if (!systemd->lost_logged)
        log_warning(NULL, "can't reach systemd: %s; trying again", strerror(-r));
    systemd->lost_logged = true;
    disconnect(systemd);
    timer_set(&systemd->reconnect, SYSTEMD_RECONNECT_MS);
}

int systemd_open_bus(void *owner, sd_bus **ret)
{
    if (sd_bus_open_system(ret) >= 0)
        return 0;
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, "unix:path=/run/systemd/private");
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        sd_bus_unref(bus);
    else
        *ret = bus;
    return r;
}

struct systemd *systemd_new(struct loop *loop, const struct systemd_spec *spec)
{
    struct systemd *systemd = xcalloc(1, sizeof(*systemd));
    systemd->loop = loop;
    systemd->spec = *spec;
    systemd->units = map_new(unit_status_free);
    systemd->unknown_properties = map_new(NULL);
    list_init(&systemd->queries);
    list_init(&systemd->jobs);
    timer_init(&systemd->reconnect, loop, on_reconnect, systemd);
    systemd_shutdown_init(systemd);
    timer_set(&systemd->reconnect, 0);
    return systemd;
}

void systemd_free(struct systemd *systemd)
{
    if (!systemd)
        return;
    systemd_jobs_free(systemd);
    disconnect(systemd);
    timer_done(&systemd->reconnect);
    systemd_shutdown_done(systemd);
    map_free(systemd->units);
    map_free(systemd->unknown_properties);
    free(systemd);
}

bool systemd_is_ready(const struct systemd *systemd)
{
    return systemd->ready;
}

const struct unit_status *systemd_unit(const struct systemd *systemd, const char *name)
{
    return map_get(systemd->units, name);
}

const struct map *systemd_units(const struct systemd *systemd)
{
    return systemd->units;
}
