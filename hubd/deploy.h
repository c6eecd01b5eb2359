/* SPDX-License-Identifier: MIT */
#pragma once

/* One deploy, from the wish to its end: everything that changes which instances run or get traffic is one,
 * scaling and stopping too. It is a row of the state; each stage is stored before anything follows from it, so a
 * hub that restarts goes on where it was. These functions decide from state and facts and write into the
 * transaction they are given; sending orders, tables and answers is others'.
 *
 * deploy.c opens and ends; deploy_switch.c promotes; deploy_plan.c chooses instances; deploy_step.c takes a stage to the next;
 * deploy_text.c says what happened. */

#include "common/clock.h"
#include "common/messages.h"
#include "hubd/facts.h"
#include "hubd/txn.h"

#define DEPLOY_CONFIRM_MS 5000             /* routers that are there confirm a decided epoch within this */
#define DEPLOY_SLACK_MS   (10 * 60 * 1000) /* fetching and queueing, on top of the manifest's times */
#define DEPLOYS_KEPT      500              /* ended ones that are remembered */

struct deploy_times {
    wall_t now;
    mono_t mono;
    int64_t warm_ms;
    int64_t host_wait_ms;
};

/* What somebody asks for. Borrowed. */
struct deploy_wish {
    enum deploy_kind kind;
    const char *service;
    const struct release *release; /* NULL for start, stop, restart of all of a service */
    const char *instance;          /* start, stop, restart: only this one */
    int64_t instances;             /* -1: not said */
    char *const *hosts;
    char *const *env;
    bool no_traffic, supersede, rebuild;
    const char *who;
};

/* 0: it is in the transaction (or ret->deploy is NULL: nothing to do). Negative: refused with the reason; then
 * the transaction is of no use. */
_must_check_ int deploy_open(struct txn *txn, const struct facts *facts, const struct deploy_wish *wish,
    const struct deploy_times *times, struct msg_operation *ret, struct error *err);

/* Takes an open deploy as far as facts allow. Returns the wall time (µs) at which looking again may change
 * something, 0 if only events can. */
int64_t deploy_step(
    struct txn *txn, const struct facts *facts, const char *id, const struct deploy_times *times);

/* The live set becomes what the deploy wants; the replaced instances become warm or retired. For the scratch
 * table of an epoch and, once it is decided, for good. */
void deploy_promote(struct txn *txn, const struct facts *facts, struct deploy *deploy, int64_t epoch,
    const struct deploy_times *times);
/* All instances it needs are still healthy: it may be promoted. */
bool deploy_is_ready(const struct txn *view, const struct facts *facts, const struct deploy *deploy);
/* Ends it before the switch: its new instances go, nothing else changes. `reverted`: on purpose. */
void deploy_fail(struct txn *txn, struct deploy *deploy, bool reverted, const struct deploy_times *times,
    const char *why_fmt, ...) _printf_(5, 6);

/* Borrowed strings. */
void deploy_result(const struct deploy *deploy, wall_t now, struct msg_deploy_result *ret);

/* --- between the files of deploy ------------------------------------------------------------------------- */

/* The one setter of deploy->stage. */
void deploy_set_stage(
    struct deploy *deploy, enum deploy_stage stage, const struct deploy_times *times, const char *reason);
/* Stage, end, text and the event that tells of it. */
void deploy_end(struct txn *txn, struct deploy *deploy, enum deploy_stage stage,
    const struct deploy_times *times, const char *text_fmt, ...) _printf_(5, 6);

/* An instance that is not needed any more: out of the table first, if it is in it. */
void deploy_retire(struct txn *txn, const char *id, const struct deploy_times *times);

struct deploy_plan {
    char **reuse; /* ids of instances that already are what is wanted */
    char **old;   /* ids of instances that it replaces */
    char **hosts; /* one per new instance */
    char **env;   /* of the new ones */
    int64_t wanted;
    bool promote;
    bool nothing;   /* all is as wished */
    char *replaced; /* version that serves now, NULL: none */
};

_must_check_ int deploy_plan(const struct txn *view, const struct facts *facts,
    const struct deploy_wish *wish, mono_t now, struct deploy_plan *ret, struct error *err);
void deploy_plan_done(struct deploy_plan *plan);
/* Ids that start, stop and restart concern; NULL: none. Caller frees. */
char **deploy_targets(const struct txn *view, const struct facts *facts, const struct deploy_wish *wish);

/* Tells what the instance's report shows that was not told yet. */
void deploy_tell_progress(
    struct txn *txn, struct deploy *deploy, struct deploy_part *part, const struct instance_facts *facts);
void deploy_tell_failure(struct txn *txn, struct deploy *deploy, const struct deploy_part *part,
    const struct instance_facts *facts);
void deploy_tell_healthy(struct txn *txn, const struct facts *facts, struct deploy *deploy);
void deploy_tell_switch(struct txn *txn, const struct facts *facts, struct deploy *deploy, wall_t now);
void deploy_tell_drain(struct txn *txn, const struct facts *facts, struct deploy *deploy);
/* "web@0.2.2" of what serves now, or NULL. Caller frees. */
char *deploy_serving(const struct txn *view, const char *service);
/* Names of registered routers that do not serve the epoch, "r2, r3"; NULL: none. Caller frees. */
char *deploy_missing_routers(const struct txn *view, const struct facts *facts, int64_t epoch);
