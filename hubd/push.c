/* SPDX-License-Identifier: MIT */
#include "hubd/push.h"

#include <errno.h>
#include <string.h>

#include "common/gitwork.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/hubd.h"
#include "hubd/manifest.h"
#include "hubd/push_text.h"
#include "hubd/release.h"
#include "hubd/repo.h"
#include "hubd/txn.h"

#define HIDDEN_PREFIX "refs/stagecoach/"

enum push_kind { PUSH_CHECK, PUSH_REGISTER };

struct pushes {
    struct hubd *hub;
    struct list waiting; /* struct push */
    struct list active;
    struct timer turn;
};

/* A command can't be taken back: what it holds on to knows when the push is gone. */
struct registration {
    struct push *push; /* weak: push_free clears it */
};

struct push {
    struct list of_pushes;
    struct pushes *pushes;
    enum push_kind kind;
    char *app;
    struct enroll_guest who;
    char *quarantine;
    char **refs;    /* pairs NAME=ID: check: what is pushed; register: all that there are */
    struct map *hidden; /* names of the releases' refs that there are */
    struct gitwork *work;
    char **tips;    /* ids whose manifests are to be read, each once */
    size_t n_tips, tips_cap, tips_read;
    struct map *seen; /* the same as a set */
    struct registration *registration; /* its command waits */
    struct gitwork_row *rows; /* of the tips */
    size_t n_rows;
    struct push_text text;
    char **lines;
    push_done_fn fn;
    void *arg;
};

static void next_batch(struct push *push);

/* --- life cycle -------------------------------------------------------------------------------------------------- */

static void push_free(void *obj)
{
    struct push *push = obj;
    list_remove(&push->of_pushes);
    gitwork_free(push->work);
    if (push->registration)
        push->registration->push = NULL;
    map_free(push->seen);
    for (size_t i = 0; i < push->n_rows; i++)
        schema_clear(&gitwork_row_schema, &push->rows[i]);
    free(push->rows);
    free(push->app);
    enroll_guest_done(&push->who);
    free(push->quarantine);
    strv_free(push->refs);
    map_free(push->hidden);
    strv_free(push->tips);
    strv_free(push->lines);
    push_text_done(&push->text);
    free(push);
}

static void finish(struct push *push, int result, const char *reason)
{
    struct pushes *pushes = push->pushes;
    push_done_fn fn = push->fn;
    push->fn = NULL;
    if (fn)
        fn(push->arg, result, reason, push->lines);
    else if (result < 0)
        log_warning(&(struct log_about){ .app = push->app }, "%s: %s", push->app, reason);
    list_remove(&push->of_pushes);
    loop_free_later(pushes->hub->loop, push, push_free);
    timer_set(&pushes->turn, 0);
}

void push_cancel(struct push *push)
{
    if (push)
        push->fn = NULL;
}

/* --- order: one at a time for each app, some at a time for all ----------------------------------------------------- */

static void begin(struct push *push);

static bool app_is_active(const struct pushes *pushes, const char *app)
{
    struct push *push;
    list_for_each(push, &pushes->active, of_pushes) if (strcmp(push->app, app) == 0) return true;
    return false;
}

static void on_turn(void *arg)
{
    struct pushes *pushes = arg;
    int n = 0;
    struct push *push, *tmp;
    list_for_each(push, &pushes->active, of_pushes) n++;
    list_for_each_safe(push, tmp, &pushes->waiting, of_pushes)
    {
        if (n >= PUSH_JOBS_MAX)
            return;
        if (app_is_active(pushes, push->app))
            continue;
        list_remove(&push->of_pushes);
        list_append(&pushes->active, &push->of_pushes);
        n++;
        begin(push);
    }
}

static struct push *push_new(struct pushes *pushes, enum push_kind kind, const char *app, push_done_fn fn, void *arg)
{
    struct push *push = xcalloc(1, sizeof(*push));
    push->pushes = pushes;
    push->kind = kind;
    push->app = xstrdup(app);
    push->fn = fn;
    push->arg = arg;
    list_append(&pushes->waiting, &push->of_pushes);
    timer_set(&pushes->turn, 0);
    return push;
}

struct pushes *pushes_new(struct hubd *hub)
{
    struct pushes *pushes = xcalloc(1, sizeof(*pushes));
    pushes->hub = hub;
    list_init(&pushes->waiting);
    list_init(&pushes->active);
    timer_init(&pushes->turn, hub->loop, on_turn, pushes);
    return pushes;
}

void pushes_free(struct pushes *pushes)
{
    if (!pushes)
        return;
    while (!list_empty(&pushes->waiting))
        push_free(list_first(&pushes->waiting, struct push, of_pushes));
    while (!list_empty(&pushes->active))
        push_free(list_first(&pushes->active, struct push, of_pushes));
    timer_done(&pushes->turn);
    free(pushes);
}

void pushes_start(struct pushes *pushes)
{
    const struct state *state = &pushes->hub->state;
    state_for_each(it, state, STATE_APP)
    {
        if (repo_exists(pushes->hub->repos, it.key))
            push_register(pushes, it.key, "hub", NULL, NULL);
        else
            log_warning(&(struct log_about){ .app = it.key }, "the source of %s is missing: push it again", it.key);
    }
}

/* --- helpers at work ------------------------------------------------------------------------------------------------ */

static int helper(struct push *push, char *const *args, gitwork_done_fn fn, struct error *err)
{
    struct hubd *hub = push->pushes->hub;
    struct gitwork_spec spec = {
        .program = hub->config.gitwork,
        .args = (const char *const *)args,
        .on_done = fn,
        .arg = push,
    };
    gitwork_free(push->work);
    push->work = NULL;
    return gitwork_start(hub->loop, &spec, &push->work, err);
}

static void add_tip(struct push *push, const char *id)
{
    if (!push->seen)
        push->seen = map_new(NULL);
    if (map_get(push->seen, id))
        return;
    map_set(push->seen, id, push);
    push->tips = xgrow(push->tips, push->n_tips + 1, &push->tips_cap, sizeof(*push->tips));
    push->tips[push->n_tips++] = xstrdup(id);
    push->tips[push->n_tips] = NULL;
}

static void tips_done(struct push *push);

static void on_manifests(void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct push *push = arg;
    if (result < 0) {
        _cleanup_(free_ptr) char *text =
            push->kind == PUSH_CHECK ? xasprintf("%s; %s was not changed", reason, push->app) : xstrdup(reason);
        finish(push, result, text);
        return;
    }
    push->rows = xrealloc(push->rows, (push->n_rows + n_rows) * sizeof(*push->rows) + 1);
    for (size_t i = 0; i < n_rows; i++)
        schema_copy(&gitwork_row_schema, &rows[i], &push->rows[push->n_rows++]);
    next_batch(push);
}

static void next_batch(struct push *push)
{
    size_t last = push->tips_read + PUSH_BATCH;
    if (push->tips_read == push->n_tips) {
        tips_done(push);
        return;
    }
    if (last > push->n_tips)
        last = push->n_tips;
    char **args = NULL, *ref;
    strv_push(&args, "manifest");
    if (push->quarantine)
        strv_push_take(&args, xasprintf("--quarantine=%s", push->quarantine));
    size_t n_tags = 0;
    strv_for_each(ref, push->refs)
        if (push->kind == PUSH_CHECK && strncmp(ref, "refs/tags/", 10) == 0 && n_tags++ < PUSH_BATCH)
            strv_push_take(&args, xasprintf("--tag=%s", ref + 10));
    strv_push_take(&args, repo_path(push->pushes->hub->repos, push->app));
    for (size_t i = push->tips_read; i < last; i++)
        strv_push(&args, push->tips[i]);
    push->tips_read = last;
    struct error err = { 0 };
    int r = helper(push, args, on_manifests, &err);
    strv_free(args);
    if (r < 0)
        finish(push, r, err.text);
}

static int read_row(const struct push *push, const struct gitwork_row *row, struct manifest *ret, struct error *err)
{
    struct manifest_source source = {
        .app = push->app,
        .manifest = row->manifest,
        .package = row->package,
        .procfile = row->procfile,
        .lockfile = row->lockfile,
        .tag = row->tag,
    };
    return manifest_read(&source, ret, err);
}

/* --- before git takes it ------------------------------------------------------------------------------------------------ */

static int check_services(const struct push *push, const struct manifest *manifest, struct error *err)
{
    if (push->who.role != ROLE_DEPLOYER || !push->who.services)
        return 0;
    for (size_t i = 0; i < manifest->n_services; i++)
        if (!strv_contains(push->who.services, manifest->services[i].name))
            return error_set(err, -EACCES, "%s may not change service \"%s\"", push->who.name,
                manifest->services[i].name);
    return 0;
}

static int check_row(const struct push *push, const struct gitwork_row *row, struct error *err)
{
    struct manifest manifest = { 0 };
    if (!row->commit)
        return 0;
    int r = read_row(push, row, &manifest, err);
    if (r == MANIFEST_ABSENT)
        return 0;
    if (r == 0)
        r = release_check(&push->pushes->hub->state, push->app, &manifest, err);
    if (r == 0)
        r = check_services(push, &manifest, err);
    manifest_clear(&manifest);
    return r;
}

static void check_done(struct push *push)
{
    struct error err = { 0 };
    for (size_t i = 0; i < push->n_rows; i++) {
        int r = check_row(push, &push->rows[i], &err);
        if (r < 0) {
            _cleanup_(free_ptr) char *text = xasprintf("%s; %s was not changed", err.text, push->app);
            finish(push, r, text);
            return;
        }
    }
    finish(push, 0, NULL);
}

static int check_refs(char *const *refs, struct error *err)
{
    char *ref;
    size_t n = 0;
    strv_for_each(ref, (char **)refs)
    {
        _cleanup_(free_ptr) char *name = xstrndup(ref, strcspn(ref, "="));
        if (strncmp(name, HIDDEN_PREFIX, strlen(HIDDEN_PREFIX)) == 0)
            return error_set(err, -EACCES, "\"%s\" can't be pushed: %s is kept by the hub", name, HIDDEN_PREFIX);
        if (!name_is_ref(name)) {
            _cleanup_(strbuf_done) struct strbuf safe = STRBUF_INIT;
            strbuf_add_printable(&safe, name, strlen(name), 100);
            return error_set(err, -EINVAL, "\"%s\" is no name for a branch or tag here", strbuf_str(&safe));
        }
        if (++n > PUSH_TIPS_MAX)
            return error_set(err, -EFBIG, "a push may bring at most %d branches and tags", PUSH_TIPS_MAX);
    }
    return 0;
}

struct push *push_check(struct pushes *pushes, const char *app, const struct enroll_guest *who, const char *quarantine,
    char *const *refs, push_done_fn fn, void *arg)
{
    struct push *push = push_new(pushes, PUSH_CHECK, app, fn, arg);
    push->who = (struct enroll_guest){
        .role = who->role, .name = xstrdup(who->name), .services = strv_copy(who->services)
    };
    push->quarantine = xstrdup(quarantine);
    push->refs = strv_copy(refs);
    return push;
}

static void begin_check(struct push *push)
{
    struct error err = { 0 };
    int r = check_refs(push->refs, &err);
    if (r < 0) {
        finish(push, r, err.text);
        return;
    }
    char *ref;
    strv_for_each(ref, push->refs) add_tip(push, ref + strcspn(ref, "=") + 1);
    next_batch(push);
}

/* --- after that: refs → releases ------------------------------------------------------------------------------------------ */

struct push *push_register(struct pushes *pushes, const char *app, const char *who, push_done_fn fn, void *arg)
{
    struct push *push = push_new(pushes, PUSH_REGISTER, app, fn, arg);
    push->who.name = xstrdup(who);
    return push;
}

/* Releases whose hidden ref is missing get it again: without it maintenance might drop their commits. */
static void keep_releases(struct push *push)
{
    struct hubd *hub = push->pushes->hub;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    const struct state *state = &hub->state;
    state_for_each(it, state, STATE_RELEASE)
    {
        const struct release *release = it.value;
        if (strcmp(release->app, push->app) != 0)
            continue;
        _cleanup_(free_ptr) char *ref = release_ref(release);
        if (!push->hidden || !map_get(push->hidden, ref))
            strbuf_addf(&text, "update %s %s\n", ref, release->commit);
    }
    if (text.len > 0)
        repo_update_refs(hub->repos, push->app, strbuf_str(&text));
}

/* The branch or tag that a commit came by; branches before tags. */
static const char *branch_of(const struct push *push, const char *commit)
{
    const char *found = NULL;
    char *ref;
    strv_for_each(ref, push->refs)
    {
        if (strcmp(ref + strcspn(ref, "=") + 1, commit) != 0)
            continue;
        if (strncmp(ref, "refs/heads/", 11) == 0)
            return ref + 11;
        if (!found && strncmp(ref, "refs/tags/", 10) == 0)
            found = ref + 10;
    }
    return found;
}

static int by_time(const void *a, const void *b)
{
    const struct gitwork_row *x = a, *y = b;
    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    return x->commit && y->commit ? strcmp(x->commit, y->commit) : 0;
}

static void register_row(struct push *push, struct txn *txn, const struct gitwork_row *row)
{
    struct error err = { 0 };
    struct manifest manifest = { 0 };
    char **keys = NULL;
    const char *found = branch_of(push, row->commit);
    _cleanup_(free_ptr) char *branch = found ? xstrndup(found, strcspn(found, "=")) : NULL;
    struct release_push what = {
        .app = push->app,
        .branch = branch,
        .commit = row->commit,
        .subject = row->subject,
        .now = loop_wall(push->pushes->hub->loop),
    };
    size_t before = txn_n_changes(txn);
    int r = read_row(push, row, &manifest, &err);
    if (r == 0)
        r = release_register(txn, &what, &manifest, &keys, &err);
    push_text_tip(&push->text, push->app, row->commit, keys, r == MANIFEST_ABSENT ? NULL : err.text);
    for (size_t i = 0; r == 0 && keys && keys[i]; i++) {
        const struct release *release = txn_get(txn, STATE_RELEASE, keys[i]);
        if (txn_n_changes(txn) > before && !state_get(txn_state(txn), STATE_RELEASE, keys[i]))
            push_text_release(&push->text, release, manifest.services[i].version, txn_state(txn));
    }
    strv_free(keys);
    manifest_clear(&manifest);
}

static int decide_register(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct push *push = ((struct registration *)arg)->push;
    if (!push)
        return 0;
    for (size_t i = 0; i < push->n_rows; i++)
        if (push->rows[i].commit)
            register_row(push, txn, &push->rows[i]);
    struct app *app = txn_edit(txn, STATE_APP, push->app);
    if (!app->name) {
        app->name = xstrdup(push->app);
        app->created_by = xstrdup(push->who.name);
        app->created_us = loop_wall(hub->loop).us;
    }
    char **refs = strv_copy(push->refs);
    strv_free(app->refs);
    app->refs = refs;
    if (push->n_rows > 0) {
        _cleanup_(free_ptr) char *text = push_text_event(&push->text, push->app);
        struct msg_event event = { .kind = (char *)"push", .who = push->who.name, .app = push->app, .text = text };
        txn_event(txn, &event);
    }
    return 0;
}

static void on_registered(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct push *push = ((struct registration *)arg)->push;
    free(arg);
    if (!push)
        return;
    push->registration = NULL;
    if (result < 0) {
        finish(push, result, err->text);
        return;
    }
    keep_releases(push);
    push->lines = push_text_lines(&push->text);
    finish(push, 0, NULL);
}

static void tips_done(struct push *push)
{
    if (push->kind == PUSH_CHECK) {
        check_done(push);
        return;
    }
    qsort(push->rows, push->n_rows, sizeof(*push->rows), by_time);
    push->registration = xcalloc(1, sizeof(*push->registration));
    push->registration->push = push;
    hubd_command(push->pushes->hub, "register a push", decide_register, on_registered, push->registration);
}

static void on_refs(void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct push *push = arg;
    const struct app *app = state_get(&push->pushes->hub->state, STATE_APP, push->app);
    if (result < 0) {
        finish(push, result, reason);
        return;
    }
    for (size_t i = 0; i < n_rows; i++) {
        if (!rows[i].commit)
            continue;
        if (strncmp(rows[i].name, HIDDEN_PREFIX, strlen(HIDDEN_PREFIX)) == 0) {
            if (!push->hidden)
                push->hidden = map_new(NULL);
            map_set(push->hidden, rows[i].name, push);
            continue;
        }
        const char *known = app ? pairs_get(app->refs, rows[i].name) : NULL;
        strv_push_take(&push->refs, xasprintf("%s=%s", rows[i].name, rows[i].commit));
        if (!known || strcmp(known, rows[i].commit) != 0)
            add_tip(push, rows[i].commit);
    }
    if (app ? strv_equal(app->refs, push->refs) : !push->refs) {
        keep_releases(push);
        finish(push, 0, NULL);
        return;
    }
    next_batch(push);
}

static void begin_register(struct push *push)
{
    struct error err = { 0 };
    _cleanup_(free_ptr) char *path = repo_path(push->pushes->hub->repos, push->app);
    char *args[] = { (char *)"refs", path, NULL };
    int r = helper(push, args, on_refs, &err);
    if (r < 0)
        finish(push, r, err.text);
}

static void begin(struct push *push)
{
    if (push->kind == PUSH_CHECK)
        begin_check(push);
    else
        begin_register(push);
}
