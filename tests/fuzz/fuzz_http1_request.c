/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/headers.h"
#include "tests/fuzz/strict_reader.h"

#define HEAD_OUT (80 * 1024)

/* A request and what would be sent on. Both are read by a second reader that shares nothing with the first: it must find one
 * well-formed head each, of that size, which mean the same; and the first one must agree about what went out. */

static struct http1_head head, again;
static struct strict_head came, went;
static char out_block[HEAD_OUT];

/* Of one hop, or written anew; what the router adds. */
static const char *const not_compared[] = { "Connection", "Content-Length", "Expect", "Forwarded", "Host",
    "HTTP2-Settings", "Keep-Alive", "Max-Forwards", "Proxy", "Proxy-Authorization", "Proxy-Connection", "TE",
    "Trailer", "Transfer-Encoding", "Upgrade", "Via", "X-Forwarded-*", "X-Real-IP" };
static const char *const never_sent_on[] = { "HTTP2-Settings", "Keep-Alive", "Proxy", "Proxy-Authorization",
    "Proxy-Connection" };

static void same_fields(void)
{
    must(strict_same_fields(&came, &went, not_compared, ARRAY_SIZE(not_compared)));
    for (int i = 0; i < went.n_fields; i++)
        must(!strict_is_one_of(went.fields[i].name, never_sent_on, ARRAY_SIZE(never_sent_on)));
}

/* What a target of the absolute form names: its authority in front of a path. */
static void same_place(void)
{
    struct strict_text host = { NULL, 0 }, target = came.target;
    const struct strict_field *f = strict_find(&came, "Host", NULL), *sent = strict_find(&went, "Host", NULL);
    if (f)
        host = f->value;
    if (target.ptr[0] != '/' && !strict_is(target, "*")) {
        const char *end = target.ptr + target.len;
        const char *authority = (const char *)memmem(target.ptr, target.len, "://", 3) + 3;
        const char *path = memchr(authority, '/', (size_t)(end - authority));
        host = (struct strict_text){ authority, (size_t)((path ? path : end) - authority) };
        target = (struct strict_text){ path ? path : "/", path ? (size_t)(end - path) : 1 };
        if (!path && strict_is(came.method, "OPTIONS") && memcmp(came.method.ptr, "OPTIONS", 7) == 0)
            target.ptr = "*";
    }
    must(strict_same(target, went.target));
    must(sent && (!host.ptr ? strict_is(sent->value, "fallback") : strict_same(host, sent->value)));
}

static void same_framing(void)
{
    must(came.chunked == went.chunked && came.has_length == went.has_length && came.length == went.length);
    must(went.minor == 1 && strict_same(came.method, went.method));
    must(again.body == head.body && again.content_length == head.content_length && again.keep_alive);
    must(again.upgrade == head.upgrade && again.expect_continue == head.expect_continue);
    const struct strict_field *upgrade = strict_find(&went, "Upgrade", NULL);
    must(!upgrade || (head.upgrade && !strict_lists(&went, "Upgrade", (struct strict_text){ "h2c", 3 })));
}

static void judge(void)
{
    struct http1_fault fault;
    struct forward forward = { .peer = "192.0.2.7" };
    struct http1_out out;
    http1_out_init(&out, out_block, sizeof(out_block));
    headers_request(&out, &head, &forward, &(struct request_extra){ .service = "fallback", .version = "1" });
    must(!out.full);
    must(strict_request(out.data, out.len, &went) && went.size == out.len);
    same_place();
    same_fields();
    /* Fields are added on the way: only a head that was full of them may be too much for the first reader. */
    enum http1_result r = http1_request_parse(out.data, out.len, NULL, &again, &fault);
    if (r == HTTP1_DONE) {
        must(again.size == out.len);
        same_framing();
    } else {
        must(r == HTTP1_REFUSED && fault.status == 431 && head.n_fields > HTTP1_FIELDS_MAX - 12);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http1_fault fault = { 0, NULL };
    /* In memory of its own size, so that a read too far is seen. */
    char *text = malloc(size > 0 ? size : 1);
    memcpy(text, data, size);
    enum http1_result r = http1_request_parse(text, size, NULL, &head, &fault);
    if (r == HTTP1_REFUSED)
        must(fault.status >= 400 && fault.status < 600 && fault.reason);
    if (r == HTTP1_DONE) {
        must(strict_request(text, size, &came) && came.size == head.size);
        judge();
    }
    free(text);
    return 0;
}
