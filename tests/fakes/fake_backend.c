/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_backend.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/strbuf.h"

#define READ_MAX        65536
#define CONNECTIONS_MAX 4096

struct fake_backend {
    char *name;
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released, stopping;
    int fds[CONNECTIONS_MAX]; /* open connections, -1: free */
    int n_threads;
    _Atomic int64_t requests, connections;
    _Atomic bool vanished;
};

struct served {
    struct fake_backend *backend;
    int fd, slot;
    struct strbuf in; /* bytes not used yet */
    struct strbuf head;
    char method[40], path[4096];
    bool http10, close, chunked, expects;
    long long length; /* of the content; -1: none announced */
};

/* --- bytes ----------------------------------------------------------------------------------------------- */

static bool send_all(struct served *s, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(s->fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_text(struct served *s, const char *text)
{
    return send_all(s, text, strlen(text));
}

/* More input; false at the end. */
static bool fill(struct served *s)
{
    char buf[READ_MAX];
    ssize_t n;
    do
        n = recv(s->fd, buf, sizeof(buf), 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    strbuf_add(&s->in, buf, (size_t)n);
    return true;
}

static const char *field(struct served *s, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strstr(strbuf_str(&s->head), "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':')
            return p + n + 2;
    }
    return NULL;
}

static bool read_head(struct served *s)
{
    for (;;) {
        char *end = s->in.len > 0 ? memmem(s->in.data, s->in.len, "\r\n\r\n", 4) : NULL;
        if (end) {
            size_t n = (size_t)(end - s->in.data) + 4;
            strbuf_clear(&s->head);
            strbuf_add(&s->head, s->in.data, n);
            strbuf_consume(&s->in, n);
            break;
        }
        if (!fill(s))
            return false;
    }
    if (sscanf(s->head.data, "%39s %4095s", s->method, s->path) != 2)
        return false;
    const char *length = field(s, "Content-Length"), *connection = field(s, "Connection");
    s->length = length ? strtoll(length, NULL, 10) : -1;
    s->chunked = field(s, "Transfer-Encoding") != NULL;
    s->expects = field(s, "Expect") != NULL;
    s->close = connection && strncasecmp(connection, "close", 5) == 0;
    return true;
}

static bool line(struct served *s, char *ret, size_t size)
{
    for (;;) {
        char *end = s->in.len > 0 ? memmem(s->in.data, s->in.len, "\r\n", 2) : NULL;
        if (end) {
            size_t n = (size_t)(end - s->in.data);
            snprintf(ret, size, "%.*s", (int)n, s->in.data);
            strbuf_consume(&s->in, n + 2);
            return true;
        }
        if (!fill(s))
            return false;
    }
}

/* Calls fn for each piece of content; false: it broke off. */
static bool read_content(
    struct served *s, bool (*fn)(struct served *s, const char *data, size_t len, void *arg), void *arg)
{
    long long left = s->chunked ? 0 : s->length > 0 ? s->length : 0;
    for (;;) {
        char text[512];
        if (s->chunked) {
            if (!line(s, text, sizeof(text)))
                return false;
            left = strtoll(text, NULL, 16);
            if (left == 0) {
                do {
                    if (!line(s, text, sizeof(text)))
                        return false;
                } while (text[0]);
                return true;
            }
        }
        while (left > 0) {
            if (s->in.len == 0 && !fill(s))
                return false;
            size_t n = s->in.len < (size_t)left ? s->in.len : (size_t)left;
            if (fn && !fn(s, s->in.data, n, arg))
                return false;
            strbuf_consume(&s->in, n);
            left -= (long long)n;
        }
        if (!s->chunked)
            return true;
        if (!line(s, text, sizeof(text)) || text[0])
            return false;
    }
}

static bool collect(struct served *s, const char *data, size_t len, void *arg)
{
    strbuf_add(arg, data, len);
    return true;
}

static bool echo_chunk(struct served *s, const char *data, size_t len, void *arg)
{
    char size[32];
    snprintf(size, sizeof(size), "%zx\r\n", len);
    return send_text(s, size) && send_all(s, data, len) && send_text(s, "\r\n");
}

static bool count(struct served *s, const char *data, size_t len, void *arg)
{
    *(long long *)arg += (long long)len;
    return true;
}

/* --- answers --------------------------------------------------------------------------------------------- */

static bool answer(struct served *s, const char *status, const char *fields, const void *content, size_t len)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_addf(&out, "HTTP/1.1 %s\r\nX-Version: %s\r\n%sContent-Length: %zu\r\n\r\n", status,
        s->backend->name, fields, len);
    if (strcmp(s->method, "HEAD") != 0)
        strbuf_add(&out, content, len);
    bool ok = send_all(s, out.data, out.len);
    strbuf_done(&out);
    return ok;
}

static bool answer_text(struct served *s, const char *text)
{
    return answer(s, "200 OK", "", text, strlen(text));
}

static bool do_hello(struct served *s)
{
    char text[128];
    if (!read_content(s, NULL, NULL))
        return false;
    snprintf(text, sizeof(text), "hello from %s", s->backend->name);
    return answer_text(s, text);
}

static bool do_head(struct served *s)
{
    return answer(s, "200 OK", "", s->head.data, s->head.len);
}

static bool do_echo(struct served *s)
{
    struct strbuf content = STRBUF_INIT;
    bool ok = read_content(s, collect, &content) && answer(s, "200 OK", "", content.data, content.len);
    strbuf_done(&content);
    return ok;
}

static bool do_echo_chunked(struct served *s)
{
    return send_text(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") &&
        read_content(s, echo_chunk, NULL) && send_text(s, "0\r\n\r\n");
}

static bool do_chunked(struct served *s)
{
    return send_text(
               s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n") &&
        send_text(s, "4\r\ndefg\r\n1;x=y\r\nh\r\n") && send_text(s, "0\r\nX-Sum: 42\r\n\r\n");
}

static bool do_until_close(struct served *s)
{
    send_text(s, "HTTP/1.1 200 OK\r\n\r\nuntil the ");
    usleep(20000);
    send_text(s, "end");
    return false;
}

static bool do_cut(struct served *s)
{
    send_text(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    return false;
}

static bool do_cut_chunked(struct served *s)
{
    send_text(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    return false;
}

static long long argument(struct served *s)
{
    const char *q = strchr(s->path, '?');
    return q ? strtoll(q + 1, NULL, 10) : 0;
}

static bool do_big(struct served *s)
{
    char head[128], block[16384];
    long long left = argument(s);
    memset(block, 'b', sizeof(block));
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", left);
    bool ok = send_text(s, head);
    while (ok && left > 0) {
        size_t n = left < (long long)sizeof(block) ? (size_t)left : sizeof(block);
        ok = send_all(s, block, n);
        left -= (long long)n;
    }
    return ok;
}

static bool do_slow(struct served *s)
{
    usleep((useconds_t)argument(s) * 1000);
    return do_hello(s);
}

static bool do_hold(struct served *s)
{
    struct fake_backend *b = s->backend;
    pthread_mutex_lock(&b->lock);
    while (!b->released && !b->stopping)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    return do_hello(s);
}

static bool do_early(struct served *s)
{
    return send_text(s, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n") && do_hello(s);
}

static bool do_continue(struct served *s)
{
    char text[32];
    long long n = 0;
    if (s->expects && !send_text(s, "HTTP/1.1 100 Continue\r\n\r\n"))
        return false;
    if (!read_content(s, count, &n))
        return false;
    snprintf(text, sizeof(text), "%lld", n);
    return answer_text(s, text);
}

static bool do_refuse_continue(struct served *s)
{
    answer(s, "417 Expectation Failed", "", "no", 2);
    return false;
}

static bool do_empty(struct served *s)
{
    return send_text(s, "HTTP/1.1 204 No Content\r\n\r\n");
}

static bool do_garbage(struct served *s)
{
    send_text(s, "\x16\x03\x01 this is not HTTP\n\n");
    return false;
}

static bool do_two(struct served *s)
{
    return send_text(s,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
}

static bool do_vanish(struct served *s)
{
    return false;
}

static bool do_vanish_once(struct served *s)
{
    return atomic_exchange(&s->backend->vanished, true) ? do_hello(s) : false;
}

static bool do_upgrade(struct served *s)
{
    if (!send_text(s, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi:"))
        return false;
    do {
        if (s->in.len > 0 && !send_all(s, s->in.data, s->in.len))
            return false;
        strbuf_clear(&s->in);
    } while (fill(s));
    send_text(s, ":bye");
    return false;
}

static bool do_upgrade_refused(struct served *s)
{
    return answer(s, "403 Forbidden", "", "no", 2);
}

static bool do_status(struct served *s)
{
    char status[32];
    snprintf(status, sizeof(status), "%lld Status", argument(s));
    return answer(s, status, "", "status", 6);
}

/* clang-format off */
static const struct {
    const char *path;
    bool (*fn)(struct served *s); /* false: close */
} paths[] = {
    { "/big",             do_big },
    { "/chunked",         do_chunked },
    { "/continue",        do_continue },
    { "/cut",             do_cut },
    { "/cut-chunked",     do_cut_chunked },
    { "/early",           do_early },
    { "/echo",            do_echo },
    { "/echo-chunked",    do_echo_chunked },
    { "/empty",           do_empty },
    { "/garbage",         do_garbage },
    { "/head",            do_head },
    { "/hold",            do_hold },
    { "/refuse-continue", do_refuse_continue },
    { "/slow",            do_slow },
    { "/status",          do_status },
    { "/two",             do_two },
    { "/until-close",     do_until_close },
    { "/upgrade",         do_upgrade },
    { "/upgrade-refused", do_upgrade_refused },
    { "/vanish",          do_vanish },
    { "/vanish-once",     do_vanish_once },
};
/* clang-format on */

static bool dispatch(struct served *s)
{
    size_t n = strcspn(s->path, "?");
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (strlen(paths[i].path) == n && memcmp(paths[i].path, s->path, n) == 0)
            return paths[i].fn(s);
    }
    return do_hello(s);
}

/* --- threads --------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
    struct served *s = arg;
    struct fake_backend *b = s->backend;
    while (read_head(s)) {
        atomic_fetch_add(&b->requests, 1);
        if (!dispatch(s) || s->close)
            break;
    }
    pthread_mutex_lock(&b->lock);
    b->fds[s->slot] = -1;
    close(s->fd);
    b->n_threads--;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    strbuf_done(&s->in);
    strbuf_done(&s->head);
    free(s);
    return NULL;
}

static void start_connection(struct fake_backend *b, int fd)
{
    struct served *s = xcalloc(1, sizeof(*s));
    pthread_t thread;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    *s = (struct served){ .backend = b, .fd = fd, .slot = -1 };
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < CONNECTIONS_MAX && s->slot < 0; i++) {
        if (b->fds[i] < 0)
            s->slot = i;
    }
    bool refused = b->stopping || s->slot < 0;
    if (!refused) {
        b->fds[s->slot] = fd;
        b->n_threads++;
    }
    pthread_mutex_unlock(&b->lock);
    if (refused || pthread_create(&thread, NULL, serve, s) != 0) {
        close(fd);
        free(s);
        return;
    }
    pthread_detach(thread);
}

static void *listen_main(void *arg)
{
    struct fake_backend *b = arg;
    for (;;) {
        int fd = accept(b->fd, NULL, NULL);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&b->connections, 1);
        start_connection(b, fd);
    }
}

static int bind_any(int *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) < 0)
        abort();
    *ret_port = ntohs(in.sin_port);
    return fd;
}

struct fake_backend *fake_backend_new(const char *name)
{
    struct fake_backend *b = xcalloc(1, sizeof(*b));
    b->name = xstrdup(name);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        b->fds[i] = -1;
    b->fd = bind_any(&b->port);
    if (listen(b->fd, 511) < 0 || pthread_create(&b->thread, NULL, listen_main, b) != 0)
        abort();
    return b;
}

void fake_backend_free(struct fake_backend *b)
{
    if (!b)
        return;
    shutdown(b->fd, SHUT_RDWR);
    pthread_join(b->thread, NULL);
    close(b->fd);
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->changed);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (b->fds[i] >= 0)
            shutdown(b->fds[i], SHUT_RDWR);
    }
    while (b->n_threads > 0)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    free(b->name);
    free(b);
}

int fake_backend_port(const struct fake_backend *b)
{
    return b->port;
}

int64_t fake_backend_requests(struct fake_backend *b)
{
    return atomic_load(&b->requests);
}

int64_t fake_backend_connections(struct fake_backend *b)
{
    return atomic_load(&b->connections);
}

void fake_backend_release(struct fake_backend *b)
{
    pthread_mutex_lock(&b->lock);
    b->released = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

int fake_backend_dead_port(void)
{
    int port, fd = bind_any(&port);
    close(fd);
    return port;
}
