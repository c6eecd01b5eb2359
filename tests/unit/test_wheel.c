/* SPDX-License-Identifier: MIT */
#include "routerd/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"

struct item {
    struct wheel_node node;
    int fired;
    int64_t fired_us;
    struct wheel *wheel;
    int64_t again_ms;
};

static void on_due(struct wheel_node *node)
{
    struct item *item = container_of(node, struct item, node);
    item->fired++;
    item->fired_us = loop_now(item->wheel->loop).us;
    if (item->again_ms > 0)
        wheel_set(item->wheel, node, item->again_ms);
}

static void deadlines_fire_once_and_never_early(void **state)
{
    static const int64_t ms[] = { 0, 1, 99, 100, 101, 1000, 51100, 51200, 60000, 3600000 };
    struct loop *loop = loop_new_fake();
    struct wheel *wheel = xcalloc(1, sizeof(*wheel));
    struct item items[ARRAY_SIZE(ms)];
    wheel_init(wheel, loop);
    int64_t start = loop_now(loop).us;
    memset(items, 0, sizeof(items));
    for (size_t i = 0; i < ARRAY_SIZE(ms); i++) {
        items[i].wheel = wheel;
        wheel_node_init(&items[i].node, on_due);
        wheel_set(wheel, &items[i].node, ms[i]);
    }
    loop_advance(loop, 3600000 + 1000);
    for (size_t i = 0; i < ARRAY_SIZE(ms); i++) {
        assert_int_equal(items[i].fired, 1);
        assert_in_range(items[i].fired_us - start, ms[i] * 1000, ms[i] * 1000 + 2 * WHEEL_TICK_MS * 1000);
    }
    assert_int_equal(wheel->n_nodes, 0);
    assert_false(timer_is_set(&wheel->timer));
    wheel_done(wheel);
    free(wheel);
    loop_free(loop);
}

static void deadlines_move_clear_and_go(void **state)
{
    struct loop *loop = loop_new_fake();
    struct wheel *wheel = xcalloc(1, sizeof(*wheel));
    struct item later = { .wheel = wheel }, sooner = { .wheel = wheel }, cleared = { .wheel = wheel },
                gone = { .wheel = wheel }, again = { .wheel = wheel, .again_ms = 500 };
    wheel_init(wheel, loop);
    wheel_node_init(&later.node, on_due);
    wheel_node_init(&sooner.node, on_due);
    wheel_node_init(&cleared.node, on_due);
    wheel_node_init(&gone.node, on_due);
    wheel_node_init(&again.node, on_due);
    wheel_set(wheel, &later.node, 300);
    wheel_set(wheel, &later.node, 2000);
    wheel_set(wheel, &sooner.node, 2000);
    wheel_set(wheel, &sooner.node, 300);
    wheel_set(wheel, &cleared.node, 300);
    wheel_clear(&cleared.node);
    wheel_set(wheel, &gone.node, 300);
    wheel_node_done(wheel, &gone.node);
    wheel_set(wheel, &again.node, 500);
    loop_advance(loop, 1000);
    assert_int_equal(later.fired, 0);
    assert_int_equal(sooner.fired, 1);
    loop_advance(loop, 1500);
    assert_int_equal(later.fired, 1);
    assert_int_equal(cleared.fired, 0);
    assert_int_equal(gone.fired, 0);
    assert_in_range(again.fired, 3, 5);
    wheel_node_done(wheel, &again.node);
    wheel_done(wheel);
    free(wheel);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_fire_once_and_never_early),
        cmocka_unit_test(deadlines_move_clear_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
