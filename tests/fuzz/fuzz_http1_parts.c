/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "routerd/headers.h"
#include "tests/fuzz/strict_reader.h"

#define HEAD_OUT  (80 * 1024)
#define SEPARATOR 0xfe

/* A request that comes as parts, as HTTP/2 brings them, and what is sent on of it as text: read by a second reader it is one
 * head, with these parts and no more. The first byte says whether content follows; then method, target, names and values,
 * each ended by 0xfe, so that a part may hold any other byte. */

static struct http1_head head;
static struct strict_head went;
static char out_block[HEAD_OUT];

static bool take(const char **p, const char *end, struct http1_slice *ret)
{
    const char *mark = *p < end ? memchr(*p, SEPARATOR, (size_t)(end - *p)) : NULL;
    if (!mark)
        return false;
    *ret = (struct http1_slice){ *p, (size_t)(mark - *p) };
    *p = mark + 1;
    return true;
}

static bool build(const char *p, const char *end, bool ends)
{
    struct http1_fault fault = { 0, NULL };
    struct http1_slice method, target, name, value;
    http1_parts_begin(&head);
    if (!take(&p, end, &method) || !take(&p, end, &target))
        return false;
    enum http1_result r = http1_parts_line(&head, method, target, NULL, &fault);
    while (r == HTTP1_DONE && take(&p, end, &name) && take(&p, end, &value))
        r = http1_parts_field(&head, name, value, NULL, &fault);
    if (r == HTTP1_DONE)
        r = http1_parts_judge(&head, ends, &fault);
    must(
        r == HTTP1_DONE || (r == HTTP1_REFUSED && fault.reason && fault.status >= 400 && fault.status < 600));
    return r == HTTP1_DONE;
}

static struct strict_text text_of(struct http1_slice s)
{
    return (struct strict_text){ s.ptr, s.len };
}

/* Every field that went is one that came, or of those that the router writes. */
static void nothing_new(void)
{
    static const char *const written[] = { "Host", "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto",
        "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "Via", "Transfer-Encoding", "Content-Length",
        "Expect", "Connection", "TE", "Max-Forwards" };
    for (int i = 0; i < went.n_fields; i++) {
        const struct strict_field *f = &went.fields[i];
        bool known = false;
        for (size_t k = 0; k < ARRAY_SIZE(written); k++)
            known |= strict_is(f->name, written[k]);
        for (unsigned k = 0; k < head.n_fields; k++) {
            const struct http1_field *came = &head.fields[k];
            known |= strict_same(f->name, (struct strict_text){ came->name, came->name_len }) &&
                strict_same(f->value, (struct strict_text){ came->value, came->value_len });
        }
        must(known);
    }
}

static void judge(bool ends)
{
    struct forward forward = { .peer = "192.0.2.7", .tls = true };
    struct http1_out out;
    http1_out_init(&out, out_block, sizeof(out_block));
    headers_request(&out, &head, &forward, &(struct request_extra){ .service = "fallback", .version = "1" });
    if (out.full)
        return;
    must(strict_request(out.data, out.len, &went) && went.size == out.len && went.minor == 1);
    must(strict_same(went.method, text_of(head.method)) && strict_same(went.target, text_of(head.target)));
    must(went.chunked == (head.body == HTTP1_BODY_CHUNKED));
    must(went.has_length == (head.body == HTTP1_BODY_LENGTH) && went.length == head.content_length);
    must(!ends || (!went.chunked && went.length == 0));
    must(strict_same(strict_find(&went, "Host", NULL)->value, text_of(head.authority)));
    nothing_new();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *text = malloc(size);
    memcpy(text, data, size);
    bool ends = text[0] & 1;
    if (build(text + 1, text + size, ends))
        judge(ends);
    free(text);
    return 0;
}
