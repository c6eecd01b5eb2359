/* SPDX-License-Identifier: MIT */
#include "hubd/store.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"

struct commit {
    struct list of_store;
    struct store_txn txn;
    store_done_fn fn;
    void *arg;
};

void store_txn_done(struct store_txn *txn)
{
    for (size_t i = 0; i < txn->n_compares; i++)
        free(txn->compares[i].key);
    for (size_t i = 0; i < txn->n_ops; i++) {
        free(txn->ops[i].key);
        free(txn->ops[i].value);
    }
    free(txn->compares);
    free(txn->ops);
    *txn = (struct store_txn){ 0 };
}

void store_txn_compare(struct store_txn *txn, const char *key, int64_t revision)
{
    txn->compares = xgrow(txn->compares, txn->n_compares, &txn->compares_cap, sizeof(*txn->compares));
    txn->compares[txn->n_compares++] = (struct store_compare){ xstrdup(key), revision };
}

static void add_op(struct store_txn *txn, const char *key, const char *value)
{
    txn->ops = xgrow(txn->ops, txn->n_ops, &txn->ops_cap, sizeof(*txn->ops));
    txn->ops[txn->n_ops++] = (struct store_op){ xstrdup(key), xstrdup(value) };
}

void store_txn_put(struct store_txn *txn, const char *key, const char *value)
{
    add_op(txn, key, value);
}

void store_txn_delete(struct store_txn *txn, const char *key)
{
    add_op(txn, key, NULL);
}

static void start_next(struct store *store);

static void commit_free(struct commit *commit)
{
    list_remove(&commit->of_store);
    store_txn_done(&commit->txn);
    free(commit);
}

/* The turn after the backend finished: tell, then begin the next one. */
static void on_turn(void *arg)
{
    struct store *store = arg;
    struct commit *commit = list_first(&store->queue, struct commit, of_store);
    if (!commit || !store->finishing)
        return;
    store->finishing = false;
    store->in_flight = false;
    if (store->result == 0)
        store->revision = store->new_revision;

    struct error err = store->error;
    int result = store->result;
    store_done_fn fn = commit->fn;
    void *fn_arg = commit->arg;
    commit_free(commit);
    start_next(store);
    fn(result, store->revision, &err, fn_arg);
}

static void start_next(struct store *store)
{
    struct commit *commit = list_first(&store->queue, struct commit, of_store);
    if (store->in_flight || !commit)
        return;
    store->in_flight = true;
    store->ops->commit(store, &commit->txn);
}

void store_init(struct store *store, const struct store_ops *ops, struct loop *loop, int64_t revision)
{
    store->ops = ops;
    store->loop = loop;
    store->revision = revision;
    list_init(&store->queue);
    timer_init(&store->turn, loop, on_turn, store);
}

void store_done(struct store *store)
{
    while (!list_empty(&store->queue))
        commit_free(list_first(&store->queue, struct commit, of_store));
    timer_done(&store->turn);
}

void store_free(struct store *store)
{
    if (store)
        store->ops->free(store);
}

void store_finish(struct store *store, int result, int64_t revision, const struct error *err)
{
    store->result = result;
    store->new_revision = revision;
    store->error = err ? *err : (struct error){ 0 };
    store->finishing = true;
    timer_set(&store->turn, 0);
}

int64_t store_revision(const struct store *store)
{
    return store->revision;
}

bool store_is_busy(const struct store *store)
{
    return !list_empty(&store->queue);
}

int store_get(struct store *store, const char *key, store_row_fn fn, void *arg, struct error *err)
{
    return store->ops->get(store, key, fn, arg, err);
}

int store_range(struct store *store, const char *from, const char *to, bool backwards, int64_t limit,
    store_row_fn fn, void *arg, struct error *err)
{
    return store->ops->range(store, from, to, backwards, limit, fn, arg, err);
}

int store_range_prefix(struct store *store, const char *prefix, store_row_fn fn, void *arg, struct error *err)
{
    /* Keys are ASCII, so the last byte of a prefix can always be counted up. */
    _cleanup_(free_ptr) char *to = xstrdup(prefix);
    size_t len = strlen(to);
    if (len == 0)
        return store->ops->range(store, "", "\x7f", false, 0, fn, arg, err);
    to[len - 1]++;
    return store->ops->range(store, prefix, to, false, 0, fn, arg, err);
}

void store_commit(struct store *store, struct store_txn *txn, store_done_fn fn, void *arg)
{
    struct commit *commit = xcalloc(1, sizeof(*commit));
    list_init(&commit->of_store);
    commit->txn = *txn;
    *txn = (struct store_txn){ 0 };
    commit->fn = fn;
    commit->arg = arg;
    list_append(&store->queue, &commit->of_store);
    start_next(store);
}
