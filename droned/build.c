/* SPDX-License-Identifier: MIT */
#include "droned/build.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/sha256.h"
#include "common/statefile.h"
#include "common/strv.h"
#include "droned/env_file.h"
#include "droned/journal.h"
#include "droned/listing.h"
#include "droned/seal.h"
#include "droned/systemd.h"
#include "droned/trash.h"
#include "droned/unit_spec.h"

#define FAILURE_FILE_MAX (1024 * 1024)

struct waiter {
    struct list link;
    build_fn fn;
    void *arg;
};

enum build_state {
    BUILD_QUEUED,
    BUILD_RUNNING,  /* its unit is asked for or runs */
    BUILD_SETTLING, /* the job failed, the unit's state is on its way */
    BUILD_LINES,    /* failed; its last lines are read */
    BUILD_SEALING,
    BUILD_ENDED,
};

struct build {
    struct list link;
    struct builds *owner;
    enum build_state state;
    struct order order;
    char *key, *source, *unit;
    struct list waiters;
    struct timer timer;
    struct seal *seal;
    struct journal_exit *exit;
    mono_t begun;
    wall_t begun_wall;
    bool again;
    int result;
    char *reason;
    char **lines;
    int64_t ms;
};

struct builds {
    struct loop *loop;
    struct builds_spec spec;
    char *state_dir;
    struct list builds;
};

/* Why there is no result, kept on disk. */
struct build_failure {
    char *reason;
    char **lines;
    int64_t at_us;
};

// clang-format off
static const struct field failure_fields[] = {
    F_STRING(struct build_failure, reason, FIELD_REQUIRED),
    F_STRV(struct build_failure, lines, 0),
    F_INT(struct build_failure, at_us, 0, 0, INT64_MAX),
};
// clang-format on
static const struct schema failure_schema =
    SCHEMA("failed build", struct build_failure, failure_fields, false);

static void start(struct build *build);
static void fail(struct build *build, const char *reason);

/* --- names ------------------------------------------------------------------------------------------------------- */

char *build_key(const struct order *order)
{
    if (!order->run.build || !order->run.build[0])
        return NULL;
    _cleanup_(strv_freep) char **env = env_of_build(order, "");
    _cleanup_(free_ptr) char *env_text = strv_join(env, "\n");
    _cleanup_(free_ptr) char *all =
        xasprintf("%s\n%s\n%s\n%s", order->app, order->commit, order->run.build, env_text);
    char hex[SHA256_HEX_SIZE];
    sha256_hex(all, strlen(all), hex);
    return xasprintf("%.*s", BUILD_KEY_LEN, hex);
}

char *build_path(const struct builds *builds, const struct order *order)
{
    _cleanup_(free_ptr) char *key = build_key(order);
    return xasprintf("%s/builds/%s/%s-%s", builds->state_dir, order->app, order->commit, key);
}

static char *failure_path(const struct build *build)
{
    _cleanup_(free_ptr) char *path = build_path(build->owner, &build->order);
    return xasprintf("%s.failed", path);
}

static char *working_path(const struct build *build)
{
    return xasprintf("%s/building/%s", build->owner->state_dir, build->key);
}

static bool is_directory(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void build_destroy(void *p)
{
    struct build *build = p;
    schema_clear(&order_schema, &build->order);
    free(build->key);
    free(build->source);
    free(build->unit);
    free(build->reason);
    strv_free(build->lines);
    free(build);
}

static void build_free(struct build *build)
{
    list_remove(&build->link);
    timer_done(&build->timer);
    seal_free(steal_ptr(build->seal));
    journal_exit_free(steal_ptr(build->exit));
    systemd_forget(build->owner->spec.systemd, build);
    struct waiter *waiter, *tmp;
    list_for_each_safe (waiter, tmp, &build->waiters, link) {
        list_remove(&waiter->link);
        free(waiter);
    }
    loop_free_later(build->owner->loop, build, build_destroy);
}

static void start_waiting(struct builds *builds)
{
    struct build *build;
    int64_t n = 0;
    list_for_each (build, &builds->builds, link) {
        if (build->state != BUILD_QUEUED)
            n++;
        else if (n < builds->spec.at_once) {
            n++;
            start(build);
        }
    }
}

static void end(struct build *build, int result)
{
    build->result = result;
    build->state = BUILD_ENDED;
    timer_set(&build->timer, 0);
}

static void tell(struct build *build)
{
    struct builds *owner = build->owner;
    list_remove(&build->link);
    while (!list_empty(&build->waiters)) {
        struct waiter *waiter = list_first(&build->waiters, struct waiter, link);
        list_remove(&waiter->link);
        waiter->fn(waiter->arg, build->result, build->reason, build->lines, build->ms);
        free(waiter);
    }
    build_free(build);
    start_waiting(owner);
}

/* --- failure ------------------------------------------------------------------------------------------------------- */

static void remember_failure(struct build *build)
{
    struct build_failure failure = { build->reason, build->lines, loop_wall(build->owner->loop).us };
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = failure_path(build);
    struct error err;
    schema_print_pretty(&failure_schema, &failure, &text);
    if (statefile_write(path, strbuf_str(&text), text.len, 0600, &err) < 0)
        log_warning(NULL, "can't remember that a build failed: %s", err.text);
}

static bool recall_failure(struct build *build)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = failure_path(build);
    struct build_failure failure;
    if (statefile_read(path, FAILURE_FILE_MAX, &text, NULL) < 0 ||
        schema_read(&failure_schema, strbuf_str(&text), text.len, &failure, NULL) < 0)
        return false;
    build->reason = xasprintf("%s (an earlier build; deploy … --rebuild tries again)", failure.reason);
    build->lines = steal_ptr(failure.lines);
    schema_clear(&failure_schema, &failure);
    return true;
}

static void on_lines(void *arg, char **lines)
{
    struct build *build = arg;
    build->lines = strv_copy(lines);
    remember_failure(build);
    journal_exit_free(steal_ptr(build->exit));
    end(build, -EACCES);
}

static void fail(struct build *build, const char *reason)
{
    struct builds *builds = build->owner;
    _cleanup_(free_ptr) char *working = working_path(build);
    struct error err;
    build->ms = mono_diff_ms(loop_now(builds->loop), build->begun);
    build->reason = xasprintf(
        "%s after %lld.%llds", reason, (long long)(build->ms / 1000), (long long)(build->ms % 1000 / 100));
    build->state = BUILD_LINES;
    timer_clear(&build->timer);
    systemd_reset_failed(builds->spec.systemd, build->unit, NULL, NULL);
    if (trash_take(builds->spec.trash, working, &err) < 0)
        log_warning(NULL, "%s", err.text);
    struct journal_query query = {
        .match = { .build = build->key }, .since_us = build->begun_wall.us, .lines = BUILD_LAST_LINES
    };
    build->exit = journal_exit_new(builds->loop, &query, on_lines, build);
}

/* --- success ------------------------------------------------------------------------------------------------------- */

static int place_tree(struct build *build, struct error *err)
{
    _cleanup_(free_ptr) char *from = working_path(build);
    _cleanup_(free_ptr) char *to = build_path(build->owner, &build->order);
    _cleanup_(free_ptr) char *env = xasprintf("%s.env", from);
    _cleanup_(free_ptr) char *failure = failure_path(build);
    if (rename(from, to) < 0)
        return error_set_errno(err, -errno, "can't put the built tree in place");
    unlink(env);
    return statefile_remove(failure, err);
}

static void on_sealed(void *arg, int result, const char *reason)
{
    struct build *build = arg;
    struct error err;
    seal_free(steal_ptr(build->seal));
    if (result < 0) {
        _cleanup_(free_ptr) char *text = xasprintf("refused what the build made: %s;", reason);
        fail(build, text);
    } else if (place_tree(build, &err) < 0) {
        fail(build, err.text);
    } else {
        build->ms = mono_diff_ms(loop_now(build->owner->loop), build->begun);
        end(build, 0);
    }
}

static void succeed(struct build *build)
{
    struct error err;
    _cleanup_(free_ptr) char *dir = working_path(build);
    build->state = BUILD_SEALING;
    timer_clear(&build->timer);
    if (seal_start(build->owner->loop, build->owner->spec.seal, dir, build->owner->spec.bytes_max, on_sealed,
            build, &build->seal, &err) < 0)
        fail(build, err.text);
}

/* --- the unit ---------------------------------------------------------------------------------------------------------- */

static void on_started(void *arg, int result, const char *text);

/* A new, empty tree that the build's user may write to. Nobody else gets there: its parent is root's. */
static int make_working(struct build *build, struct error *err)
{
    _cleanup_(free_ptr) char *dir = working_path(build);
    _cleanup_(free_ptr) char *env_path = xasprintf("%s.env", dir);
    _cleanup_(free_ptr) char *home = xasprintf("/var/cache/stagecoach-build/%s", build->order.app);
    _cleanup_(free_ptr) char *results = xasprintf("%s/builds/%s", build->owner->state_dir, build->order.app);
    _cleanup_(strv_freep) char **env = env_of_build(&build->order, home);
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    int r = trash_take(build->owner->spec.trash, dir, err);
    if (r >= 0)
        r = statefile_mkdir(results, 0755, err);
    if (r >= 0)
        r = statefile_mkdir(dir, 0777, err);
    if (r < 0)
        return r;
    if (chmod(dir, 0777) < 0)
        return error_set_errno(err, -errno, "can't open %s to the build", dir);
    env_file_print(env, &text);
    return statefile_write(env_path, strbuf_str(&text), text.len, 0600, err);
}

static void start_unit(struct build *build)
{
    struct builds *builds = build->owner;
    struct error err;
    if (make_working(build, &err) < 0) {
        fail(build, err.text);
        return;
    }
    _cleanup_(free_ptr) char *dir = working_path(build);
    _cleanup_(free_ptr) char *env_path = xasprintf("%s.env", dir);
    _cleanup_(unit_spec_clear) struct unit_spec spec = { 0 };
    struct build_facts facts = {
        .key = build->key,
        .source = build->source,
        .tree = dir,
        .env_path = env_path,
        .state_dir = builds->state_dir,
        .file_bytes_max = builds->spec.bytes_max,
    };
    unit_spec_build(&build->order, &facts, &spec);
    systemd_start(builds->spec.systemd, build->unit, &spec,
        build->order.run.build_timeout_ms + BUILD_JOB_SLACK_MS, on_started, build);
}

static void fail_by_unit(struct build *build, const struct unit_status *unit)
{
    _cleanup_(free_ptr) char *how = unit_end_text(unit);
    _cleanup_(free_ptr) char *text = xasprintf(
        "the build %s", strcmp(unit->result, "timeout") == 0 ? "did not end in time and was killed" : how);
    fail(build, text);
}

static void on_timer(void *arg)
{
    struct build *build = arg;
    if (build->state == BUILD_ENDED)
        tell(build);
    else if (build->state == BUILD_SETTLING)
        fail(build, "the build failed");
}

/* Connection lost or time over: what became of it is seen when the units are known again. */
static bool is_unknown(int result)
{
    return result == -ECONNRESET || result == -ETIMEDOUT || result == -ECANCELED;
}

static void on_started(void *arg, int result, const char *text)
{
    struct build *build = arg;
    const struct unit_status *unit = systemd_unit(build->owner->spec.systemd, build->unit);
    if (build->state != BUILD_RUNNING)
        return;
    if (result == 0) {
        succeed(build);
    } else if (unit && unit->active == UNIT_FAILED) {
        fail_by_unit(build, unit);
    } else if (result == -EIO || result == -ETIMEDOUT) {
        build->state = BUILD_SETTLING;
        str_set(&build->reason, NULL);
        timer_set(&build->timer, BUILD_SETTLE_MS);
    } else if (!is_unknown(result) && result != -EEXIST) {
        _cleanup_(free_ptr) char *reason = xasprintf("can't start the build: %s", text);
        fail(build, reason);
    }
}

static void judge(struct build *build, const struct unit_status *unit, bool gone)
{
    if (build->state != BUILD_RUNNING && build->state != BUILD_SETTLING)
        return;
    if (unit && unit->active == UNIT_FAILED)
        fail_by_unit(build, unit);
    else if (unit && unit->active == UNIT_INACTIVE && unit->exit_code == CLD_EXITED &&
        unit->exit_status == 0) {
        systemd_forget(build->owner->spec.systemd, build);
        succeed(build);
    } else if (gone) {
        /* It ended while nobody looked: nothing says how, so it is made again. */
        systemd_forget(build->owner->spec.systemd, build);
        start_unit(build);
    }
}

void builds_on_unit(struct builds *builds, const struct unit_status *unit, bool gone)
{
    struct build *build, *tmp;
    list_for_each_safe (build, tmp, &builds->builds, link) {
        if (build->unit && strcmp(build->unit, unit->name) == 0)
            judge(build, unit, gone);
    }
}

void builds_on_ready(struct builds *builds)
{
    struct build *build, *tmp;
    list_for_each_safe (build, tmp, &builds->builds, link) {
        const struct unit_status *unit = build->unit ? systemd_unit(builds->spec.systemd, build->unit) : NULL;
        judge(build, unit, !unit);
    }
    start_waiting(builds);
}

/* --- asking ---------------------------------------------------------------------------------------------------------- */

static void start(struct build *build)
{
    struct builds *builds = build->owner;
    _cleanup_(free_ptr) char *path = build_path(builds, &build->order);
    build->state = BUILD_RUNNING;
    build->begun = loop_now(builds->loop);
    build->begun_wall = loop_wall(builds->loop);
    build->unit = xasprintf(UNIT_PREFIX_BUILD "%s-%s.service", build->order.app, build->key);
    if (is_directory(path)) {
        end(build, 0);
        return;
    }
    if (!build->again && recall_failure(build)) {
        end(build, -EACCES);
        return;
    }
    const struct unit_status *unit = systemd_unit(builds->spec.systemd, build->unit);
    if (unit && unit->active == UNIT_ACTIVATING) {
        log_info(NULL, "build %s of %s runs already; waiting for it", build->key, build->order.app);
        build->begun_wall.us = unit->started_us;
        return;
    }
    if (unit)
        systemd_reset_failed(builds->spec.systemd, build->unit, NULL, NULL);
    start_unit(build);
}

void build_ensure(
    struct builds *builds, const struct order *order, const char *source, bool again, build_fn fn, void *arg)
{
    _cleanup_(free_ptr) char *key = build_key(order);
    struct build *build = NULL, *other;
    list_for_each (other, &builds->builds, link) {
        if (strcmp(other->key, key) == 0 && other->state != BUILD_ENDED)
            build = other;
    }
    if (!build) {
        build = xcalloc(1, sizeof(*build));
        build->owner = builds;
        build->key = steal_ptr(key);
        build->source = xstrdup(source);
        build->again = again;
        schema_copy(&order_schema, order, &build->order);
        list_init(&build->waiters);
        timer_init(&build->timer, builds->loop, on_timer, build);
        list_append(&builds->builds, &build->link);
    }
    struct waiter *waiter = xcalloc(1, sizeof(*waiter));
    waiter->fn = fn;
    waiter->arg = arg;
    list_append(&build->waiters, &waiter->link);
    start_waiting(builds);
}

void build_forget(struct builds *builds, const void *arg)
{
    struct build *build;
    list_for_each (build, &builds->builds, link) {
        struct waiter *waiter, *tmp;
        list_for_each_safe (waiter, tmp, &build->waiters, link) {
            if (waiter->arg == arg) {
                list_remove(&waiter->link);
                free(waiter);
            }
        }
    }
}

/* --- collection ------------------------------------------------------------------------------------------------------ */

/* COMMIT-KEY; false: something else lies there. */
static bool split_name(const char *name, char commit[static NAME_COMMIT_LEN + 1], const char **ret_key)
{
    if (strlen(name) != NAME_COMMIT_LEN + 1 + BUILD_KEY_LEN || name[NAME_COMMIT_LEN] != '-')
        return false;
    snprintf(commit, NAME_COMMIT_LEN + 1, "%.*s", NAME_COMMIT_LEN, name);
    *ret_key = name + NAME_COMMIT_LEN + 1;
    return name_is_commit(commit);
}

void builds_collect(struct builds *builds, const char *app)
{
    _cleanup_(free_ptr) char *dir = xasprintf("%s/builds/%s", builds->state_dir, app);
    _cleanup_(strv_freep) char **names = listing_newest_first(dir);
    int unused = 0;
    char *name;
    strv_for_each (name, names) {
        char commit[NAME_COMMIT_LEN + 1];
        const char *key;
        struct error err;
        if (!split_name(name, commit, &key) || builds->spec.is_used(builds->spec.owner, app, commit, key) ||
            ++unused <= BUILD_KEEP_UNUSED)
            continue;
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
        if (trash_take(builds->spec.trash, path, &err) < 0)
            log_warning(NULL, "%s", err.text);
    }
}

struct builds *builds_new(struct loop *loop, const struct builds_spec *spec)
{
    struct builds *builds = xcalloc(1, sizeof(*builds));
    struct error err;
    builds->loop = loop;
    builds->spec = *spec;
    builds->state_dir = xstrdup(spec->state_dir);
    list_init(&builds->builds);
    _cleanup_(free_ptr) char *building = xasprintf("%s/building", spec->state_dir);
    _cleanup_(free_ptr) char *results = xasprintf("%s/builds", spec->state_dir);
    if (statefile_mkdir(building, 0700, &err) < 0 || statefile_mkdir(results, 0755, &err) < 0)
        log_warning(NULL, "%s", err.text);
    return builds;
}

void builds_free(struct builds *builds)
{
    if (!builds)
        return;
    struct build *build, *tmp;
    list_for_each_safe (build, tmp, &builds->builds, link)
        build_free(build);
    free(builds->state_dir);
    free(builds);
}
