/* SPDX-License-Identifier: MIT */
#include "hubd/push.h"

#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/hubd.h"
#include "hubd/manifest.h"
#include "hubd/push_job.h"
#include "hubd/repo.h"

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

void push_finish(struct push *push, int result, const char *reason)
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

static void begin(struct push *push)
{
    if (push->kind == PUSH_CHECK)
        push_begin_check(push);
    else
        push_begin_register(push);
}

static void tips_done(struct push *push)
{
    if (push->kind == PUSH_CHECK)
        push_end_check(push);
    else
        push_end_register(push);
}

static bool app_is_active(const struct pushes *pushes, const char *app)
{
    struct push *push;
    list_for_each (push, &pushes->active, of_pushes)
        if (strcmp(push->app, app) == 0)
            return true;
    return false;
}

static void on_turn(void *arg)
{
    struct pushes *pushes = arg;
    int n = 0;
    struct push *push, *tmp;
    list_for_each (push, &pushes->active, of_pushes)
        n++;
    list_for_each_safe (push, tmp, &pushes->waiting, of_pushes) {
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

struct push *push_new(struct pushes *pushes, enum push_kind kind, const char *app, push_done_fn fn, void *arg)
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
            log_warning(
                &(struct log_about){ .app = it.key }, "the source of %s is missing: push it again", it.key);
    }
}

/* --- helpers at work ------------------------------------------------------------------------------------------------ */

int push_helper(struct push *push, char *const *args, gitwork_done_fn fn, struct error *err)
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

void push_add_tip(struct push *push, const char *id)
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

static void on_manifests(
    void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct push *push = arg;
    if (result < 0) {
        _cleanup_(free_ptr) char *text = push->kind == PUSH_CHECK
            ? xasprintf("%s; %s was not changed", reason, push->app)
            : xstrdup(reason);
        push_finish(push, result, text);
        return;
    }
    push->rows = xrealloc(push->rows, (push->n_rows + n_rows) * sizeof(*push->rows) + 1);
    for (size_t i = 0; i < n_rows; i++)
        schema_copy(&gitwork_row_schema, &rows[i], &push->rows[push->n_rows++]);
    push_read_tips(push);
}

void push_read_tips(struct push *push)
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
    strv_for_each (ref, push->refs)
        if (push->kind == PUSH_CHECK && strncmp(ref, "refs/tags/", 10) == 0 && n_tags++ < PUSH_BATCH)
            strv_push_take(&args, xasprintf("--tag=%s", ref + 10));
    strv_push_take(&args, repo_path(push->pushes->hub->repos, push->app));
    for (size_t i = push->tips_read; i < last; i++)
        strv_push(&args, push->tips[i]);
    push->tips_read = last;
    struct error err = { 0 };
    int r = push_helper(push, args, on_manifests, &err);
    strv_free(args);
    if (r < 0)
        push_finish(push, r, err.text);
}

int push_read_manifest(
    const struct push *push, const struct gitwork_row *row, struct manifest *ret, struct error *err)
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
