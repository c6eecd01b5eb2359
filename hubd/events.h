/* SPDX-License-Identifier: MIT */
#pragma once

/* What happened: kept in the store (written by txn.c in the transaction that made it happen), logged, and sent
 * to those who watch. A watcher first gets what is stored behind the number it names, then what comes; one that
 * cannot keep up is dropped with a notice. Two kinds: events of the hub (monitor, history), and the steps of
 * one deploy (deploy_watch). */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"

#define HISTORY_LIMIT_DEFAULT 50
#define SUBSCRIPTIONS_MAX     64 /* of one link */

struct hubd;
struct reply;
struct session;
struct txn;

/* Finds the number of the newest event stored. */
_must_check_ int events_start(struct hubd *hub, struct error *err);
/* Reserves n numbers and returns the first. */
int64_t events_next_seq(struct hubd *hub, size_t n);
/* Tells what a transaction brought; it is committed. */
void events_publish(struct hubd *hub, const struct txn *txn);

/* Each keeps the reply until the watch ends. */
void events_monitor(struct session *session, const struct msg_monitor *m, struct reply *reply);
void events_watch_deploy(struct session *session, const struct msg_deploy_watch *m, struct reply *reply);
/* Build output of an instance, for those who watch its deploy and asked for it. Not stored. */
void events_deploy_output(
    struct hubd *hub, const char *deploy, const char *host, const char *instance, char **lines);
bool events_is_output_wanted(const struct hubd *hub, const char *deploy);

void events_history(struct hubd *hub, const struct msg_history_query *m, struct reply *reply);
/* Watches of a session that is gone. */
void events_drop_session(struct session *session);
/* Forgets what is older than the configuration says, some at a time. */
void events_expire(struct hubd *hub, struct txn *txn);
