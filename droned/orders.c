/* SPDX-License-Identifier: MIT */
#include "droned/orders.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/droned.h"
#include "droned/instance.h"
#include "droned/instance_file.h"
#include "droned/listing.h"

#define HEAD_FILE_MAX 4096

struct orders_head {
    int64_t format;
    char *fleet;
    int64_t revision;
};

// clang-format off
static const struct field head_fields[] = {
    F_INT(struct orders_head, format, FIELD_REQUIRED, 1, ORDERS_FILE_FORMAT),
    F_STRING(struct orders_head, fleet, 0),
    F_INT(struct orders_head, revision, FIELD_REQUIRED, 0, INT64_MAX),
};
// clang-format on
static const struct schema head_schema = SCHEMA("orders", struct orders_head, head_fields, false);

/* --- on disk ------------------------------------------------------------------------------------------------------ */

static int save_head(struct droned *droned, const char *fleet, int64_t revision, struct error *err)
{
    struct orders_head head = { ORDERS_FILE_FORMAT, (char *)fleet, revision };
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = xasprintf("%s/orders.json", droned->config->state_dir);
    schema_print_pretty(&head_schema, &head, &text);
    return statefile_write(path, strbuf_str(&text), text.len, 0600, err);
}

static int load_head(struct droned *droned, struct error *err)
{
    struct orders_head head;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = xasprintf("%s/orders.json", droned->config->state_dir);
    int r = statefile_read(path, HEAD_FILE_MAX, &text, err);
    if (r == -ENOENT)
        return 0;
    if (r >= 0)
        r = schema_read(&head_schema, strbuf_str(&text), text.len, &head, err);
    if (r < 0)
        return error_prefix(err, "%s", path);
    droned->revision = head.revision;
    str_set(&droned->fleet, head.fleet);
    schema_clear(&head_schema, &head);
    return 0;
}

static void load_instance(struct droned *droned, const char *dir, const char *name)
{
    size_t len = strlen(name);
    struct instance_file file;
    struct error err;
    if (len != NAME_INSTANCE_LEN + 5 || strcmp(name + NAME_INSTANCE_LEN, ".json") != 0)
        return;
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    if (instance_file_read(path, &file, &err) < 0) {
        log_error(NULL, "%s; what runs for it runs on, unknown", err.text);
        return;
    }
    if (strncmp(file.order.id, name, NAME_INSTANCE_LEN) != 0)
        log_error(NULL, "%s holds the order of %s; left alone", path, file.order.id);
    else
        map_set(droned->instances, file.order.id, instance_new_from(droned, &file));
    schema_clear(&instance_file_schema, &file);
}

int orders_load(struct droned *droned, struct error *err)
{
    _cleanup_(free_ptr) char *dir = xasprintf("%s/instances", droned->config->state_dir);
    int r = statefile_mkdir(dir, 0700, err);
    if (r >= 0)
        r = load_head(droned, err);
    if (r < 0)
        return r;
    _cleanup_(strv_freep) char **names = listing_newest_first(dir);
    char *name;
    strv_for_each (name, names)
        load_instance(droned, dir, name);
    return 0;
}

/* --- what may be ordered -------------------------------------------------------------------------------------------- */

static int check_order(const struct droned *droned, const struct order *order, struct error *err)
{
    _cleanup_(free_ptr) char *user = name_service_user(order->service);
    const char *run_as = order->run.user;
    /* A user that exists would be taken as it is, root included: the name has to be the service's own. */
    if (order->user && strcmp(order->user, user) != 0)
        return error_set(err, -EPERM, "order %s: the user of %s is %s, not \"%s\"", order->id, order->service,
            user, order->user);
    if (run_as && strcmp(run_as, "dynamic") != 0 && !strv_contains(droned->config->allow_users, run_as))
        return error_set(err, -EPERM,
            "order %s: %s may not run as \"%s\" here; AllowUsers= in droned.conf has to name it", order->id,
            order->service, run_as);
    if (order->run.health.kind == HEALTH_EXEC && !order->run.health.command)
        return error_set(err, -EINVAL, "order %s: health.command is missing", order->id);
    const struct instance *known = map_get(droned->instances, order->id);
    if (known &&
        (strcmp(known->order.service, order->service) != 0 ||
            strcmp(known->order.commit, order->commit) != 0))
        return error_set(err, -EINVAL, "order %s: instance %s is of %s at %.8s here and can't become another",
            order->id, order->id, known->order.service, known->order.commit);
    return 0;
}

static int check_all(const struct droned *droned, const struct order *orders, size_t n, struct error *err)
{
    struct map *seen = map_new(NULL);
    int r = 0;
    for (size_t i = 0; r >= 0 && i < n; i++) {
        r = check_order(droned, &orders[i], err);
        if (r >= 0 && map_get(seen, orders[i].id))
            r = error_set(err, -EINVAL, "order %s comes twice", orders[i].id);
        map_set(seen, orders[i].id, (void *)&orders[i]);
    }
    map_free(seen);
    return r;
}

/* --- taking over -------------------------------------------------------------------------------------------------- */

/* As the schema leaves them to be filled in by whoever runs them. */
static void complete_order(struct order *order)
{
    if (!order->user)
        order->user = name_service_user(order->service);
}

static bool is_known(const struct instance *instance, const struct order *order)
{
    return instance && !instance->dropped && schema_equal(&order_schema, &instance->order, order);
}

static int put_on_disk(struct droned *droned, const struct order *order, struct error *err)
{
    struct instance *instance = map_get(droned->instances, order->id);
    if (is_known(instance, order))
        return 0;
    if (instance)
        return instance_save_as(instance, order, false, err);
    instance = instance_new(droned, order);
    int r = instance_save_as(instance, NULL, false, err);
    if (r >= 0)
        map_set(droned->instances, order->id, instance);
    else
        instance_free(instance);
    return r;
}

static bool is_in(const struct order *orders, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(orders[i].id, id) == 0)
            return true;
    return false;
}

/* Everything is on disk before anything is done: then the answer is true, whatever happens next. */
static int apply(struct droned *droned, struct order *put, size_t n_put, char *const *drop, const char *fleet,
    int64_t revision, struct error *err)
{
    char *id;
    int r = check_all(droned, put, n_put, err);
    for (size_t i = 0; r >= 0 && i < n_put; i++) {
        complete_order(&put[i]);
        r = put_on_disk(droned, &put[i], err);
    }
    strv_for_each (id, (char **)drop) {
        struct instance *instance = map_get(droned->instances, id);
        if (r >= 0 && instance && !instance->dropped)
            r = instance_save_as(instance, NULL, true, err);
    }
    if (r >= 0)
        r = save_head(droned, fleet, revision, err);
    if (r < 0)
        return r;

    droned->revision = revision;
    str_set(&droned->fleet, fleet);
    strv_for_each (id, (char **)drop) {
        struct instance *instance = map_get(droned->instances, id);
        if (!instance)
            continue;
        instance_set_dropped(instance);
        instance_reconcile(instance);
    }
    for (size_t i = 0; i < n_put; i++) {
        struct instance *instance = map_get(droned->instances, put[i].id);
        if (!is_known(instance, &put[i]))
            instance_set_order(instance, &put[i]);
        instance_reconcile(instance);
    }
    droned_update_status(droned);
    return 0;
}

int orders_replace(struct droned *droned, const struct orders *orders, struct error *err)
{
    /* The fleet joined last counts, not the one whose orders are held: a rebuilt hub takes over what runs. */
    if (droned->joined_fleet && strcmp(droned->joined_fleet, orders->fleet) != 0)
        return error_set(
            err, -EPERM, "%s has joined fleet %s, not %s", droned->name, droned->joined_fleet, orders->fleet);
    if (orders->revision < droned->revision)
        return error_set(err, -ESTALE, "these orders are older than those of %s (%lld < %lld)", droned->name,
            (long long)orders->revision, (long long)droned->revision);
    struct orders copy;
    schema_copy(&orders_schema, orders, &copy);
    _cleanup_(strv_freep) char **drop = NULL;
    map_for_each (it, droned->instances)
        if (!is_in(copy.orders, copy.n_orders, it.key))
            strv_push(&drop, it.key);
    int r = apply(droned, copy.orders, copy.n_orders, drop, copy.fleet, copy.revision, err);
    schema_clear(&orders_schema, &copy);
    return r;
}

int orders_replace_text(struct droned *droned, const char *text, size_t len, struct error *err)
{
    struct orders orders;
    int r = schema_read(&orders_schema, text, len, &orders, err);
    if (r < 0)
        return r;
    r = orders_replace(droned, &orders, err);
    schema_clear(&orders_schema, &orders);
    return r;
}

int orders_change(struct droned *droned, const struct msg_orders_change *change, struct error *err)
{
    if (change->from_revision != droned->revision || change->revision < change->from_revision)
        return error_set(err, -ESTALE, "%s holds orders of revision %lld, not %lld", droned->name,
            (long long)droned->revision, (long long)change->from_revision);
    struct orders copy = { 0 };
    struct orders all = { .orders = change->put, .n_orders = change->n_put };
    schema_copy(&orders_schema, &all, &copy);
    int r = apply(droned, copy.orders, copy.n_orders, change->drop, droned->fleet ? droned->fleet : "",
        change->revision, err);
    schema_clear(&orders_schema, &copy);
    return r;
}
