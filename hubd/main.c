/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "hubd/hubd.h"
#include "hubd/serve.h"
#include "hubd/store.h"

#define STOP_MS 5000 /* what is queued for peers may go out for so long */

struct run {
    struct hubd *hub;
    const struct daemon_args *args;
    struct timer last;
};

static void on_last(void *arg)
{
    struct run *run = arg;
    loop_stop(run->hub->loop);
}

static void on_terminate(int signo, void *arg)
{
    struct run *run = arg;
    if (run->hub->stopping) {
        loop_stop(run->hub->loop);
        return;
    }
    daemon_stopping();
    hubd_stop(run->hub);
    hubd_when_quiet(run->hub, STOP_MS, on_last, run);
}

/* A bad file keeps what is. */
static void on_reload(int signo, void *arg)
{
    struct run *run = arg;
    struct hubd_config config;
    struct error err;
    daemon_reloading();
    if (daemon_load_config(&hubd_options, run->args, &config, &err) < 0)
        log_error(NULL, "the configuration stays as it was: %s", err.text);
    else
        hubd_reconfigure(run->hub, &config);
    hubd_show_status(run->hub, true);
}

static int open_store(
    struct loop *loop, const struct hubd_config *config, struct store **ret, struct error *err)
{
    _cleanup_(free_ptr) char *directory = xasprintf("%s/state", config->state_dir);
    return store_sqlite_open(loop, directory, ret, err);
}

static int run_hub(struct loop *loop, struct hubd *hub, const struct daemon_args *args, struct error *err)
{
    struct run run = { .hub = hub, .args = args };
    int r = serve_prepare(hub, err);
    if (r == 0)
        r = hubd_start(hub, err);
    if (r == 0)
        r = serve_open(hub, err);
    if (r == 0) {
        loop_on_signal(loop, SIGTERM, on_terminate, &run);
        loop_on_signal(loop, SIGINT, on_terminate, &run);
        loop_on_signal(loop, SIGHUP, on_reload, &run);
        daemon_watchdog(loop, NULL, NULL);
        hubd_show_status(hub, true);
        loop_run(loop);
    }
    serve_close(hub);
    return r;
}

int main(int argc, char **argv)
{
    struct hubd_config config;
    struct daemon_args args = { 0 };
    struct store *store;
    struct error err;

    daemon_init("stagecoach-hubd");
    int r = daemon_configure(&hubd_options, argc, argv,
        "The brain of a Stagecoach fleet: takes pushes, decides what runs where, tells drones and routers.",
        &config, &args, &err);
    if (r > 0)
        return r - 1;
    if (r < 0) {
        log_error(NULL, "%s", err.text);
        return 2;
    }
    if (config.debug)
        log_set_level(LOG_LEVEL_DEBUG);

    struct loop *loop = loop_new();
    r = open_store(loop, &config, &store, &err);
    if (r == 0) {
        struct hubd *hub = hubd_new(loop, &config, store);
        r = run_hub(loop, hub, &args, &err);
        hubd_free(hub);
    }
    if (r < 0)
        log_error(NULL, "%s", err.text);
    config_clear(&hubd_options, &config);
    loop_free(loop);
    strv_free(args.settings);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
