/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "droned/host.h"

static void put(const char *dir, const char *name, const char *text)
{
    struct error err;
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(statefile_write(path, text, strlen(text), 0644, &err), 0);
}

static void the_machine_is_read(void **state)
{
    char dir[] = "/tmp/stagecoach-host-XXXXXX";
    assert_non_null(mkdtemp(dir));
    put(dir, "uptime", "3600.25 7000.00\n");
    put(dir, "loadavg", "0.31 0.20 0.10 1/100 4242\n");
    put(dir, "meminfo",
        "MemTotal:        3984588 kB\nMemFree:          100000 kB\nMemAvailable:    1000000 kB\n");
    put(dir, "os-release", "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
    struct msg_host_report report;
    host_report_read(dir, dir, dir, &report);
    assert_int_equal(report.up_ms, 3600250);
    assert_int_equal(report.load_milli, 310);
    assert_int_equal(report.memory_bytes, INT64_C(3984588) * 1024);
    assert_int_equal(report.memory_free_bytes, INT64_C(1000000) * 1024);
    assert_true(report.cores > 0 && report.disk_free_bytes > 0);
    assert_string_equal(report.os, "Debian GNU/Linux 12 (bookworm)");
    host_report_clear(&report);
    static const char *const names[] = { "uptime", "loadavg", "meminfo", "os-release" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, names[i]);
        unlink(path);
    }
    host_report_read(dir, dir, dir, &report);
    assert_int_equal(report.up_ms, 0);
    assert_int_equal(report.memory_bytes, 0);
    assert_null(report.os);
    host_report_clear(&report);
    rmdir(dir);
}

static void a_boot_has_an_id(void **state)
{
    _cleanup_(free_ptr) char *first = host_boot_id(), *second = host_boot_id();
    assert_string_equal(first, second);
    assert_true(strlen(first) > 37 && first[36] == '/');
}

static void a_process_tells_its_environment(void **state)
{
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = { (char *)"sleep", (char *)"60", NULL };
        char *env[] = { (char *)"SUPPORT=no", (char *)"PORT=20117", (char *)"HOST=10.0.0.11", NULL };
        execve("/bin/sleep", argv, env);
        _exit(127);
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 0); /* its end closed: it is sleep now */
    close(ready[0]);
    _cleanup_(free_ptr) char *port = host_process_env(pid, "PORT"), *none = host_process_env(pid, "POR");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_string_equal(port, "20117");
    assert_null(none);
    assert_null(host_process_env(0, "PORT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_machine_is_read),
        cmocka_unit_test(a_boot_has_an_id),
        cmocka_unit_test(a_process_tells_its_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
