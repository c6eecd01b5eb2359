/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include <strings.h>

#include "common/http1_chars.h"
#include "common/http1_meaning.h"

#define BIT(id) (UINT64_C(1) << HTTP1_FIELD_##id)

/* RFC 9113 8.2.2: of one hop, and HTTP/2 says these things in other ways. */
static const uint64_t never_in_h2 = BIT(CONNECTION) | BIT(HTTP2_SETTINGS) | BIT(KEEP_ALIVE) |
    BIT(PROXY_CONNECTION) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE);

void http1_parts_begin(struct http1_head *ret)
{
    http1_head_reset(ret);
    ret->is_h2 = true;
    ret->minor = 1;
    ret->keep_alive = true;
}

static unsigned limit(size_t given, size_t max)
{
    return (unsigned)(given > 0 && given < max ? given : max);
}

enum http1_result http1_parts_line(struct http1_head *head, struct http1_slice method,
    struct http1_slice target, const struct http1_limits *limits, struct http1_fault *fault)
{
    if (!http1_is_token(method.ptr, method.len) || method.len > HTTP1_METHOD_MAX)
        return http1_refuse(fault, 400, "malformed method");
    if (target.len > limit(limits ? limits->target_max : 0, HTTP1_TARGET_MAX))
        return http1_refuse(fault, 414, "request target too long");
    if (target.len == 0 || (target.ptr[0] != '/' && !http1_slice_is(target, "*")))
        return http1_refuse(fault, 400, "request target that is no path");
    for (size_t i = 0; i < target.len; i++) {
        if (!http1_char_is(target.ptr[i], HTTP1_CHAR_TARGET))
            return http1_refuse(fault, 400, "request target with a character that may not be there");
    }
    head->method = method;
    head->target = target;
    return http1_know_method(head, fault);
}

static bool is_lower(struct http1_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z')
            return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

enum http1_result http1_parts_field(struct http1_head *head, struct http1_slice name,
    struct http1_slice value, const struct http1_limits *limits, struct http1_fault *fault)
{
    if (head->n_fields == limit(limits ? limits->fields_max : 0, HTTP1_FIELDS_MAX))
        return http1_refuse(fault, 431, "too many fields");
    if (name.len > HTTP1_FIELD_NAME_MAX)
        return http1_refuse(fault, 431, "field name too long");
    if (!http1_is_token(name.ptr, name.len) || !is_lower(name))
        return http1_refuse(fault, 400, "field name with a character that may not be there");
    if (!http1_is_field_value(value.ptr, value.len))
        return http1_refuse(fault, 400, "control character");
    if (value.len > 0 && (is_blank(value.ptr[0]) || is_blank(value.ptr[value.len - 1])))
        return http1_refuse(fault, 400, "blank around a field value");
    enum http1_field_id id = http1_field_id(name.ptr, name.len);
    if (id == HTTP1_FIELD_OTHER && http1_imitates(name.ptr, name.len) != HTTP1_FIELD_OTHER)
        return http1_refuse(fault, 400, "field name imitates a known one with \"_\" for \"-\"");
    if (never_in_h2 & UINT64_C(1) << id || (id == HTTP1_FIELD_TE && !http1_slice_is(value, "trailers")))
        return http1_refuse(fault, 400, "field of one hop in HTTP/2");
    head->fields[head->n_fields++] = (struct http1_field){ .name = name.ptr,
        .name_len = (uint16_t)name.len,
        .value = value.ptr,
        .value_len = (uint32_t)value.len,
        .id = (uint8_t)id };
    head->seen |= UINT64_C(1) << id;
    return HTTP1_DONE;
}

/* RFC 9113 8.3.1: a Host beside :authority says the same, in any case; one of them is enough for the rest. */
static enum http1_result merge_hosts(struct http1_head *head, struct http1_fault *fault)
{
    const struct http1_field *first = http1_find(head, HTTP1_FIELD_HOST);
    unsigned n = 0;
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (f != first && f->id == HTTP1_FIELD_HOST) {
            if (f->value_len != first->value_len || strncasecmp(f->value, first->value, f->value_len) != 0)
                return http1_refuse(fault, 400, "more than one Host");
            continue;
        }
        head->fields[n++] = *f;
    }
    head->n_fields = n;
    return HTTP1_DONE;
}

enum http1_result http1_parts_judge(struct http1_head *head, bool ends, struct http1_fault *fault)
{
    if (merge_hosts(head, fault) != HTTP1_DONE || http1_request_meaning(head, fault) != HTTP1_DONE)
        return HTTP1_REFUSED;
    if (ends && head->content_length > 0)
        return http1_refuse(fault, 400, "Content-Length of content that does not follow");
    if (!ends && head->body == HTTP1_BODY_NONE) {
        head->body = HTTP1_BODY_CHUNKED;
        head->expect_continue = http1_has(head, HTTP1_FIELD_EXPECT);
    }
    return HTTP1_DONE;
}

enum http1_result http1_parts_judge_trailers(struct http1_head *trailers, struct http1_fault *fault)
{
    return http1_trailers_meaning(trailers, fault);
}
