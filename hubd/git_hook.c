/* SPDX-License-Identifier: MIT */

/* git's pre-receive and post-receive hook, by the name it is called. It hands what git says to the hub, prints
 * what the hub answers (the pusher reads it behind "remote:") and takes the hub's word as its exit status. The
 * words are described in git_hooks.h. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_ 8192

static int hub_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (!path || strlen(path) >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void ask(FILE *hub, const char *kind)
{
    char line[LINE_MAX_];
    const char *secret = getenv("STAGECOACH_HOOK_SECRET"), *quarantine = getenv("GIT_QUARANTINE_PATH");
    fprintf(hub, "stagecoach-hook 1\nsecret %s\n%s\n", secret ? secret : "", kind);
    if (quarantine)
        fprintf(hub, "quarantine %s\n", quarantine);
    while (fgets(line, sizeof(line), stdin))
        fprintf(hub, "ref %s", line);
    fputs("end\n", hub);
    fflush(hub);
}

/* 0 allowed, 1 refused, -1: no whole answer. */
static int answer(FILE *hub)
{
    char line[LINE_MAX_];
    while (fgets(line, sizeof(line), hub)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "say ", 4) == 0)
            fprintf(stderr, "%s\n", line + 4);
        else if (strcmp(line, "ok") == 0)
            return 0;
        else if (strncmp(line, "refuse ", 7) == 0) {
            fprintf(stderr, "%s\n", line + 7);
            return 1;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *kind = slash ? slash + 1 : argv[0];
    bool before = strcmp(kind, "pre-receive") == 0;
    if (!before && strcmp(kind, "post-receive") != 0) {
        fprintf(stderr, "%s: to be called by git as pre-receive or post-receive\n", kind);
        return 2;
    }
    int fd = hub_connect(getenv("STAGECOACH_HOOK_SOCKET"));
    FILE *hub = fd >= 0 ? fdopen(fd, "r+") : NULL;
    int result = -1;
    if (hub) {
        ask(hub, kind);
        result = answer(hub);
        fclose(hub);
    }
    if (result < 0 && before)
        fprintf(stderr, "the hub does not answer; nothing was changed\n");
    else if (result < 0)
        fprintf(stderr, "the push is stored; the hub did not answer and registers it when it is back\n");
    return result == 0 ? 0 : 1;
}
