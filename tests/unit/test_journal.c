/* SPDX-License-Identifier: MIT */
#include "routerd/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/table_diff.h"

/* What is on disk after each step is what a process that starts then reads. */

static char folder[] = "/tmp/test-journal-XXXXXX";

static char *table_text(int64_t epoch, int version)
{
    return xasprintf(
        "{\"format\":1,\"fleet\":\"f\",\"epoch\":%lld,\"routes\":[{\"host\":\"a.b\",\"service\":\"web\"}],"
        "\"services\":[{\"name\":\"web\",\"releases\":[{\"version\":\"1.0.%d\"}]},{\"name\":\"other\"}]}",
        (long long)epoch, version);
}

static char *diff_text(int64_t from, int from_version, int64_t to, int to_version)
{
    _cleanup_(free_ptr) char *a = table_text(from, from_version), *b = table_text(to, to_version);
    struct strbuf out = STRBUF_INIT;
    struct table base, next;
    struct table_diff diff;
    struct error err;
    assert_int_equal(table_read(a, strlen(a), &base, &err), 0);
    assert_int_equal(table_read(b, strlen(b), &next, &err), 0);
    table_sum_rows(&base);
    table_sum_rows(&next);
    table_diff_make(&base, &next, &diff);
    table_diff_print(&diff, &out);
    table_diff_clear(&diff);
    table_clear(&base);
    table_clear(&next);
    return strbuf_steal(&out);
}

static int clean(void **state)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            (void)unlink(path);
    }
    if (dir)
        closedir(dir);
    return 0;
}

static int n_files(void)
{
    DIR *dir = opendir(folder);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Epoch and version as a new process finds them; 0: no table. */
static void assert_on_disk(int64_t epoch, int version)
{
    struct journal *j = journal_new(folder);
    const struct table *table = NULL;
    char *warning = NULL;
    struct error err;
    int r = journal_load(j, &table, &warning, &err);
    if (epoch == 0) {
        assert_int_equal(r, -ENOENT);
    } else {
        assert_int_equal(r, 0);
        assert_null(warning);
        _cleanup_(free_ptr) char *text = xasprintf("1.0.%d", version);
        assert_int_equal(table->epoch, epoch);
        for (size_t i = 0; i < table->n_services; i++) {
            if (strcmp(table->services[i].name, "web") == 0)
                assert_string_equal(table->services[i].releases[0].version, text);
        }
    }
    journal_free(j);
}

static int stage(struct journal *j, const char *text, bool is_diff)
{
    const struct table *table;
    struct error err;
    return journal_stage(j, text, strlen(text), is_diff, &table, &err);
}

static void put(struct journal *j, char *text, bool is_diff)
{
    struct error err = { 0 };
    assert_int_equal(stage(j, text, is_diff), 0);
    if (journal_write(j, &err) < 0 || journal_commit(j, &err) < 0)
        fail_msg("%s", err.text);
    free(text);
}

static void a_start_finds_what_was_committed(void **state)
{
    struct journal *j = journal_new(folder);
    struct error err;
    assert_on_disk(0, 0);
    put(j, table_text(5, 1), false);
    assert_on_disk(5, 1);
    put(j, diff_text(5, 1, 7, 2), true);
    assert_on_disk(7, 2);
    put(j, diff_text(7, 2, 8, 3), true);
    assert_on_disk(8, 3);

    /* Staged and written is not committed. */
    _cleanup_(free_ptr) char *staged = diff_text(8, 3, 9, 4);
    assert_int_equal(stage(j, staged, true), 0);
    assert_int_equal(journal_write(j, &err), 0);
    assert_on_disk(8, 3);
    journal_abort(j);
    journal_clean(j);
    assert_true(journal_is_current(j));
    put(j, diff_text(8, 3, 9, 5), true);
    assert_on_disk(9, 5);
    assert_int_equal(n_files(), 4);

    assert_int_equal(journal_fold(j, &err), 0);
    assert_on_disk(9, 5);
    assert_int_equal(n_files(), 1);
    put(j, diff_text(9, 5, 10, 6), true);
    put(j, table_text(11, 7), false);
    assert_on_disk(11, 7);
    assert_int_equal(n_files(), 1);
    journal_free(j);
}

static void the_text_is_what_was_committed(void **state)
{
    struct journal *j = journal_new(folder);
    put(j, table_text(5, 1), false);
    _cleanup_(free_ptr) char *staged = diff_text(5, 1, 6, 2);
    assert_int_equal(stage(j, staged, true), 0);
    struct strbuf text = STRBUF_INIT;
    struct table table;
    struct error err;
    journal_text(j, &text);
    assert_int_equal(table_read(text.data, text.len, &table, &err), 0);
    assert_int_equal(table.epoch, 5);
    table_clear(&table);
    strbuf_done(&text);
    journal_free(j);
}

static void another_process_that_commits_is_noticed(void **state)
{
    struct journal *j = journal_new(folder), *other = journal_new(folder);
    const struct table *table;
    char *warning;
    struct error err;
    put(other, table_text(5, 1), false);
    assert_false(journal_is_current(j));
    assert_int_equal(journal_load(j, &table, &warning, &err), 0);
    assert_true(journal_is_current(j));
    put(other, diff_text(5, 1, 6, 2), true);
    assert_false(journal_is_current(j));
    assert_int_equal(journal_load(j, &table, &warning, &err), 0);
    assert_int_equal(table->epoch, 6);
    put(other, table_text(7, 3), false);
    assert_false(journal_is_current(j));
    journal_free(j);
    journal_free(other);
}

/* What does not fit is left, and what came before it is served. */
static void a_spoilt_diff_ends_the_reading(void **state)
{
    struct journal *j = journal_new(folder);
    const struct table *table;
    char *warning = NULL;
    struct error err;
    put(j, table_text(5, 1), false);
    put(j, diff_text(5, 1, 6, 2), true);
    put(j, diff_text(6, 2, 7, 3), true);
    _cleanup_(free_ptr) char *path = xasprintf("%s/table.6.diff", folder);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(journal_load(j, &table, &warning, &err), 0);
    assert_int_equal(table->epoch, 6);
    assert_non_null(strstr(warning, "table.6.diff"));
    free(warning);
    journal_free(j);
}

static void many_diffs_are_to_be_folded(void **state)
{
    struct journal *j = journal_new(folder);
    struct error err;
    put(j, table_text(1, 1), false);
    for (int i = 1; i <= JOURNAL_DIFFS_MAX; i++) {
        assert_false(journal_is_long(j));
        put(j, diff_text(i, i, i + 1, i + 1), true);
    }
    assert_true(journal_is_long(j));
    assert_on_disk(JOURNAL_DIFFS_MAX + 1, JOURNAL_DIFFS_MAX + 1);
    assert_int_equal(journal_fold(j, &err), 0);
    assert_false(journal_is_long(j));
    assert_int_equal(n_files(), 1);
    journal_free(j);
}

static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    clean(state);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_start_finds_what_was_committed, clean),
        cmocka_unit_test_teardown(the_text_is_what_was_committed, clean),
        cmocka_unit_test_teardown(another_process_that_commits_is_noticed, clean),
        cmocka_unit_test_teardown(a_spoilt_diff_ends_the_reading, clean),
        cmocka_unit_test_teardown(many_diffs_are_to_be_folded, clean),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
