/* SPDX-License-Identifier: MIT */
/* Verbs that change what runs: each becomes one deploy, stored before it is answered. */
#include "hubd/control.h"

#include <errno.h>
#include <string.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/deploy.h"
#include "hubd/hubd.h"
#include "hubd/instance.h"
#include "hubd/release.h"
#include "hubd/session.h"

/* A verb on its way from its message to its deploy. */
struct asked {
    struct hubd *hub;
    struct link *link; /* weak: only compared with what reply_link says */
    struct reply *reply;
    enum msg_type type;
    void *m;
    char *request_id;
    struct deploy_wish wish; /* what it points to is in m, or below */
    char *service;
    char *version;
    char *instance;
};

static void asked_free(void *arg)
{
    struct asked *asked = arg;
    const struct schema *schema = msg_by_type(asked->type)->schema;
    schema_clear(schema, asked->m);
    free(asked->m);
    free(asked->request_id);
    free(asked->service);
    free(asked->version);
    free(asked->instance);
    free(asked);
}

static struct asked *asked_new(
    struct session *session, struct reply *reply, enum msg_type type, enum deploy_kind kind, const void *m)
{
    const struct schema *schema = msg_by_type(type)->schema;
    struct asked *asked = xcalloc(1, sizeof(*asked));
    asked->hub = session->hub;
    asked->link = session->link;
    asked->reply = reply;
    asked->type = type;
    asked->m = xcalloc(1, schema->size);
    schema_copy(schema, m, asked->m);
    asked->wish.kind = kind;
    asked->wish.instances = -1;
    return asked;
}

static void refuse(struct reply *reply, const struct error *err)
{
    reply_error(reply, command_error_kind(err), "%s", err->text);
}

static int decide(struct request *request, struct txn *txn, struct error *err)
{
    struct asked *asked = request->arg;
    struct hubd *hub = request->hub;
    struct deploy_times times = {
        .now = loop_wall(hub->loop),
        .mono = loop_now(hub->loop),
        .warm_ms = hub->config.warm_ms,
        .host_wait_ms = hub->config.host_wait_ms,
    };
    asked->wish.who = request->who;
    asked->wish.service = asked->service;
    asked->wish.instance = asked->instance;
    asked->wish.release = NULL;
    if (asked->version) {
        asked->wish.release = state_release(&hub->state, asked->service, asked->version);
        if (!asked->wish.release)
            return error_set(err, -ENOENT, "%s@%s is not known any more", asked->service, asked->version);
    }
    return deploy_open(txn, &hub->facts, &asked->wish, &times, request->answer, err);
}

/* The release is known by name; the rest is one transaction. Takes asked over. */
static void go_on(struct asked *asked)
{
    struct link *link = reply_link(asked->reply);
    struct error err;
    if (!link) { /* nobody waits for an answer any more */
        reply_error(asked->reply, ERROR_UNAVAILABLE, "the connection is gone");
        asked_free(asked);
        return;
    }
    struct session *session;
    list_for_each (session, &asked->hub->sessions, of_hub) {
        if (session->link != link)
            continue;
        if (!session_may_change(session, asked->service, &err)) {
            refuse(asked->reply, &err);
            asked_free(asked);
            return;
        }
    }
    struct request *request =
        hubd_request(asked->hub, link, asked->reply, asked->type, asked->request_id, asked->m, decide);
    request->arg = asked;
    request->free_arg = asked_free;
}

static void on_release_found(
    struct hubd *hub, const struct release *release, const struct error *err, void *arg)
{
    struct asked *asked = arg;
    if (!release) {
        refuse(asked->reply, err);
        asked_free(asked);
        return;
    }
    str_set(&asked->service, release->service);
    str_set(&asked->version, release->version);
    go_on(asked);
}

CONTROL_HANDLER(on_deploy)
{
    struct asked *asked = asked_new(owner, reply, MSG_DEPLOY, DEPLOY_KIND_DEPLOY, m);
    const struct msg_deploy *copy = asked->m;
    asked->request_id = xstrdup(copy->request_id);
    asked->wish.instances = copy->instances > 0 ? copy->instances : -1;
    asked->wish.hosts = copy->hosts;
    asked->wish.env = copy->env;
    asked->wish.no_traffic = copy->no_traffic;
    asked->wish.supersede = copy->supersede;
    asked->wish.rebuild = copy->rebuild;
    release_find(asked->hub, copy->target, on_release_found, asked);
}

/* Without a version: what served before. */
CONTROL_HANDLER(on_rollback)
{
    struct asked *asked = asked_new(owner, reply, MSG_ROLLBACK, DEPLOY_KIND_ROLLBACK, m);
    const struct msg_rollback *copy = asked->m;
    asked->request_id = xstrdup(copy->request_id);
    if (strchr(copy->target, '@')) {
        release_find(asked->hub, copy->target, on_release_found, asked);
        return;
    }
    const struct service *service = state_service(&asked->hub->state, copy->target);
    if (!service || service->n_previous == 0 || service->previous[0].n_releases == 0) {
        if (service)
            reply_error(reply, ERROR_REFUSED,
                "nothing served before what serves now; there is nothing to roll %s back to", copy->target);
        else
            reply_error(reply, ERROR_NOT_FOUND, "there is no service \"%s\"", copy->target);
        asked_free(asked);
        return;
    }
    asked->service = xstrdup(service->name);
    asked->version = xstrdup(service->previous[0].releases[0].version);
    go_on(asked);
}

static bool runs_anything(const struct hubd *hub, const char *service, const char *version)
{
    state_for_each(it, &hub->state, STATE_INSTANCE)
    {
        const struct instance *instance = it.value;
        if (strcmp(instance->service, service) == 0 && instance->wanted == WANTED_RUNNING &&
            strcmp(instance->version, version) == 0)
            return true;
    }
    return false;
}

CONTROL_HANDLER(on_scale)
{
    struct asked *asked = asked_new(owner, reply, MSG_SCALE, DEPLOY_KIND_SCALE, m);
    const struct msg_scale *copy = asked->m;
    struct error err;
    asked->request_id = xstrdup(copy->request_id);
    asked->wish.instances = copy->instances;
    asked->wish.hosts = copy->hosts;
    if (name_split_target(copy->target, &asked->service, &asked->version, &err) < 0) {
        refuse(reply, &err);
        asked_free(asked);
        return;
    }
    const struct service *service = state_service(&asked->hub->state, asked->service);
    if (!asked->version && service && service->live.n_releases > 0)
        asked->version = xstrdup(service->live.releases[0].version);
    if (!asked->version ||
        (!runs_anything(asked->hub, asked->service, asked->version) &&
            !(service && live_set_has(&service->live, asked->version)))) {
        reply_error(reply, ERROR_NOT_FOUND, "%s does not run; deploy it first", copy->target);
        asked_free(asked);
        return;
    }
    go_on(asked);
}

/* --- start, stop, restart -------------------------------------------------------------------------------- */

static int read_target(struct asked *asked, const char *target, struct error *err)
{
    const struct state *state = &asked->hub->state;
    if (name_is_instance(target) && state_instance(state, target)) {
        asked->instance = xstrdup(target);
        asked->service = xstrdup(state_instance(state, target)->service);
        return 0;
    }
    int r = name_split_target(target, &asked->service, &asked->version, err);
    if (r < 0)
        return r;
    if (!state_service(state, asked->service))
        return error_set(err, -ENOENT, "there is no service or instance \"%s\"", target);
    return 0;
}

static void ask_target(
    struct session *session, struct reply *reply, enum msg_type type, enum deploy_kind kind, const void *m)
{
    struct asked *asked = asked_new(session, reply, type, kind, m);
    const struct msg_target *copy = asked->m;
    struct error err;
    asked->request_id = xstrdup(copy->request_id);
    if (read_target(asked, copy->target, &err) < 0) {
        refuse(reply, &err);
        asked_free(asked);
    } else if (asked->version) {
        release_find(asked->hub, copy->target, on_release_found, asked);
    } else {
        go_on(asked);
    }
}

CONTROL_HANDLER(on_start)
{
    ask_target(owner, reply, MSG_START, DEPLOY_KIND_START, m);
}

CONTROL_HANDLER(on_stop)
{
    ask_target(owner, reply, MSG_STOP, DEPLOY_KIND_STOP, m);
}

CONTROL_HANDLER(on_restart)
{
    ask_target(owner, reply, MSG_RESTART, DEPLOY_KIND_RESTART, m);
}

/* --- hosts ----------------------------------------------------------------------------------------------- */

static int decide_remove(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_host_remove *m = request->m;
    struct hubd *hub = request->hub;
    enum collection collection = m->role == ROLE_ROUTER ? STATE_ROUTER : STATE_DRONE;
    _cleanup_(free_ptr) char *identity_key = xasprintf("%s/%s", role_names[m->role], m->name);
    const struct identity *identity = state_get(&hub->state, STATE_IDENTITY, identity_key);
    if (!state_get(&hub->state, collection, m->name) && (!identity || identity->revoked))
        return error_set(err, -ENOENT, "there is no %s \"%s\"", role_names[m->role], m->name);
    if (identity) {
        struct identity *edit = txn_edit(txn, STATE_IDENTITY, identity_key);
        edit->revoked = true;
    }
    txn_delete(txn, collection, m->name);
    if (collection == STATE_DRONE) {
        state_for_each(it, &hub->state, STATE_INSTANCE)
        {
            const struct instance *row = it.value;
            /* What runs gets a stand-in first. */
            if (strcmp(row->host, m->name) != 0 || row->wanted == WANTED_RUNNING)
                continue;
            struct instance *instance = txn_edit(txn, STATE_INSTANCE, it.key);
            /* What it has not finished is not waited for: its drain began long ago. */
            instance_set_wanted(instance, WANTED_RETIRED, (wall_t){ 0 });
        }
    }
    _cleanup_(free_ptr) char *text = xasprintf("%s %s is removed", role_names[m->role], m->name);
    txn_event(txn,
        &(struct msg_event){ .who = request->who, .kind = (char *)"host", .host = m->name, .text = text });
    return 0;
}

static void after_remove(struct request *request)
{
    const struct msg_host_remove *m = request->m;
    session_close_all(request->hub, (enum role)m->role, m->name, "it was removed from the fleet");
}

CONTROL_HANDLER(on_host_remove)
{
    struct session *session = owner;
    const struct msg_host_remove *remove = m;
    if (remove->role != ROLE_DRONE && remove->role != ROLE_ROUTER) {
        reply_error(reply, ERROR_FIELDS, "host_remove.role: must be drone or router");
        return;
    }
    struct request *request =
        hubd_request(session->hub, link, reply, MSG_HOST_REMOVE, remove->request_id, remove, decide_remove);
    request->after = after_remove;
}
