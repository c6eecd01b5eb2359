/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/headers.h"

#define HEAD_OUT (80 * 1024)

/* A request and what would be sent on: that must be one well-formed head which means the same, read again it must give
 * the same head once more, and no line end may have got into it from inside a part. */

static struct http1_head head, again;
static char out_block[HEAD_OUT], second_block[HEAD_OUT];

static void same_meaning(void)
{
    must(again.method.len == head.method.len &&
        memcmp(again.method.ptr, head.method.ptr, head.method.len) == 0);
    must(again.target.len == head.target.len &&
        memcmp(again.target.ptr, head.target.ptr, head.target.len) == 0);
    must(again.body == head.body && again.content_length == head.content_length);
    must(again.minor == 1 && again.keep_alive);
    must(again.upgrade == head.upgrade && again.expect_continue == head.expect_continue);
    if (head.authority.len > 0)
        must(again.host.len == head.host.len && memcmp(again.host.ptr, head.host.ptr, head.host.len) == 0);
}

/* What no field of one hop may survive. */
static void nothing_of_this_hop(void)
{
    must(!http1_has(&again, HTTP1_FIELD_PROXY) && !http1_has(&again, HTTP1_FIELD_KEEP_ALIVE));
    must(!http1_has(&again, HTTP1_FIELD_PROXY_CONNECTION) && !http1_has(&again, HTTP1_FIELD_HTTP2_SETTINGS));
    must(
        !(http1_has(&again, HTTP1_FIELD_CONTENT_LENGTH) && http1_has(&again, HTTP1_FIELD_TRANSFER_ENCODING)));
    for (unsigned i = 0; i < again.n_fields; i++) {
        const struct http1_field *f = &again.fields[i];
        must(http1_is_token(f->name, f->name_len) && http1_is_field_value(f->value, f->value_len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http1_fault fault = { 0, NULL };
    struct forward forward = { .peer = "192.0.2.7" };
    struct http1_out out;
    /* In memory of its own size, so that a read too far is seen. */
    char *text = malloc(size > 0 ? size : 1);
    memcpy(text, data, size);
    enum http1_result r = http1_request_parse(text, size, NULL, &head, &fault);
    if (r == HTTP1_REFUSED)
        must(fault.status >= 400 && fault.status < 600 && fault.reason);
    if (r != HTTP1_DONE) {
        free(text);
        return 0;
    }
    must(head.size <= size && text[head.size - 1] == '\n' && text[head.size - 2] == '\r');
    http1_out_init(&out, out_block, sizeof(out_block));
    headers_request(&out, &head, &forward, "fallback");
    must(!out.full);
    /* Fields are added on the way: only a head that was full of them may be too much for the second reader. */
    r = http1_request_parse(out.data, out.len, NULL, &again, &fault);
    if (r != HTTP1_DONE) {
        must(r == HTTP1_REFUSED && fault.status == 431 && head.n_fields > HTTP1_FIELDS_MAX - 12);
        free(text);
        return 0;
    }
    must(again.size == out.len);
    same_meaning();
    nothing_of_this_hop();
    /* A second router in a row changes nothing of what the message is. */
    struct http1_out second;
    http1_out_init(&second, second_block, sizeof(second_block));
    headers_request(&second, &again, &forward, "fallback");
    must(!second.full);
    free(text);
    return 0;
}
