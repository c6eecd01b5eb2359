/* SPDX-License-Identifier: MIT */
#include "routerd/wheel.h"

#include "common/clock.h"

#define TICK_US (WHEEL_TICK_MS * CLOCK_US_PER_MS)

static void insert(struct wheel *wheel, struct wheel_node *node)
{
    int64_t tick = node->due_us / TICK_US + 1;
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    if (tick > wheel->tick + WHEEL_SLOTS - 1)
        tick = wheel->tick + WHEEL_SLOTS - 1;
    node->slot_us = tick * TICK_US;
    list_append(&wheel->slots[tick % WHEEL_SLOTS], &node->link);
    wheel->n_nodes++;
}

static void take_out(struct wheel *wheel, struct wheel_node *node)
{
    if (node->slot_us == 0)
        return;
    list_remove(&node->link);
    node->slot_us = 0;
    wheel->n_nodes--;
}

/* Nodes of one slot: due ones fire, the others move on. A callback may change any node, so each round takes
 * the first of what is left. */
static void handle_slot(struct wheel *wheel, struct list *slot, int64_t now_us)
{
    struct list due = LIST_INIT(due);
    while (!list_empty(slot)) {
        struct wheel_node *node = list_first(slot, struct wheel_node, link);
        list_remove(&node->link);
        list_append(&due, &node->link);
    }
    while (!list_empty(&due)) {
        struct wheel_node *node = list_first(&due, struct wheel_node, link);
        take_out(wheel, node);
        if (node->due_us == 0)
            continue;
        if (node->due_us > now_us) {
            insert(wheel, node);
            continue;
        }
        node->due_us = 0;
        node->fn(node);
    }
}

static void on_tick(void *arg)
{
    struct wheel *wheel = arg;
    int64_t now_us = loop_now(wheel->loop).us, tick = now_us / TICK_US;
    int64_t first = wheel->tick + 1;
    if (first < tick - WHEEL_SLOTS + 1)
        first = tick - WHEEL_SLOTS + 1;
    for (int64_t t = first; t <= tick; t++) {
        wheel->tick = t;
        handle_slot(wheel, &wheel->slots[t % WHEEL_SLOTS], now_us);
    }
    if (wheel->n_nodes > 0)
        timer_set(&wheel->timer, WHEEL_TICK_MS);
}

void wheel_init(struct wheel *wheel, struct loop *loop)
{
    wheel->loop = loop;
    wheel->tick = loop_now(loop).us / TICK_US;
    wheel->n_nodes = 0;
    for (int i = 0; i < WHEEL_SLOTS; i++)
        list_init(&wheel->slots[i]);
    timer_init(&wheel->timer, loop, on_tick, wheel);
}

void wheel_done(struct wheel *wheel)
{
    timer_done(&wheel->timer);
}

void wheel_node_init(struct wheel_node *node, wheel_fn fn)
{
    list_init(&node->link);
    node->fn = fn;
    node->due_us = 0;
    node->slot_us = 0;
}

void wheel_node_done(struct wheel *wheel, struct wheel_node *node)
{
    take_out(wheel, node);
    node->due_us = 0;
}

void wheel_set(struct wheel *wheel, struct wheel_node *node, int64_t in_ms)
{
    int64_t now_us = loop_now(wheel->loop).us;
    node->due_us = now_us + in_ms * CLOCK_US_PER_MS;
    if (node->slot_us != 0 && node->slot_us <= node->due_us + TICK_US)
        return;
    take_out(wheel, node);
    if (!timer_is_set(&wheel->timer)) {
        if (wheel->n_nodes == 0)
            wheel->tick = now_us / TICK_US;
        timer_set(&wheel->timer, WHEEL_TICK_MS);
    }
    insert(wheel, node);
}
