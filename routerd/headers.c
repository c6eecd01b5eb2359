/* SPDX-License-Identifier: MIT */
#include "routerd/headers.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define BIT(id) (UINT64_C(1) << HTTP1_FIELD_##id)

/* Of this hop, or written anew. */
static const uint64_t request_drops = BIT(CONNECTION) | BIT(CONTENT_LENGTH) | BIT(EXPECT) | BIT(FORWARDED) |
    BIT(HOST) | BIT(HTTP2_SETTINGS) | BIT(KEEP_ALIVE) | BIT(PROXY) | BIT(PROXY_AUTHORIZATION) |
    BIT(PROXY_CONNECTION) | BIT(TE) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE) | BIT(VIA) |
    BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_HOST) | BIT(X_FORWARDED_PORT) | BIT(X_FORWARDED_PROTO) |
    BIT(X_REAL_IP);

static const uint64_t answer_drops = BIT(CONNECTION) | BIT(CONTENT_LENGTH) | BIT(KEEP_ALIVE) |
    BIT(PROXY_AUTHENTICATE) | BIT(PROXY_AUTHENTICATION_INFO) | BIT(PROXY_CONNECTION) | BIT(TE) |
    BIT(TRANSFER_ENCODING) | BIT(UPGRADE);

static void add_slice(struct http1_out *out, struct http1_slice s)
{
    http1_out_add(out, s.ptr, s.len);
}

static void add_field(struct http1_out *out, const struct http1_field *f)
{
    if (out->full || (size_t)f->name_len + f->value_len + 4 > out->cap - out->len) {
        out->full = true;
        return;
    }
    char *p = out->data + out->len;
    memcpy(p, f->name, f->name_len);
    p += f->name_len;
    *p++ = ':';
    *p++ = ' ';
    memcpy(p, f->value, f->value_len);
    p += f->value_len;
    *p++ = '\r';
    *p++ = '\n';
    out->len = (size_t)(p - out->data);
}

/* Values of all fields of that id, joined by commas; how many there were. */
static int add_joined(struct http1_out *out, const struct http1_head *head, enum http1_field_id id)
{
    int n = 0;
    for (unsigned i = 0; http1_has(head, id) && i < head->n_fields; i++) {
        if (head->fields[i].id != id || head->fields[i].value_len == 0)
            continue;
        if (n++ > 0)
            http1_out_literal(out, ", ");
        add_slice(out, http1_value(&head->fields[i]));
    }
    return n;
}

/* --- requests -------------------------------------------------------------------------------------------- */

/* "Name: what came before, " where the peer is believed, else "Name: ". */
static void begin_list(
    struct http1_out *out, const struct http1_head *head, enum http1_field_id id, const char *name, bool keep)
{
    http1_out_str(out, name);
    http1_out_literal(out, ": ");
    if (keep && add_joined(out, head, id) > 0)
        http1_out_literal(out, ", ");
}

/* The peer's own value where it is believed. */
static bool kept(struct http1_out *out, const struct http1_head *head, enum http1_field_id id, bool trusted)
{
    const struct http1_field *f = trusted ? http1_find(head, id) : NULL;
    if (f)
        add_field(out, f);
    return f;
}

static void add_forwarded(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    struct http1_slice host)
{
    const char *proto = forward->tls ? "https" : "http";
    begin_list(out, head, HTTP1_FIELD_X_FORWARDED_FOR, "X-Forwarded-For", forward->trusted);
    http1_out_str(out, forward->peer);
    http1_out_literal(out, "\r\n");
    if (!kept(out, head, HTTP1_FIELD_X_REAL_IP, forward->trusted))
        http1_out_field_str(out, "X-Real-IP", forward->peer);
    if (!kept(out, head, HTTP1_FIELD_X_FORWARDED_PROTO, forward->trusted))
        http1_out_field_str(out, "X-Forwarded-Proto", proto);
    if (!kept(out, head, HTTP1_FIELD_X_FORWARDED_HOST, forward->trusted) && host.len > 0)
        http1_out_field(out, HTTP1_SLICE("X-Forwarded-Host"), host);
    if (forward->trusted)
        kept(out, head, HTTP1_FIELD_X_FORWARDED_PORT, true);

    /* RFC 7239: addresses with colons are quoted, and so is a host with a port. */
    begin_list(out, head, HTTP1_FIELD_FORWARDED, "Forwarded", forward->trusted);
    http1_out_str(out, forward->is_ipv6 ? "for=\"[" : "for=");
    http1_out_str(out, forward->peer);
    http1_out_str(out, forward->is_ipv6 ? "]\"" : "");
    if (host.len > 0) {
        http1_out_literal(out, ";host=\"");
        add_slice(out, host);
        http1_out_literal(out, "\"");
    }
    http1_out_literal(out, ";proto=");
    http1_out_str(out, proto);
    http1_out_literal(out, "\r\n");
}

static void add_request_framing(struct http1_out *out, const struct http1_head *head)
{
    if (head->body == HTTP1_BODY_CHUNKED)
        http1_out_literal(out, "Transfer-Encoding: chunked\r\n");
    else if (head->body == HTTP1_BODY_LENGTH)
        http1_out_content_length(out, head->content_length);
    if (head->expect_continue)
        http1_out_literal(out, "Expect: 100-continue\r\n");
    if (head->upgrade) {
        http1_out_literal(out, "Connection: upgrade\r\nUpgrade: ");
        add_joined(out, head, HTTP1_FIELD_UPGRADE);
        http1_out_literal(out, "\r\n");
    } else if (head->has_trailer_te) {
        http1_out_literal(out, "Connection: TE\r\nTE: trailers\r\n");
    }
}

/* OPTIONS counts its hops down (9110 7.6.2); 0 never gets here. */
static void add_max_forwards(struct http1_out *out, const struct http1_field *f)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9' || i > 9)
            return;
        n = n * 10 + (unsigned)(f->value[i] - '0');
    }
    http1_out_literal(out, "Max-Forwards: ");
    http1_out_uint(out, n > 0 ? n - 1 : 0);
    http1_out_literal(out, "\r\n");
}

void headers_request(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    const char *fallback_host)
{
    struct http1_slice host = head->authority;
    http1_out_request_line(out, head->method, head->target);
    if (host.len == 0)
        host = (struct http1_slice){ fallback_host, strlen(fallback_host) };
    http1_out_field(out, HTTP1_SLICE("Host"), host);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (request_drops & UINT64_C(1) << f->id || f->listed)
            continue;
        if (f->id == HTTP1_FIELD_TRAILER && head->body != HTTP1_BODY_CHUNKED)
            continue;
        if (f->id == HTTP1_FIELD_MAX_FORWARDS && head->method_id == HTTP1_METHOD_OPTIONS)
            add_max_forwards(out, f);
        else
            add_field(out, f);
    }
    add_forwarded(out, head, forward, head->authority);
    begin_list(out, head, HTTP1_FIELD_VIA, "Via", true);
    http1_out_str(out, head->minor == 0 ? "1.0 " HEADERS_PSEUDONYM "\r\n" : "1.1 " HEADERS_PSEUDONYM "\r\n");
    add_request_framing(out, head);
    http1_out_end(out);
}

/* --- answers --------------------------------------------------------------------------------------------- */

void headers_answer(struct http1_out *out, const struct http1_head *head, const struct answer_style *style)
{
    http1_out_status_line(out, head->status, head->reason);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (answer_drops & UINT64_C(1) << f->id || f->listed)
            continue;
        if (f->id == HTTP1_FIELD_TRAILER && style->framing != ANSWER_CHUNKED)
            continue;
        add_field(out, f);
    }
    if (style->extra.cookie)
        http1_out_field_str(out, "Set-Cookie", style->extra.cookie);
    if (style->framing == ANSWER_CHUNKED)
        http1_out_literal(out, "Transfer-Encoding: chunked\r\n");
    else if (style->framing == ANSWER_AS_IT_IS && head->has_content_length && head->status >= 200 &&
        head->status != 204)
        http1_out_content_length(out, head->content_length);
    if (style->extra.upgrade || head->status == 426) {
        http1_out_literal(out, "Connection: upgrade\r\nUpgrade: ");
        add_joined(out, head, HTTP1_FIELD_UPGRADE);
        http1_out_literal(out, "\r\n");
    }
    if (style->close)
        http1_out_literal(out, "Connection: close\r\n");
    else if (style->say_keep_alive)
        http1_out_literal(out, "Connection: keep-alive\r\n");
    http1_out_end(out);
}

void headers_trailers(struct http1_out *out, const struct http1_head *trailers)
{
    for (unsigned i = 0; i < trailers->n_fields; i++)
        add_field(out, &trailers->fields[i]);
    http1_out_end(out);
}

int headers_answer_fields(
    const struct http1_head *head, const struct answer_extra *extra, struct http1_field *ret, int max)
{
    int n = 0;
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (answer_drops & UINT64_C(1) << f->id || f->listed)
            continue;
        if (n == max)
            return -1;
        ret[n++] = *f;
    }
    if (extra->cookie) {
        if (n == max)
            return -1;
        ret[n++] = (struct http1_field){ .name = "Set-Cookie",
            .name_len = sizeof("Set-Cookie") - 1,
            .value = extra->cookie,
            .value_len = (uint32_t)strlen(extra->cookie),
            .id = HTTP1_FIELD_SET_COOKIE };
    }
    return n;
}

/* --- networks -------------------------------------------------------------------------------------------- */

bool network_parse(const char *text, struct network *ret)
{
    char address[HEADERS_ADDRESS_MAX];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (strcmp(text, "unix") == 0) {
        *ret = (struct network){ .len = 0 };
        return true;
    }
    if (n >= sizeof(address))
        return false;
    memcpy(address, text, n);
    address[n] = '\0';
    *ret = (struct network){ .len = strchr(address, ':') ? 16 : 4 };
    if (inet_pton(ret->len == 16 ? AF_INET6 : AF_INET, address, ret->bytes) != 1)
        return false;
    ret->prefix = (uint8_t)(ret->len * 8);
    if (slash) {
        char *end;
        unsigned long bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end || bits > ret->prefix)
            return false;
        ret->prefix = (uint8_t)bits;
    }
    return true;
}

bool network_contains(const struct network *network, const uint8_t *address, size_t len)
{
    if (network->len != len)
        return false;
    size_t whole = network->prefix / 8;
    unsigned rest = network->prefix % 8;
    if (whole > 0 && memcmp(network->bytes, address, whole) != 0)
        return false;
    return rest == 0 || ((network->bytes[whole] ^ address[whole]) & (0xff00 >> rest) & 0xff) == 0;
}
