/* SPDX-License-Identifier: MIT */
#pragma once

/* One event loop over epoll: descriptors, timers, signals, and work put off until the turn ends. One loop belongs to one
 * thread; nothing here locks. Sockets belong to wire.h; this serves the descriptors of other libraries
 * (sd-bus, sd-journal, eventfd) and all time.
 *
 * Nothing is freed inside its own callback: hand it to loop_free_later. */

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/list.h"

struct loop;

struct loop *loop_new(void);
/* A loop whose clocks stand still until loop_advance moves them: for tests. */
struct loop *loop_new_fake(void);
void loop_free(struct loop *loop);

/* Runs until loop_stop; returns after the turn in which it was called. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One turn: waits at most wait_ms (0 = not at all, -1 = until something happens) and handles what is due.
 * True if anything was handled. */
bool loop_turn(struct loop *loop, int wait_ms);
/* Fake loops: moves both clocks on by ms, running what falls due on the way, in order. */
void loop_advance(struct loop *loop, int64_t ms);

mono_t loop_now(const struct loop *loop);
wall_t loop_wall(const struct loop *loop);

/* For wire.c: a descriptor of its own, by edges or not, told in the kernel's words. One watch per descriptor; another call
 * of the same owner replaces what is waited for. Negative errno: it can't be watched (a plain file). */
enum { LOOP_READ = 0x1, LOOP_WRITE = 0x4, LOOP_BROKEN = 0x18, LOOP_EOF = 0x2000 };
#define LOOP_EDGES (1U << 31)
typedef void (*loop_ready_fn)(void *owner, unsigned events);
_must_check_ int loop_watch(struct loop *loop, int fd, uint32_t events, loop_ready_fn fn, void *owner);
/* `closing`: the descriptor is closed right behind it. */
void loop_unwatch(struct loop *loop, int fd, const void *owner, bool closing);
/* Another owner, with the same words and function, is told from now on. */
void loop_pass_watch(struct loop *loop, int fd, const void *from, void *to);

/* fn(obj) runs once, when the present turn is over. */
void loop_free_later(struct loop *loop, void *obj, void (*fn)(void *obj));

/* --- timers: embedded, one shot, re-armed by timer_set ------------------------------------------------- */

typedef void (*timer_fn)(void *arg);

struct timer {
    struct loop *loop;
    timer_fn fn;
    void *arg;
    mono_t due;
    uint64_t seq;   /* order of arming: breaks ties, and keeps a timer set in a pass for the next */
    int heap_index; /* -1: not armed */
};

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg);
void timer_done(struct timer *t); /* as timer_clear; safe on a zeroed timer */
void timer_set(struct timer *t, int64_t in_ms);
void timer_clear(struct timer *t);
bool timer_is_set(const struct timer *t);

/* --- tasks: embedded, run once in the next turn, which then does not wait ------------------------------- */

struct task {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

void task_init(struct task *task, void (*fn)(void *arg), void *arg);
void task_done(struct task *task);                    /* cancels; safe on a zeroed task */
void loop_soon(struct loop *loop, struct task *task); /* once, however often it is asked for */
/* Runs when this turn has handled its events, or, asked for by one of these, the next: what many events leave to do is
 * done once. */
void loop_at_end(struct loop *loop, struct task *task);
/* Runs between LOOP_LATE_MS and twice that from now: for thousands of things that are nearly always cancelled before. */
#define LOOP_LATE_MS 20
void loop_late(struct loop *loop, struct task *task);

/* --- foreign descriptors --------------------------------------------------------------------------------- */

enum { IO_READ = 1, IO_WRITE = 2 };

typedef void (*io_fn)(unsigned ready, void *arg);

struct io; /* level-triggered watch of one descriptor, which stays the caller's */

struct io *io_new(struct loop *loop, int fd, unsigned events, io_fn fn, void *arg);
void io_set(struct io *io, unsigned events); /* 0 = pause */
void io_free(struct io *io);

/* --- signals --------------------------------------------------------------------------------------------- */

typedef void (*signal_fn)(int signo, void *arg);

/* Replaces an earlier handler of the same signal; runs in the loop, never in signal context. */
void loop_on_signal(struct loop *loop, int signo, signal_fn fn, void *arg);
