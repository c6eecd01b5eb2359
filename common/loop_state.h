/* SPDX-License-Identifier: MIT */
#pragma once

/* What loop.c and loop_watch.c share. */

#include "common/loop.h"

#define LOOP_SIGNALS_MAX     64
#define LOOP_EVENTS_PER_TURN 128
#define LOOP_SPARE_MAX       256

struct later {
    struct later *next;
    void *obj;
    void (*fn)(void *obj);
};

/* Who is told of a descriptor; found by its number. An event that was on its way when the descriptor went to somebody
 * else has another generation, and is passed over. */
struct watch {
    loop_ready_fn fn; /* NULL: nobody */
    void *owner;
    uint32_t generation;
};

struct on_signal {
    signal_fn fn; /* NULL: not ours */
    void *arg;
    struct sigaction *before;
};

struct loop {
    int epoll;
    struct watch *watches; /* by descriptor */
    size_t watches_cap;
    struct timer **heap;
    size_t n_heap, heap_cap;
    uint64_t seq;
    struct list tasks, ends;
    struct list late[2]; /* put off lately, and before that */
    struct timer late_timer;
    struct later *later, **later_tail;
    struct later *spare; /* for the next ones: something is freed later with every request */
    unsigned n_spare;
    struct on_signal signals[LOOP_SIGNALS_MAX];
    int signal_fd; /* an eventfd that the handler rings; -1: no signals here */
    struct io *signal_io;
    mono_t now;
    wall_t wall;
    bool now_known; /* this turn's time has been asked for */
    bool fake;
    bool stopped;
    uint64_t n_handled;
};

void loop_watch_init(struct loop *loop);
void loop_watch_done(struct loop *loop);
/* Waits at most so long, -1: for ever, and tells everybody what happened. */
void loop_watch_turn(struct loop *loop, int wait_ms);
