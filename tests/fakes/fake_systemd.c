/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_systemd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "common/list.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/bus.h"

#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER      "org.freedesktop.systemd1.Manager"
#define UNIT_PATH    "/org/freedesktop/systemd1/unit"

/* What is done a turn after it was asked for, as a real manager does. */
struct deferred {
    struct list link;
    struct timer timer;
    struct fake_systemd *fake;
    void (*fn)(struct fake_systemd *fake, const char *unit);
    char *unit;
};

struct fake_systemd {
    struct loop *loop;
    struct bus *bus;
    sd_bus *connection;
    struct map *units;
    struct map *calls; /* method → count, as a pointer */
    struct map *held;
    struct map *unknown; /* properties */
    struct map *jobs;    /* unit → number of its open job, as a pointer */
    struct list deferred;
    char *fail_method, *fail_error, *fail_text;
    int64_t next_pid, next_job, next_us;
    bool ignore_stop;
};

static void unit_free(void *p)
{
    struct fake_unit *unit = p;
    strv_free(unit->properties);
    free(unit->name);
    free(unit);
}

struct fake_unit *fake_systemd_unit(struct fake_systemd *fake, const char *name)
{
    return map_get(fake->units, name);
}

const char *fake_unit_property(const struct fake_unit *unit, const char *name)
{
    return pairs_get(unit->properties, name);
}

int fake_systemd_calls(const struct fake_systemd *fake, const char *method)
{
    return (int)(intptr_t)map_get(fake->calls, method);
}

/* --- signals ------------------------------------------------------------------------------------------------ */

static char *unit_path(const char *name)
{
    char *path = NULL;
    if (sd_bus_path_encode(UNIT_PATH, name, &path) < 0)
        abort();
    return path;
}

static void sent(struct fake_systemd *fake)
{
    if (fake->bus)
        bus_sent(fake->bus);
}

static int append_service(sd_bus_message *m, const struct fake_unit *unit)
{
    char **fields = NULL;
    const char *text = fake_unit_property(unit, "LogExtraFields");
    if (text)
        fields = strv_split(text, " ");
    int r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "MainPID", "u", (uint32_t)unit->pid,
            "Result", "s", unit->result, "NRestarts", "u", (uint32_t)unit->restarts, "ExecMainCode", "i",
            (int32_t)unit->exit_code, "ExecMainStatus", "i", (int32_t)unit->exit_status,
            "ExecMainStartTimestamp", "t", (uint64_t)unit->started_us, "ExecMainExitTimestamp", "t",
            (uint64_t)unit->exited_us);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", "LogExtraFields");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', "aay");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "ay");
    for (char **f = fields; r >= 0 && f && *f; f++)
        r = sd_bus_message_append_array(m, 'y', *f, strlen(*f));
    strv_free(fields);
    for (int i = 0; r >= 0 && i < 4; i++)
        r = sd_bus_message_close_container(m);
    return r;
}

static sd_bus_message *new_signal(
    struct fake_systemd *fake, const char *path, const char *interface, const char *member)
{
    sd_bus_message *m = NULL;
    if (!fake->connection || sd_bus_message_new_signal(fake->connection, &m, path, interface, member) < 0)
        return NULL;
    return m;
}

static void send_signal(struct fake_systemd *fake, sd_bus_message *m)
{
    if (sd_bus_send(fake->connection, m, NULL) < 0)
        fprintf(stderr, "fake systemd: can't send a signal\n");
    sd_bus_message_unref(m);
    sent(fake);
}

/* The service's part first, then the unit's, as systemd does. */
static void emit(struct fake_systemd *fake, const struct fake_unit *unit)
{
    static const char properties[] = "org.freedesktop.DBus.Properties";
    _cleanup_(free_ptr) char *path = unit_path(unit->name);
    sd_bus_message *m = new_signal(fake, path, properties, "PropertiesChanged");
    if (!m)
        return;
    if (sd_bus_message_append(m, "s", "org.freedesktop.systemd1.Service") < 0 ||
        append_service(m, unit) < 0 || sd_bus_message_append(m, "as", 0) < 0)
        abort();
    send_signal(fake, m);
    m = new_signal(fake, path, properties, "PropertiesChanged");
    if (sd_bus_message_append(m, "sa{sv}as", "org.freedesktop.systemd1.Unit", 2, "ActiveState", "s",
            unit->active, "SubState", "s", unit->sub, 0) < 0)
        abort();
    send_signal(fake, m);
}

static void set(struct fake_systemd *fake, struct fake_unit *unit, const char *active, const char *sub)
{
    unit->active = active;
    unit->sub = sub;
    emit(fake, unit);
}

static void remove_unit(struct fake_systemd *fake, const char *name)
{
    _cleanup_(free_ptr) char *path = unit_path(name);
    _cleanup_(free_ptr) char *copy = xstrdup(name);
    map_remove(fake->units, copy);
    sd_bus_message *m = new_signal(fake, MANAGER_PATH, MANAGER, "UnitRemoved");
    if (m && sd_bus_message_append(m, "so", copy, path) >= 0)
        send_signal(fake, m);
}

static void end_job(struct fake_systemd *fake, const char *name, const char *result)
{
    int64_t job = (intptr_t)map_get(fake->jobs, name);
    char path[64];
    if (!job)
        return;
    map_remove(fake->jobs, name);
    snprintf(path, sizeof(path), MANAGER_PATH "/job/%lld", (long long)job);
    sd_bus_message *m = new_signal(fake, MANAGER_PATH, MANAGER, "JobRemoved");
    if (m && sd_bus_message_append(m, "uoss", (uint32_t)job, path, name, result) >= 0)
        send_signal(fake, m);
}

static bool has_type(const struct fake_unit *unit, const char *type)
{
    const char *is = fake_unit_property(unit, "Type");
    return is && strcmp(is, type) == 0;
}

/* --- what happens to units ------------------------------------------------------------------------------------ */

static void on_deferred(void *arg)
{
    struct deferred *d = arg;
    list_remove(&d->link);
    timer_done(&d->timer);
    d->fn(d->fake, d->unit);
    free(d->unit);
    free(d);
}

static void defer(
    struct fake_systemd *fake, void (*fn)(struct fake_systemd *, const char *), const char *unit)
{
    struct deferred *d = xcalloc(1, sizeof(*d));
    d->fake = fake;
    d->fn = fn;
    d->unit = xstrdup(unit);
    timer_init(&d->timer, fake->loop, on_deferred, d);
    timer_set(&d->timer, 0);
    list_append(&fake->deferred, &d->link);
}

static void run_process(struct fake_systemd *fake, struct fake_unit *unit)
{
    unit->pid = fake->next_pid++;
    unit->exit_code = unit->exit_status = 0;
    unit->result = "success";
    unit->started_us = fake->next_us++ * 1000;
}

static void begin(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (!unit)
        return;
    run_process(fake, unit);
    set(fake, unit, "activating", "start");
    if (has_type(unit, "oneshot") || has_type(unit, "notify"))
        return;
    set(fake, unit, "active", "running");
    end_job(fake, name, "done");
}

static void finish_stopping(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (unit) {
        if (unit->pid) {
            unit->exit_code = CLD_KILLED;
            unit->exit_status = SIGTERM;
            unit->exited_us = fake->next_us++ * 1000;
        }
        unit->pid = 0;
        set(fake, unit, "inactive", "dead");
    }
    end_job(fake, name, "done");
    if (unit)
        remove_unit(fake, name);
}

static void stop(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (unit && strcmp(unit->active, "failed") == 0) {
        end_job(fake, name, "done"); /* it stays loaded until it is reset */
        return;
    }
    if (unit)
        set(fake, unit, "deactivating", "stop-sigterm");
    if (!unit || !fake->ignore_stop)
        finish_stopping(fake, name);
}

void fake_systemd_killed(struct fake_systemd *fake, const char *name)
{
    finish_stopping(fake, name);
}

static void process_ends(struct fake_systemd *fake, struct fake_unit *unit, int code, int status)
{
    unit->pid = 0;
    unit->exit_code = code;
    unit->exit_status = status;
    unit->exited_us = fake->next_us++ * 1000 + 210000;
    unit->result = code == CLD_EXITED && status == 0 ? "success"
        : code == CLD_EXITED                         ? "exit-code"
                                                     : "signal";
}

void fake_systemd_exit(struct fake_systemd *fake, const char *name, int code, int status)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    process_ends(fake, unit, code, status);
    /* As the real one does: it has failed, for a moment. */
    set(fake, unit, "failed", "failed");
    set(fake, unit, "activating", "auto-restart");
}

void fake_systemd_restart(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    unit->restarts++;
    run_process(fake, unit);
    set(fake, unit, "inactive", "dead");
    set(fake, unit, "activating", "start");
    set(fake, unit, "active", "running");
}

void fake_systemd_give_up(struct fake_systemd *fake, const char *name)
{
    set(fake, fake_systemd_unit(fake, name), "failed", "failed");
}

void fake_systemd_finish(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    process_ends(fake, unit, CLD_EXITED, 0);
    set(fake, unit, "inactive", "dead");
    end_job(fake, name, "done");
    remove_unit(fake, name);
}

void fake_systemd_fail_oneshot(struct fake_systemd *fake, const char *name, int status)
{
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    process_ends(fake, unit, CLD_EXITED, status);
    const char *collect = fake_unit_property(unit, "CollectMode");
    bool goes = collect && strcmp(collect, "inactive-or-failed") == 0;
    set(fake, unit, "failed", "failed");
    end_job(fake, name, "failed");
    if (goes)
        remove_unit(fake, name);
}

void fake_systemd_ready(struct fake_systemd *fake, const char *name)
{
    set(fake, fake_systemd_unit(fake, name), "active", "running");
    end_job(fake, name, "done");
}

void fake_systemd_stop_by_hand(struct fake_systemd *fake, const char *name)
{
    stop(fake, name);
}

void fake_systemd_shutdown(struct fake_systemd *fake)
{
    sd_bus_message *m = new_signal(fake, MANAGER_PATH, MANAGER, "JobNew");
    if (m && sd_bus_message_append(m, "uos", 99, MANAGER_PATH "/job/99", "shutdown.target") >= 0)
        send_signal(fake, m);
}

struct fake_unit *fake_systemd_add(struct fake_systemd *fake, const char *name)
{
    struct fake_unit *unit = xcalloc(1, sizeof(*unit));
    unit->name = xstrdup(name);
    unit->active = "active";
    unit->sub = "running";
    run_process(fake, unit);
    map_set(fake->units, name, unit);
    return unit;
}

/* --- methods ----------------------------------------------------------------------------------------------------- */

/* Any value as text: numbers in decimal, members separated by blanks, byte arrays as they are. */
static int print_value(sd_bus_message *m, struct strbuf *out)
{
    char type;
    const char *contents;
    int r = sd_bus_message_peek_type(m, &type, &contents);
    if (r <= 0)
        return r;
    if (out->len > 0 && out->data[out->len - 1] != ' ')
        strbuf_addc(out, ' ');
    if (type == 'a' && strcmp(contents, "y") == 0) {
        const void *data;
        size_t len;
        r = sd_bus_message_read_array(m, 'y', &data, &len);
        if (r >= 0)
            strbuf_add(out, data, len);
        return r < 0 ? r : 1;
    }
    if (type == 'a' || type == 'r' || type == 'v') {
        r = sd_bus_message_enter_container(m, type, contents);
        while (r >= 0 && (r = print_value(m, out)) > 0)
            ;
        return r < 0 ? r : sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
    }
    union {
        const char *s;
        int b;
        int32_t i;
        uint32_t u;
        uint64_t t;
    } value = { 0 };
    r = sd_bus_message_read_basic(m, type, &value);
    if (r <= 0)
        return r;
    if (type == 's' || type == 'o')
        strbuf_adds(out, value.s);
    else if (type == 't')
        strbuf_addf(out, "%llu", (unsigned long long)value.t);
    else
        strbuf_addf(out, "%lld",
            type == 'i'       ? (long long)value.i
                : type == 'b' ? value.b
                              : (long long)value.u);
    return 1;
}

static int read_properties(
    struct fake_systemd *fake, sd_bus_message *m, char ***ret, const char **ret_unknown)
{
    int r = sd_bus_message_enter_container(m, 'a', "(sv)");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sv")) > 0) {
        const char *name;
        _cleanup_(strbuf_done) struct strbuf value = STRBUF_INIT;
        r = sd_bus_message_read_basic(m, 's', &name);
        if (r > 0)
            r = print_value(m, &value);
        if (r < 0)
            return r;
        if (map_get(fake->unknown, name))
            *ret_unknown = name;
        strv_push_take(ret, xasprintf("%s=%s", name, strbuf_str(&value)));
        r = sd_bus_message_exit_container(m);
    }
    return r;
}

static int answer_job(struct fake_systemd *fake, sd_bus_message *m, const char *unit)
{
    char path[64];
    int64_t job = ++fake->next_job;
    map_set(fake->jobs, unit, (void *)(intptr_t)job);
    snprintf(path, sizeof(path), MANAGER_PATH "/job/%lld", (long long)job);
    return sd_bus_reply_method_return(m, "o", path);
}

static int on_start(struct fake_systemd *fake, sd_bus_message *m)
{
    const char *name, *mode, *unknown = NULL;
    char **properties = NULL;
    if (sd_bus_message_read(m, "ss", &name, &mode) < 0 ||
        read_properties(fake, m, &properties, &unknown) < 0) {
        strv_free(properties);
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_INVALID_ARGS, "malformed");
    }
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (unknown || unit) {
        strv_free(properties);
        if (unit)
            return sd_bus_reply_method_errorf(m, "org.freedesktop.systemd1.UnitExists",
                "Unit %s was already loaded or has a fragment file.", name);
        return sd_bus_reply_method_errorf(
            m, SD_BUS_ERROR_PROPERTY_READ_ONLY, "Cannot set property %s, or unknown property.", unknown);
    }
    unit = xcalloc(1, sizeof(*unit));
    unit->name = xstrdup(name);
    unit->active = "inactive";
    unit->sub = "dead";
    unit->result = "success";
    unit->properties = properties;
    unit->starts = 1;
    map_set(fake->units, name, unit);
    int r = answer_job(fake, m, name);
    defer(fake, begin, name);
    return r;
}

static int on_stop(struct fake_systemd *fake, sd_bus_message *m)
{
    const char *name, *mode;
    if (sd_bus_message_read(m, "ss", &name, &mode) < 0)
        return -EINVAL;
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (!unit)
        return sd_bus_reply_method_errorf(
            m, "org.freedesktop.systemd1.NoSuchUnit", "Unit %s not loaded.", name);
    unit->stops++;
    end_job(fake, name, "canceled");
    int r = answer_job(fake, m, name);
    defer(fake, stop, name);
    return r;
}

static int on_kill(struct fake_systemd *fake, sd_bus_message *m)
{
    const char *name;
    if (sd_bus_message_read(m, "s", &name) < 0)
        return -EINVAL;
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (unit)
        unit->kills++;
    return sd_bus_reply_method_return(m, NULL);
}

static int on_reset_failed(struct fake_systemd *fake, sd_bus_message *m)
{
    const char *name;
    if (sd_bus_message_read(m, "s", &name) < 0)
        return -EINVAL;
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (!unit)
        return sd_bus_reply_method_errorf(
            m, "org.freedesktop.systemd1.NoSuchUnit", "Unit %s not loaded.", name);
    _cleanup_(free_ptr) char *copy = xstrdup(name);
    int r = sd_bus_reply_method_return(m, NULL);
    if (strcmp(unit->active, "failed") == 0)
        remove_unit(fake, copy);
    return r;
}

static int on_list(struct fake_systemd *fake, sd_bus_message *m)
{
    sd_bus_message *reply = NULL;
    int r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(ssssssouso)");
    map_for_each (it, fake->units) {
        const struct fake_unit *unit = it.value;
        _cleanup_(free_ptr) char *path = unit_path(unit->name);
        if (r >= 0)
            r = sd_bus_message_append(reply, "(ssssssouso)", unit->name, "a unit", "loaded", unit->active,
                unit->sub, "", path, 0, "", "/");
    }
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int on_get_all(struct fake_systemd *fake, sd_bus_message *m)
{
    _cleanup_(free_ptr) char *name = NULL;
    sd_bus_message *reply = NULL;
    if (sd_bus_path_decode(sd_bus_message_get_path(m), UNIT_PATH, &name) <= 0)
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_UNKNOWN_OBJECT, "no such object");
    struct fake_unit *unit = fake_systemd_unit(fake, name);
    if (!unit)
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_UNKNOWN_OBJECT, "no such unit");
    int r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = append_service(reply, unit);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int on_subscribe(struct fake_systemd *fake, sd_bus_message *m)
{
    return sd_bus_reply_method_return(m, NULL);
}

// clang-format off
static const struct {
    const char *member;
    int (*fn)(struct fake_systemd *fake, sd_bus_message *m);
} methods[] = {
    { "GetAll",              on_get_all },
    { "KillUnit",            on_kill },
    { "ListUnitsByPatterns", on_list },
    { "ResetFailedUnit",     on_reset_failed },
    { "StartTransientUnit",  on_start },
    { "StopUnit",            on_stop },
    { "Subscribe",           on_subscribe },
};
// clang-format on

static int on_message(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct fake_systemd *fake = arg;
    const char *member = sd_bus_message_get_member(m);
    uint8_t type;
    if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL || !member)
        return 0;
    map_set(fake->calls, member, (void *)(intptr_t)(fake_systemd_calls(fake, member) + 1));
    if (map_get(fake->held, member))
        return 1;
    if (fake->fail_method && strcmp(fake->fail_method, member) == 0) {
        _cleanup_(free_ptr) char *name = steal_ptr(fake->fail_error);
        _cleanup_(free_ptr) char *text = steal_ptr(fake->fail_text);
        free(steal_ptr(fake->fail_method));
        return sd_bus_reply_method_errorf(
            m, name ? name : SD_BUS_ERROR_FAILED, "%s", text ? text : "told to fail");
    }
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (strcmp(methods[i].member, member) == 0)
            return methods[i].fn(fake, m) < 0 ? -EIO : 1;
    return 0;
}

/* --- connection --------------------------------------------------------------------------------------------------- */

static void on_lost(void *arg, int result)
{
    struct fake_systemd *fake = arg;
    fake->connection = NULL;
    bus_free(steal_ptr(fake->bus));
}

int fake_systemd_open(void *arg, struct sd_bus **ret)
{
    struct fake_systemd *fake = arg;
    sd_bus *server = NULL, *client = NULL;
    sd_id128_t id;
    int fds[2];
    fake_systemd_hang_up(fake);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
        sd_id128_randomize(&id) < 0)
        return -errno;
    if (sd_bus_new(&server) < 0 || sd_bus_set_fd(server, fds[0], fds[0]) < 0 ||
        sd_bus_set_server(server, 1, id) < 0 || sd_bus_set_anonymous(server, 1) < 0 ||
        sd_bus_add_filter(server, NULL, on_message, fake) < 0 || sd_bus_start(server) < 0)
        return -EIO;
    if (sd_bus_new(&client) < 0 || sd_bus_set_fd(client, fds[1], fds[1]) < 0 ||
        sd_bus_set_anonymous(client, 1) < 0 || sd_bus_start(client) < 0)
        return -EIO;
    fake->connection = server;
    fake->bus = bus_new(fake->loop, server, on_lost, fake);
    *ret = client;
    return 0;
}

void fake_systemd_hang_up(struct fake_systemd *fake)
{
    fake->connection = NULL;
    bus_free(steal_ptr(fake->bus));
}

/* --- faults ---------------------------------------------------------------------------------------------------------- */

void fake_systemd_fail_next(
    struct fake_systemd *fake, const char *method, const char *error, const char *text)
{
    str_set(&fake->fail_method, method);
    str_set(&fake->fail_error, error);
    str_set(&fake->fail_text, text);
}

void fake_systemd_hold(struct fake_systemd *fake, const char *method, bool hold)
{
    if (hold)
        map_set(fake->held, method, fake);
    else
        map_remove(fake->held, method);
}

void fake_systemd_ignore_stop(struct fake_systemd *fake, bool ignore)
{
    fake->ignore_stop = ignore;
}

void fake_systemd_without(struct fake_systemd *fake, const char *property)
{
    map_set(fake->unknown, property, fake);
}

struct fake_systemd *fake_systemd_new(struct loop *loop)
{
    struct fake_systemd *fake = xcalloc(1, sizeof(*fake));
    fake->loop = loop;
    fake->units = map_new(unit_free);
    fake->calls = map_new(NULL);
    fake->held = map_new(NULL);
    fake->unknown = map_new(NULL);
    fake->jobs = map_new(NULL);
    fake->next_pid = 1000;
    fake->next_us = 1000000;
    list_init(&fake->deferred);
    return fake;
}

void fake_systemd_free(struct fake_systemd *fake)
{
    if (!fake)
        return;
    struct deferred *d, *tmp;
    list_for_each_safe (d, tmp, &fake->deferred, link) {
        list_remove(&d->link);
        timer_done(&d->timer);
        free(d->unit);
        free(d);
    }
    fake_systemd_hang_up(fake);
    map_free(fake->units);
    map_free(fake->calls);
    map_free(fake->held);
    map_free(fake->unknown);
    map_free(fake->jobs);
    free(fake->fail_method);
    free(fake->fail_error);
    free(fake->fail_text);
    free(fake);
}
