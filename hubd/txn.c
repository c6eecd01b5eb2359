/* SPDX-License-Identifier: MIT */
#include "hubd/txn.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "hubd/instance.h"
#include "hubd/store.h"

struct txn_row {
    enum collection collection;
    char *key; /* its own */
    void *row; /* NULL: deleted */
};

struct txn_raw {
    char *key;
    char *value;
};

struct txn {
    const struct state *state;
    struct map *index; /* store key → struct txn_row */
    struct txn_row **rows;
    size_t n_rows, rows_cap;
    struct msg_event *events;
    size_t n_events, events_cap;
    struct msg_deploy_event *deploy_events;
    size_t n_deploy_events, deploy_events_cap;
    struct txn_raw *raws;
    size_t n_raws, raws_cap;
};

struct txn *txn_new(const struct state *state)
{
    struct txn *txn = xcalloc(1, sizeof(*txn));
    txn->state = state;
    txn->index = map_new(NULL);
    return txn;
}

static void row_drop(enum collection collection, void *row)
{
    if (!row)
        return;
    schema_clear(state_collections[collection].schema, row);
    free(row);
}

void txn_free(struct txn *txn)
{
    if (!txn)
        return;
    for (size_t i = 0; i < txn->n_rows; i++) {
        row_drop(txn->rows[i]->collection, txn->rows[i]->row);
        free(txn->rows[i]->key);
        free(txn->rows[i]);
    }
    for (size_t i = 0; i < txn->n_events; i++)
        schema_clear(&msg_event_schema, &txn->events[i]);
    for (size_t i = 0; i < txn->n_deploy_events; i++)
        schema_clear(&msg_deploy_event_schema, &txn->deploy_events[i]);
    for (size_t i = 0; i < txn->n_raws; i++) {
        free(txn->raws[i].key);
        free(txn->raws[i].value);
    }
    free(txn->rows);
    free(txn->events);
    free(txn->deploy_events);
    free(txn->raws);
    map_free(txn->index);
    free(txn);
}

const struct state *txn_state(const struct txn *txn)
{
    return txn->state;
}

int64_t txn_revision(const struct txn *txn)
{
    return txn->state->revision + 1;
}

bool txn_is_empty(const struct txn *txn)
{
    if (txn->n_events > 0 || txn->n_deploy_events > 0 || txn->n_raws > 0)
        return false;
    for (size_t i = 0; i < txn->n_rows; i++) {
        const struct txn_change change = txn_change(txn, i);
        const struct schema *schema = state_collections[change.collection].schema;
        if (!change.before != !change.after)
            return false;
        if (change.before && !schema_equal(schema, change.before, change.after))
            return false;
    }
    return true;
}

static struct txn_row *find_row(const struct txn *txn, enum collection collection, const char *key)
{
    _cleanup_(free_ptr) char *full = xasprintf("%s%s", state_collections[collection].prefix, key);
    return map_get(txn->index, full);
}

static struct txn_row *add_row(struct txn *txn, enum collection collection, const char *key)
{
    _cleanup_(free_ptr) char *full = xasprintf("%s%s", state_collections[collection].prefix, key);
    struct txn_row *row = xcalloc(1, sizeof(*row));
    row->collection = collection;
    row->key = xstrdup(key);
    txn->rows = xgrow(txn->rows, txn->n_rows, &txn->rows_cap, sizeof(struct txn_row *));
    txn->rows[txn->n_rows++] = row;
    map_set(txn->index, full, row);
    return row;
}

void *txn_edit(struct txn *txn, enum collection collection, const char *key)
{
    const struct schema *schema = state_collections[collection].schema;
    struct txn_row *row = find_row(txn, collection, key);
    const void *before = NULL;
    if (!row) {
        row = add_row(txn, collection, key);
        before = state_get(txn->state, collection, key);
    }
    if (!row->row) {
        row->row = xcalloc(1, schema->size);
        if (before)
            schema_copy(schema, before, row->row);
    }
    return row->row;
}

void txn_delete(struct txn *txn, enum collection collection, const char *key)
{
    struct txn_row *row = find_row(txn, collection, key);
    if (!row)
        row = add_row(txn, collection, key);
    row_drop(collection, steal_ptr(row->row));
}

const void *txn_get(const struct txn *txn, enum collection collection, const char *key)
{
    if (!key)
        return NULL;
    const struct txn_row *row = find_row(txn, collection, key);
    return row ? row->row : state_get(txn->state, collection, key);
}

size_t txn_n_changes(const struct txn *txn)
{
    return txn->n_rows;
}

struct txn_change txn_change(const struct txn *txn, size_t index)
{
    const struct txn_row *row = txn->rows[index];
    return (struct txn_change){
        .collection = row->collection,
        .key = row->key,
        .before = state_get(txn->state, row->collection, row->key),
        .after = row->row,
    };
}

void txn_event(struct txn *txn, const struct msg_event *event)
{
    txn->events = xgrow(txn->events, txn->n_events, &txn->events_cap, sizeof(*txn->events));
    schema_copy(&msg_event_schema, event, &txn->events[txn->n_events++]);
}

void txn_deploy_event(struct txn *txn, struct deploy *deploy, const struct msg_deploy_event *event)
{
    txn->deploy_events =
        xgrow(txn->deploy_events, txn->n_deploy_events, &txn->deploy_events_cap, sizeof(*txn->deploy_events));
    struct msg_deploy_event *copy = &txn->deploy_events[txn->n_deploy_events++];
    schema_copy(&msg_deploy_event_schema, event, copy);
    str_set(&copy->deploy, deploy->id);
    copy->seq = ++deploy->events;
}

size_t txn_n_events(const struct txn *txn)
{
    return txn->n_events;
}

const struct msg_event *txn_get_event(const struct txn *txn, size_t index)
{
    return &txn->events[index];
}

size_t txn_n_deploy_events(const struct txn *txn)
{
    return txn->n_deploy_events;
}

const struct msg_deploy_event *txn_get_deploy_event(const struct txn *txn, size_t index)
{
    return &txn->deploy_events[index];
}

void txn_put_raw(struct txn *txn, const char *store_key, const char *value)
{
    txn->raws = xgrow(txn->raws, txn->n_raws, &txn->raws_cap, sizeof(*txn->raws));
    txn->raws[txn->n_raws++] = (struct txn_raw){ xstrdup(store_key), xstrdup(value) };
}

/* The revision of a host's orders is that of the last commit that changed one of them. */
static void mark_hosts(struct txn *txn)
{
    for (size_t i = 0, n = txn->n_rows; i < n; i++) {
        const struct txn_change change = txn_change(txn, i);
        if (change.collection != STATE_INSTANCE)
            continue;
        const struct instance *before = change.before, *after = change.after;
        if (instance_order_hash(txn->state, before) == instance_order_hash(txn->state, after))
            continue;
        const char *name = after ? after->host : before->host;
        if (!txn_get(txn, STATE_DRONE, name))
            continue;
        struct host *host = txn_edit(txn, STATE_DRONE, name);
        host->orders_revision = txn_revision(txn);
    }
}

static void rows_to_store(struct txn *txn, struct store_txn *ret)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < txn->n_rows; i++) {
        const struct txn_change change = txn_change(txn, i);
        const struct collection_info *info = &state_collections[change.collection];
        if (change.before && change.after && schema_equal(info->schema, change.before, change.after))
            continue;
        _cleanup_(free_ptr) char *key = xasprintf("%s%s", info->prefix, change.key);
        if (!change.after) {
            store_txn_delete(ret, key);
            continue;
        }
        strbuf_clear(&text);
        schema_print(info->schema, change.after, &text);
        store_txn_put(ret, key, strbuf_str(&text));
    }
}

static void events_to_store(struct txn *txn, int64_t first_seq, wall_t now, struct store_txn *ret)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < txn->n_events; i++) {
        txn->events[i].seq = first_seq + (int64_t)i;
        txn->events[i].at_us = now.us;
        _cleanup_(free_ptr) char *key = xasprintf("event/%016" PRIx64, (uint64_t)txn->events[i].seq);
        strbuf_clear(&text);
        schema_print(&msg_event_schema, &txn->events[i], &text);
        store_txn_put(ret, key, strbuf_str(&text));
    }
    for (size_t i = 0; i < txn->n_deploy_events; i++) {
        struct msg_deploy_event *event = &txn->deploy_events[i];
        event->at_us = now.us;
        _cleanup_(free_ptr) char *key =
            xasprintf("deploy_event/%s/%08" PRIx64, event->deploy, (uint64_t)event->seq);
        strbuf_clear(&text);
        schema_print(&msg_deploy_event_schema, event, &text);
        store_txn_put(ret, key, strbuf_str(&text));
    }
}

void txn_to_store(struct txn *txn, int64_t first_seq, wall_t now, struct store_txn *ret)
{
    mark_hosts(txn);
    rows_to_store(txn, ret);
    events_to_store(txn, first_seq, now, ret);
    for (size_t i = 0; i < txn->n_raws; i++)
        store_txn_put(ret, txn->raws[i].key, txn->raws[i].value);
}

void txn_apply(struct txn *txn, struct state *state, int64_t revision)
{
    for (size_t i = 0; i < txn->n_rows; i++)
        state_replace(state, txn->rows[i]->collection, txn->rows[i]->key, steal_ptr(txn->rows[i]->row));
    state->revision = revision;
}
