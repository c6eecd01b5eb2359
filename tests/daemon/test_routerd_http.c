/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

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

#include "common/mem.h"

/* One routerd in front of one service: what becomes of messages on their way through. */

#define HOST              "Host: web.example\r\n"
#define GET(path)         "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define RSS_GROWTH_MAX_KB 8192

static struct fake_backend *backend;
static struct router *router, *hasty; /* one has time, the other has none */

static int set_up(void **state)
{
    static const char *const settings[] = { "Limits.BodySize=64M", NULL };
    static const char *const short_ones[] = { "Timeouts.Head=600ms", "Timeouts.FirstByte=700ms",
        "Timeouts.Body=700ms", NULL };
    backend = fake_backend_new("1.0.0");
    char *release = xasprintf("1.0.0:%d", fake_backend_port(backend));
    char *table = table_of(1, 1, (const char *const[]){ release });
    router = router_start(table, NULL, settings);
    hasty = router_start(table, NULL, short_ones);
    free(table);
    free(release);
    return 0;
}

static int tear_down(void **state)
{
    router_stop(router);
    router_stop(hasty);
    fake_backend_free(backend);
    return 0;
}

static void assert_content(const struct answer *a, const char *text)
{
    assert_true(a->whole);
    assert_string_equal(strbuf_str(&a->content), text);
}

static void assert_status(const char *request, int status)
{
    struct answer a = ask(router->port, request);
    assert_int_equal(a.status, status);
    answer_done(&a);
}

/* --- requests, one after another ------------------------------------------------------------------------- */

static void a_request_is_answered(void **state)
{
    struct answer a = ask(router->port, GET("/hello"));
    assert_int_equal(a.status, 200);
    assert_content(&a, "hello from 1.0.0");
    assert_string_equal(answer_field(&a, "X-Version"), "1.0.0");
    assert_string_equal(answer_field(&a, "Connection"), "");
    answer_done(&a);
}

static void a_connection_is_kept(void **state)
{
    int64_t before = fake_backend_connections(backend);
    int fd = client_open(router->port);
    for (int i = 0; i < 50; i++) {
        client_send(fd, GET("/hello"));
        struct answer a = client_read(fd, false);
        assert_content(&a, "hello from 1.0.0");
        answer_done(&a);
    }
    close(fd);
    assert_true(fake_backend_connections(backend) - before <= 2);
}

static void close_is_obeyed(void **state)
{
    int fd = client_open(router->port);
    char c;
    client_send(fd, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    struct answer a = client_read(fd, false);
    assert_string_equal(answer_field(&a, "Connection"), "close");
    assert_content(&a, "hello from 1.0.0");
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    answer_done(&a);
    close(fd);
}

static void http_10_closes_unless_asked(void **state)
{
    struct answer a = ask(router->port, "GET /hello HTTP/1.0\r\n" HOST "\r\n");
    assert_string_equal(answer_field(&a, "Connection"), "close");
    answer_done(&a);
    int fd = client_open(router->port);
    for (int i = 0; i < 3; i++) {
        client_send(fd, "GET /hello HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n");
        a = client_read(fd, false);
        assert_string_equal(answer_field(&a, "Connection"), "keep-alive");
        assert_content(&a, "hello from 1.0.0");
        answer_done(&a);
    }
    close(fd);
    /* No chunks for whom does not know them. */
    a = ask(router->port, "GET /chunked HTTP/1.0\r\n" HOST "\r\n");
    assert_string_equal(answer_field(&a, "Transfer-Encoding"), "");
    assert_content(&a, "abcdefgh");
    answer_done(&a);
}

static const char pipeline[] =
    GET("/hello") "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nfirst" GET(
        "/empty") "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                  "3\r\nsec\r\n3\r\nond\r\n0\r\nX-T: 1\r\n\r\n"
                  "HEAD /hello HTTP/1.1\r\n" HOST "\r\n" GET("/hello");

static void pipelined_requests_keep_their_order(void **state)
{
    static const size_t steps[] = { sizeof(pipeline) - 1, 1, 7, 100 };
    for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
        int fd = client_open(router->port);
        for (size_t at = 0; at < sizeof(pipeline) - 1; at += steps[s]) {
            size_t n = sizeof(pipeline) - 1 - at;
            client_send_bytes(fd, pipeline + at, n < steps[s] ? n : steps[s]);
            if (steps[s] < 50 && at % 16 == 0)
                sleep_ms(1);
        }
        static const char *const contents[] = { "hello from 1.0.0", "first", "", "second", "",
            "hello from 1.0.0" };
        for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
            struct answer a = client_read(fd, i == 4);
            assert_int_equal(a.status, i == 2 ? 204 : 200);
            assert_content(&a, contents[i]);
            answer_done(&a);
        }
        close(fd);
    }
}

static void many_pipelined_refusals_are_answered(void **state)
{
    int fd = client_open(router->port);
    struct strbuf all = STRBUF_INIT;
    for (int i = 0; i < 1500; i++)
        strbuf_adds(&all, "OPTIONS / HTTP/1.1\r\n" HOST "Max-Forwards: 0\r\n\r\n");
    client_send_bytes(fd, all.data, all.len);
    for (int i = 0; i < 1500; i++) {
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, 200);
        answer_done(&a);
    }
    strbuf_done(&all);
    close(fd);
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static void the_service_learns_who_asked(void **state)
{
    char *head = get(router->port, "/head?x=1",
        "X-Forwarded-For: 6.6.6.6\r\nConnection: X-Secret\r\nX-Secret: 1\r\n", NULL);
    assert_non_null(strstr(head, "GET /head?x=1 HTTP/1.1\r\nHost: web.example\r\n"));
    assert_non_null(strstr(head, "X-Forwarded-For: 127.0.0.1\r\n"));
    assert_non_null(strstr(head, "X-Forwarded-Proto: http\r\n"));
    assert_non_null(strstr(head, "Via: 1.1 stagecoach\r\n"));
    assert_null(strstr(head, "6.6.6.6"));
    assert_null(strstr(head, "X-Secret"));
    assert_null(strstr(head, "Connection"));
    free(head);
}

static void a_large_head_passes(void **state)
{
    struct strbuf request = STRBUF_INIT;
    strbuf_adds(&request, "GET /head HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 60; i++) {
        strbuf_addf(&request, "X-Large-%d: ", i);
        for (int k = 0; k < 900; k++)
            strbuf_addc(&request, 'x');
        strbuf_adds(&request, "\r\n");
    }
    strbuf_adds(&request, "\r\n");
    struct answer a = ask(router->port, strbuf_str(&request));
    assert_int_equal(a.status, 200);
    assert_true(a.content.len > 54000);
    answer_done(&a);
    strbuf_done(&request);
}

static void bad_requests_are_refused_and_the_connection_ends(void **state)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        { "GET / HTTP/1.1\r\n\r\n", 400 },
        { "GET / HTTP/1.1\nHost: a\n\n", 400 },
        { "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
        { "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 501 },
        { "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400 },
        { "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400 },
        { "POST /echo HTTP/1.1\r\n" HOST "Expect: x\r\nContent-Length: 1\r\n\r\na", 417 },
        { "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\na", 413 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = client_open(router->port);
        /* What follows must never be taken for a request. */
        client_send(fd, rows[i].request);
        client_send(fd, GET("/hello"));
        struct answer a = client_read(fd, false);
        if (a.status != rows[i].status)
            fail_msg("%s: %d, not %d", rows[i].request, a.status, rows[i].status);
        assert_string_equal(answer_field(&a, "Connection"), "close");
        answer_done(&a);
        a = client_read(fd, false);
        assert_int_equal(a.status, 0);
        answer_done(&a);
        close(fd);
    }
}

static void a_head_that_does_not_end_times_out(void **state)
{
    int fd = client_open(hasty->port);
    client_send(fd, "GET / HTTP/1.1\r\nHost:");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 408);
    answer_done(&a);
    close(fd);
}

/* --- bodies ---------------------------------------------------------------------------------------------- */

static void bodies_go_both_ways(void **state)
{
    static const struct {
        const char *request, *content;
    } rows[] = {
        { "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde", "abcde" },
        { "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "" },
        { "POST /echo HTTP/1.1\r\n" HOST
          "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=1\r\ncde\r\n0\r\n\r\n",
            "abcde" },
        { "POST /echo-chunked HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde", "abcde" },
        { "POST /echo-chunked HTTP/1.1\r\n" HOST
          "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
            "abcde" },
        { GET("/chunked"), "abcdefgh" },
        { GET("/until-close"), "until the end" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct answer a = ask(router->port, rows[i].request);
        if (a.status != 200 || !a.whole || strcmp(strbuf_str(&a.content), rows[i].content) != 0)
            fail_msg("%s: %d \"%s\"", rows[i].request, a.status, strbuf_str(&a.content));
        answer_done(&a);
    }
}

static void trailers_pass(void **state)
{
    struct answer a = ask(router->port, GET("/chunked"));
    assert_string_equal(strbuf_str(&a.trailers), "X-Sum: 42\r\n\r\n");
    assert_string_equal(answer_field(&a, "Trailer"), "X-Sum");
    answer_done(&a);
}

static void an_answer_that_breaks_off_does_not_look_whole(void **state)
{
    static const char *const paths[] = { GET("/cut"), GET("/cut-chunked") };
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct answer a = ask(router->port, paths[i]);
        assert_int_equal(a.status, 200);
        assert_false(a.whole);
        answer_done(&a);
    }
}

static void what_is_not_http_is_a_502(void **state)
{
    assert_status(GET("/garbage"), 502);
}

static void a_second_answer_reaches_nobody(void **state)
{
    int fd = client_open(router->port);
    for (int i = 0; i < 10; i++) {
        client_send(fd, GET("/two"));
        struct answer a = client_read(fd, false);
        assert_content(&a, "first");
        answer_done(&a);
        client_send(fd, GET("/hello"));
        a = client_read(fd, false);
        assert_content(&a, "hello from 1.0.0");
        answer_done(&a);
    }
    close(fd);
}

static void head_and_empty_answers_have_no_body(void **state)
{
    int fd = client_open(router->port);
    client_send(fd, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = client_read(fd, true);
    assert_string_equal(answer_field(&a, "Content-Length"), "16");
    answer_done(&a);
    client_send(fd, GET("/empty") GET("/hello"));
    a = client_read(fd, false);
    assert_int_equal(a.status, 204);
    answer_done(&a);
    a = client_read(fd, false);
    assert_content(&a, "hello from 1.0.0");
    answer_done(&a);
    close(fd);
}

/* A slow reader of a large answer costs no memory. */
static void a_large_answer_waits_for_its_reader(void **state)
{
    enum { SIZE = 96 * 1024 * 1024 };
    int fd = client_open(router->port), small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    int64_t before = process_rss_kb();
    char *request = xasprintf("GET /big?%d HTTP/1.1\r\n" HOST "\r\n", SIZE);
    client_send(fd, request);
    free(request);
    sleep_ms(300);
    assert_true(process_rss_kb() - before < RSS_GROWTH_MAX_KB);
    char *block = xmalloc(1 << 20);
    size_t got = 0, head = 0;
    ssize_t n;
    while (got < SIZE + head && (n = recv(fd, block, 1 << 20, 0)) > 0) {
        if (head == 0)
            head = (size_t)((char *)memmem(block, (size_t)n, "\r\n\r\n", 4) - block) + 4;
        got += (size_t)n;
    }
    assert_int_equal(got, SIZE + head);
    assert_true(process_rss_kb() - before < RSS_GROWTH_MAX_KB);
    free(block);
    close(fd);
}

static void a_large_body_waits_for_its_service(void **state)
{
    enum { SIZE = 48 * 1024 * 1024 };
    int fd = client_open(router->port);
    int64_t before = process_rss_kb();
    char *request = xasprintf("POST /continue HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", SIZE);
    client_send(fd, request);
    free(request);
    char *block = xcalloc(1, 1 << 20);
    for (int i = 0; i < SIZE >> 20; i++)
        client_send_bytes(fd, block, 1 << 20);
    struct answer a = client_read(fd, false);
    assert_content(&a, "50331648");
    assert_true(process_rss_kb() - before < RSS_GROWTH_MAX_KB);
    answer_done(&a);
    free(block);
    close(fd);
}

static void a_body_that_stops_times_out(void **state)
{
    int fd = client_open(hasty->port);
    client_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 408);
    answer_done(&a);
    close(fd);
}

static void a_service_that_does_not_answer_times_out(void **state)
{
    struct answer a = ask(hasty->port, GET("/slow?1500"));
    assert_int_equal(a.status, 504);
    answer_done(&a);
}

/* --- 1xx ------------------------------------------------------------------------------------------------- */

static void continue_comes_from_the_service(void **state)
{
    int fd = client_open(router->port);
    client_send(fd, "POST /continue HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 100);
    answer_done(&a);
    client_send(fd, "abcd");
    a = client_read(fd, false);
    assert_content(&a, "4");
    answer_done(&a);
    close(fd);
}

static void a_refused_expectation_ends_the_connection(void **state)
{
    int fd = client_open(router->port);
    client_send(
        fd, "POST /refuse-continue HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 417);
    assert_string_equal(answer_field(&a, "Connection"), "close");
    answer_done(&a);
    close(fd);
}

static void early_hints_pass(void **state)
{
    int fd = client_open(router->port);
    client_send(fd, GET("/early"));
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 103);
    assert_string_equal(answer_field(&a, "Link"), "</a.css>");
    answer_done(&a);
    a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(fd);
    /* HTTP/1.0 knows no 1xx. */
    assert_status("GET /early HTTP/1.0\r\n" HOST "\r\n", 200);
}

/* --- upgrade --------------------------------------------------------------------------------------------- */

static void expect_bytes(int fd, const char *text)
{
    char buf[256];
    size_t n = 0, wanted = strlen(text);
    while (n < wanted) {
        ssize_t r = recv(fd, buf + n, wanted - n, 0);
        assert_true(r > 0);
        n += (size_t)r;
    }
    buf[n] = '\0';
    assert_string_equal(buf, text);
}

static void an_upgrade_is_a_tunnel_with_early_bytes(void **state)
{
    int fd = client_open(router->port);
    char c;
    client_send(fd, "GET /upgrade HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly:");
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 101);
    assert_string_equal(answer_field(&a, "Upgrade"), "echo");
    answer_done(&a);
    expect_bytes(fd, "hi:early:");
    for (int i = 0; i < 20; i++) {
        client_send(fd, "ping\r\n");
        expect_bytes(fd, "ping\r\n");
    }
    shutdown(fd, SHUT_WR);
    expect_bytes(fd, ":bye");
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    close(fd);
}

static void a_refused_upgrade_is_an_answer(void **state)
{
    int fd = client_open(router->port);
    client_send(fd,
        "GET /upgrade-refused HTTP/1.1\r\n" HOST
        "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n" GET("/hello"));
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 403);
    answer_done(&a);
    a = client_read(fd, false);
    assert_content(&a, "hello from 1.0.0");
    answer_done(&a);
    close(fd);
}

static void a_101_that_nobody_asked_for_is_a_502(void **state)
{
    assert_status(GET("/upgrade"), 502);
}

/* --- repeating ------------------------------------------------------------------------------------------- */

static void a_post_is_not_repeated(void **state)
{
    int64_t before = fake_backend_requests(backend);
    assert_status("POST /vanish HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx", 502);
    assert_int_equal(fake_backend_requests(backend) - before, 1);
}

/* A pooled connection that the service closes while we ask says nothing about the service. */
static void a_get_survives_a_stale_connection(void **state)
{
    static const char *const requests[] = { GET("/hello"), GET("/hello"), GET("/vanish-once") };
    int fd = client_open(router->port); /* one connection: one worker, one pool */
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        client_send(fd, requests[i]);
        struct answer a = client_read(fd, false);
        assert_content(&a, "hello from 1.0.0");
        answer_done(&a);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(a_connection_is_kept),
        cmocka_unit_test(close_is_obeyed),
        cmocka_unit_test(http_10_closes_unless_asked),
        cmocka_unit_test(pipelined_requests_keep_their_order),
        cmocka_unit_test(many_pipelined_refusals_are_answered),
        cmocka_unit_test(the_service_learns_who_asked),
        cmocka_unit_test(a_large_head_passes),
        cmocka_unit_test(bad_requests_are_refused_and_the_connection_ends),
        cmocka_unit_test(a_head_that_does_not_end_times_out),
        cmocka_unit_test(bodies_go_both_ways),
        cmocka_unit_test(trailers_pass),
        cmocka_unit_test(an_answer_that_breaks_off_does_not_look_whole),
        cmocka_unit_test(what_is_not_http_is_a_502),
        cmocka_unit_test(a_second_answer_reaches_nobody),
        cmocka_unit_test(head_and_empty_answers_have_no_body),
        cmocka_unit_test(a_large_answer_waits_for_its_reader),
        cmocka_unit_test(a_large_body_waits_for_its_service),
        cmocka_unit_test(a_body_that_stops_times_out),
        cmocka_unit_test(a_service_that_does_not_answer_times_out),
        cmocka_unit_test(continue_comes_from_the_service),
        cmocka_unit_test(a_refused_expectation_ends_the_connection),
        cmocka_unit_test(early_hints_pass),
        cmocka_unit_test(an_upgrade_is_a_tunnel_with_early_bytes),
        cmocka_unit_test(a_refused_upgrade_is_an_answer),
        cmocka_unit_test(a_101_that_nobody_asked_for_is_a_502),
        cmocka_unit_test(a_post_is_not_repeated),
        cmocka_unit_test(a_get_survives_a_stale_connection),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
