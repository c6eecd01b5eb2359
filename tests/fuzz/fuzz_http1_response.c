/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/headers.h"

#define HEAD_OUT (80 * 1024)

/* An answer of a service, and what the client would get: one well-formed head with the same status and framing. */

static struct http1_head head, again;
static char out_block[HEAD_OUT];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http1_fault fault = { 0, NULL };
    struct http1_out out;
    if (size < 1)
        return 0;
    /* The first byte is the method that was asked with. */
    enum http1_method method = data[0] & 1 ? HTTP1_METHOD_HEAD : HTTP1_METHOD_GET;
    size--;
    char *text = malloc(size > 0 ? size : 1);
    memcpy(text, data + 1, size);
    enum http1_result r = http1_response_parse(text, size, NULL, method, &head, &fault);
    if (r == HTTP1_REFUSED)
        must(fault.status == 502 && fault.reason);
    if (r == HTTP1_DONE) {
        struct answer_style style = { .framing = ANSWER_AS_IT_IS };
        must(head.size <= size && head.status >= 100 && head.status <= 599);
        if (head.body == HTTP1_BODY_CHUNKED || head.body == HTTP1_BODY_CLOSE)
            style.framing = ANSWER_CHUNKED;
        http1_out_init(&out, out_block, sizeof(out_block));
        headers_answer(&out, &head, &style);
        must(!out.full);
        r = http1_response_parse(out.data, out.len, NULL, method, &again, &fault);
        must(r == HTTP1_DONE || head.n_fields > HTTP1_FIELDS_MAX - 4);
        if (r == HTTP1_DONE) {
            must(again.size == out.len && again.status == head.status);
            must(again.body == (head.body == HTTP1_BODY_CLOSE ? HTTP1_BODY_CHUNKED : head.body));
            must(head.body != HTTP1_BODY_LENGTH || again.content_length == head.content_length);
            must(!http1_has(&again, HTTP1_FIELD_KEEP_ALIVE) && !http1_has(&again, HTTP1_FIELD_CONNECTION));
        }
    }
    free(text);
    return 0;
}
