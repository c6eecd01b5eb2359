/* SPDX-License-Identifier: MIT */
#include "hubd/deploy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/instance.h"
#include "hubd/routes.h"

/* --- stages ---------------------------------------------------------------------------------------------- */

/* clang-format off */
static const bool may[STAGE_MAX_][STAGE_MAX_] = {
    /*                        start  prep   switch drain  done   fail   revert incompl */
    [STAGE_STARTING]      = { false, true,  false, false, true,  true,  true,  false },
    [STAGE_PREPARING]     = { false, false, true,  false, false, true,  true,  false },
    [STAGE_SWITCHED]      = { false, false, false, true,  true,  false, false, true },
    [STAGE_DRAINING]      = { false, false, false, false, true,  true,  false, false },
};
/* clang-format on */

void deploy_set_stage(
    struct deploy *deploy, enum deploy_stage stage, const struct deploy_times *times, const char *reason)
{
    if (!may[deploy->stage][stage]) {
        log_error((&(struct log_about){ .deploy = deploy->id, .service = deploy->service }),
            "deploy %s can't go from %s to %s (%s)", deploy->id, deploy_stage_names[deploy->stage],
            deploy_stage_names[stage], reason);
        return;
    }
    log_debug((&(struct log_about){ .deploy = deploy->id, .service = deploy->service }),
        "deploy %s: %s → %s (%s)", deploy->id, deploy_stage_names[deploy->stage], deploy_stage_names[stage],
        reason);
    deploy->stage = (int)stage;
    deploy->stage_us = times->now.us;
}

static void tell(struct txn *txn, const struct deploy *deploy, const char *who, const char *text)
{
    txn_event(txn,
        &(struct msg_event){
            .who = (char *)who,
            .kind = (char *)"deploy",
            .app = deploy->app,
            .service = deploy->service,
            .version = deploy->version,
            .deploy = deploy->id,
            .text = (char *)text,
        });
}

static void end_with(struct txn *txn, struct deploy *deploy, enum deploy_stage stage,
    const struct deploy_times *times, const char *fmt, va_list args)
{
    struct error text; /* only for its capped buffer */
    error_vset(&text, -1, fmt, args);
    str_set(&deploy->text, text.text);
    deploy_set_stage(deploy, stage, times, text.text);
    deploy->ended_us = times->now.us;
    _cleanup_(free_ptr) char *line =
        xasprintf("deploy %s %s: %s", deploy->id, deploy_stage_names[stage], deploy->text);
    tell(txn, deploy, "hub", line);
}

void deploy_end(struct txn *txn, struct deploy *deploy, enum deploy_stage stage,
    const struct deploy_times *times, const char *text_fmt, ...)
{
    va_list args;
    va_start(args, text_fmt);
    end_with(txn, deploy, stage, times, text_fmt, args);
    va_end(args);
}

void deploy_retire(struct txn *txn, const char *id, const struct deploy_times *times)
{
    if (!txn_get(txn, STATE_INSTANCE, id))
        return;
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, id);
    if (instance->wanted == WANTED_GONE || instance->wanted == WANTED_RETIRED)
        return;
    bool in_table = instance->endpoint != ENDPOINT_NONE || instance->endpoint_epoch > 0;
    instance_set_wanted(instance, in_table ? WANTED_RETIRED : WANTED_GONE, times->now);
}

void deploy_fail(struct txn *txn, struct deploy *deploy, bool reverted, const struct deploy_times *times,
    const char *why_fmt, ...)
{
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (deploy->parts[i].fresh)
            deploy_retire(txn, deploy->parts[i].instance, times);
    va_list args;
    va_start(args, why_fmt);
    end_with(txn, deploy, reverted ? STAGE_REVERTED : STAGE_FAILED, times, why_fmt, args);
    va_end(args);
}

void deploy_result(const struct deploy *deploy, wall_t now, struct msg_deploy_result *ret)
{
    static const int outcomes[STAGE_MAX_] = {
        [STAGE_DONE] = OUTCOME_DONE,
        [STAGE_FAILED] = OUTCOME_FAILED,
        [STAGE_REVERTED] = OUTCOME_REVERTED,
        [STAGE_INCOMPLETE] = OUTCOME_INCOMPLETE,
    };
    int64_t end_us = deploy->ended_us ? deploy->ended_us : now.us;
    *ret = (struct msg_deploy_result){
        .deploy = deploy->id,
        .outcome = outcomes[deploy->stage],
        .service = deploy->service,
        .version = deploy->version,
        .text = deploy->text,
        .lines = deploy->lines,
        .elapsed_ms = (end_us - deploy->created_us) / CLOCK_US_PER_MS,
    };
}

/* --- opening --------------------------------------------------------------------------------------------- */

static char *new_id(const struct txn *txn, enum collection collection, const char *prefix, size_t n_bytes)
{
    for (;;) {
        _cleanup_(free_ptr) char *hex = random_hex(n_bytes);
        char *id = xasprintf("%s%s", prefix, hex);
        if (!txn_get(txn, collection, id))
            return id;
        free(id);
    }
}

/* Newest version of a service that some instance runs or that is live. */
static bool is_met(const struct txn *txn, const char *name, const char *range)
{
    const struct service *service = txn_get(txn, STATE_SERVICE, name);
    for (size_t i = 0; service && i < service->live.n_releases; i++)
        if (semver_matches(range, service->live.releases[i].version) == 1)
            return true;
    return false;
}

static void add_missing(struct strbuf *sb, const struct txn *txn, const char *name, const char *range)
{
    strbuf_addf(sb, "\n  %s %s is missing: ", name, *range ? range : "*");
    const struct service *service = txn_get(txn, STATE_SERVICE, name);
    if (strncmp(name, "config:", strlen("config:")) == 0)
        strbuf_addf(sb, "no configuration \"%s\" is known", name + strlen("config:"));
    else if (!service)
        strbuf_addf(sb, "no service \"%s\" was ever pushed", name);
    else if (service->live.n_releases == 0)
        strbuf_addf(sb, "%s does not run", name);
    else
        strbuf_addf(sb, "%s@%s serves", name, service->live.releases[0].version);
}

static int check_depends(const struct txn *txn, const struct release *release, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf missing = STRBUF_INIT;
    for (size_t i = 0; release->depends && release->depends[i]; i++) {
        const char *pair = release->depends[i], *equals = strchr(pair, '=');
        if (!equals)
            continue;
        _cleanup_(free_ptr) char *name = xstrndup(pair, (size_t)(equals - pair));
        if (!is_met(txn, name, equals + 1))
            add_missing(&missing, txn, name, equals + 1);
    }
    if (missing.len == 0)
        return 0;
    return error_set(err, -EDQUOT, "%s@%s depends on what does not serve here:%s\nNothing was changed.",
        release->service, release->version, strbuf_str(&missing));
}

static int check_routes(const struct txn *txn, const struct release *release, struct error *err)
{
    for (size_t i = 0; release->routes && release->routes[i]; i++) {
        const char *owner = routes_owner(txn, release->routes[i], release->service);
        if (owner)
            return error_set(err, -EBUSY, "the route \"%s\" of %s belongs to %s; nothing was changed",
                release->routes[i], release->service, owner);
    }
    return 0;
}

/* One open deploy per service. */
static int make_way(
    struct txn *txn, const struct deploy_wish *wish, const struct deploy_times *times, struct error *err)
{
    const struct deploy *open = state_open_deploy(txn_state(txn), wish->service);
    if (!open)
        return 0;
    if (!wish->supersede)
        return error_set(err, -EBUSY,
            "%s %s of %s is under way (%s); wait for it (stagecoachctl wait %s), or revert it with "
            "--supersede",
            deploy_kind_names[open->kind], open->id, open->service, deploy_stage_names[open->stage],
            open->id);
    struct deploy *edit = txn_edit(txn, STATE_DEPLOY, open->id);
    if (edit->stage == STAGE_STARTING || edit->stage == STAGE_PREPARING)
        deploy_fail(txn, edit, true, times, "superseded by %s; %s was not promoted", wish->who,
            edit->version ? edit->version : edit->service);
    else
        deploy_end(txn, edit, STAGE_DONE, times, "decided; what was replaced still drains");
    return 0;
}

static void add_part(struct deploy *deploy, const char *id, const char *host, bool fresh)
{
    deploy->parts = xrealloc(deploy->parts, (deploy->n_parts + 1) * sizeof(*deploy->parts));
    deploy->parts[deploy->n_parts++] = (struct deploy_part){ xstrdup(id), xstrdup(host), fresh, 0 };
}

/* A commit of the same app that the host has already. */
static const char *base_commit(const struct txn *txn, const char *host, const struct release *release)
{
    const struct instance *best = NULL;
    state_for_each(it, txn_state(txn), STATE_INSTANCE)
    {
        const struct instance *instance = txn_get(txn, STATE_INSTANCE, it.key);
        if (instance && strcmp(instance->host, host) == 0 && strcmp(instance->app, release->app) == 0 &&
            strcmp(instance->commit, release->commit) != 0 &&
            (!best || instance->created_us > best->created_us))
            best = instance;
    }
    return best ? best->commit : NULL;
}

static void add_instance(struct txn *txn, struct deploy *deploy, const struct deploy_wish *wish,
    const struct deploy_plan *plan, const char *host, const struct deploy_times *times)
{
    const struct release *release = wish->release;
    _cleanup_(free_ptr) char *id = new_id(txn, STATE_INSTANCE, "", NAME_INSTANCE_LEN / 2);
    const char *base = base_commit(txn, host, release);
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, id);
    *instance = (struct instance){
        .id = xstrdup(id),
        .host = xstrdup(host),
        .app = xstrdup(release->app),
        .service = xstrdup(release->service),
        .version = xstrdup(release->version),
        .commit = xstrdup(release->commit),
        .base_commit = xstrdup(base),
        .branch = xstrdup(release->branch),
        .previous = xstrdup(plan->replaced),
        .deploy = xstrdup(deploy->id),
        .env = strv_copy(plan->env),
        .rebuild = wish->rebuild,
        .wanted = WANTED_RUNNING,
        .created_us = times->now.us,
    };
    add_part(deploy, id, host, true);
}

static struct deploy *new_deploy(
    struct txn *txn, const struct deploy_wish *wish, const struct deploy_times *times)
{
    _cleanup_(free_ptr) char *id = new_id(txn, STATE_DEPLOY, "d-", 2);
    const struct service *service = txn_get(txn, STATE_SERVICE, wish->service);
    const struct release *release = wish->release;
    struct deploy *deploy = txn_edit(txn, STATE_DEPLOY, id);
    *deploy = (struct deploy){
        .id = xstrdup(id),
        .kind = wish->kind,
        .stage = STAGE_STARTING,
        .service = xstrdup(wish->service),
        .app = xstrdup(release ? release->app
                : service      ? service->app
                               : NULL),
        .version = xstrdup(release ? release->version : NULL),
        .commit = xstrdup(release ? release->commit : NULL),
        .subject = xstrdup(release ? release->subject : NULL),
        .who = xstrdup(wish->who),
        .no_traffic = wish->no_traffic,
        .created_us = times->now.us,
        .stage_us = times->now.us,
    };
    return deploy;
}

static void answer(const struct deploy *deploy, const struct deploy_wish *wish, struct msg_operation *ret)
{
    *ret = (struct msg_operation){
        .deploy = xstrdup(deploy->id),
        .service = xstrdup(deploy->service),
        .version = xstrdup(deploy->version),
        .commit = xstrdup(deploy->commit),
        .subject = xstrdup(deploy->subject),
    };
    for (size_t i = 0; i < deploy->n_parts; i++)
        if (deploy->parts[i].fresh)
            strv_push(&ret->hosts, deploy->parts[i].host);
    ret->text = xasprintf("%s %s  %s%s%s", deploy_kind_names[deploy->kind], deploy->id, deploy->service,
        deploy->version ? "@" : "", deploy->version ? deploy->version : "");
}

static void tell_opened(struct txn *txn, const struct deploy *deploy)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "%s %s: %s%s%s", deploy_kind_names[deploy->kind], deploy->id, deploy->service,
        deploy->version ? "@" : "", deploy->version ? deploy->version : "");
    for (size_t i = 0; i < deploy->n_parts; i++)
        strbuf_addf(&text, "%s%s", i == 0 ? " on " : ", ", deploy->parts[i].host);
    tell(txn, deploy, deploy->who, strbuf_str(&text));
}

static int check_traffic(const struct txn *txn, const struct deploy_wish *wish, struct error *err)
{
    const struct service *service = txn_get(txn, STATE_SERVICE, wish->service);
    if (!wish->no_traffic || !service || !live_set_has(&service->live, wish->release->version))
        return 0;
    return error_set(err, -EDQUOT, "%s@%s has traffic already; to change how many run: stagecoachctl scale",
        wish->service, wish->release->version);
}

/* deploy, rollback, scale */
static int open_release(struct txn *txn, const struct facts *facts, const struct deploy_wish *wish,
    const struct deploy_times *times, struct msg_operation *ret, struct error *err)
{
    struct deploy_plan plan;
    int r = check_traffic(txn, wish, err);
    if (r == 0)
        r = check_depends(txn, wish->release, err);
    if (r == 0 && !wish->no_traffic)
        r = check_routes(txn, wish->release, err);
    if (r == 0)
        r = deploy_plan(txn, facts, wish, times->mono, &plan, err);
    if (r < 0)
        return r;
    if (plan.nothing) {
        ret->service = xstrdup(wish->service);
        ret->version = xstrdup(wish->release->version);
        ret->commit = xstrdup(wish->release->commit);
        ret->text = xasprintf("%s@%s %s already, %" PRId64 " instance%s; nothing to do", wish->service,
            wish->release->version, plan.promote ? "serves" : "runs", plan.wanted,
            plan.wanted == 1 ? "" : "s");
        deploy_plan_done(&plan);
        return 0;
    }
    struct deploy *deploy = new_deploy(txn, wish, times);
    deploy->promote = plan.promote;
    deploy->replaced = steal_ptr(plan.replaced);
    for (size_t i = 0; plan.reuse && plan.reuse[i]; i++)
        add_part(deploy, plan.reuse[i],
            ((const struct instance *)txn_get(txn, STATE_INSTANCE, plan.reuse[i]))->host, false);
    plan.replaced = xstrdup(deploy->replaced);
    for (size_t i = 0; plan.hosts && plan.hosts[i]; i++)
        add_instance(txn, deploy, wish, &plan, plan.hosts[i], times);
    deploy->old = steal_ptr(plan.old);
    tell_opened(txn, deploy);
    answer(deploy, wish, ret);
    deploy_plan_done(&plan);
    return 0;
}

static void begin_target(
    struct txn *txn, struct deploy *deploy, const char *id, const struct deploy_times *times)
{
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, id);
    add_part(deploy, id, instance->host, false);
    if (deploy->kind == DEPLOY_KIND_START) {
        instance_set_wanted(instance, WANTED_RUNNING, times->now);
        instance->generation++;
    } else if (deploy->kind == DEPLOY_KIND_STOP) {
        instance->hold = true;
        instance->retired_us = times->now.us;
    }
}

/* start, stop, restart */
static int open_targets(struct txn *txn, const struct facts *facts, const struct deploy_wish *wish,
    const struct deploy_times *times, struct msg_operation *ret, struct error *err)
{
    char **ids = deploy_targets(txn, facts, wish);
    if (!ids) {
        ret->service = xstrdup(wish->service);
        ret->text =
            xasprintf("nothing of %s is %s; nothing to do", wish->instance ? wish->instance : wish->service,
                wish->kind == DEPLOY_KIND_START ? "stopped" : "running");
        return 0;
    }
    struct deploy *deploy = new_deploy(txn, wish, times);
    if (wish->kind == DEPLOY_KIND_STOP)
        deploy->stage = STAGE_DRAINING;
    for (size_t i = 0; ids[i]; i++)
        begin_target(txn, deploy, ids[i], times);
    tell_opened(txn, deploy);
    answer(deploy, wish, ret);
    for (size_t i = 0; ids[i]; i++)
        strv_push(&ret->hosts, deploy->parts[i].host);
    strv_free(ids);
    return 0;
}

int deploy_open(struct txn *txn, const struct facts *facts, const struct deploy_wish *wish,
    const struct deploy_times *times, struct msg_operation *ret, struct error *err)
{
    *ret = (struct msg_operation){ 0 };
    int r = make_way(txn, wish, times, err);
    if (r < 0)
        return r;
    bool of_release = wish->kind == DEPLOY_KIND_DEPLOY || wish->kind == DEPLOY_KIND_ROLLBACK ||
        wish->kind == DEPLOY_KIND_SCALE;
    if (of_release)
        return open_release(txn, facts, wish, times, ret, err);
    return open_targets(txn, facts, wish, times, ret, err);
}
