/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "droned/orders.h"
#include "tests/fakes/drone_world.h"

/* What may be ordered, and by whom. */

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

static void refuses_orders_that_it_must_not_carry_out(void **state)
{
    struct world *w = *state;
    const struct {
        const char *name, *user, *run_as, *says;
    } rows[] = {
        { "root by the service's user", "root", NULL, "the user of web is sc-" },
        { "another service's user", "sc-000000000000", NULL, "the user of web is sc-" },
        { "root by the manifest", NULL, "root", "AllowUsers=" },
        { "a user nobody allowed", NULL, "www-data", "AllowUsers=" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct order order = world_order();
        order.user = (char *)rows[i].user;
        order.run.user = (char *)rows[i].run_as;
        row_int(rows[i].name, world_order_all(w, &order, 1), -EPERM);
        row_true(rows[i].name, strstr(w->reason, rows[i].says) != NULL);
        row_str(rows[i].name, world_phase(w, WORLD_ID), "none");
        row_int(rows[i].name, w->droned->revision, 0);
    }
    assert_int_equal(fake_systemd_calls(w->systemd, "StartTransientUnit"), 0);
}

static void texts_that_are_no_orders_are_refused_whole(void **state)
{
    struct world *w = *state;
    const struct {
        const char *name, *text, *says;
    } rows[] = {
        { "not JSON", "{", "" },
        { "unknown key",
            "{\"format\":1,\"fleet\":\"f1f2f3f4f5f6f7f8\",\"revision\":1,\"orders\":[],\"extra\":1}",
            "extra" },
        { "bad id",
            "{\"format\":1,\"fleet\":\"f1f2f3f4f5f6f7f8\",\"revision\":1,\"orders\":[{\"id\":\"../../etc\","
            "\"app\":\"shop\",\"service\":\"web\",\"version\":\"0.2.2\",\"commit\":\"" WORLD_COMMIT "\","
            "\"run\":{\"command\":[\"x\"],\"health\":{\"kind\":\"tcp\"}}}]}",
            "id" },
        { "unknown sandbox key",
            "{\"format\":1,\"fleet\":\"f1f2f3f4f5f6f7f8\",\"revision\":1,\"orders\":[{\"id\":\"3f9a12c0\","
            "\"app\":\"shop\",\"service\":\"web\",\"version\":\"0.2.2\",\"commit\":\"" WORLD_COMMIT "\","
            "\"run\":{\"command\":[\"x\"],\"private_network\":true}}]}",
            "private_network" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct error err = { 0 };
        row_true(rows[i].name, orders_replace_text(w->droned, rows[i].text, strlen(rows[i].text), &err) < 0);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%s: says \"%s\"", rows[i].name, err.text);
        row_int(rows[i].name, w->droned->revision, 0);
    }
}

static void an_older_hub_is_refused(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct orders old = { .format = 1, .fleet = (char *)"f1f2f3f4f5f6f7f8", .revision = 0 };
    struct error err;
    assert_int_equal(orders_replace(w->droned, &old, &err), -ESTALE);
    assert_non_null(strstr(err.text, "older"));
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void another_fleet_than_joined_is_refused(void **state)
{
    struct world *w = *state;
    struct order order = world_order();
    str_set(&w->droned->joined_fleet, "0000000000000000");
    assert_int_equal(world_order_all(w, &order, 1), -EPERM);
    assert_string_equal(world_phase(w, WORLD_ID), "none");
}

static void a_step_from_another_revision_is_refused(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct msg_orders_change change = { .from_revision = 7, .revision = 8 };
    struct error err;
    assert_int_equal(orders_change(w->droned, &change, &err), -ESTALE);
    assert_int_equal(w->droned->revision, 1);
}

static void what_is_not_in_the_document_is_stopped(void **state)
{
    struct world *w = *state;
    struct order orders[] = { world_order(), world_order() };
    orders[1].id = (char *)"81c05e2d";
    world_order_all(w, orders, 2);
    world_advance(w, 3100);
    assert_string_equal(world_phase(w, "81c05e2d"), "running");
    assert_int_equal(world_order_all(w, &orders[1], 1), 0);
    assert_string_equal(world_phase(w, WORLD_ID), "none");
    assert_string_equal(world_phase(w, "81c05e2d"), "running");
    assert_int_equal(w->n_gone, 1);
}

static void an_instance_does_not_become_another_release(void **state)
{
    struct world *w = *state;
    world_run(w);
    struct order order = world_order();
    order.commit = (char *)"ffffffffffffffffffffffffffffffffffffffff";
    assert_int_equal(world_put(w, &order), -EINVAL);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
}

static void a_file_that_can_not_be_read_harms_nobody_else(void **state)
{
    struct world *w = *state;
    world_run(w);
    world_kill(w);
    _cleanup_(free_ptr) char *path = xasprintf("%s/instances/0badcafe.json", w->dir);
    struct error err;
    assert_int_equal(statefile_write(path, "{\"format\":", 10, 0600, &err), 0);
    world_start(w);
    assert_string_equal(world_phase(w, WORLD_ID), "running");
    assert_string_equal(world_phase(w, "0badcafe"), "none");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(refuses_orders_that_it_must_not_carry_out),
        T(texts_that_are_no_orders_are_refused_whole),
        T(an_older_hub_is_refused),
        T(another_fleet_than_joined_is_refused),
        T(a_step_from_another_revision_is_refused),
        T(what_is_not_in_the_document_is_stopped),
        T(an_instance_does_not_become_another_release),
        T(a_file_that_can_not_be_read_harms_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
