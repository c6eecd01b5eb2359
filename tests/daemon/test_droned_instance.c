/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "common/wire.h"
#include "tests/fakes/drone_world.h"
#include "tests/fakes/loopback.h"

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

static void order_becomes_a_running_instance(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    assert_int_equal(world_order_all(w, &order, 1), 0);
    assert_string_equal(w->phases, "fetching starting probing");
    struct fake_unit *unit = fake_systemd_unit(w->systemd, WORLD_UNIT);
    assert_non_null(unit);
    assert_string_equal(fake_unit_property(unit, "Slice"), "stagecoach-web.slice");
    assert_string_equal(
        fake_unit_property(unit, "ExecStartEx"), "/usr/bin/env /usr/bin/env -- node server.js no-env-expand");
    assert_null(fake_unit_property(unit, "Environment"));
    world_advance(w, 2900);
    assert_string_equal(world_phase(w, WORLD_ID), "probing");
    world_advance(w, 200);
    assert_string_equal(w->phases, "fetching starting probing running");
    assert_string_equal(w->address, loopback_port(28100));
    assert_int_equal(w->pid, unit->pid);
    _cleanup_(free_ptr) char *env = world_file(w, "instances/" WORLD_ID ".env");
    assert_non_null(strstr(env, "PORT=\"28100\"\n"));
    assert_non_null(strstr(env, "STAGECOACH_SERVICE=\"web\"\n"));
}

static void orders_are_on_disk_before_the_answer(void **state)
{
    struct world *w = *state;
    fake_systemd_hold(w->systemd, "StartTransientUnit", true);
    struct order order = world_order();
    assert_int_equal(world_order_all(w, &order, 1), 0);
    _cleanup_(free_ptr) char *file = world_file(w, "instances/" WORLD_ID ".json");
    _cleanup_(free_ptr) char *head = world_file(w, "orders.json");
    assert_non_null(strstr(file, WORLD_COMMIT));
    assert_non_null(strstr(head, "\"revision\": 1"));
    /* Before systemd is asked the port is in the file too. */
    assert_non_null(strstr(file, "28100"));
}

static void exit_on_probation_fails_at_once_with_status_and_lines(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    strv_push(&w->journal, "Error: Cannot find module 'express'");
    world_order_all(w, &order, 1);
    w->phases[0] = '\0';
    int64_t before_us = loop_now(w->loop).us;
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 1);
    world_advance(w, 200);
    assert_string_equal(w->phases, "failed");
    assert_non_null(strstr(w->reason, "exited with status 1 after 0.2"));
    assert_non_null(w->lines);
    assert_string_equal(w->lines[0], "Error: Cannot find module 'express'");
    assert_true(w->reported_us - before_us < 200000);
    assert_null(fake_systemd_unit(w->systemd, WORLD_UNIT));
    world_advance(w, 60000);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
}

static void never_healthy_fails_at_its_deadline(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    order.run.health = (struct health_spec){
        .kind = HEALTH_TCP, .interval_ms = 1000, .timeout_ms = 500, .deadline_ms = 5000, .passes = 3
    };
    world_order_all(w, &order, 1);
    world_advance(w, 5100);
    assert_string_equal(w->phases, "fetching starting probing failed");
    assert_non_null(strstr(w->reason, "not healthy within 5s: connect to 127."));
    assert_non_null(w->lines);
    assert_null(fake_systemd_unit(w->systemd, WORLD_UNIT));
}

static void crash_after_healthy_is_restarted_and_counted(void **state)
{
    struct world *w = *state;
    world_run(w);
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_KILLED, SIGKILL);
    world_advance(w, 300);
    assert_string_equal(w->phases, "backing-off");
    assert_non_null(strstr(w->reason, "killed by SIGKILL"));
    assert_int_equal(w->restarts, 1);
    fake_systemd_restart(w->systemd, WORLD_UNIT);
    world_advance(w, 3100);
    assert_string_equal(w->phases, "backing-off probing running");
    assert_int_equal(w->restarts, 1);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
}

static void crash_loop_is_taken_over_and_given_up(void **state)
{
    struct world *w = *state;
    world_run(w);
    int64_t waits[] = { 10, 20, 40, 80, 160, 300, 300, 300, 300, 300 };
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
        fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 7);
        world_settle(w);
        fake_systemd_give_up(w->systemd, WORLD_UNIT);
        world_advance(w, 210);
        assert_null(fake_systemd_unit(w->systemd, WORLD_UNIT));
        assert_string_equal(world_phase(w, WORLD_ID), "backing-off");
        loop_advance(w->loop, waits[i] * 1000 - 200);
        world_settle(w);
        row_true("not before its time", !fake_systemd_unit(w->systemd, WORLD_UNIT));
        world_advance(w, 400);
        row_true("then again", fake_systemd_unit(w->systemd, WORLD_UNIT) != NULL);
    }
    fake_systemd_exit(w->systemd, WORLD_UNIT, CLD_EXITED, 7);
    world_settle(w);
    fake_systemd_give_up(w->systemd, WORLD_UNIT);
    world_advance(w, 210);
    assert_string_equal(world_phase(w, WORLD_ID), "failed");
    assert_non_null(strstr(w->reason, "gave up"));
}

static void dropped_means_stopped_and_forgotten(void **state)
{
    struct world *w = *state;
    world_run(w);
    assert_int_equal(world_drop(w, WORLD_ID), 0);
    assert_string_equal(w->phases, "stopping stopped gone");
    assert_int_equal(w->n_gone, 1);
    assert_null(fake_systemd_unit(w->systemd, WORLD_UNIT));
    assert_null(world_file(w, "instances/" WORLD_ID ".json"));
    assert_null(world_file(w, "instances/" WORLD_ID ".env"));
}

static void stop_waits_for_the_kill(void **state)
{
    struct world *w = *state;
    world_run(w);
    assert_string_equal(
        fake_unit_property(fake_systemd_unit(w->systemd, WORLD_UNIT), "TimeoutStopUSec"), "10000000");
    fake_systemd_ignore_stop(w->systemd, true);
    world_drop(w, WORLD_ID);
    assert_string_equal(world_phase(w, WORLD_ID), "stopping");
    world_advance(w, 9000);
    assert_int_equal(w->n_gone, 0);
    fake_systemd_killed(w->systemd, WORLD_UNIT);
    world_settle(w);
    assert_int_equal(w->n_gone, 1);
}

static void stopped_stays_and_starts_again_on_its_port(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct order order = world_order();
    order.stopped = true;
    world_put(w, &order);
    assert_string_equal(w->phases, "stopping stopped");
    world_advance(w, 60000);
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
    order.stopped = false;
    order.generation++;
    world_put(w, &order);
    world_advance(w, 3100);
    assert_string_equal(w->phases, "stopping stopped waiting fetching starting probing running");
    assert_string_equal(w->address, loopback_port(28100));
}

static void another_generation_is_a_restart(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct order order = world_order();
    order.generation++;
    world_put(w, &order);
    world_advance(w, 3100);
    assert_string_equal(w->phases, "stopping waiting fetching starting probing running");
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 2);
}

static void the_same_order_again_changes_nothing(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct order order = world_order();
    assert_int_equal(world_order_all(w, &order, 1), 0);
    assert_string_equal(w->phases, "");
    assert_int_equal(fake_systemd_calls(w->systemd, "StopUnit"), 0);
}

static void a_stop_by_hand_stays(void **state)
{
    struct world *w = *state;
    world_run(w);
    fake_systemd_stop_by_hand(w->systemd, WORLD_UNIT);
    world_advance(w, 60000);
    assert_string_equal(w->phases, "stopped");
    assert_non_null(strstr(w->reason, "by hand"));
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 1);
    struct order order = world_order();
    order.generation++;
    world_put(w, &order);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void notify_is_healthy_when_it_says_so(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    order.run.health.kind = HEALTH_NOTIFY;
    world_order_all(w, &order, 1);
    world_advance(w, 5000);
    assert_string_equal(world_phase(w, WORLD_ID), "starting");
    fake_systemd_ready(w->systemd, WORLD_UNIT);
    world_advance(w, 100);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void exec_health_runs_in_a_unit_of_its_own(void **state)
{
    static char *command[] = { (char *)"bin/health", NULL };
    static const char probe[] = "stagecoach-probe-web-3f9a12c0.service";
    struct world *w = *state;
    struct order order = world_order();
    order.run.health = (struct health_spec){
        .kind = HEALTH_EXEC,
        .command = command,
        .interval_ms = 100,
        .timeout_ms = 2000,
        .deadline_ms = 60000,
        .passes = 2,
    };
    world_order_all(w, &order, 1);
    fake_systemd_fail_oneshot(w->systemd, probe, 3);
    for (int i = 0; i < 2; i++) {
        world_advance(w, 200);
        row_true("probe runs", fake_systemd_unit(w->systemd, probe) != NULL);
        fake_systemd_finish(w->systemd, probe);
        world_settle(w);
    }
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void going_down_with_the_host_changes_nothing_on_disk(void **state)
{
    struct world *w = *state;
    world_run(w);
    _cleanup_(free_ptr) char *before = world_file(w, "instances/" WORLD_ID ".json");
    fake_systemd_shutdown(w->systemd);
    world_settle(w);
    fake_systemd_stop_by_hand(w->systemd, WORLD_UNIT);
    world_advance(w, 1000);
    _cleanup_(free_ptr) char *after = world_file(w, "instances/" WORLD_ID ".json");
    assert_string_equal(before, after);
    assert_string_equal(w->phases, "");
}

static void unhealthy_is_told_and_not_stopped(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    order.run.health = (struct health_spec){
        .kind = HEALTH_TCP, .interval_ms = 1000, .timeout_ms = 500, .deadline_ms = 5000, .passes = 1
    };
    world_order_all(w, &order, 1);
    int fd = -1;
    struct error err;
    assert_int_equal(wire_listen(loopback_port(28100), 0, &fd, &err), 0);
    world_advance(w, 300);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    close(fd);
    world_advance(w, 3500);
    assert_string_equal(world_phase(w, WORLD_ID), "unhealthy");
    assert_non_null(strstr(w->reason, ":28100: "));
    assert_int_equal(fake_systemd_calls(w->systemd, "StopUnit"), 0);
    assert_int_equal(wire_listen(loopback_port(28100), 0, &fd, &err), 0);
    world_advance(w, 2000);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(order_becomes_a_running_instance),
        T(orders_are_on_disk_before_the_answer),
        T(exit_on_probation_fails_at_once_with_status_and_lines),
        T(never_healthy_fails_at_its_deadline),
        T(crash_after_healthy_is_restarted_and_counted),
        T(crash_loop_is_taken_over_and_given_up),
        T(dropped_means_stopped_and_forgotten),
        T(stop_waits_for_the_kill),
        T(stopped_stays_and_starts_again_on_its_port),
        T(another_generation_is_a_restart),
        T(the_same_order_again_changes_nothing),
        T(a_stop_by_hand_stays),
        T(notify_is_healthy_when_it_says_so),
        T(exec_health_runs_in_a_unit_of_its_own),
        T(going_down_with_the_host_changes_nothing_on_disk),
        T(unhealthy_is_told_and_not_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
