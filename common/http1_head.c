/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/http1_chars.h"
#include "common/http1_meaning.h"

/* Where we are. Each step moves p behind what it understood, or leaves a result that ends the parse. */
struct cursor {
    const char *p, *end;
    struct http1_fault *fault;
    bool answer;
};

/* First byte from p that may not stand in a field value, or end. */
static const char *scan_value(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i space = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, space), v);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control), _mm_cmpeq_epi8(v, del));
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && http1_char_is(*p, HTTP1_CHAR_VALUE))
        p++;
    return p;
}

/* What stands where CR LF should. */
static enum http1_result no_line_end(struct cursor *c)
{
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p == '\n')
        return http1_refuse(c->fault, 400, "bare LF");
    if (*c->p != '\r')
        return http1_refuse(c->fault, 400, "control character");
    return c->end - c->p < 2 ? HTTP1_MORE : http1_refuse(c->fault, 400, "bare CR");
}

/* CR LF, nothing else, at p. */
static inline enum http1_result line_end(struct cursor *c)
{
    if (c->end - c->p < 2 || c->p[0] != '\r' || c->p[1] != '\n')
        return no_line_end(c);
    c->p += 2;
    return HTTP1_DONE;
}

/* --- fields ---------------------------------------------------------------------------------------------- */

enum http1_field_id http1_imitates(const char *name, size_t len)
{
    char dashed[HTTP1_FIELD_NAME_LONGEST];
    if (len > sizeof(dashed) || !memchr(name, '_', len))
        return HTTP1_FIELD_OTHER;
    for (size_t i = 0; i < len; i++)
        dashed[i] = name[i] == '_' ? '-' : name[i];
    return http1_field_id(dashed, len);
}

/* In requests, where services read them so, all fields that are known; in answers what frames. */
static bool imitates_known(const char *name, size_t len, bool answer)
{
    enum http1_field_id id = http1_imitates(name, len);
    return answer ? id == HTTP1_FIELD_CONTENT_LENGTH || id == HTTP1_FIELD_TRANSFER_ENCODING
                  : id != HTTP1_FIELD_OTHER;
}

static enum http1_result field_name(struct cursor *c, struct http1_field *f)
{
    const char *name = c->p;
    uint8_t seen;
    c->p = http1_char_span(name, c->end, HTTP1_CHAR_TOKEN, &seen);
    size_t len = (size_t)(c->p - name);
    if (len > HTTP1_FIELD_NAME_MAX)
        return http1_refuse(c->fault, 431, "field name too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p != ':') {
        if (len == 0 && (*c->p == ' ' || *c->p == '\t'))
            return http1_refuse(c->fault, 400, "folded field");
        if (*c->p == ' ' || *c->p == '\t')
            return http1_refuse(c->fault, 400, "blank between field name and colon");
        return http1_refuse(c->fault, 400, "field name with a character that may not be there");
    }
    if (len == 0)
        return http1_refuse(c->fault, 400, "field without a name");
    f->id = (uint8_t)http1_field_id(name, len);
    if (seen & HTTP1_CHAR_UNDERSCORE && imitates_known(name, len, c->answer))
        return http1_refuse(c->fault, 400, "field name imitates a known one with \"_\" for \"-\"");
    f->name = name;
    f->name_len = (uint16_t)len;
    f->listed = false;
    c->p++;
    return HTTP1_DONE;
}

static enum http1_result field_value(struct cursor *c, struct http1_field *f)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
        c->p++;
    const char *value = c->p;
    const char *end = c->p = scan_value(c->p, c->end);
    enum http1_result r = line_end(c);
    if (r != HTTP1_DONE)
        return r;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    f->value = value;
    f->value_len = (uint32_t)(end - value);
    return HTTP1_DONE;
}

/* All field lines and the empty line behind them. */
static enum http1_result field_lines(struct cursor *c, unsigned fields_max, struct http1_head *head)
{
    head->n_fields = 0;
    head->seen = 0;
    for (;;) {
        if (c->p == c->end)
            return HTTP1_MORE;
        if (*c->p == '\r' || *c->p == '\n')
            return line_end(c);
        if (head->n_fields == fields_max)
            return http1_refuse(c->fault, 431, "too many fields");
        struct http1_field *f = &head->fields[head->n_fields];
        enum http1_result r = field_name(c, f);
        if (r == HTTP1_DONE)
            r = field_value(c, f);
        if (r != HTTP1_DONE)
            return r;
        head->seen |= UINT64_C(1) << f->id;
        head->n_fields++;
    }
}

/* --- the request line ------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct {
    const char *name;
    size_t len;
    enum http1_method id;
} methods[] = {
    { "GET",     3, HTTP1_METHOD_GET },
    { "POST",    4, HTTP1_METHOD_POST },
    { "HEAD",    4, HTTP1_METHOD_HEAD },
    { "PUT",     3, HTTP1_METHOD_PUT },
    { "DELETE",  6, HTTP1_METHOD_DELETE },
    { "PATCH",   5, HTTP1_METHOD_PATCH },
    { "OPTIONS", 7, HTTP1_METHOD_OPTIONS },
};
/* clang-format on */

enum http1_result http1_know_method(struct http1_head *head, struct http1_fault *fault)
{
    head->method_id = HTTP1_METHOD_OTHER;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (methods[i].len == head->method.len &&
            memcmp(methods[i].name, head->method.ptr, head->method.len) == 0) {
            head->method_id = methods[i].id;
            return HTTP1_DONE;
        }
    }
    if (http1_slice_is(head->method, "CONNECT") || http1_slice_is(head->method, "TRACE"))
        return http1_refuse(fault, 501, "method CONNECT or TRACE");
    return HTTP1_DONE;
}

static enum http1_result read_method(struct cursor *c, struct http1_head *head)
{
    const char *start = c->p;
    while (c->p < c->end && http1_char_is(*c->p, HTTP1_CHAR_TOKEN))
        c->p++;
    size_t len = (size_t)(c->p - start);
    if (len > HTTP1_METHOD_MAX)
        return http1_refuse(c->fault, 400, "method too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p != ' ' || len == 0)
        return http1_refuse(c->fault, 400, "request line does not start with a method");
    c->p++;
    head->method = (struct http1_slice){ start, len };
    return http1_know_method(head, c->fault);
}

static enum http1_result read_target(struct cursor *c, size_t target_max, struct http1_head *head)
{
    const char *start = c->p;
    uint8_t seen;
    c->p = http1_char_span(start, c->end, HTTP1_CHAR_TARGET, &seen);
    size_t len = (size_t)(c->p - start);
    if (len > target_max)
        return http1_refuse(c->fault, 414, "request target too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p == '\r' || *c->p == '\n')
        return http1_refuse(c->fault, 400, "request line without a version");
    if (*c->p == '#')
        return http1_refuse(c->fault, 400, "request target with a fragment");
    if (*c->p != ' ' || len == 0)
        return http1_refuse(c->fault, 400, "request target with a character that may not be there");
    c->p++;
    head->target = (struct http1_slice){ start, len };
    return HTTP1_DONE;
}

/* "HTTP/1.0" or "HTTP/1.1"; leaves p behind it. */
static enum http1_result read_version(struct cursor *c, struct http1_head *head)
{
    static const char name[] = "HTTP/";
    size_t there = (size_t)(c->end - c->p);
    size_t n = there < 5 ? there : 5;
    if (memcmp(c->p, name, n) != 0)
        return http1_refuse(c->fault, 400, "no HTTP version where it should be");
    if (there < 8)
        return HTTP1_MORE;
    const char *v = c->p + 5;
    if (v[0] < '0' || v[0] > '9' || v[1] != '.' || v[2] < '0' || v[2] > '9')
        return http1_refuse(c->fault, 400, "malformed HTTP version");
    if (v[0] != '1' || v[2] > '1')
        return http1_refuse(c->fault, 505, "HTTP version other than 1.0 and 1.1");
    head->minor = v[2] - '0';
    c->p += 8;
    return HTTP1_DONE;
}

/* --- requests -------------------------------------------------------------------------------------------- */

static size_t or_max(size_t limit, size_t max)
{
    return limit > 0 && limit < max ? limit : max;
}

static struct cursor cursor_start(
    const char *data, size_t len, const struct http1_limits *limits, struct http1_fault *fault)
{
    size_t max = or_max(limits ? limits->head_max : 0, HTTP1_HEAD_MAX);
    if (len == 0)
        data = "";
    return (struct cursor){ data, data + (len < max ? len : max), fault, false };
}

static unsigned fields_max(const struct http1_limits *limits)
{
    return (unsigned)or_max(limits ? limits->fields_max : 0, HTTP1_FIELDS_MAX);
}

/* A head that needs more than it may have is too large. */
static enum http1_result more_or_too_large(
    enum http1_result r, struct cursor *c, const char *data, size_t len, bool in_target)
{
    if (r == HTTP1_MORE && (size_t)(c->end - data) < len)
        return in_target ? http1_refuse(c->fault, 414, "request line too long")
                         : http1_refuse(c->fault, 431, "head too large");
    return r;
}

enum http1_result http1_request_parse(const char *data, size_t len, const struct http1_limits *limits,
    struct http1_head *ret, struct http1_fault *fault)
{
    struct cursor c = cursor_start(data, len, limits, fault);
    http1_head_reset(ret);
    if (c.p < c.end && (*c.p == '\r' || *c.p == '\n')) {
        enum http1_result empty = line_end(&c);
        if (empty != HTTP1_DONE)
            return empty;
    }
    enum http1_result r = read_method(&c, ret);
    if (r == HTTP1_DONE)
        r = read_target(&c, or_max(limits ? limits->target_max : 0, HTTP1_TARGET_MAX), ret);
    if (r == HTTP1_DONE)
        r = read_version(&c, ret);
    if (r == HTTP1_DONE)
        r = line_end(&c);
    if (r != HTTP1_DONE)
        return more_or_too_large(r, &c, data, len, true);
    r = field_lines(&c, fields_max(limits), ret);
    if (r != HTTP1_DONE)
        return more_or_too_large(r, &c, data, len, false);
    ret->size = (size_t)(c.p - data);
    return http1_request_meaning(ret, fault);
}

/* --- responses ------------------------------------------------------------------------------------------- */

/* status-line, also without the blank behind the number where there is no reason. */
static enum http1_result read_status_line(struct cursor *c, struct http1_head *head)
{
    enum http1_result r = read_version(c, head);
    if (r != HTTP1_DONE)
        return r;
    if (c->end - c->p < 5)
        return HTTP1_MORE;
    const char *s = c->p;
    if (s[0] != ' ' || s[1] < '1' || s[1] > '5' || s[2] < '0' || s[2] > '9' || s[3] < '0' || s[3] > '9')
        return http1_refuse(c->fault, 502, "status is no number from 100 to 599");
    head->status = (s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0');
    c->p += 4;
    if (*c->p == ' ') {
        const char *reason = ++c->p;
        c->p = scan_value(c->p, c->end);
        head->reason = (struct http1_slice){ reason, (size_t)(c->p - reason) };
    } else if (*c->p != '\r' && *c->p != '\n') {
        return http1_refuse(c->fault, 502, "malformed status line");
    }
    return line_end(c);
}

enum http1_result http1_response_parse(const char *data, size_t len, const struct http1_limits *limits,
    enum http1_method method_id, struct http1_head *ret, struct http1_fault *fault)
{
    struct cursor c = cursor_start(data, len, limits, fault);
    http1_head_reset(ret);
    c.answer = true;
    enum http1_result r = read_status_line(&c, ret);
    if (r == HTTP1_DONE)
        r = field_lines(&c, fields_max(limits), ret);
    if (r == HTTP1_DONE) {
        ret->size = (size_t)(c.p - data);
        r = http1_response_meaning(ret, method_id, fault);
    } else {
        r = more_or_too_large(r, &c, data, len, false);
    }
    if (r == HTTP1_REFUSED)
        fault->status = 502;
    return r;
}

/* --- trailers -------------------------------------------------------------------------------------------- */

enum http1_result http1_trailers_parse(const char *data, size_t len, const struct http1_limits *limits,
    struct http1_head *ret, struct http1_fault *fault)
{
    size_t max = or_max(limits ? limits->trailers_max : 0, HTTP1_TRAILERS_MAX);
    struct cursor c = { data, data + (len < max ? len : max), fault, false };
    http1_head_reset(ret);
    enum http1_result r = field_lines(&c, fields_max(limits), ret);
    if (r != HTTP1_DONE)
        return more_or_too_large(r, &c, data, len, false);
    ret->size = (size_t)(c.p - data);
    return http1_trailers_meaning(ret, fault);
}
