/* SPDX-License-Identifier: MIT */

/* A push after git took it: the refs are compared with those recorded last, and every new tip becomes releases. */

#include "hubd/push_job.h"

#include <string.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/hubd.h"
#include "hubd/manifest.h"
#include "hubd/release.h"
#include "hubd/repo.h"
#include "hubd/txn.h"

struct push *push_register(
    struct pushes *pushes, const char *app, const char *who, push_done_fn fn, void *arg)
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
    strv_for_each (ref, push->refs) {
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
    int r = push_read_manifest(push, row, &manifest, &err);
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
        struct msg_event event = {
            .kind = (char *)"push", .who = push->who.name, .app = push->app, .text = text
        };
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
        push_finish(push, result, err->text);
        return;
    }
    keep_releases(push);
    push->lines = push_text_lines(&push->text);
    push_finish(push, 0, NULL);
}

/* Every manifest is read: the releases go into the store. */
void push_end_register(struct push *push)
{
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
        push_finish(push, result, reason);
        return;
    }
    for (size_t i = 0; i < n_rows; i++) {
        if (!rows[i].commit)
            continue;
        if (strncmp(rows[i].name, PUSH_HIDDEN_PREFIX, strlen(PUSH_HIDDEN_PREFIX)) == 0) {
            if (!push->hidden)
                push->hidden = map_new(NULL);
            map_set(push->hidden, rows[i].name, push);
            continue;
        }
        const char *known = app ? pairs_get(app->refs, rows[i].name) : NULL;
        strv_push_take(&push->refs, xasprintf("%s=%s", rows[i].name, rows[i].commit));
        if (!known || strcmp(known, rows[i].commit) != 0)
            push_add_tip(push, rows[i].commit);
    }
    if (app ? strv_equal(app->refs, push->refs) : !push->refs) {
        keep_releases(push);
        push_finish(push, 0, NULL);
        return;
    }
    push_read_tips(push);
}

void push_begin_register(struct push *push)
{
    struct error err = { 0 };
    _cleanup_(free_ptr) char *path = repo_path(push->pushes->hub->repos, push->app);
    char *args[] = { (char *)"refs", path, NULL };
    int r = push_helper(push, args, on_refs, &err);
    if (r < 0)
        push_finish(push, r, err.text);
}
