/* SPDX-License-Identifier: MIT */
/* Epochs: what routers get to see, in which order, and what happens when one of them does not answer. */
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
    fleet_init(f, 2, 2);
    fleet_add_release(f, "web", "0.2.1", 0);
    fleet_add_release(f, "web", "0.2.2", 0);
    const char *id = fleet_deploy(f, "web@0.2.1", 2);
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

static const char *serves(struct fleet *f, int router)
{
    const char *version = fake_router_serves(f->routers[router], "web");
    return version ? version : "nothing";
}

static void a_silent_router_aborts_the_switch_and_is_named(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    fake_router_set_silent(f->routers[1], true);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    fleet_watch(f, id, 0, &watch);
    assert_string_equal(fleet_stage(f, id), "preparing");
    assert_string_equal(serves(f, 0), "0.2.1");
    fleet_advance(f, 2500);
    assert_true(watch.ended);
    assert_int_equal(watch.outcome, OUTCOME_FAILED);
    assert_string_equal(watch.text,
        "web@0.2.2 got no traffic: router r2 did not answer within 2 s. web@0.2.1 serves on, untouched.");
    assert_string_equal(serves(f, 0), "0.2.1");
    assert_int_equal(fake_router_aborts(f->routers[0]), 1);
    assert_int_equal(fleet_orders(f, "0.2.2"), 0);
    /* when it answers again, all is as if nothing had been */
    fake_router_set_silent(f->routers[1], false);
    fleet_settle(f);
    id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(serves(f, 0), "0.2.2");
    assert_string_equal(serves(f, 1), "0.2.2");
}

static void a_deploy_superseded_during_prepare_is_not_switched_to(void **state)
{
    struct fleet *f = *state;
    fleet_add_release(f, "web", "0.2.3", 0);
    fake_router_set_silent(f->routers[1], true);
    char *first = xstrdup(fleet_deploy(f, "web@0.2.2", 2));
    assert_string_equal(fleet_stage(f, first), "preparing");
    const char *id =
        fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.3", .supersede = true });
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, first), "reverted");
    fake_router_set_silent(f->routers[1], false);
    fleet_advance(f, 3000);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(serves(f, 0), "0.2.3");
    assert_string_equal(serves(f, 1), "0.2.3");
    assert_int_equal(fleet_orders(f, "0.2.2"), 0);
    free(first);
}

static void an_instance_that_dies_during_prepare_is_not_switched_to(void **state)
{
    struct fleet *f = *state;
    fake_router_set_silent(f->routers[1], true);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    fake_drone_report(
        f->drones[0], fake_drone_first(f->drones[0], "0.2.2")->id, INSTANCE_FAILED, "exited with status 3");
    fleet_settle(f);
    assert_string_equal(fleet_stage(f, id), "failed");
    fake_router_set_silent(f->routers[1], false);
    fleet_advance(f, 3000);
    assert_string_equal(serves(f, 0), "0.2.1");
    assert_string_equal(serves(f, 1), "0.2.1");
    assert_int_equal(fleet_orders(f, "0.2.2"), 0);
}

static void one_that_does_not_stay_healthy_is_not_switched_to(void **state)
{
    struct fleet *f = *state;
    fake_router_set_silent(f->routers[1], true);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    fake_drone_report(
        f->drones[0], fake_drone_first(f->drones[0], "0.2.2")->id, INSTANCE_UNHEALTHY, "no answer");
    fake_router_set_silent(f->routers[1], false);
    fleet_advance(f, 30000);
    assert_string_equal(fleet_stage(f, id), "preparing");
    assert_string_equal(serves(f, 0), "0.2.1");
    fleet_advance(f, 31000);
    assert_string_equal(fleet_stage(f, id), "failed");
    assert_non_null(strstr(fleet_get(f, id)->text, "it did not stay healthy"));
}

static void a_router_that_refuses_the_table_aborts_the_switch(void **state)
{
    struct fleet *f = *state;
    fake_router_set_refusal(f->routers[0], "table.services: unknown key \"colour\"");
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "failed");
    assert_non_null(
        strstr(fleet_get(f, id)->text, "router r1 refuses the table: table.services: unknown key"));
    assert_string_equal(serves(f, 1), "0.2.1");
}

static void a_router_that_is_away_makes_it_incomplete_and_holds_the_old_release(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    f->hub->config.warm_ms = 0;
    fake_router_hang_up(f->routers[1]);
    fleet_settle(f);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    fleet_watch(f, id, 0, &watch);
    fleet_advance(f, 500);
    assert_true(watch.ended);
    assert_int_equal(watch.outcome, OUTCOME_INCOMPLETE);
    assert_non_null(strstr(watch.text, "router r2 has not confirmed it"));
    assert_string_equal(serves(f, 0), "0.2.2");
    fleet_advance(f, 120000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 2); /* r2 may still send there */
    fake_router_connect(f->routers[1], f->hub);
    fleet_settle(f);
    assert_string_equal(serves(f, 1), "0.2.2");
    fleet_advance(f, 1000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
}

static void a_router_that_is_removed_holds_nothing(void **state)
{
    struct fleet *f = *state;
    f->hub->config.warm_ms = 0;
    fake_router_hang_up(f->routers[1]);
    fleet_settle(f);
    assert_non_null(fleet_deploy(f, "web@0.2.2", 2));
    fleet_advance(f, 60000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 2);
    char *id = fleet_request_id(f);
    assert_int_equal(
        fleet_call(f, MSG_HOST_REMOVE, &(struct msg_host_remove){ id, ROLE_ROUTER, (char *)"r2" }, NULL), 0);
    fleet_advance(f, 1000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    free(id);
}

static void a_router_that_goes_during_prepare_does_not_block(void **state)
{
    struct fleet *f = *state;
    fake_router_set_silent(f->routers[1], true);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "preparing");
    fake_router_hang_up(f->routers[1]);
    fleet_settle(f);
    assert_string_equal(serves(f, 0), "0.2.2");
    fleet_advance(f, 6000);
    assert_string_equal(fleet_stage(f, id), "incomplete");
}

static void a_new_router_gets_the_decided_table(void **state)
{
    struct fleet *f = *state;
    f->routers[2] = fake_router_new(f->loop, "r3");
    f->n_routers = 3;
    fake_router_connect(f->routers[2], f->hub);
    fleet_settle(f);
    assert_string_equal(serves(f, 2), "0.2.1");
    assert_int_equal(fake_router_table(f->routers[2])->epoch, fake_router_table(f->routers[0])->epoch);
}

static void routers_that_have_the_table_get_none_after_a_restart_of_the_hub(void **state)
{
    struct fleet *f = *state;
    int commits = fake_router_commits(f->routers[0]);
    int snapshots = fake_drone_snapshots(f->drones[0]);
    fleet_restart(f);
    fleet_advance(f, 20000);
    assert_int_equal(fake_router_commits(f->routers[0]), commits);
    assert_int_equal(fake_drone_snapshots(f->drones[0]), snapshots);
    assert_string_equal(serves(f, 0), "0.2.1");
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 2);
}

static void a_hub_without_its_drones_takes_nothing_out_of_the_table(void **state)
{
    struct fleet *f = *state;
    fleet_kill_hub(f);
    fake_drone_hang_up(f->drones[0]);
    fake_drone_hang_up(f->drones[1]);
    fleet_start_hub(f);
    fake_router_connect(f->routers[0], f->hub);
    fake_router_connect(f->routers[1], f->hub);
    fleet_advance(f, 30000);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 2);
}

static void a_lost_endpoint_leaves_the_table_and_comes_back(void **state)
{
    struct fleet *f = *state;
    char *id = xstrdup(fake_drone_first(f->drones[0], "0.2.1")->id);
    fake_router_set_silent(f->routers[1], true); /* nobody waits for it */
    fake_drone_report(f->drones[0], id, INSTANCE_BACKING_OFF, "exited with status 1");
    fleet_settle(f);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 1);
    fake_drone_report(f->drones[0], id, INSTANCE_RUNNING, NULL);
    fleet_settle(f);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 2);
    fake_router_set_silent(f->routers[1], false);
    fleet_settle(f);
    assert_int_equal(fake_router_endpoints(f->routers[1], "web", "0.2.1"), 2);
    free(id);
}

static void a_hub_that_is_older_than_a_router_gives_it_no_table(void **state)
{
    struct fleet *f = *state;
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    /* another hub, from an older backup: nothing decided yet */
    fleet_kill_hub(f);
    fake_disk_free(f->disk);
    f->disk = fake_disk_new();
    fleet_start_hub(f);
    fleet_connect_all(f);
    fleet_advance(f, 5000);
    assert_string_equal(serves(f, 0), "0.2.2");
    assert_int_equal(fleet_orders(f, "0.2.2"), 2); /* drones keep what they have, too */
    struct msg_servers answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_SERVERS, &(struct msg_query){ 0 }, &answer), 0);
    assert_int_equal(answer.n_hosts, 2);
    assert_non_null(strstr(answer.hosts[0].note, "this hub is older than app1"));
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &answer);
    fleet_add_release(f, "web", "0.2.2", 0);
    assert_null(fleet_deploy(f, "web@0.2.2", 1));
    assert_non_null(strstr(f->error, "this hub is older than app1"));
}

static void without_routers_a_deploy_ends_at_once(void **state)
{
    struct fleet *f = *state;
    fleet_done(f);
    fleet_init(f, 1, 0);
    fleet_add_release(f, "web", "0.2.1", 0);
    const char *id = fleet_deploy(f, "web@0.2.1", 1);
    assert_string_equal(fleet_stage(f, id), "done");
}

static void routers_get_what_changed(void **state)
{
    struct fleet *f = *state;
    int before = fake_router_diffs(f->routers[0]);
    assert_non_null(fleet_deploy(f, "web@0.2.2", 2));
    assert_string_equal(serves(f, 0), "0.2.2");
    assert_true(fake_router_diffs(f->routers[0]) > before);
    /* Both hold the same, by whatever way. */
    assert_true(
        schema_equal(&table_schema, fake_router_table(f->routers[0]), fake_router_table(f->routers[1])));
}

/* It has nothing that a diff could change. */
static void the_first_table_of_a_router_comes_whole(void **state)
{
    struct fleet *f = *state;
    assert_string_equal(serves(f, 0), "0.2.1");
    assert_int_equal(fake_router_diffs(f->routers[0]), 0);
    assert_int_equal(fake_router_refused_diffs(f->routers[0]), 0);
}

static void a_router_that_missed_epochs_gets_the_whole(void **state)
{
    struct fleet *f = *state;
    fake_router_hang_up(f->routers[1]);
    fleet_settle(f);
    assert_non_null(fleet_deploy(f, "web@0.2.2", 2));
    fleet_advance(f, 3000);
    fake_router_connect(f->routers[1], f->hub);
    fleet_settle(f);
    assert_string_equal(serves(f, 1), "0.2.2");
    assert_int_equal(fake_router_table(f->routers[1])->epoch, fake_router_table(f->routers[0])->epoch);
}

static void a_router_that_refuses_a_diff_gets_the_whole(void **state)
{
    struct fleet *f = *state;
    fake_router_set_forgetful(f->routers[1]);
    int before = fake_router_diffs(f->routers[1]);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(serves(f, 1), "0.2.2");
    assert_int_equal(fake_router_diffs(f->routers[1]), before);
}

static void a_router_of_the_first_version_gets_the_whole(void **state)
{
    struct fleet *f = *state;
    fake_router_set_old(f->routers[1]);
    fake_router_connect(f->routers[1], f->hub);
    fleet_settle(f);
    int before = fake_router_diffs(f->routers[1]);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(serves(f, 1), "0.2.2");
    assert_int_equal(fake_router_diffs(f->routers[1]), before);
}

static void rules_are_not_given_to_a_router_that_does_not_know_them(void **state)
{
    struct fleet *f = *state;
    fleet_add_release(f, "web", "0.2.3", RELEASE_RULES);
    fake_router_set_old(f->routers[1]);
    fake_router_connect(f->routers[1], f->hub);
    fleet_settle(f);
    const char *id = fleet_deploy(f, "web@0.2.3", 2);
    assert_string_equal(fleet_stage(f, id), "failed");
    assert_non_null(strstr(fleet_get(f, id)->text,
        "router r2 refuses the table: stagecoach-routerd 0.1.0 there does "
        "not know rules of routes and limits of services (table/2)"));
    assert_string_equal(serves(f, 0), "0.2.1");
    assert_string_equal(serves(f, 1), "0.2.1");
}

static void rules_reach_the_routers(void **state)
{
    struct fleet *f = *state;
    fleet_add_release(f, "web", "0.2.3", RELEASE_RULES);
    const char *id = fleet_deploy(f, "web@0.2.3", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_true(fake_router_table(f->routers[0])->routes[0].https);
    id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_false(fake_router_table(f->routers[0])->routes[0].https);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_silent_router_aborts_the_switch_and_is_named),
        T(a_deploy_superseded_during_prepare_is_not_switched_to),
        T(an_instance_that_dies_during_prepare_is_not_switched_to),
        T(one_that_does_not_stay_healthy_is_not_switched_to),
        T(a_router_that_refuses_the_table_aborts_the_switch),
        T(a_router_that_is_away_makes_it_incomplete_and_holds_the_old_release),
        T(a_router_that_is_removed_holds_nothing),
        T(a_router_that_goes_during_prepare_does_not_block),
        T(a_new_router_gets_the_decided_table),
        T(routers_that_have_the_table_get_none_after_a_restart_of_the_hub),
        T(a_hub_without_its_drones_takes_nothing_out_of_the_table),
        T(a_lost_endpoint_leaves_the_table_and_comes_back),
        T(a_hub_that_is_older_than_a_router_gives_it_no_table),
        T(rules_are_not_given_to_a_router_that_does_not_know_them),
        T(rules_reach_the_routers),
        T(routers_get_what_changed),
        T(a_router_that_missed_epochs_gets_the_whole),
        T(the_first_table_of_a_router_comes_whole),
        T(a_router_that_refuses_a_diff_gets_the_whole),
        T(a_router_of_the_first_version_gets_the_whole),
        T(without_routers_a_deploy_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
