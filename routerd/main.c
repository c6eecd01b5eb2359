/* SPDX-License-Identifier: MIT */

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "routerd/access_file.h"
#include "routerd/generation.h"
#include "routerd/listeners.h"
#include "routerd/reload.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/successor.h"

#define RELOAD "--reload="
#define CHECK  "--check"

/* Workers allocate and free a little all the time; giving every page back at once costs a system call each. */
#define HEAP_PAD  (256 * 1024)
#define HEAP_TRIM (1024 * 1024)

struct program {
    struct daemon_args args;
    struct routerd *routerd;
    struct generation *generation;
};

static void on_end(int signo, void *arg)
{
    struct program *program = arg;
    daemon_stopping();
    log_info(NULL, "ending: requests finish first");
    routerd_stop(program->routerd);
}

/* The log was moved away. */
static void on_usr1(int signo, void *arg)
{
    struct program *program = arg;
    if (program->routerd->access_file)
        access_file_reopen(program->routerd->access_file);
}

static void on_hangup(int signo, void *arg)
{
    struct program *program = arg;
    generation_reload(program->generation, NULL, NULL);
}

/* The generation before hears why. */
static int refuse(struct program *program, const struct error *err, int status)
{
    log_error(NULL, "%s", err->text);
    generation_refuse(program->generation, err->text);
    return status;
}

static int serve(struct program *program, struct settings *settings)
{
    struct error err;
    struct loop *loop = loop_new();
    struct routerd_socket *sockets;
    int n_sockets = listeners_take(&sockets);
    program->routerd = routerd_new(loop, settings, sockets, n_sockets);
    generation_attach(program->generation, program->routerd);
    /* First: it has clients before this loop turns. */
    loop_on_signal(loop, SIGTERM, on_end, program);
    loop_on_signal(loop, SIGINT, on_end, program);
    loop_on_signal(loop, SIGHUP, on_hangup, program);
    loop_on_signal(loop, SIGUSR1, on_usr1, program);
    if (routerd_start(program->routerd, &err) < 0)
        return refuse(program, &err, 1);
    struct reload *reload = reload_new(loop, program->generation);
    loop_run(loop);
    reload_free(reload);
    generation_free(steal_ptr(program->generation));
    program->routerd->generation = NULL;
    routerd_free(program->routerd);
    loop_free(loop);
    return 0;
}

static int check(struct program *program, struct settings *settings)
{
    struct error err;
    struct loop *loop = loop_new();
    struct routerd *routerd = routerd_new(loop, settings, NULL, 0);
    int r = routerd_check(routerd, &err);
    if (r == 0)
        log_info(NULL, "settings%s are right", routerd->settings.table ? " and table" : "");
    routerd_free(routerd);
    loop_free(loop);
    return r < 0 ? refuse(program, &err, 1) : 0;
}

/* Takes the word out of the arguments. */
static bool take_word(int *argc, char **argv, const char *word)
{
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        if (i == 0 || strcmp(argv[i], word) != 0)
            argv[n++] = argv[i];
    }
    bool found = n < *argc;
    argv[n] = NULL;
    *argc = n;
    return found;
}

int main(int argc, char **argv)
{
    int64_t number = successor_begin();
    char *path = successor_path(argv[0]);
    struct program program = { 0 };
    struct settings settings;
    struct error err;

    if (argc == 2 && strncmp(argv[1], RELOAD, strlen(RELOAD)) == 0) {
        free(path);
        return reload_ask(argv[1] + strlen(RELOAD));
    }
    daemon_init("stagecoach-routerd");
    bool only_check = take_word(&argc, argv, CHECK);
    mallopt(M_TOP_PAD, HEAP_PAD);
    mallopt(M_TRIM_THRESHOLD, HEAP_TRIM);
    program.generation = generation_new(number, path, argv);
    int r = daemon_configure(&settings_table, argc, argv,
        "HTTP in, the right version of the right service out; serves from its table file when no hub is "
        "there.\nWith --reload=PID alone: asks that router to go over to its next generation, and waits for "
        "the outcome.\nWith --check: says whether settings, certificates and table are right, and ends.",
        &settings, &program.args, &err);
    if (r < 0)
        r = refuse(&program, &err, 2);
    else
        r = r > 0 ? r - 1 : only_check ? check(&program, &settings) : serve(&program, &settings);
    generation_free(program.generation);
    strv_free(program.args.settings);
    return r;
}
