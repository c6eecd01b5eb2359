/* SPDX-License-Identifier: MIT */
#include "common/statefile.h"

#include "tests/unit/rows.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

static char dir[] = "/tmp/stagecoach-statefile-XXXXXX";

static char *in_dir(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static int n_files(void)
{
    DIR *d = opendir(dir);
    int n = 0;

    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(d);
    return n;
}

static void what_is_written_is_read(void **state)
{
    char *path = in_dir("state.json");
    struct strbuf text = STRBUF_INIT;
    struct error err = { 0 };
    struct stat st;

    strbuf_adds(&text, "before ");
    assert_int_equal(statefile_write(path, "one\0two", 7, 0640, &err), 0);
    assert_int_equal(statefile_write(path, "three", 5, 0600, &err), 0);
    assert_int_equal(statefile_read(path, 100, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), "before three");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(n_files(), 1);
    assert_int_equal(statefile_remove(path, &err), 0);
    assert_int_equal(statefile_remove(path, &err), 0);
    assert_int_equal(n_files(), 0);
    strbuf_done(&text);
    free(path);
}

static void an_absent_file_is_told_apart(void **state)
{
    char *path = in_dir("absent"), *deeper = in_dir("no/such/absent");
    struct strbuf text = STRBUF_INIT;
    struct error err = { 0 };

    assert_int_equal(statefile_read(path, 100, &text, &err), -ENOENT);
    row_has("absent", err.text, "No such file or directory");
    assert_int_equal(statefile_write(deeper, "", 0, 0600, &err), -ENOENT);
    assert_int_equal(statefile_remove(deeper, &err), 0);
    assert_int_equal(statefile_read(dir, 100, &text, &err), -EINVAL);
    strbuf_done(&text);
    free(path);
    free(deeper);
}

static void files_above_the_limit_are_refused(void **state)
{
    char *path = in_dir("large"), *data = xcalloc(1, 100000);
    struct strbuf text = STRBUF_INIT;
    struct error err = { 0 };

    memset(data, 'x', 100000);
    assert_int_equal(statefile_write(path, data, 100000, 0600, &err), 0);
    assert_int_equal(statefile_read(path, 99999, &text, &err), -EFBIG);
    row_has("large", err.text, "larger than the limit of 99999 bytes");
    assert_int_equal(text.len, 0);
    assert_int_equal(statefile_read(path, 100000, &text, &err), 0);
    assert_int_equal(text.len, 100000);
    unlink(path);
    strbuf_done(&text);
    free(data);
    free(path);
}

/* A crash between writing and renaming leaves this; it may belong to somebody else. */
static void a_leftover_is_replaced_not_followed(void **state)
{
    char *path = in_dir("state"), *leftover = in_dir(".state.new"), *victim = in_dir("victim");
    struct strbuf text = STRBUF_INIT;

    assert_int_equal(statefile_write(victim, "safe", 4, 0600, NULL), 0);
    assert_int_equal(symlink(victim, leftover), 0);
    assert_int_equal(statefile_write(path, "new", 3, 0600, NULL), 0);
    assert_int_equal(statefile_read(victim, 10, &text, NULL), 0);
    assert_string_equal(strbuf_str(&text), "safe");
    assert_int_equal(n_files(), 2);
    unlink(path);
    unlink(victim);
    strbuf_done(&text);
    free(path);
    free(leftover);
    free(victim);
}

static void a_failed_write_keeps_the_old_file(void **state)
{
    char *path = in_dir("kept");
    struct error err = { 0 };

    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(statefile_write(path, "x", 1, 0600, &err) < 0);
    row_has("rename", err.text, "can't replace");
    assert_int_equal(n_files(), 1);
    rmdir(path);
    free(path);
}

static void directories_are_made_on_the_way(void **state)
{
    char *deep = in_dir("a/b//c/"), *file = in_dir("a/file"), *below = in_dir("a/file/d"),
         *link = in_dir("a/link");
    struct error err = { 0 };
    struct stat st;

    assert_int_equal(statefile_mkdir(deep, 0700, &err), 0);
    assert_int_equal(statefile_mkdir(deep, 0700, &err), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(statefile_write(file, "", 0, 0600, &err), 0);
    assert_int_equal(statefile_mkdir(file, 0700, &err), -ENOTDIR);
    row_has("file", err.text, "a file is in the way");
    assert_true(statefile_mkdir(below, 0700, &err) < 0);
    assert_int_equal(symlink("b", link), 0);
    assert_int_equal(statefile_mkdir(link, 0700, &err), -ENOTDIR);
    row_has("link", err.text, "a symbolic link is in the way");
    free(deep);
    free(file);
    free(below);
    free(link);
}

static int make_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const parts[] = { "a/b/c", "a/b", "a/file", "a/link", "a", "" };

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        char *path = in_dir(parts[i]);
        remove(path);
        free(path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(an_absent_file_is_told_apart),
        cmocka_unit_test(files_above_the_limit_are_refused),
        cmocka_unit_test(a_leftover_is_replaced_not_followed),
        cmocka_unit_test(a_failed_write_keeps_the_old_file),
        cmocka_unit_test(directories_are_made_on_the_way),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
