/* SPDX-License-Identifier: MIT */

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"

/* Workers allocate and free a little all the time; giving every page back at once costs a system call each. */
#define HEAP_PAD  (256 * 1024)
#define HEAP_TRIM (1024 * 1024)

struct program {
    struct daemon_args args;
    struct routerd *routerd;
};

static void on_end(int signo, void *arg)
{
    struct program *program = arg;
    daemon_stopping();
    log_info(NULL, "ending: requests finish first");
    routerd_stop(program->routerd);
}

static void on_hangup(int signo, void *arg)
{
    struct program *program = arg;
    struct settings settings;
    struct error err;
    daemon_reloading();
    if (daemon_load_config(&settings_table, &program->args, &settings, &err) < 0)
        log_error(NULL, "%s; the configuration in place stays", err.text);
    else
        routerd_reload(program->routerd, &settings);
    daemon_ready("reloaded");
}

static int refuse(const struct error *err)
{
    log_error(NULL, "%s", err->text);
    return 1;
}

int main(int argc, char **argv)
{
    struct program program = { 0 };
    struct settings settings;
    struct error err;
    int *fds = NULL;

    daemon_init("stagecoach-routerd");
    mallopt(M_TOP_PAD, HEAP_PAD);
    mallopt(M_TRIM_THRESHOLD, HEAP_TRIM);
    int r = daemon_configure(&settings_table, argc, argv,
        "HTTP in, the right version of the right service out; serves from its table file when no hub is "
        "there.",
        &settings, &program.args, &err);
    if (r > 0)
        return r - 1;
    if (r < 0) {
        log_error(NULL, "%s", err.text);
        return 2;
    }
    struct loop *loop = loop_new();
    int n_fds = daemon_take_fds("http", &fds);
    program.routerd = routerd_new(loop, &settings, fds, n_fds);
    if (routerd_start(program.routerd, &err) < 0)
        return refuse(&err);
    loop_on_signal(loop, SIGTERM, on_end, &program);
    loop_on_signal(loop, SIGINT, on_end, &program);
    loop_on_signal(loop, SIGHUP, on_hangup, &program);
    daemon_watchdog(loop, routerd_is_alive, program.routerd);
    loop_run(loop);
    routerd_free(program.routerd);
    loop_free(loop);
    strv_free(program.args.settings);
    return 0;
}
