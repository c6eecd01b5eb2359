/* SPDX-License-Identifier: MIT */
#include "common/loop.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/loop_state.h"
#include "common/mem.h"

#define LOOP_SETTLE_TURNS 10000 /* of one step of loop_advance: a test that never comes to rest ends */

static void on_late(void *arg);

static struct loop *make(bool fake)
{
    struct loop *loop = xcalloc(1, sizeof(*loop));

    loop_watch_init(loop);
    list_init(&loop->tasks);
    list_init(&loop->ends);
    list_init(&loop->late[0]);
    list_init(&loop->late[1]);
    timer_init(&loop->late_timer, loop, on_late, loop);
    loop->later_tail = &loop->later;
    loop->fake = fake;
    if (fake) {
        loop->now.us = 1000 * CLOCK_US_PER_S;
        loop->wall.us = INT64_C(1700000000) * CLOCK_US_PER_S;
    }
    return loop;
}

struct loop *loop_new(void)
{
    return make(false);
}

struct loop *loop_new_fake(void)
{
    return make(true);
}

static void run_later(struct loop *loop)
{
    while (loop->later) {
        struct later *l = loop->later;
        loop->later = l->next;
        if (!loop->later)
            loop->later_tail = &loop->later;
        l->fn(l->obj);
        if (loop->n_spare >= LOOP_SPARE_MAX) {
            free(l);
            continue;
        }
        l->next = loop->spare;
        loop->spare = l;
        loop->n_spare++;
    }
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    run_later(loop);
    for (size_t i = 0; i < loop->n_heap; i++)
        loop->heap[i]->heap_index = -1;
    loop_watch_done(loop);
    while (loop->spare) {
        struct later *l = loop->spare;
        loop->spare = l->next;
        free(l);
    }
    free(loop->heap);
    free(loop);
}

/* --- time ------------------------------------------------------------------------------------------------ */

static void learn_now(struct loop *loop)
{
    if (loop->now_known || loop->fake)
        return;
    loop->now = clock_mono();
    loop->wall = clock_wall();
    loop->now_known = true;
}

mono_t loop_now(const struct loop *loop)
{
    learn_now((struct loop *)loop); /* a cache: the caller's view does not change */
    return loop->now;
}

wall_t loop_wall(const struct loop *loop)
{
    learn_now((struct loop *)loop);
    return loop->wall;
}

/* --- the heap of timers ---------------------------------------------------------------------------------- */

static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->due.us != b->due.us ? a->due.us < b->due.us : a->seq < b->seq;
}

static void heap_put(struct loop *loop, size_t i, struct timer *t)
{
    loop->heap[i] = t;
    t->heap_index = (int)i;
}

static void heap_up(struct loop *loop, size_t i, struct timer *t)
{
    while (i > 0 && is_before(t, loop->heap[(i - 1) / 2])) {
        heap_put(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(loop, i, t);
}

static void heap_down(struct loop *loop, size_t i, struct timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->n_heap)
            break;
        if (child + 1 < loop->n_heap && is_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!is_before(loop->heap[child], t))
            break;
        heap_put(loop, i, loop->heap[child]);
        i = child;
    }
    heap_put(loop, i, t);
}

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg)
{
    *t = (struct timer){ .loop = loop, .fn = fn, .arg = arg, .heap_index = -1 };
}

void timer_clear(struct timer *t)
{
    struct loop *loop = t->loop;
    if (!timer_is_set(t))
        return;
    size_t i = (size_t)t->heap_index;
    struct timer *last = loop->heap[--loop->n_heap];
    t->heap_index = -1;
    if (last == t)
        return;
    if (i > 0 && is_before(last, loop->heap[(i - 1) / 2]))
        heap_up(loop, i, last);
    else
        heap_down(loop, i, last);
}

void timer_done(struct timer *t)
{
    timer_clear(t);
}

void timer_set(struct timer *t, int64_t in_ms)
{
    struct loop *loop = t->loop;
    assert(loop && t->fn);
    timer_clear(t);
    if (in_ms < 0)
        in_ms = 0;
    t->due.us = loop_now(loop).us;
    if (__builtin_mul_overflow(in_ms, CLOCK_US_PER_MS, &in_ms) ||
        __builtin_add_overflow(t->due.us, in_ms, &t->due.us))
        t->due.us = INT64_MAX;
    t->seq = ++loop->seq;
    assert(loop->n_heap < INT_MAX);
    loop->heap = xgrow(loop->heap, loop->n_heap, &loop->heap_cap, sizeof(*loop->heap));
    loop->n_heap++;
    heap_up(loop, loop->n_heap - 1, t);
}

bool timer_is_set(const struct timer *t)
{
    return t->loop && t->heap_index >= 0;
}

/* Runs what is due now; what is armed meanwhile waits for the next pass, so that a timer of 0 ms can't keep the
 * loop for itself. */
static void run_timers(struct loop *loop)
{
    uint64_t limit = loop->seq;
    mono_t now = loop_now(loop);

    while (loop->n_heap > 0 && loop->heap[0]->due.us <= now.us && loop->heap[0]->seq <= limit) {
        struct timer *t = loop->heap[0];
        timer_clear(t);
        loop->n_handled++;
        t->fn(t->arg);
    }
}

/* --- tasks ----------------------------------------------------------------------------------------------- */

void task_init(struct task *task, void (*fn)(void *arg), void *arg)
{
    list_init(&task->link);
    task->fn = fn;
    task->arg = arg;
}

void task_done(struct task *task)
{
    if (task->link.next)
        list_remove(&task->link);
}

void loop_soon(struct loop *loop, struct task *task)
{
    if (list_empty(&task->link))
        list_append(&loop->tasks, &task->link);
}

void loop_at_end(struct loop *loop, struct task *task)
{
    if (list_empty(&task->link))
        list_append(&loop->ends, &task->link);
}

static void run_tasks(struct loop *loop, struct list *batch)
{
    while (!list_empty(batch)) {
        struct task *task = list_first(batch, struct task, link);
        list_remove(&task->link);
        loop->n_handled++;
        task->fn(task->arg);
    }
}

static void move_tasks(struct list *tasks, struct list *batch)
{
    list_init(batch);
    if (list_empty(tasks))
        return;
    *batch = *tasks;
    batch->next->prev = batch->prev->next = batch;
    list_init(tasks);
}

/* --- late tasks: two generations and one timer ----------------------------------------------------------- */

static void on_late(void *arg)
{
    struct loop *loop = arg;
    struct list due;
    move_tasks(&loop->late[1], &due);
    move_tasks(&loop->late[0], &loop->late[1]);
    if (!list_empty(&loop->late[1]))
        timer_set(&loop->late_timer, LOOP_LATE_MS);
    run_tasks(loop, &due);
}

void loop_late(struct loop *loop, struct task *task)
{
    if (!list_empty(&task->link))
        return;
    list_append(&loop->late[0], &task->link);
    if (!timer_is_set(&loop->late_timer))
        timer_set(&loop->late_timer, LOOP_LATE_MS);
}

/* --- frees ----------------------------------------------------------------------------------------------- */

void loop_free_later(struct loop *loop, void *obj, void (*fn)(void *obj))
{
    struct later *l = loop->spare;
    if (l) {
        loop->spare = l->next;
        loop->n_spare--;
    } else {
        l = xmalloc(sizeof(*l));
    }
    *l = (struct later){ .obj = obj, .fn = fn };
    *loop->later_tail = l;
    loop->later_tail = &l->next;
}

/* --- turns ----------------------------------------------------------------------------------------------- */

/* How long this turn may wait at most, in milliseconds; -1: for ever. Fake time does not pass by waiting. */
static int64_t patience_ms(struct loop *loop, int wait_ms)
{
    if (wait_ms == 0 || loop->later || !list_empty(&loop->tasks) || !list_empty(&loop->ends))
        return 0;
    if (loop->n_heap == 0)
        return wait_ms;
    int64_t left_us = loop->heap[0]->due.us - (loop->fake ? loop->now.us : clock_mono().us);
    if (left_us <= 0)
        return 0;
    if (loop->fake)
        return wait_ms;
    int64_t left_ms = (left_us - 1) / CLOCK_US_PER_MS + 1;
    return wait_ms < 0 || left_ms < wait_ms ? left_ms : wait_ms;
}

bool loop_turn(struct loop *loop, int wait_ms)
{
    uint64_t before = loop->n_handled;
    struct list batch;
    int64_t wait = patience_ms(loop, wait_ms);

    move_tasks(&loop->tasks, &batch);
    loop->now_known = false;
    loop_watch_turn(loop, wait > INT_MAX ? INT_MAX : (int)wait);
    run_tasks(loop, &batch);
    run_timers(loop);
    move_tasks(&loop->ends, &batch);
    run_tasks(loop, &batch);
    run_later(loop);
    return loop->n_handled != before;
}

void loop_run(struct loop *loop)
{
    loop->stopped = false;
    while (!loop->stopped)
        loop_turn(loop, -1);
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

static void settle(struct loop *loop)
{
    for (int i = 0; i < LOOP_SETTLE_TURNS && loop_turn(loop, 0); i++)
        ;
}

void loop_advance(struct loop *loop, int64_t ms)
{
    assert(loop->fake);
    int64_t target = loop->now.us + ms * CLOCK_US_PER_MS;
    int64_t skew = loop->wall.us - loop->now.us;

    settle(loop);
    while (loop->n_heap > 0 && loop->heap[0]->due.us <= target) {
        if (loop->heap[0]->due.us > loop->now.us)
            loop->now.us = loop->heap[0]->due.us;
        loop->wall.us = loop->now.us + skew;
        settle(loop);
    }
    loop->now.us = target;
    loop->wall.us = target + skew;
}
