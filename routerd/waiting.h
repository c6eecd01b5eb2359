/* SPDX-License-Identifier: MIT */
#pragma once

/* Exchanges that wait for an endpoint: because all are at their limit, because the service is paused, or because none
 * has proven itself yet. A queue for each release and worker, first in first out, bounded, with a deadline; "a queue
 * of n" is divided among the workers. Whoever frees a place says so to one worker of those in which someone waits: its
 * first one goes on. New requests do not overtake.
 *
 * Nobody is woken inside the call of another: those whose turn it is go on in a turn of their own, a bounded number at
 * once. */

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "common/loop.h"

#define WAITING_PER_TURN 64

struct exchange;
struct pool;
struct routerd;
struct worker;

struct waiting {
    struct list queues; /* struct pool_local in which someone waits */
    struct list again;  /* exchanges that a new table is to be asked for */
    struct task task;
    uint32_t n; /* in queues */
};

/* How an exchange that has waited asks: its place is kept. */
enum waiting_turn { WAITING_NOT, WAITING_FIRST, WAITING_AGAIN };

void waiting_init(struct waiting *waiting, struct worker *worker);
void waiting_done(struct waiting *waiting);

/* False: the queue is full. */
bool waiting_join(struct exchange *ex);
/* Not waiting any longer, whether or not it was. */
void waiting_leave(struct exchange *ex);
/* Others wait for the same, and came before. */
bool waiting_are_others(const struct exchange *ex);
void waiting_count_expired(struct exchange *ex);

/* A place came free at an endpoint that has a limit. */
void waiting_freed(struct worker *worker, struct pool *pool);
/* The worker serves another table: all are asked again. */
void waiting_on_table(struct worker *worker);
/* Someone said waiting_freed for us. */
void waiting_on_mail(struct worker *worker);

/* main: whoever waits for that release may look again. */
void waiting_ring(struct routerd *routerd, struct pool *pool);
