/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include <stdlib.h>
#include <strings.h>

#include "common/http1_chars.h"
#include "common/http1_meaning.h"

/* --- characters ------------------------------------------------------------------------------------------ */

#define T HTTP1_CHAR_TOKEN
#define V HTTP1_CHAR_VALUE
#define G HTTP1_CHAR_TARGET
#define H HTTP1_CHAR_HOST
#define U HTTP1_CHAR_UNDERSCORE

/* clang-format off */
__extension__ const uint8_t http1_chars[256] = {
    ['\t'] = V, [' '] = V,
    ['!'] = T|V|G, ['"'] = V,     ['#'] = T|V,   ['$'] = T|V|G, ['%'] = T|V|G, ['&'] = T|V|G, ['\''] = T|V|G,
    ['('] = V|G,   [')'] = V|G,   ['*'] = T|V|G, ['+'] = T|V|G, [','] = V|G,   ['-'] = T|V|G|H,
    ['.'] = T|V|G|H, ['/'] = V|G,
    ['0' ... '9'] = T|V|G|H,
    [':'] = V|G,   [';'] = V|G,   ['<'] = V,     ['='] = V|G,   ['>'] = V,     ['?'] = V|G,   ['@'] = V|G,
    ['A' ... 'Z'] = T|V|G|H,
    ['['] = V|G,   ['\\'] = V|G,  [']'] = V|G,   ['^'] = T|V|G, ['_'] = T|V|G|H|U, ['`'] = T|V|G,
    ['a' ... 'z'] = T|V|G|H,
    ['{'] = V|G,   ['|'] = T|V|G, ['}'] = V|G,   ['~'] = T|V|G,
    [0x80 ... 0xff] = V,
};
/* clang-format on */

#undef T
#undef V
#undef G
#undef H
#undef U

static unsigned char plain(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : (unsigned char)c;
}

bool http1_is_alike(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (plain(a[i]) != plain(b[i]))
            return false;
    }
    return true;
}

bool http1_is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!http1_char_is(s[i], HTTP1_CHAR_TOKEN))
            return false;
    }
    return len > 0;
}

bool http1_is_field_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!http1_char_is(s[i], HTTP1_CHAR_VALUE))
            return false;
    }
    return true;
}

bool http1_slice_is(struct http1_slice s, const char *text)
{
    return strlen(text) == s.len && strncasecmp(s.ptr, text, s.len) == 0;
}

/* --- fields ---------------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct http1_slice field_names[HTTP1_FIELD_MAX_] = {
    [HTTP1_FIELD_OTHER]                     = { "", 0 },
    [HTTP1_FIELD_AUTHORIZATION]             = { "authorization", 13 },
    [HTTP1_FIELD_CONNECTION]                = { "connection", 10 },
    [HTTP1_FIELD_CONTENT_ENCODING]          = { "content-encoding", 16 },
    [HTTP1_FIELD_CONTENT_LENGTH]            = { "content-length", 14 },
    [HTTP1_FIELD_CONTENT_TYPE]              = { "content-type", 12 },
    [HTTP1_FIELD_COOKIE]                    = { "cookie", 6 },
    [HTTP1_FIELD_DATE]                      = { "date", 4 },
    [HTTP1_FIELD_EXPECT]                    = { "expect", 6 },
    [HTTP1_FIELD_FORWARDED]                 = { "forwarded", 9 },
    [HTTP1_FIELD_HOST]                      = { "host", 4 },
    [HTTP1_FIELD_HTTP2_SETTINGS]            = { "http2-settings", 14 },
    [HTTP1_FIELD_KEEP_ALIVE]                = { "keep-alive", 10 },
    [HTTP1_FIELD_MAX_FORWARDS]              = { "max-forwards", 12 },
    [HTTP1_FIELD_PROXY]                     = { "proxy", 5 },
    [HTTP1_FIELD_PROXY_AUTHENTICATE]        = { "proxy-authenticate", 18 },
    [HTTP1_FIELD_PROXY_AUTHENTICATION_INFO] = { "proxy-authentication-info", 25 },
    [HTTP1_FIELD_PROXY_AUTHORIZATION]       = { "proxy-authorization", 19 },
    [HTTP1_FIELD_PROXY_CONNECTION]          = { "proxy-connection", 16 },
    [HTTP1_FIELD_SET_COOKIE]                = { "set-cookie", 10 },
    [HTTP1_FIELD_TE]                        = { "te", 2 },
    [HTTP1_FIELD_TRACEPARENT]               = { "traceparent", 11 },
    [HTTP1_FIELD_TRACESTATE]                = { "tracestate", 10 },
    [HTTP1_FIELD_TRAILER]                   = { "trailer", 7 },
    [HTTP1_FIELD_TRANSFER_ENCODING]         = { "transfer-encoding", 17 },
    [HTTP1_FIELD_UPGRADE]                   = { "upgrade", 7 },
    [HTTP1_FIELD_VIA]                       = { "via", 3 },
    [HTTP1_FIELD_X_FORWARDED_FOR]           = { "x-forwarded-for", 15 },
    [HTTP1_FIELD_X_FORWARDED_HOST]          = { "x-forwarded-host", 16 },
    [HTTP1_FIELD_X_FORWARDED_PORT]          = { "x-forwarded-port", 16 },
    [HTTP1_FIELD_X_FORWARDED_PROTO]         = { "x-forwarded-proto", 17 },
    [HTTP1_FIELD_X_REAL_IP]                 = { "x-real-ip", 9 },
    [HTTP1_FIELD_X_REQUEST_ID]              = { "x-request-id", 12 },
    [HTTP1_FIELD_X_STAGECOACH_VERSION]      = { "x-stagecoach-version", 20 },
};

/* The ids of each name length: a name is compared with at most four others. */
static const uint8_t fields_by_length[HTTP1_FIELD_NAME_LONGEST + 1][4] = {
    [2]  = { HTTP1_FIELD_TE },
    [3]  = { HTTP1_FIELD_VIA },
    [4]  = { HTTP1_FIELD_HOST, HTTP1_FIELD_DATE },
    [5]  = { HTTP1_FIELD_PROXY },
    [6]  = { HTTP1_FIELD_COOKIE, HTTP1_FIELD_EXPECT },
    [7]  = { HTTP1_FIELD_UPGRADE, HTTP1_FIELD_TRAILER },
    [9]  = { HTTP1_FIELD_FORWARDED, HTTP1_FIELD_X_REAL_IP },
    [10] = { HTTP1_FIELD_CONNECTION, HTTP1_FIELD_KEEP_ALIVE, HTTP1_FIELD_SET_COOKIE,
             HTTP1_FIELD_TRACESTATE },
    [11] = { HTTP1_FIELD_TRACEPARENT },
    [12] = { HTTP1_FIELD_CONTENT_TYPE, HTTP1_FIELD_MAX_FORWARDS, HTTP1_FIELD_X_REQUEST_ID },
    [13] = { HTTP1_FIELD_AUTHORIZATION },
    [14] = { HTTP1_FIELD_CONTENT_LENGTH, HTTP1_FIELD_HTTP2_SETTINGS },
    [15] = { HTTP1_FIELD_X_FORWARDED_FOR },
    [16] = { HTTP1_FIELD_CONTENT_ENCODING, HTTP1_FIELD_PROXY_CONNECTION, HTTP1_FIELD_X_FORWARDED_HOST,
             HTTP1_FIELD_X_FORWARDED_PORT },
    [17] = { HTTP1_FIELD_TRANSFER_ENCODING, HTTP1_FIELD_X_FORWARDED_PROTO },
    [18] = { HTTP1_FIELD_PROXY_AUTHENTICATE },
    [19] = { HTTP1_FIELD_PROXY_AUTHORIZATION },
    [20] = { HTTP1_FIELD_X_STAGECOACH_VERSION },
    [25] = { HTTP1_FIELD_PROXY_AUTHENTICATION_INFO },
};
/* clang-format on */

/* Eight bytes with A to Z made small. */
static uint64_t lower_word(const char *p)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t word, low7;
    memcpy(&word, p, sizeof(word));
    low7 = word & each * 0x7f;
    uint64_t upper = ((low7 + each * (0x80 - 'A')) ^ (low7 + each * (0x7f - 'Z'))) & ~word & each * 0x80;
    return word | upper >> 2;
}

/* `known` is in small letters. */
static bool is_name(const char *name, const char *known, size_t len)
{
    uint64_t word;
    size_t i = 0;
    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, known + i, sizeof(word));
        if (lower_word(name + i) != word)
            return false;
    }
    for (; i < len; i++) {
        char c = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
        if (c != known[i])
            return false;
    }
    return true;
}

enum http1_field_id http1_field_id(const char *name, size_t len)
{
    if (len > HTTP1_FIELD_NAME_LONGEST)
        return HTTP1_FIELD_OTHER;
    const uint8_t *ids = fields_by_length[len];
    for (int i = 0; i < 4 && ids[i] != HTTP1_FIELD_OTHER; i++) {
        /* The first letter tells nearly all names apart. */
        const char *known = field_names[ids[i]].ptr;
        if ((name[0] | 0x20) == known[0] && is_name(name, known, len))
            return ids[i];
    }
    return HTTP1_FIELD_OTHER;
}

const struct http1_field *http1_find(const struct http1_head *head, enum http1_field_id id)
{
    if (!http1_has(head, id))
        return NULL;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id == id)
            return &head->fields[i];
    }
    return NULL;
}

const struct http1_field *http1_find_name(const struct http1_head *head, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (f->name_len == len && strncasecmp(f->name, name, len) == 0)
            return f;
    }
    return NULL;
}

/* --- lists and cookies ----------------------------------------------------------------------------------- */

static struct http1_slice trim(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct http1_slice){ p, (size_t)(end - p) };
}

/* The comma that ends the element at p, or end. */
static const char *element_end(const char *p, const char *end)
{
    bool quoted = false;
    for (; p < end; p++) {
        if (quoted && *p == '\\' && p + 1 < end)
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == ',' && !quoted)
            break;
    }
    return p;
}

bool http1_list_next(struct http1_slice *list, struct http1_slice *ret)
{
    while (list->len > 0) {
        const char *end = list->ptr + list->len;
        const char *comma = element_end(list->ptr, end);
        struct http1_slice item = trim(list->ptr, comma);
        const char *rest = comma < end ? comma + 1 : end;
        *list = (struct http1_slice){ rest, (size_t)(end - rest) };
        if (item.len > 0) {
            *ret = item;
            return true;
        }
    }
    return false;
}

bool http1_list_has(struct http1_slice list, const char *token)
{
    struct http1_slice item;
    while (http1_list_next(&list, &item)) {
        if (http1_slice_is(item, token))
            return true;
    }
    return false;
}

bool http1_cookie_get(struct http1_slice cookies, const char *name, struct http1_slice *ret)
{
    size_t name_len = strlen(name);
    const char *p = cookies.ptr, *end = cookies.ptr + cookies.len;
    while (p < end) {
        const char *semicolon = memchr(p, ';', (size_t)(end - p));
        struct http1_slice pair = trim(p, semicolon ? semicolon : end);
        if (pair.len > name_len && pair.ptr[name_len] == '=' && memcmp(pair.ptr, name, name_len) == 0) {
            *ret = (struct http1_slice){ pair.ptr + name_len + 1, pair.len - name_len - 1 };
            return true;
        }
        p = semicolon ? semicolon + 1 : end;
    }
    return false;
}

bool http1_method_is_idempotent(enum http1_method id)
{
    return id == HTTP1_METHOD_GET || id == HTTP1_METHOD_HEAD || id == HTTP1_METHOD_OPTIONS ||
        id == HTTP1_METHOD_PUT || id == HTTP1_METHOD_DELETE;
}

/* --- writing --------------------------------------------------------------------------------------------- */

void http1_out_str(struct http1_out *out, const char *s)
{
    http1_out_add(out, s, strlen(s));
}

void http1_out_uint(struct http1_out *out, uint64_t n)
{
    char digits[20];
    size_t i = sizeof(digits);
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    http1_out_add(out, digits + i, sizeof(digits) - i);
}

void http1_out_request_line(struct http1_out *out, struct http1_slice method, struct http1_slice target)
{
    http1_out_add(out, method.ptr, method.len);
    http1_out_literal(out, " ");
    http1_out_add(out, target.ptr, target.len);
    http1_out_literal(out, " HTTP/1.1\r\n");
}

void http1_out_status_line(struct http1_out *out, int status, struct http1_slice reason)
{
    http1_out_literal(out, "HTTP/1.1 ");
    http1_out_uint(out, (uint64_t)status);
    http1_out_literal(out, " ");
    if (reason.len > 0)
        http1_out_add(out, reason.ptr, reason.len);
    else
        http1_out_str(out, http1_status_reason(status));
    http1_out_literal(out, "\r\n");
}

void http1_out_field(struct http1_out *out, struct http1_slice name, struct http1_slice value)
{
    http1_out_add(out, name.ptr, name.len);
    http1_out_literal(out, ": ");
    http1_out_add(out, value.ptr, value.len);
    http1_out_literal(out, "\r\n");
}

void http1_out_field_str(struct http1_out *out, const char *name, const char *value)
{
    http1_out_field(
        out, (struct http1_slice){ name, strlen(name) }, (struct http1_slice){ value, strlen(value) });
}

void http1_out_content_length(struct http1_out *out, uint64_t n)
{
    http1_out_literal(out, "Content-Length: ");
    http1_out_uint(out, n);
    http1_out_literal(out, "\r\n");
}

size_t http1_chunk_head(char *buf, uint64_t size)
{
    static const char hex[] = "0123456789abcdef";
    char digits[16];
    size_t i = sizeof(digits);
    do {
        digits[--i] = hex[size & 15];
        size >>= 4;
    } while (size > 0);
    size_t n = sizeof(digits) - i;
    memcpy(buf, digits + i, n);
    memcpy(buf + n, "\r\n", 2);
    return n + 2;
}

/* clang-format off */
static const struct {
    int status;
    const char *reason;
} reasons[] = {
    { 100, "Continue" },             { 101, "Switching Protocols" },      { 103, "Early Hints" },
    { 200, "OK" },                   { 201, "Created" },                  { 202, "Accepted" },
    { 204, "No Content" },           { 206, "Partial Content" },          { 301, "Moved Permanently" },
    { 302, "Found" },                { 303, "See Other" },                { 304, "Not Modified" },
    { 307, "Temporary Redirect" },   { 308, "Permanent Redirect" },       { 400, "Bad Request" },
    { 401, "Unauthorized" },         { 403, "Forbidden" },                { 404, "Not Found" },
    { 405, "Method Not Allowed" },   { 408, "Request Timeout" },          { 409, "Conflict" },
    { 411, "Length Required" },      { 413, "Content Too Large" },        { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" },     { 421, "Misdirected Request" },
    { 429, "Too Many Requests" },    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" }, { 501, "Not Implemented" },         { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },  { 504, "Gateway Timeout" },          { 505, "HTTP Version Not Supported" },
    { 508, "Loop Detected" },
};
/* clang-format on */

const char *http1_status_reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "";
}
