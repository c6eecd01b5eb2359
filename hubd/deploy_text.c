/* SPDX-License-Identifier: MIT */
/* What happened in a deploy, as events for those who watch it. Facts go into the text; how they are laid out is
 * the client's business. */
#include "hubd/deploy.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/instance.h"

#define TOLD(phase) (INT64_C(1) << (phase))

static char *format_size(int64_t bytes, char *buf, size_t len)
{
    if (bytes < 1000)
        snprintf(buf, len, "%" PRId64 " B", bytes);
    else if (bytes < 1000 * 1000)
        snprintf(buf, len, "%.1f kB", (double)bytes / 1e3);
    else
        snprintf(buf, len, "%.1f MB", (double)bytes / 1e6);
    return buf;
}

/* What concerns a host is told once, however many instances it gets. */
static bool told_on_host(const struct deploy *deploy, const struct deploy_part *part, enum deploy_phase phase)
{
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (strcmp(deploy->parts[i].host, part->host) == 0 && (deploy->parts[i].told & TOLD(phase)))
            return true;
    return false;
}

static void tell_fetch(
    struct txn *txn, struct deploy *deploy, struct deploy_part *part, const struct instance_state *state)
{
    bool known = state->fetch_ms >= 0 && state->phase > INSTANCE_FETCHING;
    if (!known || told_on_host(deploy, part, DEPLOY_FETCH))
        return;
    char size[32];
    _cleanup_(free_ptr) char *text = state->fetch_objects > 0
        ? xasprintf("%" PRId64 " object%s, %s", state->fetch_objects, state->fetch_objects == 1 ? "" : "s",
              format_size(state->fetch_bytes, size, sizeof(size)))
        : xstrdup("was there");
    struct msg_deploy_event event = {
        .phase = DEPLOY_FETCH,
        .status = STEP_DONE,
        .host = part->host,
        .text = text,
        .elapsed_ms = state->fetch_ms,
    };
    txn_deploy_event(txn, deploy, &event);
    part->told |= TOLD(DEPLOY_FETCH);
}

/* The step in which an instance failed, from what its drone measured and said before. */
static enum deploy_phase failed_phase(
    const struct txn *txn, const struct deploy_part *part, const struct instance_facts *facts)
{
    const struct instance_state *state = &facts->state;
    const struct instance *row = txn_get(txn, STATE_INSTANCE, part->instance);
    const struct release *release = row ? state_release(txn_state(txn), row->service, row->version) : NULL;
    bool has_build = release && release->run.build;
    bool ended = state->reason &&
        (strncmp(state->reason, "exited", 6) == 0 || strncmp(state->reason, "killed", 6) == 0);
    if (state->start_ms >= 0)
        return ended ? DEPLOY_START : DEPLOY_HEALTHY;
    if (state->fetch_ms < 0)
        return DEPLOY_FETCH;
    if (!has_build || facts->before == INSTANCE_STARTING)
        return DEPLOY_START;
    return DEPLOY_BUILD;
}

static void tell_build(
    struct txn *txn, struct deploy *deploy, struct deploy_part *part, const struct instance_facts *facts)
{
    const struct instance_state *state = &facts->state;
    bool known = state->build_ms >= 0 && state->phase > INSTANCE_BUILDING && state->build;
    bool failed = state->phase == INSTANCE_FAILED && failed_phase(txn, part, facts) == DEPLOY_BUILD;
    if (!known || failed || told_on_host(deploy, part, DEPLOY_BUILD))
        return;
    struct msg_deploy_event event = {
        .phase = DEPLOY_BUILD,
        .status = STEP_DONE,
        .host = part->host,
        .text = state->build,
        .elapsed_ms = state->build_ms,
    };
    txn_deploy_event(txn, deploy, &event);
    part->told |= TOLD(DEPLOY_BUILD);
}

static void tell_start(
    struct txn *txn, struct deploy *deploy, struct deploy_part *part, const struct instance_state *state)
{
    bool known = state->phase == INSTANCE_PROBING || state->phase == INSTANCE_RUNNING;
    if (!known || (part->told & TOLD(DEPLOY_START)))
        return;
    const char *port = state->address ? strrchr(state->address, ':') : NULL;
    struct msg_deploy_event event = {
        .phase = DEPLOY_START,
        .status = STEP_DONE,
        .host = part->host,
        .instance = part->instance,
        .text = (char *)port,
        .elapsed_ms = state->start_ms > 0 ? state->start_ms : 0,
    };
    txn_deploy_event(txn, deploy, &event);
    part->told |= TOLD(DEPLOY_START);
}

void deploy_tell_progress(
    struct txn *txn, struct deploy *deploy, struct deploy_part *part, const struct instance_facts *facts)
{
    tell_fetch(txn, deploy, part, &facts->state);
    tell_build(txn, deploy, part, facts);
    tell_start(txn, deploy, part, &facts->state);
}

void deploy_tell_failure(struct txn *txn, struct deploy *deploy, const struct deploy_part *part,
    const struct instance_facts *facts)
{
    const struct instance_state *state = &facts->state;
    struct msg_deploy_event event = {
        .phase = (int)failed_phase(txn, part, facts),
        .status = STEP_FAILED,
        .host = part->host,
        .instance = part->instance,
        .text = state->reason ? state->reason : (char *)"failed for an unknown reason",
        .lines = state->lines,
    };
    txn_deploy_event(txn, deploy, &event);
    str_set(&deploy->reason, event.text);
    _cleanup_(free_ptr) char *line = xasprintf("%s: %s", part->host, event.text);
    txn_event(txn,
        &(struct msg_event){ .who = part->host,
            .kind = (char *)"instance",
            .app = deploy->app,
            .service = deploy->service,
            .version = deploy->version,
            .host = part->host,
            .instance = part->instance,
            .deploy = deploy->id,
            .text = line });
}

void deploy_tell_healthy(struct txn *txn, const struct facts *facts, struct deploy *deploy)
{
    const struct instance *first =
        deploy->n_parts > 0 ? txn_get(txn, STATE_INSTANCE, deploy->parts[0].instance) : NULL;
    const struct release *release =
        first ? state_release(txn_state(txn), first->service, first->version) : NULL;
    int64_t elapsed = 0;
    for (size_t i = 0; i < deploy->n_parts; i++) {
        const struct instance_state *state = facts_state(facts, deploy->parts[i].instance);
        bool started = deploy->parts[i].fresh || deploy->kind == DEPLOY_KIND_START;
        if (state && started && state->healthy_ms > elapsed)
            elapsed = state->healthy_ms;
    }
    _cleanup_(free_ptr) char *text = NULL;
    const struct health_spec *health = release ? &release->run.health : NULL;
    if (health && health->kind == HEALTH_HTTP)
        text = xasprintf("%" PRId64 " of %" PRId64 " %s", health->passes, health->passes,
            health->path ? health->path : "/");
    else if (health && (health->kind == HEALTH_TCP || health->kind == HEALTH_EXEC))
        text = xasprintf(
            "%" PRId64 " of %" PRId64 " %s", health->passes, health->passes, health_kind_names[health->kind]);
    else if (health)
        text = xstrdup(health->kind == HEALTH_NOTIFY ? "said ready" : "stays up");
    struct msg_deploy_event event = {
        .phase = DEPLOY_HEALTHY,
        .status = STEP_DONE,
        .text = text,
        .elapsed_ms = elapsed,
    };
    txn_deploy_event(txn, deploy, &event);
}

char *deploy_missing_routers(const struct txn *view, const struct facts *facts, int64_t epoch)
{
    char **names = NULL;
    state_for_each(it, txn_state(view), STATE_ROUTER)
    {
        const struct router_facts *router = map_get(facts->routers, it.key);
        if (txn_get(view, STATE_ROUTER, it.key) && (!router || router->acked_epoch < epoch))
            strv_push(&names, it.key);
    }
    char *joined = names ? strv_join(names, ", ") : NULL;
    strv_free(names);
    return joined;
}

void deploy_tell_switch(struct txn *txn, const struct facts *facts, struct deploy *deploy, wall_t now)
{
    size_t all = 0, have = 0;
    state_for_each(it, txn_state(txn), STATE_ROUTER)
    {
        const struct router_facts *router = map_get(facts->routers, it.key);
        all++;
        have += router && router->acked_epoch >= deploy->epoch;
    }
    _cleanup_(free_ptr) char *text = all > 0
        ? xasprintf("epoch %" PRId64 " on %zu of %zu router%s", deploy->epoch, have, all, all == 1 ? "" : "s")
        : xasprintf("epoch %" PRId64 ", no router has joined yet", deploy->epoch);
    struct msg_deploy_event event = {
        .phase = DEPLOY_SWITCH,
        .status = have == all ? STEP_DONE : STEP_FAILED,
        .text = text,
        .elapsed_ms = (now.us - deploy->prepare_us) / CLOCK_US_PER_MS,
    };
    txn_deploy_event(txn, deploy, &event);
}

static char *clock_text(int64_t us, char *buf, size_t len)
{
    time_t seconds = (time_t)(us / CLOCK_US_PER_S);
    struct tm tm;
    if (!localtime_r(&seconds, &tm) || strftime(buf, len, "%H:%M", &tm) == 0)
        snprintf(buf, len, "?");
    return buf;
}

void deploy_tell_drain(struct txn *txn, const struct facts *facts, struct deploy *deploy)
{
    if (!deploy->old)
        return;
    int64_t left = 0, warm = 0;
    for (size_t i = 0; deploy->old[i]; i++) {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, deploy->old[i]);
        left += instance ? facts_in_flight(facts, deploy->old[i]) : 0;
        warm += instance && instance->wanted == WANTED_WARM;
    }
    int64_t finished = deploy->finished_before > left ? deploy->finished_before - left : 0;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "%s@%s: %" PRId64 " request%s finished", deploy->service,
        deploy->promote && deploy->replaced ? deploy->replaced : deploy->version, finished,
        finished == 1 ? "" : "s");
    if (left > 0)
        strbuf_addf(&text, ", %" PRId64 " still in flight", left);
    char when[16];
    if (warm > 0)
        strbuf_addf(&text, ", warm until %s (rollback is instant)",
            clock_text(deploy->warm_until_us, when, sizeof(when)));
    struct msg_deploy_event event = { .phase = DEPLOY_DRAIN, .status = STEP_DONE, .text = text.data };
    txn_deploy_event(txn, deploy, &event);
}

char *deploy_serving(const struct txn *view, const char *service)
{
    const struct service *row = txn_get(view, STATE_SERVICE, service);
    if (!row || row->live.n_releases == 0)
        return NULL;
    return xasprintf("%s@%s", service, row->live.releases[0].version);
}
