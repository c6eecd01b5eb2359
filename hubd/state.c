/* SPDX-License-Identifier: MIT */
#include "hubd/state.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/schema.h"

void state_init(struct state *state)
{
    *state = (struct state){ 0 };
    for (int i = 0; i < STATE_MAX_; i++)
        state->rows[i] = map_new(NULL);
}

static void row_free(enum collection collection, void *row)
{
    if (!row)
        return;
    schema_clear(state_collections[collection].schema, row);
    free(row);
}

void state_done(struct state *state)
{
    for (int i = 0; i < STATE_MAX_; i++) {
        if (!state->rows[i])
            continue;
        map_for_each (it, state->rows[i])
            row_free(i, it.value);
        map_free(steal_ptr(state->rows[i]));
    }
}

enum collection state_collection_of(const char *store_key, const char **ret_key)
{
    for (int i = 0; i < STATE_MAX_; i++) {
        size_t len = strlen(state_collections[i].prefix);
        if (strncmp(store_key, state_collections[i].prefix, len) == 0) {
            *ret_key = store_key + len;
            return i;
        }
    }
    return STATE_MAX_;
}

int state_load_row(
    struct state *state, const char *store_key, const char *text, size_t len, struct error *err)
{
    const char *key;
    enum collection collection = state_collection_of(store_key, &key);
    if (collection == STATE_MAX_)
        return error_set(err, -EINVAL, "\"%s\" is of no known collection", store_key);

    const struct schema *schema = state_collections[collection].schema;
    void *row = xcalloc(1, schema->size);
    int r = schema_read(schema, text, len, row, err);
    if (r < 0) {
        free(row);
        return error_prefix(err, "row \"%s\" of the store", store_key);
    }
    state_replace(state, collection, key, row);
    return 0;
}

void state_replace(struct state *state, enum collection collection, const char *key, void *row)
{
    void *before = map_get(state->rows[collection], key);
    if (row)
        map_set(state->rows[collection], key, row);
    else
        map_remove(state->rows[collection], key);
    row_free(collection, before);
}

const void *state_get(const struct state *state, enum collection collection, const char *key)
{
    return key ? map_get(state->rows[collection], key) : NULL;
}

const struct meta *state_meta(const struct state *state)
{
    static const struct meta none;
    const struct meta *meta = state_get(state, STATE_META, "hub");
    return meta ? meta : &none;
}

const struct service *state_service(const struct state *state, const char *name)
{
    return state_get(state, STATE_SERVICE, name);
}

const struct release *state_release(const struct state *state, const char *service, const char *version)
{
    if (!service || !version)
        return NULL;
    _cleanup_(free_ptr) char *key = xasprintf("%s/%s", service, version);
    return state_get(state, STATE_RELEASE, key);
}

const struct instance *state_instance(const struct state *state, const char *id)
{
    return state_get(state, STATE_INSTANCE, id);
}

const struct deploy *state_deploy(const struct state *state, const char *id)
{
    return state_get(state, STATE_DEPLOY, id);
}

const struct host *state_drone(const struct state *state, const char *name)
{
    return state_get(state, STATE_DRONE, name);
}

const struct deploy *state_open_deploy(const struct state *state, const char *service)
{
    state_for_each(it, state, STATE_DEPLOY)
    {
        const struct deploy *deploy = it.value;
        if (deploy_stage_is_open(deploy->stage) && strcmp(deploy->service, service) == 0)
            return deploy;
    }
    return NULL;
}

bool live_set_has(const struct live_set *live, const char *version)
{
    for (size_t i = 0; i < live->n_releases; i++)
        if (strcmp(live->releases[i].version, version) == 0)
            return true;
    return false;
}
