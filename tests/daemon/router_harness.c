/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/wire.h"
#include "routerd/match.h"
#include "routerd/routerd.h"

#define READ_TIMEOUT_MS  30000
#define SERVE_TIMEOUT_MS 30000

struct harness {
    struct router *router;
    pthread_t thread;
    int fd;
    struct io *io;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*fn)(struct router *router, void *arg);
    void *arg;
    bool pending, started;
    int result;
};

void sleep_ms(int ms)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

int64_t now_ms(void)
{
    return clock_mono().us / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "harness: %s\n", what);
    abort();
}

/* --- the daemon ------------------------------------------------------------------------------------------ */

static void on_call(unsigned ready, void *arg)
{
    struct harness *h = arg;
    uint64_t n;
    if (read(h->fd, &n, sizeof(n)) < 0)
        return;
    pthread_mutex_lock(&h->lock);
    if (h->pending) {
        h->fn(h->router, h->arg);
        h->pending = false;
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
}

void router_call(struct router *router, void (*fn)(struct router *router, void *arg), void *arg)
{
    struct harness *h = router->thread_;
    uint64_t one = 1;
    pthread_mutex_lock(&h->lock);
    h->fn = fn;
    h->arg = arg;
    h->pending = true;
    if (write(h->fd, &one, sizeof(one)) != sizeof(one))
        die("can't wake the loop");
    while (h->pending)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static void *loop_main(void *arg)
{
    struct harness *h = arg;
    loop_run(h->router->loop);
    return NULL;
}

static void quiet(enum log_level level, const struct log_about *about, const char *text)
{
    if (getenv("ROUTER_TEST_LOG"))
        fprintf(stderr, "log %d: %s\n", level, text);
}

static void set_settings(struct settings *settings, const struct router *router, const char *table,
    const char *hub, const char *const *extra)
{
    struct error err;
    char text[512];
    if (config_load(&settings_table, "/nonexistent", false, settings, &err) < 0)
        die(err.text);
    snprintf(text, sizeof(text), "Router.StateDir=%s", router->dir);
    if (config_set(&settings_table, settings, text, &err) < 0)
        die(err.text);
    snprintf(text, sizeof(text), "Router.Status=%s/status.sock", router->dir);
    if (config_set(&settings_table, settings, text, &err) < 0 ||
        config_set(&settings_table, settings, "Router.Workers=2", &err) < 0 ||
        config_set(&settings_table, settings, "Router.Listen=127.0.0.1:0", &err) < 0)
        die(err.text);
    snprintf(
        text, sizeof(text), "%s=%s", hub ? "Router.Hub" : "Router.Table", hub ? hub : router->table_path);
    if (config_set(&settings_table, settings, text, &err) < 0)
        die(err.text);
    for (; extra && *extra; extra++) {
        if (config_set(&settings_table, settings, *extra, &err) < 0)
            die(err.text);
    }
}

struct router *router_start(const char *table, const char *hub, const char *const *extra)
{
    struct router *router = xcalloc(1, sizeof(*router));
    struct harness *h = xcalloc(1, sizeof(*h));
    struct settings settings;
    struct error err;
    char dir[] = "/tmp/router-test-XXXXXX";
    signal(SIGPIPE, SIG_IGN); /* as every main does: splice(2) can't be told otherwise */
    log_set_sink(quiet);
    if (!mkdtemp(dir))
        die("no temporary folder");
    router->dir = xstrdup(dir);
    router->table_path = xasprintf("%s/given.json", dir);
    router->thread_ = h;
    if (table)
        router_put_file(router, table);
    set_settings(&settings, router, table, hub, extra);

    struct routerd_socket *sockets = xcalloc(1, sizeof(*sockets));
    if (wire_listen("127.0.0.1:0", 0, &sockets[0].fd, &err) < 0)
        die(err.text);
    router->port = wire_local_port(sockets[0].fd);
    router->loop = loop_new();
    router->routerd = routerd_new(router->loop, &settings, sockets, 1);
    if (routerd_start(router->routerd, &err) < 0)
        die(err.text);
    h->router = router;
    h->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    h->io = io_new(router->loop, h->fd, IO_READ, on_call, h);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    if (pthread_create(&h->thread, NULL, loop_main, h) != 0)
        die("no thread");
    for (int64_t end = now_ms() + SERVE_TIMEOUT_MS; table && router_epoch(router) == 0;) {
        if (now_ms() > end)
            die("the table is not served");
        sleep_ms(2);
    }
    return router;
}

static void stop_loop(struct router *router, void *arg)
{
    loop_stop(router->loop);
}

void router_stop(struct router *router)
{
    struct harness *h = router->thread_;
    router_call(router, stop_loop, NULL);
    pthread_join(h->thread, NULL);
    routerd_free(router->routerd);
    io_free(h->io);
    close(h->fd);
    loop_free(router->loop);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
    DIR *dir = opendir(router->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir)
        closedir(dir);
    rmdir(router->dir);
    free(router->dir);
    free(router->table_path);
    free(h);
    free(router);
}

static void read_epoch(struct router *router, void *arg)
{
    *(int64_t *)arg = router->routerd->serving ? routerd_epoch(router->routerd) : 0;
}

int64_t router_epoch(struct router *router)
{
    int64_t epoch;
    router_call(router, read_epoch, &epoch);
    return epoch;
}

void router_put_file(struct router *router, const char *text)
{
    struct error err;
    if (statefile_write(router->table_path, text, strlen(text), 0600, &err) < 0)
        die(err.text);
}

void router_put_table(struct router *router, const char *text, int64_t epoch)
{
    router_put_file(router, text);
    for (int64_t end = now_ms() + SERVE_TIMEOUT_MS; router_epoch(router) != epoch; sleep_ms(1)) {
        if (now_ms() > end)
            die("the new table is not served");
    }
}

char *table_of(int64_t epoch, int n, const char *const *releases)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_addf(&out,
        "{\"format\":1,\"epoch\":%lld,\"routes\":[{\"host\":\"*\",\"service\":\"web\"}],"
        "\"services\":[{\"name\":\"web\",\"releases\":[",
        (long long)epoch);
    for (int i = 0; i < n; i++) {
        char version[64];
        int port, weight = 1;
        if (sscanf(releases[i], "%63[^:]:%d:%d", version, &port, &weight) < 2)
            die(releases[i]);
        strbuf_addf(&out,
            "%s{\"version\":\"%s\",\"weight\":%d,\"endpoints\":[{\"address\":\"127.0.0.1:%d\"}]}",
            i ? "," : "", version, weight, port);
    }
    strbuf_adds(&out, "]}]}");
    return strbuf_steal(&out);
}

/* --- the client ------------------------------------------------------------------------------------------ */

int client_open(int port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0)
        die("can't connect to the router");
    return fd;
}

void client_send_bytes(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* refused early: the answer tells */
        p += n;
        len -= (size_t)n;
    }
}

void client_send(int fd, const char *text)
{
    client_send_bytes(fd, text, strlen(text));
}

/* One byte, so that nothing behind an answer is taken. */
static bool read_byte(int fd, char *ret)
{
    struct pollfd p = { fd, POLLIN, 0 };
    if (poll(&p, 1, READ_TIMEOUT_MS) != 1)
        return false;
    return recv(fd, ret, 1, 0) == 1;
}

static bool read_n(int fd, struct strbuf *out, size_t n)
{
    char buf[65536];
    while (n > 0) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, READ_TIMEOUT_MS) != 1)
            return false;
        ssize_t r = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), 0);
        if (r <= 0)
            return false;
        strbuf_add(out, buf, (size_t)r);
        n -= (size_t)r;
    }
    return true;
}

static bool read_line(int fd, struct strbuf *out)
{
    char c;
    do {
        if (!read_byte(fd, &c))
            return false;
        strbuf_addc(out, c);
    } while (c != '\n');
    return true;
}

static bool read_chunks(int fd, struct answer *a)
{
    for (;;) {
        struct strbuf line = STRBUF_INIT;
        bool ok = read_line(fd, &line);
        size_t n = ok ? strtoul(line.data, NULL, 16) : 0;
        strbuf_done(&line);
        if (!ok)
            return false;
        if (n == 0)
            break;
        struct strbuf end = STRBUF_INIT;
        ok = read_n(fd, &a->content, n) && read_n(fd, &end, 2);
        strbuf_done(&end);
        if (!ok)
            return false;
    }
    size_t before;
    do {
        before = a->trailers.len;
        if (!read_line(fd, &a->trailers))
            return false;
    } while (a->trailers.len - before > 2);
    return true;
}

const char *answer_field(const struct answer *a, const char *name)
{
    static _Thread_local char value[512];
    size_t n = strlen(name);
    for (const char *p = strstr(strbuf_str(&a->head), "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) != 0 || p[n] != ':')
            continue;
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(p + n + 2, "\r"), p + n + 2);
        return value;
    }
    return "";
}

struct answer client_read(int fd, bool head_only)
{
    struct answer a = { 0 };
    size_t before;
    do {
        before = a.head.len;
        if (!read_line(fd, &a.head)) {
            a.eof = true;
            return a;
        }
    } while (a.head.len - before > 2);
    if (sscanf(a.head.data, "HTTP/1.1 %d", &a.status) != 1)
        return a;
    const char *length = answer_field(&a, "Content-Length");
    if (head_only || a.status < 200 || a.status == 204 || a.status == 304)
        a.whole = true;
    else if (*length)
        a.whole = read_n(fd, &a.content, strtoul(length, NULL, 10));
    else if (strcasecmp(answer_field(&a, "Transfer-Encoding"), "chunked") == 0)
        a.whole = read_chunks(fd, &a);
    else
        a.eof = a.whole = !read_n(fd, &a.content, SIZE_MAX);
    return a;
}

void answer_done(struct answer *a)
{
    strbuf_done(&a->head);
    strbuf_done(&a->content);
    strbuf_done(&a->trailers);
}

struct answer ask(int port, const char *text)
{
    int fd = client_open(port);
    client_send(fd, text);
    struct answer a = client_read(fd, false);
    close(fd);
    return a;
}

char *get(int port, const char *path, const char *fields, int *ret_status)
{
    char *text = xasprintf("GET %s HTTP/1.1\r\nHost: web.example\r\n%s\r\n", path, fields ? fields : "");
    struct answer a = ask(port, text);
    free(text);
    if (ret_status)
        *ret_status = a.status;
    char *content = xstrdup(strbuf_str(&a.content));
    answer_done(&a);
    return content;
}

int64_t process_rss_kb(void)
{
    char line[256];
    long long kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof(line), f))
        (void)sscanf(line, "VmRSS: %lld", &kb);
    if (f)
        fclose(f);
    return kb;
}
