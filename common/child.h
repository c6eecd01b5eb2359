/* SPDX-License-Identifier: MIT */
#pragma once

/* Runs a process: argv, a fresh environment, its pipes inside our loop, its end reported once. The child gets
 * default signals, its own process group, no descriptor but 0, 1, 2 and the usual limit of 1024 of them. Freeing a
 * running child kills its group with SIGKILL and reaps it; no callback comes after that. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/resource.h>

#include "common/error.h"

struct child;
struct loop;

enum child_stdin { CHILD_STDIN_NULL, CHILD_STDIN_PIPE, CHILD_STDIN_FD };

/* len 0: end of that stream. The bytes are borrowed. */
typedef void (*child_output_fn)(struct child *child, const char *data, size_t len, void *arg);
/* Everything queued by child_write has been taken by the pipe (or the child closed it). */
typedef void (*child_drained_fn)(struct child *child, void *arg);
/* status as of waitpid(2). Comes after both output streams ended. */
typedef void (*child_exit_fn)(struct child *child, int status, void *arg);

struct child_spec {
    const char *const *argv; /* argv[0] absolute */
    const char *const *env;  /* "K=V", the whole environment */
    const char *cwd;         /* NULL: "/" */
    enum child_stdin stdin_kind;
    int stdin_fd;      /* CHILD_STDIN_FD: duplicated */
    bool merge_stderr; /* stderr goes to on_stdout */
    int nice;
    uid_t uid; /* 0: keep; else setgroups([]), setgid, setuid before exec */
    gid_t gid;
    rlim_t max_address_space;  /* bytes, 0: unlimited */
    child_output_fn on_stdout; /* NULL: /dev/null */
    child_output_fn on_stderr;
    child_drained_fn on_drained;
    child_exit_fn on_exit;
    void *arg;
};

_must_check_ int child_start(
    struct loop *loop, const struct child_spec *spec, struct child **ret, struct error *err);
void child_free(struct child *child);

pid_t child_pid(const struct child *child);
/* Queues bytes for the child's stdin; returns the number of bytes now waiting. */
size_t child_write(struct child *child, const void *data, size_t len);
void child_close_stdin(struct child *child); /* once what waits is written */
/* Back-pressure: stop and go on reading stdout. */
void child_pause_stdout(struct child *child, bool pause);
void child_kill(struct child *child, int signo); /* the whole group */

/* "exited with status 1", "killed by SIGSEGV"; buf of 64 bytes, returned. */
char *child_status_text(int status, char *buf);
