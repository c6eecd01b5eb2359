/* SPDX-License-Identifier: MIT */
/* What people see: lists, pages, history, events, log lines, and what they may not do. */
#include "tests/fakes/fake_fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/link.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/txn.h"

static int setup(void **state)
{
    struct fleet *f = xcalloc(1, sizeof(*f));
    fleet_init(f, 2, 1);
    fleet_add_release(f, "auth", "0.1.5", 0);
    fleet_add_release_full(f, "web", "0.2.1", 0, "auth=^0.1", "www.example.com", 0);
    fleet_add_release_full(f, "web", "0.2.2", 0, "auth=^0.1", "www.example.com", 0);
    fleet_add_release(f, "mailer", "1.0.3", RELEASE_WORKER);
    fleet_add_release_full(f, "billing", "0.4.0", 0, "auth=^2", NULL, 0);
    assert_non_null(fleet_deploy(f, "auth", 1));
    assert_non_null(fleet_deploy(f, "mailer", 1));
    assert_non_null(fleet_deploy(f, "web@0.2.1", 2));
    assert_non_null(fleet_deploy(f, "web@0.2.2", 2));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fleet_done(*state);
    free(*state);
    return 0;
}

static void list_shows_what_runs(void **state)
{
    struct fleet *f = *state;
    struct msg_list answer = { 0 };
    const struct order *order = fake_drone_first(f->drones[0], "0.2.2");
    fake_router_hit(f->routers[0], order->id, 77000000);
    fleet_settle(f);
    assert_int_equal(fleet_call(f, MSG_LIST, &(struct msg_query){ 0 }, &answer), 0);
    assert_int_equal(answer.n_releases, 4);
    static const struct {
        const char *service, *version;
        int64_t percent, wanted, running;
        bool worker, warm;
        int64_t hit;
    } rows[] = {
        { "auth", "0.1.5", 100, 1, 1, false, false, 0 },
        { "mailer", "1.0.3", -1, 1, 1, true, false, 0 },
        { "web", "0.2.1", 0, 2, 2, false, true, 0 },
        { "web", "0.2.2", 100, 2, 2, false, false, 77000000 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct release_row *row = &answer.releases[i];
        assert_string_equal(row->service, rows[i].service);
        assert_string_equal(row->version, rows[i].version);
        assert_int_equal(row->traffic_percent, rows[i].percent);
        assert_int_equal(row->wanted, rows[i].wanted);
        assert_int_equal(row->running, rows[i].running);
        assert_int_equal(row->worker, rows[i].worker);
        assert_int_equal(row->warm_until_us > 0, rows[i].warm);
        assert_int_equal(row->last_hit_us, rows[i].hit);
        assert_int_equal(strv_len(row->addresses), rows[i].running);
    }
    assert_true(strncmp(answer.releases[3].addresses[0], "app", 3) == 0);
    assert_non_null(strchr(answer.releases[3].addresses[0], ':'));
    assert_null(strchr(answer.releases[1].addresses[0], ':'));
    schema_clear(msg_by_type(MSG_LIST)->answer, &answer);
}

static void lists_come_in_pages(void **state)
{
    struct fleet *f = *state;
    struct strbuf seen = STRBUF_INIT;
    char *cursor = NULL;
    int pages = 0;
    do {
        struct msg_list answer = { 0 };
        struct msg_query query = { .cursor = cursor, .limit = 1 };
        assert_int_equal(fleet_call(f, MSG_LIST, &query, &answer), 0);
        assert_int_equal(answer.n_releases, 1);
        strbuf_addf(&seen, "%s@%s:%d ", answer.releases[0].service, answer.releases[0].version,
            (int)answer.releases[0].running);
        free(cursor);
        cursor = xstrdup(answer.next);
        schema_clear(msg_by_type(MSG_LIST)->answer, &answer);
    } while (cursor && ++pages < 10);
    assert_string_equal(strbuf_str(&seen), "auth@0.1.5:1 mailer@1.0.3:1 web@0.2.1:2 web@0.2.2:2 ");
    strbuf_clear(&seen);
    int n = 0;
    do {
        struct msg_ps answer = { 0 };
        struct msg_query query = { .cursor = cursor, .limit = 4 };
        assert_int_equal(fleet_call(f, MSG_PS, &query, &answer), 0);
        n += (int)answer.n_instances;
        free(cursor);
        cursor = xstrdup(answer.next);
        schema_clear(msg_by_type(MSG_PS)->answer, &answer);
    } while (cursor && n < 20);
    assert_int_equal(n, 6);
    free(cursor);
    strbuf_done(&seen);
}

static void what_is_asked_for_filters(void **state)
{
    struct fleet *f = *state;
    const char *id = fake_drone_first(f->drones[0], "0.2.2")->id;
    const struct {
        const char *target;
        size_t n;
    } cases[] = { { "web", 4 }, { "web@0.2.2", 2 }, { "web@^0.2", 4 }, { "app1", 3 }, { id, 1 },
        { "nothing", 0 } };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct msg_ps answer = { 0 };
        assert_int_equal(
            fleet_call(f, MSG_PS, &(struct msg_query){ .target = (char *)cases[i].target }, &answer), 0);
        if (answer.n_instances != cases[i].n)
            fail_msg("%s: %zu", cases[i].target, answer.n_instances);
        schema_clear(msg_by_type(MSG_PS)->answer, &answer);
    }
}

static void servers_shows_hosts_with_what_runs_there(void **state)
{
    struct fleet *f = *state;
    struct msg_servers answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_SERVERS, &(struct msg_query){ 0 }, &answer), 0);
    assert_int_equal(answer.n_hosts, 2);
    assert_string_equal(answer.hosts[0].host, "app1");
    assert_true(answer.hosts[0].online);
    assert_int_equal(answer.hosts[0].memory_free_bytes, 2LL << 30);
    assert_int_equal(answer.hosts[0].n_instances, 3);
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &answer);
    assert_int_equal(fleet_call(f, MSG_HOST_LIST, &(struct msg_query){ 0 }, &answer), 0);
    assert_int_equal(answer.n_hosts, 3);
    assert_int_equal(answer.hosts[2].role, ROLE_ROUTER);
    assert_true(strncmp(answer.hosts[2].note, "epoch ", 6) == 0);
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &answer);
}

static void deps_says_what_is_met_and_what_is_missing(void **state)
{
    struct fleet *f = *state;
    struct msg_deps answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_DEPS, &(struct msg_query){ 0 }, &answer), 0);
    assert_int_equal(answer.n_edges, 4);
    assert_string_equal(answer.edges[0].service, "auth");
    assert_null(answer.edges[0].name);
    assert_string_equal(answer.edges[1].service, "billing");
    assert_string_equal(answer.edges[1].missing, "newest is 0.1.5");
    assert_string_equal(answer.edges[3].service, "web");
    assert_string_equal(answer.edges[3].name, "auth");
    assert_string_equal(answer.edges[3].resolved, "0.1.5");
    schema_clear(msg_by_type(MSG_DEPS)->answer, &answer);
}

static void history_is_newest_first_and_can_be_continued(void **state)
{
    struct fleet *f = *state;
    struct msg_history answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_HISTORY,
                         &(struct msg_history_query){ .target = (char *)"web", .limit = 2 }, &answer),
        0);
    assert_int_equal(answer.n_events, 2);
    assert_true(answer.events[0].seq > answer.events[1].seq);
    assert_non_null(strstr(answer.events[0].text, "done: web@0.2.2 serves."));
    assert_string_equal(answer.events[1].who, "ops");
    int64_t before = answer.events[1].seq;
    schema_clear(msg_by_type(MSG_HISTORY)->answer, &answer);
    assert_int_equal(
        fleet_call(f, MSG_HISTORY,
            &(struct msg_history_query){ .target = (char *)"web", .limit = 2, .before = before }, &answer),
        0);
    assert_int_equal(answer.n_events, 2);
    assert_non_null(strstr(answer.events[0].text, "done: web@0.2.1 serves."));
    schema_clear(msg_by_type(MSG_HISTORY)->answer, &answer);
}

static void ignore(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
}

static void monitor_tells_what_happens_from_where_one_left_off(void **state)
{
    struct fleet *f = *state;
    link_call(f->person, MSG_MONITOR, &(struct msg_monitor){ .after = -1 }, 0, ignore, NULL);
    fleet_settle(f);
    assert_int_equal(f->events.len, 0);
    fake_drone_report(
        f->drones[0], fake_drone_first(f->drones[0], "0.2.2")->id, INSTANCE_BACKING_OFF, "killed by SIGKILL");
    fleet_settle(f);
    assert_non_null(strstr(strbuf_str(&f->events), "killed by SIGKILL"));
    strbuf_clear(&f->events);
    link_call(f->person, MSG_MONITOR, &(struct msg_monitor){ .after = 0, .target = (char *)"mailer" }, 0,
        ignore, NULL);
    fleet_settle(f);
    assert_non_null(strstr(strbuf_str(&f->events), "mailer@1.0.3 serves."));
    assert_null(strstr(strbuf_str(&f->events), "web"));
}

static void logs_of_several_hosts_come_in_order_of_time(void **state)
{
    struct fleet *f = *state;
    static const char *const first[] = { "one", "three", "five", NULL };
    static const char *const second[] = { "two", "four", NULL };
    fake_drone_set_log(f->drones[0], first, 1000000);
    fake_drone_set_log(f->drones[1], second, 1500000);
    struct msg_stream_end end = { 0 };
    assert_int_equal(
        fleet_call(f, MSG_LOGS, &(struct msg_logs){ .target = (char *)"web", .lines = 4 }, &end), 0);
    assert_null(end.reason);
    assert_string_equal(strbuf_str(&f->lines), "app2 two\napp1 three\napp2 four\napp1 five\n");
    assert_int_equal(fake_drone_streams(f->drones[0]), 1);
    assert_true(list_empty(&f->hub->streams));
}

static void logs_say_which_host_was_not_reached(void **state)
{
    struct fleet *f = *state;
    static const char *const lines[] = { "here", NULL };
    fake_drone_set_log(f->drones[0], lines, 1000000);
    fake_drone_hang_up(f->drones[1]);
    fleet_settle(f);
    struct msg_stream_end end = { 0 };
    assert_int_equal(
        fleet_call(f, MSG_LOGS, &(struct msg_logs){ .target = (char *)"web", .lines = 4 }, &end), 0);
    assert_string_equal(end.reason, "app2 is not reached");
    assert_string_equal(strbuf_str(&f->lines), "app1 here\n");
    schema_clear(msg_by_type(MSG_LOGS)->answer, &end);
    assert_int_equal(
        fleet_call(f, MSG_LOGS, &(struct msg_logs){ .target = (char *)"nothing" }, NULL), ERROR_NOT_FOUND);
}

static int decide_identity(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct identity *identity = txn_edit(txn, STATE_IDENTITY, "deployer/ops");
    identity->role = ROLE_DEPLOYER;
    identity->name = xstrdup("ops");
    strv_push(&identity->services, "mailer");
    return 0;
}

static void a_deployer_changes_only_the_services_that_are_given(void **state)
{
    struct fleet *f = *state;
    hubd_command(f->hub, "test", decide_identity, NULL, NULL);
    fleet_settle(f);
    fleet_connect_person(f, ROLE_DEPLOYER);
    assert_null(fleet_deploy(f, "web@0.2.1", 1));
    assert_int_equal(f->kind, ERROR_DENIED);
    assert_string_equal(f->error, "deployer \"ops\" may not change web");
    assert_null(fleet_target(f, MSG_STOP, "web"));
    assert_int_equal(f->kind, ERROR_DENIED);
    assert_non_null(fleet_target(f, MSG_RESTART, "mailer"));
    fleet_connect_person(f, ROLE_VIEWER);
    assert_null(fleet_target(f, MSG_STOP, "mailer"));
    assert_int_equal(f->kind, ERROR_DENIED);
}

static void a_reader_that_does_not_read_is_dropped_with_a_notice(void **state)
{
    struct fleet *f = *state;
    struct fleet_watch watch;
    fake_drone_set_fate(f->drones[0], "0.2.1", FATE_PROBING);
    link_call(f->person, MSG_MONITOR, &(struct msg_monitor){ .after = -1 }, 0, ignore, NULL);
    fleet_settle(f);
    link_pause(f->person, true);
    const char *id = fake_drone_first(f->drones[0], "0.2.2")->id;
    char *reason = xasprintf("exited %0*d", 8000, 1);
    for (int i = 0; i < 200; i++) {
        fake_drone_report(f->drones[0], id, i % 2 ? INSTANCE_RUNNING : INSTANCE_BACKING_OFF, reason);
        fleet_settle(f);
    }
    free(reason);
    size_t before = f->events.len;
    assert_int_equal(before, 0);
    link_pause(f->person, false);
    fleet_settle(f);
    strbuf_clear(&f->events);
    /* the subscription is gone, the link is not */
    fake_drone_report(f->drones[0], id, INSTANCE_BACKING_OFF, "once more");
    fleet_settle(f);
    assert_null(strstr(strbuf_str(&f->events), "once more"));
    assert_non_null(f->person);
    fleet_watch(f, "d-0000", 0, &watch);
    assert_false(watch.ended);
}

static void the_hub_tells_how_it_does(void **state)
{
    struct fleet *f = *state;
    struct msg_hub_status answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_HUB_STATUS, NULL, &answer), 0);
    bool found = false;
    for (size_t i = 0; i < answer.n_items; i++)
        if (strcmp(answer.items[i].name, "hosts") == 0) {
            assert_string_equal(answer.items[i].value, "2 of 2");
            found = true;
        }
    assert_true(found);
    schema_clear(msg_by_type(MSG_HUB_STATUS)->answer, &answer);
}

static void the_hub_tells_how_routers_do(void **state)
{
    struct fleet *f = *state;
    struct msg_routers answer = { 0 };
    assert_int_equal(fleet_call(f, MSG_ROUTERS, NULL, &answer), 0);
    assert_int_equal(answer.n_routers, 1);
    const struct router_row *r = &answer.routers[0];
    assert_string_equal(r->name, "r1");
    assert_true(r->online && r->version && r->epoch > 0);
    assert_int_equal(r->now.generation, 2);
    assert_int_equal(r->now.requests, 100);
    assert_string_equal(r->now.certificate, "www.example.com");
    schema_clear(msg_by_type(MSG_ROUTERS)->answer, &answer);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(list_shows_what_runs),
        T(lists_come_in_pages),
        T(what_is_asked_for_filters),
        T(servers_shows_hosts_with_what_runs_there),
        T(deps_says_what_is_met_and_what_is_missing),
        T(history_is_newest_first_and_can_be_continued),
        T(monitor_tells_what_happens_from_where_one_left_off),
        T(logs_of_several_hosts_come_in_order_of_time),
        T(logs_say_which_host_was_not_reached),
        T(a_deployer_changes_only_the_services_that_are_given),
        T(a_reader_that_does_not_read_is_dropped_with_a_notice),
        T(the_hub_tells_how_it_does),
        T(the_hub_tells_how_routers_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
