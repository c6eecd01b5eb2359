/* SPDX-License-Identifier: MIT */
#include "common/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <signal.h>
#include <unistd.h>

#include "common/mem.h"

/* Everything that runs writes a letter here. */
static char trace[256];

static void mark(char c)
{
    size_t n = strlen(trace);
    assert_true(n < sizeof(trace) - 1);
    trace[n] = c;
    trace[n + 1] = '\0';
}

struct marker {
    struct timer timer;
    struct task task;
    char letter;
    int64_t again_ms; /* -1: no */
    int left;
};

static void on_marker(void *arg)
{
    struct marker *m = arg;
    mark(m->letter);
    if (m->again_ms >= 0 && m->left-- > 0)
        timer_set(&m->timer, m->again_ms);
}

static struct loop *start(void)
{
    trace[0] = '\0';
    return loop_new_fake();
}

static void timers_run_in_order_of_time_then_of_arming(void **state)
{
    struct loop *loop = start();
    static const struct {
        char letter;
        int64_t ms;
    } rows[] = { { 'd', 40 }, { 'a', 10 }, { 'e', 40 }, { 'b', 20 }, { 'c', 30 }, { 'f', 50 } };
    struct marker m[ARRAY_SIZE(rows)];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        m[i] = (struct marker){ .letter = rows[i].letter, .again_ms = -1 };
        timer_init(&m[i].timer, loop, on_marker, &m[i]);
        timer_set(&m[i].timer, rows[i].ms);
    }
    loop_advance(loop, 9);
    assert_string_equal(trace, "");
    loop_advance(loop, 31);
    assert_string_equal(trace, "abcde");
    loop_advance(loop, 100);
    assert_string_equal(trace, "abcdef");
    loop_free(loop);
}

static void cleared_and_moved_timers(void **state)
{
    struct loop *loop = start();
    struct marker m[3] = { { .letter = 'a', .again_ms = -1 }, { .letter = 'b', .again_ms = -1 },
        { .letter = 'c', .again_ms = -1 } };
    for (int i = 0; i < 3; i++) {
        timer_init(&m[i].timer, loop, on_marker, &m[i]);
        timer_set(&m[i].timer, 10 + i);
    }
    timer_clear(&m[1].timer);
    timer_clear(&m[1].timer);
    timer_set(&m[0].timer, 100);
    assert_false(timer_is_set(&m[1].timer));
    loop_advance(loop, 50);
    assert_string_equal(trace, "c");
    loop_advance(loop, 50);
    assert_string_equal(trace, "ca");
    struct timer zero = { 0 };
    timer_done(&zero);
    loop_free(loop);
}

static void a_heap_of_many_stays_in_order(void **state)
{
    struct loop *loop = start();
    enum { N = 1000 };
    struct marker *m = xcalloc(N, sizeof(*m));
    unsigned seed = 7;

    for (int i = 0; i < N; i++) {
        m[i].again_ms = -1;
        m[i].letter = 'x';
        timer_init(&m[i].timer, loop, on_marker, &m[i]);
    }
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245 + 12345;
        int i = (int)((seed >> 16) % N);
        if (seed & 0x40000000)
            timer_clear(&m[i].timer);
        else
            timer_set(&m[i].timer, 1 + (seed >> 8) % 5000);
    }
    /* Each one's index must find it: clearing all leaves nothing. */
    for (int i = 0; i < N; i += 2)
        timer_clear(&m[i].timer);
    mono_t last = loop_now(loop);
    int n = 0;
    for (int i = 1; i < N; i += 2)
        n += timer_is_set(&m[i].timer);
    for (; n > 0; n--) {
        struct marker *next = NULL;
        for (int i = 1; i < N; i += 2)
            if (timer_is_set(&m[i].timer) && (!next || m[i].timer.due.us < next->timer.due.us))
                next = &m[i];
        assert_true(next->timer.due.us >= last.us);
        last = next->timer.due;
        loop_advance(loop, (next->timer.due.us - loop_now(loop).us) / CLOCK_US_PER_MS);
        assert_false(timer_is_set(&next->timer));
        trace[0] = '\0';
        n = 1;
        for (int i = 1; i < N; i += 2)
            n += timer_is_set(&m[i].timer);
    }
    free(m);
    loop_free(loop);
}

static void a_timer_of_zero_lets_others_run(void **state)
{
    struct loop *loop = start();
    struct marker a = { .letter = 'a', .again_ms = 0, .left = 3 };
    struct marker b = { .letter = 'b', .again_ms = -1 };
    timer_init(&a.timer, loop, on_marker, &a);
    timer_init(&b.timer, loop, on_marker, &b);
    timer_set(&a.timer, 0);
    loop_turn(loop, 0);
    timer_set(&b.timer, 0);
    loop_turn(loop, 0);
    assert_string_equal(trace, "aab");
    while (loop_turn(loop, 0))
        ;
    assert_string_equal(trace, "aabaa");
    loop_free(loop);
}

static void time_moves_only_when_told(void **state)
{
    struct loop *loop = start();
    mono_t before = loop_now(loop);
    wall_t wall = loop_wall(loop);
    loop_turn(loop, 0);
    assert_int_equal(loop_now(loop).us, before.us);
    loop_advance(loop, 1500);
    assert_int_equal(mono_diff_ms(loop_now(loop), before), 1500);
    assert_int_equal(wall_diff_ms(loop_wall(loop), wall), 1500);
    loop_free(loop);
}

static void real_time_moves_by_itself(void **state)
{
    trace[0] = '\0';
    struct loop *loop = loop_new();
    struct marker m = { .letter = 'a', .again_ms = -1 };
    mono_t before = loop_now(loop);
    timer_init(&m.timer, loop, on_marker, &m);
    timer_set(&m.timer, 20);
    assert_true(loop_turn(loop, -1));
    assert_string_equal(trace, "a");
    assert_true(mono_diff_ms(loop_now(loop), before) >= 20);
    loop_free(loop);
}

static void on_stop(void *arg)
{
    loop_stop(arg);
}

static void run_ends_by_stop(void **state)
{
    struct loop *loop = loop_new();
    struct timer t;
    timer_init(&t, loop, on_stop, loop);
    timer_set(&t, 1);
    loop_run(loop);
    loop_free(loop);
}

static void tasks_run_once_and_can_be_cancelled(void **state)
{
    struct loop *loop = start();
    struct marker a = { .letter = 'a', .again_ms = -1 }, b = { .letter = 'b', .again_ms = -1 };
    task_init(&a.task, on_marker, &a);
    task_init(&b.task, on_marker, &b);
    loop_soon(loop, &a.task);
    loop_soon(loop, &a.task);
    loop_soon(loop, &b.task);
    task_done(&b.task);
    loop_turn(loop, -1); /* does not wait */
    loop_turn(loop, 0);
    assert_string_equal(trace, "a");
    loop_free(loop);
}

static void late_tasks_run_after_a_while_unless_cancelled(void **state)
{
    struct loop *loop = start();
    struct marker a = { .letter = 'a', .again_ms = -1 }, b = { .letter = 'b', .again_ms = -1 };
    struct marker c = { .letter = 'c', .again_ms = -1 };
    task_init(&a.task, on_marker, &a);
    task_init(&b.task, on_marker, &b);
    task_init(&c.task, on_marker, &c);
    loop_late(loop, &a.task);
    loop_late(loop, &b.task);
    loop_advance(loop, LOOP_LATE_MS - 1);
    loop_late(loop, &c.task);
    loop_advance(loop, 2); /* the first is between one and two spans old now, the last just begun */
    assert_string_equal(trace, "");
    task_done(&b.task);
    loop_advance(loop, LOOP_LATE_MS);
    assert_true(strchr(trace, 'a') != NULL);
    assert_true(strchr(trace, 'b') == NULL);
    loop_advance(loop, LOOP_LATE_MS);
    assert_string_equal(trace, "ac");
    loop_late(loop, &a.task); /* and again, once all were done */
    loop_advance(loop, 2 * LOOP_LATE_MS);
    assert_string_equal(trace, "aca");
    loop_free(loop);
}

struct pipe_watch {
    struct io *io;
    int fd;
};

static void on_pipe(unsigned ready, void *arg)
{
    struct pipe_watch *w = arg;
    char c;
    assert_int_equal(ready, IO_READ);
    assert_int_equal(read(w->fd, &c, 1), 1);
    mark(c);
    if (c == 'q') {
        io_free(w->io);
        w->io = NULL;
    }
}

static void descriptors_are_watched_paused_and_freed_inside(void **state)
{
    struct loop *loop = start();
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct pipe_watch w = { .fd = fds[0] };
    w.io = io_new(loop, fds[0], IO_READ, on_pipe, &w);
    assert_int_equal(write(fds[1], "abqz", 4), 4);
    assert_true(loop_turn(loop, -1)); /* level-triggered: one byte a turn */
    assert_string_equal(trace, "a");
    io_set(w.io, 0);
    assert_false(loop_turn(loop, 0));
    io_set(w.io, IO_READ);
    while (loop_turn(loop, 0))
        ;
    assert_string_equal(trace, "abq");
    assert_null(w.io);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

struct closer {
    struct loop *loop;
    int fds[2], other[2];
};

static void on_other(void *owner, unsigned events)
{
    mark('x');
}

/* Closes the second descriptor and gives its number to another, both inside the first one's event. */
static void on_first(void *owner, unsigned events)
{
    struct closer *c = owner;
    mark('1');
    loop_unwatch(c->loop, c->other[0], &c->other, true);
    int number = c->other[0], fresh[2];
    close(number);
    assert_int_equal(pipe(fresh), 0);
    if (fresh[0] != number) {
        assert_int_equal(dup2(fresh[0], number), number);
        close(fresh[0]);
    }
    assert_int_equal(loop_watch(c->loop, number, LOOP_READ | LOOP_EDGES, on_other, c->fds), 0);
    close(c->other[1]);
    c->other[1] = fresh[1];
}

static void an_event_of_a_descriptor_that_was_closed_reaches_nobody(void **state)
{
    struct loop *loop = start();
    struct closer c = { .loop = loop };
    assert_int_equal(pipe(c.fds), 0);
    assert_int_equal(pipe(c.other), 0);
    assert_int_equal(loop_watch(loop, c.fds[0], LOOP_READ | LOOP_EDGES, on_first, &c), 0);
    assert_int_equal(loop_watch(loop, c.other[0], LOOP_READ | LOOP_EDGES, on_other, &c.other), 0);
    /* Both are ready in one turn; the second event is the old descriptor's. */
    assert_int_equal(write(c.fds[1], "a", 1), 1);
    assert_int_equal(write(c.other[1], "b", 1), 1);
    loop_turn(loop, 0);
    assert_string_equal(trace, "1");
    assert_int_equal(write(c.other[1], "c", 1), 1); /* the new one's own */
    loop_turn(loop, 0);
    assert_string_equal(trace, "1x");
    loop_unwatch(loop, c.other[0], c.fds, true);
    loop_unwatch(loop, c.fds[0], &c, true);
    for (int i = 0; i < 2; i++) {
        close(c.fds[i]);
        close(c.other[i]);
    }
    loop_free(loop);
}

static void on_usr1(int signo, void *arg)
{
    mark(*(char *)arg);
}

static void signals_run_in_the_loop_and_are_replaced(void **state)
{
    struct loop *loop = start();
    char a = 'a', b = 'b';
    loop_on_signal(loop, SIGUSR1, on_usr1, &a);
    raise(SIGUSR1);
    assert_string_equal(trace, "");
    loop_turn(loop, -1);
    loop_on_signal(loop, SIGUSR1, on_usr1, &b);
    raise(SIGUSR1);
    loop_turn(loop, -1);
    assert_string_equal(trace, "ab");
    loop_free(loop);
}

static struct loop *nested;

static void free_marker(void *obj)
{
    mark(*(char *)obj);
    if (*(char *)obj == 'a') {
        static char b = 'b';
        loop_free_later(nested, &b, free_marker);
    }
}

static void frees_wait_for_the_end_of_the_turn(void **state)
{
    struct loop *loop = nested = start();
    struct marker m = { .letter = 't', .again_ms = -1 };
    char a = 'a';
    timer_init(&m.timer, loop, on_marker, &m);
    timer_set(&m.timer, 0);
    loop_free_later(loop, &a, free_marker);
    loop_turn(loop, -1);
    assert_string_equal(trace, "tab");
    char c = 'c';
    loop_free_later(loop, &c, free_marker);
    loop_free(loop);
    assert_string_equal(trace, "tabc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_run_in_order_of_time_then_of_arming),
        cmocka_unit_test(cleared_and_moved_timers),
        cmocka_unit_test(a_heap_of_many_stays_in_order),
        cmocka_unit_test(a_timer_of_zero_lets_others_run),
        cmocka_unit_test(time_moves_only_when_told),
        cmocka_unit_test(real_time_moves_by_itself),
        cmocka_unit_test(run_ends_by_stop),
        cmocka_unit_test(tasks_run_once_and_can_be_cancelled),
        cmocka_unit_test(late_tasks_run_after_a_while_unless_cancelled),
        cmocka_unit_test(an_event_of_a_descriptor_that_was_closed_reaches_nobody),
        cmocka_unit_test(descriptors_are_watched_paused_and_freed_inside),
        cmocka_unit_test(signals_run_in_the_loop_and_are_replaced),
        cmocka_unit_test(frees_wait_for_the_end_of_the_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
