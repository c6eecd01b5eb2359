/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/headers.h"
#include "tests/fuzz/strict_reader.h"

#define HEAD_OUT (80 * 1024)

/* An answer of a service, and what the client would get, as text and field by field: read by a second reader, both are
 * well-formed heads which mean the same. */

static struct http1_head head, again;
static struct http1_field fields[HTTP1_FIELDS_MAX + 4];
static struct strict_head came, went;
static char out_block[HEAD_OUT];

static const char date[] = "Sun, 29 Nov 2026 01:00:00 GMT";
static const char *const not_compared[] = { "Connection", "Content-Length", "Date", "Keep-Alive",
    "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Connection", "TE", "Trailer",
    "Transfer-Encoding", "Upgrade" };

/* What goes to clients of HTTP/2 holds nothing of the hop. */
static void fields_of_h2(void)
{
    struct answer_extra extra = { .date = date };
    int n = headers_answer_fields(&head, &extra, fields, ARRAY_SIZE(fields));
    must(n >= 0 && (unsigned)n <= head.n_fields + 1);
    for (int i = 0; i < n; i++) {
        const struct strict_field f = { { fields[i].name, fields[i].name_len }, { NULL, 0 } };
        must(http1_is_token(fields[i].name, fields[i].name_len));
        must(http1_is_field_value(fields[i].value, fields[i].value_len));
        must(!strict_is_one_of(f.name, not_compared, ARRAY_SIZE(not_compared)) ||
            strict_is(f.name, "Trailer") || strict_is(f.name, "Content-Length") || strict_is(f.name, "Date"));
    }
}

/* The service's own stays as it is; a final answer that has none gets one. */
static void judge_date(void)
{
    const struct strict_text name = { "Date", 4 };
    int n_came = 0, n_went = 0;
    const struct strict_field *c = strict_find(&came, "Date", &n_came),
                              *w = strict_find(&went, "Date", &n_went);
    if (strict_lists(&came, "Connection", name))
        n_came = 0;
    must(n_went == (n_came == 0 && came.status >= 200 ? 1 : n_came));
    must(n_went == 0 || strict_is(w->value, date) || strict_same(c->value, w->value));
}

static void judge(enum http1_method method)
{
    struct http1_fault fault;
    struct http1_out out;
    struct answer_style style = { .framing = ANSWER_AS_IT_IS, .extra.date = date };
    if (head.body == HTTP1_BODY_CHUNKED || head.body == HTTP1_BODY_CLOSE)
        style.framing = ANSWER_CHUNKED;
    http1_out_init(&out, out_block, sizeof(out_block));
    headers_answer(&out, &head, &style);
    must(!out.full);
    must(strict_answer(out.data, out.len, &went) && went.size == out.len && went.status == came.status);
    must(strict_same_fields(&came, &went, not_compared, ARRAY_SIZE(not_compared)));
    must(went.chunked == (style.framing == ANSWER_CHUNKED));
    must(went.chunked || !went.has_length || went.length == came.length);
    judge_date();
    fields_of_h2();
    enum http1_result r = http1_response_parse(out.data, out.len, NULL, method, &again, &fault);
    must(r == HTTP1_DONE || head.n_fields > HTTP1_FIELDS_MAX - 4);
    if (r == HTTP1_DONE) {
        must(again.size == out.len && again.status == head.status);
        must(again.body == (head.body == HTTP1_BODY_CLOSE ? HTTP1_BODY_CHUNKED : head.body) ||
            (head.status == 205 && again.body == HTTP1_BODY_LENGTH && again.content_length == 0));
        must(head.body != HTTP1_BODY_LENGTH || again.content_length == head.content_length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http1_fault fault = { 0, NULL };
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
        must(strict_answer(text, size, &came) && came.size == head.size && came.status == head.status);
        judge(method);
    }
    free(text);
    return 0;
}
