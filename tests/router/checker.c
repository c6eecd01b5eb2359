/* SPDX-License-Identifier: MIT */

/* stagecoach-checker: clients that believe nothing. Every request must get one whole, right answer: its status, every byte
 * of its body, the version in the head the same as in the body (pattern.h says what is right). Clients open a connection
 * for each request, keep one, send several at once, or send bodies. Each failure is one line on standard output,
 *
 *   BEGIN END KIND begun|silent REASON      times in seconds since 1970; KIND is GET or POST
 *
 * `begun` where a part of the answer had come. The last line is a JSON object with the counts.
 *
 *   stagecoach-checker PORT THREADS REQUESTS     until SIGTERM, or so many were sent; THREADS may be N+M: M of HTTP/2 */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/router/checker.h"

#define HEAD_MAX     (16 * 1024)
#define TIMEOUT_S    30
#define FAILURES_MAX 200 /* lines */

static const char *const mode_names[] = { "close", "keep-alive", "pipelined", "post", "h2" };
_Static_assert(ARRAY_SIZE(mode_names) == MODE_MAX_, "each mode has a name");

static struct {
    uint16_t port;
    int64_t wanted;
    _Atomic int64_t begun, done[MODE_MAX_], failed, connections, by_status[600];
    pthread_mutex_t out;
    int64_t lines;
} check = { .out = PTHREAD_MUTEX_INITIALIZER };

static _Atomic bool stopping;

void checker_count(struct client *c, int status)
{
    check.by_status[status]++;
    check.done[c->mode]++;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void checker_hang_up(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->n = 0;
}

void checker_fail(struct client *c, const struct request *q, bool post, bool begun, const char *reason)
{
    check.failed++;
    pthread_mutex_lock(&check.out);
    if (check.lines++ < FAILURES_MAX)
        printf("%.6f %.6f %s %s %s: %s\n", q->begun, now(), post ? "POST" : "GET", begun ? "begun" : "silent",
            mode_names[c->mode], reason);
    pthread_mutex_unlock(&check.out);
    checker_hang_up(c);
}

/* --- a connection -------------------------------------------------------------------------------------------- */

bool checker_dial(struct client *c)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(check.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    struct timeval limit = { TIMEOUT_S, 0 };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    check.connections++;
    return connect(c->fd, (struct sockaddr *)&in, sizeof(in)) == 0;
}

bool checker_send(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* At least n bytes are in the buffer. NULL, or why not. */
static const char *need(struct client *c, size_t n)
{
    while (c->n < n) {
        if (c->cap < n + HEAD_MAX)
            c->buf = xrealloc(c->buf, c->cap = n + 2 * HEAD_MAX);
        ssize_t r = recv(c->fd, c->buf + c->n, c->cap - c->n - 1, 0);
        if (r == 0)
            return "the connection ended";
        if (r < 0)
            return errno == EAGAIN ? "no answer in time" : strerror(errno);
        c->n += (size_t)r;
    }
    return NULL;
}

static void drop(struct client *c, size_t n)
{
    c->n -= n;
    memmove(c->buf, c->buf + n, c->n);
}

/* Length of what stands before and with `end`, from `from` on. */
static const char *find(struct client *c, size_t from, const char *end, size_t *ret)
{
    for (;;) {
        if (c->n > from) {
            char *at = memmem(c->buf + from, c->n - from, end, strlen(end));
            if (at) {
                *ret = (size_t)(at - c->buf) + strlen(end);
                return NULL;
            }
        }
        if (c->n - from > HEAD_MAX)
            return "a line without an end";
        const char *why = need(c, c->n + 1);
        if (why)
            return why;
    }
}

/* --- an answer ------------------------------------------------------------------------------------------------ */

static bool field(const char *head, const char *name, char *value, size_t size)
{
    size_t len = strlen(name);
    for (const char *p = strstr(head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, name, len) == 0 && p[2 + len] == ':') {
            const char *v = p + 3 + len + strspn(p + 3 + len, " ");
            snprintf(value, size, "%.*s", (int)strcspn(v, "\r"), v);
            return true;
        }
    }
    return false;
}

static const char *read_chunked(struct client *c, char *body, size_t max, size_t *len)
{
    for (;;) {
        size_t line;
        const char *why = find(c, 0, "\r\n", &line);
        if (why)
            return why;
        size_t n = strtoul(c->buf, NULL, 16);
        drop(c, line);
        if (*len + n > max)
            return "too long";
        if ((why = need(c, n + 2)))
            return why;
        if (memcmp(c->buf + n, "\r\n", 2) != 0)
            return "a chunk without its end";
        memcpy(body + *len, c->buf, n);
        *len += n;
        drop(c, n + 2);
        if (n == 0)
            return NULL;
    }
}

const char *checker_judge(
    const struct request *q, int status, const char *version, const char *body, size_t len)
{
    static _Thread_local char reason[128];
    char said[64];
    unsigned long long id;
    size_t size;
    if (status != 200) {
        int shown = (int)(len < 80 ? len : 80);
        for (int i = 0; i < shown; i++)
            shown = body[i] == '\r' || body[i] == '\n' ? i : shown;
        snprintf(reason, sizeof(reason), "status %d: %.*s", status, shown, body);
        return reason;
    }
    const char *end = memchr(body, '\n', len < 128 ? len : 128);
    if (!end || sscanf(body, "%63s %llu %zu\n", said, &id, &size) != 3)
        return "wrong: another body";
    if (id != q->id || size != q->size)
        return "wrong: the answer of another request";
    if (strcmp(said, version) != 0)
        return "wrong: head and body of two versions";
    size_t first = (size_t)(end + 1 - body);
    if (len - first != q->size || pattern_check(body + first, q->id, q->size) != q->size)
        return "wrong: bytes of the body";
    return NULL;
}

/* NULL: whole and right. */
static const char *read_answer(struct client *c, const struct request *q, bool *begun)
{
    static _Thread_local char body[PATTERN_SIZE_MAX + 256];
    char value[64], version[64] = "";
    size_t head_len, len = 0;
    int status;
    *begun = c->n > 0;
    const char *why = find(c, 0, "\r\n\r\n", &head_len);
    *begun = c->n > 0;
    if (why)
        return why;
    char *head = xstrndup(c->buf, head_len);
    drop(c, head_len);
    bool sized = field(head, "Content-Length", value, sizeof(value));
    size_t size = sized ? strtoul(value, NULL, 10) : 0;
    bool chunked = field(head, "Transfer-Encoding", value, sizeof(value));
    bool close = field(head, "Connection", value, sizeof(value)) && strcasecmp(value, "close") == 0;
    bool known = sscanf(head, "HTTP/1.1 %d", &status) == 1 && status >= 100 && status < 600;
    field(head, "X-Version", version, sizeof(version));
    free(head);
    c->keep = c->keep && !close;
    if (!known || sized == chunked || size > PATTERN_SIZE_MAX + 128)
        return "wrong: a head that is none";
    if (sized) {
        if ((why = need(c, size)))
            return why;
        memcpy(body, c->buf, len = size);
        drop(c, size);
    } else if ((why = read_chunked(c, body, sizeof(body), &len))) {
        return why;
    }
    if (status != 200)
        *begun = false; /* an answer of the router's own: nothing of the endpoint's had come */
    return checker_judge(q, status, version, body, len);
}

/* --- requests -------------------------------------------------------------------------------------------------- */

uint64_t checker_noise(struct client *c)
{
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 7;
    return c->seed ^= c->seed << 17;
}

struct request checker_make(struct client *c)
{
    static const size_t sizes[] = { 0, 1, 10, 101, 1000, 1001, 4096, 30000, 30001 };
    struct request q = { checker_noise(c) >> 16, sizes[checker_noise(c) % ARRAY_SIZE(sizes)], now() };
    if (checker_noise(c) % 200 == 0)
        q.size = 300000 + checker_noise(c) % 2;
    return q;
}

static bool ask(struct client *c, const struct request *q)
{
    char head[512];
    static _Thread_local char body[PATTERN_SIZE_MAX];
    bool post = c->mode == MODE_POST;
    int n = snprintf(head, sizeof(head), "%s /%zu/%" PRIu64 " HTTP/1.1\r\nHost: check.example\r\n%s",
        post ? "POST" : "GET", q->size, q->id, c->mode == MODE_CLOSE ? "Connection: close\r\n" : "");
    if (post)
        n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n", q->size);
    n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
    if (!checker_send(c->fd, head, (size_t)n))
        return false;
    if (!post)
        return true;
    pattern_fill(body, q->id, q->size);
    return checker_send(c->fd, body, q->size);
}

/* One request, or as many as are sent at once. Behind an answer that ends the connection nothing is answered any more:
 * what was sent behind it is asked again, as every client that sends ahead has to. */
static void go_h1(struct client *c)
{
    struct request q[CHECKER_AT_ONCE];
    int n = c->mode == MODE_PIPELINE ? CHECKER_AT_ONCE : 1, sent = 0, done = 0;
    for (int i = 0; i < n; i++)
        q[i] = checker_make(c);
    while (done < n) {
        bool begun;
        if (c->fd < 0) {
            c->keep = c->mode != MODE_CLOSE;
            sent = done;
            if (!checker_dial(c)) {
                checker_fail(c, &q[done], c->mode == MODE_POST, false, "no connection");
                return;
            }
        }
        while (sent < n && ask(c, &q[sent]))
            sent++;
        const char *why = read_answer(c, &q[done], &begun);
        if (why) {
            checker_fail(c, &q[done], c->mode == MODE_POST, begun, why);
            return;
        }
        checker_count(c, 200);
        done++;
        if (!c->keep)
            checker_hang_up(c);
    }
}

static void *run(void *arg)
{
    struct client *c = arg;
    int n = c->mode == MODE_PIPELINE || c->mode == MODE_H2 ? CHECKER_AT_ONCE : 1;
    while (!stopping && atomic_fetch_add(&check.begun, n) + n <= check.wanted)
        (c->mode == MODE_H2 ? checker_h2_go : go_h1)(c);
    checker_h2_end(c);
    checker_hang_up(c);
    free(c->buf);
    return NULL;
}

static void on_signal(int signo)
{
    stopping = true;
}

static void report(double seconds)
{
    int64_t all = 0;
    for (int i = 0; i < MODE_MAX_; i++)
        all += check.done[i];
    printf("{\"right\": %" PRId64 ", \"failed\": %" PRId64 ", \"seconds\": %.1f, \"connections\": %" PRId64,
        all, check.failed, seconds, check.connections);
    for (int i = 0; i < MODE_MAX_; i++)
        printf(", \"%s\": %" PRId64, mode_names[i], check.done[i]);
    printf(", \"by_status\": {");
    for (int i = 0, first = 1; i < 600; i++) {
        if (check.by_status[i])
            printf("%s\"%d\": %" PRId64, first ? "" : ", ", i, check.by_status[i]), first = 0;
    }
    printf("}}\n");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    check.port = (uint16_t)strtol(argv[1], NULL, 10);
    char *plus;
    int n_h1 = (int)strtol(argv[2], &plus, 10),
        n = n_h1 + (*plus == '+' ? (int)strtol(plus + 1, NULL, 10) : 0);
    check.wanted = strtoll(argv[3], NULL, 10);
    double begun = now();
    signal(SIGTERM, on_signal);
    struct client *clients = xcalloc((size_t)n, sizeof(*clients));
    pthread_t *threads = xcalloc((size_t)n, sizeof(*threads));
    for (int i = 0; i < n; i++) {
        clients[i] = (struct client){ .mode = i < n_h1 ? (enum mode)(i % MODE_H2) : MODE_H2,
            .fd = -1,
            .seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1) };
        if (pthread_create(&threads[i], NULL, run, &clients[i]) != 0)
            return 1;
    }
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    report(now() - begun);
    free(clients);
    free(threads);
    return check.failed > 0;
}
