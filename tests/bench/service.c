/* SPDX-License-Identifier: MIT */

/* stagecoach-bench-service: what proxies are measured in front of, so light that it is never what one measures. One
 * thread, edges, one read and one write per request. It believes its peers: a request that it does not know gets
 * "hello".
 *
 *   stagecoach-bench-service PORT[=VERSION]…    listens on 127.0.0.1; VERSION is what X-Version says (1)
 *
 * GET /          six bytes
 * GET /100k      100,000 bytes with a Content-Length
 * GET /chunked   16 chunks of 4 kB
 * POST           the body is read to its end first
 * Upgrade        a websocket that sends back what it gets */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/mem.h"

#define KEPT_MAX        (80 * 1024) /* of a head or frame that is not whole */
#define READ_SIZE       (256 * 1024)
#define SMALL           6
#define LARGE           100000
#define CHUNKS          16
#define CHUNK           4096
#define ANSWERS         3
#define EVENTS_PER_TURN 128
#define BACKLOG         4096
#define WS_CLOSE        8

struct listener {
    bool is_listener;
    int fd;
    struct iovec answers[ANSWERS]; /* small, large, chunked */
};

struct conn {
    bool is_listener;
    int fd;
    struct listener *listener;
    size_t body_left;
    const struct iovec *answer; /* due once the body is read */
    char *out;                  /* what is being sent; the listener's, or own */
    size_t out_len, sent;
    bool own_out, websocket, closing;
    size_t n_kept;
    char *kept;
};

static int epoll;
static char buffer[READ_SIZE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    if (c->own_out)
        free(c->out);
    free(c->kept);
    free(c);
}

/* What is not whole waits for more. False: the connection is gone. */
static bool keep(struct conn *c, const char *data, size_t len)
{
    c->n_kept = len;
    if (len == 0)
        return true;
    if (len > KEPT_MAX) {
        conn_close(c);
        return false;
    }
    if (!c->kept)
        c->kept = xmalloc(KEPT_MAX);
    memmove(c->kept, data, len);
    return true;
}

/* --- sending --------------------------------------------------------------------------------------------- */

/* False: the connection is gone. */
static bool flush(struct conn *c)
{
    while (c->sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            conn_close(c);
            return false;
        }
        c->sent += (size_t)n;
    }
    if (c->own_out)
        free(c->out);
    c->own_out = false;
    c->out = NULL;
    c->out_len = c->sent = 0;
    if (!c->closing)
        return true;
    conn_close(c);
    return false;
}

static bool answer(struct conn *c, const struct iovec *what)
{
    c->out = what->iov_base;
    c->out_len = what->iov_len;
    return flush(c);
}

/* --- websockets ------------------------------------------------------------------------------------------ */

/* One frame of the client's, sent back unmasked. Bytes used; 0: it is not whole. Frames up to 64 kB. */
static size_t echo_frame(unsigned char *p, size_t len, unsigned char *out, size_t *out_len)
{
    size_t head = 2, n;
    if (len < 6)
        return 0;
    n = p[1] & 127;
    if (n == 126) {
        n = (size_t)p[2] << 8 | p[3];
        head = 4;
    }
    if (len < head + 4 + n)
        return 0;
    const unsigned char *mask = p + head;
    unsigned char *data = p + head + 4, *o = out + *out_len;
    memcpy(o, p, head);
    o[1] &= 127;
    uint32_t mask32;
    memcpy(&mask32, mask, 4);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        word ^= mask32;
        memcpy(o + head + i, &word, 4);
    }
    for (; i < n; i++)
        o[head + i] = data[i] ^ mask[i % 4];
    *out_len += head + n;
    return head + 4 + n;
}

static bool echo(struct conn *c, char *data, size_t len)
{
    static unsigned char out[READ_SIZE];
    size_t used = 0, out_len = 0, n;
    while ((n = echo_frame((unsigned char *)data + used, len - used, out, &out_len)) > 0) {
        c->closing |= (data[used] & 15) == WS_CLOSE;
        used += n;
    }
    if (!keep(c, data + used, len - used))
        return false;
    if (out_len == 0)
        return true;
    c->out = xmalloc(out_len);
    memcpy(c->out, out, out_len);
    c->own_out = true;
    c->out_len = out_len;
    return flush(c);
}

static bool upgrade(struct conn *c)
{
    static char text[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static const struct iovec switching = { text, sizeof(text) - 1 };
    c->websocket = true;
    return answer(c, &switching);
}

/* --- requests -------------------------------------------------------------------------------------------- */

static const char *find(const char *head, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = head; (p = memchr(p, '\n', len - (size_t)(p - head))) != NULL;) {
        p++;
        if ((size_t)(head + len - p) >= n && strncasecmp(p, name, n) == 0)
            return p + n;
    }
    return NULL;
}

/* False: the connection is gone. */
static bool begin(struct conn *c, const char *head, size_t len)
{
    const struct iovec *answers = c->listener->answers;
    const char *length, *connection = find(head, len, "connection:");
    c->answer = &answers[memcmp(head, "GET /1", 6) == 0 ? 1 : memcmp(head, "GET /c", 6) == 0 ? 2 : 0];
    if (connection && strncasecmp(connection, " upgrade", 8) == 0)
        return upgrade(c);
    c->closing = connection && strncasecmp(connection, " close", 6) == 0;
    if (head[0] == 'P' && (length = find(head, len, "content-length:")))
        c->body_left = strtoul(length, NULL, 10);
    return c->body_left > 0 || answer(c, c->answer);
}

static bool take(struct conn *c, char *data, size_t len)
{
    size_t used = 0;
    while (used < len && !c->websocket) {
        if (c->body_left > 0) {
            size_t n = len - used < c->body_left ? len - used : c->body_left;
            used += n;
            c->body_left -= n;
            if (c->body_left == 0 && !answer(c, c->answer))
                return false;
            continue;
        }
        char *end = memmem(data + used, len - used, "\r\n\r\n", 4);
        if (!end)
            break;
        size_t head_len = (size_t)(end + 4 - (data + used));
        if (!begin(c, data + used, head_len))
            return false;
        used += head_len;
    }
    if (c->websocket && used < len)
        return echo(c, data + used, len - used);
    return keep(c, data + used, len - used);
}

static void conn_read(struct conn *c)
{
    while (c->out_len == 0) {
        if (c->n_kept > 0)
            memcpy(buffer, c->kept, c->n_kept);
        size_t room = sizeof(buffer) - c->n_kept;
        ssize_t n = recv(c->fd, buffer + c->n_kept, room, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            conn_close(c);
            return;
        }
        bool short_read = (size_t)n < room;
        if (!take(c, buffer, c->n_kept + (size_t)n))
            return;
        if (short_read)
            return;
    }
}

static void on_event(struct conn *c, unsigned events)
{
    if (events & (EPOLLHUP | EPOLLERR)) {
        conn_close(c);
        return;
    }
    if (c->out_len > 0 && !flush(c))
        return;
    if (events & (EPOLLIN | EPOLLRDHUP))
        conn_read(c);
}

/* --- listening ------------------------------------------------------------------------------------------- */

static void accept_all(struct listener *l)
{
    for (;;) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        struct conn *c = xcalloc(1, sizeof(*c));
        c->fd = fd;
        c->listener = l;
        struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
    }
}

static struct iovec sized(const char *version, size_t n)
{
    char *text = xmalloc(n + 256);
    int head = snprintf(text, 256,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Version: %s\r\nContent-Length: %zu\r\n\r\n",
        version, n);
    memset(text + head, 'x', n);
    return (struct iovec){ text, (size_t)head + n };
}

static struct iovec chunked(const char *version)
{
    char *text = xmalloc(256 + CHUNKS * (CHUNK + 16));
    int n = snprintf(text, 256,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Version: %s\r\nTransfer-Encoding: chunked\r\n\r\n",
        version);
    for (int i = 0; i < CHUNKS; i++) {
        n += snprintf(text + n, 16, "%x\r\n", CHUNK);
        memset(text + n, 'x', CHUNK);
        memcpy(text + n + CHUNK, "\r\n", 2);
        n += CHUNK + 2;
    }
    memcpy(text + n, "0\r\n\r\n", 5);
    return (struct iovec){ text, (size_t)n + 5 };
}

static void listen_on(const char *spec)
{
    const char *version = strchr(spec, '=');
    struct listener *l = xcalloc(1, sizeof(*l));
    struct sockaddr_in in = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(spec, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    version = version ? version + 1 : "1";
    l->is_listener = true;
    l->answers[0] = sized(version, SMALL);
    l->answers[1] = sized(version, LARGE);
    l->answers[2] = chunked(version);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(l->fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(l->fd, BACKLOG) < 0)
        die(spec);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = l };
    epoll_ctl(epoll, EPOLL_CTL_ADD, l->fd, &ev);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_PER_TURN];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < argc; i++)
        listen_on(argv[i]);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < n; i++) {
            struct listener *l = events[i].data.ptr;
            if (l->is_listener)
                accept_all(l);
            else
                on_event(events[i].data.ptr, events[i].events);
        }
    }
}
