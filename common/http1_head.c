/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/http1_chars.h"

#define FIELD_NAME_MAX            1024
#define HOST_NAME_MAX_            255
#define CONNECTION_OPTIONS_MAX    32
#define CONTENT_LENGTH_DIGITS_MAX 18 /* below 2^63 whatever the digits */

/* Where we are. Each step moves p behind what it understood, or leaves a result that ends the parse. */
struct cursor {
    const char *p, *end;
    struct http1_fault *fault;
};

static enum http1_result refuse(struct http1_fault *fault, int status, const char *reason)
{
    *fault = (struct http1_fault){ status, reason };
    return HTTP1_REFUSED;
}

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

/* CR LF, nothing else, at p. */
static enum http1_result line_end(struct cursor *c)
{
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p == '\n')
        return refuse(c->fault, 400, "bare LF");
    if (*c->p != '\r')
        return refuse(c->fault, 400, "control character");
    if (c->end - c->p < 2)
        return HTTP1_MORE;
    if (c->p[1] != '\n')
        return refuse(c->fault, 400, "bare CR");
    c->p += 2;
    return HTTP1_DONE;
}

/* --- fields ---------------------------------------------------------------------------------------------- */

/* A service that maps names to CGI variables can't tell Content_Length from Content-Length. */
static bool imitates_known(const char *name, size_t len)
{
    char dashed[32];
    if (len > sizeof(dashed) || !memchr(name, '_', len))
        return false;
    for (size_t i = 0; i < len; i++)
        dashed[i] = name[i] == '_' ? '-' : name[i];
    return http1_field_id(dashed, len) != HTTP1_FIELD_OTHER;
}

static enum http1_result field_name(struct cursor *c, struct http1_field *f)
{
    const char *name = c->p;
    while (c->p < c->end && http1_char_is(*c->p, HTTP1_CHAR_TOKEN))
        c->p++;
    size_t len = (size_t)(c->p - name);
    if (len > FIELD_NAME_MAX)
        return refuse(c->fault, 431, "field name too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p != ':') {
        if (len == 0 && (*c->p == ' ' || *c->p == '\t'))
            return refuse(c->fault, 400, "folded field");
        if (*c->p == ' ' || *c->p == '\t')
            return refuse(c->fault, 400, "blank between field name and colon");
        return refuse(c->fault, 400, "field name with a character that may not be there");
    }
    if (len == 0)
        return refuse(c->fault, 400, "field without a name");
    f->id = (uint8_t)http1_field_id(name, len);
    if (f->id == HTTP1_FIELD_OTHER && imitates_known(name, len))
        return refuse(c->fault, 400, "field name imitates a known one with \"_\" for \"-\"");
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
            return refuse(c->fault, 431, "too many fields");
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

/* --- what fields mean ------------------------------------------------------------------------------------ */

static enum http1_result read_content_length(struct http1_head *head, struct http1_fault *fault)
{
    const struct http1_field *found = NULL;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != HTTP1_FIELD_CONTENT_LENGTH)
            continue;
        if (found)
            return refuse(fault, 400, "more than one Content-Length");
        found = &head->fields[i];
    }
    uint64_t n = 0;
    if (found->value_len == 0 || found->value_len > CONTENT_LENGTH_DIGITS_MAX)
        return refuse(fault, 400, "Content-Length is empty or too large");
    for (uint32_t i = 0; i < found->value_len; i++) {
        char d = found->value[i];
        if (d < '0' || d > '9')
            return refuse(fault, 400, "Content-Length is no number");
        n = n * 10 + (unsigned)(d - '0');
    }
    head->content_length = n;
    head->has_content_length = true;
    return HTTP1_DONE;
}

/* Of the codings only one plain "chunked" is understood; other well-formed lists that end in it are 501. */
static enum http1_result read_transfer_encoding(struct http1_head *head, struct http1_fault *fault)
{
    const struct http1_field *found = NULL;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != HTTP1_FIELD_TRANSFER_ENCODING)
            continue;
        if (found)
            return refuse(fault, 400, "more than one Transfer-Encoding");
        found = &head->fields[i];
    }
    if (head->minor == 0)
        return refuse(fault, 400, "Transfer-Encoding with HTTP/1.0");
    if (http1_has(head, HTTP1_FIELD_CONTENT_LENGTH))
        return refuse(fault, 400, "both Transfer-Encoding and Content-Length");
    if (http1_slice_is(http1_value(found), "chunked"))
        return HTTP1_DONE;

    struct http1_slice list = http1_value(found), item;
    int n_chunked = 0;
    bool last_is_chunked = false;
    while (http1_list_next(&list, &item)) {
        if (!http1_is_token(item.ptr, item.len))
            return refuse(fault, 400, "Transfer-Encoding is malformed");
        last_is_chunked = http1_slice_is(item, "chunked");
        n_chunked += last_is_chunked;
    }
    if (n_chunked == 1 && last_is_chunked && !http1_slice_is(http1_value(found), "chunked") &&
        found->value[found->value_len - 1] != ',' && found->value[0] != ',')
        return refuse(fault, 501, "transfer coding is not understood");
    return refuse(fault, 400, "Transfer-Encoding is not chunked");
}

static const uint64_t never_listed = UINT64_C(1) << HTTP1_FIELD_HOST |
    UINT64_C(1) << HTTP1_FIELD_CONTENT_LENGTH | UINT64_C(1) << HTTP1_FIELD_TRANSFER_ENCODING;

static void mark_listed(struct http1_head *head, struct http1_slice name)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http1_field *f = &head->fields[i];
        if (f->name_len == name.len && strncasecmp(f->name, name.ptr, name.len) == 0)
            f->listed = true;
    }
}

enum { OPTION_CLOSE = 1, OPTION_KEEP_ALIVE = 2, OPTION_UPGRADE = 4 };

static enum http1_result read_connection(
    struct http1_head *head, unsigned *ret_options, struct http1_fault *fault)
{
    unsigned options = 0, n = 0;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != HTTP1_FIELD_CONNECTION)
            continue;
        struct http1_slice list = http1_value(&head->fields[i]), item;
        while (http1_list_next(&list, &item)) {
            if (++n > CONNECTION_OPTIONS_MAX)
                return refuse(fault, 400, "too many connection options");
            if (!http1_is_token(item.ptr, item.len))
                return refuse(fault, 400, "Connection is malformed");
            if (http1_slice_is(item, "close"))
                options |= OPTION_CLOSE;
            else if (http1_slice_is(item, "keep-alive"))
                options |= OPTION_KEEP_ALIVE;
            else if (http1_slice_is(item, "upgrade"))
                options |= OPTION_UPGRADE;
            else if (never_listed & UINT64_C(1) << http1_field_id(item.ptr, item.len))
                return refuse(fault, 400, "Connection lists a field that frames or routes the message");
            else
                mark_listed(head, item);
        }
    }
    *ret_options = options;
    return HTTP1_DONE;
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

static enum http1_result read_method(struct cursor *c, struct http1_head *head)
{
    const char *start = c->p;
    while (c->p < c->end && http1_char_is(*c->p, HTTP1_CHAR_TOKEN))
        c->p++;
    size_t len = (size_t)(c->p - start);
    if (len > HTTP1_METHOD_MAX)
        return refuse(c->fault, 400, "method too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p != ' ' || len == 0)
        return refuse(c->fault, 400, "request line does not start with a method");
    c->p++;
    head->method = (struct http1_slice){ start, len };
    head->method_id = HTTP1_METHOD_OTHER;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (methods[i].len == len && memcmp(methods[i].name, start, len) == 0) {
            head->method_id = methods[i].id;
            return HTTP1_DONE;
        }
    }
    if (http1_slice_is(head->method, "CONNECT") || http1_slice_is(head->method, "TRACE"))
        return refuse(c->fault, 501, "method CONNECT or TRACE");
    return HTTP1_DONE;
}

static enum http1_result read_target(struct cursor *c, size_t target_max, struct http1_head *head)
{
    const char *start = c->p;
    while (c->p < c->end && http1_char_is(*c->p, HTTP1_CHAR_TARGET))
        c->p++;
    size_t len = (size_t)(c->p - start);
    if (len > target_max)
        return refuse(c->fault, 414, "request target too long");
    if (c->p == c->end)
        return HTTP1_MORE;
    if (*c->p == '\r' || *c->p == '\n')
        return refuse(c->fault, 400, "request line without a version");
    if (*c->p == '#')
        return refuse(c->fault, 400, "request target with a fragment");
    if (*c->p != ' ' || len == 0)
        return refuse(c->fault, 400, "request target with a character that may not be there");
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
        return refuse(c->fault, 400, "no HTTP version where it should be");
    if (there < 8)
        return HTTP1_MORE;
    const char *v = c->p + 5;
    if (v[0] < '0' || v[0] > '9' || v[1] != '.' || v[2] < '0' || v[2] > '9')
        return refuse(c->fault, 400, "malformed HTTP version");
    if (v[0] != '1' || v[2] > '1')
        return refuse(c->fault, 505, "HTTP version other than 1.0 and 1.1");
    head->minor = v[2] - '0';
    c->p += 8;
    return HTTP1_DONE;
}

/* --- target and host ------------------------------------------------------------------------------------- */

static bool parse_port(const char *p, const char *end, int *ret)
{
    int port = 0;
    if (p == end || end - p > 5)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        port = port * 10 + (*p - '0');
    }
    *ret = port;
    return port > 0 && port <= 65535;
}

/* "[" hex digits, colons, dots "]": the form alone, which is enough to forward it unchanged. */
static const char *ipv6_end(const char *p, const char *end)
{
    int colons = 0;
    for (p++; p < end && *p != ']'; p++) {
        bool hex = (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f');
        if (!hex && *p != ':' && *p != '.')
            return NULL;
        colons += *p == ':';
    }
    return p < end && colons >= 2 ? p + 1 : NULL;
}

static const char *name_end(const char *p, const char *end)
{
    const char *start = p;
    for (; p < end && http1_char_is(*p, HTTP1_CHAR_HOST); p++) {
        if (*p == '.' && (p == start || p[-1] == '.'))
            return NULL;
    }
    return p > start && p - start <= HOST_NAME_MAX_ ? p : NULL;
}

/* host [ ":" port ]: no user information, no percent-encoding, no empty port. */
static bool read_authority(struct http1_slice s, struct http1_head *head)
{
    const char *end = s.ptr + s.len;
    if (s.len == 0)
        return false;
    const char *p = *s.ptr == '[' ? ipv6_end(s.ptr, end) : name_end(s.ptr, end);
    if (!p)
        return false;
    head->authority = s;
    head->host = (struct http1_slice){ s.ptr, (size_t)(p - s.ptr) };
    head->port = -1;
    return p == end || (*p == ':' && parse_port(p + 1, end, &head->port));
}

static bool slice_equal_nocase(struct http1_slice a, struct http1_slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

/* http://authority/path: *ret_authority is what it names, the target becomes its path. */
static enum http1_result split_absolute(
    struct http1_head *head, struct http1_slice *ret_authority, struct http1_fault *fault)
{
    const char *p = head->target.ptr, *end = p + head->target.len;
    size_t scheme = 0;
    if (head->target.len > 7 && strncasecmp(p, "http://", 7) == 0)
        scheme = 7;
    else if (head->target.len > 8 && strncasecmp(p, "https://", 8) == 0)
        scheme = 8;
    else
        return refuse(fault, 400, "request target is neither a path nor an http address");
    const char *path = p + scheme;
    while (path < end && *path != '/' && *path != '?')
        path++;
    *ret_authority = (struct http1_slice){ p + scheme, (size_t)(path - p) - scheme };
    if (path < end && *path == '?')
        return refuse(fault, 400, "request target without a path");
    head->target = (struct http1_slice){ path, (size_t)(end - path) };
    if (path == end)
        head->target = head->method_id == HTTP1_METHOD_OPTIONS ? HTTP1_SLICE("*") : HTTP1_SLICE("/");
    return HTTP1_DONE;
}

/* Origin, absolute or asterisk form; the authority is Host's, and both must agree where both are there. */
static enum http1_result read_target_form(struct http1_head *head, struct http1_fault *fault)
{
    struct http1_slice named = { NULL, 0 };
    if (head->target.len == 1 && head->target.ptr[0] == '*') {
        if (head->method_id != HTTP1_METHOD_OPTIONS)
            return refuse(fault, 400, "request target \"*\" with another method than OPTIONS");
    } else if (head->target.ptr[0] != '/') {
        enum http1_result r = split_absolute(head, &named, fault);
        if (r != HTTP1_DONE)
            return r;
    }
    const char *query = memchr(head->target.ptr, '?', head->target.len);
    head->path = head->target;
    if (query)
        head->path.len = (size_t)(query - head->target.ptr);
    if (memchr(head->path.ptr, '\\', head->path.len))
        return refuse(fault, 400, "backslash in the path");

    const struct http1_field *host = NULL;
    for (unsigned i = 0; i < head->n_fields && http1_has(head, HTTP1_FIELD_HOST); i++) {
        if (head->fields[i].id != HTTP1_FIELD_HOST)
            continue;
        if (host)
            return refuse(fault, 400, "more than one Host");
        host = &head->fields[i];
    }
    if (!host && head->minor == 1)
        return refuse(fault, 400, "no Host");
    if (host && !read_authority(http1_value(host), head))
        return refuse(fault, 400, "Host is malformed");
    if (named.ptr && host && !slice_equal_nocase(named, http1_value(host)))
        return refuse(fault, 400, "request target and Host name different hosts");
    if (named.ptr && !read_authority(named, head))
        return refuse(fault, 400, "request target with a malformed host");
    return HTTP1_DONE;
}

/* --- requests -------------------------------------------------------------------------------------------- */

static void read_upgrade(struct http1_head *head, unsigned options)
{
    bool wanted = options & OPTION_UPGRADE && head->minor == 1;
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http1_field *f = &head->fields[i];
        if (f->id != HTTP1_FIELD_UPGRADE)
            continue;
        /* h2c would let a client speak to a service past the router. */
        struct http1_slice list = http1_value(f), item;
        while (http1_list_next(&list, &item)) {
            if (http1_slice_is(item, "h2c") || http1_slice_is(item, "h2"))
                wanted = false;
        }
        head->upgrade = wanted;
    }
    if (!wanted || head->body == HTTP1_BODY_CHUNKED || head->content_length > 0)
        head->upgrade = false;
}

static enum http1_result read_expect(struct http1_head *head, struct http1_fault *fault)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (f->id != HTTP1_FIELD_EXPECT)
            continue;
        if (!http1_slice_is(http1_value(f), "100-continue"))
            return refuse(fault, 417, "expectation other than 100-continue");
        head->expect_continue =
            head->minor == 1 && (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0);
    }
    return HTTP1_DONE;
}

static enum http1_result read_framing(
    struct http1_head *head, unsigned *ret_options, struct http1_fault *fault)
{
    enum http1_result r = HTTP1_DONE;
    if (http1_has(head, HTTP1_FIELD_TRANSFER_ENCODING)) {
        r = read_transfer_encoding(head, fault);
        head->body = HTTP1_BODY_CHUNKED;
    } else if (http1_has(head, HTTP1_FIELD_CONTENT_LENGTH)) {
        r = read_content_length(head, fault);
        head->body = HTTP1_BODY_LENGTH;
    }
    if (r == HTTP1_DONE && http1_has(head, HTTP1_FIELD_CONNECTION))
        r = read_connection(head, ret_options, fault);
    if (r == HTTP1_DONE) {
        head->keep_alive =
            !(*ret_options & OPTION_CLOSE) && (head->minor == 1 || *ret_options & OPTION_KEEP_ALIVE);
    }
    return r;
}

static void read_te(struct http1_head *head)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id == HTTP1_FIELD_TE && http1_list_has(http1_value(&head->fields[i]), "trailers"))
            head->has_trailer_te = true;
    }
}

static enum http1_result read_request_meaning(struct http1_head *head, struct http1_fault *fault)
{
    unsigned options = 0;
    enum http1_result r = read_target_form(head, fault);
    if (r == HTTP1_DONE)
        r = read_framing(head, &options, fault);
    if (r == HTTP1_DONE && http1_has(head, HTTP1_FIELD_UPGRADE))
        read_upgrade(head, options);
    if (r == HTTP1_DONE && http1_has(head, HTTP1_FIELD_EXPECT))
        r = read_expect(head, fault);
    if (r == HTTP1_DONE && http1_has(head, HTTP1_FIELD_TE))
        read_te(head);
    return r;
}

static void head_reset(struct http1_head *head)
{
    memset(head, 0, offsetof(struct http1_head, fields));
    head->port = -1;
}

static size_t or_max(size_t limit, size_t max)
{
    return limit > 0 && limit < max ? limit : max;
}

static struct cursor cursor_start(
    const char *data, size_t len, const struct http1_limits *limits, struct http1_fault *fault)
{
    size_t max = or_max(limits ? limits->head_max : 0, HTTP1_HEAD_MAX);
    return (struct cursor){ data, data + (len < max ? len : max), fault };
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
        return in_target ? refuse(c->fault, 414, "request line too long")
                         : refuse(c->fault, 431, "head too large");
    return r;
}

enum http1_result http1_request_parse(const char *data, size_t len, const struct http1_limits *limits,
    struct http1_head *ret, struct http1_fault *fault)
{
    struct cursor c = cursor_start(data, len, limits, fault);
    head_reset(ret);
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
    return read_request_meaning(ret, fault);
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
        return refuse(c->fault, 502, "status is no number from 100 to 599");
    head->status = (s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0');
    c->p += 4;
    if (*c->p == ' ') {
        const char *reason = ++c->p;
        c->p = scan_value(c->p, c->end);
        head->reason = (struct http1_slice){ reason, (size_t)(c->p - reason) };
    } else if (*c->p != '\r' && *c->p != '\n') {
        return refuse(c->fault, 502, "malformed status line");
    }
    return line_end(c);
}

static enum http1_result read_response_meaning(
    struct http1_head *head, enum http1_method method_id, struct http1_fault *fault)
{
    unsigned options = 0;
    enum http1_result r = read_framing(head, &options, fault);
    if (r != HTTP1_DONE)
        return r;
    bool informational = head->status < 200;
    if ((informational || head->status == 204) &&
        (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0 || (informational && head->body)))
        return refuse(fault, 502, "1xx or 204 with a body");
    if (head->status == 205 && (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0))
        return refuse(fault, 502, "205 with a body");
    if (informational || head->status == 204 || head->status == 304 || method_id == HTTP1_METHOD_HEAD)
        head->body = HTTP1_BODY_NONE;
    else if (head->body == HTTP1_BODY_NONE && head->status == 205)
        head->keep_alive = false;
    else if (head->body == HTTP1_BODY_NONE)
        head->body = HTTP1_BODY_CLOSE;
    if (head->body == HTTP1_BODY_CLOSE)
        head->keep_alive = false;
    return HTTP1_DONE;
}

enum http1_result http1_response_parse(const char *data, size_t len, const struct http1_limits *limits,
    enum http1_method method_id, struct http1_head *ret, struct http1_fault *fault)
{
    struct cursor c = cursor_start(data, len, limits, fault);
    head_reset(ret);
    enum http1_result r = read_status_line(&c, ret);
    if (r == HTTP1_DONE)
        r = field_lines(&c, fields_max(limits), ret);
    if (r == HTTP1_DONE) {
        ret->size = (size_t)(c.p - data);
        r = read_response_meaning(ret, method_id, fault);
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
    struct cursor c = { data, data + (len < max ? len : max), fault };
    head_reset(ret);
    enum http1_result r = field_lines(&c, fields_max(limits), ret);
    if (r != HTTP1_DONE)
        return more_or_too_large(r, &c, data, len, false);
    const uint64_t fine = UINT64_C(1) << HTTP1_FIELD_OTHER | UINT64_C(1) << HTTP1_FIELD_DATE;
    if (ret->seen & ~fine)
        return refuse(fault, 400, "trailer that frames, routes or authorises");
    ret->size = (size_t)(c.p - data);
    return HTTP1_DONE;
}
