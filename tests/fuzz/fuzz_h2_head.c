/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/conn_h2_head.h"
#include "routerd/headers.h"
#include "routerd/queue.h"
#include "routerd/websocket.h"
#include "tests/fuzz/strict_reader.h"

#define HEAD_OUT (80 * 1024)

/* A field block of HTTP/2, and what a service would be sent for it: a second reader, which knows nothing of HTTP/2, must
 * find one well-formed head there that says the same, and nothing that got into it from inside a part.
 *
 * Input: a byte (bit 0: no content follows; bit 1: good pseudo-header fields go before), then fields: length of the name,
 * length of the value, name, value. */

static struct block_pool pool;
static struct http1_head head;
static struct strict_head seen;
static char out_block[HEAD_OUT];

static bool add(struct h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len)
{
    return h2_head_add(
        h, &pool, (struct http1_slice){ name, name_len }, (struct http1_slice){ value, value_len });
}

static void read_fields(struct h2_head *h, const uint8_t *data, size_t size)
{
    while (size >= 2) {
        size_t name = data[0], value = data[1];
        data += 2;
        size -= 2;
        name = name < size ? name : size;
        value = value < size - name ? value : size - name;
        if (!add(h, (const char *)data, name, (const char *)data + name, value))
            return;
        data += name + value;
        size -= name + value;
    }
}

static bool same(struct http1_slice a, struct strict_text b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* Every field of the head that may pass is there, as often, and no other but ours. */
static void same_fields(void)
{
    for (unsigned i = 0; i < head.n_fields; i++) {
        const struct http1_field *f = &head.fields[i];
        if (f->id != HTTP1_FIELD_OTHER && f->id != HTTP1_FIELD_COOKIE)
            continue;
        bool found = false;
        for (int k = 0; k < seen.n_fields && !found; k++)
            found = same((struct http1_slice){ f->name, f->name_len }, seen.fields[k].name) &&
                same(http1_value(f), seen.fields[k].value);
        must(found);
    }
}

static void check_sent(bool ends, bool tunnel)
{
    struct forward forward = { .peer = "192.0.2.7" };
    struct request_extra extra = { .service = "fallback" };
    struct http1_out out;
    int n_hosts = 0;
    http1_out_init(&out, out_block, sizeof(out_block));
    headers_request(&out, &head, &forward, &extra);
    must(!out.full);
    must(strict_request(out.data, out.len, &seen));
    must(seen.size == out.len && seen.minor == 1);
    must(same(head.method, seen.method) && same(head.target, seen.target));
    must(strict_find(&seen, "host", &n_hosts) && n_hosts == 1);
    must(same(head.authority, strict_find(&seen, "host", NULL)->value));
    must(!(seen.chunked && seen.has_length));
    must(seen.chunked == (!ends && !tunnel && !head.has_content_length));
    must(seen.has_length == head.has_content_length &&
        (!seen.has_length || seen.length == head.content_length));
    must(!strict_find(&seen, "proxy", NULL) && !strict_find(&seen, "http2-settings", NULL));
    must(tunnel == (strict_find(&seen, "upgrade", NULL) != NULL));
    int n_cookies = 0;
    (void)strict_find(&seen, "cookie", &n_cookies);
    must(n_cookies <= 1);
    same_fields();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct h2_head h;
    struct h2_request request = { .websocket_key = "dGhlIHNhbXBsZSBub25jZQ==" };
    struct http1_fault fault = { 0, NULL };
    if (size == 0)
        return 0;
    request.ends = data[0] & 1;
    h2_head_begin(&h, 65536);
    if (data[0] & 2) {
        must(add(&h, ":method", 7, "POST", 4) && add(&h, ":scheme", 7, "https", 5));
        must(add(&h, ":authority", 10, "a.example", 9) && add(&h, ":path", 5, "/x?y", 4));
    }
    read_fields(&h, data + 1, size - 1);
    enum http1_result r = h2_head_request(&h, &pool, &request, NULL, &head, &fault);
    must(r != HTTP1_MORE);
    if (r == HTTP1_DONE)
        check_sent(request.ends, request.tunnel);
    else
        must(fault.status >= 400 && fault.status < 600 && fault.reason);
    h2_head_clear(&h, &pool);

    h2_head_begin(&h, HTTP1_TRAILERS_MAX);
    read_fields(&h, data + 1, size - 1);
    r = h2_head_trailers(&h, &pool, NULL, &head, &fault);
    for (unsigned i = 0; r == HTTP1_DONE && i < head.n_fields; i++) {
        const struct http1_field *f = &head.fields[i];
        must(http1_is_token(f->name, f->name_len) && http1_is_field_value(f->value, f->value_len));
    }
    h2_head_clear(&h, &pool);
    must(pool.used_bytes == 0);
    block_pool_done(&pool);
    return 0;
}
