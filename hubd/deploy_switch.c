/* SPDX-License-Identifier: MIT */
/* The moment a release gets its traffic: the next live set, and what becomes of the instances it replaces. */
#include "hubd/deploy.h"

#include <string.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/instance.h"
#include "hubd/rollout.h"

bool deploy_is_ready(const struct txn *view, const struct facts *facts, const struct deploy *deploy)
{
    for (size_t i = 0; i < deploy->n_parts; i++) {
        const struct instance *instance = txn_get(view, STATE_INSTANCE, deploy->parts[i].instance);
        if (!instance || instance->wanted == WANTED_RETIRED || instance->wanted == WANTED_GONE ||
            !instance_is_healthy(facts, instance))
            return false;
    }
    return true;
}

static bool is_empty_live(const struct live_set *live)
{
    return live->n_releases == 0;
}

/* What served goes to the front of `previous`; older mentions of what serves now leave it. */
static void remember_live(struct service *service, const char *version)
{
    struct live_set before = service->live;
    service->live = (struct live_set){ 0 };
    struct live_set *kept = xcalloc(SERVICE_PREVIOUS_MAX, sizeof(*kept));
    size_t n = 0;
    if (!is_empty_live(&before) && !live_set_has(&before, version))
        kept[n++] = before;
    else
        schema_clear(&live_set_schema, &before);
    for (size_t i = 0; i < service->n_previous; i++) {
        if (n < SERVICE_PREVIOUS_MAX && !live_set_has(&service->previous[i], version))
            kept[n++] = service->previous[i];
        else
            schema_clear(&live_set_schema, &service->previous[i]);
    }
    free(service->previous);
    service->previous = kept;
    service->n_previous = n;
}

static void set_live(struct txn *txn, const struct deploy *deploy, const struct deploy_times *times)
{
    struct service *service = txn_edit(txn, STATE_SERVICE, deploy->service);
    struct rollout_weight all = { deploy->version, 1 };
    struct live_set next;
    rollout_next(&service->live, &all, 1, &next);
    next.since_us = times->now.us;
    next.deploy = xstrdup(deploy->id);
    remember_live(service, deploy->version);
    service->live = next;
    const struct release *release = state_release(txn_state(txn), deploy->service, deploy->version);
    if (release) {
        strv_free(service->routes);
        service->routes = strv_copy(release->routes);
        table_routes_copy(
            release->route_rules, release->n_route_rules, &service->route_rules, &service->n_route_rules);
    }
}

/* Only what was replaced last stays warm. */
static void cool_older(struct txn *txn, const struct deploy *deploy, const struct deploy_times *times)
{
    state_for_each(it, txn_state(txn), STATE_INSTANCE)
    {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, it.key);
        if (!instance || strcmp(instance->service, deploy->service) != 0 || instance->wanted != WANTED_WARM)
            continue;
        if (!deploy->replaced || strcmp(instance->version, deploy->replaced) != 0)
            deploy_retire(txn, instance->id, times);
    }
}

/* A worker takes its work itself, so an old one must not run on beside the new one. */
static bool may_stay_warm(const struct txn *txn, const struct deploy *deploy, const struct instance *row,
    const struct deploy_times *times)
{
    const struct release *release = state_release(txn_state(txn), row->service, row->version);
    return times->warm_ms > 0 && deploy->promote && row->wanted == WANTED_RUNNING && !row->replaced_by &&
        release && release->run.port && strcmp(row->version, deploy->version) != 0;
}

static void replace_old(struct txn *txn, struct deploy *deploy, const struct deploy_times *times)
{
    for (size_t i = 0; deploy->old && deploy->old[i]; i++) {
        const struct instance *row = txn_get(txn, STATE_INSTANCE, deploy->old[i]);
        if (!row)
            continue;
        if (!may_stay_warm(txn, deploy, row, times)) {
            deploy_retire(txn, row->id, times);
            continue;
        }
        struct instance *instance = txn_edit(txn, STATE_INSTANCE, row->id);
        instance_set_wanted(instance, WANTED_WARM, times->now);
        instance->warm_until_us = times->now.us + times->warm_ms * CLOCK_US_PER_MS;
        deploy->warm_until_us = instance->warm_until_us;
    }
}

void deploy_promote(struct txn *txn, const struct facts *facts, struct deploy *deploy, int64_t epoch,
    const struct deploy_times *times)
{
    for (size_t i = 0; i < deploy->n_parts; i++) {
        instance_set_wanted(
            txn_edit(txn, STATE_INSTANCE, deploy->parts[i].instance), WANTED_RUNNING, times->now);
    }
    if (deploy->promote) {
        set_live(txn, deploy, times);
        cool_older(txn, deploy, times);
    }
    replace_old(txn, deploy, times);
    deploy->finished_before = 0;
    for (size_t i = 0; deploy->old && deploy->old[i]; i++)
        deploy->finished_before += facts_in_flight(facts, deploy->old[i]);
    deploy->epoch = epoch;
    deploy->switch_us = times->now.us;
    deploy_set_stage(deploy, STAGE_SWITCHED, times, "epoch decided");
}
