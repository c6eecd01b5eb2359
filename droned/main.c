/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/strv.h"
#include "droned/droned.h"

struct program {
    struct droned_config config;
    struct daemon_args args;
    struct loop *loop;
    struct droned *droned;
};

static void on_end_signal(int signo, void *arg)
{
    struct program *program = arg;
    loop_stop(program->loop);
}

/* A bad file changes nothing. What can't change while it runs is said. */
static void on_reload_signal(int signo, void *arg)
{
    struct program *program = arg;
    struct droned_config config;
    struct error err;
    daemon_reloading();
    if (daemon_load_config(&droned_options, &program->args, &config, &err) < 0) {
        log_error(NULL, "%s; the configuration stays as it was", err.text);
    } else {
        droned_reload(program->droned, &program->config, &config);
        config_clear(&droned_options, &config);
        log_info(NULL, "configuration read anew");
    }
    daemon_ready("reloaded");
    droned_update_status(program->droned);
}

int main(int argc, char **argv)
{
    struct program program = { .droned = NULL };
    struct error err;

    daemon_init("stagecoach-droned");
    int r = daemon_configure(&droned_options, argc, argv,
        "The hands of Stagecoach on a host: fetches, builds and runs instances under systemd, and reports.",
        &program.config, &program.args, &err);
    if (r > 0)
        return r - 1;
    if (r < 0) {
        fprintf(stderr, "stagecoach-droned: %s\n", err.text);
        return 2;
    }

    log_set_level(program.config.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    program.loop = loop_new();
    loop_on_signal(program.loop, SIGTERM, on_end_signal, &program);
    loop_on_signal(program.loop, SIGINT, on_end_signal, &program);
    if (droned_new(program.loop, &program.config, NULL, &program.droned, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return 1;
    }
    loop_on_signal(program.loop, SIGHUP, on_reload_signal, &program);
    daemon_watchdog(program.loop, NULL, NULL);
    daemon_ready("started");
    droned_update_status(program.droned);
    loop_run(program.loop);

    /* Instances are not ours to end: they run on without us. */
    daemon_stopping();
    droned_free(program.droned);
    loop_free(program.loop);
    config_clear(&droned_options, &program.config);
    strv_free(program.args.settings);
    return 0;
}
