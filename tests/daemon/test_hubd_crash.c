/* SPDX-License-Identifier: MIT */
/* The hub dies at every commit of a scenario, once right before it is written and once right behind: whatever was
 * under way ends well or is cleanly failed, and hub, drones and routers agree afterwards. */
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

#define WARM_MS 20000

struct scenario {
    const char *name;
    void (*prepare)(struct fleet *f);
    void (*act)(struct fleet *f, const char *request_id);
    enum fake_fate fate; /* of 0.2.2 */
    int64_t warm_ms;
    const char *serves; /* in the end, when it was acknowledged */
    int orders;
};

static void one_serves(struct fleet *f)
{
    assert_non_null(fleet_deploy(f, "web@0.2.1", 2));
}

static void two_served(struct fleet *f)
{
    one_serves(f);
    assert_non_null(fleet_deploy(f, "web@0.2.2", 2));
}

static void deploy(struct fleet *f, const char *request_id)
{
    struct msg_deploy m = { .request_id = (char *)request_id, .target = (char *)"web@0.2.2", .instances = 2 };
    (void)fleet_deploy_with(f, &m);
}

static void roll_back(struct fleet *f, const char *request_id)
{
    struct msg_rollback m = { .request_id = (char *)request_id, .target = (char *)"web@0.2.1" };
    (void)fleet_call(f, MSG_ROLLBACK, &m, NULL);
}

static void scale(struct fleet *f, const char *request_id)
{
    struct msg_scale m = { .request_id = (char *)request_id, .target = (char *)"web", .instances = 4 };
    (void)fleet_call(f, MSG_SCALE, &m, NULL);
}

static void restart(struct fleet *f, const char *request_id)
{
    struct msg_target m = { .request_id = (char *)request_id, .target = (char *)"web" };
    (void)fleet_call(f, MSG_RESTART, &m, NULL);
}

static void stop(struct fleet *f, const char *request_id)
{
    struct msg_target m = { .request_id = (char *)request_id, .target = (char *)"web" };
    (void)fleet_call(f, MSG_STOP, &m, NULL);
}

static const struct scenario scenarios[] = {
    { "a first deploy", NULL, deploy, FATE_GOOD, WARM_MS, "0.2.2", 2 },
    { "a second deploy", one_serves, deploy, FATE_GOOD, WARM_MS, "0.2.2", 2 },
    { "a second deploy, nothing kept warm", one_serves, deploy, FATE_GOOD, 0, "0.2.2", 2 },
    { "a deploy that fails", one_serves, deploy, FATE_EXITS, WARM_MS, "0.2.1", 2 },
    { "a rollback", two_served, roll_back, FATE_GOOD, WARM_MS, "0.2.1", 2 },
    { "scaling", one_serves, scale, FATE_GOOD, WARM_MS, "0.2.1", 4 },
    { "a restart", one_serves, restart, FATE_GOOD, WARM_MS, "0.2.1", 2 },
    { "a stop", one_serves, stop, FATE_GOOD, WARM_MS, "0.2.1", 2 },
};

static void begin(struct fleet *f, const struct scenario *s)
{
    fleet_init(f, 2, 2);
    f->warm_ms = s->warm_ms;
    f->hub->config.warm_ms = s->warm_ms;
    fleet_add_release(f, "web", "0.2.1", 0);
    fleet_add_release(f, "web", "0.2.2", 0);
    if (s->prepare)
        s->prepare(f);
    for (int i = 0; i < f->n_drones; i++)
        fake_drone_set_fate(f->drones[i], "0.2.2", s->fate);
    fleet_settle(f);
}

static void where(const struct fleet *f, const struct scenario *s, int cut, bool before, const char *what)
{
    fail_msg("%s, killed %s commit %d: %s", s->name, before ? "before" : "behind", cut, what);
}

/* Everybody agrees with the hub's state, and nothing is left over. */
static void check(struct fleet *f, const struct scenario *s, int cut, bool before)
{
    state_for_each(it, &f->hub->state, STATE_DEPLOY)
    {
        const struct deploy *row = it.value;
        if (deploy_stage_is_open(row->stage))
            where(f, s, cut, before, deploy_stage_names[row->stage]);
    }
    const struct service *service = state_service(&f->hub->state, "web");
    if (service->live.n_releases != 1 || strcmp(service->live.releases[0].version, s->serves) != 0)
        where(f, s, cut, before, "another release serves");
    for (int i = 0; i < f->n_routers; i++) {
        const char *version = fake_router_serves(f->routers[i], "web");
        if (!version || strcmp(version, s->serves) != 0)
            where(f, s, cut, before, "a router serves another release");
        if (s->act != stop && fake_router_endpoints(f->routers[i], "web", s->serves) != s->orders)
            where(f, s, cut, before, "a router has another number of endpoints");
        if (fake_router_table(f->routers[i])->epoch != state_meta(&f->hub->state)->epoch)
            where(f, s, cut, before, "a router is at another epoch");
    }
    if (fleet_orders(f, NULL) != s->orders)
        where(f, s, cut, before, "there are orders left over or missing");
    if ((int)map_size(f->hub->state.rows[STATE_INSTANCE]) != s->orders)
        where(f, s, cut, before, "there are rows left over or missing");
}

/* At no moment is what serves without an endpoint. */
static void check_users(struct fleet *f, const struct scenario *s, int cut, bool before)
{
    if (!s->prepare || s->act == stop)
        return;
    for (int i = 0; i < f->n_routers; i++) {
        const char *version = fake_router_serves(f->routers[i], "web");
        if (!version || fake_router_endpoints(f->routers[i], "web", version) == 0)
            where(f, s, cut, before, "users are left with nothing");
    }
}

/* False: the scenario ended before that many commits. */
static bool run(const struct scenario *s, int cut, bool before)
{
    struct fleet f;
    begin(&f, s);
    fake_disk_crash_after(f.disk, cut, before);
    s->act(&f, "the-one-request");
    fleet_advance(&f, 2000);
    bool crashed = fake_disk_has_crashed(f.disk);
    if (crashed) {
        check_users(&f, s, cut, before);
        fleet_restart(&f);
        check_users(&f, s, cut, before);
        s->act(&f, "the-one-request"); /* as a client does that has no answer */
    }
    fake_disk_crash_after(f.disk, 0, false);
    fleet_advance(&f, WARM_MS + 15000);
    check(&f, s, cut, before);
    fleet_done(&f);
    return crashed;
}

static void every_cut_ends_well(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
        int cuts = 0;
        for (int cut = 1; run(&scenarios[i], cut, false); cut++) {
            (void)run(&scenarios[i], cut, true);
            cuts++;
        }
        assert_in_range(cuts, 3, 100);
        print_message("%s: %d cuts\n", scenarios[i].name, cuts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_ends_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
