/* SPDX-License-Identifier: MIT */
/* Hosts that come, go, come back, refuse and are removed. */
#include "tests/fakes/fake_fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/schema.h"

static int setup(void **state)
{
    struct fleet *f = xcalloc(1, sizeof(*f));
    fleet_init(f, 4, 1);
    fleet_add_release(f, "web", "0.2.1", 0);
    fleet_add_release(f, "web", "0.2.2", 0);
    const char *id = fleet_deploy(f, "web@0.2.1", 4);
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fleet_done(*state);
    free(*state);
    return 0;
}

static int endpoints(struct fleet *f)
{
    return fake_router_endpoints(f->routers[0], "web", "0.2.1");
}

static void instances_of_a_lost_host_get_stand_ins_after_the_grace_time(void **state)
{
    struct fleet *f = *state;
    fake_drone_hang_up(f->drones[0]);
    fleet_advance(f, 58000);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
    assert_int_equal(endpoints(f), 4); /* routers see for themselves whether it answers */
    fleet_advance(f, 4000);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 5);
    assert_int_equal(endpoints(f), 4); /* the stand-in is in, the lost one out */
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 1);
    assert_int_equal(fleet_orders(f, NULL), 5);
    /* It comes back: what is surplus is drained there. */
    fake_drone_connect(f->drones[0], f->hub);
    fleet_advance(f, 2000);
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 0);
    assert_int_equal(fleet_orders(f, NULL), 4);
    assert_int_equal(endpoints(f), 4);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
}

static void a_stand_in_that_failed_goes_when_the_lost_one_is_back(void **state)
{
    struct fleet *f = *state;
    char *lost = xstrdup(fake_drone_first(f->drones[0], NULL)->id);
    fake_drone_hang_up(f->drones[0]);
    fleet_advance(f, 62000);
    const struct instance *row = state_instance(&f->hub->state, lost);
    assert_non_null(row->replaced_by);
    char *stand_in = xstrdup(row->replaced_by);
    for (int i = 1; i < 4; i++)
        if (fake_drone_order(f->drones[i], stand_in))
            fake_drone_report(f->drones[i], stand_in, INSTANCE_FAILED, "exited with status 1");
    fleet_settle(f);
    fake_drone_connect(f->drones[0], f->hub);
    fleet_advance(f, 2000);
    assert_null(state_instance(&f->hub->state, stand_in));
    assert_non_null(state_instance(&f->hub->state, lost));
    assert_null(state_instance(&f->hub->state, lost)->replaced_by);
    assert_int_equal(endpoints(f), 4);
    free(lost);
    free(stand_in);
}

static void a_host_that_goes_down_leaves_the_table_before_it_does(void **state)
{
    struct fleet *f = *state;
    const char *id = fake_drone_first(f->drones[0], NULL)->id;
    fake_router_set_in_flight(f->routers[0], id, 1);
    fake_drone_goodbye(f->drones[0]);
    fleet_settle(f);
    assert_int_equal(endpoints(f), 3); /* no new request */
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 1);
    const char *deploy = fleet_deploy(f, "web@0.2.2", 2);
    assert_non_null(deploy);
    assert_int_equal(fake_drone_orders(f->drones[0], "0.2.2"), 0); /* nothing new is placed there */
    fake_drone_hang_up(f->drones[0]);
    fleet_advance(f, 5000);
    fake_drone_connect(f->drones[0], f->hub);
    fleet_settle(f);
    assert_int_equal(endpoints(f), 4);
}

static void a_host_that_comes_back_in_time_keeps_its_instances(void **state)
{
    struct fleet *f = *state;
    fake_drone_hang_up(f->drones[0]);
    fleet_advance(f, 30000);
    fake_drone_connect(f->drones[0], f->hub);
    fleet_advance(f, 90000);
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 1);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
}

static void nothing_is_placed_elsewhere_when_half_the_fleet_is_away(void **state)
{
    struct fleet *f = *state;
    fake_drone_hang_up(f->drones[0]);
    fake_drone_hang_up(f->drones[1]);
    fleet_advance(f, 120000);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
    struct msg_servers answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_SERVERS, &(struct msg_query){ .target = (char *)"app1" }, &answer), 0);
    assert_int_equal(answer.n_hosts, 1);
    assert_false(answer.hosts[0].online);
    assert_non_null(strstr(answer.hosts[0].note, "a third of the hosts or more is away"));
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &answer);
}

static void a_host_from_which_requests_are_answered_is_not_lost(void **state)
{
    struct fleet *f = *state;
    const char *id = fake_drone_first(f->drones[0], NULL)->id;
    fake_drone_hang_up(f->drones[0]);
    for (int i = 0; i < 20; i++) {
        fleet_advance(f, 5000);
        fake_router_hit(f->routers[0], id, loop_wall(f->loop).us);
    }
    fleet_settle(f);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
    fleet_advance(f, 15000);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 5);
}

static void without_a_router_that_reaches_the_hub_nothing_is_placed_elsewhere(void **state)
{
    struct fleet *f = *state;
    fake_router_hang_up(f->routers[0]);
    fake_drone_hang_up(f->drones[0]);
    fleet_advance(f, 120000);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
}

static void refused_orders_are_said_and_tried_again(void **state)
{
    struct fleet *f = *state;
    char *hosts[] = { (char *)"app2", NULL };
    fake_drone_refuse_next(f->drones[1], "order.run.colour: unknown key");
    const char *id =
        fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.2", .hosts = hosts });
    assert_string_equal(fleet_stage(f, id), "starting");
    struct msg_servers answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_SERVERS, &(struct msg_query){ .target = (char *)"app2" }, &answer), 0);
    assert_string_equal(answer.hosts[0].note, "refuses its orders: order.run.colour: unknown key");
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &answer);
    fleet_advance(f, 11000);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_int_equal(fake_drone_snapshots(f->drones[1]), 1);
}

static void a_drone_with_other_orders_gets_all_of_them(void **state)
{
    struct fleet *f = *state;
    fake_drone_hang_up(f->drones[0]);
    fleet_settle(f);
    fake_drone_set_revision(f->drones[0], 1);
    fake_drone_connect(f->drones[0], f->hub);
    fleet_settle(f);
    assert_int_equal(fake_drone_snapshots(f->drones[0]), 1);
    assert_int_equal(fake_drone_orders(f->drones[0], "0.2.1"), 1);
    assert_int_equal(endpoints(f), 4);
}

static void what_ran_on_a_removed_host_runs_elsewhere_first(void **state)
{
    struct fleet *f = *state;
    for (int i = 1; i < 4; i++)
        fake_drone_hang_up(f->drones[i]);
    fleet_settle(f);
    char *id = fleet_request_id(f);
    struct msg_host_remove m = { id, ROLE_DRONE, (char *)"app1" };
    assert_int_equal(fleet_call(f, MSG_HOST_REMOVE, &m, NULL), 0);
    fleet_advance(f, 2000);
    assert_false(fake_drone_is_connected(f->drones[0]));
    assert_int_equal(map_size(f->hub->state.rows[STATE_DRONE]), 3);
    assert_int_equal(endpoints(f), 4); /* nobody can take it yet: it stays in the table */
    for (int i = 1; i < 4; i++)
        fake_drone_connect(f->drones[i], f->hub);
    fleet_advance(f, 3000);
    assert_int_equal(endpoints(f), 4);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 4);
    state_for_each(it, &f->hub->state, STATE_INSTANCE)
        assert_string_not_equal(((const struct instance *)it.value)->host, "app1");
    free(id);
    id = fleet_request_id(f);
    m.request_id = id;
    assert_int_equal(fleet_call(f, MSG_HOST_REMOVE, &m, NULL), ERROR_NOT_FOUND);
    assert_string_equal(f->error, "there is no drone \"app1\"");
    free(id);
}

static void a_drone_can_speak_for_itself_only(void **state)
{
    struct fleet *f = *state;
    const struct order *theirs = fake_drone_first(f->drones[1], NULL);
    fake_drone_lie(f->drones[0], theirs, INSTANCE_FAILED);
    fleet_settle(f);
    const struct instance_facts *facts = map_get(f->hub->facts.instances, theirs->id);
    assert_string_equal(facts->state.host, "app2");
    assert_int_equal(facts->state.phase, INSTANCE_RUNNING);
    assert_int_equal(endpoints(f), 4);
}

static void a_drone_that_is_too_old_gets_no_orders_and_is_named(void **state)
{
    struct fleet *f = *state;
    char *hosts[] = { (char *)"app2", NULL };
    fake_drone_hang_up(f->drones[1]);
    fake_drone_set_old(f->drones[1], true);
    fake_drone_connect(f->drones[1], f->hub);
    fleet_settle(f);
    assert_null(fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.2", .hosts = hosts }));
    assert_string_equal(f->error,
        "no host can take web@0.2.2\n  app2  stagecoach-droned 0.1.0 there does not know orders/1: it gets "
        "no orders\n"
        "Nothing was changed.");
    assert_int_equal(endpoints(f), 4); /* what runs there serves on */
}

static void a_second_connection_of_a_drone_takes_the_place_of_the_first(void **state)
{
    struct fleet *f = *state;
    struct fake_drone *twin = fake_drone_new(f->loop, "app1", "10.0.0.11");
    fake_drone_connect(twin, f->hub);
    fleet_settle(f);
    assert_true(fake_drone_is_connected(twin));
    assert_false(fake_drone_is_connected(f->drones[0]));
    /* it holds nothing, so it is told everything */
    assert_int_equal(fake_drone_orders(twin, "0.2.1"), 1);
    fake_drone_free(twin);
    fleet_settle(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(instances_of_a_lost_host_get_stand_ins_after_the_grace_time),
        T(a_stand_in_that_failed_goes_when_the_lost_one_is_back),
        T(a_host_that_goes_down_leaves_the_table_before_it_does),
        T(a_host_that_comes_back_in_time_keeps_its_instances),
        T(nothing_is_placed_elsewhere_when_half_the_fleet_is_away),
        T(a_host_from_which_requests_are_answered_is_not_lost),
        T(without_a_router_that_reaches_the_hub_nothing_is_placed_elsewhere),
        T(refused_orders_are_said_and_tried_again),
        T(a_drone_with_other_orders_gets_all_of_them),
        T(what_ran_on_a_removed_host_runs_elsewhere_first),
        T(a_drone_can_speak_for_itself_only),
        T(a_drone_that_is_too_old_gets_no_orders_and_is_named),
        T(a_second_connection_of_a_drone_takes_the_place_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
