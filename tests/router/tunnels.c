/* SPDX-License-Identifier: MIT */

/* stagecoach-check-tunnels: opens websockets, says "open N" once all of them are, and then has each of them say something in
 * every round, which has to come back byte by byte; until SIGTERM, when it closes them and prints a JSON object.
 *
 *   stagecoach-check-tunnels PORT COUNT ROUND_MS */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/router/pattern.h"

#define MESSAGE   125 /* the longest with a short length */
#define TIMEOUT_S 20

static volatile sig_atomic_t stopping;
static long long messages, lost, wrong;

static void on_signal(int signo)
{
    stopping = 1;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool read_all(int fd, char *buf, size_t n)
{
    while (n > 0) {
        ssize_t r = recv(fd, buf, n, 0);
        if (r < 0 && errno == EINTR)
            continue; /* a socket with a time-out is not read on behind a signal */
        if (r <= 0)
            return false;
        buf += r;
        n -= (size_t)r;
    }
    return true;
}

static int open_one(uint16_t port)
{
    static const char hello[] = "GET /tunnel HTTP/1.1\r\nHost: check.example\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    struct timeval limit = { TIMEOUT_S, 0 };
    char head[2048] = "";
    size_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
        send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0)
        goto failed;
    while (n < sizeof(head) - 1 && !strstr(head, "\r\n\r\n")) {
        if (!read_all(fd, head + n, 1))
            goto failed;
        head[++n] = '\0';
    }
    if (strncmp(head, "HTTP/1.1 101 ", 13) == 0)
        return fd;
failed:
    fprintf(stderr, "a websocket was not opened: %.60s\n", head);
    if (fd >= 0)
        close(fd);
    return -1;
}

static void lose(int *fd)
{
    close(*fd);
    *fd = -1;
    lost++;
}

static void say(int *fd, uint64_t id)
{
    char frame[6 + MESSAGE] = { (char)0x82, (char)(0x80 | MESSAGE) }; /* masked with zeros */
    pattern_fill(frame + 6, id, MESSAGE);
    if (send(*fd, frame, sizeof(frame), MSG_NOSIGNAL) != (ssize_t)sizeof(frame))
        lose(fd);
}

static void hear(int *fd, uint64_t id)
{
    char frame[2 + MESSAGE];
    if (!read_all(*fd, frame, sizeof(frame))) {
        lose(fd);
        return;
    }
    messages++;
    if ((frame[0] & 0x7f) != 2 || frame[1] != MESSAGE || pattern_check(frame + 2, id, MESSAGE) != MESSAGE)
        wrong++;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    uint16_t port = (uint16_t)strtol(argv[1], NULL, 10);
    size_t n = strtoul(argv[2], NULL, 10);
    int64_t round_ms = strtol(argv[3], NULL, 10);
    int *fds = xcalloc(n + 1, sizeof(*fds));
    signal(SIGTERM, on_signal);
    for (size_t i = 0; i < n; i++) {
        fds[i] = open_one(port);
        if (fds[i] < 0)
            return 1;
    }
    printf("open %zu\n", n);
    fflush(stdout);
    for (uint64_t round = 0; !stopping; round++) {
        int64_t end = now_ms() + round_ms;
        for (size_t i = 0; i < n; i++)
            if (fds[i] >= 0)
                say(&fds[i], round * n + i);
        for (size_t i = 0; i < n; i++)
            if (fds[i] >= 0)
                hear(&fds[i], round * n + i);
        while (!stopping && now_ms() < end)
            usleep(10000);
    }
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    printf("{\"websockets\": %zu, \"messages\": %lld, \"lost\": %lld, \"wrong\": %lld}\n", n, messages, lost,
        wrong);
    free(fds);
    return lost > 0 || wrong > 0;
}
