/* SPDX-License-Identifier: MIT */
#include "routerd/access_format.h"

#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/utf8.h"

const char *const access_format_names[ACCESS_FORMAT_MAX_] = { "json", "combined" };

/* --- a line ----------------------------------------------------------------------------------------------- */

struct line {
    char *at, *end;
    bool full;
};

static void add(struct line *l, const char *s, size_t n)
{
    if (n > (size_t)(l->end - l->at) || l->full) {
        l->full = true;
        return;
    }
    memcpy(l->at, s, n);
    l->at += n;
}

#define add_literal(l, text) add((l), (text), sizeof(text) - 1)

static void add_str(struct line *l, const char *s)
{
    add(l, s, strlen(s));
}

/* With at least `width` digits. */
static void add_uint(struct line *l, uint64_t n, int width)
{
    char digits[20];
    int i = sizeof(digits);
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
        width--;
    } while (n > 0 || width > 0);
    add(l, digits + i, sizeof(digits) - (size_t)i);
}

static void add_hex(struct line *l, const char *prefix, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    char two[2] = { digits[c >> 4], digits[c & 15] };
    add_str(l, prefix);
    add(l, two, sizeof(two));
}

/* Microseconds as seconds. */
static void add_seconds(struct line *l, int64_t us)
{
    add_uint(l, (uint64_t)(us / CLOCK_US_PER_S), 1);
    add_literal(l, ".");
    add_uint(l, (uint64_t)(us % CLOCK_US_PER_S), 6);
}

/* --- names ------------------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct { unsigned id; const char *name; } versions[] = {
    { 0x0303, "TLSv1.2" },
    { 0x0304, "TLSv1.3" },
}, ciphers[] = {
    { 0x1301, "TLS_AES_128_GCM_SHA256" },
    { 0x1302, "TLS_AES_256_GCM_SHA384" },
    { 0x1303, "TLS_CHACHA20_POLY1305_SHA256" },
    { 0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256" },
    { 0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384" },
    { 0xc02f, "ECDHE-RSA-AES128-GCM-SHA256" },
    { 0xc030, "ECDHE-RSA-AES256-GCM-SHA384" },
    { 0xcca8, "ECDHE-RSA-CHACHA20-POLY1305" },
    { 0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305" },
};
/* clang-format on */

const char *access_tls_version(unsigned version)
{
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if (versions[i].id == version)
            return versions[i].name;
    }
    return "";
}

const char *access_tls_cipher(unsigned cipher)
{
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
        if (ciphers[i].id == cipher)
            return ciphers[i].name;
    }
    return "";
}

static const char *protocol_name(unsigned protocol)
{
    return protocol == 20 ? "HTTP/2.0" : protocol == 11 ? "HTTP/1.1" : protocol == 10 ? "HTTP/1.0" : "";
}

/* --- JSON ------------------------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static void add_json_text(struct line *l, struct http1_slice s)
{
    static const char unknown[] = "\xef\xbf\xbd"; /* U+FFFD */
    for (size_t i = 0; i < s.len;) {
        size_t n = 0;
        while (i + n < s.len && is_plain((unsigned char)s.ptr[i + n]))
            n++;
        add(l, s.ptr + i, n);
        i += n;
        if (i == s.len)
            break;
        unsigned char c = (unsigned char)s.ptr[i];
        size_t sequence = c >= 0x80 ? utf8_character((const unsigned char *)s.ptr + i, s.len - i) : 0;
        if (sequence > 0)
            add(l, s.ptr + i, sequence);
        else if (c >= 0x80)
            add_literal(l, unknown);
        else if (c == '"' || c == '\\')
            add(l, c == '"' ? "\\\"" : "\\\\", 2);
        else
            add_hex(l, "\\u00", c);
        i += sequence > 0 ? sequence : 1;
    }
}

static void add_member(struct line *l, const char *key, struct http1_slice value)
{
    if (value.len == 0)
        return;
    add_literal(l, ",\"");
    add_str(l, key);
    add_literal(l, "\":\"");
    add_json_text(l, value);
    add_literal(l, "\"");
}

static void add_member_str(struct line *l, const char *key, const char *value)
{
    add_member(l, key, (struct http1_slice){ value, strlen(value) });
}

static void add_member_uint(struct line *l, const char *key, int64_t value)
{
    add_literal(l, ",\"");
    add_str(l, key);
    add_literal(l, "\":");
    add_uint(l, (uint64_t)value, 1);
}

static void add_member_seconds(struct line *l, const char *key, int64_t us)
{
    add_literal(l, ",\"");
    add_str(l, key);
    add_literal(l, "\":");
    add_seconds(l, us);
}

static struct tm utc(int64_t wall_us)
{
    struct tm tm;
    time_t t = (time_t)(wall_us / CLOCK_US_PER_S);
    gmtime_r(&t, &tm);
    return tm;
}

/* "06:43:55" */
static void add_time_of_day(struct line *l, const struct tm *tm)
{
    add_uint(l, (uint64_t)tm->tm_hour, 2);
    add_literal(l, ":");
    add_uint(l, (uint64_t)tm->tm_min, 2);
    add_literal(l, ":");
    add_uint(l, (uint64_t)tm->tm_sec, 2);
}

/* "2026-11-21T06:43:55.123456Z" */
static void add_json_time(struct line *l, int64_t wall_us)
{
    struct tm tm = utc(wall_us);
    add_uint(l, (uint64_t)tm.tm_year + 1900, 4);
    add_literal(l, "-");
    add_uint(l, (uint64_t)tm.tm_mon + 1, 2);
    add_literal(l, "-");
    add_uint(l, (uint64_t)tm.tm_mday, 2);
    add_literal(l, "T");
    add_time_of_day(l, &tm);
    add_literal(l, ".");
    add_uint(l, (uint64_t)(wall_us % CLOCK_US_PER_S), 6);
    add_literal(l, "Z");
}

static void add_release(struct line *l, struct http1_slice release)
{
    const char *at = release.len > 0 ? memchr(release.ptr, '@', release.len) : NULL;
    size_t n = at ? (size_t)(at - release.ptr) : release.len;
    add_member(l, "service", (struct http1_slice){ release.ptr, n });
    if (at)
        add_member(l, "version", (struct http1_slice){ at + 1, release.len - n - 1 });
}

static void add_json(struct line *l, const struct access_record *r)
{
    add_literal(l, "{\"time\":\"");
    add_json_time(l, r->wall_us);
    add_literal(l, "\"");
    add_member(l, "peer", access_text(r, ACCESS_PEER));
    add_member(l, "client", access_text(r, ACCESS_CLIENT));
    add_member(l, "method", access_text(r, ACCESS_METHOD));
    add_member(l, "host", access_text(r, ACCESS_HOST));
    add_member(l, "target", access_text(r, ACCESS_TARGET));
    add_member_str(l, "protocol", protocol_name(r->protocol));
    add_member_uint(l, "status", r->status ? r->status : ACCESS_STATUS_GONE);
    add_member_uint(l, "bytes_in", r->bytes_in);
    add_member_uint(l, "bytes_out", r->bytes_out);
    add_member_seconds(l, "duration_s", r->duration_us);
    if (r->first_byte_us >= 0)
        add_member_seconds(l, "first_byte_s", r->first_byte_us);
    add_release(l, access_text(r, ACCESS_RELEASE));
    add_member(l, "endpoint", access_text(r, ACCESS_ENDPOINT));
    if (r->n_retries > 0)
        add_member_uint(l, "retries", r->n_retries);
    add_member(l, "request_id", access_text(r, ACCESS_REQUEST_ID));
    add_member(l, "trace_id", access_text(r, ACCESS_TRACE_ID));
    add_member_str(l, "tls_version", access_tls_version(r->tls_version));
    add_member_str(l, "tls_cipher", access_tls_cipher(r->tls_cipher));
    add_member(l, "user_agent", access_text(r, ACCESS_AGENT));
    add_member(l, "referer", access_text(r, ACCESS_REFERER));
    add_member(l, "reason", access_text(r, ACCESS_REASON));
    add_literal(l, "}\n");
}

/* --- combined --------------------------------------------------------------------------------------------- */

static void add_escaped(struct line *l, struct http1_slice s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = 0;
        while (i + n < s.len && is_plain((unsigned char)s.ptr[i + n]))
            n++;
        add(l, s.ptr + i, n);
        i += n;
        if (i < s.len)
            add_hex(l, "\\x", (unsigned char)s.ptr[i++]);
    }
}

static void add_or_dash(struct line *l, struct http1_slice s)
{
    if (s.len > 0)
        add_escaped(l, s);
    else
        add_literal(l, "-");
}

/* "21/Nov/2026:06:43:55 +0000" */
static void add_combined_time(struct line *l, int64_t wall_us)
{
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
        "Oct", "Nov", "Dec" };
    struct tm tm = utc(wall_us);
    add_uint(l, (uint64_t)tm.tm_mday, 2);
    add_literal(l, "/");
    add_str(l, months[tm.tm_mon]);
    add_literal(l, "/");
    add_uint(l, (uint64_t)tm.tm_year + 1900, 4);
    add_literal(l, ":");
    add_time_of_day(l, &tm);
    add_literal(l, " +0000");
}

static void add_combined(struct line *l, const struct access_record *r)
{
    struct http1_slice method = access_text(r, ACCESS_METHOD), client = access_text(r, ACCESS_CLIENT);
    add_or_dash(l, client.len > 0 ? client : access_text(r, ACCESS_PEER));
    add_literal(l, " - - [");
    add_combined_time(l, r->wall_us);
    add_literal(l, "] \"");
    if (method.len > 0) {
        add_escaped(l, method);
        add_literal(l, " ");
    }
    add_or_dash(l, access_text(r, ACCESS_TARGET));
    if (r->protocol) {
        add_literal(l, " ");
        add_str(l, protocol_name(r->protocol));
    }
    add_literal(l, "\" ");
    add_uint(l, r->status ? r->status : ACCESS_STATUS_GONE, 3);
    add_literal(l, " ");
    add_uint(l, (uint64_t)r->bytes_out, 1);
    add_literal(l, " \"");
    add_or_dash(l, access_text(r, ACCESS_REFERER));
    add_literal(l, "\" \"");
    add_or_dash(l, access_text(r, ACCESS_AGENT));
    add_literal(l, "\"\n");
}

size_t access_format_line(enum access_format format, const struct access_record *r, char *out)
{
    struct line l = { .at = out, .end = out + ACCESS_LINE_MAX };
    if (format == ACCESS_COMBINED)
        add_combined(&l, r);
    else
        add_json(&l, r);
    return l.full ? 0 : (size_t)(l.at - out);
}
