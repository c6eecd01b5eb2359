/* SPDX-License-Identifier: MIT */
/* Deploys from the wish to the end, as a person, drones and routers see them. */
#include "tests/fakes/fake_fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"

static int setup(void **state)
{
    struct fleet *f = xcalloc(1, sizeof(*f));
    fleet_init(f, 2, 2);
    fleet_add_release(f, "web", "0.2.1", 0);
    fleet_add_release(f, "web", "0.2.2", 0);
    fleet_add_release(f, "web", "0.2.3", RELEASE_BUILD);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fleet_done(*state);
    free(*state);
    return 0;
}

/* The routers' word and the hub's agree. */
static void assert_serves(struct fleet *f, const char *version, int endpoints)
{
    for (int i = 0; i < f->n_routers; i++) {
        const char *serves = fake_router_serves(f->routers[i], "web");
        assert_non_null(serves);
        assert_string_equal(serves, version);
        assert_int_equal(fake_router_endpoints(f->routers[i], "web", version), endpoints);
    }
}

static char *deploy_done(struct fleet *f, const char *target, int64_t instances)
{
    const char *id = fleet_deploy(f, target, instances);
    if (!id)
        fail_msg("%s: %s", target, f->error);
    assert_string_equal(fleet_stage(f, id), "done");
    return xstrdup(id);
}

static void a_first_deploy_serves(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_non_null(id);
    fleet_watch(f, id, 0, &watch);
    assert_true(watch.ended);
    assert_int_equal(watch.outcome, OUTCOME_DONE);
    assert_string_equal(watch.text, "web@0.2.2 serves.");
    assert_serves(f, "0.2.2", 2);
    assert_int_equal(fake_drone_orders(f->drones[0], "0.2.2"), 1);
    assert_int_equal(fake_drone_orders(f->drones[1], "0.2.2"), 1);
    assert_non_null(strstr(strbuf_str(&f->steps), "fetch done app1 14 objects, 6.1 kB\n"));
    assert_non_null(strstr(strbuf_str(&f->steps), "healthy done - 3 of 3 /healthz\n"));
    assert_non_null(strstr(strbuf_str(&f->steps), "switch done - epoch 1 on 2 of 2 routers\n"));
    const struct table *table = fake_router_table(f->routers[0]);
    assert_int_equal(table->n_routes, 1);
    assert_string_equal(table->routes[0].host, "web.example.com");
}

static void a_second_version_replaces_the_first_and_keeps_it_warm(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    free(deploy_done(f, "web@0.2.1", 2));
    const char *id = fleet_deploy(f, "web@0.2.2", 0);
    assert_non_null(id);
    fleet_watch(f, id, 0, &watch);
    assert_true(watch.ended);
    assert_serves(f, "0.2.2", 2);
    assert_int_equal(fleet_orders(f, "0.2.1"), 2);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 2); /* by version only */
    assert_non_null(
        strstr(strbuf_str(&f->steps), "drain done - web@0.2.1: 0 requests finished, warm until "));
    fleet_advance(f, 601000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    assert_int_equal(fleet_orders(f, "0.2.2"), 2);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 2);
}

static void without_warm_time_the_old_instances_are_gone_when_it_ends(void **state)
{
    struct fleet *f = *state;
    f->hub->config.warm_ms = 0;
    free(deploy_done(f, "web@0.2.1", 2));
    free(deploy_done(f, "web@0.2.2", 2));
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.1"), 0);
    assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 2);
    assert_serves(f, "0.2.2", 2);
}

static void an_old_instance_is_stopped_only_when_its_requests_have_ended(void **state)
{
    struct fleet *f = *state;
    f->hub->config.warm_ms = 0;
    free(deploy_done(f, "web@0.2.1", 1));
    char *old = xstrdup(f->n_drones && fake_drone_first(f->drones[0], "0.2.1")
            ? fake_drone_first(f->drones[0], "0.2.1")->id
            : fake_drone_first(f->drones[1], "0.2.1")->id);
    fake_router_set_in_flight(f->routers[1], old, 3);
    const char *id = fleet_deploy(f, "web@0.2.2", 1);
    assert_string_equal(fleet_stage(f, id), "draining");
    assert_serves(f, "0.2.2", 1);
    assert_int_equal(fake_router_draining(f->routers[0], "web", "0.2.1"), 1);
    assert_int_equal(fleet_orders(f, "0.2.1"), 1);
    fleet_advance(f, 5000);
    assert_string_equal(fleet_stage(f, id), "draining");
    fake_router_set_in_flight(f->routers[1], old, 0);
    fleet_settle(f);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    free(old);
}

static void a_drain_ends_at_its_deadline(void **state)
{
    struct fleet *f = *state;
    f->hub->config.warm_ms = 0;
    free(deploy_done(f, "web@0.2.1", 1));
    const struct order *order = fake_drone_first(f->drones[0], "0.2.1");
    if (!order)
        order = fake_drone_first(f->drones[1], "0.2.1");
    fake_router_set_in_flight(f->routers[0], order->id, 1);
    const char *id = fleet_deploy(f, "web@0.2.2", 1);
    fleet_advance(f, 29000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 1);
    fleet_advance(f, 2000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    assert_string_equal(fleet_stage(f, id), "done");
}

struct failure {
    const char *name;
    enum fake_fate fate;
    const char *step; /* in what watchers see */
    const char *text;
};

static const struct failure failures[] = {
    { "exits at start", FATE_EXITS, "start failed app1 exited with status 1 after 0.21s\n",
        "web@0.2.3 is not running. web@0.2.2 serves on, untouched." },
    { "is never healthy", FATE_SICK,
        "healthy failed app1 not healthy within 60s: GET /healthz answered 500\n",
        "web@0.2.3 is not running. web@0.2.2 serves on, untouched." },
    { "fails its build", FATE_NO_BUILD, "build failed app1 the build exited with status 2\n",
        "web@0.2.3 is not running. web@0.2.2 serves on, untouched." },
};

static void a_release_that_fails_changes_nothing(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.2", 2));
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        struct fleet_watch watch;
        int commits = fake_router_commits(f->routers[0]);
        strbuf_clear(&f->steps);
        fake_drone_set_fate(f->drones[0], "0.2.3", failures[i].fate);
        const char *id = fleet_deploy(f, "web@0.2.3", 2);
        assert_non_null(id);
        fleet_watch(f, id, 0, &watch);
        if (!watch.ended || !strstr(strbuf_str(&f->steps), failures[i].step))
            fail_msg("%s: %s", failures[i].name, strbuf_str(&f->steps));
        assert_int_equal(
            strstr(strbuf_str(&f->steps), "build done app1") == NULL, failures[i].fate == FATE_NO_BUILD);
        assert_int_equal(watch.outcome, OUTCOME_FAILED);
        assert_string_equal(watch.text, failures[i].text);
        assert_int_equal(fleet_orders(f, "0.2.3"), 0);
        assert_serves(f, "0.2.2", 2);
        assert_int_equal(fake_router_commits(f->routers[0]), commits);
        assert_int_equal(map_size(f->hub->state.rows[STATE_INSTANCE]), 2);
    }
    struct msg_status answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_STATUS, &(struct msg_query){ .target = (char *)"web" }, &answer), 0);
    assert_int_equal(answer.n_releases, 2);
    assert_string_equal(answer.releases[0].summary, "2 of 2 running, 100% of traffic");
    assert_non_null(
        strstr(answer.releases[1].summary, "not running: the build exited with status 2 (deploy d-"));
    schema_clear(msg_by_type(MSG_STATUS)->answer, &answer);
}

static void one_that_never_says_anything_fails_at_its_deadline(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.1", 1));
    fake_drone_set_fate(f->drones[0], "0.2.2", FATE_PROBING);
    fake_drone_set_fate(f->drones[1], "0.2.2", FATE_SILENT);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    assert_string_equal(fleet_stage(f, id), "starting");
    fleet_advance(f, 13 * 60 * 1000);
    assert_string_equal(fleet_stage(f, id), "failed");
    assert_non_null(strstr(fleet_get(f, id)->text, "it took too long to get healthy"));
    assert_serves(f, "0.2.1", 1);
}

static void a_host_that_goes_away_meanwhile_fails_it(void **state)
{
    struct fleet *f = *state;
    fake_drone_set_fate(f->drones[1], "0.2.2", FATE_PROBING);
    const char *id = fleet_deploy(f, "web@0.2.2", 2);
    fake_drone_hang_up(f->drones[1]);
    fleet_advance(f, 9000);
    assert_string_equal(fleet_stage(f, id), "starting");
    fleet_advance(f, 2000);
    assert_string_equal(fleet_stage(f, id), "failed");
    assert_string_equal(fleet_get(f, id)->text, "web@0.2.2 is not running: app2 can't be reached.");
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 0);
}

static void the_same_deploy_again_has_nothing_to_do(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.2", 2));
    assert_null(fleet_deploy(f, "web@0.2.2", 2));
    assert_int_equal(f->kind, ERROR_NONE);
    assert_string_equal(f->error, "web@0.2.2 serves already, 2 instances; nothing to do");
    char *env[] = { (char *)"LOG_LEVEL=debug", NULL };
    const char *id = fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.2", .env = env });
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_serves(f, "0.2.2", 2);
    assert_int_equal(fleet_orders(f, "0.2.2"), 2);
}

static void a_second_deploy_meanwhile_is_refused_or_supersedes(void **state)
{
    struct fleet *f = *state;
    fake_drone_set_fate(f->drones[0], "0.2.1", FATE_PROBING);
    fake_drone_set_fate(f->drones[1], "0.2.1", FATE_PROBING);
    char *first = xstrdup(fleet_deploy(f, "web@0.2.1", 1));
    assert_null(fleet_deploy(f, "web@0.2.2", 1));
    assert_int_equal(f->kind, ERROR_CONFLICT);
    assert_non_null(strstr(f->error, first));
    const char *id = fleet_deploy_with(
        f, &(struct msg_deploy){ .target = (char *)"web@0.2.2", .instances = 1, .supersede = true });
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(fleet_stage(f, first), "reverted");
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    free(first);
}

static void without_traffic_it_runs_and_gets_none(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.1", 2));
    const char *id = fleet_deploy_with(
        f, &(struct msg_deploy){ .target = (char *)"web@0.2.2", .instances = 1, .no_traffic = true });
    assert_string_equal(fleet_stage(f, id), "done");
    assert_string_equal(fleet_get(f, id)->text, "web@0.2.2 runs, without traffic.");
    assert_serves(f, "0.2.1", 2);
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.2"), 1);
    assert_null(
        fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.1", .no_traffic = true }));
    assert_int_equal(f->kind, ERROR_REFUSED);
    /* and is promoted without a new start */
    free(deploy_done(f, "web@0.2.2", 1));
    assert_serves(f, "0.2.2", 1);
    assert_int_equal(fleet_orders(f, "0.2.2"), 1);
}

static void a_rollback_to_a_warm_release_starts_nothing(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.1", 2));
    free(deploy_done(f, "web@0.2.2", 2));
    int changes = fake_drone_changes(f->drones[0]);
    const char *id = fleet_target(f, MSG_ROLLBACK, "web");
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_serves(f, "0.2.1", 2);
    assert_int_equal(fake_drone_changes(f->drones[0]), changes);
    fleet_advance(f, 601000);
    assert_int_equal(fleet_orders(f, "0.2.1"), 2);
    assert_int_equal(fleet_orders(f, "0.2.2"), 0);
    /* cold: it is a deploy */
    id = fleet_target(f, MSG_ROLLBACK, "web");
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_serves(f, "0.2.2", 2);
}

static void only_the_newest_old_release_stays_warm(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.1", 1));
    free(deploy_done(f, "web@0.2.2", 1));
    free(deploy_done(f, "web@0.2.3", 1));
    fleet_settle(f);
    assert_int_equal(fleet_orders(f, "0.2.1"), 0);
    assert_int_equal(fleet_orders(f, "0.2.2"), 1);
    assert_int_equal(fleet_orders(f, "0.2.3"), 1);
}

static void scaling_adds_and_removes(void **state)
{
    struct fleet *f = *state;
    struct msg_operation answer = { 0 };
    free(deploy_done(f, "web@0.2.2", 1));
    char *id = fleet_request_id(f);
    assert_int_equal(fleet_call(f, MSG_SCALE, &(struct msg_scale){ id, (char *)"web", 4, NULL }, &answer), 0);
    assert_string_equal(fleet_stage(f, answer.deploy), "done");
    schema_clear(&msg_operation_schema, &answer);
    free(id);
    assert_serves(f, "0.2.2", 4);
    assert_int_equal(fake_drone_orders(f->drones[0], NULL), 2);
    id = fleet_request_id(f);
    assert_int_equal(fleet_call(f, MSG_SCALE, &(struct msg_scale){ id, (char *)"web", 2, NULL }, &answer), 0);
    assert_string_equal(fleet_stage(f, answer.deploy), "done");
    schema_clear(&msg_operation_schema, &answer);
    free(id);
    assert_serves(f, "0.2.2", 2);
    assert_int_equal(fleet_orders(f, NULL), 2);
}

static void stop_start_and_restart_go_through_the_table(void **state)
{
    struct fleet *f = *state;
    free(deploy_done(f, "web@0.2.2", 2));
    const char *id = fleet_target(f, MSG_STOP, "web");
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_int_equal(fake_router_endpoints(f->routers[0], "web", "0.2.2"), 0);
    assert_true(fake_drone_first(f->drones[0], "0.2.2")->stopped);
    assert_null(fleet_target(f, MSG_STOP, "web"));
    assert_int_equal(f->kind, ERROR_NONE);

    struct fleet_watch watch;
    id = fleet_target(f, MSG_START, "web");
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    strbuf_clear(&f->steps);
    fleet_watch(f, id, 0, &watch);
    assert_non_null(strstr(strbuf_str(&f->steps), "healthy done - 3 of 3 /healthz\n"));
    assert_serves(f, "0.2.2", 2);

    int64_t generation = fake_drone_first(f->drones[0], "0.2.2")->generation;
    id = fleet_target(f, MSG_RESTART, "web@0.2.2");
    assert_non_null(id);
    assert_string_equal(fleet_stage(f, id), "done");
    assert_int_equal(fake_drone_first(f->drones[0], "0.2.2")->generation, generation + 1);
    assert_serves(f, "0.2.2", 2);
}

static void a_worker_needs_no_router(void **state)
{
    struct fleet *f = *state;
    fleet_add_release(f, "mailer", "1.0.0", RELEASE_WORKER);
    fleet_add_release(f, "mailer", "1.0.1", RELEASE_WORKER);
    free(deploy_done(f, "mailer@1.0.0", 1));
    free(deploy_done(f, "mailer@1.0.1", 1));
    assert_int_equal(fleet_orders(f, "1.0.0"), 0);
    assert_int_equal(fleet_orders(f, "1.0.1"), 1);
    assert_int_equal(fake_router_commits(f->routers[0]), 0);
}

static void what_is_missing_is_said_and_nothing_is_changed(void **state)
{
    struct fleet *f = *state;
    fleet_add_release_full(f, "shop", "1.0.0", 0, "auth=^0.2", NULL, 0);
    fleet_add_release_full(f, "shop", "1.0.1", 0, "config:keys=1.x", NULL, 0);
    fleet_add_release_full(f, "big", "1.0.0", 0, NULL, NULL, INT64_C(1) << 30);
    fleet_add_release_full(f, "thief", "1.0.0", 0, NULL, "web.example.com/", 0);
    free(deploy_done(f, "web@0.2.2", 1));
    static const struct {
        const char *target;
        int64_t instances;
        enum error_kind kind;
        const char *text;
    } cases[] = {
        { "shop@1.0.0", 1, ERROR_REFUSED,
            "shop@1.0.0 depends on what does not serve here:\n"
            "  auth ^0.2 is missing: no service \"auth\" was ever pushed\nNothing was changed." },
        { "shop@1.0.1", 1, ERROR_REFUSED,
            "shop@1.0.1 depends on what does not serve here:\n"
            "  config:keys 1.x is missing: no configuration \"keys\" is known\nNothing was changed." },
        { "big@1.0.0", 9, ERROR_REFUSED,
            "9 instances of big@1.0.0 don't fit\n"
            "  app1  room for 2 (memory 1G each, 2G free)\n  app2  room for 2 (memory 1G each, 2G free)\n"
            "Nothing was changed." },
        { "thief@1.0.0", 1, ERROR_CONFLICT,
            "the route \"web.example.com/\" of thief belongs to web; nothing was changed" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int commits = fake_disk_commits(f->disk);
        assert_null(fleet_deploy(f, cases[i].target, cases[i].instances));
        assert_int_equal(f->kind, cases[i].kind);
        assert_string_equal(f->error, cases[i].text);
        assert_int_equal(fake_disk_commits(f->disk), commits);
    }
    assert_null(fleet_deploy(f, "nothing@1.0.0", 1));
    assert_int_equal(f->kind, ERROR_NOT_FOUND);
    char *hosts[] = { (char *)"app7", NULL };
    assert_null(fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.1", .hosts = hosts }));
    assert_string_equal(f->error, "there is no host \"app7\"");
}

static void a_request_said_twice_is_done_once(void **state)
{
    struct fleet *f = *state;
    struct msg_deploy m = {
        .request_id = (char *)"same-request-1", .target = (char *)"web@0.2.1", .instances = 1
    };
    char *first = xstrdup(fleet_deploy_with(f, &m));
    int commits = fake_disk_commits(f->disk);
    const char *again = fleet_deploy_with(f, &m);
    assert_non_null(again);
    assert_string_equal(first, again);
    assert_int_equal(fake_disk_commits(f->disk), commits);
    fleet_restart(f);
    again = fleet_deploy_with(f, &m);
    assert_non_null(again);
    assert_string_equal(first, again);
    m.instances = 2;
    assert_null(fleet_deploy_with(f, &m));
    assert_int_equal(f->kind, ERROR_CONFLICT);
    assert_string_equal(f->error, "request id \"same-request-1\" was used for another request");
    free(first);
}

static void a_store_that_fails_refuses_the_command_and_the_hub_goes_on(void **state)
{
    struct fleet *f = *state;
    fake_disk_fail(f->disk, 1, -ENOSPC);
    assert_null(fleet_deploy(f, "web@0.2.1", 1));
    assert_int_equal(f->kind, ERROR_UNAVAILABLE);
    assert_non_null(strstr(f->error, "the hub can't store it now: "));
    assert_int_equal(fleet_orders(f, NULL), 0);
    free(deploy_done(f, "web@0.2.1", 1));
    assert_serves(f, "0.2.1", 1);
}

static void nothing_is_answered_before_it_is_durable(void **state)
{
    struct fleet *f = *state;
    fake_disk_hold(f->disk);
    char *id = fleet_request_id(f);
    struct msg_deploy m = { .request_id = id, .target = (char *)"web@0.2.1", .instances = 1 };
    assert_int_equal(fleet_call(f, MSG_DEPLOY, &m, NULL), -1);
    assert_int_equal(fleet_orders(f, NULL), 0);
    assert_int_equal(map_size(f->hub->state.rows[STATE_DEPLOY]), 0);
    fake_disk_release(f->disk);
    fleet_settle(f);
    assert_int_equal(fleet_orders(f, NULL), 1);
    free(id);
}

static void a_watch_is_taken_up_behind_what_was_seen(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    char *id = deploy_done(f, "web@0.2.1", 1);
    fleet_watch(f, id, 0, &watch);
    int64_t all = f->last_step;
    assert_true(all >= 4);
    strbuf_clear(&f->steps);
    fleet_watch(f, id, all - 1, &watch);
    assert_true(watch.ended);
    assert_int_equal(strchr(strbuf_str(&f->steps), '\n') - strbuf_str(&f->steps) + 1, (int)f->steps.len);
    strbuf_clear(&f->steps);
    fleet_restart(f);
    fleet_watch(f, id, 0, &watch);
    assert_true(watch.ended);
    assert_int_equal(f->last_step, all);
    free(id);
}

static void who_asks_for_it_sees_the_output_of_the_build(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    static const char *const lines[] = { "added 12 packages", NULL };
    char *hosts[] = { (char *)"app1", NULL };
    fake_drone_set_log(f->drones[0], lines, 1000000);
    fake_drone_set_fate(f->drones[0], "0.2.3", FATE_BUILDING);
    const char *id =
        fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)"web@0.2.3", .hosts = hosts });
    fleet_watch(f, id, 0, &watch);
    fleet_advance(f, 1000);
    assert_int_equal(fake_drone_streams(f->drones[0]), 0); /* nobody asked */
    struct fleet_watch with_output;
    fleet_watch_output(f, id, &with_output);
    fleet_advance(f, 1000);
    assert_non_null(strstr(strbuf_str(&f->steps), "build output app1 added 12 packages\n"));
    assert_int_equal(fake_drone_streams(f->drones[0]), 1); /* once */
    fake_drone_set_fate(f->drones[0], "0.2.3", FATE_GOOD);
    fleet_settle(f);
    assert_true(watch.ended);
    assert_true(with_output.ended);
    free(deploy_done(f, "web@0.2.2", 1));
    fleet_advance(f, 20000);
    assert_true(list_empty(&f->hub->streams));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_first_deploy_serves),
        T(a_second_version_replaces_the_first_and_keeps_it_warm),
        T(without_warm_time_the_old_instances_are_gone_when_it_ends),
        T(an_old_instance_is_stopped_only_when_its_requests_have_ended),
        T(a_drain_ends_at_its_deadline),
        T(a_release_that_fails_changes_nothing),
        T(one_that_never_says_anything_fails_at_its_deadline),
        T(a_host_that_goes_away_meanwhile_fails_it),
        T(the_same_deploy_again_has_nothing_to_do),
        T(a_second_deploy_meanwhile_is_refused_or_supersedes),
        T(without_traffic_it_runs_and_gets_none),
        T(a_rollback_to_a_warm_release_starts_nothing),
        T(only_the_newest_old_release_stays_warm),
        T(scaling_adds_and_removes),
        T(stop_start_and_restart_go_through_the_table),
        T(a_worker_needs_no_router),
        T(what_is_missing_is_said_and_nothing_is_changed),
        T(a_request_said_twice_is_done_once),
        T(a_store_that_fails_refuses_the_command_and_the_hub_goes_on),
        T(nothing_is_answered_before_it_is_durable),
        T(who_asks_for_it_sees_the_output_of_the_build),
        T(a_watch_is_taken_up_behind_what_was_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
