/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "common/wire.h"
#include "droned/systemd.h"
#include "tests/fakes/drone_world.h"
#include "tests/fakes/loopback.h"

/* What a drone that starts makes of what it finds: files say what was wanted, systemd what runs. */

static int setup(void **state)
{
    *state = world_new();
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void file_and_unit_are_adopted_with_the_same_process(void **state)
{
    struct world *w = *state;
    world_run(w);
    int64_t pid = fake_systemd_unit(w->systemd, WORLD_UNIT)->pid;
    world_crash(w);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    world_advance(w, 5000);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_int_equal(fake_systemd_unit(w->systemd, WORLD_UNIT)->pid, pid);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
    assert_int_equal(fake_systemd_calls(w->systemd, "StopUnit"), 0);
    /* And it is still ours: the next order finds it. */
    world_drop(w, WORLD_ID);
    assert_int_equal(w->n_gone, 1);
    assert_null(fake_systemd_unit(w->systemd, WORLD_UNIT));
}

static void killed_while_probing_goes_on_probing(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    world_order_all(w, &order, 1);
    assert_string_equal(world_phase(w, WORLD_ID), "probing");
    world_crash(w);
    assert_string_equal(world_phase(w, WORLD_ID), "probing");
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
}

static void killed_before_the_start_starts_once(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_hold(w->systemd, "StartTransientUnit", true);
    world_order_all(w, &order, 1);
    world_kill(w);
    fake_systemd_hold(w->systemd, "StartTransientUnit", false);
    world_start(w);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void unit_without_a_file_is_told_and_left_running(void **state)
{
    struct world *w = *state;
    world_kill(w);
    struct fake_unit *unit = fake_systemd_add(w->systemd, "stagecoach-run-web-api-0badcafe.service");
    strv_push(&unit->properties, "LogExtraFields=STAGECOACH_APP=shop STAGECOACH_VERSION=0.1.9");
    world_start(w);
    struct report report;
    droned_fill_report(w->droned, &report);
    assert_int_equal(report.n_instances, 1);
    assert_string_equal(report.instances[0].id, "0badcafe");
    assert_string_equal(report.instances[0].service, "web-api");
    assert_string_equal(report.instances[0].version, "0.1.9");
    assert_string_equal(report.instances[0].app, "shop");
    assert_int_equal(report.instances[0].phase, INSTANCE_RUNNING);
    schema_clear(&report_schema, &report);
    assert_int_equal(world_order_all(w, NULL, 0), 0);
    world_advance(w, 10000);
    assert_non_null(fake_systemd_unit(w->systemd, "stagecoach-run-web-api-0badcafe.service"));
}

static void an_order_for_a_unit_that_runs_takes_it_over(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    world_kill(w);
    int64_t pid = fake_systemd_add(w->systemd, WORLD_UNIT)->pid;
    world_start(w);
    world_order_all(w, &order, 1);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    world_advance(w, 5000);
    assert_int_equal(fake_systemd_unit(w->systemd, WORLD_UNIT)->pid, pid);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 0);
    assert_int_equal(fake_systemd_calls(w->systemd, "StopUnit"), 0);
}

static void file_without_unit_in_the_same_boot_was_stopped_by_hand(void **state)
{
    struct world *w = *state;
    world_run(w);
    world_kill(w);
    fake_systemd_stop_by_hand(w->systemd, WORLD_UNIT);
    world_start(w);
    assert_string_equal(world_phase(w, WORLD_ID), "stopped");
    world_advance(w, 60000);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
}

static void another_boot_starts_everything_without_a_hub(void **state)
{
    struct world *w = *state;
    world_run(w);
    world_kill(w);
    fake_systemd_stop_by_hand(w->systemd, WORLD_UNIT);
    snprintf(w->boot, sizeof(w->boot), "boot-2");
    world_start(w);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_string_equal(w->address, loopback_port(28100));
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 2);
}

static void stopped_by_order_stays_stopped_after_another_boot(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct order order = world_order();
    order.stopped = true;
    world_put(w, &order);
    world_kill(w);
    snprintf(w->boot, sizeof(w->boot), "boot-2");
    world_start(w);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "stopped");
}

static void dropped_while_stopping_is_finished_after_a_crash(void **state)
{
    struct world *w = *state;
    world_run(w);
    fake_systemd_ignore_stop(w->systemd, true);
    world_drop(w, WORLD_ID);
    world_kill(w);
    fake_systemd_killed(w->systemd, WORLD_UNIT);
    world_start(w);
    assert_string_equal(world_phase(w, WORLD_ID), "none");
    assert_int_equal(w->n_gone, 1);
}

static void failed_unit_after_a_crash_backs_off(void **state)
{
    struct world *w = *state;
    world_run(w);
    world_kill(w);
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 3);
    fake_systemd_give_up(w->systemd, WORLD_UNIT);
    world_start(w);
    assert_string_equal(world_phase(w, WORLD_ID), "backing-off");
    assert_non_null(strstr(w->reason, "exited with status 3"));
    world_advance(w, 200 + 10000 + 3200);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void lost_bus_stops_nothing_and_is_found_again(void **state)
{
    struct world *w = *state;
    world_run(w);
    fake_systemd_hang_up(w->systemd);
    world_advance(w, 500);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    world_advance(w, 1000);
    assert_true(systemd_is_ready(w->droned->systemd));
    assert_string_equal(w->phases, "");
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 1);
    world_settle(w);
    assert_string_equal(world_phase(w, WORLD_ID), "backing-off");
}

static void lost_bus_in_the_middle_of_a_start_is_resumed(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_hold(w->systemd, "StartTransientUnit", true);
    world_order_all(w, &order, 1);
    fake_systemd_hold(w->systemd, "StartTransientUnit", false);
    fake_systemd_hang_up(w->systemd);
    world_advance(w, 1200);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void refused_start_fails_with_systemds_words(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_fail_next(w->systemd, "StartTransientUnit", NULL, "no more units today");
    world_order_all(w, &order, 1);
    assert_string_equal(w->phases, "fetching starting failed");
    assert_non_null(strstr(w->reason, "no more units today"));
}

static void a_job_without_an_answer_is_given_up_and_tried_again(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_hold(w->systemd, "StartTransientUnit", true);
    world_order_all(w, &order, 1);
    loop_advance(w->loop, SYSTEMD_JOB_MS - 1000);
    world_settle(w);
    assert_string_equal(world_phase(w, WORLD_ID), "starting");
    fake_systemd_hold(w->systemd, "StartTransientUnit", false);
    world_advance(w, 1500 + 3200);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void properties_this_systemd_does_not_know_are_left_out(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_without(w->systemd, "ProtectProc");
    fake_systemd_without(w->systemd, "ProtectClock");
    world_order_all(w, &order, 1);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 3);
    assert_null(fake_unit_property(fake_systemd_unit(w->systemd, WORLD_UNIT), "ProtectProc"));
}

static void the_name_of_a_failed_unit_is_freed_first(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    fake_systemd_add(w->systemd, WORLD_UNIT);
    fake_systemd_hang_up(w->systemd);
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 1);
    fake_systemd_give_up(w->systemd, WORLD_UNIT);
    world_advance(w, 1500);
    world_order_all(w, &order, 1);
    world_advance(w, 3500);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_int_equal(fake_systemd_calls(w->systemd, "ResetFailedUnit"), 1);
}

static void a_hundred_orders_never_are_more_than_the_window(void **state)
{
    struct world *w = *state;
    struct order orders[100];
    char ids[100][9];
    fake_systemd_hold(w->systemd, "StartTransientUnit", true);
    for (int i = 0; i < 100; i++) {
        orders[i] = world_order();
        snprintf(ids[i], sizeof(ids[i]), "%08x", 0x1000 + i);
        orders[i].id = ids[i];
        orders[i].run.port = false;
    }
    world_order_all(w, orders, 100);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), SYSTEMD_JOBS_MAX);
}

static void another_port_once_if_it_is_taken_meanwhile(void **state)
{
    struct world *w = *state;
    world_run(w);
    world_kill(w);
    fake_systemd_stop_by_hand(w->systemd, WORLD_UNIT);
    snprintf(w->boot, sizeof(w->boot), "boot-2");
    int fd = -1;
    struct error err;
    assert_int_equal(wire_listen(loopback_port(28100), 0, &fd, &err), 0);
    world_start(w);
    world_advance(w, 3100);
    close(fd);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_string_equal(w->address, loopback_port(28101));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(file_and_unit_are_adopted_with_the_same_process),
        T(killed_while_probing_goes_on_probing),
        T(killed_before_the_start_starts_once),
        T(unit_without_a_file_is_told_and_left_running),
        T(an_order_for_a_unit_that_runs_takes_it_over),
        T(file_without_unit_in_the_same_boot_was_stopped_by_hand),
        T(another_boot_starts_everything_without_a_hub),
        T(stopped_by_order_stays_stopped_after_another_boot),
        T(dropped_while_stopping_is_finished_after_a_crash),
        T(failed_unit_after_a_crash_backs_off),
        T(lost_bus_stops_nothing_and_is_found_again),
        T(lost_bus_in_the_middle_of_a_start_is_resumed),
        T(refused_start_fails_with_systemds_words),
        T(a_job_without_an_answer_is_given_up_and_tried_again),
        T(properties_this_systemd_does_not_know_are_left_out),
        T(the_name_of_a_failed_unit_is_freed_first),
        T(a_hundred_orders_never_are_more_than_the_window),
        T(another_port_once_if_it_is_taken_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
