/* SPDX-License-Identifier: MIT */
#pragma once

/* Coarse deadlines for thousands of connections: slots of WHEEL_TICK_MS, one loop timer that stops when the
 * wheel is empty. Moving a deadline back stores a number; the node is looked at again when its old slot comes.
 * Deadlines fire up to one tick late, never early. */

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "common/loop.h"

#define WHEEL_TICK_MS 100
#define WHEEL_SLOTS   512 /* longer deadlines go round again */

struct wheel_node;
typedef void (*wheel_fn)(struct wheel_node *node);

struct wheel_node {
    struct list link;
    wheel_fn fn;
    int64_t due_us;  /* 0: not set */
    int64_t slot_us; /* when its slot comes */
};

struct wheel {
    struct loop *loop;
    struct timer timer;
    int64_t tick; /* the last one that was handled */
    size_t n_nodes;
    struct list slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, struct loop *loop);
void wheel_done(struct wheel *wheel);

void wheel_node_init(struct wheel_node *node, wheel_fn fn);
/* Takes the node out; needed before its memory goes. */
void wheel_node_done(struct wheel *wheel, struct wheel_node *node);
void wheel_set(struct wheel *wheel, struct wheel_node *node, int64_t in_ms);
static inline void wheel_clear(struct wheel_node *node)
{
    node->due_us = 0;
}
static inline bool wheel_is_set(const struct wheel_node *node)
{
    return node->due_us != 0;
}
