/* SPDX-License-Identifier: MIT */
#include "routerd/successor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define GENERATION_VARIABLE "STAGECOACH_GENERATION"
#define FIRST_FD            3 /* where handed over descriptors begin, by systemd's rule */

extern char **environ;

/* --- being one -------------------------------------------------------------------------------------------- */

int64_t successor_begin(void)
{
    const char *text = getenv(GENERATION_VARIABLE);
    int64_t number = text ? strtoll(text, NULL, 10) : 0;
    char pid[32];
    if (number < 2)
        return 1;
    /* The parent is the generation before, which ends one day: init is to hear of our end, not that one. */
    pid_t child = fork();
    if (child > 0)
        _exit(0);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    if (getenv("WATCHDOG_USEC"))
        setenv("WATCHDOG_PID", pid, 1);
    unsetenv(GENERATION_VARIABLE);
    return number;
}

/* --- starting one ------------------------------------------------------------------------------------------ */

char *successor_path(const char *argv0)
{
    char here[PATH_MAX];
    /* Links are not followed: what they point at may be another version by then. A bare name is looked up in PATH. */
    if (argv0[0] == '/' || !strchr(argv0, '/') || !getcwd(here, sizeof(here)))
        return xstrdup(argv0);
    return xasprintf("%s/%s", here, argv0);
}

static bool is_ours(const char *variable)
{
    static const char *const names[] = {
        "LISTEN_FDS=", "LISTEN_FDNAMES=", "LISTEN_PID=", "WATCHDOG_PID=", GENERATION_VARIABLE "="
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

static char **make_environment(int64_t number, const struct successor_fd *fds, size_t n_fds)
{
    struct strbuf names _cleanup_(strbuf_done) = STRBUF_INIT;
    char **variables = NULL, *v;
    strv_for_each (v, environ) {
        if (!is_ours(v))
            strv_push(&variables, v);
    }
    for (size_t i = 0; i < n_fds; i++)
        strbuf_addf(&names, "%s%s", i ? ":" : "", fds[i].name);
    strv_push_take(&variables, xasprintf("LISTEN_FDS=%zu", n_fds));
    strv_push_take(&variables, xasprintf("LISTEN_FDNAMES=%s", strbuf_str(&names)));
    strv_push_take(&variables, xasprintf(GENERATION_VARIABLE "=%" PRId64, number));
    return variables;
}

/* The numbers are fixed and may be in use here: copies above them come first. */
static int lift(const struct successor_fd *fds, size_t n_fds, int *lifted)
{
    for (size_t i = 0; i < n_fds; i++)
        lifted[i] = -1;
    for (size_t i = 0; i < n_fds; i++) {
        lifted[i] = fcntl(fds[i].fd, F_DUPFD_CLOEXEC, FIRST_FD + SUCCESSOR_FDS_MAX);
        if (lifted[i] < 0)
            return -errno;
    }
    return 0;
}

static int spawn(const char *path, char *const *argv, char *const *variables, const int *lifted, size_t n_fds,
    pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    for (size_t i = 0; i < n_fds; i++)
        posix_spawn_file_actions_adddup2(&actions, lifted[i], FIRST_FD + (int)i);
    posix_spawn_file_actions_addclosefrom_np(&actions, FIRST_FD + (int)n_fds);
    int r = posix_spawnp(ret_pid, path, &actions, &attributes, argv, variables);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return -r;
}

int successor_start(const char *path, char *const *argv, int64_t number, const struct successor_fd *fds,
    size_t n_fds, pid_t *ret_pid, struct error *err)
{
    int lifted[SUCCESSOR_FDS_MAX];
    if (n_fds > SUCCESSOR_FDS_MAX)
        return error_set(err, -E2BIG, "%zu descriptors are more than the %d that can be handed over", n_fds,
            SUCCESSOR_FDS_MAX);
    _cleanup_(strv_freep) char **variables = make_environment(number, fds, n_fds);
    int r = lift(fds, n_fds, lifted);
    if (r == 0)
        r = spawn(path, argv, variables, lifted, n_fds, ret_pid);
    for (size_t i = 0; i < n_fds; i++)
        close_fd(&lifted[i]);
    return r < 0 ? error_set_errno(err, r, "can't start %s", path) : 0;
}
