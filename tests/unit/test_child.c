/* SPDX-License-Identifier: MIT */
#include "common/child.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"

#define TURNS_MAX 20000

struct run {
    struct loop *loop;
    struct child *child;
    struct strbuf out, err;
    int ends_out, ends_err, exits, drains;
    int status;
    bool free_at_exit, free_at_output;
};

static void on_stdout(struct child *child, const char *data, size_t len, void *arg)
{
    struct run *r = arg;
    assert_int_equal(r->exits, 0);
    assert_int_equal(r->ends_out, 0);
    r->ends_out += len == 0;
    strbuf_add(&r->out, data, len);
    if (r->free_at_output) {
        child_free(child);
        r->child = NULL;
    }
}

static void on_stderr(struct child *child, const char *data, size_t len, void *arg)
{
    struct run *r = arg;
    assert_int_equal(r->exits, 0);
    r->ends_err += len == 0;
    strbuf_add(&r->err, data, len);
}

static void on_drained(struct child *child, void *arg)
{
    ((struct run *)arg)->drains++;
}

static void on_exit_(struct child *child, int status, void *arg)
{
    struct run *r = arg;
    r->exits++;
    r->status = status;
    if (r->free_at_exit) {
        child_free(child);
        r->child = NULL;
    }
}

static const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", NULL };

static int start(struct run *r, struct child_spec spec, const char *script, struct error *err)
{
    const char *argv[] = { "/bin/sh", "-c", script, NULL };
    *r = (struct run){
        .loop = loop_new(), .free_at_exit = r->free_at_exit, .free_at_output = r->free_at_output
    };
    if (!spec.argv)
        spec.argv = argv;
    spec.env = env;
    spec.on_exit = on_exit_;
    spec.arg = r;
    return child_start(r->loop, &spec, &r->child, err);
}

static void run_to_exit(struct run *r)
{
    for (int i = 0; i < TURNS_MAX && r->exits == 0; i++)
        loop_turn(r->loop, 1000);
    assert_int_equal(r->exits, 1);
}

static void done(struct run *r)
{
    child_free(r->child);
    for (int i = 0; i < 3; i++)
        loop_turn(r->loop, 0);
    loop_free(r->loop);
    strbuf_done(&r->out);
    strbuf_done(&r->err);
}

static void output_and_status_arrive_once_and_in_order(void **state)
{
    struct run r = { 0 };
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout, .on_stderr = on_stderr },
                         "echo out; echo err >&2; exit 3", &(struct error){ 0 }),
        0);
    run_to_exit(&r);
    assert_string_equal(strbuf_str(&r.out), "out\n");
    assert_string_equal(strbuf_str(&r.err), "err\n");
    assert_int_equal(r.ends_out, 1);
    assert_int_equal(r.ends_err, 1);
    char text[64];
    assert_string_equal(child_status_text(r.status, text), "exited with status 3");
    done(&r);
    assert_int_equal(r.exits, 1);
}

static void stderr_can_be_merged(void **state)
{
    struct run r = { 0 };
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout, .merge_stderr = true },
                         "echo a; echo b >&2; echo c", &(struct error){ 0 }),
        0);
    run_to_exit(&r);
    assert_string_equal(strbuf_str(&r.out), "a\nb\nc\n");
    done(&r);
}

static void a_signal_is_named(void **state)
{
    struct run r = { 0 };
    assert_int_equal(start(&r, (struct child_spec){ 0 }, "kill -SEGV $$", &(struct error){ 0 }), 0);
    run_to_exit(&r);
    char text[64];
    assert_string_equal(child_status_text(r.status, text), "killed by SIGSEGV");
    done(&r);
}

static void a_program_that_is_not_there_is_refused_at_start(void **state)
{
    struct run r = { 0 };
    struct error err = { 0 };
    const char *argv[] = { "/nonexistent/program", NULL };
    assert_int_equal(start(&r, (struct child_spec){ .argv = argv }, NULL, &err), -ENOENT);
    assert_string_equal(err.text, "/nonexistent/program: can't run it: No such file or directory");
    done(&r);
    struct run q = { 0 };
    assert_int_equal(start(&q, (struct child_spec){ .cwd = "/nonexistent" }, "true", &err), -ENOENT);
    assert_non_null(strstr(err.text, "can't change to its directory"));
    done(&q);
    assert_int_equal(r.exits + q.exits, 0);
}

/* The child sees 0, 1, 2 and nothing else, default signals, its own group, our environment only. */
static void the_child_is_clean(void **state)
{
    struct run r = { 0 };
    int leak = dup(0); /* not close-on-exec: an embarrassment of some library */
    signal(SIGUSR2, SIG_IGN);
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout },
                         "cd /proc/$$/fd; echo *; grep SigIgn /proc/$$/status; env | grep -c .; "
                         "test $(ps -o pgid= -p $$) = $$ && echo own group; pwd",
                         &(struct error){ 0 }),
        0);
    run_to_exit(&r);
    const char *text = strbuf_str(&r.out);
    assert_non_null(strstr(text, "0 1 2 3\n")); /* 3 is the shell reading the directory */
    assert_non_null(strstr(text, "SigIgn:\t0000000000000000\n"));
    assert_non_null(strstr(text, "own group\n"));
    done(&r);
    close(leak);
    signal(SIGUSR2, SIG_DFL);
}

static void stdin_is_fed_under_back_pressure(void **state)
{
    struct run r = { 0 };
    enum { CHUNK = 65536, N = 64 };
    char *data = xmalloc(CHUNK);
    memset(data, 'x', CHUNK);
    assert_int_equal(
        start(&r,
            (struct child_spec){
                .stdin_kind = CHILD_STDIN_PIPE, .on_stdout = on_stdout, .on_drained = on_drained },
            "sleep 0.05; wc -c", &(struct error){ 0 }),
        0);
    size_t waiting = 0;
    for (int i = 0; i < N; i++)
        waiting = child_write(r.child, data, CHUNK);
    assert_int_equal(waiting, (size_t)CHUNK * N);
    for (int i = 0; i < TURNS_MAX && r.drains == 0; i++)
        loop_turn(r.loop, 1000);
    assert_int_equal(r.drains, 1);
    child_write(r.child, "end", 3);
    child_close_stdin(r.child);
    run_to_exit(&r);
    assert_string_equal(strbuf_str(&r.out), "4194307\n");
    free(data);
    done(&r);
}

static void a_child_that_closes_stdin_harms_nobody(void **state)
{
    struct run r = { 0 };
    char *data = xcalloc(1, 1 << 20);
    assert_int_equal(
        start(&r, (struct child_spec){ .stdin_kind = CHILD_STDIN_PIPE, .on_drained = on_drained },
            "exec <&-; sleep 0.1", &(struct error){ 0 }),
        0);
    child_write(r.child, data, 1 << 20);
    run_to_exit(&r);
    assert_int_equal(r.drains, 1);
    assert_int_equal(child_write(r.child, data, 10), 0);
    free(data);
    done(&r);
}

static void stdout_can_be_paused_beyond_the_exit(void **state)
{
    struct run r = { 0 };
    assert_int_equal(
        start(&r, (struct child_spec){ .on_stdout = on_stdout }, "echo late", &(struct error){ 0 }), 0);
    child_pause_stdout(r.child, true);
    mono_t until = { clock_mono().us + 1500 * CLOCK_US_PER_MS };
    while (clock_mono().us < until.us)
        loop_turn(r.loop, 100);
    assert_int_equal(r.exits, 0);
    assert_int_equal(r.out.len, 0);
    child_pause_stdout(r.child, false);
    run_to_exit(&r);
    assert_string_equal(strbuf_str(&r.out), "late\n");
    done(&r);
}

static void on_stdout_once(struct child *child, const char *data, size_t len, void *arg)
{
    struct run *r = arg;
    if (r->out.len == 0)
        child_pause_stdout(child, true);
    on_stdout(child, data, len, arg);
}

static void on_resume(void *arg)
{
    struct run *r = arg;
    child_pause_stdout(r->child, false);
}

/* Whoever reads slowly goes on in the turn in which the second after the exit is over. */
static void nothing_is_lost_when_reading_goes_on_late(void **state)
{
    struct run r = { .loop = loop_new_fake() };
    const char *argv[] = { "/bin/sh", "-c", "head -c 60000 /dev/zero", NULL };
    struct child_spec spec = {
        .argv = argv, .env = env, .on_stdout = on_stdout_once, .on_exit = on_exit_, .arg = &r
    };
    struct timer resume;
    timer_init(&resume, r.loop, on_resume, &r);
    timer_set(&resume, 1000);
    assert_int_equal(child_start(r.loop, &spec, &r.child, &(struct error){ 0 }), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child_pid(r.child), &info, WEXITED | WNOWAIT), 0);
    for (int i = 0; i < 20; i++)
        loop_turn(r.loop, 0);
    assert_in_range(r.out.len, 1, 59999);
    loop_advance(r.loop, 3000);
    assert_int_equal(r.out.len, 60000);
    assert_int_equal(r.exits, 1);
    done(&r);
}

static void a_descendant_holding_the_pipe_is_waited_for_a_second_only(void **state)
{
    struct run r = { 0 };
    mono_t before = clock_mono();
    assert_int_equal(
        start(&r, (struct child_spec){ .on_stdout = on_stdout }, "sleep 5 & echo $!", &(struct error){ 0 }),
        0);
    run_to_exit(&r);
    int64_t took = mono_diff_ms(clock_mono(), before);
    assert_true(took >= 900 && took < 4000);
    kill((pid_t)strtol(strbuf_str(&r.out), NULL, 10), SIGKILL);
    done(&r);
}

static void freeing_kills_the_group_and_silences(void **state)
{
    struct run r = { 0 };
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout },
                         "trap '' TERM; sleep 60 & echo $!; wait", &(struct error){ 0 }),
        0);
    for (int i = 0; i < TURNS_MAX && !strchr(strbuf_str(&r.out), '\n'); i++)
        loop_turn(r.loop, 1000);
    pid_t grandchild = (pid_t)strtol(strbuf_str(&r.out), NULL, 10);
    pid_t pid = child_pid(r.child);
    child_free(r.child);
    r.child = NULL;
    assert_int_equal(kill(pid, 0), -1); /* reaped, so the number is free */
    int gone = 0;
    for (int i = 0; i < 100 && !gone; i++) {
        char path[64], line[256] = "";
        snprintf(path, sizeof(path), "/proc/%d/stat", grandchild);
        FILE *f = fopen(path, "re");
        if (!f || !fgets(line, sizeof(line), f) || strstr(line, ") Z"))
            gone = 1;
        if (f)
            fclose(f);
        loop_turn(r.loop, 10);
    }
    assert_true(gone);
    assert_int_equal(r.exits, 0);
    assert_int_equal(r.ends_out, 0);
    done(&r);
}

static void freed_inside_its_own_callbacks(void **state)
{
    struct run a = { .free_at_exit = true };
    assert_int_equal(
        start(&a, (struct child_spec){ .on_stdout = on_stdout }, "echo x", &(struct error){ 0 }), 0);
    run_to_exit(&a);
    done(&a);
    struct run b = { .free_at_output = true };
    assert_int_equal(
        start(&b, (struct child_spec){ .on_stdout = on_stdout }, "echo x; sleep 60", &(struct error){ 0 }),
        0);
    for (int i = 0; i < TURNS_MAX && b.child; i++)
        loop_turn(b.loop, 1000);
    done(&b);
    assert_int_equal(b.exits, 0);
    assert_int_equal(b.ends_out, 0);
}

static void kill_reaches_the_whole_group(void **state)
{
    struct run r = { 0 };
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout }, "echo up; sleep 60; true",
                         &(struct error){ 0 }),
        0);
    for (int i = 0; i < TURNS_MAX && r.out.len == 0; i++)
        loop_turn(r.loop, 1000);
    child_kill(r.child, SIGTERM);
    run_to_exit(&r);
    char text[64];
    assert_string_equal(child_status_text(r.status, text), "killed by SIGTERM");
    done(&r);
}

static void limits_are_set(void **state)
{
    struct run r = { 0 };
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(start(&r, (struct child_spec){ .on_stdout = on_stdout, .max_address_space = 64 << 20 },
                         "ulimit -v; ulimit -n", &(struct error){ 0 }),
        0);
    run_to_exit(&r);
    assert_string_equal(strbuf_str(&r.out), "65536\n1024\n");
    done(&r);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_status_arrive_once_and_in_order),
        cmocka_unit_test(stderr_can_be_merged),
        cmocka_unit_test(a_signal_is_named),
        cmocka_unit_test(a_program_that_is_not_there_is_refused_at_start),
        cmocka_unit_test(the_child_is_clean),
        cmocka_unit_test(stdin_is_fed_under_back_pressure),
        cmocka_unit_test(a_child_that_closes_stdin_harms_nobody),
        cmocka_unit_test(stdout_can_be_paused_beyond_the_exit),
        cmocka_unit_test(nothing_is_lost_when_reading_goes_on_late),
        cmocka_unit_test(a_descendant_holding_the_pipe_is_waited_for_a_second_only),
        cmocka_unit_test(freeing_kills_the_group_and_silences),
        cmocka_unit_test(freed_inside_its_own_callbacks),
        cmocka_unit_test(kill_reaches_the_whole_group),
        cmocka_unit_test(limits_are_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
