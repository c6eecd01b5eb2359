/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "common/strbuf.h"

/* A chunked body is the same however its bytes are cut: content, end and refusal. The first byte says how. */

struct outcome {
    struct strbuf content;
    enum http1_body_event last;
    size_t used;
};

static void decode(const char *text, size_t size, size_t step, struct outcome *o)
{
    struct http1_body body;
    struct http1_fault fault = { 0, NULL };
    size_t at = 0;
    *o = (struct outcome){ .last = HTTP1_BODY_MORE };
    http1_body_init(&body, HTTP1_BODY_CHUNKED, 0);
    while (at < size && o->last == HTTP1_BODY_MORE) {
        size_t n = size - at < step ? size - at : step, used = 0;
        struct http1_slice slice;
        do {
            o->last = http1_body_next(&body, text + at, n, &used, &slice, &fault);
            must(used <= n);
            if (o->last == HTTP1_BODY_DATA) {
                must(slice.len > 0 && slice.ptr >= text + at && slice.ptr + slice.len <= text + at + used);
                strbuf_add(&o->content, slice.ptr, slice.len);
            }
        } while (o->last == HTTP1_BODY_DATA);
        at += used;
        must(o->last != HTTP1_BODY_MORE || used == n);
    }
    o->used = at;
    must(o->last != HTTP1_BODY_REFUSED || fault.status == 400);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http1_head trailers;
    struct http1_fault fault;
    struct outcome whole, cut;
    if (size < 1)
        return 0;
    char *text = malloc(size);
    memcpy(text, data + 1, size - 1);
    decode(text, size - 1, size, &whole);
    decode(text, size - 1, 1 + data[0] % 16, &cut);
    must(whole.last == cut.last && whole.content.len == cut.content.len);
    must(whole.content.len == 0 || memcmp(whole.content.data, cut.content.data, whole.content.len) == 0);
    must(whole.last == HTTP1_BODY_REFUSED || whole.used == cut.used);
    if (whole.last == HTTP1_BODY_TRAILERS &&
        http1_trailers_parse(text + whole.used, size - 1 - whole.used, NULL, &trailers, &fault) == HTTP1_DONE)
        must(trailers.size <= size - 1 - whole.used);
    strbuf_done(&whole.content);
    strbuf_done(&cut.content);
    free(text);
    return 0;
}
