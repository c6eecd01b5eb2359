/* SPDX-License-Identifier: MIT */
#include "hubd/serve.h"

#include <errno.h>
#include <string.h>

#include "common/loop.h"
#include "common/mem.h"
#include "hubd/ca.h"
#include "hubd/enroll.h"
#include "hubd/finds.h"
#include "hubd/front.h"
#include "hubd/git_hooks.h"
#include "hubd/git_http.h"
#include "hubd/hubd.h"
#include "hubd/pack.h"
#include "hubd/push.h"
#include "hubd/repo.h"
#include "hubd/store.h"

int serve_prepare(struct hubd *hub, struct error *err)
{
    _cleanup_(free_ptr) char *directory = xasprintf("%s/identity", hub->config.state_dir);
    struct ca_spec spec = {
        .directory = directory,
        .may_create = store_revision(hub->store) == 0,
        .names = hub->config.names,
        .certificate_ms = hub->config.certificate_ms,
    };
    int r = ca_open(hub->loop, &spec, &hub->ca, err);
    if (r < 0)
        return r;
    hub->enroll = enroll_new(hub);
    hub->repos = repos_new(hub);
    hub->finds = finds_new(hub);
    hub->pushes = pushes_new(hub);
    hub->git_hooks = git_hooks_new(hub);
    hub->packs = packs_new(hub);
    hub->git_http = git_http_new(hub);
    return 0;
}

int serve_open(struct hubd *hub, struct error *err)
{
    const struct meta *meta = state_meta(&hub->state);
    if (meta && meta->fleet && strcmp(meta->fleet, ca_fleet(hub->ca)) != 0)
        return error_set(err, -EINVAL,
            "the state is of fleet %s and the CA of fleet %s: they are not from the same hub", meta->fleet,
            ca_fleet(hub->ca));
    int r = repos_start(hub->repos, err);
    if (r == 0)
        r = packs_start(hub->packs, err);
    if (r == 0)
        r = git_hooks_start(hub->git_hooks, err);
    if (r == 0)
        r = front_new(hub, &hub->front, err);
    if (r == 0)
        pushes_start(hub->pushes);
    return r;
}

void serve_close(struct hubd *hub)
{
    front_free(steal_ptr(hub->front));
    git_http_free(steal_ptr(hub->git_http));
    packs_free(steal_ptr(hub->packs));
    finds_free(steal_ptr(hub->finds));
    git_hooks_free(steal_ptr(hub->git_hooks));
    pushes_free(steal_ptr(hub->pushes));
    repos_free(steal_ptr(hub->repos));
    enroll_free(steal_ptr(hub->enroll));
    ca_free(steal_ptr(hub->ca));
}
