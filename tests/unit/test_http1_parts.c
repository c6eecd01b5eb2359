/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"

/* Requests as HTTP/2 brings them: a method, a path, fields; what is refused there. */

struct parts_case {
    const char *name, *line, *fields; /* "name: value\n" each, nothing trimmed */
    bool ends;
    int status; /* 0: fine */
    enum http1_body_kind body;
};

#define HOST "host: a.example\n"

/* clang-format off */
static const struct parts_case cases[] = {
    { "plain", "GET /a?b", HOST, true, 0, HTTP1_BODY_NONE },
    { "content without a length", "POST /", HOST, false, 0, HTTP1_BODY_CHUNKED },
    { "content with one", "POST /", HOST "content-length: 3\n", false, 0, HTTP1_BODY_LENGTH },
    { "length zero and no content", "POST /", HOST "content-length: 0\n", true, 0, HTTP1_BODY_LENGTH },
    { "length and no content", "POST /", HOST "content-length: 3\n", true, 400, 0 },
    { "two lengths", "POST /", HOST "content-length: 3\ncontent-length: 3\n", false, 400, 0 },
    { "length of a sign", "POST /", HOST "content-length: +3\n", false, 400, 0 },
    { "asterisk", "OPTIONS *", HOST, true, 0, HTTP1_BODY_NONE },
    { "asterisk with get", "GET *", HOST, true, 400, 0 },
    { "whole url", "GET http://a.example/", HOST, true, 400, 0 },
    { "authority form", "GET a.example:80", HOST, true, 400, 0 },
    { "empty path", "GET ", HOST, true, 400, 0 },
    { "blank in the path", "GET /a b", HOST, true, 400, 0 },
    { "line end in the path", "GET /a\r\nX:", HOST, true, 400, 0 },
    { "fragment", "GET /a#b", HOST, true, 400, 0 },
    { "8 bits in the path", "GET /\xc3\xa9", HOST, true, 400, 0 },
    { "backslash in the path", "GET /a\\b", HOST, true, 400, 0 },
    { "connect", "CONNECT /", HOST, true, 501, 0 },
    { "trace", "TRACE /", HOST, true, 501, 0 },
    { "method with a line end", "GET\r\n /", HOST, true, 400, 0 },
    { "no host", "GET /", "", true, 400, 0 },
    { "authority and host agree", "GET /", HOST HOST, true, 0, HTTP1_BODY_NONE },
    { "authority and host differ", "GET /", HOST "host: b.example\n", true, 400, 0 },
    { "malformed host", "GET /", "host: a.example, b\n", true, 400, 0 },
    { "user in the host", "GET /", "host: u@a.example\n", true, 400, 0 },
    { "capital in a name", "GET /", HOST "X-a: 1\n", true, 400, 0 },
    { "blank in a name", "GET /", HOST "x a: 1\n", true, 400, 0 },
    { "colon in a name", "GET /", HOST ":x: 1\n", true, 400, 0 },
    { "empty name", "GET /", HOST ": 1\n", true, 400, 0 },
    { "line end in a value", "GET /", HOST "x: a\rb\n", true, 400, 0 },
    { "blank before a value", "GET /", HOST "x:  a\n", true, 400, 0 },
    { "blank behind a value", "GET /", HOST "x: a \n", true, 400, 0 },
    { "empty value", "GET /", HOST "x: \n", true, 0, HTTP1_BODY_NONE },
    { "8 bits in a value", "GET /", HOST "x: \xc3\xa9\n", true, 0, HTTP1_BODY_NONE },
    { "transfer-encoding", "POST /", HOST "transfer-encoding: chunked\n", false, 400, 0 },
    { "connection", "GET /", HOST "connection: close\n", true, 400, 0 },
    { "keep-alive", "GET /", HOST "keep-alive: timeout=5\n", true, 400, 0 },
    { "upgrade", "GET /", HOST "upgrade: websocket\n", true, 400, 0 },
    { "http2-settings", "GET /", HOST "http2-settings: x\n", true, 400, 0 },
    { "proxy-connection", "GET /", HOST "proxy-connection: close\n", true, 400, 0 },
    { "te trailers", "GET /", HOST "te: trailers\n", true, 0, HTTP1_BODY_NONE },
    { "te else", "GET /", HOST "te: gzip\n", true, 400, 0 },
    { "imitated length", "GET /", HOST "content_length: 3\n", true, 400, 0 },
    { "expect", "POST /", HOST "expect: 100-continue\n", false, 0, HTTP1_BODY_CHUNKED },
    { "expect else", "POST /", HOST "expect: tea\n", false, 417, 0 },
};
/* clang-format on */

static struct http1_slice slice(const char *p, size_t len)
{
    return (struct http1_slice){ p, len };
}

static enum http1_result add_fields(struct http1_head *head, const char *p, struct http1_fault *fault)
{
    enum http1_result r = HTTP1_DONE;
    while (*p && r == HTTP1_DONE) {
        const char *end = strchr(p, '\n'), *colon = strstr(p, ": ");
        r = http1_parts_field(
            head, slice(p, (size_t)(colon - p)), slice(colon + 2, (size_t)(end - colon) - 2), NULL, fault);
        p = end + 1;
    }
    return r;
}

static int judge(const struct parts_case *c, struct http1_head *head)
{
    struct http1_fault fault = { 0, NULL };
    const char *blank = strchr(c->line, ' ');
    http1_parts_begin(head);
    enum http1_result r = http1_parts_line(
        head, slice(c->line, (size_t)(blank - c->line)), slice(blank + 1, strlen(blank + 1)), NULL, &fault);
    if (r == HTTP1_DONE)
        r = add_fields(head, c->fields, &fault);
    if (r == HTTP1_DONE)
        r = http1_parts_judge(head, c->ends, &fault);
    return r == HTTP1_DONE ? 0 : fault.status;
}

static void parts_are_judged_as_strictly_as_text(void **state)
{
    static struct http1_head head;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct parts_case *c = &cases[i];
        row_int(c->name, judge(c, &head), c->status);
        if (c->status)
            continue;
        row_int(c->name, head.body, c->body);
        row_true(c->name, head.is_h2 && head.minor == 1 && http1_slice_is(head.host, "a.example"));
    }
}

static void sizes_have_limits(void **state)
{
    static struct http1_head head;
    static char text[HTTP1_TARGET_MAX + 2];
    struct http1_fault fault;
    memset(text, 'a', sizeof(text));
    text[0] = '/';
    http1_parts_begin(&head);
    assert_int_equal(
        http1_parts_line(&head, HTTP1_SLICE("GET"), slice(text, HTTP1_TARGET_MAX), NULL, &fault), HTTP1_DONE);
    assert_int_equal(
        http1_parts_line(&head, HTTP1_SLICE("GET"), slice(text, HTTP1_TARGET_MAX + 1), NULL, &fault),
        HTTP1_REFUSED);
    assert_int_equal(fault.status, 414);
    assert_int_equal(
        http1_parts_field(&head, slice(text + 1, HTTP1_FIELD_NAME_MAX + 1), slice("", 0), NULL, &fault),
        HTTP1_REFUSED);
    assert_int_equal(fault.status, 431);
    for (int i = 0; i < HTTP1_FIELDS_MAX; i++)
        assert_int_equal(
            http1_parts_field(&head, HTTP1_SLICE("x"), HTTP1_SLICE("1"), NULL, &fault), HTTP1_DONE);
    assert_int_equal(
        http1_parts_field(&head, HTTP1_SLICE("x"), HTTP1_SLICE("1"), NULL, &fault), HTTP1_REFUSED);
    assert_int_equal(fault.status, 431);
}

static void trailers_do_not_frame(void **state)
{
    static struct http1_head head;
    struct http1_fault fault;
    http1_parts_begin(&head);
    assert_int_equal(add_fields(&head, "x-sum: 1\n", &fault), HTTP1_DONE);
    assert_int_equal(http1_parts_judge_trailers(&head, &fault), HTTP1_DONE);
    assert_int_equal(add_fields(&head, "content-length: 1\n", &fault), HTTP1_DONE);
    assert_int_equal(http1_parts_judge_trailers(&head, &fault), HTTP1_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_judged_as_strictly_as_text),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(trailers_do_not_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
