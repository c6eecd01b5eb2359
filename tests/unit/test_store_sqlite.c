/* SPDX-License-Identifier: MIT */
#include "hubd/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/child.h"
#include "common/mem.h"
#include "common/strbuf.h"

struct world {
    struct loop *loop;
    struct store *store;
    char dir[64];
    int result, done;
    int64_t revision;
    char error[ERROR_TEXT_MAX];
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err;
    snprintf(w->dir, sizeof(w->dir), "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->loop = loop_new();
    if (store_sqlite_open(w->loop, w->dir, &w->store, &err) < 0)
        fail_msg("%s", err.text);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    static const char *const files[] = { "hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm", "lock" };
    store_free(w->store);
    loop_free(w->loop);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", w->dir, files[i]);
        unlink(path);
    }
    rmdir(w->dir);
    free(w);
    return 0;
}

static void on_done(int result, int64_t revision, const struct error *err, void *arg)
{
    struct world *w = arg;
    w->done++;
    w->result = result;
    w->revision = revision;
    snprintf(w->error, sizeof(w->error), "%s", err->text);
}

static int commit(struct world *w, struct store_txn *txn)
{
    int before = w->done;
    store_commit(w->store, txn, on_done, w);
    assert_int_equal(w->done, before); /* never at once */
    for (int i = 0; i < 1000 && w->done == before; i++)
        loop_turn(w->loop, 10);
    assert_int_equal(w->done, before + 1);
    return w->result;
}

static int put(struct world *w, const char *key, const char *value)
{
    struct store_txn txn = { 0 };
    if (value)
        store_txn_put(&txn, key, value);
    else
        store_txn_delete(&txn, key);
    return commit(w, &txn);
}

static bool add_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    strbuf_addf(arg, "%s=%.*s@%d ", key, (int)len, value, (int)revision);
    return true;
}

static void assert_range(
    struct world *w, const char *from, const char *to, bool backwards, int64_t limit, const char *expected)
{
    struct strbuf text = STRBUF_INIT;
    struct error err;
    assert_int_equal(store_range(w->store, from, to, backwards, limit, add_row, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), expected);
    strbuf_done(&text);
}

static void what_is_put_can_be_got_in_order(void **state)
{
    struct world *w = *state;
    struct store_txn txn = { 0 };
    store_txn_put(&txn, "b/2", "two");
    store_txn_put(&txn, "a/1", "one");
    assert_int_equal(commit(w, &txn), 0);
    assert_int_equal(w->revision, 1);
    assert_int_equal(put(w, "b/3", "three"), 0);
    assert_int_equal(put(w, "b/2", "zwei"), 0);
    assert_int_equal(store_revision(w->store), 3);
    assert_range(w, "a", "z", false, 0, "a/1=one@1 b/2=zwei@3 b/3=three@2 ");
    assert_range(w, "b/", "b0", true, 1, "b/3=three@2 ");
    struct strbuf text = STRBUF_INIT;
    struct error err;
    assert_int_equal(store_range_prefix(w->store, "b/", add_row, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), "b/2=zwei@3 b/3=three@2 ");
    strbuf_clear(&text);
    assert_int_equal(put(w, "b/3", NULL), 0);
    assert_int_equal(put(w, "nothing", NULL), 0);
    assert_int_equal(store_get(w->store, "b/3", add_row, &text, &err), -ENOENT);
    assert_int_equal(store_get(w->store, "a/1", add_row, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), "a/1=one@1 ");
    strbuf_done(&text);
}

static void a_compare_that_fails_writes_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "k", "1"), 0);
    struct store_txn txn = { 0 };
    store_txn_compare(&txn, "k", 7);
    store_txn_put(&txn, "k", "2");
    assert_int_equal(commit(w, &txn), -EAGAIN);
    assert_range(w, "", "z", false, 0, "k=1@1 ");
    store_txn_compare(&txn, "k", 1);
    store_txn_compare(&txn, "new", 0);
    store_txn_put(&txn, "new", "3");
    assert_int_equal(commit(w, &txn), 0);
    assert_int_equal(w->revision, 2);
}

static void what_was_committed_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    struct error err;
    assert_int_equal(put(w, "k", "kept"), 0);
    store_free(w->store);
    assert_int_equal(store_sqlite_open(w->loop, w->dir, &w->store, &err), 0);
    assert_int_equal(store_revision(w->store), 1);
    assert_range(w, "", "z", false, 0, "k=kept@1 ");
}

static void a_second_hub_on_the_directory_is_refused(void **state)
{
    struct world *w = *state;
    struct store *second;
    struct error err;
    assert_int_equal(store_sqlite_open(w->loop, w->dir, &second, &err), -EBUSY);
    assert_non_null(strstr(err.text, "another hub is running on "));
}

static void a_file_that_is_no_store_is_refused(void **state)
{
    struct world *w = *state;
    struct error err;
    char path[128];
    store_free(steal_ptr(w->store));
    snprintf(path, sizeof(path), "%s/hub.sqlite-wal", w->dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/hub.sqlite", w->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(fd, "not a data base", 15), 15);
    close(fd);
    assert_true(store_sqlite_open(w->loop, w->dir, &w->store, &err) < 0);
    assert_non_null(strstr(err.text, "hub.sqlite"));
}

static void commits_wait_for_each_other_in_order(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 50; i++) {
        struct store_txn txn = { 0 };
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        store_txn_put(&txn, "k", value);
        store_commit(w->store, &txn, on_done, w);
    }
    assert_true(store_is_busy(w->store));
    for (int i = 0; i < 1000 && w->done < 50; i++)
        loop_turn(w->loop, 10);
    assert_int_equal(w->done, 50);
    assert_range(w, "", "z", false, 0, "k=49@50 ");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_put_can_be_got_in_order),
        T(a_compare_that_fails_writes_nothing),
        T(what_was_committed_is_there_after_a_restart),
        T(a_second_hub_on_the_directory_is_refused),
        T(a_file_that_is_no_store_is_refused),
        T(commits_wait_for_each_other_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
