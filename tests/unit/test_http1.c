/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "routerd/headers.h"
#include "tests/h1/cases.h"

/* The cases of tests/h1: each message whole, and cut everywhere. What a head means is looked at in what routerd would
 * pass on. */

#define PREFIXES_MAX      1200 /* longer messages are not cut at every byte */
#define HEAD_OUT          (80 * 1024)
#define INFORMATIONAL_MAX 16

static const char *requests_path, *responses_path;

struct outcome {
    int status; /* 0 ok, -1 more, else refused */
    const char *reason;
    struct strbuf head, content;
};

static void outcome_done(struct outcome *o)
{
    strbuf_done(&o->head);
    strbuf_done(&o->content);
}

/* Content of `kind` from data on, handed over in pieces of at most `step` bytes. */
static void decode(
    struct outcome *o, enum http1_body_kind kind, uint64_t length, const char *data, size_t len, size_t step)
{
    struct http1_body body;
    struct http1_fault fault;
    struct http1_head trailers;
    size_t at = 0, end = 0;
    http1_body_init(&body, kind, length);
    while (end < len || at < end) {
        end = end + step < len ? end + step : len;
        size_t used = 0;
        struct http1_slice slice;
        for (bool again = true; again;) {
            switch (http1_body_next(&body, data + at, end - at, &used, &slice, &fault)) {
            case HTTP1_BODY_DATA:
                strbuf_add(&o->content, slice.ptr, slice.len);
                break;
            case HTTP1_BODY_REFUSED:
                o->status = fault.status;
                o->reason = fault.reason;
                return;
            case HTTP1_BODY_END:
                return;
            case HTTP1_BODY_TRAILERS:
                again = false;
                switch (http1_trailers_parse(data + at + used, end - at - used, NULL, &trailers, &fault)) {
                case HTTP1_REFUSED:
                    o->status = fault.status;
                    o->reason = fault.reason;
                    return;
                case HTTP1_DONE:
                    return;
                case HTTP1_MORE:
                    break;
                }
                break;
            default:
                again = false;
            }
        }
        at += used;
        if (end == len)
            return;
    }
}

static void judge_request(const char *data, size_t len, size_t step, struct outcome *o)
{
    static struct http1_head head;
    struct http1_fault fault = { 0, NULL };
    struct forward forward = { .peer = "192.0.2.7" };
    *o = (struct outcome){ .status = -1 };
    switch (http1_request_parse(data, len, NULL, &head, &fault)) {
    case HTTP1_MORE:
        return;
    case HTTP1_REFUSED:
        o->status = fault.status;
        o->reason = fault.reason;
        assert_non_null(fault.reason);
        return;
    case HTTP1_DONE:
        break;
    }
    /* Two that the router answers once it has understood them. */
    o->status = headers_loop(&head) ? 508 : head.https ? 421 : 0;
    assert_in_range(head.size, 1, len);
    struct http1_out out;
    char *block = malloc(HEAD_OUT);
    http1_out_init(&out, block, HEAD_OUT);
    headers_request(&out, &head, &forward, &(struct request_extra){ .service = "fallback", .version = "1" });
    assert_false(out.full);
    strbuf_add(&o->head, out.data, out.len);
    free(block);
    decode(o, head.body, head.content_length, data + head.size, len - head.size, step);
}

static enum http1_method method_of(const char *verdict)
{
    return strncmp(verdict, "HEAD ", 5) == 0 ? HTTP1_METHOD_HEAD : HTTP1_METHOD_GET;
}

static void judge_response(
    const char *data, size_t len, enum http1_method method, size_t step, struct outcome *o)
{
    static struct http1_head head;
    struct http1_fault fault = { 0, NULL };
    *o = (struct outcome){ .status = -1 };
    /* Interim answers first: what the router does with them is seen where it runs. */
    for (int n = 0;; n++) {
        enum http1_result r = http1_response_parse(data, len, NULL, method, &head, &fault);
        if (r == HTTP1_MORE)
            return;
        if (r == HTTP1_REFUSED || head.status == 101 || n > INFORMATIONAL_MAX) {
            o->status = 502;
            o->reason = fault.reason;
            return;
        }
        if (head.status >= 200 || head.size == len)
            break;
        data += head.size;
        len -= head.size;
    }
    o->status = 0;
    struct answer_style style = { .framing = ANSWER_AS_IT_IS };
    if (head.body == HTTP1_BODY_CHUNKED || head.body == HTTP1_BODY_CLOSE)
        style.framing = ANSWER_CHUNKED;
    struct http1_out out;
    char *block = malloc(HEAD_OUT);
    http1_out_init(&out, block, HEAD_OUT);
    headers_answer(&out, &head, &style);
    strbuf_add(&o->head, out.data, out.len);
    free(block);
    decode(o, head.body, head.content_length, data + head.size, len - head.size, step);
    if (o->status > 0)
        o->status = 502;
}

static int wanted_status(const char *verdict)
{
    const char *v = strchr(verdict, ' ') ? strchr(verdict, ' ') + 1 : verdict;
    return strcmp(v, "ok") == 0 ? 0 : strcmp(v, "more") == 0 ? -1 : (int)strtol(v, NULL, 10);
}

static void check(const struct h1_case *c, const struct outcome *o, const char *how)
{
    int wanted = wanted_status(c->verdict);
    if (o->status != wanted)
        fail_msg("%s (%s, %s): %d (%s), not %s", c->name, c->source, how, o->status,
            o->reason ? o->reason : "-", c->verdict);
    for (int i = 0; i < c->n_expected; i++) {
        const struct strbuf *e = &c->expected[i];
        bool there = h1_contains(o->head.data, o->head.len, e);
        if (c->kinds[i] == '=' &&
            (o->content.len != e->len || (e->len > 0 && memcmp(o->content.data, e->data, e->len) != 0)))
            fail_msg("%s (%s): content is \"%s\"", c->name, how, strbuf_str(&o->content));
        if ((c->kinds[i] == '+' && !there) || ((c->kinds[i] == '-' || c->kinds[i] == '~') && there))
            fail_msg("%s (%s): \"%s\" %s\n%s", c->name, how, strbuf_str(e),
                there ? "should not be in" : "is missing in", strbuf_str(&o->head));
    }
}

/* --- requests -------------------------------------------------------------------------------------------- */

static void requests_are_judged(void **state)
{
    size_t n;
    struct h1_case *cases = h1_cases_load(requests_path, &n);
    assert_true(n >= 300);
    for (size_t i = 0; i < n; i++) {
        static const size_t steps[] = { SIZE_MAX / 2, 1, 2, 7 };
        for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
            struct outcome o;
            judge_request(cases[i].bytes.data, cases[i].bytes.len, steps[k], &o);
            check(&cases[i], &o, k == 0 ? "whole" : "in pieces");
            outcome_done(&o);
        }
    }
    h1_cases_free(cases, n);
}

/* A prefix is never more than the whole: not whole yet, or refused as the whole is; a whole one only from the end of
 * its head on. */
static void prefixes_agree(void **state)
{
    size_t n;
    struct h1_case *cases = h1_cases_load(requests_path, &n);
    for (size_t i = 0; i < n; i++) {
        const struct h1_case *c = &cases[i];
        size_t cut = c->bytes.len < PREFIXES_MAX ? c->bytes.len : 0;
        struct outcome whole;
        judge_request(c->bytes.data, c->bytes.len, SIZE_MAX / 2, &whole);
        for (size_t len = 0; len < cut; len++) {
            /* In memory of its own, so that a read too far is seen. */
            char *copy = malloc(len + 1);
            memcpy(copy, c->bytes.data, len);
            char *exact = realloc(copy, len > 0 ? len : 1);
            struct outcome o;
            judge_request(exact, len, SIZE_MAX / 2, &o);
            if (o.status > 0 && o.status != whole.status)
                fail_msg("%s: %zu of its bytes give %d (%s), all give %d", c->name, len, o.status, o.reason,
                    whole.status);
            if (o.status == 0 && whole.head.len > 0 &&
                (o.head.len != whole.head.len || memcmp(o.head.data, whole.head.data, o.head.len) != 0))
                fail_msg("%s: %zu of its bytes give another head", c->name, len);
            outcome_done(&o);
            free(exact);
        }
        outcome_done(&whole);
    }
    h1_cases_free(cases, n);
}

/* --- responses ------------------------------------------------------------------------------------------- */

static void responses_are_judged(void **state)
{
    size_t n;
    struct h1_case *cases = h1_cases_load(responses_path, &n);
    assert_true(n >= 60);
    for (size_t i = 0; i < n; i++) {
        static const size_t steps[] = { SIZE_MAX / 2, 1, 3 };
        for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
            struct outcome o;
            judge_response(
                cases[i].bytes.data, cases[i].bytes.len, method_of(cases[i].verdict), steps[k], &o);
            check(&cases[i], &o, k == 0 ? "whole" : "in pieces");
            outcome_done(&o);
        }
    }
    h1_cases_free(cases, n);
}

/* --- helpers of the module ------------------------------------------------------------------------------- */

static void lists_are_cut(void **state)
{
    static const struct {
        const char *list, *token;
        bool has;
    } rows[] = {
        { "close", "close", true },
        { "Close", "close", true },
        { "a, close", "close", true },
        { "a,close ,b", "close", true },
        { "closed", "close", false },
        { "", "close", false },
        { "\"a, close\"", "close", false },
        { "a;close", "close", false },
        { ",,close", "close", true },
        { "\"a\\\", close", "close", false },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http1_slice s = { rows[i].list, strlen(rows[i].list) };
        if (http1_list_has(s, rows[i].token) != rows[i].has)
            fail_msg("%s in %s", rows[i].token, rows[i].list);
    }
}

static void cookies_are_found(void **state)
{
    static const struct {
        const char *cookies, *name, *value;
    } rows[] = {
        { "a=1", "a", "1" },
        { "a=1; b=2", "b", "2" },
        { "a=1;b=2", "b", "2" },
        { "ab=1; b=2", "b", "2" },
        { "a=", "a", "" },
        { "a=1", "b", NULL },
        { "", "a", NULL },
        { "A=1", "a", NULL },
        { "a=b=c", "a", "b=c" },
        { "x; a=1", "a", "1" },
        { ";;a=1", "a", "1" },
        { "a=1; a=2", "a", "1" },
        { "a=\"x y\"", "a", "\"x y\"" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http1_slice value, s = { rows[i].cookies, strlen(rows[i].cookies) };
        bool found = http1_cookie_get(s, rows[i].name, &value);
        if (found != (rows[i].value != NULL) ||
            (found &&
                (value.len != strlen(rows[i].value) || memcmp(value.ptr, rows[i].value, value.len) != 0)))
            fail_msg("%s in %s", rows[i].name, rows[i].cookies);
    }
}

static void chunk_heads_are_hex(void **state)
{
    static const struct {
        uint64_t size;
        const char *text;
    } rows[] = { { 0, "0\r\n" }, { 9, "9\r\n" }, { 10, "a\r\n" }, { 4096, "1000\r\n" },
        { UINT64_MAX, "ffffffffffffffff\r\n" } };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char buf[HTTP1_CHUNK_HEAD_MAX];
        size_t n = http1_chunk_head(buf, rows[i].size);
        assert_int_equal(n, strlen(rows[i].text));
        assert_memory_equal(buf, rows[i].text, n);
    }
}

static void a_full_block_writes_nothing_more(void **state)
{
    char block[24];
    struct http1_out out;
    http1_out_init(&out, block, sizeof(block));
    http1_out_status_line(&out, 204, (struct http1_slice){ "", 0 });
    assert_true(out.full);
    size_t len = out.len;
    http1_out_literal(&out, "x");
    assert_int_equal(out.len, len);
    assert_true(len <= sizeof(block));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 1;
    requests_path = argv[1];
    responses_path = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_judged),
        cmocka_unit_test(prefixes_agree),
        cmocka_unit_test(responses_are_judged),
        cmocka_unit_test(lists_are_cut),
        cmocka_unit_test(cookies_are_found),
        cmocka_unit_test(chunk_heads_are_hex),
        cmocka_unit_test(a_full_block_writes_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
