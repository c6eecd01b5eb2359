/* SPDX-License-Identifier: MIT */

/* release_find: a target as people write it → a release, with the repository's help where a tag or a commit is
 * named that the state does not know. */

#include <errno.h>
#include <string.h>

#include "common/gitwork.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/finds.h"
#include "hubd/hubd.h"
#include "hubd/manifest.h"
#include "hubd/release.h"
#include "hubd/repo.h"
#include "hubd/txn.h"

struct finds {
    struct hubd *hub;
    struct list open; /* struct find */
};

/* A command can't be taken back: what it holds on to knows when the search is gone. */
struct naming {
    struct find *find; /* weak */
};

struct find {
    struct list of_finds;
    struct finds *finds;
    char *service, *what, *app;
    char *version; /* that was found */
    struct gitwork *work;
    struct gitwork_row row; /* of the commit that is named for the first time */
    struct naming *naming;
    struct timer turn;
    int result;
    struct error err;
    release_found_fn fn;
    void *arg;
};

static void find_free(void *obj)
{
    struct find *find = obj;
    list_remove(&find->of_finds);
    timer_done(&find->turn);
    gitwork_free(find->work);
    if (find->naming)
        find->naming->find = NULL;
    schema_clear(&gitwork_row_schema, &find->row);
    free(find->service);
    free(find->what);
    free(find->app);
    free(find->version);
    free(find);
}

static void finish(struct find *find)
{
    struct hubd *hub = find->finds->hub;
    const struct release *release =
        find->result == 0 ? state_release(&hub->state, find->service, find->version) : NULL;
    if (!release && find->result == 0)
        find->result = release_unknown(&hub->state, find->service, find->what, &find->err);
    list_remove(&find->of_finds);
    loop_free_later(hub->loop, find, find_free);
    find->fn(hub, release, release ? NULL : &find->err, find->arg);
}

static void on_turn(void *arg)
{
    finish(arg);
}

static void found(struct find *find, const struct release *release)
{
    find->result = 0;
    str_set(&find->version, release->version);
}

/* --- a commit that is named for the first time --------------------------------------------------------------------- */

static int decide_name(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct find *find = ((struct naming *)arg)->find;
    if (!find)
        return 0;
    const struct gitwork_row *row = &find->row;
    struct manifest manifest = { 0 };
    struct manifest_source source = {
        .app = find->app,
        .manifest = row->manifest,
        .package = row->package,
        .procfile = row->procfile,
        .lockfile = row->lockfile,
        .tag = row->tag,
    };
    struct release_push push = {
        .app = find->app, .commit = row->commit, .subject = row->subject, .now = loop_wall(hub->loop)
    };
    int r = manifest_read(&source, &manifest, err);
    if (r == MANIFEST_ABSENT || (r == 0 && !manifest_get(&manifest, find->service))) {
        manifest_clear(&manifest);
        return error_set(
            err, -ENOENT, "commit %.8s of %s has no service \"%s\"", row->commit, find->app, find->service);
    }
    if (r < 0)
        return error_prefix(err, "commit %.8s of %s", row->commit, find->app);
    char **keys = NULL;
    r = release_register(txn, &push, &manifest, &keys, err);
    for (size_t i = 0; r == 0 && i < manifest.n_services; i++)
        if (strcmp(manifest.services[i].name, find->service) == 0)
            str_set(&find->version, strchr(keys[i], '/') + 1);
    strv_free(keys);
    manifest_clear(&manifest);
    return r;
}

static void on_named(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct find *find = ((struct naming *)arg)->find;
    free(arg);
    if (!find)
        return;
    find->naming = NULL;
    find->result = result;
    if (result < 0) {
        find->err = *err;
    } else {
        const struct release *release = state_release(&hub->state, find->service, find->version);
        if (release) {
            _cleanup_(free_ptr) char *ref = release_ref(release);
            _cleanup_(free_ptr) char *text = xasprintf("update %s %s\n", ref, release->commit);
            repo_update_refs(hub->repos, find->app, text);
        }
    }
    finish(find);
}

static void on_manifest(
    void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct find *find = arg;
    if (result < 0 || n_rows != 1 || !rows[0].commit) {
        find->result = error_set(&find->err, -EIO, "%s", reason ? reason : "the commit can't be read");
        finish(find);
        return;
    }
    schema_copy(&gitwork_row_schema, &rows[0], &find->row);
    find->naming = xcalloc(1, sizeof(*find->naming));
    find->naming->find = find;
    hubd_command(find->finds->hub, "register a commit", decide_name, on_named, find->naming);
}

/* --- what the repository says ------------------------------------------------------------------------------------------ */

static int helper(struct find *find, const char *verb, const char *name, gitwork_done_fn fn)
{
    struct hubd *hub = find->finds->hub;
    _cleanup_(free_ptr) char *path = repo_path(hub->repos, find->app);
    const char *args[] = { verb, path, name, NULL };
    struct gitwork_spec spec = { .program = hub->config.gitwork, .args = args, .on_done = fn, .arg = find };
    gitwork_free(find->work);
    find->work = NULL;
    return gitwork_start(hub->loop, &spec, &find->work, &find->err);
}

static void refuse_ambiguous(struct find *find, const struct gitwork_row *rows, size_t n_rows)
{
    struct hubd *hub = find->finds->hub;
    struct release_candidate *candidates = xcalloc(n_rows, sizeof(*candidates));
    for (size_t i = 0; i < n_rows; i++)
        candidates[i] = (struct release_candidate){ rows[i].commit, rows[i].subject, rows[i].time_s };
    find->result = release_ambiguous(&hub->state, find->service, find->app, find->what, candidates, n_rows,
        loop_wall(hub->loop), &find->err);
    free(candidates);
}

/* The repository is gone or can't be read: what is registered has its names all the same. */
static void fall_back(struct find *find, const char *reason)
{
    const struct state *state = &find->finds->hub->state;
    const struct release *only = NULL;
    state_for_each(it, state, STATE_RELEASE)
    {
        const struct release *release = it.value;
        if (strcmp(release->service, find->service) != 0 ||
            strncmp(release->commit, find->what, strlen(find->what)) != 0)
            continue;
        if (only) {
            find->result = error_set(&find->err, -EIO, "%s; give more digits of the commit", reason);
            return;
        }
        only = release;
    }
    if (only)
        found(find, only);
    else
        find->result = error_set(&find->err, -EIO, "%s", reason);
}

static void on_resolved(
    void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct find *find = arg;
    const struct state *state = &find->finds->hub->state;
    if (result < 0) {
        fall_back(find, reason);
    } else if (n_rows == 0) {
        find->result = release_unknown(state, find->service, find->what, &find->err);
    } else if (n_rows > 1) {
        refuse_ambiguous(find, rows, n_rows);
    } else {
        const struct release *release = release_of_commit(state, find->service, rows[0].commit);
        if (!release) {
            _cleanup_(free_ptr) char *commit = xstrdup(rows[0].commit);
            find->result = helper(find, "manifest", commit, on_manifest);
            if (find->result == 0)
                return;
        } else {
            found(find, release);
        }
    }
    finish(find);
}

void release_find(struct hubd *hub, const char *target, release_found_fn fn, void *arg)
{
    struct find *find = xcalloc(1, sizeof(*find));
    const struct release *release = NULL;
    find->finds = hub->finds;
    find->fn = fn;
    find->arg = arg;
    list_append(&hub->finds->open, &find->of_finds);
    timer_init(&find->turn, hub->loop, on_turn, find);
    find->result = name_split_target(target, &find->service, &find->what, &find->err);
    if (find->result == 0)
        find->result = release_resolve(&hub->state, find->service, find->what, &release, &find->err);
    if (find->result == 0)
        found(find, release);
    if (find->result == RELEASE_ASK_REPOSITORY) {
        find->app = xstrdup(state_service(&hub->state, find->service)->app);
        if (!find->app)
            find->result = release_unknown(&hub->state, find->service, find->what, &find->err);
        else
            find->result = helper(find, "resolve", find->what, on_resolved);
        if (find->result == 0)
            return;
    }
    timer_set(&find->turn, 0);
}

struct finds *finds_new(struct hubd *hub)
{
    struct finds *finds = xcalloc(1, sizeof(*finds));
    finds->hub = hub;
    list_init(&finds->open);
    return finds;
}

void finds_free(struct finds *finds)
{
    if (!finds)
        return;
    while (!list_empty(&finds->open)) {
        struct find *find = list_first(&finds->open, struct find, of_finds);
        struct error err;
        error_set(&err, -EIO, "the hub is stopping");
        list_remove(&find->of_finds);
        find->fn(finds->hub, NULL, &err, find->arg);
        find_free(find);
    }
    free(finds);
}
