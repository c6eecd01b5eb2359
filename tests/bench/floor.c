/* SPDX-License-Identifier: MIT */

/* stagecoach-bench-floor: what a proxy costs at least on this machine's sockets. It finds the end of a head, takes a
 * connection to the service from a pool (last in, first out), and copies; it understands Content-Length, the end of a
 * chunked body and "Connection: close", and nothing else. No time-outs, no limits, no strictness: for measuring beside,
 * never for use.
 *
 *   stagecoach-bench-floor --listen=PORT --service=PORT [--splice] [--certificate=FILE --key=FILE]
 *
 * --splice moves bodies over SPLICE_MIN through a pipe. With a certificate clients speak TLS 1.3. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <openssl/ssl.h>

#include "common/mem.h"

#define BUFFER          (128 * 1024)
#define HEAD_READ       4096 /* with --splice */
#define SPLICE_MIN      (32 * 1024)
#define PIPE_SIZE       (256 * 1024)
#define EVENTS_PER_TURN 128
#define BACKLOG         4096

enum body { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_TUNNEL };

/* One direction's end: a client or a connection to the service. */
struct side {
    int fd;
    SSL *ssl;
    struct side *peer; /* NULL: an idle one */
    bool is_client, connecting, closing, in_body, close_after;
    enum body body;
    size_t left;      /* of the body that comes from here */
    size_t piped;     /* bytes in the pipe, read here, not yet written to the peer */
    size_t out, sent; /* of `queue`: bytes that this socket did not take */
    size_t queue_cap;
    char *queue;
    struct side *next; /* in the pool */
};

static struct {
    int epoll, listener, pipe[2];
    struct sockaddr_in service;
    bool splice;
    SSL_CTX *tls;
    struct side *pool;
    struct side *dead;
} own;

static char buffer[BUFFER];

static void pump(struct side *s);

static void watch(struct side *s)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s };
    epoll_ctl(own.epoll, EPOLL_CTL_ADD, s->fd, &ev);
}

/* --- ends ------------------------------------------------------------------------------------------------ */

/* Memory goes when the turn is over: events of this turn may still name it. */
static void bury(struct side *s)
{
    if (s->fd < 0)
        return;
    if (s->ssl)
        SSL_free(s->ssl);
    close(s->fd);
    s->fd = -1;
    s->next = own.dead;
    own.dead = s;
}

static void bury_dead(void)
{
    while (own.dead) {
        struct side *s = own.dead;
        own.dead = s->next;
        free(s->queue);
        free(s);
    }
}

static void leave_pool(struct side *s)
{
    for (struct side **p = &own.pool; *p; p = &(*p)->next) {
        if (*p == s) {
            *p = s->next;
            return;
        }
    }
}

static void fail(struct side *s)
{
    struct side *peer = s->peer;
    if (!peer && !s->is_client)
        leave_pool(s);
    bury(s);
    if (peer)
        bury(peer);
}

/* --- bytes ----------------------------------------------------------------------------------------------- */

static ssize_t side_read(struct side *s, char *data, size_t len)
{
    if (!s->ssl)
        return recv(s->fd, data, len, 0);
    size_t n = 0;
    int r = 1;
    while (n < len && r > 0) {
        r = SSL_read(s->ssl, data + n, (int)(len - n));
        if (r > 0)
            n += (size_t)r;
        if (r > 0 && SSL_pending(s->ssl) == 0 && r < 16384)
            break;
    }
    if (n > 0)
        return (ssize_t)n;
    int want = SSL_get_error(s->ssl, r);
    errno = EAGAIN;
    return want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t side_write(struct side *s, const char *data, size_t len)
{
    if (!s->ssl)
        return send(s->fd, data, len, MSG_NOSIGNAL);
    size_t n = 0;
    while (n < len) {
        int r = SSL_write(s->ssl, data + n, (int)(len - n < 16384 ? len - n : 16384));
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    errno = EAGAIN;
    return n > 0 ? (ssize_t)n : -1;
}

static bool put(struct side *s, const char *data, size_t len)
{
    ssize_t n = s->out > 0 || s->connecting ? 0 : side_write(s, data, len);
    if (n < 0 && errno != EAGAIN)
        return false;
    size_t done = n > 0 ? (size_t)n : 0;
    if (done == len)
        return true;
    if (s->out + len - done > s->queue_cap) {
        s->queue_cap = s->out + len - done;
        s->queue = xrealloc(s->queue, s->queue_cap);
    }
    memcpy(s->queue + s->out, data + done, len - done);
    s->out += len - done;
    return true;
}

static bool flush(struct side *s)
{
    while (s->sent < s->out) {
        ssize_t n = side_write(s, s->queue + s->sent, s->out - s->sent);
        if (n < 0)
            return errno == EAGAIN;
        s->sent += (size_t)n;
    }
    s->out = s->sent = 0;
    return true;
}

/* --- messages -------------------------------------------------------------------------------------------- */

static const char *field(const char *head, size_t len, const char *name)
{
    const char *p = memmem(head, len, name, strlen(name));
    return p ? p + strlen(name) : NULL;
}

static void read_framing(struct side *s, const char *head, size_t len)
{
    const char *value;
    s->body = BODY_NONE;
    s->left = 0;
    if (!s->is_client && memcmp(head + 9, "101", 3) == 0) {
        s->body = s->peer->body = BODY_TUNNEL;
        s->peer->in_body = true;
    } else if ((value = field(head, len, "Content-Length: "))) {
        s->left = strtoul(value, NULL, 10);
        s->body = s->left > 0 ? BODY_LENGTH : BODY_NONE;
    } else if (field(head, len, "Transfer-Encoding: chunked")) {
        s->body = BODY_CHUNKED;
    }
    s->in_body = s->body != BODY_NONE;
}

static bool attach(struct side *client)
{
    struct side *up = own.pool;
    if (up) {
        own.pool = up->next;
    } else {
        up = xcalloc(1, sizeof(*up));
        up->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(up->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        if (connect(up->fd, (struct sockaddr *)&own.service, sizeof(own.service)) < 0 &&
            errno != EINPROGRESS) {
            bury(up);
            return false;
        }
        up->connecting = true;
        watch(up);
    }
    up->peer = client;
    up->in_body = false;
    client->peer = up;
    return true;
}

/* The answer is whole: the service's connection is free again. */
static void finish(struct side *up)
{
    struct side *client = up->peer;
    up->peer = client->peer = NULL;
    up->next = own.pool;
    own.pool = up;
    client->in_body = false;
    if (client->close_after && client->out == 0)
        bury(client);
    else if (client->close_after)
        client->closing = true;
}

/* A client's head without its "Connection: close", which is meant for us. */
static bool send_request(struct side *c, const char *head, size_t head_len, size_t len)
{
    static const char close_line[] = "Connection: close\r\n";
    const char *line = memmem(head, head_len, close_line, sizeof(close_line) - 1);
    c->close_after = line;
    if (!line)
        return put(c->peer, head, len);
    static char text[BUFFER];
    size_t before = (size_t)(line - head), behind = len - before - (sizeof(close_line) - 1);
    memcpy(text, head, before);
    memcpy(text + before, line + sizeof(close_line) - 1, behind);
    return put(c->peer, text, before + behind);
}

/* What one read brought goes to the other side whole; heads are in one piece. */
static bool relay(struct side *s, char *data, size_t len)
{
    size_t body = len;
    if (!s->in_body) {
        char *end = memmem(data, len, "\r\n\r\n", 4);
        if (!end)
            return false;
        size_t head = (size_t)(end + 4 - data);
        if (s->is_client && !attach(s))
            return false;
        read_framing(s, data, head);
        body = len - head;
        if (s->is_client) {
            if (!send_request(s, data, head, len))
                return false;
        } else if (!put(s->peer, data, len)) {
            return false;
        }
    } else if (!put(s->peer, data, len)) {
        return false;
    }
    if (s->body == BODY_LENGTH) {
        s->left -= body < s->left ? body : s->left;
        s->in_body = s->left > 0;
    } else if (s->body == BODY_CHUNKED) {
        s->in_body = len < 5 || memcmp(data + len - 5, "0\r\n\r\n", 5) != 0;
    }
    if (!s->is_client && !s->in_body)
        finish(s);
    return true;
}

/* --- splice ---------------------------------------------------------------------------------------------- */

/* The pipe is empty between two calls unless the peer is slow; then it is read into the queue. */
static bool spill(struct side *s, size_t n)
{
    while (n > 0) {
        ssize_t r = read(own.pipe[0], buffer, n < BUFFER ? n : BUFFER);
        if (r <= 0 || !put(s->peer, buffer, (size_t)r))
            return false;
        n -= (size_t)r;
    }
    return true;
}

/* 1: moved, 0: nothing there, -1: broken. */
static int splice_once(struct side *s)
{
    ssize_t n = splice(s->fd, NULL, own.pipe[1], NULL, s->left < PIPE_SIZE ? s->left : PIPE_SIZE,
        SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        return -1;
    s->left -= (size_t)n;
    size_t in = (size_t)n;
    while (in > 0) {
        ssize_t w = splice(own.pipe[0], NULL, s->peer->fd, NULL, in,
            SPLICE_F_NONBLOCK | SPLICE_F_MOVE | (s->left > 0 ? SPLICE_F_MORE : 0));
        if (w < 0 && errno == EAGAIN)
            break;
        if (w <= 0)
            return -1;
        in -= (size_t)w;
    }
    if (in > 0 && !spill(s, in))
        return -1;
    if (s->left == 0) {
        s->in_body = false;
        if (!s->is_client)
            finish(s);
    }
    return 1;
}

/* --- events ---------------------------------------------------------------------------------------------- */

static bool may_splice(const struct side *s)
{
    return own.splice && s->in_body && s->body == BODY_LENGTH && s->left >= SPLICE_MIN && !s->ssl &&
        s->peer && !s->peer->ssl && !s->peer->connecting;
}

static void pump(struct side *s)
{
    while (s->fd >= 0 && !s->closing) {
        if (s->peer && s->peer->out > 0)
            return;
        /* A client waits for its answer. */
        if (s->is_client && s->peer && !s->in_body)
            return;
        if (may_splice(s)) {
            int r = splice_once(s);
            if (r < 0)
                fail(s);
            if (r <= 0)
                return;
            continue;
        }
        /* What is to be spliced must not be read with its head. */
        size_t room = own.splice && !s->in_body ? HEAD_READ : BUFFER;
        ssize_t n = side_read(s, buffer, room);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || (!s->is_client && !s->peer) || !relay(s, buffer, (size_t)n)) {
            fail(s);
            return;
        }
        if ((size_t)n < room)
            return;
    }
}

static void on_event(struct side *s, unsigned events)
{
    if (s->fd < 0)
        return;
    s->connecting = false;
    if (s->ssl && !SSL_is_init_finished(s->ssl)) {
        int r = SSL_do_handshake(s->ssl);
        if (r != 1 && SSL_get_error(s->ssl, r) != SSL_ERROR_WANT_READ) {
            fail(s);
            return;
        }
        if (r != 1)
            return;
    }
    if (events & EPOLLOUT && s->out > 0) {
        if (!flush(s)) {
            fail(s);
            return;
        }
        if (s->closing && s->out == 0) {
            bury(s);
            return;
        }
        if (s->out == 0 && s->peer)
            pump(s->peer);
    }
    if (s->fd >= 0 && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        pump(s);
}

static void accept_all(void)
{
    for (;;) {
        int fd = accept4(own.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct side *s = xcalloc(1, sizeof(*s));
        s->fd = fd;
        s->is_client = true;
        if (own.tls) {
            s->ssl = SSL_new(own.tls);
            SSL_set_fd(s->ssl, fd);
            SSL_set_accept_state(s->ssl);
        }
        watch(s);
        if (!s->ssl)
            pump(s);
    }
}

/* --- beginning ------------------------------------------------------------------------------------------- */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void listen_on(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    own.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(own.listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    setsockopt(own.listener, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (bind(own.listener, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(own.listener, BACKLOG) < 0)
        die("listen");
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(own.epoll, EPOLL_CTL_ADD, own.listener, &ev);
}

static void use_tls(const char *certificate, const char *key)
{
    own.tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(own.tls, TLS1_3_VERSION);
    SSL_CTX_set_mode(own.tls,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_num_tickets(own.tls, 1);
    if (SSL_CTX_use_certificate_chain_file(own.tls, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(own.tls, key, SSL_FILETYPE_PEM) != 1)
        die("certificate");
}

static void parse_options(int argc, char **argv)
{
    static const struct option longs[] = { { "listen", required_argument, NULL, 'l' },
        { "service", required_argument, NULL, 's' }, { "splice", no_argument, NULL, 'p' },
        { "certificate", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' }, { 0 } };
    const char *certificate = NULL, *key = NULL;
    int opt;
    own.service = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        if (opt == 'l')
            listen_on((uint16_t)strtoul(optarg, NULL, 10));
        else if (opt == 's')
            own.service.sin_port = htons((uint16_t)strtoul(optarg, NULL, 10));
        else if (opt == 'p')
            own.splice = true;
        else if (opt == 'c')
            certificate = optarg;
        else if (opt == 'k')
            key = optarg;
        else
            exit(2);
    }
    if (certificate && key)
        use_tls(certificate, key);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_PER_TURN];
    signal(SIGPIPE, SIG_IGN);
    own.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pipe2(own.pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        die("pipe");
    fcntl(own.pipe[0], F_SETPIPE_SZ, PIPE_SIZE);
    parse_options(argc, argv);
    for (;;) {
        int n = epoll_wait(own.epoll, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                accept_all();
            else
                on_event(events[i].data.ptr, events[i].events);
        }
        bury_dead();
    }
}
