/* SPDX-License-Identifier: MIT */
#include "hubd/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/schema.h"

/* Rows as the store has them. */
static const char *const rows[][2] = {
    { "meta/hub", "{\"format\":1,\"fleet\":\"f1\",\"epoch\":6}" },
    { "service/web",
        "{\"name\":\"web\",\"app\":\"shop\",\"routes\":[\"www.example.com/shop/\",\"*.example.org\"],"
        "\"live\":{\"releases\":[{\"version\":\"0.2.2\",\"ranges\":[{\"first\":0,\"last\":4294967295}]}]}}" },
    { "service/mailer",
        "{\"name\":\"mailer\",\"app\":\"shop\","
        "\"live\":{\"releases\":[{\"version\":\"1.0.0\",\"ranges\":[{\"first\":0,\"last\":4294967295}]}]}}" },
    { "service/idle", "{\"name\":\"idle\",\"app\":\"shop\",\"routes\":[]}" },
    { "release/web/0.2.1",
        "{\"service\":\"web\",\"version\":\"0.2.1\",\"commit\":\"8046c32c00000000000000000000000000000000\","
        "\"app\":\"shop\",\"run\":{\"command\":[\"x\"],\"port\":true}}" },
    { "release/web/0.2.2",
        "{\"service\":\"web\",\"version\":\"0.2.2\",\"commit\":\"35819ef700000000000000000000000000000000\","
        "\"app\":\"shop\",\"run\":{\"command\":[\"x\"],\"port\":true}}" },
    { "release/mailer/1.0.0",
        "{\"service\":\"mailer\",\"version\":\"1.0.0\","
        "\"commit\":\"35819ef700000000000000000000000000000000\",\"app\":\"shop\","
        "\"run\":{\"command\":[\"x\"],\"port\":false}}" },
    { "instance/00000001",
        "{\"id\":\"00000001\",\"host\":\"app1\",\"app\":\"shop\",\"service\":\"web\",\"version\":\"0.2.2\","
        "\"commit\":\"35819ef700000000000000000000000000000000\",\"wanted\":\"running\","
        "\"endpoint\":\"active\",\"address\":\"10.0.0.11:20117\",\"endpoint_epoch\":6}" },
    { "instance/00000002",
        "{\"id\":\"00000002\",\"host\":\"app2\",\"app\":\"shop\",\"service\":\"web\",\"version\":\"0.2.1\","
        "\"commit\":\"8046c32c00000000000000000000000000000000\",\"wanted\":\"retired\","
        "\"endpoint\":\"draining\",\"address\":\"10.0.0.12:20001\",\"endpoint_epoch\":6}" },
    { "instance/00000003",
        "{\"id\":\"00000003\",\"host\":\"app2\",\"app\":\"shop\",\"service\":\"web\",\"version\":\"0.2.2\","
        "\"commit\":\"35819ef700000000000000000000000000000000\",\"wanted\":\"running\"}" },
    { "instance/00000004",
        "{\"id\":\"00000004\",\"host\":\"app2\",\"app\":\"shop\",\"service\":\"mailer\","
        "\"version\":\"1.0.0\",\"commit\":\"35819ef700000000000000000000000000000000\","
        "\"wanted\":\"running\"}" },
};

static void load(struct state *state)
{
    struct error err;
    state_init(state);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (state_load_row(state, rows[i][0], rows[i][1], strlen(rows[i][1]), &err) < 0)
            fail_msg("%s", err.text);
}

static void the_state_makes_the_table(void **unused)
{
    struct state state;
    load(&state);
    struct txn *view = txn_new(&state);
    struct table table;
    routes_build(view, 7, &table);
    struct strbuf text = STRBUF_INIT;
    table_print(&table, &text);
    assert_int_equal(table.epoch, 7);
    assert_int_equal(table.n_services, 1); /* a worker and one that runs nothing are not in it */
    assert_int_equal(table.n_routes, 2);
    assert_string_equal(table.routes[0].host, "www.example.com");
    assert_string_equal(table.routes[0].path, "/shop");
    assert_string_equal(table.routes[1].host, "*.example.org");
    const struct table_service *web = &table.services[0];
    assert_int_equal(web->n_releases, 2);
    assert_string_equal(web->releases[0].version, "0.2.2");
    assert_int_equal(web->releases[0].n_ranges, 1);
    assert_int_equal(web->releases[0].n_endpoints, 1); /* one is not healthy yet */
    assert_string_equal(web->releases[0].endpoints[0].address, "10.0.0.11:20117");
    assert_string_equal(web->releases[1].version, "0.2.1");
    assert_int_equal(web->releases[1].n_ranges, 0);
    assert_true(web->releases[1].endpoints[0].draining);
    table_clear(&table);
    /* what is written is what a router takes */
    struct error err;
    if (table_read(strbuf_str(&text), text.len, &table, &err) < 0)
        fail_msg("%s", err.text);
    table_clear(&table);
    strbuf_done(&text);
    txn_free(view);
    state_done(&state);
}

static void what_a_transaction_changes_is_in_its_table_and_not_in_the_state(void **unused)
{
    struct state state;
    load(&state);
    struct txn *txn = txn_new(&state);
    struct instance *instance = txn_edit(txn, STATE_INSTANCE, "00000003");
    instance->endpoint = ENDPOINT_ACTIVE;
    instance->address = xstrdup("10.0.0.12:20042");
    txn_delete(txn, STATE_INSTANCE, "00000002");
    struct table table;
    routes_build(txn, 7, &table);
    assert_int_equal(table.services[0].n_releases, 1);
    assert_int_equal(table.services[0].releases[0].n_endpoints, 2);
    table_clear(&table);
    txn_free(txn);
    assert_int_equal(state_instance(&state, "00000003")->endpoint, ENDPOINT_NONE);
    assert_non_null(state_instance(&state, "00000002"));
    state_done(&state);
}

/* 0.2.1 gets a quarter: what it wants counts for nothing, what 0.2.2 wants does. */
static void requests_are_given_as_the_release_with_most_traffic_wants_them(void **unused)
{
    struct state state;
    load(&state);
    struct txn *txn = txn_new(&state);
    struct service *web = txn_edit(txn, STATE_SERVICE, "web");
    web->live.releases = xrealloc(web->live.releases, 2 * sizeof(*web->live.releases));
    web->live.n_releases = 2;
    web->live.releases[0].ranges[0].first = INT64_C(1) << 30;
    web->live.releases[1] = (struct live_release){ .version = xstrdup("0.2.1"), .n_ranges = 1 };
    web->live.releases[1].ranges = xcalloc(1, sizeof(*web->live.releases[1].ranges));
    web->live.releases[1].ranges[0].last = (INT64_C(1) << 30) - 1;
    struct release *old = txn_edit(txn, STATE_RELEASE, "web/0.2.1");
    old->requests = (struct requests_spec){ .at_once = 1, .queue = 7, .slow_start_ms = 5 };
    struct release *now = txn_edit(txn, STATE_RELEASE, "web/0.2.2");
    now->requests = (struct requests_spec){ .at_once = 20, .queue = REQUESTS_NO_QUEUE, .no_retry = true };
    struct table table;
    routes_build(txn, 7, &table);
    const struct table_limits *limits = &table.services[0].limits;
    assert_int_equal(limits->max_in_flight, 20);
    assert_int_equal(limits->queue, 0);
    assert_int_equal(limits->queue_ms, -1);
    assert_int_equal(limits->retries, 0);
    assert_int_equal(limits->slow_start_ms, 0);
    assert_int_equal(limits->max_ejected_percent, 50);
    table_clear(&table);
    txn_free(txn);
    state_done(&state);
}

/* What a release says of a route goes into the table with it. */
static void rules_come_with_their_route(void **unused)
{
    struct state state;
    load(&state);
    struct txn *txn = txn_new(&state);
    struct service *web = txn_edit(txn, STATE_SERVICE, "web");
    web->route_rules = xcalloc(1, sizeof(*web->route_rules));
    web->n_route_rules = 1;
    table_route_init(&web->route_rules[0]);
    web->route_rules[0].host = xstrdup("www.example.com");
    web->route_rules[0].path = xstrdup("/shop");
    web->route_rules[0].service = xstrdup("web");
    web->route_rules[0].https = true;
    struct table table;
    routes_build(txn, 7, &table);
    assert_int_equal(table.n_routes, 2);
    assert_true(table.routes[0].https);
    assert_false(table_route_has_rules(&table.routes[1]));
    assert_true(table_needs_2(&table));
    table_clear(&table);
    txn_free(txn);
    state_done(&state);
}

static void a_route_has_one_owner(void **unused)
{
    static const struct {
        const char *route, *except, *owner;
    } cases[] = {
        { "www.example.com/shop", NULL, "web" },
        { "www.example.com/shop/", NULL, "web" },
        { "www.example.com/shop", "web", NULL },
        { "www.example.com", NULL, NULL },
        { "*.example.org/", NULL, "web" },
        { "example.org", NULL, NULL },
    };
    struct state state;
    load(&state);
    struct txn *view = txn_new(&state);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *owner = routes_owner(view, cases[i].route, cases[i].except);
        if (cases[i].owner ? !owner || strcmp(owner, cases[i].owner) != 0 : owner != NULL)
            fail_msg("%s: %s", cases[i].route, owner ? owner : "nobody");
    }
    txn_free(view);
    state_done(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_makes_the_table),
        cmocka_unit_test(what_a_transaction_changes_is_in_its_table_and_not_in_the_state),
        cmocka_unit_test(requests_are_given_as_the_release_with_most_traffic_wants_them),
        cmocka_unit_test(rules_come_with_their_route),
        cmocka_unit_test(a_route_has_one_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
