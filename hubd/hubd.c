/* SPDX-License-Identifier: MIT */
#include "hubd/hubd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/daemon.h"
#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/secret.h"
#include "hubd/ca.h"
#include "hubd/command.h"
#include "hubd/command_queue.h"
#include "hubd/deploy.h"
#include "hubd/drone.h"
#include "hubd/epochs.h"
#include "hubd/events.h"
#include "hubd/instance.h"
#include "hubd/lost.h"
#include "hubd/router.h"
#include "hubd/session.h"
#include "hubd/store.h"
#include "hubd/streams.h"

#define HOUSEKEEPING_MS (10 * 60 * 1000)
#define FLEET_BYTES     8 /* of a fleet's id, without a CA that has one */

static void on_reconcile_timer(void *arg);
static void on_housekeeping(void *arg);
static void on_quiet(void *arg);

static void free_drone(void *p)
{
    drone_free(p);
}

static void free_router(void *p)
{
    router_free(p);
}

struct hubd *hubd_new(struct loop *loop, struct hubd_config *config, struct store *store)
{
    struct hubd *hub = xcalloc(1, sizeof(*hub));
    hub->loop = loop;
    hub->config = *config;
    *config = (struct hubd_config){ 0 };
    hub->store = store;
    state_init(&hub->state);
    facts_init(&hub->facts);
    hub->drones = map_new(free_drone);
    hub->routers = map_new(free_router);
    list_init(&hub->sessions);
    list_init(&hub->streams);
    hub->commands = command_queue_new(hub);
    hub->epochs = epochs_new(hub);
    timer_init(&hub->reconcile_timer, loop, on_reconcile_timer, hub);
    timer_init(&hub->housekeeping, loop, on_housekeeping, hub);
    timer_init(&hub->quiet, loop, on_quiet, hub);
    return hub;
}

void hubd_free(struct hubd *hub)
{
    if (!hub)
        return;
    hub->stopping = true;
    while (!list_empty(&hub->sessions))
        session_free(list_first(&hub->sessions, struct session, of_hub));
    streams_free_all(hub);
    command_queue_free(steal_ptr(hub->commands));
    epochs_free(steal_ptr(hub->epochs));
    map_free(steal_ptr(hub->drones));
    map_free(steal_ptr(hub->routers));
    timer_done(&hub->reconcile_timer);
    timer_done(&hub->housekeeping);
    timer_done(&hub->quiet);
    state_done(&hub->state);
    facts_done(&hub->facts);
    store_free(steal_ptr(hub->store));
    config_clear(&hubd_options, &hub->config);
    free(hub);
}

/* --- loading --------------------------------------------------------------------------------------------- */

struct loading {
    struct state *state;
    struct error err;
    int result;
};

static bool load_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    struct loading *loading = arg;
    loading->result = state_load_row(loading->state, key, value, len, &loading->err);
    return loading->result == 0;
}

static int load_state(struct hubd *hub, struct error *err)
{
    struct loading loading = { .state = &hub->state };
    for (int i = 0; i < STATE_MAX_; i++) {
        int r = store_range_prefix(hub->store, state_collections[i].prefix, load_row, &loading, err);
        if (r < 0)
            return r;
        if (loading.result < 0) {
            *err = loading.err;
            return loading.result;
        }
    }
    hub->state.revision = store_revision(hub->store);
    return 0;
}

static int decide_first_start(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct meta *meta = txn_edit(txn, STATE_META, "hub");
    if (meta->format != 0)
        return 0;
    meta->format = STATE_FORMAT;
    meta->fleet = hub->ca ? xstrdup(ca_fleet(hub->ca)) : random_hex(FLEET_BYTES);
    txn_event(txn,
        &(struct msg_event){ .who = (char *)"hub",
            .kind = (char *)"hub",
            .text = (char *)"first start, nothing is known yet" });
    return 0;
}

int hubd_start(struct hubd *hub, struct error *err)
{
    int r = load_state(hub, err);
    if (r == 0)
        r = events_start(hub, err);
    if (r < 0)
        return r;
    hubd_command(hub, "first_start", decide_first_start, NULL, NULL);
    drones_start(hub);
    routers_start(hub);
    timer_set(&hub->housekeeping, HOUSEKEEPING_MS);
    hubd_reconcile_soon(hub);
    return 0;
}

void hubd_stop(struct hubd *hub)
{
    hub->stopping = true;
    struct session *session;
    list_for_each (session, &hub->sessions, of_hub) {
        link_notify(
            session->link, MSG_GOODBYE, &(struct msg_goodbye){ .reason = (char *)"the hub is stopping" });
        link_close(session->link, "the hub is stopping");
    }
}

static void on_quiet(void *arg)
{
    struct hubd *hub = arg;
    void (*fn)(void *) = steal_ptr(hub->on_quiet);
    if (fn)
        fn(hub->on_quiet_arg);
}

void hubd_session_ended(struct hubd *hub)
{
    if (hub->on_quiet && list_empty(&hub->sessions))
        timer_set(&hub->quiet, 0);
}

void hubd_when_quiet(struct hubd *hub, int64_t at_most_ms, void (*fn)(void *arg), void *arg)
{
    hub->on_quiet = fn;
    hub->on_quiet_arg = arg;
    timer_set(&hub->quiet, list_empty(&hub->sessions) ? 0 : at_most_ms);
}

void hubd_reconfigure(struct hubd *hub, struct hubd_config *config)
{
    hub->config.warm_ms = config->warm_ms;
    hub->config.grace_ms = config->grace_ms;
    hub->config.host_wait_ms = config->host_wait_ms;
    hub->config.history_days = config->history_days;
    hub->config.debug = config->debug;
    log_set_level(config->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    config_clear(&hubd_options, config);
    hubd_reconcile_soon(hub);
}

/* --- going on -------------------------------------------------------------------------------------------- */

static int64_t sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* Everything that may have to go on, in one transaction. */
static int decide_reconcile(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct deploy_times times = {
        .now = loop_wall(hub->loop),
        .mono = loop_now(hub->loop),
        .warm_ms = hub->config.warm_ms,
        .host_wait_ms = hub->config.host_wait_ms,
    };
    hub->reconcile_queued = false;
    int64_t wake_us = 0;
    state_for_each(it, &hub->state, STATE_DEPLOY)
    {
        const struct deploy *deploy = it.value;
        if (!deploy_stage_is_open(deploy->stage))
            continue;
        wake_us = sooner(wake_us, deploy_step(txn, &hub->facts, it.key, &times));
        streams_build_output(hub, deploy);
    }
    state_for_each(it, &hub->state, STATE_INSTANCE) wake_us =
        sooner(wake_us, instance_step(txn, &hub->facts, it.key, times.now));
    wake_us = sooner(wake_us, lost_step(txn, &hub->facts, hub->config.grace_ms, &times));

    if (wake_us == 0) {
        timer_clear(&hub->reconcile_timer);
    } else {
        int64_t in_ms = (wake_us - times.now.us + CLOCK_US_PER_MS - 1) / CLOCK_US_PER_MS;
        timer_set(&hub->reconcile_timer, in_ms > 0 ? in_ms : 1);
    }
    return 0;
}

static void on_reconciled(struct hubd *hub, int result, const struct error *err, void *arg)
{
    if (hub->stopping)
        return;
    if (result < 0) {
        timer_set(&hub->reconcile_timer, EPOCH_RETRY_MS);
        return;
    }
    epochs_consider(hub);
    drones_sync(hub);
}

static void on_reconcile_timer(void *arg)
{
    hubd_reconcile_soon(arg);
}

void hubd_reconcile_soon(struct hubd *hub)
{
    if (hub->reconcile_queued || hub->stopping)
        return;
    hub->reconcile_queued = true;
    hubd_command(hub, "reconcile", decide_reconcile, on_reconciled, NULL);
}

void hubd_show_status(struct hubd *hub, bool ready)
{
    size_t drones = 0, routers = 0;
    map_for_each (it, hub->facts.drones)
        drones += ((const struct drone_facts *)it.value)->online;
    map_for_each (it, hub->facts.routers)
        routers += ((const struct router_facts *)it.value)->online;
    void (*say)(const char *fmt, ...) = ready ? daemon_ready : daemon_status;
    say("%zu host%s, %zu router%s, revision %" PRId64, drones, drones == 1 ? "" : "s", routers,
        routers == 1 ? "" : "s", hub->state.revision);
}

/* Nothing needs to be known any more of instances whose rows are gone. */
static void forget_instances(struct hubd *hub, const struct txn *txn)
{
    for (size_t i = 0; i < txn_n_changes(txn); i++) {
        const struct txn_change change = txn_change(txn, i);
        if (change.collection != STATE_INSTANCE || state_instance(&hub->state, change.key))
            continue;
        map_remove(hub->facts.instances, change.key);
        map_for_each (it, hub->facts.routers)
            map_remove(((struct router_facts *)it.value)->traffic, change.key);
    }
}

void hubd_committed(struct hubd *hub, const struct txn *txn)
{
    forget_instances(hub, txn);
    events_publish(hub, txn);
    if (hub->stopping)
        return;
    drones_sync(hub);
    if (txn_n_changes(txn) > 0)
        hubd_reconcile_soon(hub);
    hubd_show_status(hub, false);
}

/* --- forgetting ------------------------------------------------------------------------------------------ */

static bool add_key(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    txn_put_raw(arg, key, NULL);
    return true;
}

/* Ended deploys beyond DEPLOYS_KEPT, oldest first, with their events. */
static void forget_deploys(struct hubd *hub, struct txn *txn)
{
    size_t n = map_size(hub->state.rows[STATE_DEPLOY]);
    int64_t before = loop_wall(hub->loop).us - hub->config.history_days * 24 * 3600 * CLOCK_US_PER_S;
    while (n > 0) {
        const struct deploy *oldest = NULL;
        state_for_each(it, &hub->state, STATE_DEPLOY)
        {
            const struct deploy *deploy = it.value;
            if (!deploy_stage_is_open(deploy->stage) && txn_get(txn, STATE_DEPLOY, it.key) &&
                (!oldest || deploy->ended_us < oldest->ended_us))
                oldest = deploy;
        }
        if (!oldest || (n <= DEPLOYS_KEPT && oldest->ended_us >= before))
            return;
        _cleanup_(free_ptr) char *prefix = xasprintf("deploy_event/%s/", oldest->id);
        struct error err;
        if (store_range_prefix(hub->store, prefix, add_key, txn, &err) < 0)
            return;
        txn_delete(txn, STATE_DEPLOY, oldest->id);
        n--;
    }
}

static int decide_housekeeping(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    events_expire(hub, txn);
    forget_deploys(hub, txn);
    return 0;
}

static void on_housekeeping(void *arg)
{
    struct hubd *hub = arg;
    hubd_command(hub, "housekeeping", decide_housekeeping, NULL, NULL);
    timer_set(&hub->housekeeping, HOUSEKEEPING_MS);
}
