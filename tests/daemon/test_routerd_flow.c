/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/loop.h"
#include "common/mem.h"
#include "routerd/conn_h1.h"
#include "routerd/exchange.h"

/* One routerd between a client and a service that the test plays itself, byte by byte: what becomes of connections when
 * somebody is slow, goes away, or sends much. */

#define HOST           "Host: web.example\r\n"
#define GET(path)      "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define WAIT_MS        5000
#define DELAYED_ACK_MS 40 /* the least of Linux */

static struct router *router;
static int listener;

static int listen_any(int *ret_port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

static int set_up(void **state)
{
    static const char *const settings[] = { "Timeouts.Body=1500ms", "Router.Workers=1",
        "Limits.IdlePerEndpoint=2", NULL };
    int port;
    listener = listen_any(&port);
    char *release = xasprintf("1.0.0:%d", port);
    char *table = table_of(1, 1, (const char *const[]){ release });
    router = router_start(table, NULL, settings);
    free(table);
    free(release);
    return 0;
}

static int tear_down(void **state)
{
    router_stop(router);
    close(listener);
    return 0;
}

/* --- the service ----------------------------------------------------------------------------------------- */

static bool is_readable(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, ms) == 1;
}

static int service_accept(void)
{
    assert_true(is_readable(listener, WAIT_MS));
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

/* Reads until the head of a request is whole. */
static void service_read_head(int fd)
{
    char head[8192];
    size_t n = 0;
    while (n < 4 || !memmem(head, n, "\r\n\r\n", 4)) {
        assert_true(is_readable(fd, WAIT_MS));
        ssize_t r = recv(fd, head + n, sizeof(head) - n, 0);
        assert_true(r > 0);
        n += (size_t)r;
    }
}

static int service_begin(void)
{
    int fd = service_accept();
    service_read_head(fd);
    return fd;
}

/* True if the router has closed or reset it, within that time. */
static bool is_gone(int fd, int ms)
{
    char byte;
    return is_readable(fd, ms) && recv(fd, &byte, 1, 0) <= 0;
}

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + i / 251 + i / 65536);
}

static char *pattern(size_t n)
{
    char *p = xmalloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)byte_at(i);
    return p;
}

static void send_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, data, n, MSG_NOSIGNAL);
        assert_true(w > 0);
        data += w;
        n -= (size_t)w;
    }
}

/* --- somebody goes away ---------------------------------------------------------------------------------- */

static void a_client_that_resets_ends_its_request_at_once(void **state)
{
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    sleep_ms(60); /* a new connection is watched by then */
    setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(client);
    assert_true(is_gone(service, 300));
    close(service);
}

static void a_client_that_closes_ends_its_request_soon(void **state)
{
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    close(client);
    assert_true(is_gone(service, 1500));
    close(service);
}

static void a_half_closed_client_gets_what_comes_soon(void **state)
{
    int client = client_open(router->port);
    client_send(client, GET("/"));
    shutdown(client, SHUT_WR);
    int service = service_begin();
    sleep_ms(100);
    send_all(service, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
    struct answer a = client_read(client, false);
    assert_int_equal(a.status, 200);
    assert_true(a.whole);
    answer_done(&a);
    close(client);
    close(service);
}

static void a_client_that_leaves_inside_its_answer_ends_the_request(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    send_all(service, head, sizeof(head) - 1);
    char *block = pattern(65536);
    send_all(service, block, 65536);
    char some[1024];
    assert_true(recv(client, some, sizeof(some), 0) > 0);
    close(client);
    for (int i = 0; i < 200; i++) {
        if (send(service, block, 65536, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
            break;
        sleep_ms(10);
    }
    assert_true(send(service, block, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN);
    free(block);
    close(service);
}

static void a_service_that_resets_inside_its_answer_resets_the_client(void **state)
{
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this";
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    send_all(service, part, sizeof(part) - 1);
    sleep_ms(100);
    setsockopt(service, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(service);
    struct answer a = client_read(client, false);
    assert_int_equal(a.status, 200);
    assert_false(a.whole);
    answer_done(&a);
    close(client);
}

/* The reset comes with the last bytes, which are the client's all the same. */
static void bytes_and_a_reset_in_a_tunnel_end_it(void **state)
{
    static const char upgrade[] = "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n";
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    int client = client_open(router->port);
    client_send(client, upgrade);
    int service = service_begin();
    send_all(service, switching, sizeof(switching) - 1);
    struct answer a = client_read(client, true);
    assert_int_equal(a.status, 101);
    answer_done(&a);
    send_all(client, "never read", 10);
    sleep_ms(100);
    /* Unread bytes make the close a reset. */
    send_all(service, "last words", 10);
    close(service);
    char text[32];
    size_t n = 0;
    ssize_t r;
    while (is_readable(client, WAIT_MS) && (r = recv(client, text + n, sizeof(text) - n, 0)) > 0)
        n += (size_t)r;
    assert_true(is_readable(client, 0)); /* the end came, not the time-out */
    close(client);
}

/* A service that does not end its direction when the client does keeps nothing open for long, but may still speak. */
static void a_tunnel_that_its_client_has_left_ends(void **state)
{
    static const char upgrade[] = "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n";
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    int client = client_open(router->port);
    char byte;
    client_send(client, upgrade);
    int service = service_begin();
    send_all(service, switching, sizeof(switching) - 1);
    struct answer a = client_read(client, true);
    assert_int_equal(a.status, 101);
    answer_done(&a);
    shutdown(client, SHUT_WR);
    assert_true(is_readable(service, WAIT_MS));
    assert_int_equal(recv(service, &byte, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        sleep_ms(EXCHANGE_HALF_TUNNEL_MS / 2);
        send_all(service, "x", 1);
        assert_true(is_readable(client, WAIT_MS));
        assert_int_equal(recv(client, &byte, 1, 0), 1);
    }
    assert_true(is_readable(client, 3 * EXCHANGE_HALF_TUNNEL_MS));
    assert_true(recv(client, &byte, 1, 0) <= 0);
    close(client);
    close(service);
}

/* --- slow ones ------------------------------------------------------------------------------------------- */

/* A client with a small window from its first packet on: one that is made smaller later is filled in large steps, between
 * which the sender's timer decides how long it takes. */
static int client_open_small(int receive_buffer)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)router->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

/* The kernel takes megabytes for a client that reads slowly: what it has really got is what counts. */
static void a_slow_reader_that_moves_is_not_cut_off(void **state)
{
    enum { SIZE = 6 * 1024 * 1024 };
    int client = client_open_small(4096);
    client_send(client, GET("/"));
    int service = service_begin();
    char *head = xasprintf(
        "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 07:00:00 GMT\r\nContent-Length: %d\r\n\r\n", SIZE);
    size_t head_len = strlen(head), got = 0, sent = 0;
    char *content = pattern(SIZE), block[65536];
    send_all(service, head, head_len);
    int64_t end = now_ms() + 5000;
    while (now_ms() < end) {
        if (sent < SIZE) {
            ssize_t w = send(service, content + sent, SIZE - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += w > 0 ? (size_t)w : 0;
        }
        ssize_t r = recv(client, block, 2048, MSG_DONTWAIT);
        assert_true(r > 0 || (r < 0 && errno == EAGAIN));
        got += r > 0 ? (size_t)r : 0;
        sleep_ms(50);
    }
    while (got < SIZE + head_len) {
        if (sent < SIZE) {
            ssize_t w = send(service, content + sent, SIZE - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += w > 0 ? (size_t)w : 0;
        }
        if (!is_readable(client, 20))
            continue;
        ssize_t r = recv(client, block, sizeof(block), 0);
        assert_true(r > 0);
        got += (size_t)r;
    }
    assert_int_equal(got, SIZE + head_len);
    free(content);
    free(head);
    close(client);
    close(service);
}

/* --- requests in pieces ---------------------------------------------------------------------------------- */

/* The second piece is looked for when the first has been passed on, also on a connection that has just come: watching
 * for it is put off only while nothing is waited for. The quickest of many tells. */
static void a_second_piece_of_a_body_is_passed_on_soon(void **state)
{
    enum { TRIES = 20 };
    int64_t least_ms = INT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        char piece[3];
        int client = client_open(router->port);
        client_send(client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n");
        int service = service_begin();
        int64_t began_ms = now_ms();
        send_all(client, "abc", 3);
        assert_true(is_readable(service, WAIT_MS));
        assert_int_equal(recv(service, piece, sizeof(piece), MSG_WAITALL), 3);
        int64_t took_ms = now_ms() - began_ms;
        least_ms = took_ms < least_ms ? took_ms : least_ms;
        close(client);
        close(service);
    }
    assert_true(least_ms < LOOP_LATE_MS / 2);
}

/* By Nagle's algorithm a small piece waits until what went before is acknowledged, which the client's kernel puts off. */
static void small_pieces_of_an_answer_wait_for_no_acknowledgement(void **state)
{
    enum { PAIRS = 20 };
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n";
    char block[4096];
    int at_once = 0;
    send_all(service, head, sizeof(head) - 1);
    assert_true(is_readable(client, WAIT_MS));
    assert_true(recv(client, block, sizeof(block), 0) > 0);
    for (int i = 0; i < PAIRS; i++) {
        setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 }, sizeof(int));
        int64_t began_ms = now_ms();
        send_all(service, "a", 1);
        sleep_ms(1);
        send_all(service, "b", 1);
        for (ssize_t got = 0, r; got < 2; got += r) {
            assert_true(is_readable(client, WAIT_MS));
            r = recv(client, block, sizeof(block), 0);
            assert_true(r > 0);
        }
        at_once += now_ms() - began_ms < DELAYED_ACK_MS / 2;
    }
    assert_true(at_once > PAIRS / 4);
    close(client);
    close(service);
}

static void take_all(int fd)
{
    char block[65536];
    while (recv(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
        ;
}

/* A body that breaks off while much of it still waits in the kernel: what comes is read away, so that closing is no reset,
 * which would take the answer along. */
static void what_follows_a_refused_body_is_read_away(void **state)
{
    enum { GOOD = 0x600000, MORE = 100000 };
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n600000\r\n";
    static const char bad[] = "\r\nno size\r\n";
    size_t total = sizeof(head) - 1 + GOOD + sizeof(bad) - 1 + MORE, sent = 0;
    char *text = xmalloc(total + 1);
    memset(text, 'x', total);
    memcpy(text, head, sizeof(head) - 1);
    memcpy(text + sizeof(head) - 1 + GOOD, bad, sizeof(bad) - 1);
    int client = client_open(router->port), service = -1, failure = 0;
    socklen_t len = sizeof(failure);
    /* The service takes nothing until the router holds the client back, then all. */
    for (int idle = 0; sent < total && idle < WAIT_MS / 10;) {
        ssize_t w = send(client, text + sent, total - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += w > 0 ? (size_t)w : 0;
        idle = w > 0 ? 0 : idle + 1;
        if (service < 0)
            service = service_begin();
        if (w < 0 && idle > 10)
            take_all(service);
        if (w < 0)
            sleep_ms(10);
    }
    for (int i = 0; i < WAIT_MS / 10 && !is_readable(client, 10); i++)
        take_all(service);
    struct answer a = client_read(client, false);
    assert_int_equal(a.status, 400);
    assert_true(a.whole);
    answer_done(&a);
    sleep_ms(CONN_LINGER_MS + 1000);
    assert_int_equal(getsockopt(client, SOL_SOCKET, SO_ERROR, &failure, &len), 0);
    assert_int_equal(failure, 0);
    free(text);
    close(client);
    close(service);
}

/* --- early answers, interim ones, and none ---------------------------------------------------------------- */

/* Who has the beginning of an answer may stop sending (RFC 9112 9.5): the body's rate is no longer judged. */
static void an_early_answer_is_not_cut_by_the_rate_of_the_body(void **state)
{
    int client = client_open(router->port);
    client_send(client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc");
    int service = service_begin();
    send_all(service, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", 38);
    for (int i = 0; i < 6; i++) {
        send_all(service, "x", 1);
        sleep_ms(700); /* in all more than twice Body= */
    }
    struct answer a = client_read(client, false);
    assert_int_equal(a.status, 200);
    assert_true(a.whole);
    answer_done(&a);
    close(client);
    close(service);
}

/* 103 is not the 100 that the client waits for, and when that comes the client has its whole time (RFC 9110 10.1.1). */
static void a_client_that_waits_for_100_is_not_too_slow(void **state)
{
    int client = client_open(router->port);
    client_send(client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    int service = service_begin();
    send_all(service, "HTTP/1.1 103 Early Hints\r\n\r\n", 28);
    struct answer a = client_read(client, true);
    assert_int_equal(a.status, 103);
    answer_done(&a);
    sleep_ms(3500);
    send_all(service, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    a = client_read(client, true);
    assert_int_equal(a.status, 100);
    answer_done(&a);
    sleep_ms(1000);
    client_send(client, "abc");
    char body[3];
    assert_true(is_readable(service, WAIT_MS));
    assert_int_equal(recv(service, body, sizeof(body), MSG_WAITALL), 3);
    send_all(service, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
    a = client_read(client, false);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(client);
    close(service);
}

/* RFC 9110 7.8: only to what was asked for. */
static void a_switch_to_another_protocol_is_refused(void **state)
{
    static const char *const others[] = { "Upgrade: h2c\r\n", "Upgrade: echo, h2c\r\n", "Upgrade: ech\r\n",
        "" };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        int client = client_open(router->port);
        client_send(client, "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: other, echo\r\n\r\n");
        int service = service_begin();
        char *text =
            xasprintf("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n%s\r\n", others[i]);
        send_all(service, text, strlen(text));
        struct answer a = client_read(client, false);
        assert_int_equal(a.status, 502);
        answer_done(&a);
        free(text);
        close(client);
        close(service);
    }
}

/* A service that sends content behind such an answer would answer somebody else's request with it. */
static void an_answer_to_head_that_announces_content_ends_the_connection(void **state)
{
    int client = client_open(router->port);
    client_send(client, "HEAD / HTTP/1.1\r\n" HOST "\r\n");
    int service = service_begin();
    send_all(service, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 38);
    struct answer a = client_read(client, true);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    assert_true(is_gone(service, 1500));
    close(client);
    close(service);
}

static void a_head_that_is_refused_gets_no_content(void **state)
{
    char text[4096];
    size_t n = 0;
    ssize_t r;
    int client = client_open(router->port);
    client_send(client, "HEAD / HTTP/1.1\r\n\r\n"); /* without Host */
    while (n < sizeof(text) - 1 && is_readable(client, WAIT_MS) &&
        (r = recv(client, text + n, sizeof(text) - 1 - n, 0)) > 0)
        n += (size_t)r;
    text[n] = '\0';
    assert_non_null(strstr(text, "HTTP/1.1 400 "));
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    assert_string_equal(end, "\r\n\r\n");
    close(client);
}

/* --- large answers --------------------------------------------------------------------------------------- */

static void service_send_large(int fd, size_t n, size_t announced)
{
    char *head = xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", announced);
    char *content = pattern(n);
    send_all(fd, head, strlen(head));
    send_all(fd, content, n);
    free(content);
    free(head);
}

struct reader {
    int fd;
    size_t wanted, got, wrong;
    int pause_ms;
};

/* Behind the head: content of the pattern. */
static void *read_large(void *arg)
{
    struct reader *r = arg;
    char block[65536], head[4096];
    size_t n = 0;
    char *end = NULL;
    while (!end && n < sizeof(head)) {
        ssize_t got = recv(r->fd, head + n, 1, 0);
        if (got <= 0)
            return NULL;
        n += (size_t)got;
        end = memmem(head, n, "\r\n\r\n", 4);
    }
    while (r->got < r->wanted) {
        size_t left = r->wanted - r->got;
        ssize_t got = recv(r->fd, block, left < sizeof(block) ? left : sizeof(block), 0);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            r->wrong += (unsigned char)block[i] != byte_at(r->got + (size_t)i);
        r->got += (size_t)got;
        if (r->pause_ms > 0)
            sleep_ms(r->pause_ms);
    }
    return NULL;
}

static void send_while_reading(int service, struct reader *r, size_t n, size_t announced)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_large, r), 0);
    service_send_large(service, n, announced);
    if (n < announced)
        close(service);
    pthread_join(thread, NULL);
}

/* Over one connection on either side, small ones in between: nothing of one gets into another. */
static void large_answers_and_their_neighbours_are_whole(void **state)
{
    static const size_t sizes[] = { 40000, 49152, 57345, 100000, 262144, 300000, 1 << 20, 5000001, 65536 };
    static const char small[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                                "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    int client = client_open(router->port), service = -1;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        client_send(client, GET("/"));
        if (service < 0)
            service = service_accept();
        service_read_head(service);
        struct reader r = { .fd = client, .wanted = sizes[i] };
        send_while_reading(service, &r, sizes[i], sizes[i]);
        assert_int_equal(r.got, sizes[i]);
        assert_int_equal(r.wrong, 0);

        client_send(client, GET("/"));
        service_read_head(service); /* the same connection */
        send_all(service, small, sizeof(small) - 1);
        struct answer a = client_read(client, false);
        assert_true(a.whole);
        assert_string_equal(strbuf_str(&a.content), "abc");
        assert_non_null(strstr(strbuf_str(&a.trailers), "X-Sum: 1"));
        answer_done(&a);
    }
    close(client);
    close(service);
}

static void a_large_answer_is_whole_for_a_slow_reader(void **state)
{
    enum { SIZE = 2000000 };
    int client = client_open_small(32768);
    client_send(client, GET("/"));
    int service = service_begin();
    struct reader r = { .fd = client, .wanted = SIZE, .pause_ms = 2 };
    send_while_reading(service, &r, SIZE, SIZE);
    assert_int_equal(r.got, SIZE);
    assert_int_equal(r.wrong, 0);
    /* And the connection goes on. */
    client_send(client, GET("/"));
    service_read_head(service);
    send_all(service, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
    struct answer a = client_read(client, false);
    assert_true(a.whole);
    answer_done(&a);
    close(client);
    close(service);
}

static void a_large_answer_that_is_cut_does_not_look_whole(void **state)
{
    enum { SENT = 700000, ANNOUNCED = 900000 };
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    struct reader r = { .fd = client, .wanted = ANNOUNCED };
    send_while_reading(service, &r, SENT, ANNOUNCED);
    assert_true(r.got <= SENT);
    assert_int_equal(r.wrong, 0);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0); /* and nothing more can come */
    close(client);
}

/* Bytes behind a large answer belong to nobody: the connection that brought them is not used again. */
static void bytes_behind_a_large_answer_reach_nobody(void **state)
{
    enum { SIZE = 200000 };
    int client = client_open(router->port);
    client_send(client, GET("/"));
    int service = service_begin();
    char *head = xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
    char *text = xmalloc(SIZE + 256);
    size_t n = (size_t)snprintf(text, 256, "%s", head);
    for (size_t i = 0; i < SIZE; i++)
        text[n++] = (char)byte_at(i);
    n += (size_t)snprintf(text + n, 128, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    struct reader r = { .fd = client, .wanted = SIZE };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_large, &r), 0);
    send_all(service, text, n);
    pthread_join(thread, NULL);
    assert_int_equal(r.got, SIZE);
    assert_int_equal(r.wrong, 0);
    client_send(client, GET("/"));
    int other = service_begin();
    send_all(other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
    struct answer a = client_read(client, false);
    assert_string_equal(strbuf_str(&a.content), "ok");
    answer_done(&a);
    free(text);
    free(head);
    close(client);
    close(service);
    close(other);
}

/* --- connections to services ----------------------------------------------------------------------------- */

/* What a burst leaves above the cap goes soon, the rest stays. */
static void what_a_burst_leaves_over_is_closed_soon(void **state)
{
    enum { BURST = 6, CAP = 2 };
    int clients[BURST], services[BURST], gone = 0;
    for (int i = 0; i < BURST; i++) {
        clients[i] = client_open(router->port);
        client_send(clients[i], GET("/"));
        services[i] = service_begin();
    }
    for (int i = 0; i < BURST; i++) {
        send_all(services[i], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
        struct answer a = client_read(clients[i], false);
        assert_true(a.whole);
        answer_done(&a);
    }
    for (int i = 0; i < BURST; i++)
        assert_false(is_readable(services[i], 0)); /* another burst would find them */
    sleep_ms(600);
    for (int i = 0; i < BURST; i++)
        gone += is_readable(services[i], 0);
    assert_int_equal(gone, BURST - CAP);
    for (int i = 0; i < BURST; i++) {
        close(clients[i]);
        close(services[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_resets_ends_its_request_at_once),
        cmocka_unit_test(a_client_that_closes_ends_its_request_soon),
        cmocka_unit_test(a_half_closed_client_gets_what_comes_soon),
        cmocka_unit_test(a_client_that_leaves_inside_its_answer_ends_the_request),
        cmocka_unit_test(a_service_that_resets_inside_its_answer_resets_the_client),
        cmocka_unit_test(bytes_and_a_reset_in_a_tunnel_end_it),
        cmocka_unit_test(a_tunnel_that_its_client_has_left_ends),
        cmocka_unit_test(a_slow_reader_that_moves_is_not_cut_off),
        cmocka_unit_test(a_second_piece_of_a_body_is_passed_on_soon),
        cmocka_unit_test(small_pieces_of_an_answer_wait_for_no_acknowledgement),
        cmocka_unit_test(what_follows_a_refused_body_is_read_away),
        cmocka_unit_test(an_early_answer_is_not_cut_by_the_rate_of_the_body),
        cmocka_unit_test(a_client_that_waits_for_100_is_not_too_slow),
        cmocka_unit_test(a_switch_to_another_protocol_is_refused),
        cmocka_unit_test(an_answer_to_head_that_announces_content_ends_the_connection),
        cmocka_unit_test(a_head_that_is_refused_gets_no_content),
        cmocka_unit_test(large_answers_and_their_neighbours_are_whole),
        cmocka_unit_test(a_large_answer_is_whole_for_a_slow_reader),
        cmocka_unit_test(a_large_answer_that_is_cut_does_not_look_whole),
        cmocka_unit_test(bytes_behind_a_large_answer_reach_nobody),
        cmocka_unit_test(what_a_burst_leaves_over_is_closed_soon),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
