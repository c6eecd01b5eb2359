/* SPDX-License-Identifier: MIT */
#include "hubd/manifest_keys.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "common/table_service.h"
#include "hubd/manifest.h"

#define PATH_MAX_ 1024 /* bytes of a health path */
#define SECOND    INT64_C(1000)
#define MINUTE    (60 * SECOND)
#define HOUR      (60 * MINUTE)

/* --- build ----------------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct manifest_key build_keys[] = {
    { "command", manifest_read_text,     offsetof(struct run_spec, build), 0, 0, "a command as one string" },
    { "timeout", manifest_read_duration, offsetof(struct run_spec, build_timeout_ms), SECOND, 6 * HOUR,
      "a duration from \"1s\" to \"6h\"" },
};
/* clang-format on */

static int read_build(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct run_spec *run = target;
    if (!json_is(v, JSON_OBJECT))
        return manifest_read_text(rd, v, key, &run->build);
    int r = manifest_read_keys(rd, v, build_keys, ARRAY_SIZE(build_keys), "\"build\"", run);
    if (r == 0 && !run->build)
        return error_set(
            rd->err, -EINVAL, "%s:%d: \"build\" must have a \"command\"", rd->file, json_line(v));
    return r;
}

/* --- health ------------------------------------------------------------------------------------------------ */

static int read_health_path(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct health_spec *health = target;
    const char *s = json_string(v);
    bool good = s && *s == '/' && json_string_len(v) <= PATH_MAX_;
    for (const char *p = s; good && *p; p++)
        good = (unsigned char)*p > ' ' && (unsigned char)*p < 0x7f && *p != '#';
    if (!good)
        return manifest_bad(rd, v, key->must);
    str_set(&health->path, s);
    health->kind = HEALTH_HTTP;
    return 0;
}

static int read_health_exec(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct health_spec *health = target;
    health->kind = HEALTH_EXEC;
    return manifest_read_argv(rd, v, key, &health->command);
}

/* "tcp": true and "notify": true; false would say nothing. key->min is the kind. */
static int read_health_flag(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct health_spec *health = target;
    if (!json_is(v, JSON_BOOL) || !json_bool(v))
        return manifest_bad(rd, v, "true");
    health->kind = (int)key->min;
    return 0;
}

/* clang-format off */
#define HEALTH(m) offsetof(struct health_spec, m)
static const struct manifest_key health_keys[] = {
    { "http",     read_health_path, 0, 0, 0, "a path like \"/healthz\"" },
    { "tcp",      read_health_flag, 0, HEALTH_TCP, 0, NULL },
    { "exec",     read_health_exec, 0, 0, 0, "a command: a string, or a list of 1 to 256 strings" },
    { "notify",   read_health_flag, 0, HEALTH_NOTIFY, 0, NULL },
    { "interval", manifest_read_duration, HEALTH(interval_ms), 50, HOUR, "a duration from \"50ms\" to \"1h\"" },
    { "timeout",  manifest_read_duration, HEALTH(timeout_ms), 50, 10 * MINUTE, "a duration from \"50ms\" to \"10min\"" },
    { "passes",   manifest_read_int, HEALTH(passes), 1, 100, "a whole number from 1 to 100" },
    { "deadline", manifest_read_duration, HEALTH(deadline_ms), SECOND, HOUR, "a duration from \"1s\" to \"1h\"" },
};
/* clang-format on */

static int read_health(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    static const char *const kinds[] = { "http", "tcp", "exec", "notify" };
    const struct json *chosen = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const struct json *kind = json_get(v, kinds[i]);
        if (kind && chosen)
            return error_set(rd->err, -EINVAL,
                "%s:%d: \"health\" must have one of \"%s\" and \"%s\", not both", rd->file, json_line(kind),
                json_key(chosen), kinds[i]);
        if (kind)
            chosen = kind;
    }
    return manifest_read_keys(rd, v, health_keys, ARRAY_SIZE(health_keys), "\"health\"", target);
}

/* --- depends, env ------------------------------------------------------------------------------------------ */

static bool is_dependency(const char *name)
{
    static const char prefix[] = "config:";
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return name_is_service(name);
    name += sizeof(prefix) - 1;
    if (!islower((unsigned char)*name) || strlen(name) > NAME_SERVICE_MAX)
        return false;
    for (; *name; name++)
        if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_' && *name != '-')
            return false;
    return true;
}

static bool is_range(const char *s)
{
    struct semver_range *range = NULL;
    bool good = strlen(s) < 256 && semver_range_parse(s, &range, NULL) >= 0;
    semver_range_free(range);
    return good;
}

static int read_depends(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    char ***depends = target;
    if (!json_is(v, JSON_OBJECT) || json_size(v) > MANIFEST_DEPENDS_MAX)
        return manifest_bad(rd, v, key->must);
    json_for_each(item, v)
    {
        if (!is_dependency(json_key(item))) {
            _cleanup_(strbuf_done) struct strbuf name = STRBUF_INIT;
            strbuf_add_printable(&name, json_key(item), strlen(json_key(item)), 60);
            return error_set(rd->err, -EINVAL,
                "%s:%d: \"depends\" must name services or \"config:NAME\", not \"%s\"", rd->file,
                json_line(item), strbuf_str(&name));
        }
        if (strcmp(json_key(item), rd->service) == 0)
            return error_set(rd->err, -EINVAL, "%s:%d: \"%s\" can't depend on itself", rd->file,
                json_line(item), rd->service);
        if (!json_is(item, JSON_STRING) || !is_range(json_string(item)))
            return manifest_bad(rd, item, "a range of versions like \"^1.2\" or \"1.x\"");
        strv_push_take(depends, xasprintf("%s=%s", json_key(item), json_string(item)));
    }
    return 0;
}

static int read_env(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    char ***env = target;
    size_t total = 0;
    if (!json_is(v, JSON_OBJECT) || json_size(v) > MANIFEST_ENV_MAX)
        return manifest_bad(rd, v, key->must);
    json_for_each(item, v)
    {
        const char *name = json_key(item);
        if (!name_is_env_key(name)) {
            _cleanup_(strbuf_done) struct strbuf safe = STRBUF_INIT;
            strbuf_add_printable(&safe, name, strlen(name), 60);
            return error_set(rd->err, -EINVAL, "%s:%d: \"%s\" is no name of an environment variable",
                rd->file, json_line(item), strbuf_str(&safe));
        }
        if (strcmp(name, "PORT") == 0 || strcmp(name, "HOST") == 0 || strncmp(name, "STAGECOACH_", 11) == 0)
            return error_set(rd->err, -EINVAL,
                "%s:%d: \"%s\" is set for each instance and can't be set in \"env\"", rd->file,
                json_line(item), name);
        if (!json_is(item, JSON_STRING) || !name_is_env_value(json_string(item)))
            return manifest_bad(rd, item, "a string of at most 32 KiB");
        total += strlen(name) + json_string_len(item) + 2;
        strv_push_take(env, xasprintf("%s=%s", name, json_string(item)));
    }
    if (total > MANIFEST_ENV_BYTES_MAX)
        return error_set(rd->err, -EINVAL, "%s:%d: \"env\" must be at most %d bytes long, not %zu", rd->file,
            json_line(v), MANIFEST_ENV_BYTES_MAX, total);
    return 0;
}

/* --- limits, requests, stop, user, version ------------------------------------------------------------------------------ */

/* clang-format off */
static const struct { const char *name; int number; } signals[] = {
    { "SIGHUP", SIGHUP }, { "SIGINT", SIGINT }, { "SIGKILL", SIGKILL }, { "SIGQUIT", SIGQUIT },
    { "SIGTERM", SIGTERM }, { "SIGUSR1", SIGUSR1 }, { "SIGUSR2", SIGUSR2 }, { "SIGWINCH", SIGWINCH },
};
/* clang-format on */

static int read_signal(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    for (size_t i = 0; json_is(v, JSON_STRING) && i < ARRAY_SIZE(signals); i++)
        if (strcmp(json_string(v), signals[i].name) == 0) {
            *(int64_t *)target = signals[i].number;
            return 0;
        }
    return manifest_bad(rd, v, key->must);
}

/* clang-format off */
#define LIMITS(m) offsetof(struct limits_spec, m)
static const struct manifest_key limits_keys[] = {
    { "memory", manifest_read_size,    LIMITS(memory_bytes), INT64_C(4) << 20, INT64_C(16) << 40,
      "a size from \"4M\" to \"16T\"" },
    { "cpu",    manifest_read_percent, LIMITS(cpu_percent), 1, 100000, "a percentage of one core like \"50%\"" },
    { "tasks",  manifest_read_int,     LIMITS(tasks), 1, 1000000, "a whole number from 1 to 1000000" },
};

#define STOP(m) offsetof(struct stop_spec, m)
static const struct manifest_key stop_keys[] = {
    { "signal", read_signal,   STOP(signal), 0, 0, "a signal like \"SIGTERM\", \"SIGINT\", \"SIGQUIT\" or \"SIGUSR1\"" },
    { "drain",  manifest_read_duration, STOP(drain_ms), 0, 24 * HOUR, "a duration from \"0s\" to \"24h\"" },
    { "kill",   manifest_read_duration, STOP(kill_ms), 100, HOUR, "a duration from \"100ms\" to \"1h\"" },
};
/* clang-format on */

static int read_limits(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    return manifest_read_keys(rd, v, limits_keys, ARRAY_SIZE(limits_keys), "\"limits\"", target);
}

static int read_stop(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    return manifest_read_keys(rd, v, stop_keys, ARRAY_SIZE(stop_keys), "\"stop\"", target);
}

static int read_queue(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    int r = manifest_read_int(rd, v, key, target);
    if (r == 0 && *(int64_t *)target == 0)
        *(int64_t *)target = REQUESTS_NO_QUEUE;
    return r;
}

static int read_retry(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    bool retry;
    int r = manifest_read_bool(rd, v, key, &retry);
    if (r == 0)
        *(bool *)target = !retry;
    return r;
}

/* clang-format off */
#define REQUESTS(m) offsetof(struct requests_spec, m)
static const struct manifest_key requests_keys[] = {
    { "at_once",    manifest_read_int,      REQUESTS(at_once), 1, 1000000, "a whole number from 1 to 1000000" },
    { "queue",      read_queue,             REQUESTS(queue), 0, TABLE_QUEUE_MAX, "a whole number from 0 to 100000" },
    { "wait",       manifest_read_duration, REQUESTS(wait_ms), 100, HOUR, "a duration from \"100ms\" to \"1h\"" },
    { "retry",      read_retry,             REQUESTS(no_retry), 0, 0, NULL },
    { "slow_start", manifest_read_duration, REQUESTS(slow_start_ms), 0, HOUR, "a duration from \"0s\" to \"1h\"" },
};
/* clang-format on */

static int read_requests(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    return manifest_read_keys(rd, v, requests_keys, ARRAY_SIZE(requests_keys), "\"requests\"", target);
}

/* A user name as useradd takes it; "dynamic" is one too. */
static int read_user(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    const char *s = json_string(v);
    bool good = s && (islower((unsigned char)*s) || *s == '_') && strlen(s) <= 31;
    for (const char *p = s; good && *p; p++)
        good = islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '_' || *p == '-';
    if (!good)
        return manifest_bad(rd, v, key->must);
    str_set((char **)target, s);
    return 0;
}

static int read_version(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    struct semver version;
    if (!json_is(v, JSON_STRING) || semver_parse(json_string(v), &version, NULL) < 0)
        return manifest_bad(rd, v, key->must);
    if (version.build[0] != '\0')
        return manifest_bad(rd, v, "a version without \"+\", which marks later commits of a version");
    str_set((char **)target, json_string(v));
    return 0;
}

/* --- a service ------------------------------------------------------------------------------------------------ */

/* clang-format off */
#define SERVICE(m) offsetof(struct manifest_service, m)
static const struct manifest_key service_keys[] = {
    { "version",   read_version, SERVICE(version), 0, 0, "a version like \"1.2.3\"" },
    { "build",     read_build,   SERVICE(run), 0, 0, "a command as one string" },
    { "command",   manifest_read_argv,    SERVICE(run.command), 0, 0, "a command: a string, or a list of 1 to 256 strings" },
    { "port",      manifest_read_bool,    SERVICE(run.port), 0, 0, NULL },
    { "health",    read_health,  SERVICE(run.health), 0, 0, NULL },
    { "depends",   read_depends, SERVICE(depends), 0, 0, "an object of at most 100 services and ranges" },
    { "routes",    manifest_read_routes, 0, 0, 0, NULL },
    { "instances", manifest_read_int,     SERVICE(instances), 0, INSTANCES_MAX, "a whole number from 0 to 1000" },
    { "env",       read_env,     SERVICE(run.env), 0, 0, "an object of at most 200 strings" },
    { "limits",    read_limits,  SERVICE(run.limits), 0, 0, NULL },
    { "requests",  read_requests, SERVICE(requests), 0, 0, NULL },
    { "stop",      read_stop,    SERVICE(run.stop), 0, 0, NULL },
    { "user",      read_user,    SERVICE(run.user), 0, 0, "\"dynamic\" or the name of a user" },
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(service_keys) <= MANIFEST_KEYS_MAX, "known words fit");

void manifest_run_defaults(struct run_spec *run)
{
    *run = (struct run_spec){
        .build_timeout_ms = 15 * MINUTE,
        .port = true,
        .user = xstrdup("dynamic"),
        .health = { .kind = -1,
            .interval_ms = SECOND,
            .timeout_ms = 2 * SECOND,
            .deadline_ms = MINUTE,
            .passes = 3 },
        .stop = { .signal = SIGTERM, .drain_ms = 30 * SECOND, .kill_ms = 10 * SECOND },
    };
}

void manifest_run_finish(struct run_spec *run)
{
    if (run->health.kind < 0)
        run->health.kind = run->port ? HEALTH_TCP : HEALTH_STAYS_UP;
}

/* A worker takes no requests: what needs its port is a mistake in the file. */
static int check_worker(
    struct manifest_reader *rd, const struct json *v, const struct manifest_service *service)
{
    if (service->run.port)
        return 0;
    const struct json *health = json_get(v, "health"), *at = NULL;
    if (json_size(json_get(v, "routes")) > 0)
        at = json_get(v, "routes");
    else if (json_get(v, "requests"))
        at = json_get(v, "requests");
    else if (json_get(health, "http"))
        at = json_get(health, "http");
    else if (json_get(health, "tcp"))
        at = json_get(health, "tcp");
    if (!at)
        return 0;
    return error_set(rd->err, -EINVAL, "%s:%d: \"%s\" needs a port, and \"%s\" has \"port\": false", rd->file,
        json_line(at), json_key(at), service->name);
}

int manifest_read_service(struct manifest_reader *rd, const struct json *v, struct manifest_service *service)
{
    rd->service = service->name;
    _cleanup_(free_ptr) char *where = xasprintf("service \"%s\"", service->name);
    int r = manifest_read_keys(rd, v, service_keys, ARRAY_SIZE(service_keys), where, service);
    if (r < 0)
        return r;
    if (!service->run.command)
        return error_set(rd->err, -EINVAL, "%s:%d: service \"%s\" has no \"command\"", rd->file, json_line(v),
            service->name);
    r = check_worker(rd, v, service);
    if (r < 0)
        return r;
    manifest_run_finish(&service->run);
    return 0;
}
