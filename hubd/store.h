/* SPDX-License-Identifier: MIT */
#pragma once

/* A transactional map from keys to JSON texts, with one revision that counts every commit. Writing is
 * asynchronous whatever the backend: `done` runs on a later turn, one commit is in flight at a time and others
 * wait in order. It does not know what the values mean, and it does not log. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/list.h"
#include "common/loop.h"

#define STORE_KEY_MAX   512
#define STORE_VALUE_MAX (4 * 1024 * 1024)

struct store;

/* One change; value NULL deletes (deleting what is absent is fine). Strings are owned by the txn. */
struct store_op {
    char *key;
    char *value;
};

/* Holds only if the key's revision is still this one (0: it must be absent). */
struct store_compare {
    char *key;
    int64_t revision;
};

struct store_txn {
    struct store_compare *compares;
    size_t n_compares, compares_cap;
    struct store_op *ops;
    size_t n_ops, ops_cap;
};

void store_txn_done(struct store_txn *txn);
void store_txn_compare(struct store_txn *txn, const char *key, int64_t revision);
void store_txn_put(struct store_txn *txn, const char *key, const char *value);
void store_txn_delete(struct store_txn *txn, const char *key);

/* result 0: durable, at this revision. -EAGAIN: a compare did not hold, nothing was written. Other negative
 * errno: it can't be stored now, nothing was written, err says why. */
typedef void (*store_done_fn)(int result, int64_t revision, const struct error *err, void *arg);
/* false stops. */
typedef bool (*store_row_fn)(const char *key, const char *value, size_t len, int64_t revision, void *arg);

struct store_ops {
    int (*get)(struct store *store, const char *key, store_row_fn fn, void *arg, struct error *err);
    int (*range)(struct store *store, const char *from, const char *to, bool backwards, int64_t limit,
        store_row_fn fn, void *arg, struct error *err);
    /* Synchronous or not: it calls store_finish(store, …) exactly once, now or later. */
    void (*commit)(struct store *store, const struct store_txn *txn);
    void (*free)(struct store *store);
};

/* Opens (makes) the SQLite store in the directory. -EBUSY: another hub has it. */
_must_check_ int store_sqlite_open(
    struct loop *loop, const char *directory, struct store **ret, struct error *err);

void store_free(struct store *store); /* waiting commits are forgotten: their callbacks don't run */

int64_t store_revision(const struct store *store);
bool store_is_busy(const struct store *store); /* a commit is in flight or waits */

/* 0, or -ENOENT, or another errno. The row is borrowed by fn. */
_must_check_ int store_get(
    struct store *store, const char *key, store_row_fn fn, void *arg, struct error *err);
/* Rows with from ≤ key < to in order of keys; limit 0: all. */
_must_check_ int store_range(struct store *store, const char *from, const char *to, bool backwards,
    int64_t limit, store_row_fn fn, void *arg, struct error *err);
/* All keys that begin with prefix. */
_must_check_ int store_range_prefix(
    struct store *store, const char *prefix, store_row_fn fn, void *arg, struct error *err);

/* Takes the txn over (it is empty afterwards). fn runs exactly once, never before this has returned. */
void store_commit(struct store *store, struct store_txn *txn, store_done_fn fn, void *arg);

/* --- for backends ---------------------------------------------------------------------------------------- */

/* The first member of a backend's struct. */
struct store {
    const struct store_ops *ops;
    struct loop *loop;
    int64_t revision;
    struct list queue; /* of commits; the first one is in flight */
    bool in_flight;
    bool finishing;
    struct timer turn;
    int result;
    int64_t new_revision;
    struct error error;
};

void store_init(struct store *store, const struct store_ops *ops, struct loop *loop, int64_t revision);
void store_done(struct store *store);
/* The commit in flight has ended; on success revision is the new one. The caller hears of it next turn. */
void store_finish(struct store *store, int result, int64_t revision, const struct error *err);
