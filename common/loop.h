/* SPDX-License-Identifier: MIT */
#pragma once

/* One event loop: descriptors, timers, signals, and work put off until the turn ends. One loop belongs to one
 * thread; nothing here locks. Sockets belong to stream.h; this serves the descriptors of other libraries
 * (sd-bus, sd-journal, eventfd) and all time.
 *
 * Nothing is freed inside its own callback: hand it to loop_free_later. */

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/list.h"

struct event_base;
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

/* For wire.c only: the base, and that it handled something. */
struct event_base *loop_base(struct loop *loop);
void loop_count_event(struct loop *loop);

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
