/* SPDX-License-Identifier: MIT */
#include "droned/checkout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/gitwork.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/statefile.h"
#include "common/strv.h"
#include "droned/listing.h"
#include "droned/pack.h"
#include "droned/seal.h"
#include "droned/trash.h"

/* Somebody who waits for a commit. */
struct waiter {
    struct list link;
    checkout_fn fn;
    void *arg;
};

/* One commit on its way here; shared by all that wait for it. */
struct checkout {
    struct list link;
    struct checkouts *owner;
    char *app, *commit, *base;
    struct list waiters;
    struct timer timer;
    struct pack *pack;
    struct gitwork *git;
    struct seal *seal;
    struct checkout_stats stats;
    mono_t begun;
    bool started, without_base, whole_again;
    int result; /* when the timer ends it */
    char *reason;
};

struct checkouts {
    struct loop *loop;
    struct checkouts_spec spec;
    char *state_dir;
    struct list checkouts;
};

static void start(struct checkout *checkout);
static void start_tree(struct checkout *checkout);
static void start_fetch(struct checkout *checkout);

/* --- paths -------------------------------------------------------------------------------------------------------- */

char *checkout_path(const struct checkouts *checkouts, const char *app, const char *commit)
{
    return xasprintf("%s/sources/%s/%s", checkouts->state_dir, app, commit);
}

static char *repo_path(const struct checkout *checkout)
{
    return xasprintf("%s/repos/%s.git", checkout->owner->state_dir, checkout->app);
}

static char *incoming_path(const struct checkout *checkout)
{
    return xasprintf("%s/incoming/%s-%s", checkout->owner->state_dir, checkout->app, checkout->commit);
}

/* Says that all objects of the commit are in the repository. Kept apart from it: the repository belongs to the
 * helper, whose word is not taken for what we have. */
static char *marker_path(const struct checkouts *checkouts, const char *app, const char *commit)
{
    return xasprintf("%s/commits/%s/%s", checkouts->state_dir, app, commit);
}

static bool is_directory(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool has_commit(const struct checkouts *checkouts, const char *app, const char *commit)
{
    _cleanup_(free_ptr) char *path = marker_path(checkouts, app, commit);
    return commit && access(path, F_OK) == 0;
}

static char *choose_base(const struct checkouts *checkouts, const char *app, const char *hint)
{
    if (hint && has_commit(checkouts, app, hint))
        return xstrdup(hint);
    _cleanup_(free_ptr) char *dir = xasprintf("%s/commits/%s", checkouts->state_dir, app);
    _cleanup_(strv_freep) char **commits = listing_newest_first(dir);
    char *commit;
    strv_for_each (commit, commits) {
        if (name_is_commit(commit))
            return xstrdup(commit);
    }
    return NULL;
}

/* --- ends ----------------------------------------------------------------------------------------------------------- */

static void checkout_destroy(void *p)
{
    struct checkout *checkout = p;
    free(checkout->app);
    free(checkout->commit);
    free(checkout->base);
    free(checkout->reason);
    free(checkout);
}

static void checkout_free(struct checkout *checkout)
{
    list_remove(&checkout->link);
    timer_done(&checkout->timer);
    pack_free(steal_ptr(checkout->pack));
    gitwork_free(steal_ptr(checkout->git));
    seal_free(steal_ptr(checkout->seal));
    struct waiter *waiter, *tmp;
    list_for_each_safe (waiter, tmp, &checkout->waiters, link) {
        list_remove(&waiter->link);
        free(waiter);
    }
    loop_free_later(checkout->owner->loop, checkout, checkout_destroy);
}

static void start_waiting(struct checkouts *checkouts)
{
    struct checkout *checkout;
    int n = 0;
    list_for_each (checkout, &checkouts->checkouts, link) {
        if (checkout->started)
            n++;
        else if (n < CHECKOUTS_AT_ONCE) {
            n++;
            start(checkout);
        }
    }
}

static void on_end_timer(void *arg)
{
    struct checkout *checkout = arg;
    struct checkouts *owner = checkout->owner;
    list_remove(&checkout->link);
    while (!list_empty(&checkout->waiters)) {
        struct waiter *waiter = list_first(&checkout->waiters, struct waiter, link);
        list_remove(&waiter->link);
        waiter->fn(waiter->arg, checkout->result, checkout->reason, &checkout->stats);
        free(waiter);
    }
    checkout_free(checkout);
    start_waiting(owner);
}

static void end(struct checkout *checkout, int result, const char *reason)
{
    pack_free(steal_ptr(checkout->pack));
    gitwork_free(steal_ptr(checkout->git));
    seal_free(steal_ptr(checkout->seal));
    checkout->result = result;
    str_set(&checkout->reason, reason);
    checkout->stats.ms = mono_diff_ms(loop_now(checkout->owner->loop), checkout->begun);
    timer_set(&checkout->timer, 0);
}

/* --- the tree -------------------------------------------------------------------------------------------------------- */

/* From the helper's place into ours: only what is a directory there, under a parent that only we write. */
static int place_tree(struct checkout *checkout, struct error *err)
{
    _cleanup_(free_ptr) char *from = incoming_path(checkout);
    _cleanup_(free_ptr) char *to = checkout_path(checkout->owner, checkout->app, checkout->commit);
    _cleanup_(free_ptr) char *parent = xasprintf("%s/sources/%s", checkout->owner->state_dir, checkout->app);
    _cleanup_(free_ptr) char *markers = xasprintf("%s/commits/%s", checkout->owner->state_dir, checkout->app);
    int r = statefile_mkdir(parent, 0755, err);
    if (r < 0)
        return r;
    if (rename(from, to) < 0)
        return error_set_errno(err, -errno, "can't put the tree in place");
    if (!is_directory(to)) {
        unlink(to);
        return error_set(err, -EACCES, "the helper made no directory");
    }
    r = statefile_mkdir(markers, 0700, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *marker = marker_path(checkout->owner, checkout->app, checkout->commit);
    return statefile_write(marker, "", 0, 0600, err);
}

static void on_sealed(void *arg, int result, const char *reason)
{
    struct checkout *checkout = arg;
    struct error err;
    seal_free(steal_ptr(checkout->seal));
    if (result < 0)
        end(checkout, result, reason);
    else if (place_tree(checkout, &err) < 0)
        end(checkout, err.code, err.text);
    else
        end(checkout, 0, NULL);
}

static void on_tree(void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct checkout *checkout = arg;
    struct error err;
    gitwork_free(steal_ptr(checkout->git));
    if (result < 0) {
        /* Objects that should be here are not: all of it again, once. */
        if (!checkout->whole_again && has_commit(checkout->owner, checkout->app, checkout->commit)) {
            _cleanup_(free_ptr) char *marker = marker_path(checkout->owner, checkout->app, checkout->commit);
            unlink(marker);
            checkout->whole_again = checkout->without_base = true;
            start_fetch(checkout);
            return;
        }
        end(checkout, -EACCES, reason);
        return;
    }
    _cleanup_(free_ptr) char *dir = incoming_path(checkout);
    if (seal_start(checkout->owner->loop, checkout->owner->spec.seal, dir, 0, on_sealed, checkout,
            &checkout->seal, &err) < 0)
        end(checkout, err.code, err.text);
}

static int start_git(struct checkout *checkout, const char *const *args, bool input, gitwork_done_fn on_done,
    gitwork_room_fn on_room, struct error *err)
{
    const struct checkouts_spec *spec = &checkout->owner->spec;
    struct gitwork_spec git = {
        .program = spec->gitwork,
        .args = args,
        .input = input,
        .uid = spec->uid,
        .gid = spec->gid,
        .on_done = on_done,
        .on_room = on_room,
        .arg = checkout,
    };
    return gitwork_start(checkout->owner->loop, &git, &checkout->git, err);
}

static void start_tree(struct checkout *checkout)
{
    struct error err;
    _cleanup_(free_ptr) char *repo = repo_path(checkout);
    _cleanup_(free_ptr) char *dir = incoming_path(checkout);
    if (trash_take(checkout->owner->spec.trash, dir, &err) < 0) {
        end(checkout, err.code, err.text);
        return;
    }
    const char *const args[] = { "checkout", repo, checkout->commit, dir, NULL };
    if (start_git(checkout, args, false, on_tree, NULL, &err) < 0)
        end(checkout, err.code, err.text);
}

/* --- the pack -------------------------------------------------------------------------------------------------------- */

static void on_indexed(
    void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct checkout *checkout = arg;
    gitwork_free(steal_ptr(checkout->git));
    pack_free(steal_ptr(checkout->pack));
    if (result < 0 && checkout->base && !checkout->without_base) {
        checkout->without_base = true;
        start_fetch(checkout);
        return;
    }
    if (result < 0) {
        end(checkout, -EACCES, reason);
        return;
    }
    if (n_rows > 0) {
        checkout->stats.objects = rows[0].objects;
        checkout->stats.bytes = rows[0].bytes;
    }
    start_tree(checkout);
}

static void on_room(void *arg)
{
    struct checkout *checkout = arg;
    if (checkout->pack)
        pack_resume(checkout->pack);
}

static bool on_pack_data(void *arg, const void *data, size_t len)
{
    struct checkout *checkout = arg;
    return gitwork_write(checkout->git, data, len);
}

static void on_pack_end(void *arg, int result, const char *reason)
{
    struct checkout *checkout = arg;
    pack_free(steal_ptr(checkout->pack));
    if (result == 0) {
        gitwork_end_input(checkout->git);
        return;
    }
    gitwork_free(steal_ptr(checkout->git));
    if (result == -ENOENT && checkout->base && !checkout->without_base) {
        /* The hub may have lost the base, not the commit. */
        checkout->without_base = true;
        start_fetch(checkout);
        return;
    }
    end(checkout, result, reason);
}

static void start_fetch(struct checkout *checkout)
{
    struct checkouts *owner = checkout->owner;
    struct error err;
    _cleanup_(free_ptr) char *repo = repo_path(checkout);
    const char *const args[] = { "index", repo, NULL };
    struct pack_spec pack = {
        .app = checkout->app,
        .commit = checkout->commit,
        .base = checkout->without_base ? NULL : checkout->base,
        .on_data = on_pack_data,
        .on_end = on_pack_end,
        .arg = checkout,
    };
    if (start_git(checkout, args, true, on_indexed, on_room, &err) < 0) {
        end(checkout, err.code, err.text);
        return;
    }
    checkout->pack = owner->spec.open_pack(owner->spec.owner, &pack, &err);
    if (!checkout->pack)
        end(checkout, err.code, err.text);
}

/* --- asking ---------------------------------------------------------------------------------------------------------- */

static void start(struct checkout *checkout)
{
    struct checkouts *owner = checkout->owner;
    checkout->started = true;
    checkout->begun = loop_now(owner->loop);
    _cleanup_(free_ptr) char *path = checkout_path(owner, checkout->app, checkout->commit);
    if (is_directory(path)) {
        end(checkout, 0, NULL);
    } else if (has_commit(owner, checkout->app, checkout->commit)) {
        start_tree(checkout);
    } else {
        char *base = choose_base(owner, checkout->app, checkout->base);
        free(checkout->base);
        checkout->base = base;
        start_fetch(checkout);
    }
}

static struct checkout *find(struct checkouts *checkouts, const char *app, const char *commit)
{
    struct checkout *checkout;
    list_for_each (checkout, &checkouts->checkouts, link) {
        if (strcmp(checkout->commit, commit) == 0 && strcmp(checkout->app, app) == 0)
            return checkout;
    }
    return NULL;
}

void checkout_ensure(struct checkouts *checkouts, const char *app, const char *commit, const char *base_hint,
    checkout_fn fn, void *arg)
{
    struct checkout *checkout = find(checkouts, app, commit);
    if (!checkout) {
        checkout = xcalloc(1, sizeof(*checkout));
        checkout->owner = checkouts;
        checkout->app = xstrdup(app);
        checkout->commit = xstrdup(commit);
        checkout->base = base_hint ? xstrdup(base_hint) : NULL;
        list_init(&checkout->waiters);
        timer_init(&checkout->timer, checkouts->loop, on_end_timer, checkout);
        list_append(&checkouts->checkouts, &checkout->link);
    }
    struct waiter *waiter = xcalloc(1, sizeof(*waiter));
    waiter->fn = fn;
    waiter->arg = arg;
    list_append(&checkout->waiters, &waiter->link);
    start_waiting(checkouts);
}

void checkout_forget(struct checkouts *checkouts, const void *arg)
{
    struct checkout *checkout;
    list_for_each (checkout, &checkouts->checkouts, link) {
        struct waiter *waiter, *tmp;
        list_for_each_safe (waiter, tmp, &checkout->waiters, link) {
            if (waiter->arg == arg) {
                list_remove(&waiter->link);
                free(waiter);
            }
        }
    }
}

void checkouts_collect(struct checkouts *checkouts, const char *app)
{
    _cleanup_(free_ptr) char *dir = xasprintf("%s/sources/%s", checkouts->state_dir, app);
    _cleanup_(strv_freep) char **commits = listing_newest_first(dir);
    size_t unused = 0;
    char *commit;
    strv_for_each (commit, commits) {
        struct error err;
        if (!name_is_commit(commit) || checkouts->spec.is_used(checkouts->spec.owner, app, commit) ||
            find(checkouts, app, commit) || ++unused <= CHECKOUT_KEEP_UNUSED)
            continue;
        _cleanup_(free_ptr) char *path = checkout_path(checkouts, app, commit);
        if (trash_take(checkouts->spec.trash, path, &err) < 0)
            log_warning(NULL, "%s", err.text);
    }
}

/* What the helper works in belongs to the helper; its parent and what was verified do not. */
static void make_directories(struct checkouts *checkouts)
{
    // clang-format off
    static const struct { const char *name; mode_t mode; bool of_helper; } dirs[] = {
        { "commits",  0700, false },
        { "incoming", 0700, true },
        { "repos",    0700, true },
        { "sources",  0755, false },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", checkouts->state_dir, dirs[i].name);
        struct error err;
        if (statefile_mkdir(path, dirs[i].mode, &err) < 0)
            log_warning(NULL, "%s", err.text);
        else if (chmod(path, dirs[i].mode) < 0 ||
            (dirs[i].of_helper && checkouts->spec.uid != 0 &&
                chown(path, checkouts->spec.uid, checkouts->spec.gid) < 0))
            log_warning(NULL, "can't give %s to the git helper: %s", path, strerror(errno));
    }
}

struct checkouts *checkouts_new(struct loop *loop, const struct checkouts_spec *spec)
{
    struct checkouts *checkouts = xcalloc(1, sizeof(*checkouts));
    checkouts->loop = loop;
    checkouts->spec = *spec;
    checkouts->state_dir = xstrdup(spec->state_dir);
    list_init(&checkouts->checkouts);
    make_directories(checkouts);
    return checkouts;
}

void checkouts_free(struct checkouts *checkouts)
{
    if (!checkouts)
        return;
    struct checkout *checkout, *tmp;
    list_for_each_safe (checkout, tmp, &checkouts->checkouts, link)
        checkout_free(checkout);
    free(checkouts->state_dir);
    free(checkouts);
}
