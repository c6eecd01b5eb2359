/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/strbuf.h"

static char dir[64];

static int run(const char *option, const char *tree, struct strbuf *ret_text)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 2);
        close(fds[0]);
        execl(getenv("STAGECOACH_SEAL"), "stagecoach-seal", option, tree, NULL);
        _exit(99);
    }
    close(fds[1]);
    char buf[512];
    ssize_t n;
    while ((n = read(fds[0], buf, sizeof(buf))) > 0)
        strbuf_add(ret_text, buf, (size_t)n);
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void make_file(const char *name, mode_t mode)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, "0123456789", 10) == 10);
    close(fd);
    chmod(path, mode);
}

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/stagecoach-seal-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    _cleanup_(free_ptr) char *sub = xasprintf("%s/bin", dir);
    mkdir(sub, 0700);
    make_file("server.js", 0644);
    make_file("bin/run", 0755);
    return 0;
}

static int teardown(void **state)
{
    _cleanup_(free_ptr) char *command = xasprintf("chmod -R u+w %s; rm -rf %s", dir, dir);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(99);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

static int mode_of(const char *name)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    struct stat st;
    return lstat(path, &st) == 0 ? (int)(st.st_mode & 07777) : -1;
}

static void good_tree_is_write_protected(void **state)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *link = xasprintf("%s/bin/current", dir);
    assert_int_equal(symlink("../server.js", link), 0);
    row_int(strbuf_str(&text), run("--max-bytes=0", dir, &text), 0);
    assert_int_equal(mode_of("server.js"), 0444);
    assert_int_equal(mode_of("bin/run"), 0555);
    assert_int_equal(mode_of("bin"), 0555);
}

static void links_are_judged_by_where_they_lead(void **state)
{
    static const struct {
        const char *target;
        int status;
    } rows[] = {
        { "run", 0 },
        { "../server.js", 0 },
        { "./././run", 0 },
        { "x/../../server.js", 0 },
        { "/srv/stagecoach/app/server.js", 0 },
        { "missing", 0 },
        { "../../etc/passwd", 1 },
        { "x/../../../outside", 1 },
        { "/etc/passwd", 1 },
        { "/srv/stagecoach/app/../../../etc/passwd", 1 },
        { "/srv/stagecoach/application", 1 },
    };
    _cleanup_(free_ptr) char *link = xasprintf("%s/bin/link", dir);
    _cleanup_(free_ptr) char *bin = xasprintf("%s/bin", dir);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
        chmod(bin, 0755);
        unlink(link);
        assert_int_equal(symlink(rows[i].target, link), 0);
        row_int(rows[i].target, run("--max-bytes=0", dir, &text), rows[i].status);
        if (rows[i].status)
            row_true(rows[i].target, strstr(strbuf_str(&text), "bin/link leads out of the tree") != NULL);
    }
}

static void what_is_no_plain_tree_is_refused(void **state)
{
    _cleanup_(strbuf_done) struct strbuf set_id = STRBUF_INIT, large = STRBUF_INIT, fifo = STRBUF_INIT;
    row_int("too large", run("--max-bytes=4096", dir, &large), 1);
    row_true("too large", strstr(strbuf_str(&large), "larger than 4096 bytes") != NULL);
    make_file("suid", 04755);
    row_int("set-id", run("--max-bytes=0", dir, &set_id), 1);
    row_true("set-id", strstr(strbuf_str(&set_id), "suid has a set-id bit") != NULL);
    _cleanup_(free_ptr) char *path = xasprintf("%s/suid", dir);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    row_int("fifo", run("--max-bytes=0", dir, &fifo), 1);
    row_true("fifo", strstr(strbuf_str(&fifo), "neither file, directory nor link") != NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(good_tree_is_write_protected),
        T(links_are_judged_by_where_they_lead),
        T(what_is_no_plain_tree_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
