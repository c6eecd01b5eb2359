/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_store.h"

#include <errno.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "hubd/store.h"

struct row {
    char *value;
    int64_t revision;
};

struct fake_disk {
    struct map *rows;
    int64_t revision;
    int fail, fail_code;
    bool hold;
    int crash_in;
    bool crash_before, crashed;
    int commits;
    struct fake_store *open;
};

struct fake_store {
    struct store base; /* first */
    struct fake_disk *disk;
    const struct store_txn *held;
};

static void row_free(void *p)
{
    struct row *row = p;
    free(row->value);
    free(row);
}

struct fake_disk *fake_disk_new(void)
{
    struct fake_disk *disk = xcalloc(1, sizeof(*disk));
    disk->rows = map_new(row_free);
    return disk;
}

void fake_disk_free(struct fake_disk *disk)
{
    map_free(disk->rows);
    free(disk);
}

static int get(struct store *store, const char *key, store_row_fn fn, void *arg, struct error *err)
{
    const struct fake_store *s = container_of(store, struct fake_store, base);
    const struct row *row = map_get(s->disk->rows, key);
    if (!row)
        return error_set(err, -ENOENT, "there is no \"%s\"", key);
    fn(key, row->value, strlen(row->value), row->revision, arg);
    return 0;
}

static int range(struct store *store, const char *from, const char *to, bool backwards, int64_t limit,
    store_row_fn fn, void *arg, struct error *err)
{
    const struct fake_store *s = container_of(store, struct fake_store, base);
    const char **keys = map_sorted_keys(s->disk->rows);
    size_t n = 0;
    while (keys[n])
        n++;
    int64_t given = 0;
    for (size_t i = 0; i < n && (limit == 0 || given < limit); i++) {
        const char *key = keys[backwards ? n - 1 - i : i];
        if (strcmp(key, from) < 0 || strcmp(key, to) >= 0)
            continue;
        const struct row *row = map_get(s->disk->rows, key);
        given++;
        if (!fn(key, row->value, strlen(row->value), row->revision, arg))
            break;
    }
    free(keys);
    return 0;
}

static void write_rows(struct fake_disk *disk, const struct store_txn *txn)
{
    disk->revision++;
    disk->commits++;
    for (size_t i = 0; i < txn->n_ops; i++) {
        if (!txn->ops[i].value) {
            map_remove(disk->rows, txn->ops[i].key);
            continue;
        }
        struct row *row = xcalloc(1, sizeof(*row));
        row->value = xstrdup(txn->ops[i].value);
        row->revision = disk->revision;
        map_set(disk->rows, txn->ops[i].key, row);
    }
}

static bool compares_hold(const struct fake_disk *disk, const struct store_txn *txn)
{
    for (size_t i = 0; i < txn->n_compares; i++) {
        const struct row *row = map_get(disk->rows, txn->compares[i].key);
        if ((row ? row->revision : 0) != txn->compares[i].revision)
            return false;
    }
    return true;
}

static void commit(struct store *store, const struct store_txn *txn)
{
    struct fake_store *s = container_of(store, struct fake_store, base);
    struct fake_disk *disk = s->disk;
    struct error err;
    if (disk->crashed)
        return;
    if (disk->crash_in > 0 && --disk->crash_in == 0) {
        disk->crashed = true;
        if (!disk->crash_before)
            write_rows(disk, txn);
        return;
    }
    if (disk->hold) {
        s->held = txn;
        return;
    }
    if (disk->fail > 0) {
        disk->fail--;
        error_set_errno(&err, disk->fail_code, "can't write the fake disk");
        store_finish(store, disk->fail_code, 0, &err);
        return;
    }
    if (!compares_hold(disk, txn)) {
        error_set(&err, -EAGAIN, "changed meanwhile");
        store_finish(store, -EAGAIN, 0, &err);
        return;
    }
    write_rows(disk, txn);
    store_finish(store, 0, disk->revision, NULL);
}

static void store_close(struct store *store)
{
    struct fake_store *s = container_of(store, struct fake_store, base);
    store_done(store);
    s->disk->open = NULL;
    free(s);
}

static const struct store_ops ops = { .get = get, .range = range, .commit = commit, .free = store_close };

struct store *fake_store_open(struct fake_disk *disk, struct loop *loop)
{
    struct fake_store *s = xcalloc(1, sizeof(*s));
    s->disk = disk;
    disk->open = s;
    disk->crashed = false;
    disk->crash_in = 0;
    store_init(&s->base, &ops, loop, disk->revision);
    return &s->base;
}

void fake_disk_fail(struct fake_disk *disk, int n, int code)
{
    disk->fail = n;
    disk->fail_code = code;
}

void fake_disk_hold(struct fake_disk *disk)
{
    disk->hold = true;
}

void fake_disk_release(struct fake_disk *disk)
{
    disk->hold = false;
    if (disk->open && disk->open->held) {
        const struct store_txn *txn = steal_ptr(disk->open->held);
        commit(&disk->open->base, txn);
    }
}

void fake_disk_crash_after(struct fake_disk *disk, int n, bool before)
{
    disk->crash_in = n;
    disk->crash_before = before;
}

bool fake_disk_has_crashed(const struct fake_disk *disk)
{
    return disk->crashed;
}

int fake_disk_commits(const struct fake_disk *disk)
{
    return disk->commits;
}

const char *fake_disk_get(const struct fake_disk *disk, const char *key)
{
    const struct row *row = map_get(disk->rows, key);
    return row ? row->value : NULL;
}

int fake_disk_count(const struct fake_disk *disk, const char *prefix)
{
    int n = 0;
    map_for_each (it, disk->rows)
        n += strncmp(it.key, prefix, strlen(prefix)) == 0;
    return n;
}
