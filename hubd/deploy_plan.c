/* SPDX-License-Identifier: MIT */
/* Which instances a deploy keeps, which it replaces, and where new ones go. */
#include "hubd/deploy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/semver.h"
#include "common/strv.h"
#include "hubd/instance.h"
#include "hubd/place.h"

void deploy_plan_done(struct deploy_plan *plan)
{
    strv_free(plan->reuse);
    strv_free(plan->old);
    strv_free(plan->hosts);
    strv_free(plan->env);
    free(plan->replaced);
    *plan = (struct deploy_plan){ 0 };
}

static const struct instance *next_instance(const struct txn *view, struct map_iter *it)
{
    while (map_next(txn_state(view)->rows[STATE_INSTANCE], it)) {
        const struct instance *instance = txn_get(view, STATE_INSTANCE, it->key);
        if (instance)
            return instance;
    }
    return NULL;
}

static bool runs(const struct instance *instance)
{
    return instance->wanted == WANTED_RUNNING && !instance->replaced_by;
}

static bool is_of(const struct instance *instance, const char *service, const char *version)
{
    return strcmp(instance->service, service) == 0 && strcmp(instance->version, version) == 0;
}

/* Pairs in any order. */
static bool env_is_equal(char *const *a, char *const *b)
{
    if (strv_len(a) != strv_len(b))
        return false;
    for (size_t i = 0; a && a[i]; i++)
        if (!strv_contains(b, a[i]))
            return false;
    return true;
}

static const struct live_set *live_of(const struct txn *view, const char *service)
{
    static const struct live_set none;
    const struct service *row = txn_get(view, STATE_SERVICE, service);
    return row ? &row->live : &none;
}

static int64_t count_live(const struct txn *view, const char *service)
{
    int64_t n = 0;
    const struct live_set *live = live_of(view, service);
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));)
        n += runs(instance) && strcmp(instance->service, service) == 0 &&
            live_set_has(live, instance->version);
    return n;
}

static int64_t count_release(const struct txn *view, const struct release *release)
{
    int64_t n = 0;
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));)
        n += runs(instance) && is_of(instance, release->service, release->version);
    return n;
}

static int64_t wanted_count(const struct txn *view, const struct deploy_wish *wish)
{
    if (wish->instances >= 0)
        return wish->instances;
    if (wish->hosts && *wish->hosts)
        return (int64_t)strv_len(wish->hosts);
    int64_t n = wish->no_traffic ? count_release(view, wish->release) : count_live(view, wish->service);
    if (n == 0)
        n = wish->release->instances;
    return n > 0 ? n : 1;
}

/* Whether an instance of the release can serve the wish as it is. */
static bool is_reusable(const struct facts *facts, const struct deploy_wish *wish,
    const struct instance *instance, char *const *env)
{
    if (wish->rebuild || instance->hold || instance->replaced_by)
        return false;
    if (instance->wanted != WANTED_RUNNING && instance->wanted != WANTED_WARM)
        return false;
    if (wish->kind == DEPLOY_KIND_DEPLOY && !env_is_equal(instance->env, env))
        return false;
    if (wish->hosts && *wish->hosts && !strv_contains(wish->hosts, instance->host))
        return false;
    /* A warm one must prove itself; a running one may be on a host that is away for a moment. */
    if (instance->wanted == WANTED_WARM)
        return instance_is_healthy(facts, instance);
    return !instance_has_failed(facts, instance);
}

static void take_reusable(const struct txn *view, const struct facts *facts, const struct deploy_wish *wish,
    enum wanted wanted, struct deploy_plan *plan)
{
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));) {
        if ((int64_t)strv_len(plan->reuse) >= plan->wanted)
            return;
        if (instance->wanted == (int)wanted && is_of(instance, wish->service, wish->release->version) &&
            is_reusable(facts, wish, instance, plan->env))
            strv_push(&plan->reuse, instance->id);
    }
}

/* Running ones that this deploy replaces: other copies of the release, and what is live. */
static void take_old(const struct txn *view, const struct deploy_wish *wish, struct deploy_plan *plan)
{
    const struct live_set *live = live_of(view, wish->service);
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));) {
        if (strcmp(instance->service, wish->service) != 0 || strv_contains(plan->reuse, instance->id))
            continue;
        bool same = strcmp(instance->version, wish->release->version) == 0;
        bool is_up = instance->wanted == WANTED_RUNNING || instance->wanted == WANTED_STOPPED;
        if (is_up && (same || (plan->promote && live_set_has(live, instance->version))))
            strv_push(&plan->old, instance->id);
    }
}

static void fill_host(const struct txn *view, const struct facts *facts, const struct host *row,
    const struct deploy_wish *wish, mono_t now, struct place_host *ret)
{
    const struct drone_facts *drone = map_get(facts->drones, row->name);
    *ret = (struct place_host){ .name = row->name, .problem = row->cordoned, .memory_free_bytes = -1 };
    if (drone) {
        ret->online = drone->online;
        ret->away_ms = mono_diff_ms(now, drone->since);
        if (drone->refused)
            ret->problem = drone->note;
        else if (drone->leaving && drone->online)
            ret->problem = "goes down";
        if (drone->host.memory_bytes > 0)
            ret->memory_free_bytes = drone->host.memory_free_bytes;
    }
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));) {
        if (strcmp(instance->host, row->name) != 0 || !instance_is_ordered(instance))
            continue;
        ret->n_instances++;
        ret->n_same += wish->release && is_of(instance, wish->service, wish->release->version);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int place_new(const struct txn *view, const struct facts *facts, const struct deploy_wish *wish,
    mono_t now, struct deploy_plan *plan, struct error *err)
{
    int64_t count = plan->wanted - (int64_t)strv_len(plan->reuse);
    if (count <= 0)
        return 0;
    const char **names = map_sorted_keys(txn_state(view)->rows[STATE_DRONE]);
    size_t n = 0;
    while (names[n])
        n++;
    struct place_host *hosts = xcalloc(n + 1, sizeof(*hosts));
    size_t *chosen = xcalloc((size_t)count + 1, sizeof(*chosen));
    for (size_t i = 0; i < n; i++)
        fill_host(view, facts, state_drone(txn_state(view), names[i]), wish, now, &hosts[i]);
    _cleanup_(free_ptr) char *what = xasprintf("%s@%s", wish->service, wish->release->version);
    struct place_wish place_wish = {
        .what = what,
        .count = count,
        .total = plan->wanted,
        .hosts = wish->hosts,
        .memory_bytes = wish->release->run.limits.memory_bytes,
    };
    int r = place(&place_wish, hosts, n, chosen, err);
    for (int64_t i = 0; r == 0 && i < count; i++)
        strv_push(&plan->hosts, hosts[chosen[i]].name);
    if (plan->hosts)
        qsort(plan->hosts, strv_len(plan->hosts), sizeof(*plan->hosts), by_name);
    free(hosts);
    free(chosen);
    free(names);
    return r;
}

/* The environment of new copies: what was asked for, else that of those that run. */
static void choose_env(const struct txn *view, const struct deploy_wish *wish, struct deploy_plan *plan)
{
    if (wish->kind == DEPLOY_KIND_DEPLOY) {
        plan->env = strv_copy(wish->env);
        return;
    }
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));) {
        if (is_of(instance, wish->service, wish->release->version) && instance_is_ordered(instance)) {
            plan->env = strv_copy(instance->env);
            return;
        }
    }
}

static bool is_all_as_wished(
    const struct txn *view, const struct deploy_wish *wish, const struct deploy_plan *plan)
{
    if (strv_len(plan->old) > 0 || strv_len(plan->hosts) > 0)
        return false;
    for (size_t i = 0; plan->reuse && plan->reuse[i]; i++) {
        const struct instance *instance = txn_get(view, STATE_INSTANCE, plan->reuse[i]);
        if (instance->wanted != WANTED_RUNNING)
            return false;
    }
    const struct live_set *live = live_of(view, wish->service);
    bool serves = live->n_releases == 1 && live_set_has(live, wish->release->version);
    return !plan->promote || serves;
}

int deploy_plan(const struct txn *view, const struct facts *facts, const struct deploy_wish *wish, mono_t now,
    struct deploy_plan *ret, struct error *err)
{
    struct deploy_plan plan = { 0 };
    const struct live_set *live = live_of(view, wish->service);
    plan.wanted = wanted_count(view, wish);
    plan.promote = !wish->no_traffic && wish->kind != DEPLOY_KIND_SCALE;
    if (live->n_releases > 0)
        plan.replaced = xstrdup(live->releases[0].version);
    choose_env(view, wish, &plan);
    take_reusable(view, facts, wish, WANTED_RUNNING, &plan);
    take_reusable(view, facts, wish, WANTED_WARM, &plan);
    take_old(view, wish, &plan);
    int r = place_new(view, facts, wish, now, &plan, err);
    if (r < 0) {
        deploy_plan_done(&plan);
        return r;
    }
    plan.nothing = is_all_as_wished(view, wish, &plan);
    *ret = plan;
    return 0;
}

char **deploy_targets(const struct txn *view, const struct facts *facts, const struct deploy_wish *wish)
{
    char **ids = NULL;
    const struct instance *instance;
    for (struct map_iter it = { 0 }; (instance = next_instance(view, &it));) {
        if (wish->instance && strcmp(instance->id, wish->instance) != 0)
            continue;
        if (strcmp(instance->service, wish->service) != 0)
            continue;
        if (wish->release && strcmp(instance->version, wish->release->version) != 0)
            continue;
        bool up = instance->wanted == WANTED_RUNNING || instance->wanted == WANTED_WARM;
        bool down = instance->wanted == WANTED_STOPPED || (up && instance_has_failed(facts, instance));
        if (wish->kind == DEPLOY_KIND_START ? down : up)
            strv_push(&ids, instance->id);
    }
    return ids;
}
