/* SPDX-License-Identifier: MIT */
/* One table of keys, values and the revision that wrote them. WAL with synchronous=FULL: what was answered
 * survives loss of power. The directory is locked with flock, so that two hubs never share it. */
#include "hubd/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"

#define APPLICATION_ID 0x53636f61 /* "Scoa" */
#define USER_VERSION   1

enum statement {
    GET,
    RANGE_UP,
    RANGE_DOWN,
    PUT,
    DELETE,
    REVISION,
    SET_REVISION,
    BEGIN,
    COMMIT,
    ROLLBACK,
    N_STATEMENTS
};

/* clang-format off */
static const char *const statement_texts[N_STATEMENTS] = {
    [GET]          = "SELECT key, value, revision FROM rows WHERE key = ?1",
    [RANGE_UP]     = "SELECT key, value, revision FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
    [RANGE_DOWN]   = "SELECT key, value, revision FROM rows WHERE key >= ?1 AND key < ?2"
                     " ORDER BY key DESC LIMIT ?3",
    [PUT]          = "INSERT INTO rows (key, value, revision) VALUES (?1, ?2, ?3)"
                     " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    [DELETE]       = "DELETE FROM rows WHERE key = ?1",
    [REVISION]     = "SELECT revision FROM counter",
    [SET_REVISION] = "UPDATE counter SET revision = ?1",
    [BEGIN]        = "BEGIN IMMEDIATE",
    [COMMIT]       = "COMMIT",
    [ROLLBACK]     = "ROLLBACK",
};
/* clang-format on */

static const char schema_text[] =
    "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL)"
    " STRICT;"
    "INSERT OR IGNORE INTO counter VALUES (1, 0);";

struct store_sqlite {
    struct store base; /* first */
    sqlite3 *db;
    sqlite3_stmt *statements[N_STATEMENTS];
    int lock_fd;
    char *path;
};

static int fail(struct store_sqlite *s, struct error *err, const char *what)
{
    int code = sqlite3_errcode(s->db) & 0xff;
    int r = code == SQLITE_FULL ? -ENOSPC : -EIO;
    return error_set(err, r, "%s %s: %s", what, s->path, sqlite3_errmsg(s->db));
}

static sqlite3_stmt *prepared(struct store_sqlite *s, enum statement which)
{
    sqlite3_stmt **slot = &s->statements[which];
    if (!*slot &&
        sqlite3_prepare_v3(s->db, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT, slot, NULL) !=
            SQLITE_OK)
        return NULL;
    return *slot;
}

/* Statements without rows. */
static int run(struct store_sqlite *s, enum statement which, struct error *err)
{
    sqlite3_stmt *st = prepared(s, which);
    int r = st ? sqlite3_step(st) : SQLITE_ERROR;
    int result = r == SQLITE_DONE ? 0 : fail(s, err, "can't write");
    if (st)
        sqlite3_reset(st);
    return result;
}

static int give_rows(struct store_sqlite *s, sqlite3_stmt *st, store_row_fn fn, void *arg, struct error *err)
{
    int n = 0, r;
    while ((r = sqlite3_step(st)) == SQLITE_ROW) {
        n++;
        const char *key = (const char *)sqlite3_column_text(st, 0);
        const char *value = (const char *)sqlite3_column_text(st, 1);
        size_t len = (size_t)sqlite3_column_bytes(st, 1);
        if (!fn(key, value, len, sqlite3_column_int64(st, 2), arg)) {
            r = SQLITE_DONE;
            break;
        }
    }
    int result = r == SQLITE_DONE ? n : fail(s, err, "can't read");
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return result;
}

static int sqlite_get(struct store *store, const char *key, store_row_fn fn, void *arg, struct error *err)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, base);
    sqlite3_stmt *st = prepared(s, GET);
    if (!st)
        return fail(s, err, "can't read");
    sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int r = give_rows(s, st, fn, arg, err);
    if (r == 0)
        return error_set(err, -ENOENT, "there is no \"%s\"", key);
    return r < 0 ? r : 0;
}

static int sqlite_range(struct store *store, const char *from, const char *to, bool backwards, int64_t limit,
    store_row_fn fn, void *arg, struct error *err)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, base);
    /* A statement of its own: fn may read the store in between. */
    sqlite3_stmt *st = NULL;
    const char *text = statement_texts[backwards ? RANGE_DOWN : RANGE_UP];
    if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) != SQLITE_OK)
        return fail(s, err, "can't read");
    sqlite3_bind_text(st, 1, from, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, to, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, limit > 0 ? limit : -1);
    int r = give_rows(s, st, fn, arg, err);
    sqlite3_finalize(st);
    return r < 0 ? r : 0;
}

static bool take_revision(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    *(int64_t *)arg = revision;
    return false;
}

static int check_compares(struct store_sqlite *s, const struct store_txn *txn, struct error *err)
{
    for (size_t i = 0; i < txn->n_compares; i++) {
        int64_t revision = 0;
        int r = sqlite_get(&s->base, txn->compares[i].key, take_revision, &revision, err);
        if (r < 0 && r != -ENOENT)
            return r;
        if (revision != txn->compares[i].revision)
            return error_set(err, -EAGAIN, "\"%s\" has changed meanwhile", txn->compares[i].key);
    }
    return 0;
}

static int write_op(struct store_sqlite *s, const struct store_op *op, int64_t revision, struct error *err)
{
    sqlite3_stmt *st = prepared(s, op->value ? PUT : DELETE);
    if (!st)
        return fail(s, err, "can't write");
    sqlite3_bind_text(st, 1, op->key, -1, SQLITE_STATIC);
    if (op->value) {
        sqlite3_bind_text(st, 2, op->value, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, revision);
    }
    int result = sqlite3_step(st) == SQLITE_DONE ? 0 : fail(s, err, "can't write");
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return result;
}

static int write_all(struct store_sqlite *s, const struct store_txn *txn, int64_t revision, struct error *err)
{
    int r = check_compares(s, txn, err);
    for (size_t i = 0; r == 0 && i < txn->n_ops; i++)
        r = write_op(s, &txn->ops[i], revision, err);
    if (r < 0)
        return r;
    sqlite3_stmt *st = prepared(s, SET_REVISION);
    if (!st)
        return fail(s, err, "can't write");
    sqlite3_bind_int64(st, 1, revision);
    return run(s, SET_REVISION, err);
}

static void sqlite_commit(struct store *store, const struct store_txn *txn)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, base);
    struct error err = { 0 };
    int64_t revision = store->revision + 1;
    int r = run(s, BEGIN, &err);
    if (r == 0)
        r = write_all(s, txn, revision, &err);
    if (r == 0)
        r = run(s, COMMIT, &err);
    /* A failed COMMIT (disk full) leaves the transaction open. */
    if (r < 0 && !sqlite3_get_autocommit(s->db))
        (void)run(s, ROLLBACK, NULL);
    store_finish(store, r, revision, &err);
}

static void sqlite_free(struct store *store)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, base);
    store_done(store);
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    close_fd(&s->lock_fd);
    free(s->path);
    free(s);
}

static const struct store_ops sqlite_ops = {
    .get = sqlite_get,
    .range = sqlite_range,
    .commit = sqlite_commit,
    .free = sqlite_free,
};

static int lock_directory(struct store_sqlite *s, const char *directory, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/lock", directory);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return error_set_errno(err, -errno, "can't open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, -EBUSY, "another hub is running on %s", directory);
    return error_set_errno(err, -errno, "can't lock %s", path);
}

static bool pragma_int(struct store_sqlite *s, const char *text, int64_t *ret)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(s->db, text, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;
    *ret = ok ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return ok;
}

static int check_format(struct store_sqlite *s, struct error *err)
{
    int64_t application, version;
    if (!pragma_int(s, "PRAGMA application_id", &application) ||
        !pragma_int(s, "PRAGMA user_version", &version))
        return fail(s, err, "can't read");
    if (application != 0 && application != APPLICATION_ID)
        return error_set(err, -EINVAL, "%s is not a store of stagecoach-hubd", s->path);
    if (version > USER_VERSION)
        return error_set(err, -EINVAL,
            "%s was written by a newer stagecoach-hubd (format %" PRId64 ", this one reads %d)", s->path,
            version, USER_VERSION);
    return 0;
}

static int prepare_database(struct store_sqlite *s, struct error *err)
{
    if (sqlite3_open_v2(s->path, &s->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
            NULL) != SQLITE_OK)
        return fail(s, err, "can't open");
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    int r = check_format(s, err);
    if (r < 0)
        return r;
    char pragmas[256];
    snprintf(pragmas, sizeof(pragmas),
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000; PRAGMA cache_size=-512;"
        "PRAGMA application_id=%d; PRAGMA user_version=%d;",
        APPLICATION_ID, USER_VERSION);
    if (sqlite3_exec(s->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db, schema_text, NULL, NULL, NULL) != SQLITE_OK)
        return fail(s, err, "can't prepare");
    return 0;
}

int store_sqlite_open(struct loop *loop, const char *directory, struct store **ret, struct error *err)
{
    int r = statefile_mkdir(directory, 0700, err);
    if (r < 0)
        return r;
    struct store_sqlite *s = xcalloc(1, sizeof(*s));
    s->lock_fd = -1;
    s->path = xasprintf("%s/hub.sqlite", directory);
    store_init(&s->base, &sqlite_ops, loop, 0);
    r = lock_directory(s, directory, err);
    if (r == 0)
        r = prepare_database(s, err);
    if (r == 0) {
        sqlite3_stmt *st = prepared(s, REVISION);
        if (!st || sqlite3_step(st) != SQLITE_ROW)
            r = fail(s, err, "can't read");
        else
            s->base.revision = sqlite3_column_int64(st, 0);
        if (st)
            sqlite3_reset(st);
    }
    if (r < 0) {
        sqlite_free(&s->base);
        return r;
    }
    *ret = &s->base;
    return 0;
}
