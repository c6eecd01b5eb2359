/* SPDX-License-Identifier: MIT */

/* stagecoach-load: a closed-loop HTTP/1.1 load generator that believes nothing. Every request must get one
 * whole, well-formed answer; everything else is counted as failed, with a reason. It counts answers by status
 * and by the answer's X-Version, and prints one JSON object when it ends (also on SIGINT and SIGTERM). */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/http1.h"
#include "common/mem.h"

#define CONNECTIONS_MAX    20000
#define READ_SIZE          (128 * 1024)
#define HEAD_KEPT_MAX      (16 * 1024)
#define REQUEST_MAX        (16 * 1024)
#define VERSIONS_MAX       64
#define VERSION_LEN_MAX    63
#define REASONS_MAX        32
#define BUCKETS_PER_OCTAVE 32
#define OCTAVES            36
#define EVENTS_PER_TURN    256

enum conn_state { CONN_IDLE, CONN_CONNECTING, CONN_SENDING, CONN_HEAD, CONN_BODY };

struct conn {
    int fd;
    enum conn_state state;
    bool keep; /* asks for keep-alive */
    bool reused;
    size_t sent;   /* of request and body */
    size_t n_kept; /* bytes of an incomplete head or trailer section */
    int64_t started_us, wall_us;
    int status;
    int version; /* index, -1 without */
    bool last;   /* the answer ends the connection */
    struct http1_body body;
    char kept[HEAD_KEPT_MAX];
};

struct version {
    char name[VERSION_LEN_MAX + 1];
    int64_t requests, first_us, last_us, first_sent_us, last_sent_us;
};

struct reason {
    const char *text;
    int64_t count;
};

static struct {
    const char *host, *path, *method, *expect_version;
    struct sockaddr_storage address;
    socklen_t address_len;
    int n_connections;
    int64_t requests_max, duration_us, timeout_us, rate;
    bool keepalive, mixed;
    int close_share; /* percent of the connections */
    size_t post_bytes;
    char extra[4096];
} options = {
    .host = "localhost", .path = "/", .n_connections = 1, .keepalive = true, .timeout_us = 30 * 1000 * 1000
};

static struct {
    int epoll;
    struct conn **conns;
    int64_t start_us, start_wall_us, end_us;
    int64_t started, requests, failed, bytes, connects, wrong_version, out_of_turn;
    int64_t by_status[600];
    struct version versions[VERSIONS_MAX];
    int n_versions;
    struct reason reasons[REASONS_MAX];
    int n_reasons;
    int64_t buckets[OCTAVES * BUCKETS_PER_OCTAVE];
    int64_t max_us;
    int in_flight;
    char request[2][REQUEST_MAX]; /* close, keep-alive */
    size_t request_len[2];
    char *post;
} load;

static volatile sig_atomic_t stopping;
static char read_buffer[READ_SIZE];

static int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void count_failure(const char *text)
{
    load.failed++;
    for (int i = 0; i < load.n_reasons; i++) {
        if (strcmp(load.reasons[i].text, text) == 0) {
            load.reasons[i].count++;
            return;
        }
    }
    if (load.n_reasons < REASONS_MAX)
        load.reasons[load.n_reasons++] = (struct reason){ text, 1 };
}

/* --- latency --------------------------------------------------------------------------------------------- */

static size_t bucket_of(int64_t us)
{
    if (us < BUCKETS_PER_OCTAVE)
        return us < 0 ? 0 : (size_t)us;
    int octave = 63 - __builtin_clzll((unsigned long long)us) - 5;
    size_t i = (size_t)octave * BUCKETS_PER_OCTAVE + (size_t)(us >> octave);
    return i < ARRAY_SIZE(load.buckets) ? i : ARRAY_SIZE(load.buckets) - 1;
}

static int64_t bucket_value(size_t i)
{
    if (i < 2 * BUCKETS_PER_OCTAVE)
        return (int64_t)i;
    size_t octave = i / BUCKETS_PER_OCTAVE - 1;
    return (int64_t)(i - octave * BUCKETS_PER_OCTAVE) << octave;
}

static int64_t percentile(double share)
{
    int64_t wanted = (int64_t)((double)load.requests * share), seen = 0;
    for (size_t i = 0; i < ARRAY_SIZE(load.buckets); i++) {
        seen += load.buckets[i];
        if (seen > wanted)
            return bucket_value(i);
    }
    return load.max_us;
}

/* --- one connection -------------------------------------------------------------------------------------- */

static void conn_start(struct conn *c);

static void conn_close(struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CONN_IDLE;
    c->reused = false;
}

static void conn_fail(struct conn *c, const char *reason)
{
    conn_close(c);
    load.in_flight--;
    count_failure(reason);
    conn_start(c);
}

static void count_version(struct conn *c, int64_t wall_us)
{
    struct version *v = &load.versions[c->version];
    if (v->requests++ == 0)
        v->first_us = wall_us;
    v->last_us = wall_us;
    if (v->first_sent_us == 0 || c->wall_us < v->first_sent_us)
        v->first_sent_us = c->wall_us;
    if (c->wall_us > v->last_sent_us)
        v->last_sent_us = c->wall_us;
    if (options.expect_version && strcmp(v->name, options.expect_version) != 0)
        load.wrong_version++;
}

static void conn_done(struct conn *c)
{
    int64_t us = now_us(CLOCK_MONOTONIC) - c->started_us;
    load.buckets[bucket_of(us)]++;
    if (us > load.max_us)
        load.max_us = us;
    load.requests++;
    load.in_flight--;
    load.by_status[c->status]++;
    if (c->status < 200 || c->status > 299)
        count_failure(c->status >= 500 ? "status 5xx" : c->status >= 400 ? "status 4xx" : "status 3xx");
    if (c->version >= 0)
        count_version(c, load.start_wall_us + (c->started_us + us - load.start_us));
    if (c->last || !c->keep)
        conn_close(c);
    else
        c->reused = true;
    c->state = CONN_IDLE;
    conn_start(c);
}

static void find_version(struct conn *c, const struct http1_head *head)
{
    const struct http1_field *f = http1_find_name(head, "x-version");
    c->version = -1;
    if (!f || f->value_len > VERSION_LEN_MAX)
        return;
    for (int i = 0; i < load.n_versions; i++) {
        struct version *v = &load.versions[i];
        if (strlen(v->name) == f->value_len && memcmp(v->name, f->value, f->value_len) == 0)
            c->version = i;
    }
    if (c->version < 0 && load.n_versions < VERSIONS_MAX) {
        c->version = load.n_versions++;
        memcpy(load.versions[c->version].name, f->value, f->value_len);
    }
}

/* Bytes used; *ret_failed is set to the reason when the answer is not right. */
static size_t take_head(struct conn *c, const char *data, size_t len, const char **ret_failed)
{
    static struct http1_head head;
    struct http1_fault fault;
    enum http1_method method = options.post_bytes > 0           ? HTTP1_METHOD_POST
        : options.method && strcmp(options.method, "HEAD") == 0 ? HTTP1_METHOD_HEAD
                                                                : HTTP1_METHOD_GET;
    enum http1_result r = http1_response_parse(data, len, NULL, method, &head, &fault);
    if (r == HTTP1_REFUSED)
        *ret_failed = fault.reason;
    if (r != HTTP1_DONE)
        return 0;
    if (head.status < 200)
        return head.size;
    c->status = head.status;
    c->last = !head.keep_alive;
    find_version(c, &head);
    http1_body_init(&c->body, head.body, head.content_length);
    c->state = CONN_BODY;
    return head.size;
}

static size_t take_body(struct conn *c, const char *data, size_t len, const char **ret_failed)
{
    size_t used = 0;
    static struct http1_head trailers;
    for (;;) {
        struct http1_slice content;
        struct http1_fault fault;
        switch (http1_body_next(&c->body, data, len, &used, &content, &fault)) {
        case HTTP1_BODY_REFUSED:
            *ret_failed = fault.reason;
            return used;
        case HTTP1_BODY_TRAILERS:
            switch (http1_trailers_parse(data + used, len - used, NULL, &trailers, &fault)) {
            case HTTP1_REFUSED:
                *ret_failed = fault.reason;
                return used;
            case HTTP1_MORE:
                return used;
            case HTTP1_DONE:
                used += trailers.size;
                http1_body_end(&c->body);
            }
            break;
        case HTTP1_BODY_DATA:
            load.bytes += (int64_t)content.len;
            break;
        default:
            return used;
        }
    }
}

static const char *take(struct conn *c, const char *data, size_t len)
{
    const char *failed = NULL;
    size_t used = 0;
    while (!failed) {
        size_t n = c->state == CONN_HEAD ? take_head(c, data + used, len - used, &failed)
                                         : take_body(c, data + used, len - used, &failed);
        used += n;
        if (n == 0 || used == len)
            break;
    }
    if (failed)
        return failed;
    c->n_kept = len - used;
    if (c->state == CONN_BODY && http1_body_is_whole(&c->body))
        return c->n_kept > 0 ? "bytes behind the answer" : NULL;
    if (c->n_kept > HEAD_KEPT_MAX)
        return "head too large";
    memmove(c->kept, data + used, c->n_kept);
    return NULL;
}

static void conn_eof(struct conn *c)
{
    if (c->state == CONN_BODY && http1_body_eof(&c->body)) {
        c->last = true;
        conn_done(c);
    } else if (c->state == CONN_BODY) {
        conn_fail(c, "answer cut off");
    } else {
        conn_fail(c, c->reused ? "closed before an answer (reused connection)" : "closed before an answer");
    }
}

static void conn_read(struct conn *c)
{
    while (c->state == CONN_HEAD || c->state == CONN_BODY) {
        memcpy(read_buffer, c->kept, c->n_kept);
        ssize_t n = read(c->fd, read_buffer + c->n_kept, sizeof(read_buffer) - c->n_kept);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            conn_fail(c, "connection reset");
            return;
        }
        if (n == 0) {
            conn_eof(c);
            return;
        }
        const char *failed = take(c, read_buffer, c->n_kept + (size_t)n);
        if (failed) {
            conn_fail(c, failed);
            return;
        }
        if (c->state == CONN_BODY && http1_body_is_whole(&c->body)) {
            conn_done(c);
            return;
        }
    }
}

static void conn_write(struct conn *c)
{
    const char *head = load.request[c->keep];
    size_t head_len = load.request_len[c->keep], total = head_len + options.post_bytes;
    while (c->sent < total) {
        bool in_head = c->sent < head_len;
        const char *p = in_head ? head + c->sent : load.post + (c->sent - head_len);
        ssize_t n = send(c->fd, p, (in_head ? head_len : total) - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            conn_fail(c, c->reused ? "closed while sending (reused connection)" : "closed while sending");
            return;
        }
        c->sent += (size_t)n;
    }
    c->state = CONN_HEAD;
    c->n_kept = 0;
    c->wall_us = load.start_wall_us + (now_us(CLOCK_MONOTONIC) - load.start_us);
}

static bool may_start(void)
{
    int64_t now = now_us(CLOCK_MONOTONIC);
    if (stopping || (options.requests_max > 0 && load.started >= options.requests_max))
        return false;
    if (options.duration_us > 0 && now >= load.end_us)
        return false;
    return options.rate == 0 || load.started < (now - load.start_us) * options.rate / 1000000;
}

static int conn_open(struct conn *c)
{
    c->fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    int one = 1;
    if (options.address.ss_family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    load.connects++;
    c->state = CONN_SENDING;
    if (connect(c->fd, (struct sockaddr *)&options.address, options.address_len) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        c->state = CONN_CONNECTING;
    }
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c };
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &ev);
    return 0;
}

/* Recursion ends: a connection that is done at once waits for its next event. */
static void conn_start(struct conn *c)
{
    if (!may_start())
        return;
    load.started++;
    load.in_flight++;
    c->sent = 0;
    c->n_kept = 0;
    c->version = -1;
    c->started_us = now_us(CLOCK_MONOTONIC);
    c->wall_us = load.start_wall_us + (c->started_us - load.start_us);
    if (c->fd < 0) {
        int r = conn_open(c);
        if (r < 0) {
            conn_close(c);
            load.in_flight--;
            count_failure(r == -ECONNREFUSED ? "connection refused" : "can't connect");
            return;
        }
    } else {
        c->state = CONN_SENDING;
    }
    if (c->state == CONN_SENDING)
        conn_write(c);
}

static void conn_event(struct conn *c, unsigned events)
{
    if (c->state == CONN_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            conn_fail(c, error == ECONNREFUSED ? "connection refused" : "can't connect");
            return;
        }
        c->state = CONN_SENDING;
    }
    /* An early answer is read even while the request is being sent. */
    if (c->state == CONN_SENDING)
        conn_write(c);
    if (c->state == CONN_SENDING && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        conn_fail(c, "closed while sending");
        return;
    }
    if (c->state == CONN_HEAD || c->state == CONN_BODY)
        conn_read(c);
    else if (c->state == CONN_IDLE && c->fd >= 0 && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn_close(c);
}

/* --- the run --------------------------------------------------------------------------------------------- */

static void check_timeouts(int64_t now)
{
    for (int i = 0; i < options.n_connections; i++) {
        struct conn *c = load.conns[i];
        if (c->state != CONN_IDLE && now - c->started_us > options.timeout_us)
            conn_fail(c, "timed out");
    }
}

static void start_idle(void)
{
    for (int i = 0; i < options.n_connections && may_start(); i++) {
        if (load.conns[i]->state == CONN_IDLE)
            conn_start(load.conns[i]);
    }
}

static void run(void)
{
    struct epoll_event events[EVENTS_PER_TURN];
    load.start_us = now_us(CLOCK_MONOTONIC);
    load.start_wall_us = now_us(CLOCK_REALTIME);
    load.end_us = load.start_us + options.duration_us;
    int64_t checked = load.start_us;
    start_idle();
    while (load.in_flight > 0 || may_start() ||
        (options.rate > 0 && !stopping &&
            (options.duration_us == 0 || now_us(CLOCK_MONOTONIC) < load.end_us) &&
            (options.requests_max == 0 || load.started < options.requests_max))) {
        int n = epoll_wait(load.epoll, events, EVENTS_PER_TURN, options.rate > 0 ? 1 : 20);
        for (int i = 0; i < n; i++)
            conn_event(events[i].data.ptr, events[i].events);
        int64_t now = now_us(CLOCK_MONOTONIC);
        if (now - checked > 100 * 1000) {
            checked = now;
            check_timeouts(now);
        }
        start_idle();
    }
    load.end_us = now_us(CLOCK_MONOTONIC);
}

static void print_result(void)
{
    double seconds = (double)(load.end_us - load.start_us) / 1e6;
    printf(
        "{\"requests\": %lld, \"failed\": %lld, \"seconds\": %.3f, \"per_second\": %.1f, \"connects\": %lld, "
        "\"bytes\": %lld, \"wrong_version\": %lld",
        (long long)load.requests, (long long)load.failed, seconds, (double)load.requests / seconds,
        (long long)load.connects, (long long)load.bytes, (long long)load.wrong_version);
    printf(", \"p50_us\": %lld, \"p99_us\": %lld, \"max_us\": %lld", (long long)percentile(0.50),
        (long long)percentile(0.99), (long long)load.max_us);
    const char *comma = "";
    printf(", \"by_status\": {");
    for (int i = 0; i < 600; i++) {
        if (load.by_status[i] > 0) {
            printf("%s\"%d\": %lld", comma, i, (long long)load.by_status[i]);
            comma = ", ";
        }
    }
    printf("}, \"status\": {");
    comma = "";
    for (int i = 0; i < 600; i++) {
        if (load.by_status[i] > 0) {
            printf("%s\"%d\": %lld", comma, i, (long long)load.by_status[i]);
            comma = ", ";
        }
    }
    printf("}, \"by_version\": {");
    comma = "";
    for (int i = 0; i < load.n_versions; i++) {
        const struct version *v = &load.versions[i];
        printf("%s\"%s\": {\"requests\": %lld, \"first\": %.6f, \"last\": %.6f, \"last_sent\": %.6f}", comma,
            v->name, (long long)v->requests, (double)v->first_us / 1e6, (double)v->last_us / 1e6,
            (double)v->last_sent_us / 1e6);
        comma = ", ";
    }
    printf("}, \"versions\": {");
    comma = "";
    for (int i = 0; i < load.n_versions; i++) {
        const struct version *v = &load.versions[i];
        printf("%s\"%s\": {\"count\": %lld, \"first_sent_us\": %lld, \"last_sent_us\": %lld}", comma, v->name,
            (long long)v->requests, (long long)v->first_sent_us, (long long)v->last_sent_us);
        comma = ", ";
    }
    printf("}, \"reasons\": {");
    comma = "";
    for (int i = 0; i < load.n_reasons; i++) {
        printf("%s\"%s\": %lld", comma, load.reasons[i].text, (long long)load.reasons[i].count);
        comma = ", ";
    }
    printf("}}\n");
}

/* --- command line ---------------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: stagecoach-load --connect=IP:PORT|unix:PATH [options]\n"
    "  --url-host=NAME       Host of the requests (localhost)\n"
    "  --path=PATH           (/)\n"
    "  --method=METHOD       (GET, with --post POST)\n"
    "  --header='NAME: VALUE'   further field, repeatable\n"
    "  --post=BYTES          send a body of so many bytes\n"
    "  --connections=N       (1)\n"
    "  --duration=SECONDS | --requests=N   (neither: until SIGTERM)\n"
    "  --keepalive | --close | --mixed   (keepalive; mixed: every other connection)\n"
    "  --close-share=PERCENT   of the connections open a new one for each request\n"
    "  --url=http://IP[:PORT]/PATH, --host=NAME, --seconds=S   the same as --connect and --path, --url-host, "
    "--duration\n"
    "  --rate=N              at most N requests a second\n"
    "  --timeout=SECONDS     of one request (30)\n"
    "  --expect-version=V    count answers with another X-Version as wrong\n"
    "Prints one JSON object. Exit status 0 only if nothing failed and no version was wrong.\n";

static void die(const char *what)
{
    fprintf(stderr, "stagecoach-load: %s\n%s", what, usage);
    exit(2);
}

static void parse_connect(const char *text)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&options.address;
    struct sockaddr_in *in = (struct sockaddr_in *)&options.address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&options.address;
    if (strncmp(text, "unix:", 5) == 0) {
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof(un->sun_path), "%s", text + 5);
        options.address_len = sizeof(*un);
        return;
    }
    const char *colon = strrchr(text, ':');
    char host[64];
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        die("--connect wants IP:PORT");
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    unsigned short port = htons((unsigned short)strtol(colon + 1, NULL, 10));
    size_t n = strlen(host);
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = port;
        options.address_len = sizeof(*in6);
        if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1)
            die("--connect wants a numeric address");
        return;
    }
    in->sin_family = AF_INET;
    in->sin_port = port;
    options.address_len = sizeof(*in);
    if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
        die("--connect wants a numeric address");
}

/* http://IP[:PORT][/path] */
static void parse_url(const char *url)
{
    static char authority[128];
    if (strncmp(url, "http://", 7) != 0)
        die("--url wants http://IP[:PORT][/path]");
    const char *p = url + 7, *slash = strchr(p, '/');
    int n = slash ? (int)(slash - p) : (int)strlen(p);
    const char *bracket = memchr(p, ']', (size_t)n);
    bool has_port = memchr(bracket ? bracket : p, ':', (size_t)(n - (bracket ? bracket - p : 0)));
    snprintf(authority, sizeof(authority), "%.*s%s", n, p, has_port ? "" : ":80");
    parse_connect(authority);
    if (slash)
        options.path = slash;
    if (strcmp(options.host, "localhost") == 0)
        options.host = authority;
}

/* True if it was one of those that hold a text. */
static bool set_text(int opt)
{
    size_t used = strlen(options.extra);
    switch (opt) {
    case 'H':
        options.host = optarg;
        return true;
    case 'p':
        options.path = optarg;
        return true;
    case 'X':
        options.method = optarg;
        return true;
    case 'h':
        snprintf(options.extra + used, sizeof(options.extra) - used, "%s\r\n", optarg);
        return true;
    case 'v':
        options.expect_version = optarg;
        return true;
    case 'C':
        parse_connect(optarg);
        return true;
    case 'u':
        parse_url(optarg);
        return true;
    default:
        return false;
    }
}

static void set_number(int opt)
{
    switch (opt) {
    case 'b':
        options.post_bytes = strtoul(optarg, NULL, 10);
        break;
    case 'c':
        options.n_connections = (int)strtol(optarg, NULL, 10);
        break;
    case 'd':
        options.duration_us = (int64_t)(strtod(optarg, NULL) * 1e6);
        break;
    case 'n':
        options.requests_max = strtoll(optarg, NULL, 10);
        break;
    case 'k':
        options.keepalive = true;
        break;
    case 'x':
        options.keepalive = false;
        break;
    case 'm':
        options.mixed = true;
        break;
    case 'r':
        options.rate = strtoll(optarg, NULL, 10);
        break;
    case 's':
        options.close_share = (int)strtol(optarg, NULL, 10);
        break;
    case 't':
        options.timeout_us = (int64_t)(strtod(optarg, NULL) * 1e6);
        break;
    default:
        die("unknown option");
    }
}

/* clang-format off */
static const struct option longs[] = {
    { "close",          no_argument,       NULL, 'x' },
    { "close-share",    required_argument, NULL, 's' },
    { "connect",        required_argument, NULL, 'C' },
    { "connections",    required_argument, NULL, 'c' },
    { "duration",       required_argument, NULL, 'd' },
    { "expect-version", required_argument, NULL, 'v' },
    { "header",         required_argument, NULL, 'h' },
    { "host",           required_argument, NULL, 'H' },
    { "keepalive",      no_argument,       NULL, 'k' },
    { "method",         required_argument, NULL, 'X' },
    { "mixed",          no_argument,       NULL, 'm' },
    { "path",           required_argument, NULL, 'p' },
    { "post",           required_argument, NULL, 'b' },
    { "rate",           required_argument, NULL, 'r' },
    { "requests",       required_argument, NULL, 'n' },
    { "seconds",        required_argument, NULL, 'd' },
    { "timeout",        required_argument, NULL, 't' },
    { "url",            required_argument, NULL, 'u' },
    { "url-host",       required_argument, NULL, 'H' },
    { NULL,             0,                 NULL, 0 },
};
/* clang-format on */

static void parse_options(int argc, char **argv)
{
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        if (!set_text(opt))
            set_number(opt);
    }
    if (options.address_len == 0)
        die("--connect is missing");
    if (options.n_connections < 1 || options.n_connections > CONNECTIONS_MAX)
        die("--connections must be from 1 to 20000");
}

static void build_requests(void)
{
    const char *method = options.method ? options.method : options.post_bytes > 0 ? "POST" : "GET";
    char length[64] = "";
    if (options.post_bytes > 0)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", options.post_bytes);
    for (int keep = 0; keep < 2; keep++) {
        load.request_len[keep] = (size_t)snprintf(load.request[keep], REQUEST_MAX,
            "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: stagecoach-load\r\n%s%s%s\r\n", method, options.path,
            options.host, options.extra, length, keep ? "" : "Connection: close\r\n");
        if (load.request_len[keep] >= REQUEST_MAX)
            die("the request is too large");
    }
    load.post = xmalloc(options.post_bytes + 1);
    memset(load.post, 'x', options.post_bytes);
}

static void on_signal(int signo)
{
    stopping = 1;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    build_requests();
    signal(SIGPIPE, SIG_IGN);
    struct sigaction stop = { .sa_handler = on_signal };
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = xcalloc((size_t)options.n_connections, sizeof(*load.conns));
    for (int i = 0; i < options.n_connections; i++) {
        load.conns[i] = xcalloc(1, sizeof(struct conn));
        load.conns[i]->fd = -1;
        load.conns[i]->keep = options.close_share > 0 ? i * 100 >= options.close_share * options.n_connections
            : options.mixed                           ? i % 2 == 0
                                                      : options.keepalive;
    }
    run();
    print_result();
    return load.failed == 0 && load.wrong_version == 0 ? 0 : 1;
}
