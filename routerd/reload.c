/* SPDX-License-Identifier: MIT */
#include "routerd/reload.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "routerd/generation.h"

#define NAME        "stagecoach-routerd/reload/%ld"
#define OUTCOME_MAX 2048
#define DONE        "done: " /* how an outcome begins */
#define FAILED      "failed: "

struct reload {
    struct generation *generation;
    int listening, asker; /* -1: none */
    struct io *io;
};

/* No file: the name goes with the process, and no folder has to be writable. */
static socklen_t name_of(long pid, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, NAME, pid);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static bool is_trusted(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
        (cred.uid == 0 || cred.uid == getuid());
}

static void say(int fd, bool done, const char *text)
{
    char line[OUTCOME_MAX];
    int n = snprintf(line, sizeof(line), "%s%s\n", done ? DONE : FAILED, text);
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
    if (send(fd, line, len, MSG_NOSIGNAL) < 0)
        log_debug(NULL, "who asked for the reload does not listen: %s", strerror(errno));
}

static void on_told(void *arg, bool done, const char *text)
{
    struct reload *reload = arg;
    if (reload->asker < 0)
        return;
    say(reload->asker, done, text);
    close_fd(&reload->asker);
}

static void on_asked(unsigned ready, void *arg)
{
    struct reload *reload = arg;
    int fd _cleanup_(close_fd) = accept4(reload->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (!is_trusted(fd)) {
        say(fd, false, "only root and the router's own user may ask");
    } else if (reload->asker >= 0) {
        say(fd, false, "a reload is under way");
    } else {
        reload->asker = steal_fd(&fd);
        generation_reload(reload->generation, on_told, reload);
    }
}

static int listen_as(long pid)
{
    struct sockaddr_un un;
    socklen_t len = name_of(pid, &un);
    int fd _cleanup_(close_fd) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, len) < 0 || listen(fd, 8) < 0)
        return -errno;
    return steal_fd(&fd);
}

struct reload *reload_new(struct loop *loop, struct generation *generation)
{
    struct reload *reload = xcalloc(1, sizeof(*reload));
    reload->generation = generation;
    reload->asker = -1;
    reload->listening = listen_as(getpid());
    if (reload->listening >= 0)
        reload->io = io_new(loop, reload->listening, IO_READ, on_asked, reload);
    else
        log_warning(NULL, "--reload can't be answered, SIGHUP can: %s", strerror(-reload->listening));
    return reload;
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    on_told(reload, false, "the router ends");
    io_free(reload->io);
    if (reload->listening >= 0)
        close(reload->listening);
    free(reload);
}

/* --- asking ------------------------------------------------------------------------------------------------- */

/* Somebody else could listen by that name. */
static bool is_process(int fd, long pid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == pid;
}

static int complain(const char *pid, const char *why)
{
    fprintf(stderr, "no reload of process %s: %s\n", pid, why);
    return 1;
}

int reload_ask(const char *text)
{
    struct sockaddr_un un;
    char outcome[OUTCOME_MAX] = "", *end;
    size_t len = 0;
    ssize_t n;
    long pid = strtol(text, &end, 10);
    if (pid <= 0 || *end)
        return complain(text, "that is no process id");
    int fd _cleanup_(close_fd) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t un_len = name_of(pid, &un);
    if (fd < 0 || connect(fd, (struct sockaddr *)&un, un_len) < 0)
        return complain(
            text, errno == ECONNREFUSED ? "no stagecoach-routerd listens there" : strerror(errno));
    if (!is_process(fd, pid))
        return complain(text, "another process answers to its name");
    while (len < sizeof(outcome) - 1 && (n = read(fd, outcome + len, sizeof(outcome) - 1 - len)) > 0)
        len += (size_t)n;
    outcome[len] = '\0';
    bool done = strncmp(outcome, DONE, strlen(DONE)) == 0;
    if (!done && strncmp(outcome, FAILED, strlen(FAILED)) != 0)
        return complain(text, "it ended without a word");
    fprintf(stderr, "%s%s", done ? "" : "reload failed: ", outcome + strlen(done ? DONE : FAILED));
    return done ? 0 : 1;
}
