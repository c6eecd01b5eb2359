/* SPDX-License-Identifier: MIT */
#include "hubd/events.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/deploy.h"
#include "hubd/hubd.h"
#include "hubd/session.h"
#include "hubd/store.h"
#include "hubd/txn.h"

#define EXPIRE_AT_A_TIME 200

struct subscription {
    struct list of_session;
    struct reply *reply;
    char *deploy; /* NULL: events of the hub */
    char *target; /* service; NULL: all */
    bool output;
};

static bool take_seq(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    *(int64_t *)arg = (int64_t)strtoull(key + strlen("event/"), NULL, 16);
    return false;
}

int events_start(struct hubd *hub, struct error *err)
{
    return store_range(hub->store, "event/", "event0", true, 1, take_seq, &hub->last_event, err);
}

int64_t events_next_seq(struct hubd *hub, size_t n)
{
    int64_t first = hub->last_event + 1;
    hub->last_event += (int64_t)n;
    return first;
}

/* --- watching -------------------------------------------------------------------------------------------- */

static void subscription_free(struct subscription *sub)
{
    list_remove(&sub->of_session);
    free(sub->deploy);
    free(sub->target);
    free(sub);
}

static bool event_matches(const struct msg_event *event, const char *target)
{
    if (!target)
        return true;
    return (event->service && strcmp(event->service, target) == 0) ||
        (event->app && strcmp(event->app, target) == 0) || (event->host && strcmp(event->host, target) == 0);
}

/* False when the subscription is gone: its peer takes too long to read. */
static bool send(struct session *session, struct subscription *sub, enum msg_type type, const void *m)
{
    if (link_is_congested(session->link)) {
        reply_error(
            sub->reply, ERROR_BUSY, "you read too slowly: events were dropped, ask again from the last one");
        subscription_free(sub);
        return false;
    }
    link_notify(session->link, type, m);
    return true;
}

static void end_watch(struct hubd *hub, struct subscription *sub, const struct deploy *deploy)
{
    struct msg_deploy_result result;
    deploy_result(deploy, loop_wall(hub->loop), &result);
    reply_ok(sub->reply, &result);
    subscription_free(sub);
}

static void log_event(const struct msg_event *event)
{
    log_info((&(struct log_about){ .host = event->host,
                 .app = event->app,
                 .service = event->service,
                 .version = event->version,
                 .instance = event->instance,
                 .deploy = event->deploy }),
        "%s%s%s", event->who && strcmp(event->who, "hub") != 0 ? event->who : "",
        event->who && strcmp(event->who, "hub") != 0 ? ": " : "", event->text ? event->text : event->kind);
}

static void publish_to(struct session *session, const struct txn *txn)
{
    struct hubd *hub = session->hub;
    struct subscription *sub, *tmp;
    list_for_each_safe (sub, tmp, &session->subscriptions, of_session) {
        bool alive = true;
        for (size_t i = 0; alive && !sub->deploy && i < txn_n_events(txn); i++) {
            const struct msg_event *event = txn_get_event(txn, i);
            if (event_matches(event, sub->target))
                alive = send(session, sub, MSG_EVENT, event);
        }
        for (size_t i = 0; alive && sub->deploy && i < txn_n_deploy_events(txn); i++) {
            const struct msg_deploy_event *event = txn_get_deploy_event(txn, i);
            if (strcmp(event->deploy, sub->deploy) == 0)
                alive = send(session, sub, MSG_DEPLOY_EVENT, event);
        }
        const struct deploy *deploy = alive && sub->deploy ? state_deploy(&hub->state, sub->deploy) : NULL;
        if (deploy && !deploy_stage_is_open(deploy->stage))
            end_watch(hub, sub, deploy);
    }
}

void events_publish(struct hubd *hub, const struct txn *txn)
{
    for (size_t i = 0; i < txn_n_events(txn); i++)
        log_event(txn_get_event(txn, i));
    struct session *session;
    list_for_each (session, &hub->sessions, of_hub)
        publish_to(session, txn);
}

static struct subscription *subscribe(struct session *session, struct reply *reply)
{
    size_t n = 0;
    struct subscription *other;
    list_for_each (other, &session->subscriptions, of_session)
        n++;
    if (n >= SUBSCRIPTIONS_MAX) {
        reply_error(reply, ERROR_BUSY, "this connection watches %d things already", SUBSCRIPTIONS_MAX);
        return NULL;
    }
    struct subscription *sub = xcalloc(1, sizeof(*sub));
    sub->reply = reply;
    list_init(&sub->of_session);
    list_append(&session->subscriptions, &sub->of_session);
    return sub;
}

struct replay {
    struct session *session;
    const struct schema *schema;
    enum msg_type type;
    const char *target;
    bool is_event;
};

static bool replay_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    struct replay *replay = arg;
    union {
        struct msg_event event;
        struct msg_deploy_event deploy_event;
    } m;
    if (schema_read(replay->schema, value, len, &m, NULL) < 0)
        return true;
    if (!replay->is_event || event_matches(&m.event, replay->target))
        link_notify(replay->session->link, replay->type, &m);
    schema_clear(replay->schema, &m);
    return link_output_bytes(replay->session->link) < LINK_OUTPUT_MAX / 2;
}

void events_monitor(struct session *session, const struct msg_monitor *m, struct reply *reply)
{
    struct hubd *hub = session->hub;
    struct subscription *sub = subscribe(session, reply);
    if (!sub)
        return;
    str_set(&sub->target, m->target);
    if (m->after < 0)
        return;
    struct replay replay = { session, &msg_event_schema, MSG_EVENT, m->target, true };
    _cleanup_(free_ptr) char *from = xasprintf("event/%016" PRIx64, (uint64_t)m->after + 1);
    struct error err;
    if (store_range(hub->store, from, "event0", false, 0, replay_row, &replay, &err) < 0) {
        reply_error(reply, ERROR_UNAVAILABLE, "%s", err.text);
        subscription_free(sub);
    }
}

void events_watch_deploy(struct session *session, const struct msg_deploy_watch *m, struct reply *reply)
{
    struct hubd *hub = session->hub;
    const struct deploy *deploy = state_deploy(&hub->state, m->deploy);
    if (!deploy) {
        reply_error(reply, ERROR_NOT_FOUND, "there is no deploy \"%s\"", m->deploy);
        return;
    }
    struct subscription *sub = subscribe(session, reply);
    if (!sub)
        return;
    str_set(&sub->deploy, m->deploy);
    sub->output = m->output;

    struct replay replay = { session, &msg_deploy_event_schema, MSG_DEPLOY_EVENT, NULL, false };
    int64_t after = m->after > 0 ? m->after : 0;
    _cleanup_(free_ptr) char *from = xasprintf("deploy_event/%s/%08" PRIx64, m->deploy, (uint64_t)after + 1);
    _cleanup_(free_ptr) char *to = xasprintf("deploy_event/%s0", m->deploy);
    struct error err;
    if (store_range(hub->store, from, to, false, 0, replay_row, &replay, &err) < 0) {
        reply_error(reply, ERROR_UNAVAILABLE, "%s", err.text);
        subscription_free(sub);
    } else if (!deploy_stage_is_open(deploy->stage)) {
        end_watch(hub, sub, deploy);
    } else if (sub->output) {
        hubd_reconcile_soon(hub);
    }
}

bool events_is_output_wanted(const struct hubd *hub, const char *deploy)
{
    const struct session *session;
    const struct subscription *sub;
    list_for_each (session, &hub->sessions, of_hub)
        list_for_each (sub, &session->subscriptions, of_session)
            if (sub->output && sub->deploy && strcmp(sub->deploy, deploy) == 0)
                return true;
    return false;
}

void events_deploy_output(
    struct hubd *hub, const char *deploy, const char *host, const char *instance, char **lines)
{
    struct msg_deploy_event event = {
        .deploy = (char *)deploy,
        .at_us = loop_wall(hub->loop).us,
        .phase = DEPLOY_BUILD,
        .status = STEP_OUTPUT,
        .host = (char *)host,
        .instance = (char *)instance,
        .lines = lines,
    };
    struct session *session;
    list_for_each (session, &hub->sessions, of_hub) {
        struct subscription *sub, *tmp;
        list_for_each_safe (sub, tmp, &session->subscriptions, of_session) {
            /* Output may be lost to a slow reader; steps may not. */
            if (sub->output && sub->deploy && strcmp(sub->deploy, deploy) == 0 &&
                !link_is_congested(session->link))
                link_notify(session->link, MSG_DEPLOY_EVENT, &event);
        }
    }
}

void events_drop_session(struct session *session)
{
    struct subscription *sub, *tmp;
    list_for_each_safe (sub, tmp, &session->subscriptions, of_session) {
        reply_error(sub->reply, ERROR_UNAVAILABLE, "the connection is closing");
        subscription_free(sub);
    }
}

/* --- looking back ---------------------------------------------------------------------------------------- */

struct history {
    struct msg_history answer;
    size_t cap;
    int64_t limit;
    const char *target;
};

static bool history_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    struct history *history = arg;
    struct msg_event event;
    if (schema_read(&msg_event_schema, value, len, &event, NULL) < 0)
        return true;
    if (!event_matches(&event, history->target)) {
        schema_clear(&msg_event_schema, &event);
        return true;
    }
    struct msg_history *answer = &history->answer;
    answer->events = xgrow(answer->events, answer->n_events, &history->cap, sizeof(*answer->events));
    answer->events[answer->n_events++] = event;
    return (int64_t)answer->n_events < history->limit;
}

void events_history(struct hubd *hub, const struct msg_history_query *m, struct reply *reply)
{
    struct history history = {
        .limit = m->limit > 0 && m->limit < PAGE_MAX ? m->limit : HISTORY_LIMIT_DEFAULT,
        .target = m->target,
    };
    _cleanup_(free_ptr) char *to =
        m->before > 0 ? xasprintf("event/%016" PRIx64, (uint64_t)m->before) : xstrdup("event0");
    struct error err;
    if (store_range(hub->store, "event/", to, true, 0, history_row, &history, &err) < 0)
        reply_error(reply, ERROR_UNAVAILABLE, "%s", err.text);
    else
        reply_ok(reply, &history.answer);
    for (size_t i = 0; i < history.answer.n_events; i++)
        schema_clear(&msg_event_schema, &history.answer.events[i]);
    free(history.answer.events);
}

struct expiry {
    struct txn *txn;
    int64_t before_us;
    int n;
};

/* The same member in events and requests. */
struct row_time {
    int64_t at_us;
};
/* clang-format off */
static const struct field row_time_fields[] = {
    F_INT(struct row_time, at_us, 0, 0, INT64_MAX),
};
/* clang-format on */
static const struct schema row_time_schema = SCHEMA("row", struct row_time, row_time_fields, false);

static bool expire_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    struct expiry *expiry = arg;
    struct row_time row;
    if (schema_read(&row_time_schema, value, len, &row, NULL) < 0 || row.at_us >= expiry->before_us)
        return strncmp(key, "event/", strlen("event/")) != 0; /* those are in order of time */
    txn_put_raw(expiry->txn, key, NULL);
    return ++expiry->n < EXPIRE_AT_A_TIME;
}

void events_expire(struct hubd *hub, struct txn *txn)
{
    const int64_t day_us = 24 * 3600 * CLOCK_US_PER_S;
    int64_t now = loop_wall(hub->loop).us;
    struct expiry events = { txn, now - hub->config.history_days * day_us, 0 };
    struct expiry requests = { txn, now - REQUEST_ID_DAYS * day_us, 0 };
    struct error err;
    if (store_range_prefix(hub->store, "event/", expire_row, &events, &err) < 0 ||
        store_range_prefix(hub->store, "request/", expire_row, &requests, &err) < 0)
        log_warning(NULL, "can't look for old events: %s", err.text);
}
