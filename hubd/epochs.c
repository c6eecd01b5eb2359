/* SPDX-License-Identifier: MIT */
#include "hubd/epochs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "common/table.h"
#include "hubd/command.h"
#include "hubd/deploy.h"
#include "hubd/hubd.h"
#include "hubd/instance.h"
#include "hubd/router.h"
#include "hubd/routes.h"
#include "hubd/tables.h"

enum epoch_phase { EPOCH_IDLE, EPOCH_PREPARING, EPOCH_DECIDING };

struct endpoint_change {
    char *id;
    enum endpoint_status status;
    char *address;
};

/* What the epoch changes: as intentions, applied to the rows as they are when it is decided. */
struct plan {
    char **deploys; /* to promote */
    struct endpoint_change *endpoints;
    size_t n_endpoints, endpoints_cap;
};

struct epochs {
    struct hubd *hub;
    enum epoch_phase phase;
    int64_t epoch; /* under way, or the last one tried */
    struct plan plan;
    struct tables tables;
    struct timer deadline;
    struct timer retry;
};

static void plan_done(struct plan *plan)
{
    strv_free(plan->deploys);
    for (size_t i = 0; i < plan->n_endpoints; i++) {
        free(plan->endpoints[i].id);
        free(plan->endpoints[i].address);
    }
    free(plan->endpoints);
    *plan = (struct plan){ 0 };
}

static void set_phase(struct epochs *epochs, enum epoch_phase phase)
{
    epochs->phase = phase;
    timer_clear(&epochs->deadline);
    if (phase == EPOCH_PREPARING)
        timer_set(&epochs->deadline, EPOCH_PREPARE_MS);
    if (phase == EPOCH_IDLE)
        plan_done(&epochs->plan);
}

/* --- the plan -------------------------------------------------------------------------------------------- */

static void apply_endpoint(struct txn *txn, const struct endpoint_change *change, int64_t epoch)
{
    if (!txn_get(txn, STATE_INSTANCE, change->id))
        return;
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, change->id);
    instance->endpoint = (int)change->status;
    instance->endpoint_epoch = epoch;
    str_set(&instance->address, change->address);
}

static bool is_same(const struct instance *instance, const struct instance_endpoint *wanted)
{
    if (instance->endpoint != (int)wanted->status)
        return false;
    if (wanted->status == ENDPOINT_NONE)
        return true;
    return instance->address && wanted->address && strcmp(instance->address, wanted->address) == 0;
}

static void collect_endpoints(struct hubd *hub, struct txn *scratch, int64_t epoch, struct plan *plan)
{
    wall_t now = loop_wall(hub->loop);
    state_for_each(it, &hub->state, STATE_INSTANCE)
    {
        const struct instance *instance = txn_get(scratch, STATE_INSTANCE, it.key);
        if (!instance)
            continue;
        struct instance_endpoint wanted = instance_endpoint_wanted(scratch, &hub->facts, instance, now);
        if (is_same(instance, &wanted))
            continue;
        plan->endpoints =
            xgrow(plan->endpoints, plan->n_endpoints, &plan->endpoints_cap, sizeof(*plan->endpoints));
        struct endpoint_change *change = &plan->endpoints[plan->n_endpoints++];
        *change = (struct endpoint_change){ xstrdup(it.key), wanted.status, xstrdup(wanted.address) };
        apply_endpoint(scratch, change, epoch);
    }
}

static struct deploy_times times_of(const struct hubd *hub)
{
    return (struct deploy_times){
        .now = loop_wall(hub->loop),
        .mono = loop_now(hub->loop),
        .warm_ms = hub->config.warm_ms,
        .host_wait_ms = hub->config.host_wait_ms,
    };
}

static void promote(struct hubd *hub, struct txn *txn, const char *id, int64_t epoch)
{
    struct deploy_times times = times_of(hub);
    deploy_promote(txn, &hub->facts, txn_edit(txn, STATE_DEPLOY, id), epoch, &times);
}

/* Fills the plan and writes the table that it leads to. */
static void make_plan(struct epochs *epochs)
{
    struct hubd *hub = epochs->hub;
    struct txn *scratch = txn_new(&hub->state);
    state_for_each(it, &hub->state, STATE_DEPLOY)
    {
        const struct deploy *deploy = it.value;
        if (deploy->stage == STAGE_PREPARING && deploy_is_ready(scratch, &hub->facts, deploy)) {
            strv_push(&epochs->plan.deploys, deploy->id);
            promote(hub, scratch, deploy->id, epochs->epoch);
        }
    }
    collect_endpoints(hub, scratch, epochs->epoch, &epochs->plan);
    if (epochs->plan.deploys || epochs->plan.n_endpoints > 0)
        tables_plan(&epochs->tables, scratch, state_meta(&hub->state)->epoch, epochs->epoch);
    txn_free(scratch);
}

/* --- deciding -------------------------------------------------------------------------------------------- */

static int decide_epoch(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct epochs *epochs = arg;
    char *id;
    strv_for_each (id, epochs->plan.deploys) {
        const struct deploy *deploy = txn_get(txn, STATE_DEPLOY, id);
        if (!deploy || deploy->stage != STAGE_PREPARING || !deploy_is_ready(txn, &hub->facts, deploy))
            return error_set(err, -ESTALE, "deploy %s is not ready any more", id);
    }
    strv_for_each (id, epochs->plan.deploys)
        promote(hub, txn, id, epochs->epoch);
    for (size_t i = 0; i < epochs->plan.n_endpoints; i++)
        apply_endpoint(txn, &epochs->plan.endpoints[i], epochs->epoch);
    struct meta *meta = txn_edit(txn, STATE_META, "hub");
    meta->epoch = epochs->epoch;
    return 0;
}

static void abort_on_routers(struct epochs *epochs)
{
    map_for_each (it, epochs->hub->routers)
        router_abort(it.value, epochs->epoch);
}

static void on_decided(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct epochs *epochs = arg;
    if (hub->stopping)
        return;
    if (result < 0) {
        log_warning(NULL, "epoch %" PRId64 " is dropped: %s", epochs->epoch, err->text);
        abort_on_routers(epochs);
        set_phase(epochs, EPOCH_IDLE);
        timer_set(&epochs->retry, result == -ESTALE ? 0 : EPOCH_RETRY_MS);
        return;
    }
    set_phase(epochs, EPOCH_IDLE);
    routers_pump(hub);
    hubd_reconcile_soon(hub);
}

static void decide(struct epochs *epochs)
{
    set_phase(epochs, EPOCH_DECIDING);
    hubd_command(epochs->hub, "epoch", decide_epoch, on_decided, epochs);
}

/* --- aborting -------------------------------------------------------------------------------------------- */

struct abort {
    char **deploys;
    char *why;
};

static int decide_abort(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    const struct abort *abort = arg;
    struct deploy_times times = times_of(hub);
    char *id;
    strv_for_each (id, abort->deploys) {
        const struct deploy *row = txn_get(txn, STATE_DEPLOY, id);
        if (!row || row->stage != STAGE_PREPARING)
            continue;
        struct deploy *deploy = txn_edit(txn, STATE_DEPLOY, id);
        struct msg_deploy_event event = {
            .phase = DEPLOY_SWITCH,
            .status = STEP_FAILED,
            .text = abort->why,
        };
        txn_deploy_event(txn, deploy, &event);
        _cleanup_(free_ptr) char *serving = deploy_serving(txn, deploy->service);
        deploy_fail(txn, deploy, false, &times, "%s@%s got no traffic: %s. %s%s", deploy->service,
            deploy->version, abort->why, serving ? serving : "Nothing was changed",
            serving ? " serves on, untouched." : ".");
    }
    return 0;
}

static void on_abort_done(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct abort *abort = arg;
    strv_free(abort->deploys);
    free(abort->why);
    free(abort);
    hubd_reconcile_soon(hub);
}

static void abort_epoch(struct epochs *epochs, char *why)
{
    struct abort *abort = xcalloc(1, sizeof(*abort));
    *abort = (struct abort){ steal_ptr(epochs->plan.deploys), why };
    log_warning(NULL, "epoch %" PRId64 " is aborted: %s", epochs->epoch, why);
    abort_on_routers(epochs);
    set_phase(epochs, EPOCH_IDLE);
    hubd_command(epochs->hub, "epoch_abort", decide_abort, on_abort_done, abort);
}

static void on_deadline(void *arg)
{
    struct epochs *epochs = arg;
    if (epochs->phase != EPOCH_PREPARING)
        return;
    map_for_each (it, epochs->hub->routers) {
        struct router *router = it.value;
        if (router_is_usable(router) && !router_has_prepared(router, epochs->epoch)) {
            abort_epoch(epochs,
                xasprintf(
                    "router %s did not answer within %d s", router_name(router), EPOCH_PREPARE_MS / 1000));
            return;
        }
    }
}

void epochs_router_changed(struct hubd *hub)
{
    struct epochs *epochs = hub->epochs;
    if (epochs->phase != EPOCH_PREPARING)
        return;
    bool all = true;
    map_for_each (it, hub->routers) {
        struct router *router = it.value;
        const char *refusal = router_refusal(router, epochs->epoch);
        if (refusal) {
            abort_epoch(epochs, xasprintf("router %s refuses the table: %s", router_name(router), refusal));
            return;
        }
        all &= !router_is_usable(router) || router_has_prepared(router, epochs->epoch);
    }
    if (all)
        decide(epochs);
}

/* --- beginning ------------------------------------------------------------------------------------------- */

void epochs_consider(struct hubd *hub)
{
    struct epochs *epochs = hub->epochs;
    if (epochs->phase != EPOCH_IDLE || hub->stopping || timer_is_set(&epochs->retry))
        return;
    int64_t decided = state_meta(&hub->state)->epoch;
    int64_t next = (epochs->epoch > decided ? epochs->epoch : decided) + 1;
    int64_t before = epochs->epoch;
    epochs->epoch = next;
    make_plan(epochs);
    if (!epochs->plan.deploys && epochs->plan.n_endpoints == 0) {
        epochs->epoch = before; /* nothing changes, no number is used up */
        return;
    }
    if (!epochs->plan.deploys) {
        decide(epochs);
        return;
    }
    set_phase(epochs, EPOCH_PREPARING);
    routers_pump(hub);
    epochs_router_changed(hub);
}

int64_t epochs_wanted(const struct hubd *hub)
{
    const struct epochs *epochs = hub->epochs;
    return epochs->phase == EPOCH_PREPARING || (epochs->phase == EPOCH_DECIDING && epochs->plan.deploys)
        ? epochs->epoch
        : state_meta(&hub->state)->epoch;
}

void epochs_table(const struct hubd *hub, int64_t epoch, struct strbuf *ret)
{
    if (tables_text(&hub->epochs->tables, epoch, ret))
        return;
    struct txn *view = txn_new(&hub->state);
    struct table table;
    routes_build(view, epoch, &table);
    table_print(&table, ret);
    table_clear(&table);
    txn_free(view);
}

bool epochs_diff(const struct hubd *hub, int64_t base, int64_t epoch, struct strbuf *ret)
{
    return tables_diff(&hub->epochs->tables, base, epoch, ret);
}

bool epochs_need_2(const struct hubd *hub, int64_t epoch)
{
    return tables_need_2(&hub->epochs->tables, epoch);
}

static void on_retry(void *arg)
{
    struct epochs *epochs = arg;
    hubd_reconcile_soon(epochs->hub);
}

struct epochs *epochs_new(struct hubd *hub)
{
    struct epochs *epochs = xcalloc(1, sizeof(*epochs));
    epochs->hub = hub;
    timer_init(&epochs->deadline, hub->loop, on_deadline, epochs);
    timer_init(&epochs->retry, hub->loop, on_retry, epochs);
    return epochs;
}

void epochs_free(struct epochs *epochs)
{
    if (!epochs)
        return;
    plan_done(&epochs->plan);
    tables_done(&epochs->tables);
    timer_done(&epochs->deadline);
    timer_done(&epochs->retry);
    free(epochs);
}
