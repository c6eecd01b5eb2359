/* SPDX-License-Identifier: MIT */
/* To be preloaded: a kernel that takes SLOW_CLOSE seconds to close an inotify descriptor, as a real one does that waits for
 * its own threads on a busy machine. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int close(int fd)
{
    char path[64], target[64] = "";
    const char *seconds = getenv("SLOW_CLOSE");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (seconds && readlink(path, target, sizeof(target) - 1) > 0 &&
        strcmp(target, "anon_inode:inotify") == 0)
        sleep((unsigned)strtoul(seconds, NULL, 10));
    return (int)syscall(SYS_close, fd);
}
