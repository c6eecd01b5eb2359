/* SPDX-License-Identifier: MIT */
#include "hubd/router.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/document.h"
#include "common/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/table_diff.h"
#include "hubd/command.h"
#include "hubd/epochs.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

#define ROUTER_RETRY_MS 5000
#define TABLE_FEATURE   "table/1"
#define TABLE_2_FEATURE "table/2"

struct router {
    struct hubd *hub;
    char *name;
    struct session *session; /* weak: the session clears it */
    bool unfit;              /* it serves an epoch that this hub does not know, or reads other tables */
    bool busy;               /* a step is in flight */
    bool sent_diff;          /* in that step */
    bool wants_whole;        /* a diff was refused */
    int64_t step;            /* the epoch of that step */
    int64_t prepared;
    int64_t refused; /* the epoch it refused */
    char *refusal;
    struct timer retry;
    struct timer tell; /* the epochs of a refusal of ours */
};

void router_free(struct router *router)
{
    if (!router)
        return;
    timer_done(&router->retry);
    timer_done(&router->tell);
    free(router->refusal);
    free(router->name);
    free(router);
}

static void on_retry(void *arg)
{
    struct router *router = arg;
    router->refused = 0;
    router_pump(router);
}

static void on_tell(void *arg)
{
    struct router *router = arg;
    epochs_router_changed(router->hub);
}

static struct router *get_router(struct hubd *hub, const char *name)
{
    struct router *router = map_get(hub->routers, name);
    if (!router) {
        router = xcalloc(1, sizeof(*router));
        router->hub = hub;
        router->name = xstrdup(name);
        timer_init(&router->retry, hub->loop, on_retry, router);
        timer_init(&router->tell, hub->loop, on_tell, router);
        map_set(hub->routers, name, router);
    }
    return router;
}

void routers_start(struct hubd *hub)
{
    state_for_each(it, &hub->state, STATE_ROUTER)
    {
        get_router(hub, it.key);
        facts_router(&hub->facts, it.key)->since = loop_now(hub->loop);
    }
}

const char *router_name(const struct router *router)
{
    return router->name;
}

bool router_is_usable(const struct router *router)
{
    return router->session && !router->unfit;
}

bool router_has_prepared(const struct router *router, int64_t epoch)
{
    return router->prepared == epoch;
}

const char *router_refusal(const struct router *router, int64_t epoch)
{
    return router->refused == epoch ? router->refusal : NULL;
}

/* --- coming and going ------------------------------------------------------------------------------------ */

struct arrival {
    char *name;
    char *version; /* NULL: it left */
    char *address;
    char *text;
};

static int decide_arrival(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    const struct arrival *arrival = arg;
    if (arrival->version) {
        struct host *row = txn_edit(txn, STATE_ROUTER, arrival->name);
        if (!row->name) {
            row->name = xstrdup(arrival->name);
            row->added_us = loop_wall(hub->loop).us;
        }
        str_set(&row->version, arrival->version);
        str_set(&row->address, arrival->address);
    }
    txn_event(txn,
        &(struct msg_event){
            .who = arrival->name, .kind = (char *)"router", .host = arrival->name, .text = arrival->text });
    return 0;
}

static void on_arrival_done(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct arrival *arrival = arg;
    const struct router *router = map_get(hub->routers, arrival->name);
    /* What could not be written down is not registered: it shall come again. */
    if (result < 0 && arrival->version && router && router->session && !hub->stopping)
        session_close(router->session, "%s", err->text);
    hubd_reconcile_soon(hub);
    routers_pump(hub);
    free(arrival->name);
    free(arrival->version);
    free(arrival->address);
    free(arrival->text);
    free(arrival);
}

static void tell_arrival(struct router *router, const char *version, const char *address, char *text)
{
    struct arrival *arrival = xcalloc(1, sizeof(*arrival));
    *arrival = (struct arrival){ xstrdup(router->name), xstrdup(version), xstrdup(address), text };
    hubd_command(router->hub, "router_arrival", decide_arrival, on_arrival_done, arrival);
}

/* Whether it can be given tables at all. */
static bool is_unfit(struct link *link, const char *name, int64_t decided)
{
    const struct msg_hello *hello = link_hello(link);
    struct log_about about = { .host = name };
    if (hello->counter > decided) {
        log_error(&about,
            "this hub is older than router %s (epoch %" PRId64 " < %" PRId64 "): it gets no table", name,
            decided, hello->counter);
        return true;
    }
    if (!link_offers(link, TABLE_FEATURE)) {
        log_error(&about, "stagecoach-routerd %s on %s does not know %s: it gets no table",
            hello->version ? hello->version : "?", name, TABLE_FEATURE);
        return true;
    }
    return false;
}

void router_connected(struct session *session)
{
    struct hubd *hub = session->hub;
    const struct msg_hello *hello = link_hello(session->link);
    const struct peer *peer = link_peer(session->link);
    struct router *router = get_router(hub, peer->name);
    if (router->session) {
        struct session *before = router->session;
        router_disconnected(before, "it connected anew");
        session_free(before);
    }
    int64_t decided = state_meta(&hub->state)->epoch;
    router->session = session;
    session->router = router;
    router->unfit = is_unfit(session->link, peer->name, decided);
    router->prepared = 0;
    router->refused = 0;
    struct router_facts *facts = facts_router(&hub->facts, peer->name);
    facts->online = true;
    facts->since = loop_now(hub->loop);
    facts->seen = loop_wall(hub->loop);
    facts->acked_epoch = router->unfit ? 0 : hello->counter;
    facts->report_epoch = 0;
    /* It says anew what is in flight; one that was restarted has nothing. */
    map_for_each (it, facts->traffic)
        ((struct endpoint_traffic *)it.value)->in_flight = 0;
    const char *version = hello->version ? hello->version : "?";
    tell_arrival(router, version, peer->address,
        xasprintf("router %s is there (stagecoach-routerd %s, epoch %" PRId64 ")", peer->name, version,
            hello->counter));
}

void router_disconnected(struct session *session, const char *reason)
{
    struct hubd *hub = session->hub;
    struct router *router = session->router;
    if (!router || router->session != session)
        return;
    router->session = NULL;
    session->router = NULL;
    router->busy = router->wants_whole = false;
    router->prepared = 0;
    timer_clear(&router->retry);
    struct router_facts *facts = facts_router(&hub->facts, router->name);
    facts->online = false;
    facts->since = loop_now(hub->loop);
    if (hub->stopping)
        return;
    tell_arrival(router, NULL, NULL,
        xasprintf("router %s is away: %s", router->name, reason ? reason : "the connection ended"));
    epochs_router_changed(hub);
}

/* --- towards the wanted epoch ---------------------------------------------------------------------------- */

static void step_ended(struct router *router)
{
    router->busy = false;
    epochs_router_changed(router->hub);
    router_pump(router);
}

static void refuse(struct router *router, const char *reason)
{
    router->refused = router->step;
    free(router->refusal);
    router->refusal = xstrdup(reason ? reason : "no reason given");
    log_error((&(struct log_about){ .host = router->name }), "router %s refuses epoch %" PRId64 ": %s",
        router->name, router->step, router->refusal);
    timer_set(&router->retry, ROUTER_RETRY_MS);
}

static void on_prepared(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct router *router = arg;
    if (!router->session || result == -ECONNRESET)
        return;
    if (result == 0)
        router->prepared = router->step;
    else
        refuse(router, reason);
    step_ended(router);
}

static void on_table_sent(int result, const char *reason, void *arg)
{
    struct router *router = arg;
    if (!router->session || result == -ECONNRESET)
        return;
    if (result < 0 && router->sent_diff) {
        log_info((&(struct log_about){ .host = router->name }),
            "router %s gets the whole of epoch %" PRId64 ": %s", router->name, router->step,
            reason ? reason : "it refused the diff");
        router->wants_whole = true;
        router->busy = false;
        router_pump(router);
        return;
    }
    if (result < 0) {
        refuse(router, reason);
        step_ended(router);
        return;
    }
    router->wants_whole = false;
    struct msg_epoch m = { router->step };
    link_call(router->session->link, MSG_TABLE_PREPARE, &m, 0, on_prepared, router);
}

static void on_committed(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct router *router = arg;
    if (!router->session || result == -ECONNRESET)
        return;
    router->prepared = 0;
    if (result == 0) {
        struct router_facts *facts = facts_router(&router->hub->facts, router->name);
        facts->acked_epoch = router->step;
        hubd_reconcile_soon(router->hub);
    } else {
        refuse(router, reason);
    }
    step_ended(router);
}

static void on_aborted(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
}

void router_abort(struct router *router, int64_t epoch)
{
    if (!router->session || (router->prepared != epoch && router->step != epoch))
        return;
    struct msg_epoch m = { epoch };
    link_call(router->session->link, MSG_TABLE_ABORT, &m, 0, on_aborted, router);
    if (router->prepared == epoch)
        router->prepared = 0;
}

/* The other routers don't have what this one does not understand. */
static void refuse_too_old(struct router *router)
{
    const char *version = link_hello(router->session->link)->version;
    _cleanup_(free_ptr) char *reason =
        xasprintf("stagecoach-routerd %s there does not know rules of routes and limits of services (%s)",
            version ? version : "?", TABLE_2_FEATURE);
    refuse(router, reason);
    /* Not from within what asked for the table to be sent. */
    timer_set(&router->tell, 0);
}

static void send_table(struct router *router, int64_t epoch)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct link *link = router->session->link;
    int64_t acked = facts_router(&router->hub->facts, router->name)->acked_epoch;
    router->step = epoch;
    if (epochs_need_2(router->hub, epoch) && !link_offers(link, TABLE_2_FEATURE)) {
        refuse_too_old(router);
        return;
    }
    router->sent_diff = acked > 0 && !router->wants_whole && link_offers(link, TABLE_DIFF_FEATURE) &&
        epochs_diff(router->hub, acked, epoch, &text);
    if (!router->sent_diff)
        epochs_table(router->hub, epoch, &text);
    router->busy = true;
    document_send(link, router->sent_diff ? DOCUMENT_TABLE_DIFF : DOCUMENT_TABLE, epoch, strbuf_str(&text),
        text.len, on_table_sent, router);
}

void router_pump(struct router *router)
{
    struct hubd *hub = router->hub;
    if (!router_is_usable(router) || router->busy || hub->stopping ||
        !state_get(&hub->state, STATE_ROUTER, router->name))
        return;
    int64_t wanted = epochs_wanted(hub), decided = state_meta(&hub->state)->epoch;
    int64_t acked = facts_router(&hub->facts, router->name)->acked_epoch;
    if (router->prepared == decided && acked < decided) {
        struct msg_epoch m = { decided };
        router->busy = true;
        router->step = decided;
        link_call(router->session->link, MSG_TABLE_COMMIT, &m, 0, on_committed, router);
    } else if (acked < wanted && router->prepared != wanted && router->refused != wanted) {
        send_table(router, wanted);
    }
}

void routers_pump(struct hubd *hub)
{
    map_for_each (it, hub->routers)
        router_pump(it.value);
}

const char *router_version(const struct hubd *hub, const char *name)
{
    const struct router *router = map_get(hub->routers, name);
    return router && router->session ? link_hello(router->session->link)->version : NULL;
}

/* --- what it counts -------------------------------------------------------------------------------------- */

void on_traffic_report(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_traffic_report *m = message;
    if (!session->router)
        return;
    struct router_facts *facts = facts_router(&session->hub->facts, session->router->name);
    facts->seen = loop_wall(session->hub->loop);
    facts->report_epoch = m->epoch;
    if (m->router.interval_ms > 0) {
        schema_clear(&router_brief_schema, &facts->brief);
        schema_copy(&router_brief_schema, &m->router, &facts->brief);
    }
    for (size_t i = 0; i < m->n_endpoints; i++) {
        const struct endpoint_traffic *from = &m->endpoints[i];
        /* Only what the hub has put into a table. */
        if (!from->endpoint || !state_instance(&session->hub->state, from->endpoint))
            continue;
        struct endpoint_traffic *to = map_get(facts->traffic, from->endpoint);
        if (!to) {
            to = xcalloc(1, sizeof(*to));
            to->endpoint = xstrdup(from->endpoint);
            map_set(facts->traffic, from->endpoint, to);
        }
        char *id = to->endpoint;
        *to = *from;
        to->endpoint = id;
    }
    hubd_reconcile_soon(session->hub);
}
