/* SPDX-License-Identifier: MIT */

/* stagecoach-load: a closed-loop HTTP/1.1 load generator that believes nothing. Every request must get one
 * whole, well-formed answer; everything else is counted as failed, with a reason. It counts answers by status
 * and by the answer's X-Version, and prints one JSON object when it ends (also on SIGINT and SIGTERM). Over TLS, or
 * with messages of a websocket as its requests, where it is asked to. */

#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_HEAD_MAX 8
#define HOLD_IN_FLIGHT 16

struct load_options options = { .host = "localhost",
    .path = "/",
    .n_connections = 1,
    .keepalive = true,
    .timeout_us = 30 * 1000 * 1000,
    .grace_us = 5 * 1000 * 1000 };
struct load load;
volatile sig_atomic_t stopping;

int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

bool may_start(void)
{
    int64_t now = now_us(CLOCK_MONOTONIC);
    /* Held connections are opened a few at a time: what many requests at once leave behind is not theirs. */
    if (options.hold && load.in_flight >= HOLD_IN_FLIGHT)
        return false;
    if (stopping || (options.requests_max > 0 && load.started >= options.requests_max))
        return false;
    if (options.duration_us > 0 && now >= load.end_us)
        return false;
    return options.rate == 0 || load.started < (now - load.start_us) * options.rate / 1000000;
}

/* --- the run --------------------------------------------------------------------------------------------- */

/* Requests have --timeout, and at the end of the run --grace. */
static void check_timeouts(int64_t now)
{
    bool over = stopping || (options.duration_us > 0 && now > load.end_us + options.grace_us);
    for (int i = 0; i < options.n_connections; i++) {
        struct conn *c = load.conns[i];
        if (c->state == CONN_IDLE)
            continue;
        if (now - c->started_us > options.timeout_us)
            conn_fail(c, "timed out");
        else if (over && now - c->started_us > options.grace_us)
            conn_fail(c, "no answer when the run ended");
    }
}

static void start_idle(void)
{
    for (int i = 0; i < options.n_connections && may_start(); i++) {
        if (load.conns[i]->state == CONN_IDLE && !(options.hold && load.conns[i]->fd >= 0))
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
        if (options.warm_us > 0 && now - load.start_us > options.warm_us) {
            printf("{\"requests\": %lld}\n", (long long)load.requests);
            fflush(stdout);
            options.warm_us = 0;
        }
        start_idle();
    }
    load.end_us = now_us(CLOCK_MONOTONIC);
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
    "  --grace=SECONDS       of requests that are under way when the time is over (5)\n"
    "  --tls=full|resumed    TLS 1.3; every connection a handshake of its own, or taking up an earlier "
    "session\n"
    "  --websocket=BYTES     requests are messages of so many bytes, which have to come back\n"
    "  --warm=SECONDS        after so long a line says how many answers there were until then\n"
    "  --hold                one request on each connection, which then stays open until SIGTERM\n"
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
    case 'T':
        options.tls = strcmp(optarg, "resumed") == 0 ? TLS_RESUMED : TLS_FULL;
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
    case 'g':
        options.grace_us = (int64_t)(strtod(optarg, NULL) * 1e6);
        break;
    case 'W':
        options.warm_us = (int64_t)(strtod(optarg, NULL) * 1e6);
        break;
    case 'w':
        options.message_bytes = strtoul(optarg, NULL, 10);
        break;
    case 'o':
        options.hold = true;
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
    { "grace",          required_argument, NULL, 'g' },
    { "header",         required_argument, NULL, 'h' },
    { "hold",           no_argument,       NULL, 'o' },
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
    { "tls",            required_argument, NULL, 'T' },
    { "url",            required_argument, NULL, 'u' },
    { "url-host",       required_argument, NULL, 'H' },
    { "warm",           required_argument, NULL, 'W' },
    { "websocket",      required_argument, NULL, 'w' },
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
    if (options.message_bytes > MESSAGE_MAX)
        die("--websocket must be at most 65535");
    if (options.hold)
        options.requests_max = options.n_connections;
}

/* One masked binary frame (RFC 6455 5.2); the mask is zero, which changes nothing for whom is between. */
static void build_message(void)
{
    size_t n = options.message_bytes, head = 2;
    load.post[0] = (char)0x82;
    load.post[1] = (char)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        load.post[2] = (char)(n >> 8);
        load.post[3] = (char)n;
        head = 4;
    }
    memset(load.post + head, 0, 4);
    memset(load.post + head + 4, 'x', n);
    load.message_len = head + 4 + n;
    load.echo_len = head + n;
}

static void build_requests(void)
{
    const char *method = options.method ? options.method : options.post_bytes > 0 ? "POST" : "GET";
    static const char upgrade[] = "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    char length[64] = "";
    if (options.post_bytes > 0)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", options.post_bytes);
    if (options.message_bytes > 0)
        snprintf(length, sizeof(length), "Upgrade: websocket\r\n");
    for (int keep = 0; keep < 2; keep++) {
        load.request_len[keep] = (size_t)snprintf(load.request[keep], REQUEST_MAX,
            "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: stagecoach-load\r\n%s%s%s\r\n", method, options.path,
            options.host, options.extra, length,
            options.message_bytes > 0 ? upgrade
                : keep                ? ""
                                      : "Connection: close\r\n");
        if (load.request_len[keep] >= REQUEST_MAX)
            die("the request is too large");
    }
    load.post = xmalloc(options.post_bytes + options.message_bytes + FRAME_HEAD_MAX);
    memset(load.post, 'x', options.post_bytes);
    if (options.message_bytes > 0)
        build_message();
}

static void on_signal(int signo)
{
    stopping = 1;
}

static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    build_requests();
    signal(SIGPIPE, SIG_IGN);
    raise_limit();
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
    while (options.hold && !stopping)
        pause();
    return load.failed == 0 && load.wrong_version == 0 ? 0 : 1;
}
