/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2_head.h"

#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "routerd/queue.h"
#include "routerd/websocket.h"

/* Before each field's bytes in the block. */
struct record {
    uint32_t name_len, value_len;
};

static enum http1_result refuse(struct http1_fault *fault, int status, const char *reason)
{
    *fault = (struct http1_fault){ status, reason };
    return HTTP1_REFUSED;
}

/* --- keeping --------------------------------------------------------------------------------------------- */

void h2_head_begin(struct h2_head *h, size_t max)
{
    *h = (struct h2_head){ .max = max };
}

void h2_head_clear(struct h2_head *h, struct block_pool *pool)
{
    block_free(pool, h->block);
    *h = (struct h2_head){ .block = NULL };
}

/* Room for so many more bytes; what was there may move. */
static char *reserve(struct h2_head *h, struct block_pool *pool, size_t n)
{
    struct block *old = h->block;
    size_t have = old ? old->end : 0;
    if (!old || old->cap - have < n) {
        h->block = block_new(pool, 2 * (have + n));
        if (old)
            memcpy(h->block->data, old->data, have);
        h->block->end = (uint32_t)have;
        block_free(pool, old);
    }
    char *p = h->block->data + have;
    h->block->end += (uint32_t)n;
    return p;
}

static bool is_cookie(struct http1_slice name)
{
    return name.len == 6 && memcmp(name.ptr, "cookie", 6) == 0;
}

static bool is_head_method(struct http1_slice name, struct http1_slice value)
{
    return name.len == 7 && value.len == 4 && memcmp(name.ptr, ":method", 7) == 0 &&
        memcmp(value.ptr, "HEAD", 4) == 0;
}

bool h2_head_add(
    struct h2_head *h, struct block_pool *pool, struct http1_slice name, struct http1_slice value)
{
    struct record r = { (uint32_t)name.len, (uint32_t)value.len };
    h->size += name.len + value.len + H2_HEAD_FIELD_COST;
    h->asks_head |= is_head_method(name, value);
    if (h->size > h->max) {
        h->too_large = true;
        return h->size <= H2_HEAD_FLOOD_TIMES * h->max;
    }
    char *p = reserve(h, pool, sizeof(r) + name.len + value.len);
    memcpy(p, &r, sizeof(r));
    memcpy(p + sizeof(r), name.ptr, name.len);
    memcpy(p + sizeof(r) + name.len, value.ptr, value.len);
    if (is_cookie(name)) {
        h->n_cookies++;
        h->cookie_bytes += value.len + 2;
    }
    return true;
}

/* --- reading --------------------------------------------------------------------------------------------- */

struct reader {
    const char *p, *end;
    struct http1_slice name, value;
};

static bool next_field(struct reader *r)
{
    struct record record;
    if (r->p == r->end)
        return false;
    memcpy(&record, r->p, sizeof(record));
    r->name = (struct http1_slice){ r->p + sizeof(record), record.name_len };
    r->value = (struct http1_slice){ r->name.ptr + record.name_len, record.value_len };
    r->p = r->value.ptr + record.value_len;
    return true;
}

static struct reader start(const struct h2_head *h, size_t len)
{
    const char *p = h->block ? h->block->data : "";
    return (struct reader){ .p = p, .end = p + len };
}

/* --- pseudo-header fields -------------------------------------------------------------------------------- */

enum { METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, N_PSEUDO };

static const struct http1_slice pseudo_names[N_PSEUDO] = {
    [METHOD] = { ":method", 7 },
    [SCHEME] = { ":scheme", 7 },
    [AUTHORITY] = { ":authority", 10 },
    [PATH] = { ":path", 5 },
    [PROTOCOL] = { ":protocol", 9 },
};

static bool is_pseudo(struct http1_slice name)
{
    return name.len > 0 && name.ptr[0] == ':';
}

static int pseudo_id(struct http1_slice name)
{
    for (int i = 0; i < N_PSEUDO; i++) {
        if (pseudo_names[i].len == name.len && memcmp(pseudo_names[i].ptr, name.ptr, name.len) == 0)
            return i;
    }
    return -1;
}

/* They come before all others, each once. Leaves the reader at the first regular field, or at the end. */
static enum http1_result read_pseudo(
    struct reader *r, struct http1_slice *pseudo, bool *ret_regular, struct http1_fault *fault)
{
    *ret_regular = false;
    while (next_field(r)) {
        if (!is_pseudo(r->name)) {
            *ret_regular = true;
            return HTTP1_DONE;
        }
        int id = pseudo_id(r->name);
        if (id < 0)
            return refuse(fault, 400, "pseudo-header field that is not known");
        if (pseudo[id].ptr)
            return refuse(fault, 400, "pseudo-header field twice");
        pseudo[id] = r->value;
    }
    return HTTP1_DONE;
}

static bool slice_equals(struct http1_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

static enum http1_result judge_pseudo(struct http1_slice *pseudo, bool *ret_tunnel, struct http1_fault *fault)
{
    if (!pseudo[METHOD].ptr)
        return refuse(fault, 400, "no :method");
    bool connect = slice_equals(pseudo[METHOD], "CONNECT");
    *ret_tunnel = connect && pseudo[PROTOCOL].ptr;
    if (connect && !*ret_tunnel)
        return refuse(fault, 501, "method CONNECT or TRACE");
    if (!connect && pseudo[PROTOCOL].ptr)
        return refuse(fault, 400, ":protocol with another method than CONNECT");
    if (!pseudo[SCHEME].ptr || !pseudo[PATH].ptr)
        return refuse(fault, 400, "no :scheme or no :path");
    if (!http1_slice_is(pseudo[SCHEME], "https") && !http1_slice_is(pseudo[SCHEME], "http"))
        return refuse(fault, 400, ":scheme other than http and https");
    if (*ret_tunnel && (!pseudo[AUTHORITY].ptr || pseudo[PATH].len == 0 || pseudo[PATH].ptr[0] != '/'))
        return refuse(fault, 400, "extended CONNECT without :authority or path");
    if (*ret_tunnel && !http1_slice_is(pseudo[PROTOCOL], "websocket"))
        return refuse(fault, 501, ":protocol other than websocket");
    return HTTP1_DONE;
}

/* --- fields ---------------------------------------------------------------------------------------------- */

static bool has_blank_edge(struct http1_slice v)
{
    return v.len > 0 &&
        (v.ptr[0] == ' ' || v.ptr[0] == '\t' || v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == '\t');
}

/* RFC 9113 8.2.3: HTTP/1 knows one Cookie field. Its value, behind the fields in the block; NULL: a blank where none
 * may be. */
static const char *join_cookies(struct h2_head *h, struct block_pool *pool, size_t *ret_len)
{
    size_t fields_end = h->block->end;
    char *start_of = reserve(h, pool, h->cookie_bytes), *p = start_of;
    struct reader r = start(h, fields_end);
    while (next_field(&r)) {
        if (!is_cookie(r.name))
            continue;
        if (has_blank_edge(r.value))
            return NULL;
        if (r.value.len == 0)
            continue;
        if (p > start_of) {
            *p++ = ';';
            *p++ = ' ';
        }
        memcpy(p, r.value.ptr, r.value.len);
        p += r.value.len;
    }
    *ret_len = (size_t)(p - start_of);
    return start_of;
}

struct fields {
    const struct http1_limits *limits;
    struct http1_head *head;
    struct http1_fault *fault;
    struct http1_slice cookies;   /* joined; empty: the one field as it is */
    struct http1_slice authority; /* NULL: none was given */
    bool cookies_added;
    bool is_tunnel;
};

static bool is_same_name(struct http1_slice a, struct http1_slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static enum http1_result add_field(struct fields *f, struct http1_slice name, struct http1_slice value)
{
    if (is_pseudo(name))
        return refuse(f->fault, 400, "pseudo-header field behind a regular one");
    if (f->cookies.ptr && is_cookie(name)) {
        if (f->cookies_added)
            return HTTP1_DONE;
        f->cookies_added = true;
        value = f->cookies;
    }
    /* The key of a tunnel is ours. */
    if (f->is_tunnel && slice_equals(name, "sec-websocket-key"))
        return HTTP1_DONE;
    /* RFC 9113 8.3.1: both name the same, and case does not count in names. */
    if (f->authority.ptr && slice_equals(name, "host"))
        return is_same_name(value, f->authority) ? HTTP1_DONE
                                                 : refuse(f->fault, 400, ":authority and Host differ");
    return http1_parts_field(f->head, name, value, f->limits, f->fault);
}

/* What says "tunnel" in HTTP/1; such fields can't have come from the client. */
static enum http1_result add_upgrade(struct fields *f, const char *key)
{
    struct http1_head *head = f->head;
    if (head->n_fields + 2 > HTTP1_FIELDS_MAX)
        return refuse(f->fault, 431, "too many fields");
    head->fields[head->n_fields++] = (struct http1_field){ .name = "Upgrade",
        .name_len = sizeof("Upgrade") - 1,
        .value = "websocket",
        .value_len = sizeof("websocket") - 1,
        .id = HTTP1_FIELD_UPGRADE };
    head->fields[head->n_fields++] = (struct http1_field){ .name = "Sec-WebSocket-Key",
        .name_len = sizeof("Sec-WebSocket-Key") - 1,
        .value = key,
        .value_len = WEBSOCKET_KEY_LEN,
        .id = HTTP1_FIELD_OTHER };
    head->seen |= UINT64_C(1) << HTTP1_FIELD_UPGRADE | UINT64_C(1) << HTTP1_FIELD_OTHER;
    head->upgrade = true;
    return HTTP1_DONE;
}

static enum http1_result add_all(struct fields *f, struct reader *r, bool regular)
{
    enum http1_result result = HTTP1_DONE;
    for (; regular && result == HTTP1_DONE; regular = next_field(r))
        result = add_field(f, r->name, r->value);
    return result;
}

/* --- heads ----------------------------------------------------------------------------------------------- */

enum http1_result h2_head_request(struct h2_head *h, struct block_pool *pool, struct h2_request *request,
    const struct http1_limits *limits, struct http1_head *ret, struct http1_fault *fault)
{
    struct http1_slice pseudo[N_PSEUDO] = { { NULL, 0 } };
    struct fields f = { .limits = limits, .head = ret, .fault = fault };
    bool regular;
    http1_parts_begin(ret);
    if (h->too_large)
        return refuse(fault, 431, "head too large");
    size_t fields_end = h->block ? h->block->end : 0;
    if (h->n_cookies > 1) {
        f.cookies.ptr = join_cookies(h, pool, &f.cookies.len);
        if (!f.cookies.ptr)
            return refuse(fault, 400, "blank around a field value");
    }
    struct reader r = start(h, fields_end);
    if (read_pseudo(&r, pseudo, &regular, fault) != HTTP1_DONE ||
        judge_pseudo(pseudo, &request->tunnel, fault) != HTTP1_DONE)
        return HTTP1_REFUSED;
    f.is_tunnel = request->tunnel;
    f.authority = pseudo[AUTHORITY];
    ret->https = http1_slice_is(pseudo[SCHEME], "https");
    struct http1_slice method = request->tunnel ? HTTP1_SLICE("GET") : pseudo[METHOD];
    if (http1_parts_line(ret, method, pseudo[PATH], limits, fault) != HTTP1_DONE)
        return HTTP1_REFUSED;
    if (pseudo[AUTHORITY].ptr &&
        http1_parts_field(ret, HTTP1_SLICE("host"), pseudo[AUTHORITY], limits, fault) != HTTP1_DONE)
        return HTTP1_REFUSED;
    if (add_all(&f, &r, regular) != HTTP1_DONE ||
        http1_parts_judge(ret, request->ends || request->tunnel, fault) != HTTP1_DONE)
        return HTTP1_REFUSED;
    if (request->tunnel && request->ends)
        return refuse(fault, 400, "extended CONNECT that ends at once");
    return request->tunnel ? add_upgrade(&f, request->websocket_key) : HTTP1_DONE;
}

enum http1_result h2_head_trailers(struct h2_head *h, struct block_pool *pool,
    const struct http1_limits *limits, struct http1_head *ret, struct http1_fault *fault)
{
    struct fields f = { .limits = limits, .head = ret, .fault = fault };
    http1_parts_begin(ret);
    if (h->too_large)
        return refuse(fault, 431, "trailers too large");
    struct reader r = start(h, h->block ? h->block->end : 0);
    if (add_all(&f, &r, next_field(&r)) != HTTP1_DONE)
        return HTTP1_REFUSED;
    return http1_parts_judge_trailers(ret, fault);
}
