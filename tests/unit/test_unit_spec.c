/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <signal.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/unit_spec.h"

#define COMMIT "35819ef7a0b1c2d3e4f5061728394a5b6c7d8e9f"

static char *command[] = { (char *)"node", (char *)"server.js", NULL };

static struct order base_order(void)
{
    return (struct order){
        .id = (char *)"3f9a12c0", .app = (char *)"shop", .service = (char *)"web-api", .version = (char *)"0.2.2",
        .commit = (char *)COMMIT, .deploy = (char *)"d-4f2a", .user = (char *)"sc-0123456789ab",
        .run = {
            .command = command,
            .health = { .kind = HEALTH_HTTP, .timeout_ms = 2000, .deadline_ms = 60000 },
            .stop = { .signal = SIGINT, .kill_ms = 7000 },
        },
    };
}

static const struct unit_facts facts = {
    .tree = "/var/lib/stagecoach-drone/sources/shop/" COMMIT,
    .env_path = "/var/lib/stagecoach-drone/instances/3f9a12c0.env",
    .state_dir = "/var/lib/stagecoach-drone",
};

/* "text", "number" or the list joined by blanks; "-" without such a row. Caller frees. */
static char *value_of(const struct unit_spec *spec, const char *name)
{
    const struct unit_property *row = unit_spec_find(spec, name);
    if (!row)
        return xstrdup("-");
    if (row->text)
        return xstrdup(row->text);
    return row->list ? strv_join(row->list, " ") : xasprintf("%lld", (long long)row->number);
}

struct expected {
    const char *name, *value;
};

static void compare(const struct unit_spec *spec, const struct expected *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_(free_ptr) char *value = value_of(spec, rows[i].name);
        row_str(rows[i].name, value, rows[i].value);
    }
}

static void instance_has_its_sandbox_limits_and_names(void **state)
{
    static const struct expected rows[] = {
        { "Type", "exec" },
        { "Slice", "stagecoach-web\\x2dapi.slice" },
        { "CollectMode", "inactive" },
        { "Restart", "always" },
        { "RestartUSec", "300000" },
        { "StartLimitBurst", "5" },
        { "StartLimitIntervalUSec", "10000000" },
        { "KillSignal", "2" },
        { "TimeoutStopUSec", "7000000" },
        { "After", "stagecoach-droned.service" },
        { "DynamicUser", "1" },
        { "User", "sc-0123456789ab" },
        { "StateDirectory", "stagecoach/web-api" },
        { "NoNewPrivileges", "1" },
        { "ProtectSystem", "strict" },
        { "ProtectHome", "yes" },
        { "ProtectProc", "invisible" },
        { "PrivateTmp", "1" },
        { "PrivateDevices", "1" },
        { "CapabilityBoundingSet", "0" },
        { "RestrictNamespaces", "0" },
        { "LockPersonality", "1" },
        { "SystemCallFilter", "@system-service" },
        { "SystemCallErrorNumber", "1" },
        { "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK" },
        { "MemoryMax", "268435456" },
        { "CPUQuotaPerSecUSec", "500000" },
        { "TasksMax", "100" },
        { "BindReadOnlyPaths", "/var/lib/stagecoach-drone/sources/shop/" COMMIT " /srv/stagecoach/app" },
        { "WorkingDirectory", "/srv/stagecoach/app" },
        { "EnvironmentFiles", "/var/lib/stagecoach-drone/instances/3f9a12c0.env" },
        { "SyslogIdentifier", "web-api" },
        { "LogExtraFields",
            "STAGECOACH_SERVICE=web-api STAGECOACH_VERSION=0.2.2 STAGECOACH_INSTANCE=3f9a12c0 "
            "STAGECOACH_APP=shop "
            "STAGECOACH_DEPLOY=d-4f2a STAGECOACH_COMMIT=" COMMIT },
        { "ExecStartEx", "/usr/bin/env -- node server.js" },
        { "Environment", "-" },
        { "SetCredential", "-" },
        { "NotifyAccess", "-" },
    };
    struct order order = base_order();
    order.run.limits = (struct limits_spec){ .memory_bytes = 268435456, .cpu_percent = 50, .tasks = 100 };
    struct unit_spec spec;
    unit_spec_instance(&order, &facts, &spec);
    compare(&spec, rows, ARRAY_SIZE(rows));
    const char *hidden[] = { "-/run/dbus/system_bus_socket", "-/var/lib/stagecoach-drone",
        "-/run/stagecoach" };
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
        row_true(hidden[i], strv_contains(unit_spec_find(&spec, "InaccessiblePaths")->list, hidden[i]));
    unit_spec_clear(&spec);
}

static void what_the_manifest_leaves_out_is_left_out(void **state)
{
    static const struct expected rows[] = {
        { "MemoryMax", "-" },
        { "CPUQuotaPerSecUSec", "-" },
        { "TasksMax", "-" },
    };
    struct order order = base_order();
    struct unit_spec spec;
    unit_spec_instance(&order, &facts, &spec);
    compare(&spec, rows, ARRAY_SIZE(rows));
    unit_spec_clear(&spec);
}

static void commands_are_found_as_a_shell_would(void **state)
{
    static const struct {
        const char *name, *program, *expected;
    } rows[] = {
        { "by PATH", "node", "/usr/bin/env -- node server.js" },
        { "from the tree", "bin/run", "/usr/bin/env -- bin/run server.js" },
        { "absolute", "/bin/sh", "/bin/sh server.js" },
        { "with a dash", "-x", "/usr/bin/env -- -x server.js" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *argv[] = { (char *)rows[i].program, (char *)"server.js", NULL };
        struct order order = base_order();
        struct unit_spec spec;
        order.run.command = argv;
        unit_spec_instance(&order, &facts, &spec);
        _cleanup_(free_ptr) char *value = value_of(&spec, "ExecStartEx");
        row_str(rows[i].name, value, rows[i].expected);
        unit_spec_clear(&spec);
    }
}

static void notify_and_users_of_the_host(void **state)
{
    static const struct expected rows[] = {
        { "Type", "notify" },
        { "NotifyAccess", "all" },
        { "TimeoutStartUSec", "60000000" },
        { "DynamicUser", "0" },
        { "User", "www-data" },
    };
    struct order order = base_order();
    order.run.health.kind = HEALTH_NOTIFY;
    order.run.user = (char *)"www-data";
    struct unit_spec spec;
    unit_spec_instance(&order, &facts, &spec);
    compare(&spec, rows, ARRAY_SIZE(rows));
    unit_spec_clear(&spec);
}

static void probe_runs_like_its_instance(void **state)
{
    static char *health[] = { (char *)"bin/health", (char *)"--quick", NULL };
    static const struct expected rows[] = {
        { "Type", "oneshot" },
        { "User", "sc-0123456789ab" },
        { "Restart", "-" },
        { "TimeoutStartUSec", "2000000" },
        { "ExecStartEx", "/usr/bin/env -- bin/health --quick" },
        { "EnvironmentFiles", "/var/lib/stagecoach-drone/instances/3f9a12c0.env" },
        { "ProtectSystem", "strict" },
    };
    struct order order = base_order();
    order.run.health.command = health;
    struct unit_spec spec;
    unit_spec_probe(&order, &facts, &spec);
    compare(&spec, rows, ARRAY_SIZE(rows));
    unit_spec_clear(&spec);
}

static void build_writes_only_its_own_tree(void **state)
{
    static const struct expected rows[] = {
        { "Type", "oneshot" },
        { "DynamicUser", "1" },
        { "CacheDirectory", "stagecoach-build/shop" },
        { "BindReadOnlyPaths", "/s /srv/stagecoach/source" },
        { "BindPaths", "/t /srv/stagecoach/app" },
        { "TimeoutStartUSec", "600000000" },
        { "LimitFSIZE", "1000" },
        { "ProtectSystem", "strict" },
        { "StateDirectory", "-" },
    };
    struct order order = base_order();
    order.run.build = (char *)"npm ci; echo \"$HOME\"";
    order.run.build_timeout_ms = 600000;
    struct build_facts build = { "key", "/s", "/t", "/e", "/var/lib/stagecoach-drone", 1000 };
    struct unit_spec spec;
    unit_spec_build(&order, &build, &spec);
    compare(&spec, rows, ARRAY_SIZE(rows));
    char **argv = unit_spec_find(&spec, "ExecStartEx")->list;
    assert_int_equal(strv_len(argv), 5);
    assert_string_equal(argv[4], order.run.build);
    _cleanup_(free_ptr) char *user = unit_build_user("shop");
    row_true("a user of its own", strlen(user) == 15 && strcmp(user, order.user) != 0);
    assert_true(strv_contains(unit_spec_find(&spec, "LogExtraFields")->list, "STAGECOACH_BUILD=key"));
    unit_spec_clear(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instance_has_its_sandbox_limits_and_names),
        cmocka_unit_test(what_the_manifest_leaves_out_is_left_out),
        cmocka_unit_test(commands_are_found_as_a_shell_would),
        cmocka_unit_test(notify_and_users_of_the_host),
        cmocka_unit_test(probe_runs_like_its_instance),
        cmocka_unit_test(build_writes_only_its_own_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
