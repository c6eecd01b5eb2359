/* SPDX-License-Identifier: MIT */

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "routerd/front.h"
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

/* What systemd hands over says by its name what is spoken there. */
static int take_sockets(struct routerd_socket **ret)
{
    static const struct {
        const char *name;
        unsigned flags;
    } kinds[] = {
        { "http", 0 },
        { "https", LISTENER_TLS },
        { "http-proxy", LISTENER_PROXY },
        { "https-proxy", LISTENER_TLS | LISTENER_PROXY },
    };
    int n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        int *fds _cleanup_(free_ptr) = NULL;
        int n_fds = daemon_take_fds(kinds[i].name, &fds);
        *ret = xrealloc(*ret, (size_t)(n + n_fds + 1) * sizeof(**ret));
        for (int j = 0; j < n_fds; j++)
            (*ret)[n++] = (struct routerd_socket){ fds[j], kinds[i].flags };
    }
    return n;
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
    struct routerd_socket *sockets = NULL;
    int n_sockets = take_sockets(&sockets);
    program.routerd = routerd_new(loop, &settings, sockets, n_sockets);
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
