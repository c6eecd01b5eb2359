/* SPDX-License-Identifier: MIT */
#include "hubd/drone.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/document.h"
#include "common/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/hubd.h"
#include "hubd/instance.h"
#include "hubd/session.h"

#define ORDERS_FEATURE "orders/1"

/* An order that is on its way. */
struct sent_order {
    char *id;
    uint64_t hash; /* 0: dropped */
};

struct drone {
    struct hubd *hub;
    char *name;
    struct session *session; /* weak: the session clears it */
    bool has_base;           /* it holds the orders of revision `acked` */
    int64_t acked;
    bool sending;
    int64_t sending_revision;
    int64_t call; /* of orders_change in flight */
    struct sent_order *sent;
    size_t n_sent, sent_cap;
    struct timer retry;
};

static void forget_sent(struct drone *drone)
{
    for (size_t i = 0; i < drone->n_sent; i++)
        free(drone->sent[i].id);
    free(steal_ptr(drone->sent));
    drone->n_sent = drone->sent_cap = 0;
    drone->sending = false;
}

void drone_free(struct drone *drone)
{
    if (!drone)
        return;
    forget_sent(drone);
    timer_done(&drone->retry);
    free(drone->name);
    free(drone);
}

static void on_retry(void *arg)
{
    drone_sync(arg);
}

static struct drone *get_drone(struct hubd *hub, const char *name)
{
    struct drone *drone = map_get(hub->drones, name);
    if (!drone) {
        drone = xcalloc(1, sizeof(*drone));
        drone->hub = hub;
        drone->name = xstrdup(name);
        timer_init(&drone->retry, hub->loop, on_retry, drone);
        map_set(hub->drones, name, drone);
    }
    return drone;
}

void drones_start(struct hubd *hub)
{
    state_for_each(it, &hub->state, STATE_DRONE)
    {
        get_drone(hub, it.key);
        facts_drone(&hub->facts, it.key)->since = loop_now(hub->loop);
    }
}

const char *drone_name(const struct drone *drone)
{
    return drone->name;
}

struct link *drone_link(struct hubd *hub, const char *name)
{
    struct drone *drone = map_get(hub->drones, name);
    return drone && drone->session ? drone->session->link : NULL;
}

/* --- coming and going ------------------------------------------------------------------------------------ */

struct arrival {
    char *name;
    char *address;
    char *version;
    char *text;
};

static void arrival_free(struct arrival *arrival)
{
    free(arrival->name);
    free(arrival->address);
    free(arrival->version);
    free(arrival->text);
    free(arrival);
}

static int decide_arrival(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    const struct arrival *arrival = arg;
    if (arrival->version) {
        struct host *host = txn_edit(txn, STATE_DRONE, arrival->name);
        if (!host->name) {
            host->name = xstrdup(arrival->name);
            host->added_us = loop_wall(hub->loop).us;
        }
        str_set(&host->address, arrival->address);
        str_set(&host->version, arrival->version);
    }
    txn_event(txn,
        &(struct msg_event){
            .who = arrival->name, .kind = (char *)"host", .host = arrival->name, .text = arrival->text });
    return 0;
}

static void on_arrival_done(struct hubd *hub, int result, const struct error *err, void *arg)
{
    const struct arrival *arrival = arg;
    const struct drone *drone = map_get(hub->drones, arrival->name);
    /* What could not be written down gets no orders: it shall come again. */
    if (result < 0 && arrival->version && drone && drone->session && !hub->stopping)
        session_close(drone->session, "%s", err->text);
    arrival_free(arg);
    hubd_reconcile_soon(hub);
}

static char *host_part(const char *address)
{
    const char *colon = address ? strrchr(address, ':') : NULL;
    return colon ? xstrndup(address, (size_t)(colon - address)) : xstrdup(address);
}

/* Orders that the drone confirmed before: the same revision means the same orders. */
static void take_base(struct drone *drone, int64_t counter)
{
    struct hubd *hub = drone->hub;
    const struct host *row = state_drone(&hub->state, drone->name);
    int64_t revision = row ? row->orders_revision : 0;
    drone->has_base = counter == revision;
    drone->acked = counter;
    state_for_each(it, &hub->state, STATE_INSTANCE)
    {
        const struct instance *instance = it.value;
        if (strcmp(instance->host, drone->name) == 0)
            facts_instance(&hub->facts, it.key)->known_order =
                drone->has_base ? instance_order_hash(&hub->state, instance) : 0;
    }
}

/* Whether it can be given orders at all. */
static void judge(struct session *session, struct drone_facts *facts, const struct msg_hello *hello)
{
    int64_t revision = session->hub->state.revision;
    free(steal_ptr(facts->note));
    if (hello->counter > revision)
        facts->note = xasprintf("this hub is older than %s (%" PRId64 " < %" PRId64 "): it gets no orders",
            facts->name, revision, hello->counter);
    else if (!link_offers(session->link, ORDERS_FEATURE))
        facts->note = xasprintf("stagecoach-droned %s there does not know %s: it gets no orders",
            hello->version ? hello->version : "?", ORDERS_FEATURE);
    facts->refused = facts->note != NULL;
    if (facts->refused)
        log_error((&(struct log_about){ .host = facts->name }), "%s: %s", facts->name, facts->note);
}

void drone_connected(struct session *session)
{
    struct hubd *hub = session->hub;
    const struct msg_hello *hello = link_hello(session->link);
    const char *name = link_peer(session->link)->name;
    struct drone *drone = get_drone(hub, name);
    if (drone->session) {
        struct session *before = drone->session;
        drone_disconnected(before, "it connected anew");
        session_free(before);
    }
    drone->session = session;
    session->drone = drone;

    struct drone_facts *facts = facts_drone(&hub->facts, name);
    facts->online = true;
    facts->reported = false;
    facts->leaving = false;
    facts->since = loop_now(hub->loop);
    facts->seen = loop_wall(hub->loop);
    facts->counter = hello->counter;
    judge(session, facts, hello);
    take_base(drone, hello->counter);

    struct arrival *arrival = xcalloc(1, sizeof(*arrival));
    *arrival = (struct arrival){
        .name = xstrdup(name),
        .address = hello->address ? xstrdup(hello->address) : host_part(link_peer(session->link)->address),
        .version = xstrdup(hello->version ? hello->version : "?"),
        .text = xasprintf("%s is there (stagecoach-droned %s)", name, hello->version ? hello->version : "?"),
    };
    hubd_command(hub, "drone_connected", decide_arrival, on_arrival_done, arrival);
}

void drone_disconnected(struct session *session, const char *reason)
{
    struct hubd *hub = session->hub;
    struct drone *drone = session->drone;
    if (!drone || drone->session != session)
        return;
    drone->session = NULL;
    session->drone = NULL;
    forget_sent(drone);
    timer_clear(&drone->retry);
    struct drone_facts *facts = facts_drone(&hub->facts, drone->name);
    facts->online = false;
    facts->since = loop_now(hub->loop);
    if (hub->stopping)
        return;
    struct arrival *departure = xcalloc(1, sizeof(*departure));
    departure->name = xstrdup(drone->name);
    departure->text = xasprintf("%s is away: %s", drone->name, reason ? reason : "the connection ended");
    hubd_command(hub, "drone_disconnected", decide_arrival, on_arrival_done, departure);
}

/* --- orders ---------------------------------------------------------------------------------------------- */

static void note_sent(struct drone *drone, const char *id, uint64_t hash)
{
    drone->sent = xgrow(drone->sent, drone->n_sent, &drone->sent_cap, sizeof(*drone->sent));
    drone->sent[drone->n_sent++] = (struct sent_order){ xstrdup(id), hash };
    /* From now on it may have the order; that it has dropped one is only known once it says so. */
    if (hash != 0)
        facts_instance(&drone->hub->facts, id)->known_order = hash;
}

/* The drone has them on its disk. */
static void confirm(struct drone *drone)
{
    struct hubd *hub = drone->hub;
    for (size_t i = 0; i < drone->n_sent; i++)
        if (drone->sent[i].hash == 0)
            facts_instance(&hub->facts, drone->sent[i].id)->known_order = 0;
    drone->has_base = true;
    drone->acked = drone->sending_revision;
    facts_drone(&hub->facts, drone->name)->counter = drone->acked;
    forget_sent(drone);
    hubd_reconcile_soon(hub);
    drone_sync(drone);
}

static void on_orders_answered(struct drone *drone, int result, const char *reason)
{
    struct drone_facts *facts = facts_drone(&drone->hub->facts, drone->name);
    if (result == 0) {
        if (!facts->refused)
            free(steal_ptr(facts->note));
        confirm(drone);
        return;
    }
    forget_sent(drone);
    drone->has_base = false; /* the next try says all of it */
    if (!drone->session || result == -ECONNRESET)
        return;
    free(facts->note);
    facts->note = xasprintf("refuses its orders: %s", reason ? reason : "no reason given");
    log_error((&(struct log_about){ .host = drone->name }), "%s %s", drone->name, facts->note);
    timer_set(&drone->retry, DRONE_RETRY_MS);
}

static void on_snapshot_done(int result, const char *reason, void *arg)
{
    on_orders_answered(arg, result, reason);
}

static void on_change_done(
    void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    on_orders_answered(arg, result, reason);
}

static const struct instance *next_of_host(const struct drone *drone, struct map_iter *it)
{
    while (map_next(drone->hub->state.rows[STATE_INSTANCE], it)) {
        const struct instance *instance = it->value;
        if (strcmp(instance->host, drone->name) == 0)
            return instance;
    }
    return NULL;
}

static void send_snapshot(struct drone *drone, int64_t revision)
{
    struct hubd *hub = drone->hub;
    struct orders orders = {
        .format = 1,
        .fleet = state_meta(&hub->state)->fleet,
        .revision = revision,
    };
    size_t cap = 0;
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_of_host(drone, &it));) {
        note_sent(drone, instance->id, instance_order_hash(&hub->state, instance));
        if (!instance_is_ordered(instance))
            continue;
        orders.orders = xgrow(orders.orders, orders.n_orders, &cap, sizeof(*orders.orders));
        instance_order(&hub->state, instance, &orders.orders[orders.n_orders++]);
    }
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    schema_print(&orders_schema, &orders, &text);
    for (size_t i = 0; i < orders.n_orders; i++)
        schema_clear(&order_schema, &orders.orders[i]);
    free(orders.orders);
    document_send(drone->session->link, DOCUMENT_ORDERS, revision, strbuf_str(&text), text.len,
        on_snapshot_done, drone);
}

static void send_change(struct drone *drone, int64_t revision)
{
    struct hubd *hub = drone->hub;
    struct msg_orders_change m = { .from_revision = drone->acked, .revision = revision };
    size_t cap = 0;
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_of_host(drone, &it));) {
        uint64_t known = facts_instance(&hub->facts, instance->id)->known_order;
        uint64_t hash = instance_order_hash(&hub->state, instance);
        if (hash == known)
            continue;
        note_sent(drone, instance->id, hash);
        if (hash == 0) {
            strv_push(&m.drop, instance->id);
            continue;
        }
        m.put = xgrow(m.put, m.n_put, &cap, sizeof(*m.put));
        instance_order(&hub->state, instance, &m.put[m.n_put++]);
    }
    drone->call = link_call(drone->session->link, MSG_ORDERS_CHANGE, &m, 0, on_change_done, drone);
    for (size_t i = 0; i < m.n_put; i++)
        schema_clear(&order_schema, &m.put[i]);
    free(m.put);
    strv_free(m.drop);
}

void drone_sync(struct drone *drone)
{
    struct hubd *hub = drone->hub;
    const struct drone_facts *facts = facts_drone(&hub->facts, drone->name);
    const struct host *row = state_drone(&hub->state, drone->name);
    if (!row || !drone->session || !facts->reported || facts->refused || drone->sending ||
        timer_is_set(&drone->retry))
        return;
    if (drone->has_base && drone->acked == row->orders_revision)
        return;
    drone->sending = true;
    drone->sending_revision = row->orders_revision;
    if (drone->has_base)
        send_change(drone, row->orders_revision);
    else
        send_snapshot(drone, row->orders_revision);
}

void drones_sync(struct hubd *hub)
{
    map_for_each (it, hub->drones)
        drone_sync(it.value);
}
