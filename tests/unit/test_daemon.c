/* SPDX-License-Identifier: MIT */
#include "common/daemon.h"

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
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/strv.h"

struct conf {
    char *table_file;
    int64_t max_in_flight;
    bool access_log;
    int64_t idle_ms;
};

/* clang-format off */
static const struct option_row rows[] = {
    { "Router", "TableFile",   OPTION_STRING,   offsetof(struct conf, table_file),    0, 0,    "/table.json", "The routing table." },
    { "Router", "MaxInFlight", OPTION_INT,      offsetof(struct conf, max_in_flight), 1, 1000, "100",         "Requests at once." },
    { "Log",    "AccessLog",   OPTION_BOOL,     offsetof(struct conf, access_log),    0, 0,    "no",          "One line a request." },
    { "Log",    "IdleTime",    OPTION_DURATION, offsetof(struct conf, idle_ms),       0, 0,    "30s",         "Patience." },
};
/* clang-format on */

static const struct option_table table = {
    .program = "stagecoach-testd", .size = sizeof(struct conf), .rows = rows, .n_rows = ARRAY_SIZE(rows)
};

struct arg_case {
    const char *name;
    const char *argv[4];
    int result;
    const char *error; /* part of it */
    const char *table_file;
    int64_t max_in_flight;
    bool access_log;
};

/* clang-format off */
static const struct arg_case cases[] = {
    { "none",               { NULL },                                    0, NULL, "/table.json", 100, false },
    { "a key as an option", { "--table-file=/x", NULL },                 0, NULL, "/x", 100, false },
    { "a switch",           { "--access-log", NULL },                    0, NULL, "/table.json", 100, true },
    { "a switch said no",   { "--access-log=no", NULL },                 0, NULL, "/table.json", 100, false },
    { "set",                { "--set=Router.MaxInFlight=7", NULL },      0, NULL, "/table.json", 7, false },
    { "the last one counts",{ "--max-in-flight=7", "--max-in-flight=8", NULL }, 0, NULL, "/table.json", 8, false },
    { "out of range",       { "--max-in-flight=1001", NULL },            -EINVAL, "MaxInFlight", NULL, 0, false },
    { "misspelt",           { "--tabel-file=/x", NULL },                 -EINVAL, "did you mean --table-file?", NULL, 0, false },
    { "unlike anything",    { "--zzzzzzzz=1", NULL },                    -EINVAL, "--help lists them", NULL, 0, false },
    { "a value is missing", { "--table-file", NULL },                    -EINVAL, "--table-file needs a value", NULL, 0, false },
    { "a word",             { "start", NULL },                           -EINVAL, "\"start\" is not expected", NULL, 0, false },
    { "no such file",       { "--config=/nonexistent.conf", NULL },      -ENOENT, "/nonexistent.conf", NULL, 0, false },
};
/* clang-format on */

static void the_command_line(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct arg_case *c = &cases[i];
        char *argv[8] = { (char *)"testd" };
        int argc = 1;
        struct conf conf = { 0 };
        struct daemon_args args = { 0 };
        struct error err = { 0 };
        for (int k = 0; c->argv[k]; k++)
            argv[argc++] = (char *)c->argv[k];
        int r = daemon_configure(&table, argc, argv, "what it is", &conf, &args, &err);
        if (r != c->result || (c->error && !strstr(err.text, c->error)))
            fail_msg("%s: %d \"%s\"", c->name, r, err.text);
        if (r == 0) {
            assert_string_equal(conf.table_file, c->table_file);
            assert_int_equal(conf.max_in_flight, c->max_in_flight);
            assert_int_equal(conf.access_log, c->access_log);
            assert_string_equal(args.config_path, "/etc/stagecoach/testd.conf");
            /* A reload comes to the same. */
            struct conf again;
            assert_int_equal(daemon_load_config(&table, &args, &again, &err), 0);
            assert_int_equal(again.max_in_flight, conf.max_in_flight);
            config_clear(&table, &again);
            config_clear(&table, &conf);
            strv_free(args.settings);
        }
    }
}

/* What a call prints on stdout, by way of a file. */
static void printed(const char *arg, char *buf, size_t size)
{
    char *argv[] = { (char *)"testd", (char *)arg };
    struct conf conf = { 0 };
    struct daemon_args args;
    FILE *file = tmpfile();
    int saved = dup(1);
    assert_non_null(file);
    fflush(stdout);
    dup2(fileno(file), 1);
    int r = daemon_configure(&table, 2, argv, "what it is", &conf, &args, &(struct error){ 0 });
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    assert_int_equal(r, 1);
    rewind(file);
    buf[fread(buf, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void help_version_and_print_config_end_well(void **state)
{
    char text[8192];
    printed("--version", text, sizeof(text));
    assert_string_equal(text, "stagecoach-testd " STAGECOACH_VERSION "\n");
    printed("--help", text, sizeof(text));
    assert_non_null(strstr(text, "usage: stagecoach-testd [OPTION…]\nwhat it is\n"));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_non_null(strstr(text, rows[i].key));
        assert_non_null(strstr(text, rows[i].help));
    }
    printed("--print-config", text, sizeof(text));
    assert_non_null(strstr(text, "[Router]"));
    assert_non_null(strstr(text, "TableFile"));
}

static void descriptors_are_taken_once_by_name(void **state)
{
    int fds[3], *taken = NULL;
    char pid[16];

    /* systemd's convention: they begin at 3. */
    for (int i = 0; i < 3; i++)
        fds[i] = fcntl(0, F_DUPFD, 20);
    for (int i = 0; i < 3; i++)
        assert_int_equal(dup2(fds[i], 3 + i), 3 + i);
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "3", 1);
    setenv("LISTEN_FDNAMES", "http:https:http", 1);
    assert_int_equal(daemon_take_fds("http", &taken), 2);
    assert_int_equal(taken[0], 3);
    assert_int_equal(taken[1], 5);
    assert_true(fcntl(3, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(3, F_GETFL) & O_NONBLOCK);
    free(taken);
    assert_int_equal(daemon_take_fds("http", &taken), 0);
    free(taken);
    assert_int_equal(daemon_take_fds("hub", &taken), 0);
    free(taken);
    char *rest;
    int fd;
    assert_true(daemon_take_named_fd("htt", &fd, &rest));
    assert_int_equal(fd, 4);
    assert_string_equal(rest, "ps");
    free(rest);
    assert_false(daemon_take_named_fd("htt", &fd, &rest));
    assert_int_equal(daemon_take_fds("https", &taken), 0);
    free(taken);
    assert_null(getenv("LISTEN_FDS"));
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
        close(3 + i);
    }
}

static bool is_alive(void *arg)
{
    return *(bool *)arg;
}

static void expect(int fd, const char *text)
{
    char buf[4096] = "";
    ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
    if (!text) {
        assert_int_equal(n, -1);
        return;
    }
    assert_true(n > 0);
    assert_string_equal(buf, text);
}

static void systemd_is_told(void **state)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct loop *loop = loop_new_fake();
    bool alive = true;

    snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/test_daemon_%d.sock", getpid());
    unlink(un.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    setenv("NOTIFY_SOCKET", un.sun_path, 1);
    daemon_ready("serving %d routes", 7);
    expect(fd, "READY=1\nSTATUS=serving 7 routes");
    daemon_status("draining");
    expect(fd, "STATUS=draining");
    daemon_stopping();
    expect(fd, "STOPPING=1\nSTATUS=stopping");

    daemon_watchdog(loop, NULL, NULL); /* not wanted: nothing happens */
    loop_advance(loop, 100000);
    expect(fd, NULL);
    setenv("WATCHDOG_USEC", "10000000", 1);
    alive = false; /* nothing is known yet: the first word is given at once */
    daemon_watchdog(loop, is_alive, &alive);
    expect(fd, "WATCHDOG=1");
    alive = true;
    loop_advance(loop, 4999);
    expect(fd, NULL);
    loop_advance(loop, 1);
    expect(fd, "WATCHDOG=1");
    alive = false;
    loop_advance(loop, 20000);
    expect(fd, NULL);
    alive = true;
    loop_advance(loop, 5000);
    expect(fd, "WATCHDOG=1");

    daemon_hand_over(123);
    expect(fd, "MAINPID=123");
    daemon_status("not ours to say any more");
    loop_advance(loop, 20000);
    expect(fd, NULL);
    unlink(un.sun_path);
    close(fd);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line),
        cmocka_unit_test(help_version_and_print_config_end_well),
        cmocka_unit_test(descriptors_are_taken_once_by_name),
        cmocka_unit_test(systemd_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
