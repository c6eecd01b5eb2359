/* SPDX-License-Identifier: MIT */
#include "common/http1_meaning.h"

#include <strings.h>

#include "common/http1_chars.h"

#define HOST_NAME_MAX_            255
#define CONNECTION_OPTIONS_MAX    32
#define CONTENT_LENGTH_DIGITS_MAX 18 /* below 2^63 whatever the digits */

/* --- framing and connection ------------------------------------------------------------------------------------ */

static enum http1_result read_content_length(struct http1_head *head, struct http1_fault *fault)
{
    const struct http1_field *found = NULL;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != HTTP1_FIELD_CONTENT_LENGTH)
            continue;
        if (found)
            return http1_refuse(fault, 400, "more than one Content-Length");
        found = &head->fields[i];
    }
    uint64_t n = 0;
    if (found->value_len == 0 || found->value_len > CONTENT_LENGTH_DIGITS_MAX)
        return http1_refuse(fault, 400, "Content-Length is empty or too large");
    for (uint32_t i = 0; i < found->value_len; i++) {
        char d = found->value[i];
        if (d < '0' || d > '9')
            return http1_refuse(fault, 400, "Content-Length is no number");
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
            return http1_refuse(fault, 400, "more than one Transfer-Encoding");
        found = &head->fields[i];
    }
    if (head->minor == 0)
        return http1_refuse(fault, 400, "Transfer-Encoding with HTTP/1.0");
    if (http1_has(head, HTTP1_FIELD_CONTENT_LENGTH))
        return http1_refuse(fault, 400, "both Transfer-Encoding and Content-Length");
    if (http1_slice_is(http1_value(found), "chunked"))
        return HTTP1_DONE;

    struct http1_slice list = http1_value(found), item;
    int n_chunked = 0;
    bool last_is_chunked = false;
    while (http1_list_next(&list, &item)) {
        if (!http1_is_token(item.ptr, item.len))
            return http1_refuse(fault, 400, "Transfer-Encoding is malformed");
        last_is_chunked = http1_slice_is(item, "chunked");
        n_chunked += last_is_chunked;
    }
    if (n_chunked == 1 && last_is_chunked && !http1_slice_is(http1_value(found), "chunked") &&
        found->value[found->value_len - 1] != ',' && found->value[0] != ',')
        return http1_refuse(fault, 501, "transfer coding is not understood");
    return http1_refuse(fault, 400, "Transfer-Encoding is not chunked");
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
        /* What nearly all say. */
        if (http1_slice_is(list, "keep-alive")) {
            options |= OPTION_KEEP_ALIVE;
            continue;
        }
        while (http1_list_next(&list, &item)) {
            if (++n > CONNECTION_OPTIONS_MAX)
                return http1_refuse(fault, 400, "too many connection options");
            if (!http1_is_token(item.ptr, item.len))
                return http1_refuse(fault, 400, "Connection is malformed");
            if (http1_slice_is(item, "close"))
                options |= OPTION_CLOSE;
            else if (http1_slice_is(item, "keep-alive"))
                options |= OPTION_KEEP_ALIVE;
            else if (http1_slice_is(item, "upgrade"))
                options |= OPTION_UPGRADE;
            else if (never_listed & UINT64_C(1) << http1_field_id(item.ptr, item.len))
                return http1_refuse(fault, 400, "Connection lists a field that frames or routes the message");
            else
                mark_listed(head, item);
        }
    }
    *ret_options = options;
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
        return http1_refuse(fault, 400, "request target is neither a path nor an http address");
    head->https = scheme == 8;
    const char *path = p + scheme;
    while (path < end && *path != '/' && *path != '?')
        path++;
    *ret_authority = (struct http1_slice){ p + scheme, (size_t)(path - p) - scheme };
    if (path < end && *path == '?')
        return http1_refuse(fault, 400, "request target without a path");
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
            return http1_refuse(fault, 400, "request target \"*\" with another method than OPTIONS");
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
        return http1_refuse(fault, 400, "backslash in the path");

    const struct http1_field *host = NULL;
    for (unsigned i = 0; i < head->n_fields && http1_has(head, HTTP1_FIELD_HOST); i++) {
        if (head->fields[i].id != HTTP1_FIELD_HOST)
            continue;
        if (host)
            return http1_refuse(fault, 400, "more than one Host");
        host = &head->fields[i];
    }
    if (!host && head->minor == 1)
        return http1_refuse(fault, 400, "no Host");
    if (host && !read_authority(http1_value(host), head))
        return http1_refuse(fault, 400, "Host is malformed");
    if (named.ptr && host && !slice_equal_nocase(named, http1_value(host)))
        return http1_refuse(fault, 400, "request target and Host name different hosts");
    if (named.ptr && !read_authority(named, head))
        return http1_refuse(fault, 400, "request target with a malformed host");
    return HTTP1_DONE;
}

/* --- requests -------------------------------------------------------------------------------------------- */

/* name [ "/" version ], and not h2c, which would let a client speak to a service past the router. Anything else, as a quote in
 * which h2c might hide, does not pass. */
static bool is_protocol(struct http1_slice item)
{
    const char *slash = memchr(item.ptr, '/', item.len), *end = item.ptr + item.len;
    struct http1_slice name = { item.ptr, slash ? (size_t)(slash - item.ptr) : item.len };
    if (!http1_is_token(name.ptr, name.len) ||
        (slash && !http1_is_token(slash + 1, (size_t)(end - slash) - 1)))
        return false;
    return !http1_slice_is(name, "h2c") && !http1_slice_is(name, "h2");
}

static void read_upgrade(struct http1_head *head, unsigned options)
{
    bool wanted = options & OPTION_UPGRADE && head->minor == 1, any = false;
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http1_field *f = &head->fields[i];
        if (f->id != HTTP1_FIELD_UPGRADE)
            continue;
        struct http1_slice list = http1_value(f), item;
        for (; http1_list_next(&list, &item); any = true)
            wanted = wanted && is_protocol(item);
    }
    head->upgrade = wanted && any;
    if (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0)
        head->upgrade = false;
}

static enum http1_result read_expect(struct http1_head *head, struct http1_fault *fault)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (f->id != HTTP1_FIELD_EXPECT)
            continue;
        if (!http1_slice_is(http1_value(f), "100-continue"))
            return http1_refuse(fault, 417, "expectation other than 100-continue");
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

enum http1_result http1_request_meaning(struct http1_head *head, struct http1_fault *fault)
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

/* --- responses ------------------------------------------------------------------------------------------- */

enum http1_result http1_response_meaning(
    struct http1_head *head, enum http1_method method_id, struct http1_fault *fault)
{
    unsigned options = 0;
    enum http1_result r = read_framing(head, &options, fault);
    if (r != HTTP1_DONE)
        return r;
    bool informational = head->status < 200;
    if ((informational || head->status == 204) &&
        (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0 || (informational && head->body)))
        return http1_refuse(fault, 502, "1xx or 204 with a body");
    if (head->status == 205 && (head->body == HTTP1_BODY_CHUNKED || head->content_length > 0))
        return http1_refuse(fault, 502, "205 with a body");
    if (informational || head->status == 204 || head->status == 304 || method_id == HTTP1_METHOD_HEAD)
        head->body = HTTP1_BODY_NONE;
    else if (head->body == HTTP1_BODY_NONE && head->status == 205) {
        /* It has no content (9110 15.3.6), but who goes by framing alone would read until the end: so it is said. */
        head->has_content_length = true;
        head->keep_alive = false;
    } else if (head->body == HTTP1_BODY_NONE)
        head->body = HTTP1_BODY_CLOSE;
    if (head->body == HTTP1_BODY_CLOSE)
        head->keep_alive = false;
    return HTTP1_DONE;
}

/* --- trailers -------------------------------------------------------------------------------------------- */

enum http1_result http1_trailers_meaning(const struct http1_head *trailers, struct http1_fault *fault)
{
    const uint64_t fine = UINT64_C(1) << HTTP1_FIELD_OTHER | UINT64_C(1) << HTTP1_FIELD_DATE;
    if (trailers->seen & ~fine)
        return http1_refuse(fault, 400, "trailer that frames, routes or authorises");
    return HTTP1_DONE;
}
