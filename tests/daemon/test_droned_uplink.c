/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "tests/fakes/drone_world.h"
#include "tests/fakes/fake_hub.h"

/* A drone and its hub, over the real wire. */

#define FLEET "f1f2f3f4f5f6f7f8"

struct linked {
    struct world *world;
    struct fake_hub *hub;
    char path[64];
};

static int setup(void **state)
{
    struct linked *l = xcalloc(1, sizeof(*l));
    snprintf(l->path, sizeof(l->path), "/tmp/stagecoach-hub-%d.sock", (int)getpid());
    l->world = world_new_linked(l->path);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct linked *l = *state;
    if (l->hub)
        fake_hub_free(l->hub);
    world_free(l->world);
    unlink(l->path);
    free(l);
    return 0;
}

static void start_hub(struct linked *l)
{
    l->hub = fake_hub_new(l->world->loop, l->path);
    world_advance(l->world, 11000);
}

static bool said(const struct linked *l, const char *what)
{
    return strstr(fake_hub_log(l->hub), what) != NULL;
}

static void send(struct linked *l, const struct order *orders, size_t n, int64_t revision)
{
    struct orders all = { .format = 1,
        .fleet = (char *)FLEET,
        .revision = revision,
        .orders = (struct order *)orders,
        .n_orders = n };
    fake_hub_send_orders(l->hub, &all);
    world_settle(l->world);
}

static void connects_says_what_is_and_takes_orders(void **state)
{
    struct linked *l = *state;
    start_hub(l);
    row_true("hello", said(l, "hello test1 counter 0\n"));
    row_true("report", said(l, "report {\"instances\":[],\"revision\":0}\n") || said(l, "report {"));
    row_true("host", said(l, "host ok\n"));
    struct order order = world_order();
    send(l, &order, 1, 5);
    row_true("on disk", said(l, "orders 0\n"));
    world_advance(l->world, 3100);
    row_true("running", said(l, "instance " WORLD_ID " running\n"));
}

static void without_a_hub_nothing_stops_and_the_next_link_tells_all(void **state)
{
    struct linked *l = *state;
    struct order order = world_order();
    start_hub(l);
    send(l, &order, 1, 5);
    world_advance(l->world, 3100);
    fake_hub_cut(l->hub);
    fake_hub_free(l->hub);
    l->hub = NULL;
    world_advance(l->world, 60000);
    assert_string_equal(world_phase(l->world, WORLD_ID), "running");
    start_hub(l);
    row_true("counter", said(l, "hello test1 counter 5\n"));
    row_true("what is", said(l, "\"phase\":\"running\""));
    assert_int_equal(fake_systemd_calls(l->world->systemd, "StartTransientUnit"), 1);
}

static void orders_are_refused_by_name_and_the_link_stays(void **state)
{
    struct linked *l = *state;
    start_hub(l);
    struct order order = world_order();
    order.user = (char *)"root";
    send(l, &order, 1, 5);
    row_true("refused", said(l, "orders -1 order " WORLD_ID ": the user of web is sc-"));
    struct msg_orders_change change = { .from_revision = 9, .revision = 10 };
    fake_hub_send_change(l->hub, &change);
    world_settle(l->world);
    row_true("other revision", said(l, "holds orders of revision 0, not 9"));
    assert_int_equal(fake_hub_links(l->hub), 1);
}

static void a_change_is_a_step(void **state)
{
    struct linked *l = *state;
    struct order order = world_order();
    start_hub(l);
    send(l, &order, 1, 5);
    world_advance(l->world, 3100);
    char *drop[] = { (char *)WORLD_ID, NULL };
    struct msg_orders_change change = { .from_revision = 5, .revision = 6, .drop = drop };
    fake_hub_send_change(l->hub, &change);
    world_settle(l->world);
    row_true("gone", said(l, "instance " WORLD_ID " gone\n"));
    assert_int_equal(l->world->droned->revision, 6);
}

static void streams_come_on_their_own_connection(void **state)
{
    struct linked *l = *state;
    start_hub(l);
    struct msg_stream_open m = {
        .stream = (char *)"0123456789abcdef0123456789abcdef",
        .kind = STREAM_LOGS,
        .service = (char *)"nosuch",
        .lines = 10,
    };
    fake_hub_open_stream(l->hub, &m);
    world_advance(l->world, 100);
    row_true("second connection", said(l, "stream 0123456789abcdef0123456789abcdef\n"));
    row_true("its end", said(l, "end "));
    m.kind = STREAM_BUILD;
    m.instance = (char *)"0badcafe";
    fake_hub_forget(l->hub);
    fake_hub_open_stream(l->hub, &m);
    world_settle(l->world);
    row_true("no such build", said(l, "orders -1 no build of instance 0badcafe here"));
}

static void says_goodbye_when_the_host_goes_down(void **state)
{
    struct linked *l = *state;
    start_hub(l);
    fake_systemd_shutdown(l->world->systemd);
    world_settle(l->world);
    row_true("goodbye", said(l, "goodbye the host goes down\n"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(connects_says_what_is_and_takes_orders),
        T(without_a_hub_nothing_stops_and_the_next_link_tells_all),
        T(orders_are_refused_by_name_and_the_link_stays),
        T(a_change_is_a_step),
        T(streams_come_on_their_own_connection),
        T(says_goodbye_when_the_host_goes_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
