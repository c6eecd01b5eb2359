/* SPDX-License-Identifier: MIT */
/* What drones say: becomes facts, and events where somebody should know. */
#include "hubd/drone.h"

#include <string.h>

#include "common/document.h"
#include "common/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

/* An instance that stopped by itself is worth an event, unless a deploy is waiting for it and tells. */
static bool is_notable(
    struct hubd *hub, const struct instance_state *before, const struct instance_state *now)
{
    bool worse = now->phase == INSTANCE_FAILED || now->phase == INSTANCE_UNHEALTHY ||
        now->phase == INSTANCE_BACKING_OFF || now->restarts > before->restarts;
    if (!worse || (now->phase == before->phase && now->restarts == before->restarts))
        return false;
    const struct instance *row = state_instance(&hub->state, now->id);
    const struct deploy *open = row ? state_open_deploy(&hub->state, row->service) : NULL;
    return row && row->wanted == WANTED_RUNNING && (!open || open->stage != STAGE_STARTING);
}

static int decide_notable(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    txn_event(txn, arg);
    return 0;
}

static void on_notable_done(struct hubd *hub, int result, const struct error *err, void *arg)
{
    schema_clear(&msg_event_schema, arg);
    free(arg);
}

static void tell_notable(struct hubd *hub, const char *host, const struct instance_state *now)
{
    struct msg_event *event = xcalloc(1, sizeof(*event));
    *event = (struct msg_event){
        .who = xstrdup(host),
        .kind = xstrdup("instance"),
        .app = xstrdup(now->app),
        .service = xstrdup(now->service),
        .version = xstrdup(now->version),
        .host = xstrdup(host),
        .instance = xstrdup(now->id),
        .text = xasprintf("%s@%s %s on %s: %s%s%s", now->service ? now->service : "?",
            now->version ? now->version : "?", now->id, host, instance_phase_names[now->phase],
            now->reason ? ", " : "", now->reason ? now->reason : ""),
    };
    hubd_command(hub, "instance_event", decide_notable, on_notable_done, event);
}

static void take_state(struct hubd *hub, const char *host, const struct instance_state *state)
{
    struct instance_facts *facts = facts_instance(&hub->facts, state->id);
    if (facts->state.id && is_notable(hub, &facts->state, state))
        tell_notable(hub, host, state);
    if (facts->state.id && facts->state.phase != state->phase)
        facts->before = facts->state.phase;
    schema_clear(&instance_state_schema, &facts->state);
    schema_copy(&instance_state_schema, state, &facts->state);
    str_set(&facts->state.host, host);
}

/* A drone speaks for itself only. */
static bool is_of_other_host(const struct hubd *hub, const char *host, const char *id)
{
    const struct instance *row = state_instance(&hub->state, id);
    const struct instance_state *known = facts_state(&hub->facts, id);
    if (row)
        return strcmp(row->host, host) != 0;
    return known && known->host && strcmp(known->host, host) != 0;
}

static void drop_state(struct hubd *hub, const char *id)
{
    struct instance_facts *facts = map_get(hub->facts.instances, id);
    if (!facts)
        return;
    schema_clear(&instance_state_schema, &facts->state);
    facts->before = INSTANCE_PHASE_MAX_;
    if (!state_instance(&hub->state, id))
        map_remove(hub->facts.instances, id);
}

void on_instance_report(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_instance_report *m = message;
    if (!session->drone || is_of_other_host(session->hub, drone_name(session->drone), m->instance.id))
        return;
    facts_drone(&session->hub->facts, drone_name(session->drone))->seen = loop_wall(session->hub->loop);
    if (m->gone)
        drop_state(session->hub, m->instance.id);
    else
        take_state(session->hub, drone_name(session->drone), &m->instance);
    hubd_reconcile_soon(session->hub);
}

void on_host_report(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_host_report *m = message;
    if (!session->drone)
        return;
    struct drone_facts *facts = facts_drone(&session->hub->facts, drone_name(session->drone));
    facts->seen = loop_wall(session->hub->loop);
    free(facts->host.os);
    facts->host = *m;
    facts->host.os = xstrdup(m->os);
}

/* The machine of a drone goes down: its endpoints leave the table before it does. */
void on_goodbye(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_goodbye *m = message;
    if (!session->drone)
        return;
    const char *name = drone_name(session->drone);
    log_info((&(struct log_about){ .host = name }), "%s says goodbye: %s", name,
        m->reason ? m->reason : "no reason");
    facts_drone(&session->hub->facts, name)->leaving = true;
    hubd_reconcile_soon(session->hub);
}

static bool is_reported(const struct report *report, const char *id)
{
    for (size_t i = 0; i < report->n_instances; i++)
        if (strcmp(report->instances[i].id, id) == 0)
            return true;
    return false;
}

/* All there is on the host: what is not mentioned is not there. */
static void take_report(struct session *session, const struct report *report)
{
    struct hubd *hub = session->hub;
    const char *host = drone_name(session->drone);
    char **missing = NULL;
    map_for_each (it, hub->facts.instances) {
        const struct instance_facts *facts = it.value;
        if (facts->state.id && facts->state.host && strcmp(facts->state.host, host) == 0 &&
            !is_reported(report, it.key))
            strv_push(&missing, it.key);
    }
    for (size_t i = 0; missing && missing[i]; i++)
        drop_state(hub, missing[i]);
    strv_free(missing);
    for (size_t i = 0; i < report->n_instances; i++)
        if (!is_of_other_host(hub, host, report->instances[i].id))
            take_state(hub, host, &report->instances[i]);
    facts_drone(&hub->facts, host)->reported = true;
    hubd_reconcile_soon(hub);
    drone_sync(session->drone);
}

void on_document_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    struct error err;
    if (document_sink_begin(&session->sink, m, &err) < 0)
        session_close(session, "%s", err.text);
}

void on_document_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    struct error err;
    if (document_sink_part(&session->sink, m, &err) < 0)
        session_close(session, "%s", err.text);
}

void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    struct error err;
    struct report report;
    int r = document_sink_end(&session->sink, m, &err);
    if (r == 0 && (session->sink.kind != DOCUMENT_REPORT || !session->drone))
        r = error_set(&err, -1, "the hub takes reports of drones only");
    if (r == 0)
        r = schema_read(&report_schema, session->sink.text.data, session->sink.text.len, &report, &err);
    if (r < 0) {
        reply_error(reply, ERROR_FIELDS, "%s", err.text);
    } else {
        take_report(session, &report);
        schema_clear(&report_schema, &report);
        reply_ok(reply, NULL);
    }
    document_sink_done(&session->sink);
}
