/* SPDX-License-Identifier: MIT */
#include "routerd/headers.h"
#include "routerd/own_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"

/* What tests/h1 does not look at: trusted proxies, IPv6 peers, answers' styles, networks. */

static char block[8192];

static const char *request(const char *text, const struct forward *forward)
{
    static struct http1_head head;
    struct http1_fault fault;
    struct http1_out out;
    assert_int_equal(http1_request_parse(text, strlen(text), NULL, &head, &fault), HTTP1_DONE);
    http1_out_init(&out, block, sizeof(block) - 1);
    struct request_extra extra = { .service = "web", .version = "1.2.3" };
    headers_request(&out, &head, forward, &extra);
    block[out.len] = '\0';
    return block;
}

static const char *answer(const char *text, const struct answer_style *style)
{
    static struct http1_head head;
    struct http1_fault fault;
    struct http1_out out;
    assert_int_equal(
        http1_response_parse(text, strlen(text), NULL, HTTP1_METHOD_GET, &head, &fault), HTTP1_DONE);
    http1_out_init(&out, block, sizeof(block) - 1);
    headers_answer(&out, &head, style);
    block[out.len] = '\0';
    return block;
}

static void a_trusted_proxy_is_believed_and_added_to(void **state)
{
    struct forward forward = { .peer = "10.0.0.9", .trusted = true };
    const char *out =
        request("GET / HTTP/1.1\r\nHost: in.ner\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
                "X-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: out.er\r\n"
                "X-Forwarded-Port: 443\r\nForwarded: for=1.1.1.1\r\n\r\n",
            &forward);
    assert_non_null(strstr(out, "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9\r\n"));
    assert_non_null(strstr(out, "X-Real-IP: 1.1.1.1\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Proto: https\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Host: out.er\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Port: 443\r\n"));
    assert_non_null(strstr(out, "Forwarded: for=1.1.1.1, for=10.0.0.9;host=\"in.ner\";proto=http\r\n"));
}

/* Through two proxies of ours; what stands left of a stranger's address anybody may have written. */
static void behind_trusted_proxies_the_client_is_the_first_stranger(void **state)
{
    static const struct {
        const char *fields, *client;
    } cases[] = {
        { "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.8\r\n", "1.1.1.1" },
        { "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 10.0.0.8\r\n", "1.1.1.1" },
        { "X-Forwarded-For: 10.0.0.7,10.0.0.8\r\n", "10.0.0.7" },
        { "X-Forwarded-For: 1.1.1.1:4711\r\n", "1.1.1.1" },
        { "X-Forwarded-For: [2001:db8::2]:80 ,\r\n", "2001:db8::2" },
        { "X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.8\r\n", "10.0.0.8" },
        { "X-Forwarded-For: 1.1.1.0/24\r\n", "10.0.0.9" },
        { "X-Forwarded-For: [, ]\r\n", "10.0.0.9" },
        { "X-Forwarded-For: ,\r\n", "10.0.0.9" },
        { "", "10.0.0.9" },
    };
    struct network proxies;
    assert_true(network_parse("10.0.0.0/8", &proxies));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct forward forward = { .peer = "10.0.0.9", .trusted = true, .proxies = &proxies, .n_proxies = 1 };
        char *text = xasprintf("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].fields);
        char *field = xasprintf("\r\nX-Real-IP: %s\r\n", cases[i].client);
        if (!strstr(request(text, &forward), field))
            fail_msg("%s: not %s but\n%s", cases[i].fields, cases[i].client, block);
        forward.trusted = false;
        assert_non_null(strstr(request(text, &forward), "\r\nX-Real-IP: 10.0.0.9\r\n"));
        free(field);
        free(text);
    }
}

static void what_a_trusted_proxy_leaves_out_follows_from_the_rest(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: b.test\r\nX-Forwarded-For: 2001:db8::5\r\n"
                               "X-Forwarded-Proto: https\r\n\r\n";
    struct forward forward = { .peer = "10.0.0.9", .trusted = true };
    const char *out = request(text, &forward);
    assert_non_null(strstr(out, "\r\nX-Forwarded-Port: 443\r\n"));
    assert_non_null(strstr(out,
        "\r\nForwarded: for=\"[2001:db8::5]\";proto=https, for=10.0.0.9;host=\"b.test\";proto=http\r\n"));
    forward.trusted = false;
    out = request(text, &forward);
    assert_non_null(strstr(out, "\r\nX-Forwarded-Port: 80\r\n"));
    assert_non_null(strstr(out, "\r\nForwarded: for=10.0.0.9;host=\"b.test\";proto=http\r\n"));
}

static void a_stranger_says_nothing_of_who_asks(void **state)
{
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /adm\r\nx-forwarded-ssl: on\r\n"
        "X_Forwarded_Server: evil\r\nX-Forwarded-: evil\r\nX-Forwarding: fine\r\n\r\n";
    struct forward forward = { .peer = "10.0.0.9" };
    const char *out = request(text, &forward);
    assert_null(strstr(out, "adm"));
    assert_null(strstr(out, "ssl"));
    assert_null(strstr(out, "evil"));
    assert_non_null(strstr(out, "X-Forwarding: fine\r\n"));
    forward.trusted = true;
    out = request(text, &forward);
    assert_non_null(strstr(out, "X-Forwarded-Prefix: /adm\r\n"));
    assert_non_null(strstr(out, "x-forwarded-ssl: on\r\n"));
}

static void ipv6_and_tls_are_told(void **state)
{
    struct forward forward = { .peer = "2001:db8::1", .tls = true };
    const char *out = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &forward);
    assert_non_null(strstr(out, "X-Forwarded-For: 2001:db8::1\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Proto: https\r\n"));
    assert_non_null(strstr(out, "Forwarded: for=\"[2001:db8::1]\";host=\"a\";proto=https\r\n"));
}

static void a_missing_host_is_the_services_name(void **state)
{
    struct forward forward = { .peer = "10.0.0.9" };
    const char *out = request("GET / HTTP/1.0\r\n\r\n", &forward);
    assert_non_null(strstr(out, "\r\nHost: web\r\n"));
    assert_null(strstr(out, "X-Forwarded-Host"));
}

static void a_style_decides_about_the_connection(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabc";
    assert_string_equal(
        answer(text, &(struct answer_style){ 0 }), "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\n");
    assert_non_null(
        strstr(answer(text, &(struct answer_style){ .close = true }), "\r\nConnection: close\r\n"));
    assert_non_null(strstr(
        answer(text, &(struct answer_style){ .say_keep_alive = true }), "\r\nConnection: keep-alive\r\n"));
    assert_non_null(
        strstr(answer(text, &(struct answer_style){ .extra.cookie = "x=y" }), "\r\nSet-Cookie: x=y\r\n"));
    assert_null(
        strstr(answer(text, &(struct answer_style){ .framing = ANSWER_UNTIL_CLOSE }), "Content-Length"));
    assert_non_null(strstr(answer("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n",
                               &(struct answer_style){ .extra.upgrade = true }),
        "\r\nConnection: upgrade\r\nUpgrade: a, b\r\n"));
}

static void an_answer_without_date_gets_one(void **state)
{
    static const char now[] = "Sun, 29 Nov 2026 01:00:00 GMT";
    const struct answer_style style = { .extra.date = now };
    assert_string_equal(answer("HTTP/1.1 204 X\r\nA: b\r\n\r\n", &style),
        "HTTP/1.1 204 X\r\nA: b\r\nDate: Sun, 29 Nov 2026 01:00:00 GMT\r\n\r\n");
    assert_null(strstr(answer("HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n", &style), now));
    assert_null(strstr(answer("HTTP/1.1 103 X\r\nLink: a\r\n\r\n", &style), "Date"));
    assert_null(strstr(answer("HTTP/1.1 204 X\r\n\r\n", &(struct answer_style){ .close = true }), "Date"));
}

static void own_answers_are_whole(void **state)
{
    static struct http1_head made, head;
    struct own_answer own = { .status = 503, .text = "no endpoint", .retry_after_s = 1 };
    struct http1_fault fault;
    for (int head_only = 0; head_only < 2; head_only++) {
        struct own_answer_store store;
        struct http1_out out;
        struct iovec part;
        enum http1_method method = head_only ? HTTP1_METHOD_HEAD : HTTP1_METHOD_GET;
        int n = own_answer_make(&own, method, &store, &made, &part);
        http1_out_init(&out, block, sizeof(block));
        headers_answer(&out, &made, &(struct answer_style){ .close = true });
        assert_int_equal(http1_response_parse(block, out.len, NULL, method, &head, &fault), HTTP1_DONE);
        assert_int_equal(head.status, 503);
        assert_int_equal(head.content_length, strlen("503 no endpoint\n"));
        assert_int_equal(n, head_only ? 0 : 1);
        if (n > 0)
            assert_memory_equal(part.iov_base, "503 no endpoint\n", part.iov_len);
        assert_false(head.keep_alive);
        assert_non_null(http1_find_name(&head, "retry-after"));
    }
}

static void networks_hold_addresses(void **state)
{
    static const struct {
        const char *network;
        uint8_t address[4];
        int result; /* -1: no network */
    } rows[] = {
        { "10.0.0.0/8", { 10, 1, 2, 3 }, 1 },
        { "10.0.0.0/8", { 11, 1, 2, 3 }, 0 },
        { "10.0.0.0/9", { 10, 127, 0, 0 }, 1 },
        { "10.0.0.0/9", { 10, 128, 0, 0 }, 0 },
        { "10.1.2.3", { 10, 1, 2, 3 }, 1 },
        { "10.1.2.3", { 10, 1, 2, 4 }, 0 },
        { "0.0.0.0/0", { 1, 2, 3, 4 }, 1 },
        { "::/0", { 1, 2, 3, 4 }, 0 },
        { "10.0.0.0/33", { 0 }, -1 },
        { "10.0.0.0/", { 0 }, -1 },
        { "10.0.0.0/8x", { 0 }, -1 },
        { "10.0.0/8", { 0 }, -1 },
        { "name", { 0 }, -1 },
        { "", { 0 }, -1 },
        { "10.0.0.0/-1", { 0 }, -1 },
        { "unix", { 0 }, 0 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct network n;
        int result = network_parse(rows[i].network, &n) ? network_contains(&n, rows[i].address, 4) : -1;
        if (result != rows[i].result)
            fail_msg("%s: %d", rows[i].network, result);
    }
    struct network n;
    assert_true(network_parse("unix", &n));
    assert_true(network_contains(&n, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trusted_proxy_is_believed_and_added_to),
        cmocka_unit_test(behind_trusted_proxies_the_client_is_the_first_stranger),
        cmocka_unit_test(what_a_trusted_proxy_leaves_out_follows_from_the_rest),
        cmocka_unit_test(a_stranger_says_nothing_of_who_asks),
        cmocka_unit_test(ipv6_and_tls_are_told),
        cmocka_unit_test(a_missing_host_is_the_services_name),
        cmocka_unit_test(a_style_decides_about_the_connection),
        cmocka_unit_test(an_answer_without_date_gets_one),
        cmocka_unit_test(own_answers_are_whole),
        cmocka_unit_test(networks_hold_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
