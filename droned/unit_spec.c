/* SPDX-License-Identifier: MIT */
#include "droned/unit_spec.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/sha256.h"
#include "common/strv.h"

#define US_PER_MS                INT64_C(1000)
#define US_PER_CPU_PERCENT       INT64_C(10000) /* of CPU time per second */
#define BUILD_TASKS_MAX          4096
#define BUILD_TIMEOUT_DEFAULT_MS (15 * 60 * INT64_C(1000))

/* The sandbox that instances, builds and probes share. MemoryDenyWriteExecute is not in it: JIT compilers. */
// clang-format off
static const struct unit_property sandbox[] = {
    { "CapabilityBoundingSet",  PROPERTY_UINT64, .number = 0 },
    { "LockPersonality",        PROPERTY_BOOL,   .number = true },
    { "NoNewPrivileges",        PROPERTY_BOOL,   .number = true },
    { "PrivateDevices",         PROPERTY_BOOL,   .number = true },
    { "PrivateTmp",             PROPERTY_BOOL,   .number = true },
    { "ProtectClock",           PROPERTY_BOOL,   .number = true, .optional = true },
    { "ProtectControlGroups",   PROPERTY_BOOL,   .number = true },
    { "ProtectHome",            PROPERTY_STRING, .text = (char *)"yes" },
    { "ProtectHostname",        PROPERTY_BOOL,   .number = true, .optional = true },
    { "ProtectKernelLogs",      PROPERTY_BOOL,   .number = true, .optional = true },
    { "ProtectKernelModules",   PROPERTY_BOOL,   .number = true },
    { "ProtectKernelTunables",  PROPERTY_BOOL,   .number = true },
    { "ProtectProc",            PROPERTY_STRING, .text = (char *)"invisible", .optional = true },
    { "ProtectSystem",          PROPERTY_STRING, .text = (char *)"strict" },
    { "RestrictNamespaces",     PROPERTY_UINT64, .number = 0 },
    { "RestrictRealtime",       PROPERTY_BOOL,   .number = true },
    { "RestrictSUIDSGID",       PROPERTY_BOOL,   .number = true, .optional = true },
    /* A call that is filtered is refused, not deadly: run times try new calls (io_uring) and do without. */
    { "SystemCallErrorNumber",  PROPERTY_INT32,  .number = EPERM },
};

/* Out of sight: the system bus (it tells other units' properties), our own sockets and state, configuration. */
static const char *const hidden_paths[] = {
    "-/run/dbus/system_bus_socket",
    "-/run/systemd/private",
    "-/run/stagecoach",
    "-/etc/stagecoach",
    "-/var/lib/stagecoach-drone",
    "-/var/lib/stagecoach-hub",
    "-/var/lib/stagecoach-router",
};
// clang-format on

static struct unit_property *add(struct unit_spec *spec, const char *name, enum property_type type)
{
    spec->rows = xgrow(spec->rows, spec->n_rows, &spec->cap, sizeof(*spec->rows));
    struct unit_property *row = &spec->rows[spec->n_rows++];
    *row = (struct unit_property){ .name = name, .type = type };
    return row;
}

static void add_number(struct unit_spec *spec, const char *name, enum property_type type, int64_t number)
{
    add(spec, name, type)->number = number;
}

static void add_string(struct unit_spec *spec, const char *name, const char *text)
{
    add(spec, name, PROPERTY_STRING)->text = xstrdup(text);
}

static char ***add_list(struct unit_spec *spec, const char *name, enum property_type type)
{
    return &add(spec, name, type)->list;
}

void unit_spec_clear(struct unit_spec *spec)
{
    for (size_t i = 0; i < spec->n_rows; i++) {
        free(spec->rows[i].text);
        strv_free(spec->rows[i].list);
    }
    free(spec->rows);
    *spec = (struct unit_spec){ 0 };
}

const struct unit_property *unit_spec_find(const struct unit_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_rows; i++)
        if (strcmp(spec->rows[i].name, name) == 0)
            return &spec->rows[i];
    return NULL;
}

char *unit_build_user(const char *app)
{
    _cleanup_(free_ptr) char *key = xasprintf("build of %s", app);
    char hex[SHA256_HEX_SIZE];
    sha256_hex(key, strlen(key), hex);
    return xasprintf("sb-%.12s", hex);
}

static void add_sandbox(struct unit_spec *spec, const char *state_dir)
{
    for (size_t i = 0; i < ARRAY_SIZE(sandbox); i++) {
        struct unit_property *row = add(spec, sandbox[i].name, sandbox[i].type);
        row->number = sandbox[i].number;
        row->text = xstrdup(sandbox[i].text);
        row->optional = sandbox[i].optional;
    }
    char ***families = add_list(spec, "RestrictAddressFamilies", PROPERTY_ALLOW);
    strv_push(families, "AF_UNIX");
    strv_push(families, "AF_INET");
    strv_push(families, "AF_INET6");
    strv_push(families, "AF_NETLINK"); /* getifaddrs(3) */
    strv_push(add_list(spec, "SystemCallFilter", PROPERTY_ALLOW), "@system-service");
    strv_push(add_list(spec, "SystemCallArchitectures", PROPERTY_STRV), "native");

    char ***hidden = add_list(spec, "InaccessiblePaths", PROPERTY_STRV);
    for (size_t i = 0; i < ARRAY_SIZE(hidden_paths); i++)
        strv_push(hidden, hidden_paths[i]);
    _cleanup_(free_ptr) char *own = xasprintf("-%s", state_dir);
    if (!strv_contains(*hidden, own))
        strv_push(hidden, own);
}

static void add_limits(struct unit_spec *spec, const struct limits_spec *limits)
{
    if (limits->memory_bytes > 0)
        add_number(spec, "MemoryMax", PROPERTY_UINT64, limits->memory_bytes);
    if (limits->cpu_percent > 0)
        add_number(spec, "CPUQuotaPerSecUSec", PROPERTY_UINT64, limits->cpu_percent * US_PER_CPU_PERCENT);
    if (limits->tasks > 0)
        add_number(spec, "TasksMax", PROPERTY_UINT64, limits->tasks);
}

/* All instances of a service share one user, and so one state directory; see name_service_user. */
static void add_user(struct unit_spec *spec, const struct order *order)
{
    bool dynamic = !order->run.user || strcmp(order->run.user, "dynamic") == 0;
    add_number(spec, "DynamicUser", PROPERTY_BOOL, dynamic);
    if (dynamic && !order->user)
        add(spec, "User", PROPERTY_STRING)->text = name_service_user(order->service);
    else
        add_string(spec, "User", dynamic ? order->user : order->run.user);
    _cleanup_(free_ptr) char *state = xasprintf("stagecoach/%s", order->service);
    strv_push(add_list(spec, "StateDirectory", PROPERTY_STRV), state);
    add_number(spec, "StateDirectoryMode", PROPERTY_UINT32, 0700);
}

static void add_log(struct unit_spec *spec, const struct order *order, const char *extra)
{
    // clang-format off
    const struct { const char *field, *value; } fields[] = {
        { "SERVICE",  order->service },
        { "VERSION",  order->version },
        { "INSTANCE", order->id },
        { "APP",      order->app },
        { "DEPLOY",   order->deploy },
        { "COMMIT",   order->commit },
    };
    // clang-format on
    char ***list = add_list(spec, "LogExtraFields", PROPERTY_FIELDS);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i].value && fields[i].value[0])
            strv_push_take(list, xasprintf("STAGECOACH_%s=%s", fields[i].field, fields[i].value));
    if (extra)
        strv_push(list, extra);
    add_string(spec, "SyslogIdentifier", order->service);
}

static void add_tree(struct unit_spec *spec, const char *tree, const char *env_path)
{
    char ***binds = add_list(spec, "BindReadOnlyPaths", PROPERTY_BINDS);
    strv_push(binds, tree);
    strv_push(binds, UNIT_APP_DIR);
    add_string(spec, "WorkingDirectory", UNIT_APP_DIR);
    strv_push(add_list(spec, "EnvironmentFiles", PROPERTY_ENV_FILES), env_path);
}

/* systemd resolves no relative paths and does not look into PATH: what is not absolute goes through env(1),
 * which looks for it as a shell would, from the tree. */
static void add_command(struct unit_spec *spec, char *const *command)
{
    char ***argv = add_list(spec, "ExecStartEx", PROPERTY_COMMAND);
    if (command && command[0] && command[0][0] != '/') {
        strv_push(argv, "/usr/bin/env");
        strv_push(argv, "--");
    }
    char *word;
    strv_for_each (word, (char **)command)
        strv_push(argv, word);
}

void unit_spec_instance(const struct order *order, const struct unit_facts *facts, struct unit_spec *ret)
{
    struct unit_spec spec = { 0 };
    const struct run_spec *run = &order->run;
    bool notify = run->health.kind == HEALTH_NOTIFY;

    add(&spec, "Description", PROPERTY_STRING)->text = xasprintf("%s@%s (instance %s of %s %.8s)",
        order->service, order->version, order->id, order->app, order->commit);
    add(&spec, "Slice", PROPERTY_STRING)->text = name_slice(order->service);
    add_string(&spec, "Type", notify ? "notify" : "exec");
    if (notify) {
        add_string(&spec, "NotifyAccess", "all");
        add_number(&spec, "TimeoutStartUSec", PROPERTY_UINT64, run->health.deadline_ms * US_PER_MS);
    }
    /* At shutdown droned outlives its instances and can say goodbye for them. */
    strv_push(add_list(&spec, "After", PROPERTY_STRV), "stagecoach-droned.service");
    add_string(&spec, "CollectMode", "inactive");
    add_string(&spec, "Restart", "always");
    add_number(&spec, "RestartUSec", PROPERTY_UINT64, UNIT_RESTART_MS * US_PER_MS);
    add_number(&spec, "StartLimitIntervalUSec", PROPERTY_UINT64, UNIT_START_WINDOW_S * 1000 * US_PER_MS);
    add_number(&spec, "StartLimitBurst", PROPERTY_UINT32, UNIT_START_BURST);
    add_number(&spec, "KillSignal", PROPERTY_INT32, run->stop.signal);
    add_number(&spec, "TimeoutStopUSec", PROPERTY_UINT64, run->stop.kill_ms * US_PER_MS);
    add_user(&spec, order);
    add_sandbox(&spec, facts->state_dir);
    add_limits(&spec, &run->limits);
    add_tree(&spec, facts->tree, facts->env_path);
    add_log(&spec, order, NULL);
    add_command(&spec, run->command);
    *ret = spec;
}

void unit_spec_probe(const struct order *order, const struct unit_facts *facts, struct unit_spec *ret)
{
    struct unit_spec spec = { 0 };
    const struct health_spec *health = &order->run.health;

    add(&spec, "Description", PROPERTY_STRING)->text =
        xasprintf("Health of %s@%s (instance %s)", order->service, order->version, order->id);
    add(&spec, "Slice", PROPERTY_STRING)->text = name_slice(order->service);
    add_string(&spec, "Type", "oneshot");
    add_string(&spec, "CollectMode", "inactive-or-failed");
    add_number(&spec, "TimeoutStartUSec", PROPERTY_UINT64, health->timeout_ms * US_PER_MS);
    add_number(&spec, "TimeoutStopUSec", PROPERTY_UINT64, 1000 * US_PER_MS);
    add_user(&spec, order);
    add_sandbox(&spec, facts->state_dir);
    add_limits(&spec, &order->run.limits);
    add_tree(&spec, facts->tree, facts->env_path);
    add_log(&spec, order, "STAGECOACH_PROBE=1");
    add_command(&spec, health->command);
    *ret = spec;
}

/* The copy is made inside the unit, by the user of the build: then everything in the result is its own, and
 * nothing has to be given away first. --reflink shares blocks where the file system can. The top is not the
 * build's own, and is writable as it is. */
static char **build_command(const char *command)
{
    char **argv = NULL;
    strv_push(&argv, "/bin/sh");
    strv_push(&argv, "-c");
    strv_push(&argv,
        "cp -R -P --preserve=links --reflink=auto " UNIT_SOURCE_DIR "/. . && "
        "find . -mindepth 1 ! -type l -exec chmod u+w {} + && exec /bin/sh -c \"$1\"");
    strv_push(&argv, "build");
    strv_push(&argv, command);
    return argv;
}

void unit_spec_build(const struct order *order, const struct build_facts *facts, struct unit_spec *ret)
{
    struct unit_spec spec = { 0 };
    int64_t timeout_ms = order->run.build_timeout_ms;
    if (timeout_ms <= 0)
        timeout_ms = BUILD_TIMEOUT_DEFAULT_MS;

    add(&spec, "Description", PROPERTY_STRING)->text =
        xasprintf("Build of %s %.8s", order->app, order->commit);
    add_string(&spec, "Slice", "stagecoach-build.slice");
    add_string(&spec, "Type", "oneshot");
    add_string(&spec, "CollectMode", "inactive");
    add_number(&spec, "TimeoutStartUSec", PROPERTY_UINT64, timeout_ms * US_PER_MS);
    add_number(&spec, "TimeoutStopUSec", PROPERTY_UINT64, 5000 * US_PER_MS);
    add_number(&spec, "LimitFSIZE", PROPERTY_UINT64, facts->file_bytes_max);
    add_number(&spec, "TasksMax", PROPERTY_UINT64, BUILD_TASKS_MAX);
    add_number(&spec, "Nice", PROPERTY_INT32, 5);
    add_number(&spec, "UMask", PROPERTY_UINT32, 0022);
    /* A long build log is worth keeping whole. */
    add_number(&spec, "LogRateLimitIntervalUSec", PROPERTY_UINT64, 0);

    add_number(&spec, "DynamicUser", PROPERTY_BOOL, true);
    add(&spec, "User", PROPERTY_STRING)->text = unit_build_user(order->app);
    strv_push_take(
        add_list(&spec, "CacheDirectory", PROPERTY_STRV), xasprintf("stagecoach-build/%s", order->app));
    add_number(&spec, "CacheDirectoryMode", PROPERTY_UINT32, 0700);
    add_sandbox(&spec, facts->state_dir);

    char ***source = add_list(&spec, "BindReadOnlyPaths", PROPERTY_BINDS);
    strv_push(source, facts->source);
    strv_push(source, UNIT_SOURCE_DIR);
    char ***tree = add_list(&spec, "BindPaths", PROPERTY_BINDS);
    strv_push(tree, facts->tree);
    strv_push(tree, UNIT_APP_DIR);
    add_string(&spec, "WorkingDirectory", UNIT_APP_DIR);
    strv_push(add_list(&spec, "EnvironmentFiles", PROPERTY_ENV_FILES), facts->env_path);

    _cleanup_(free_ptr) char *field = xasprintf("STAGECOACH_BUILD=%s", facts->key);
    add_log(&spec, order, field);
    _cleanup_(strv_freep) char **argv = build_command(order->run.build);
    add_command(&spec, argv);
    *ret = spec;
}
