/* SPDX-License-Identifier: MIT */
#include "tests/fakes/drone_world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/instance.h"
#include "droned/journal.h"
#include "droned/orders.h"
#include "tests/fakes/loopback.h"

#define FLEET        "f1f2f3f4f5f6f7f8"
#define SETTLE_TURNS 500

static void be_silent(enum log_level level, const struct log_about *about, const char *text)
{
    if (getenv("TEST_LOG"))
        fprintf(stderr, "%s\n", text);
}

static void on_report(void *arg, const struct msg_instance_report *report)
{
    struct world *world = arg;
    const struct instance_state *state = &report->instance;
    const char *phase = report->gone ? "gone" : instance_phase_names[state->phase];
    size_t len = strlen(world->phases), word = strlen(phase);
    bool same = len >= word && strcmp(world->phases + len - word, phase) == 0 &&
        (len == word || world->phases[len - word - 1] == ' ');
    if (!same)
        snprintf(world->phases + len, sizeof(world->phases) - len, "%s%s", len ? " " : "", phase);
    str_set(&world->reason, state->reason);
    str_set(&world->address, state->address);
    strv_free(world->lines);
    world->lines = strv_copy(state->lines);
    world->restarts = state->restarts;
    world->pid = state->pid;
    world->n_gone += report->gone;
    world->reported_us = loop_now(world->loop).us;
}

static int fake_tail(void *arg, const struct journal_query *query, char ***ret)
{
    struct world *world = arg;
    char *line;
    strv_for_each (line, world->journal)
        strv_push(ret, line);
    return 0;
}

void world_start(struct world *world)
{
    struct droned_seams seams = {
        .open_bus = fake_systemd_open,
        .open_bus_arg = world->systemd,
        .boot_id = world->boot,
        .no_uplink = !world->hub[0],
        .plain_hub = world->hub[0] ? world->hub : NULL,
        .on_report = on_report,
        .on_report_arg = world,
    };
    struct error err;
    if (droned_new(world->loop, &world->config, &seams, &world->droned, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    if (!world->hub[0])
        droned_set_name(world->droned, "app1");
    world_settle(world);
}

struct world *world_new(void)
{
    return world_new_linked("");
}

struct world *world_new_linked(const char *hub)
{
    struct world *world = xcalloc(1, sizeof(*world));
    snprintf(world->hub, sizeof(world->hub), "%s", hub);
    struct error err;
    log_set_sink(be_silent);
    journal_set_tail(fake_tail, world);
    world->loop = loop_new_fake();
    world->systemd = fake_systemd_new(world->loop);
    snprintf(world->dir, sizeof(world->dir), "/tmp/stagecoach-test-XXXXXX");
    snprintf(world->boot, sizeof(world->boot), "%s", WORLD_BOOT);
    if (!mkdtemp(world->dir) ||
        config_load(&droned_options, "/nonexistent/droned.conf", false, &world->config, &err) < 0)
        abort();
    str_set(&world->config.state_dir, world->dir);
    str_set(&world->config.address, loopback_address());
    str_set(&world->config.ports, "28100-28120");
    _cleanup_(free_ptr) char *tree = xasprintf("%s/sources/" WORLD_APP "/" WORLD_COMMIT, world->dir);
    if (statefile_mkdir(tree, 0755, &err) < 0)
        abort();
    world_start(world);
    return world;
}

void world_kill(struct world *world)
{
    droned_free(steal_ptr(world->droned));
    world->phases[0] = '\0';
    world_settle(world);
}

void world_crash(struct world *world)
{
    world_kill(world);
    world_start(world);
}

void world_free(struct world *world)
{
    droned_free(world->droned);
    fake_systemd_free(world->systemd);
    loop_turn(world->loop, 0);
    loop_free(world->loop);
    journal_set_tail(NULL, NULL);
    _cleanup_(free_ptr) char *command = xasprintf("chmod -R u+w %s; rm -rf %s", world->dir, world->dir);
    char *const argv[] = { (char *)"sh", (char *)"-c", command, NULL };
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bin/sh", argv);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
    config_clear(&droned_options, &world->config);
    free(world->reason);
    free(world->address);
    strv_free(world->lines);
    strv_free(world->journal);
    log_set_sink(NULL);
    free(world);
}

void world_settle(struct world *world)
{
    int idle = 0;
    for (int i = 0; i < SETTLE_TURNS && idle < 3; i++)
        idle = loop_turn(world->loop, 0) ? 0 : idle + 1;
}

void world_advance(struct world *world, int64_t ms)
{
    for (int64_t done = 0; done < ms; done += 10) {
        loop_advance(world->loop, 10);
        world_settle(world);
    }
}

struct order world_order(void)
{
    static char *command[] = { (char *)"node", (char *)"server.js", NULL };
    return (struct order){
        .id = (char *)WORLD_ID,
        .app = (char *)WORLD_APP,
        .service = (char *)"web",
        .version = (char *)"0.2.2",
        .commit = (char *)WORLD_COMMIT,
        .deploy = (char *)"d-4f2a",
        .generation = 1,
        .run = {
            .command = command,
            .port = true,
            .health = { .kind = HEALTH_STAYS_UP, .interval_ms = 1000, .timeout_ms = 2000, .deadline_ms = 60000,
                .passes = 3 },
            .stop = { .signal = SIGTERM, .drain_ms = 30000, .kill_ms = 10000 },
        },
    };
}

int world_order_all(struct world *world, const struct order *orders, size_t n)
{
    struct orders all = {
        .format = 1,
        .fleet = (char *)FLEET,
        .revision = world->droned->revision + 1,
        .orders = (struct order *)orders,
        .n_orders = n,
    };
    struct error err;
    int r = orders_replace(world->droned, &all, &err);
    if (r < 0)
        str_set(&world->reason, err.text);
    world_settle(world);
    return r;
}

static int change(struct world *world, const struct order *put, const char *drop)
{
    char *ids[] = { (char *)drop, NULL };
    struct msg_orders_change m = {
        .from_revision = world->droned->revision,
        .revision = world->droned->revision + 1,
        .put = (struct order *)put,
        .n_put = put ? 1 : 0,
        .drop = drop ? ids : NULL,
    };
    struct error err;
    int r = orders_change(world->droned, &m, &err);
    if (r < 0)
        str_set(&world->reason, err.text);
    world_settle(world);
    return r;
}

int world_put(struct world *world, const struct order *order)
{
    return change(world, order, NULL);
}

int world_drop(struct world *world, const char *id)
{
    return change(world, NULL, id);
}

const char *world_phase(const struct world *world, const char *id)
{
    const struct instance *instance = map_get(world->droned->instances, id);
    return instance ? instance_phase_names[instance->phase] : "none";
}

void world_run(struct world *world)
{
    struct order order = world_order();
    if (world_order_all(world, &order, 1) < 0) {
        fprintf(stderr, "refused: %s\n", world->reason);
        abort();
    }
    world_advance(world, 3000);
    world->phases[0] = '\0';
}

char *world_file(const struct world *world, const char *name)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", world->dir, name);
    struct strbuf text = STRBUF_INIT;
    if (statefile_read(path, 1 << 20, &text, NULL) < 0) {
        strbuf_done(&text);
        return NULL;
    }
    return strbuf_steal(&text);
}
