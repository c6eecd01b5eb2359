/* SPDX-License-Identifier: MIT */
#include "hubd/lost.h"

#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/secret.h"
#include "common/strv.h"
#include "hubd/instance.h"
#include "hubd/place.h"

#define LOOK_AGAIN_MS     1000
#define ANSWERS_RECENT_US (10 * CLOCK_US_PER_S)

static bool is_away(const struct drone_facts *drone, int64_t grace_ms, mono_t now)
{
    return drone && !drone->online && mono_diff_ms(now, drone->since) >= grace_ms;
}

const char *lost_hold_reason(const struct txn *view, const struct facts *facts, int64_t grace_ms, mono_t now)
{
    size_t all = 0, away = 0, routers = 0, reached = 0;
    state_for_each(it, txn_state(view), STATE_DRONE)
    {
        all++;
        away += is_away(map_get(facts->drones, it.key), grace_ms, now);
    }
    state_for_each(it, txn_state(view), STATE_ROUTER)
    {
        const struct router_facts *router = map_get(facts->routers, it.key);
        routers++;
        reached += router && router->online;
    }
    if (away == 0)
        return NULL;
    if (away * 3 >= all && all > 1 && away > 1)
        return "a third of the hosts or more is away: instances are not placed elsewhere";
    if (routers > 0 && reached == 0)
        return "no router reaches this hub: instances are not placed elsewhere";
    return NULL;
}

/* Requests are answered from there: it is only the hub that does not reach the host. */
static bool still_answers(const struct facts *facts, const struct instance *instance, wall_t now)
{
    map_for_each (it, facts->routers) {
        const struct router_facts *router = it.value;
        const struct endpoint_traffic *traffic = map_get(router->traffic, instance->id);
        if (router->online && traffic && !traffic->ejected &&
            now.us - traffic->last_hit_us < ANSWERS_RECENT_US)
            return true;
    }
    return false;
}

struct hosts {
    struct place_host *v;
    size_t n;
};

static struct hosts collect_hosts(
    const struct txn *txn, const struct facts *facts, const struct instance *lost)
{
    const char **names = map_sorted_keys(txn_state(txn)->rows[STATE_DRONE]);
    struct hosts hosts = { 0 };
    while (names[hosts.n])
        hosts.n++;
    hosts.v = xcalloc(hosts.n + 1, sizeof(*hosts.v));
    for (size_t i = 0; i < hosts.n; i++) {
        const struct host *row = state_drone(txn_state(txn), names[i]);
        const struct drone_facts *drone = map_get(facts->drones, names[i]);
        hosts.v[i] =
            (struct place_host){ .name = row->name, .problem = row->cordoned, .memory_free_bytes = -1 };
        if (drone) {
            hosts.v[i].online = drone->online && !drone->refused && !drone->leaving;
            if (drone->host.memory_bytes > 0)
                hosts.v[i].memory_free_bytes = drone->host.memory_free_bytes;
        }
        state_for_each(it, txn_state(txn), STATE_INSTANCE)
        {
            const struct instance *other = txn_get(txn, STATE_INSTANCE, it.key);
            if (!other || strcmp(other->host, row->name) != 0 || !instance_is_ordered(other))
                continue;
            hosts.v[i].n_instances++;
            hosts.v[i].n_same +=
                strcmp(other->service, lost->service) == 0 && strcmp(other->version, lost->version) == 0;
        }
    }
    free(names);
    return hosts;
}

static void stand_in(struct txn *txn, const struct instance *lost, const char *host, wall_t now)
{
    _cleanup_(free_ptr) char *id = random_hex(NAME_INSTANCE_LEN / 2);
    if (txn_get(txn, STATE_INSTANCE, id))
        return; /* the next look finds another id */
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, id);
    *instance = (struct instance){
        .id = xstrdup(id),
        .host = xstrdup(host),
        .app = xstrdup(lost->app),
        .service = xstrdup(lost->service),
        .version = xstrdup(lost->version),
        .commit = xstrdup(lost->commit),
        .branch = xstrdup(lost->branch),
        .previous = xstrdup(lost->previous),
        .deploy = xstrdup(lost->deploy),
        .env = strv_copy(lost->env),
        .wanted = WANTED_RUNNING,
        .created_us = now.us,
        .replaces = xstrdup(lost->id),
    };
    struct instance *edit = txn_edit(txn, STATE_INSTANCE, lost->id);
    str_set(&edit->replaced_by, id);
    _cleanup_(free_ptr) char *text = xasprintf("%s@%s: %s on %s is lost, %s on %s takes its place",
        lost->service, lost->version, lost->id, lost->host, id, host);
    txn_event(txn,
        &(struct msg_event){ .who = (char *)"hub",
            .kind = (char *)"instance",
            .app = lost->app,
            .service = lost->service,
            .version = lost->version,
            .host = lost->host,
            .instance = id,
            .text = text });
}

static bool may_have_stand_in(const struct instance *instance)
{
    return instance->wanted == WANTED_RUNNING && !instance->replaced_by && !instance->hold;
}

static void place_stand_in(
    struct txn *txn, const struct facts *facts, const struct instance *instance, wall_t now)
{
    const struct release *release = state_release(txn_state(txn), instance->service, instance->version);
    struct hosts hosts = collect_hosts(txn, facts, instance);
    struct place_wish wish = {
        .what = instance->service, .count = 1, .memory_bytes = release ? release->run.limits.memory_bytes : 0
    };
    size_t chosen = 0;
    if (place(&wish, hosts.v, hosts.n, &chosen, NULL) == 0)
        stand_in(txn, instance, hosts.v[chosen].name, now);
    free(hosts.v);
}

/* How long until it is due; a host that was removed does not come back. */
static int64_t due_in_ms(const struct txn *txn, const struct facts *facts, const struct instance *instance,
    int64_t grace_ms, const struct deploy_times *times)
{
    if (!txn_get(txn, STATE_DRONE, instance->host))
        return 0;
    const struct drone_facts *drone = map_get(facts->drones, instance->host);
    int64_t away_ms = drone ? mono_diff_ms(times->mono, drone->since) : 0;
    if (away_ms < grace_ms)
        return grace_ms - away_ms;
    bool held = still_answers(facts, instance, times->now) ||
        lost_hold_reason(txn, facts, grace_ms, times->mono) != NULL;
    return held ? LOOK_AGAIN_MS : 0;
}

int64_t lost_step(
    struct txn *txn, const struct facts *facts, int64_t grace_ms, const struct deploy_times *times)
{
    int64_t wake_us = 0;
    state_for_each(it, txn_state(txn), STATE_INSTANCE)
    {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, it.key);
        if (!instance || !may_have_stand_in(instance))
            continue;
        const struct drone_facts *drone = map_get(facts->drones, instance->host);
        bool removed = !txn_get(txn, STATE_DRONE, instance->host);
        if (!removed && (!drone || drone->online))
            continue;
        int64_t in_ms = due_in_ms(txn, facts, instance, grace_ms, times);
        if (in_ms == 0 && state_open_deploy(txn_state(txn), instance->service))
            in_ms = LOOK_AGAIN_MS;
        if (in_ms == 0) {
            place_stand_in(txn, facts, instance, times->now);
            in_ms = LOOK_AGAIN_MS; /* there may be no room now */
        }
        int64_t at_us = times->now.us + in_ms * CLOCK_US_PER_MS;
        wake_us = wake_us == 0 || at_us < wake_us ? at_us : wake_us;
    }
    return wake_us;
}
