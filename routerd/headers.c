/* SPDX-License-Identifier: MIT */
#include "routerd/headers.h"

#include <stdlib.h>

#include "routerd/client.h"
#include "routerd/match.h"
#include "routerd/rules.h"
#include "routerd/trace.h"

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
        if (head->fields[i].id != id || head->fields[i].value_len == 0 || head->fields[i].listed)
            continue;
        if (n++ > 0)
            http1_out_literal(out, ", ");
        add_slice(out, http1_value(&head->fields[i]));
    }
    return n;
}

/* X-Forwarded-anything, '_' for '-' too: services believe more of them than we write. */
static bool is_forwarding_name(const struct http1_field *f)
{
    static const char prefix[] = "x-forwarded-";
    return f->name_len >= sizeof(prefix) - 1 && http1_is_alike(f->name, prefix, sizeof(prefix) - 1);
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
    if (!f || f->listed)
        return false;
    add_field(out, f);
    return true;
}

/* The port that the client asked for. */
static void add_port(struct http1_out *out, const struct http1_head *head, const struct forward *forward)
{
    if (head->port >= 0) {
        http1_out_literal(out, "X-Forwarded-Port: ");
        http1_out_uint(out, (uint64_t)head->port);
        http1_out_literal(out, "\r\n");
    } else if (client_is_tls(head, forward)) {
        http1_out_literal(out, "X-Forwarded-Port: 443\r\n");
    } else {
        http1_out_literal(out, "X-Forwarded-Port: 80\r\n");
    }
}

/* RFC 7239 6: an IPv6 address stands in brackets and quotes. */
static void add_for(struct http1_out *out, struct http1_slice address)
{
    bool is_ipv6 = memchr(address.ptr, ':', address.len) != NULL;
    http1_out_str(out, is_ipv6 ? "for=\"[" : "for=");
    add_slice(out, address);
    http1_out_str(out, is_ipv6 ? "]\"" : "");
}

static void add_forwarded(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    struct http1_slice host)
{
    const char *proto = forward->tls ? "https" : "http";
    struct http1_slice client = client_address(head, forward);
    begin_list(out, head, HTTP1_FIELD_X_FORWARDED_FOR, "X-Forwarded-For", forward->trusted);
    http1_out_str(out, forward->peer);
    http1_out_literal(out, "\r\n");
    if (!kept(out, head, HTTP1_FIELD_X_REAL_IP, forward->trusted))
        http1_out_field(out, HTTP1_SLICE("X-Real-IP"), client);
    if (!kept(out, head, HTTP1_FIELD_X_FORWARDED_PROTO, forward->trusted))
        http1_out_field_str(out, "X-Forwarded-Proto", proto);
    if (!kept(out, head, HTTP1_FIELD_X_FORWARDED_HOST, forward->trusted) && host.len > 0)
        http1_out_field(out, HTTP1_SLICE("X-Forwarded-Host"), host);
    if (!kept(out, head, HTTP1_FIELD_X_FORWARDED_PORT, forward->trusted))
        add_port(out, head, forward);

    begin_list(out, head, HTTP1_FIELD_FORWARDED, "Forwarded", forward->trusted);
    /* What a proxy that writes no Forwarded itself told with the older fields (7239 7.4). */
    if (client_is_named(client, forward) && !http1_has(head, HTTP1_FIELD_FORWARDED)) {
        add_for(out, client);
        http1_out_str(out, client_is_tls(head, forward) ? ";proto=https, " : ";proto=http, ");
    }
    add_for(out, (struct http1_slice){ forward->peer, strlen(forward->peer) });
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

/* OPTIONS counts its hops down (9110 7.6.2). */
static void add_max_forwards(struct http1_out *out, const struct http1_field *f)
{
    uint64_t n = 0;
    if (f->value_len == 0)
        return;
    for (uint32_t i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9' || i > 9)
            return;
        n = n * 10 + (unsigned)(f->value[i] - '0');
    }
    http1_out_literal(out, "Max-Forwards: ");
    http1_out_uint(out, n > 0 ? n - 1 : 0);
    http1_out_literal(out, "\r\n");
}

static void add_request_line(
    struct http1_out *out, const struct http1_head *head, const struct match_rules *rules)
{
    add_slice(out, head->method);
    http1_out_literal(out, " ");
    rules_add_target(out, rules, head->target);
    http1_out_literal(out, " HTTP/1.1\r\n");
}

static void add_rule_fields(
    struct http1_out *out, const struct rule_fields *fields, const struct rules_values *values)
{
    for (uint32_t i = 0; i < fields->n; i++) {
        const struct rule_field *row = &fields->rows[i];
        if (!row->writes)
            continue;
        http1_out_add(out, row->name, row->name_len);
        http1_out_literal(out, ": ");
        rules_add_value(out, &row->value, values);
        http1_out_literal(out, "\r\n");
    }
}

static void add_request_rules(struct http1_out *out, const struct http1_head *head,
    const struct forward *forward, const struct request_extra *extra)
{
    struct rules_values values = { .rules = extra->rules,
        .head = head,
        .forward = forward,
        .trace = extra->trace,
        .service = extra->service,
        .version = extra->version,
        .tls = client_is_tls(head, forward) };
    add_rule_fields(out, &extra->rules->request, &values);
}

void headers_request(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    const struct request_extra *extra)
{
    const struct trace *trace = extra->trace;
    struct http1_slice host = head->authority;
    uint64_t drops = request_drops | (trace ? trace->drops : 0);
    if (extra->rules && extra->rules->prefix)
        add_request_line(out, head, extra->rules);
    else
        http1_out_request_line(out, head->method, head->target);
    if (host.len == 0)
        host = (struct http1_slice){ extra->service, strlen(extra->service) };
    http1_out_field(out, HTTP1_SLICE("Host"), host);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (drops & UINT64_C(1) << f->id || f->listed)
            continue;
        if (f->id == HTTP1_FIELD_OTHER && !forward->trusted && is_forwarding_name(f))
            continue;
        if (extra->rules && rules_hide(&extra->rules->request, f))
            continue;
        if (f->id == HTTP1_FIELD_TRAILER && head->body != HTTP1_BODY_CHUNKED)
            continue;
        if (f->id == HTTP1_FIELD_MAX_FORWARDS && head->method_id == HTTP1_METHOD_OPTIONS)
            add_max_forwards(out, f);
        else
            add_field(out, f);
    }
    add_forwarded(out, head, forward, head->authority);
    if (trace)
        http1_out_add(out, trace->fields, trace->fields_len);
    if (extra->rules)
        add_request_rules(out, head, forward, extra);
    begin_list(out, head, HTTP1_FIELD_VIA, "Via", true);
    http1_out_str(out, head->is_h2 ? "2" : head->minor == 0 ? "1.0" : "1.1");
    http1_out_literal(out, " " HEADERS_PSEUDONYM "\r\n");
    add_request_framing(out, head);
    http1_out_end(out);
}

/* received-protocol RWS received-by [ RWS comment ] */
static bool is_own_via(struct http1_slice item)
{
    static const char own[] = HEADERS_PSEUDONYM;
    const char *end = item.ptr + item.len, *blank = memchr(item.ptr, ' ', item.len);
    if (!blank || (size_t)(end - blank) < sizeof(own))
        return false;
    const char *behind = blank + sizeof(own);
    return memcmp(blank + 1, own, sizeof(own) - 1) == 0 && (behind == end || *behind == ' ');
}

bool headers_loop(const struct http1_head *head)
{
    unsigned n = 0;
    for (unsigned i = 0; http1_has(head, HTTP1_FIELD_VIA) && i < head->n_fields; i++) {
        struct http1_slice list = http1_value(&head->fields[i]), item;
        while (head->fields[i].id == HTTP1_FIELD_VIA && http1_list_next(&list, &item))
            n += is_own_via(item);
    }
    return n > HEADERS_LOOPS_MAX;
}

static bool is_zero(struct http1_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] != '0')
            return false;
    }
    return value.len > 0;
}

bool headers_end_here(const struct http1_head *head)
{
    if (head->method_id != HTTP1_METHOD_OPTIONS || !http1_has(head, HTTP1_FIELD_MAX_FORWARDS))
        return false;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id == HTTP1_FIELD_MAX_FORWARDS && is_zero(http1_value(&head->fields[i])))
            return true;
    }
    return false;
}

/* --- answers --------------------------------------------------------------------------------------------- */

static const struct rule_fields *answer_rules(const struct answer_extra *extra)
{
    if (!extra->rules)
        return NULL;
    return extra->tls ? &extra->rules->answer_tls : &extra->rules->answer;
}

static struct rules_values answer_values(const struct answer_extra *extra)
{
    return (struct rules_values){ .rules = extra->rules,
        .service = extra->service ? extra->service->name : NULL,
        .version = extra->release ? extra->release->version : NULL,
        .tls = extra->tls };
}

static bool lacks_date(
    const struct http1_head *head, const struct answer_extra *extra, const struct rule_fields *rules)
{
    static const struct http1_field date = { .name = "Date", .name_len = sizeof("Date") - 1 };
    if (!extra->date || head->status < 200)
        return false;
    const struct http1_field *f = http1_find(head, HTTP1_FIELD_DATE);
    return (!f || f->listed) && !(rules && rules_hide(rules, &date));
}

void headers_answer(struct http1_out *out, const struct http1_head *head, const struct answer_style *style)
{
    const struct rule_fields *rules = answer_rules(&style->extra);
    http1_out_status_line(out, head->status, head->reason);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (answer_drops & UINT64_C(1) << f->id || f->listed)
            continue;
        if (f->id == HTTP1_FIELD_TRAILER && style->framing != ANSWER_CHUNKED)
            continue;
        if (rules && rules_hide(rules, f))
            continue;
        add_field(out, f);
    }
    if (rules) {
        struct rules_values values = answer_values(&style->extra);
        add_rule_fields(out, rules, &values);
    }
    if (lacks_date(head, &style->extra, rules))
        http1_out_field_str(out, "Date", style->extra.date);
    if (style->extra.cookie)
        http1_out_field_str(out, "Set-Cookie", style->extra.cookie);
    if (style->framing == ANSWER_CHUNKED)
        http1_out_literal(out, "Transfer-Encoding: chunked\r\n");
    else if (style->framing == ANSWER_AS_IT_IS && head->has_content_length && head->status >= 200 &&
        head->status != 204)
        http1_out_content_length(out, head->content_length);
    if (style->extra.upgrade || (head->status == 426 && http1_has(head, HTTP1_FIELD_UPGRADE))) {
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

static bool add_one(struct http1_field *ret, int *n, int max, const struct http1_field *field)
{
    if (*n == max)
        return false;
    ret[(*n)++] = *field;
    return true;
}

static bool add_own(
    struct http1_field *ret, int *n, int max, enum http1_field_id id, const char *name, const char *value)
{
    return add_one(ret, n, max,
        &(struct http1_field){ .name = name,
            .name_len = (uint16_t)strlen(name),
            .value = value,
            .value_len = (uint32_t)strlen(value),
            .id = (uint8_t)id });
}

/* Values that are not plain text are put together in the scratch memory. */
static bool add_rule_field(struct http1_field *ret, int *n, int max, const struct rule_field *row,
    struct http1_out *scratch, const struct rules_values *values)
{
    struct http1_field f = { .name = row->name,
        .name_len = row->name_len,
        .value = "",
        .id = (uint8_t)http1_field_id(row->name, row->name_len) };
    if (row->value.n == 1 && row->value.parts[0].kind == VALUE_TEXT) {
        f.value = row->value.parts[0].text;
        f.value_len = row->value.parts[0].len;
    } else if (row->value.n > 0) {
        size_t start = scratch->len;
        rules_add_value(scratch, &row->value, values);
        if (scratch->full)
            return false;
        f.value = scratch->data + start;
        f.value_len = (uint32_t)(scratch->len - start);
    }
    return add_one(ret, n, max, &f);
}

static bool add_rules(struct http1_field *ret, int *n, int max, const struct rule_fields *rules,
    const struct answer_extra *extra)
{
    struct rules_values values = answer_values(extra);
    struct http1_out scratch;
    http1_out_init(&scratch, extra->scratch, extra->scratch ? HEADERS_SCRATCH : 0);
    for (uint32_t i = 0; i < rules->n; i++) {
        if (rules->rows[i].writes && !add_rule_field(ret, n, max, &rules->rows[i], &scratch, &values))
            return false;
    }
    return true;
}

int headers_answer_fields(
    const struct http1_head *head, const struct answer_extra *extra, struct http1_field *ret, int max)
{
    const struct rule_fields *rules = answer_rules(extra);
    int n = 0;
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http1_field *f = &head->fields[i];
        if (answer_drops & UINT64_C(1) << f->id || f->listed || (rules && rules_hide(rules, f)))
            continue;
        if (!add_one(ret, &n, max, f))
            return -1;
    }
    if (rules && !add_rules(ret, &n, max, rules, extra))
        return -1;
    if (lacks_date(head, extra, rules) && !add_own(ret, &n, max, HTTP1_FIELD_DATE, "Date", extra->date))
        return -1;
    if (extra->cookie && !add_own(ret, &n, max, HTTP1_FIELD_SET_COOKIE, "Set-Cookie", extra->cookie))
        return -1;
    return n;
}
