/* SPDX-License-Identifier: MIT */

/* stagecoach-check-service: one release of a service whose answers can be checked byte by byte (pattern.h). A thread per
 * connection, as routers keep few.
 *
 *   stagecoach-check-service PORT VERSION */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/router/pattern.h"

#define HEAD_MAX    (16 * 1024)
#define CHUNK       4096
#define STACK_BYTES (128 * 1024)
#define BACKLOG     1024

static const char *version;

struct reader {
    int fd;
    size_t n;
    char buf[HEAD_MAX + 1];
};

static bool send_all(int fd, const char *p, size_t n, bool more)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Length of a whole head; 0: the peer is gone, or says something odd. */
static size_t read_head(struct reader *r)
{
    for (;;) {
        r->buf[r->n] = '\0';
        const char *end = strstr(r->buf, "\r\n\r\n");
        if (end)
            return (size_t)(end - r->buf) + 4;
        if (r->n == HEAD_MAX)
            return 0;
        ssize_t n = recv(r->fd, r->buf + r->n, HEAD_MAX - r->n, 0);
        if (n <= 0)
            return 0;
        r->n += (size_t)n;
    }
}

static void drop(struct reader *r, size_t n)
{
    r->n -= n;
    memmove(r->buf, r->buf + n, r->n);
}

/* The body of a POST: is it what was meant? */
static bool check_body(struct reader *r, uint64_t id, size_t size, bool *good)
{
    size_t at = 0;
    while (at < size) {
        if (r->n == 0) {
            ssize_t n = recv(r->fd, r->buf, HEAD_MAX, 0);
            if (n <= 0)
                return false;
            r->n = (size_t)n;
        }
        size_t part = r->n < size - at ? r->n : size - at;
        for (size_t i = 0; i < part; i++)
            *good = *good && r->buf[i] == pattern_at(id, at + i);
        at += part;
        drop(r, part);
    }
    return true;
}

static bool answer(int fd, uint64_t id, size_t size, bool good, char *body)
{
    char head[512], chunk[32];
    int first = snprintf(body, 128, "%s %llu %zu\n", version, (unsigned long long)id, size);
    size_t len = (size_t)first + size, at = 0;
    pattern_fill(body + first, id, size);
    bool chunked = size % 2 == 1;
    int n = snprintf(
        head, sizeof(head), "HTTP/1.1 %s\r\nX-Version: %s\r\n", good ? "200 OK" : "500 Body", version);
    n += chunked ? snprintf(head + n, sizeof(head) - (size_t)n, "Transfer-Encoding: chunked\r\n\r\n")
                 : snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n\r\n", len);
    if (!send_all(fd, head, (size_t)n, true))
        return false;
    if (!chunked)
        return send_all(fd, body, len, false);
    while (at < len) {
        size_t part = len - at < CHUNK ? len - at : CHUNK;
        n = snprintf(chunk, sizeof(chunk), "%s%zx\r\n", at ? "\r\n" : "", part);
        if (!send_all(fd, chunk, (size_t)n, true) || !send_all(fd, body + at, part, true))
            return false;
        at += part;
    }
    return send_all(fd, "\r\n0\r\n\r\n", 7, false);
}

static void *serve(void *arg)
{
    struct reader *r = arg;
    char *body = xmalloc(PATTERN_SIZE_MAX + 128);
    size_t head;
    while ((head = read_head(r)) > 0) {
        char method[8];
        unsigned long long id;
        size_t size;
        bool good = true;
        if (sscanf(r->buf, "%7s /%zu/%llu", method, &size, &id) != 3 || size > PATTERN_SIZE_MAX)
            break;
        drop(r, head);
        if (strcmp(method, "POST") == 0 && !check_body(r, id, size, &good))
            break;
        if (!answer(r->fd, id, size, good, body))
            break;
    }
    close(r->fd);
    free(body);
    free(r);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    pthread_attr_t attr;
    if (argc != 3)
        return 2;
    version = argv[2];
    signal(SIGPIPE, SIG_IGN);
    in.sin_port = htons((uint16_t)strtol(argv[1], NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, BACKLOG) < 0) {
        perror("stagecoach-check-service");
        return 1;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        struct reader *r = xcalloc(1, sizeof(*r));
        r->fd = client;
        if (pthread_create(&thread, &attr, serve, r) != 0) {
            close(client);
            free(r);
        }
    }
}
