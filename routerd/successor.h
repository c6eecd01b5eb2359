/* SPDX-License-Identifier: MIT */
#pragma once

/* Starting the next generation of this process: the program by the path that it was started by (a newer one may lie
 * there), with the same arguments and environment, and descriptors by name as systemd hands them over. The new process is
 * a child of the init process, in our cgroup. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define SUCCESSOR_FDS_MAX 512

struct successor_fd {
    int fd;
    const char *name;
};

/* First line of main: a process that was started so steps away from its parent, and descriptors and watchdog are made
 * its own. Returns its number; 1 is one that was not started so. */
int64_t successor_begin(void);

/* Where the program is, from its argv[0]; the caller's. Before anything changes the directory. */
char *successor_path(const char *argv0);

/* *ret_pid: a child that ends at once, to be reaped; the new generation says its own pid itself. */
_must_check_ int successor_start(const char *path, char *const *argv, int64_t number,
    const struct successor_fd *fds, size_t n_fds, pid_t *ret_pid, struct error *err);
