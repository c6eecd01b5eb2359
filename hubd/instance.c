/* SPDX-License-Identifier: MIT */
#include "hubd/instance.h"

#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"

/* clang-format off */
static const bool may[WANTED_MAX_][WANTED_MAX_] = {
    /*                     running stopped warm   retired gone */
    [WANTED_RUNNING] = { true,   true,   true,  true,   true },
    [WANTED_STOPPED] = { true,   true,   false, true,   true },
    [WANTED_WARM]    = { true,   true,   true,  true,   true },
    [WANTED_RETIRED] = { false,  false,  false, true,   true },
    [WANTED_GONE]    = { false,  false,  false, false,  true },
};
/* clang-format on */

bool instance_set_wanted(struct instance *instance, enum wanted wanted, wall_t now)
{
    if (!may[instance->wanted][wanted])
        return false;
    if (wanted == WANTED_RETIRED && instance->wanted != WANTED_RETIRED)
        instance->retired_us = now.us;
    if (wanted != WANTED_WARM)
        instance->warm_until_us = 0;
    if (wanted != (enum wanted)instance->wanted)
        instance->hold = false;
    instance->wanted = (int)wanted;
    return true;
}

bool instance_is_ordered(const struct instance *instance)
{
    return instance && instance->wanted != WANTED_GONE;
}

void instance_order(const struct state *state, const struct instance *instance, struct order *ret)
{
    const struct release *release = state_release(state, instance->service, instance->version);
    _cleanup_(free_ptr) char *user = name_service_user(instance->service);
    struct order order = {
        .id = instance->id,
        .app = instance->app,
        .service = instance->service,
        .version = instance->version,
        .commit = instance->commit,
        .base_commit = instance->base_commit,
        .branch = instance->branch,
        .deploy = instance->deploy,
        .user = user,
        .previous = instance->previous,
        .stopped = instance->wanted == WANTED_STOPPED,
        .generation = instance->generation,
        .rebuild = instance->rebuild,
    };
    if (release)
        order.run = release->run;
    char **env = strv_copy(order.run.env);
    pairs_merge(&env, instance->env);
    order.run.env = env;
    schema_copy(&order_schema, &order, ret);
    strv_free(env);
}

uint64_t instance_order_hash(const struct state *state, const struct instance *instance)
{
    if (!instance_is_ordered(instance))
        return 0;
    struct order order;
    instance_order(state, instance, &order);
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    schema_print(&order_schema, &order, &text);
    schema_clear(&order_schema, &order);

    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

static bool drone_is_online(const struct facts *facts, const char *host)
{
    const struct drone_facts *drone = map_get(facts->drones, host);
    return drone && drone->online;
}

static bool drone_is_leaving(const struct facts *facts, const char *host)
{
    const struct drone_facts *drone = map_get(facts->drones, host);
    return drone && drone->leaving;
}

bool instance_is_healthy(const struct facts *facts, const struct instance *instance)
{
    const struct instance_state *state = facts_state(facts, instance->id);
    return state && state->phase == INSTANCE_RUNNING && state->generation >= instance->generation &&
        drone_is_online(facts, instance->host);
}

bool instance_has_failed(const struct facts *facts, const struct instance *instance)
{
    const struct instance_state *state = facts_state(facts, instance->id);
    return state && state->generation >= instance->generation &&
        (state->phase == INSTANCE_FAILED || state->phase == INSTANCE_STOPPED);
}

bool routers_have(const struct txn *view, const struct facts *facts, int64_t epoch)
{
    if (epoch == 0)
        return true; /* never in any table */
    state_for_each(it, txn_state(view), STATE_ROUTER)
    {
        if (!txn_get(view, STATE_ROUTER, it.key))
            continue;
        const struct router_facts *router = map_get(facts->routers, it.key);
        if (!router || router->acked_epoch < epoch)
            return false;
    }
    return true;
}

bool instance_is_idle(const struct facts *facts, const struct instance *instance, int64_t epoch)
{
    map_for_each (it, facts->routers) {
        const struct router_facts *router = it.value;
        if (router->online && (router->acked_epoch < epoch || router->report_epoch < epoch))
            return false;
    }
    return facts_in_flight(facts, instance->id) == 0;
}

bool instance_is_unreachable(
    const struct txn *view, const struct facts *facts, const struct instance *instance)
{
    return instance->endpoint == ENDPOINT_NONE && routers_have(view, facts, instance->endpoint_epoch);
}

static const struct release *release_of(const struct txn *view, const struct instance *instance)
{
    return state_release(txn_state(view), instance->service, instance->version);
}

static int64_t drain_end_us(const struct txn *view, const struct instance *instance)
{
    const struct release *release = release_of(view, instance);
    return instance->retired_us + (release ? release->run.stop.drain_ms : 0) * CLOCK_US_PER_MS;
}

/* When the end of a drain has to be looked at. */
static int64_t drain_wake_us(const struct txn *view, const struct instance *instance, wall_t now)
{
    int64_t end = drain_end_us(view, instance);
    return instance->endpoint == ENDPOINT_DRAINING && end > now.us ? end : 0;
}

/* On its way out: draining until nothing is in flight, or until its time is over. */
static struct instance_endpoint leaving(
    const struct txn *view, const struct facts *facts, const struct instance *instance, wall_t now)
{
    struct instance_endpoint stay = { ENDPOINT_DRAINING, instance->address };
    struct instance_endpoint out = { ENDPOINT_NONE, NULL };
    if (instance->endpoint == ENDPOINT_ACTIVE)
        return stay;
    if (instance->endpoint == ENDPOINT_NONE)
        return out;
    if (!routers_have(view, facts, instance->endpoint_epoch))
        return stay;
    if (instance_is_idle(facts, instance, instance->endpoint_epoch) || now.us >= drain_end_us(view, instance))
        return out;
    return stay;
}

/* A new instance gets no request before its deploy has all it needs. */
static bool is_waiting_for_deploy(const struct txn *view, const struct instance *instance)
{
    const struct deploy *deploy = txn_get(view, STATE_DEPLOY, instance->deploy);
    if (!deploy || instance->endpoint != ENDPOINT_NONE)
        return false;
    if (deploy->stage != STAGE_STARTING && deploy->stage != STAGE_PREPARING)
        return false;
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (deploy->parts[i].fresh && strcmp(deploy->parts[i].instance, instance->id) == 0)
            return true;
    return false;
}

struct instance_endpoint instance_endpoint_wanted(
    const struct txn *view, const struct facts *facts, const struct instance *instance, wall_t now)
{
    struct instance_endpoint none = { ENDPOINT_NONE, NULL };
    struct instance_endpoint as_is = { instance->endpoint, instance->address };
    const struct release *release = release_of(view, instance);
    if (!release || !release->run.port || instance->wanted == WANTED_GONE ||
        instance->wanted == WANTED_STOPPED)
        return none;
    if (instance->hold || instance->wanted == WANTED_RETIRED || drone_is_leaving(facts, instance->host))
        return leaving(view, facts, instance, now);
    if (is_waiting_for_deploy(view, instance))
        return none;

    const struct instance_state *state = facts_state(facts, instance->id);
    if (!drone_is_online(facts, instance->host) || !state) {
        /* Not knowing is no reason to take it out: routers see for themselves. It goes when another one
         * stands in for it. */
        const struct instance *other = txn_get(view, STATE_INSTANCE, instance->replaced_by);
        return other && other->endpoint == ENDPOINT_ACTIVE ? none : as_is;
    }
    if (!instance_is_healthy(facts, instance) || !state->address)
        return none;
    return (struct instance_endpoint){ ENDPOINT_ACTIVE, state->address };
}

/* A lost host is back. The stand-in stays if it is healthy, and this one is surplus; if it failed, it goes. */
static void step_found_again(
    struct txn *txn, const struct facts *facts, const struct instance *row, wall_t now)
{
    const struct instance *other = txn_get(txn, STATE_INSTANCE, row->replaced_by);
    const char *surplus = NULL;
    if (other && instance_is_healthy(facts, other))
        surplus = row->id;
    else if (instance_is_healthy(facts, row) && (!other || instance_has_failed(facts, other)))
        surplus = row->replaced_by;
    else
        return;
    if (surplus != row->id) {
        struct instance *stays = txn_edit(txn, STATE_INSTANCE, row->id);
        free(steal_ptr(stays->replaced_by));
    }
    if (!txn_get(txn, STATE_INSTANCE, surplus))
        return;
    instance_set_wanted(txn_edit(txn, STATE_INSTANCE, surplus), WANTED_RETIRED, now);
}

/* Retired: once no router can send to it, its order goes. */
static int64_t step_retired(
    struct txn *txn, const struct facts *facts, const struct instance *row, wall_t now)
{
    if (instance_is_unreachable(txn, facts, row)) {
        instance_set_wanted(txn_edit(txn, STATE_INSTANCE, row->id), WANTED_GONE, now);
        return 0;
    }
    return drain_wake_us(txn, row, now);
}

/* No order any more: the row goes when the drone has nothing of that name. */
static void step_gone(struct txn *txn, const struct facts *facts, const struct instance *row)
{
    const struct drone_facts *drone = map_get(facts->drones, row->host);
    bool host_is_known = txn_get(txn, STATE_DRONE, row->host) != NULL;
    const struct instance_facts *known = map_get(facts->instances, row->id);
    bool has_order = known && known->known_order != 0;
    if (!host_is_known ||
        (drone && drone->online && drone->reported && !has_order && !facts_state(facts, row->id)))
        txn_delete(txn, STATE_INSTANCE, row->id);
}

int64_t instance_step(struct txn *txn, const struct facts *facts, const char *id, wall_t now)
{
    const struct instance *row = txn_get(txn, STATE_INSTANCE, id);
    if (!row)
        return 0;
    switch ((enum wanted)row->wanted) {
    case WANTED_RUNNING:
        if (row->replaced_by && (drone_is_online(facts, row->host) || !txn_get(txn, STATE_DRONE, row->host)))
            step_found_again(txn, facts, row, now);
        return row->hold ? drain_wake_us(txn, row, now) : 0;
    case WANTED_WARM:
        if (now.us < row->warm_until_us)
            return row->warm_until_us;
        instance_set_wanted(txn_edit(txn, STATE_INSTANCE, id), WANTED_RETIRED, now);
        return 0;
    case WANTED_RETIRED:
        return step_retired(txn, facts, row, now);
    case WANTED_GONE:
        step_gone(txn, facts, row);
        return 0;
    case WANTED_STOPPED:
    case WANTED_MAX_:
        break;
    }
    return 0;
}
