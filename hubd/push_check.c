/* SPDX-License-Identifier: MIT */

/* A push before git takes it: is every tip's manifest good, and may its pusher have what it names? */

#include "hubd/push_job.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/hubd.h"
#include "hubd/manifest.h"
#include "hubd/release.h"

static int check_services(const struct push *push, const struct manifest *manifest, struct error *err)
{
    if (push->who.role != ROLE_DEPLOYER || !push->who.services)
        return 0;
    for (size_t i = 0; i < manifest->n_services; i++)
        if (!strv_contains(push->who.services, manifest->services[i].name))
            return error_set(
                err, -EACCES, "%s may not change service \"%s\"", push->who.name, manifest->services[i].name);
    return 0;
}

static int check_row(const struct push *push, const struct gitwork_row *row, struct error *err)
{
    struct manifest manifest = { 0 };
    if (!row->commit)
        return 0;
    int r = push_read_manifest(push, row, &manifest, err);
    if (r == MANIFEST_ABSENT)
        return 0;
    if (r == 0)
        r = release_check(&push->pushes->hub->state, push->app, &manifest, err);
    if (r == 0)
        r = check_services(push, &manifest, err);
    manifest_clear(&manifest);
    return r;
}

void push_end_check(struct push *push)
{
    struct error err = { 0 };
    for (size_t i = 0; i < push->n_rows; i++) {
        int r = check_row(push, &push->rows[i], &err);
        if (r < 0) {
            _cleanup_(free_ptr) char *text = xasprintf("%s; %s was not changed", err.text, push->app);
            push_finish(push, r, text);
            return;
        }
    }
    push_finish(push, 0, NULL);
}

static int check_refs(char *const *refs, struct error *err)
{
    char *ref;
    size_t n = 0;
    strv_for_each (ref, (char **)refs) {
        _cleanup_(free_ptr) char *name = xstrndup(ref, strcspn(ref, "="));
        if (strncmp(name, PUSH_HIDDEN_PREFIX, strlen(PUSH_HIDDEN_PREFIX)) == 0)
            return error_set(
                err, -EACCES, "\"%s\" can't be pushed: %s is kept by the hub", name, PUSH_HIDDEN_PREFIX);
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

struct push *push_check(struct pushes *pushes, const char *app, const struct enroll_guest *who,
    const char *quarantine, char *const *refs, push_done_fn fn, void *arg)
{
    struct push *push = push_new(pushes, PUSH_CHECK, app, fn, arg);
    push->who = (struct enroll_guest){
        .role = who->role, .name = xstrdup(who->name), .services = strv_copy(who->services)
    };
    push->quarantine = xstrdup(quarantine);
    push->refs = strv_copy(refs);
    return push;
}

void push_begin_check(struct push *push)
{
    struct error err = { 0 };
    int r = check_refs(push->refs, &err);
    if (r < 0) {
        push_finish(push, r, err.text);
        return;
    }
    char *ref;
    strv_for_each (ref, push->refs)
        push_add_tip(push, ref + strcspn(ref, "=") + 1);
    push_read_tips(push);
}
