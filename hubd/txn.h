/* SPDX-License-Identifier: MIT */
#pragma once

/* One transaction being put together: rows as they shall be, over the state as it is, and the events that
 * tell of it. Nothing of it is visible in the state before the store has committed it; then txn_apply moves
 * the rows in. It does not talk to the store itself: command.c does. Pure. */

#include "common/clock.h"
#include "hubd/state.h"

struct store_txn;
struct txn;

struct txn *txn_new(const struct state *state);
void txn_free(struct txn *txn);

const struct state *txn_state(const struct txn *txn);
/* The revision that the store will have once this is committed. */
int64_t txn_revision(const struct txn *txn);
bool txn_is_empty(const struct txn *txn);

/* The row to change in place: a copy of what is (or of what this transaction already made of it); a new,
 * zeroed row if there is none (fill in what the key says). Valid until the transaction is freed. */
void *txn_edit(struct txn *txn, enum collection collection, const char *key);
void txn_delete(struct txn *txn, enum collection collection, const char *key);
/* The row as this transaction leaves it, NULL if absent then. */
const void *txn_get(const struct txn *txn, enum collection collection, const char *key);
/* The keys that it changes or deletes in a collection, in order of first mention. */
struct txn_change {
    enum collection collection;
    const char *key;
    const void *before; /* NULL: new */
    const void *after;  /* NULL: deleted */
};
size_t txn_n_changes(const struct txn *txn);
struct txn_change txn_change(const struct txn *txn, size_t index);

/* Tells something: stored in the same transaction, published once it is committed. seq and at_us are filled
 * in when it is committed; strings are copied. */
void txn_event(struct txn *txn, const struct msg_event *event);
/* The same for the people who watch one deploy; counts deploy->events up. */
void txn_deploy_event(struct txn *txn, struct deploy *deploy, const struct msg_deploy_event *event);
size_t txn_n_events(const struct txn *txn);
const struct msg_event *txn_get_event(const struct txn *txn, size_t index);
size_t txn_n_deploy_events(const struct txn *txn);
const struct msg_deploy_event *txn_get_deploy_event(const struct txn *txn, size_t index);

/* A key outside the collections (request ids). value NULL: deleted. */
void txn_put_raw(struct txn *txn, const char *store_key, const char *value);

/* What the store is to write; first_seq numbers the events. Rows that end as they were are left out. */
void txn_to_store(struct txn *txn, int64_t first_seq, wall_t now, struct store_txn *ret);
/* Once committed: the rows become the state's. */
void txn_apply(struct txn *txn, struct state *state, int64_t revision);
