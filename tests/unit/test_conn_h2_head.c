/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2_head.h"

#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/strbuf.h"
#include "routerd/queue.h"
#include "routerd/websocket.h"

/* Field blocks as HTTP/2 brings them, and the heads that they become; what a single field may be, test_http1_parts.c has.
 * A block is "name~value|name~value…"; a head is "METHOD target authority body|name: value|…". */

#define GET   ":method~GET|:scheme~https|:authority~a.example|:path~/x?y"
#define POST  ":method~POST|:scheme~https|:authority~a.example|:path~/x"
#define WS    ":method~CONNECT|:protocol~websocket|:scheme~https|:authority~a.example|:path~/x"
#define GOT   "GET /x?y a.example none|host: a.example"
#define WS_IS "|Upgrade: websocket|Sec-WebSocket-Key: 0123456789abcdef01234==!"
#define KEY   "0123456789abcdef01234==!"

struct block_case {
    const char *name, *block;
    bool goes_on; /* content follows */
    int status;   /* 0: fine */
    const char *head;
};

/* clang-format off */
static const struct block_case cases[] = {
    /* what a request is */
    { "plain", GET, false, 0, GOT },
    { "pseudo fields in any order", ":path~/x?y|:authority~a.example|:method~GET|:scheme~https", false, 0, GOT },
    { "fields stay in their order", GET "|b~2|a~1|b~3", false, 0, GOT "|b: 2|a: 1|b: 3" },
    { "empty value", GET "|a~", false, 0, GOT "|a: " },
    { "plain http", ":method~GET|:scheme~http|:authority~a.example|:path~/x?y", false, 0, GOT },
    { "scheme in capitals", ":method~GET|:scheme~HTTPS|:authority~a.example|:path~/x?y", false, 0, GOT },
    { "port", ":method~GET|:scheme~https|:authority~a.example:8443|:path~/", false, 0,
      "GET / a.example:8443 none|host: a.example:8443" },
    { "ipv6", ":method~GET|:scheme~https|:authority~[::1]:8443|:path~/", false, 0,
      "GET / [::1]:8443 none|host: [::1]:8443" },
    { "other method", ":method~PURGE|:scheme~https|:authority~a.example|:path~/", false, 0,
      "PURGE / a.example none|host: a.example" },
    { "options of all", ":method~OPTIONS|:scheme~https|:authority~a.example|:path~*", false, 0,
      "OPTIONS * a.example none|host: a.example" },
    { "host alone", ":method~GET|:scheme~https|:path~/|host~a.example", false, 0,
      "GET / a.example none|host: a.example" },
    { "host and authority", GET "|host~a.example", false, 0, GOT },
    { "host and authority in other case", GET "|host~A.Example", false, 0, GOT },
    { "hosts in other case", ":method~GET|:scheme~https|:path~/x?y|host~a.example|host~A.EXAMPLE", false, 0, GOT },
    { "te trailers", GET "|te~trailers", false, 0, GOT "|te: trailers" },
    { "priority is a field", GET "|priority~u=1", false, 0, GOT "|priority: u=1" },

    /* content */
    { "content of unknown length", POST, true, 0, "POST /x a.example chunked|host: a.example" },
    { "content of known length", POST "|content-length~5", true, 0,
      "POST /x a.example 5|host: a.example|content-length: 5" },
    { "no content, said so", POST "|content-length~0", false, 0,
      "POST /x a.example 0|host: a.example|content-length: 0" },
    { "get with content", GET, true, 0, "GET /x?y a.example chunked|host: a.example" },
    { "length of content that does not follow", POST "|content-length~5", false, 400, NULL },
    { "two lengths", POST "|content-length~5|content-length~5", true, 400, NULL },
    { "length list", POST "|content-length~5, 5", true, 400, NULL },
    { "length with a sign", POST "|content-length~+5", true, 400, NULL },
    { "length in hexadecimal", POST "|content-length~0x5", true, 400, NULL },
    { "length empty", POST "|content-length~", true, 400, NULL },
    { "length too large", POST "|content-length~99999999999999999999", true, 400, NULL },
    { "expect", POST "|expect~100-continue", true, 0,
      "POST /x a.example chunked expects|host: a.example|expect: 100-continue" },
    { "expect without content", GET "|expect~100-continue", false, 0, GOT "|expect: 100-continue" },
    { "expect something else", POST "|expect~fire", true, 417, NULL },

    /* cookies */
    { "one cookie", GET "|cookie~a=1", false, 0, GOT "|cookie: a=1" },
    { "crumbs", GET "|cookie~a=1|cookie~b=2|cookie~c=3", false, 0, GOT "|cookie: a=1; b=2; c=3" },
    { "crumbs apart", GET "|cookie~a=1|x~y|cookie~b=2", false, 0, GOT "|cookie: a=1; b=2|x: y" },
    { "crumbs of several", GET "|cookie~a=1; b=2|cookie~c=3", false, 0, GOT "|cookie: a=1; b=2; c=3" },
    { "empty crumbs", GET "|cookie~|cookie~a=1|cookie~", false, 0, GOT "|cookie: a=1" },
    { "only empty crumbs", GET "|cookie~|cookie~", false, 0, GOT "|cookie: " },
    { "crumb with a blank edge", GET "|cookie~a=1|cookie~ b=2", false, 400, NULL },
    { "crumb with a tab edge", GET "|cookie~a=1\t|cookie~b=2", false, 400, NULL },
    { "crumb with a line end", GET "|cookie~a=1|cookie~b=2\r\nx: y", false, 400, NULL },
    { "crumb with a bare line feed", GET "|cookie~a=1\nb|cookie~b=2", false, 400, NULL },

    /* pseudo-header fields */
    { "nothing", "", false, 400, NULL },
    { "no method", ":scheme~https|:authority~a.example|:path~/", false, 400, NULL },
    { "no scheme", ":method~GET|:authority~a.example|:path~/", false, 400, NULL },
    { "no path", ":method~GET|:scheme~https|:authority~a.example", false, 400, NULL },
    { "no host at all", ":method~GET|:scheme~https|:path~/", false, 400, NULL },
    { "empty method", ":method~|:scheme~https|:authority~a.example|:path~/", false, 400, NULL },
    { "empty scheme", ":method~GET|:scheme~|:authority~a.example|:path~/", false, 400, NULL },
    { "empty path", ":method~GET|:scheme~https|:authority~a.example|:path~", false, 400, NULL },
    { "empty authority", ":method~GET|:scheme~https|:authority~|:path~/", false, 400, NULL },
    { "other scheme", ":method~GET|:scheme~ftp|:authority~a.example|:path~/", false, 400, NULL },
    { "scheme with more behind it", ":method~GET|:scheme~https\r\n|:authority~a.example|:path~/", false, 400, NULL },
    { "method twice", GET "|:method~GET", false, 400, NULL },
    { "path twice", GET "|:path~/z", false, 400, NULL },
    { "authority twice", GET "|:authority~a.example", false, 400, NULL },
    { "unknown", GET "|:version~2", false, 400, NULL },
    { "of an answer", GET "|:status~200", false, 400, NULL },
    { "capital", ":Method~GET|:scheme~https|:authority~a.example|:path~/", false, 400, NULL },
    { "colon alone", GET "|:~x", false, 400, NULL },
    { "behind a field", "a~b|" GET, false, 400, NULL },
    { "path behind a field", ":method~GET|:scheme~https|:authority~a.example|a~b|:path~/", false, 400, NULL },
    { "absolute path", ":method~GET|:scheme~https|:authority~a.example|:path~https://b.example/", false, 400, NULL },
    { "path without a slash", ":method~GET|:scheme~https|:authority~a.example|:path~x", false, 400, NULL },
    { "path with a blank", ":method~GET|:scheme~https|:authority~a.example|:path~/ HTTP/1.1", false, 400, NULL },
    { "path with a line end", ":method~GET|:scheme~https|:authority~a.example|:path~/\r\nx: y", false, 400, NULL },
    { "path with a fragment", ":method~GET|:scheme~https|:authority~a.example|:path~/#x", false, 400, NULL },
    { "asterisk with get", ":method~GET|:scheme~https|:authority~a.example|:path~*", false, 400, NULL },
    { "method with a line end", ":method~GET / HTTP/1.1\r\n|:scheme~https|:authority~a.example|:path~/", false, 400, NULL },
    { "authority with a user", ":method~GET|:scheme~https|:authority~u@a.example|:path~/", false, 400, NULL },
    { "authority with a line end", ":method~GET|:scheme~https|:authority~a.example\r\nx: y|:path~/", false, 400, NULL },
    { "authority with a blank edge", ":method~GET|:scheme~https|:authority~ a.example|:path~/", false, 400, NULL },
    { "host that differs", GET "|host~b.example", false, 400, NULL },
    { "host that differs by a port", GET "|host~a.example:443", false, 400, NULL },
    { "host that differs by a letter", GET "|host~a.exampl", false, 400, NULL },
    { "host that is empty", GET "|host~", false, 400, NULL },
    { "two hosts", ":method~GET|:scheme~https|:path~/|host~a.example|host~b.example", false, 400, NULL },
    { "empty host", ":method~GET|:scheme~https|:path~/|host~", false, 400, NULL },
    { "trace", ":method~TRACE|:scheme~https|:authority~a.example|:path~/", false, 501, NULL },

    /* fields of one hop */
    { "connection", GET "|connection~close", false, 400, NULL },
    { "keep-alive", GET "|keep-alive~timeout=5", false, 400, NULL },
    { "proxy-connection", GET "|proxy-connection~close", false, 400, NULL },
    { "transfer-encoding", POST "|transfer-encoding~chunked", true, 400, NULL },
    { "upgrade", GET "|upgrade~websocket", false, 400, NULL },
    { "http2-settings", GET "|http2-settings~AAMAAABkAAQ", false, 400, NULL },
    { "te of more", GET "|te~trailers, gzip", false, 400, NULL },
    { "name in capitals", GET "|A~b", false, 400, NULL },
    { "name with a colon", GET "|a:b~c", false, 400, NULL },
    { "name with a line end", GET "|a\r\nb~c", false, 400, NULL },
    { "value with a line end", GET "|a~b\r\nc: d", false, 400, NULL },
    { "name that imitates", GET "|transfer_encoding~chunked", false, 400, NULL },

    /* CONNECT */
    { "connect", ":method~CONNECT|:authority~a.example:443", true, 501, NULL },
    { "connect with everything", ":method~CONNECT|:scheme~https|:authority~a.example|:path~/", true, 501, NULL },
    { "websocket", WS, true, 0, "GET /x a.example none upgrade|host: a.example" WS_IS },
    { "websocket with fields", WS "|sec-websocket-version~13|origin~https://a.example", true, 0,
      "GET /x a.example none upgrade|host: a.example|sec-websocket-version: 13|origin: https://a.example" WS_IS },
    { "websocket with a key of its own", WS "|sec-websocket-key~AAAA", true, 0,
      "GET /x a.example none upgrade|host: a.example" WS_IS },
    { "websocket in capitals", ":method~CONNECT|:protocol~WebSocket|:scheme~https|:authority~a.example|:path~/x", true, 0,
      "GET /x a.example none upgrade|host: a.example" WS_IS },
    { "websocket that ends at once", WS, false, 400, NULL },
    { "websocket with a length", WS "|content-length~5", true, 400, NULL },
    { "websocket without a scheme", ":method~CONNECT|:protocol~websocket|:authority~a.example|:path~/", true, 400, NULL },
    { "websocket without a path", ":method~CONNECT|:protocol~websocket|:scheme~https|:authority~a.example", true, 400, NULL },
    { "websocket without authority", ":method~CONNECT|:protocol~websocket|:scheme~https|:path~/|host~a.example", true, 400,
      NULL },
    { "websocket with an asterisk", ":method~CONNECT|:protocol~websocket|:scheme~https|:authority~a.example|:path~*", true,
      400, NULL },
    { "other protocol", ":method~CONNECT|:protocol~connect-udp|:scheme~https|:authority~a.example|:path~/", true, 501, NULL },
    { "protocol with get", ":protocol~websocket|" GET, false, 400, NULL },
};

static const struct {
    const char *name, *block;
    int status;
    const char *trailers;
} trailer_cases[] = {
    { "one", "x-sum~7", 0, "|x-sum: 7" },
    { "none", "", 0, "" },
    { "two", "a~1|b~2", 0, "|a: 1|b: 2" },
    { "pseudo", ":path~/", 400, NULL },
    { "status", ":status~200", 400, NULL },
    { "framing", "content-length~3", 400, NULL },
    { "transfer-encoding", "transfer-encoding~chunked", 400, NULL },
    { "routing", "host~a.example", 400, NULL },
    { "authorising", "authorization~x", 400, NULL },
    { "cookie", "cookie~a=1", 400, NULL },
    { "capital", "A~b", 400, NULL },
    { "line end", "a~b\r\nc: d", 400, NULL },
};
/* clang-format on */

static struct block_pool pool;
static struct http1_head head;

static void fill(struct h2_head *h, const char *block)
{
    while (*block) {
        size_t len = strcspn(block, "|");
        const char *value = memchr(block, '~', len);
        size_t name_len = (size_t)(value - block);
        assert_true(h2_head_add(h, &pool, (struct http1_slice){ block, name_len },
            (struct http1_slice){ value + 1, len - name_len - 1 }));
        block += len + (block[len] == '|');
    }
}

static void add_fields(struct strbuf *out)
{
    for (unsigned i = 0; i < head.n_fields; i++) {
        const struct http1_field *f = &head.fields[i];
        strbuf_addf(out, "|%.*s: %.*s", f->name_len, f->name, (int)f->value_len, f->value);
    }
}

static char *describe(void)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_addf(&out, "%.*s %.*s %.*s ", (int)head.method.len, head.method.ptr, (int)head.target.len,
        head.target.ptr, (int)head.authority.len, head.authority.ptr);
    if (head.body == HTTP1_BODY_LENGTH)
        strbuf_addf(&out, "%d", (int)head.content_length);
    else
        strbuf_adds(&out, head.body == HTTP1_BODY_CHUNKED ? "chunked" : "none");
    strbuf_adds(&out, head.expect_continue ? " expects" : head.upgrade ? " upgrade" : "");
    add_fields(&out);
    return strbuf_steal(&out);
}

static void blocks_become_heads(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct block_case *c = &cases[i];
        struct h2_head h;
        struct h2_request request = { .ends = !c->goes_on, .websocket_key = KEY };
        struct http1_fault fault = { 0, NULL };
        h2_head_begin(&h, 65536);
        fill(&h, c->block);
        enum http1_result r = h2_head_request(&h, &pool, &request, NULL, &head, &fault);
        row_int(c->name, r == HTTP1_DONE ? 0 : fault.status, c->status);
        if (r == HTTP1_DONE) {
            char *text = describe();
            row_str(c->name, text, c->head);
            row_true(c->name, request.tunnel == (strncmp(c->block, ":method~CONNECT", 15) == 0));
            row_true(c->name, head.is_h2 && head.minor == 1);
            free(text);
        }
        h2_head_clear(&h, &pool);
    }
}

static void trailers_are_fields_alone(void **state)
{
    for (size_t i = 0; i < sizeof(trailer_cases) / sizeof(trailer_cases[0]); i++) {
        const char *name = trailer_cases[i].name;
        struct h2_head h;
        struct http1_fault fault = { 0, NULL };
        struct strbuf out = STRBUF_INIT;
        h2_head_begin(&h, HTTP1_TRAILERS_MAX);
        fill(&h, trailer_cases[i].block);
        enum http1_result r = h2_head_trailers(&h, &pool, NULL, &head, &fault);
        row_int(name, r == HTTP1_DONE ? 0 : fault.status, trailer_cases[i].status);
        if (r == HTTP1_DONE) {
            add_fields(&out);
            row_str(name, strbuf_str(&out), trailer_cases[i].trailers);
        }
        strbuf_done(&out);
        h2_head_clear(&h, &pool);
    }
}

/* So many fields of that size behind a good request. */
static int status_of(size_t n, size_t value_len, bool *ret_flood)
{
    struct h2_head h;
    struct h2_request request = { .ends = true, .websocket_key = KEY };
    struct http1_fault fault = { 0, NULL };
    char *value = malloc(value_len + 1);
    memset(value, 'v', value_len + 1);
    h2_head_begin(&h, 65536);
    fill(&h, GET);
    *ret_flood = false;
    for (size_t i = 0; i < n && !*ret_flood; i++)
        *ret_flood = !h2_head_add(&h, &pool, HTTP1_SLICE("x"), (struct http1_slice){ value, value_len });
    enum http1_result r = h2_head_request(&h, &pool, &request, NULL, &head, &fault);
    h2_head_clear(&h, &pool);
    free(value);
    return r == HTTP1_DONE ? 0 : fault.status;
}

static void large_blocks_are_refused_and_floods_end(void **state)
{
    bool flood;
    assert_int_equal(status_of(100, 10, &flood), 0);
    assert_int_equal(status_of(7, 8000, &flood), 0);
    assert_int_equal(status_of(9, 8000, &flood), 431);
    assert_false(flood);
    assert_int_equal(status_of(200, 1, &flood), 431);
    assert_false(flood);
    assert_int_equal(status_of(40, 8000, &flood), 431);
    assert_true(flood);
    assert_int_equal(status_of(100000, 0, &flood), 431);
    assert_true(flood);
    assert_int_equal(pool.used_bytes, 0);
}

/* RFC 6455 1.3 has the example. */
static void websockets_prove_what_they_are(void **state)
{
    uint8_t random[WEBSOCKET_KEY_BYTES];
    char key[WEBSOCKET_KEY_LEN + 1], accept[WEBSOCKET_ACCEPT_LEN + 1];
    memcpy(random, "the sample nonce", sizeof(random));
    websocket_key(random, key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
    websocket_accept(key, accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static int end_pool(void **state)
{
    block_pool_done(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_become_heads),
        cmocka_unit_test(trailers_are_fields_alone),
        cmocka_unit_test(large_blocks_are_refused_and_floods_end),
        cmocka_unit_test(websockets_prove_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, end_pool);
}
