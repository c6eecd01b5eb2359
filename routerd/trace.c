/* SPDX-License-Identifier: MIT */
#include "routerd/trace.h"

#include <endian.h>
#include <string.h>

#define PARENT_LEN   55 /* of version 00 */
#define PARENT_TRACE 3
#define PARENT_SPAN  36
#define PARENT_FLAGS 53
#define SPAN_LEN     16
#define FLAGS_LEN    2
#define BIT(id)      (UINT64_C(1) << HTTP1_FIELD_##id)

/* --- new ids --------------------------------------------------------------------------------------------- */

/* Every input has an output of its own (splitmix64's last step): what counts up looks random and never repeats. */
static uint64_t spread(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Eight digits at once: each half byte gets a byte of its own, 10 and more get what lies between '9' and 'a'. */
static void put_hex32(char *out, uint32_t value)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t x = value;
    x = (x << 16 | x) & UINT64_C(0x0000ffff0000ffff);
    x = (x << 8 | x) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x << 4 | x) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    x += '0' * ones + (((x + 6 * ones) >> 4) & ones) * ('a' - '9' - 1);
    x = htobe64(x);
    memcpy(out, &x, sizeof(x));
}

static void put_hex(char *out, uint64_t value)
{
    put_hex32(out, (uint32_t)(value >> 32));
    put_hex32(out + SPAN_LEN / 2, (uint32_t)value);
}

void trace_source_init(struct trace_source *source, const uint64_t *random)
{
    put_hex(source->high, random[0] | 1); /* an id is never all zeros */
    source->low = random[1];
    source->span = random[2];
}

static void put_new_id(char *out, struct trace_source *source)
{
    memcpy(out, source->high, sizeof(source->high));
    put_hex(out + sizeof(source->high), spread(++source->low));
}

static void put_new_span(char *out, struct trace_source *source)
{
    uint64_t span = spread(++source->span);
    put_hex(out, span ? span : spread(++source->span));
}

/* --- what the client sent -------------------------------------------------------------------------------- */

/* Lower-case hex digits, not all of them zero. */
static bool is_id(const char *s, size_t n, bool may_be_zero)
{
    bool zero = true;
    for (size_t i = 0; i < n; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
        zero &= s[i] == '0';
    }
    return may_be_zero || !zero;
}

bool trace_parent_is_valid(struct http1_slice v)
{
    if (v.len < PARENT_LEN || !is_id(v.ptr, 2, true) || memcmp(v.ptr, "ff", 2) == 0)
        return false;
    if (v.len > PARENT_LEN && (memcmp(v.ptr, "00", 2) == 0 || v.ptr[PARENT_LEN] != '-'))
        return false;
    return v.ptr[PARENT_TRACE - 1] == '-' && is_id(v.ptr + PARENT_TRACE, TRACE_ID_LEN, false) &&
        v.ptr[PARENT_SPAN - 1] == '-' && is_id(v.ptr + PARENT_SPAN, SPAN_LEN, false) &&
        v.ptr[PARENT_FLAGS - 1] == '-' && is_id(v.ptr + PARENT_FLAGS, FLAGS_LEN, true);
}

/* The only field of that id; a repeated one means nothing. */
static const struct http1_field *only(const struct http1_head *head, enum http1_field_id id)
{
    const struct http1_field *found = NULL;
    for (unsigned i = 0; http1_has(head, id) && i < head->n_fields; i++) {
        if (head->fields[i].id != id)
            continue;
        if (found)
            return NULL;
        found = &head->fields[i];
    }
    return found;
}

static bool is_request_id(const struct http1_field *f)
{
    if (!f || f->value_len == 0 || f->value_len > TRACE_REQUEST_ID_MAX)
        return false;
    for (uint32_t i = 0; i < f->value_len; i++) {
        if (f->value[i] <= ' ' || f->value[i] > '~')
            return false;
    }
    return true;
}

/* --- the two fields -------------------------------------------------------------------------------------- */

static char *add(struct trace *t, const char *text, size_t len)
{
    char *at = t->fields + t->fields_len;
    memcpy(at, text, len);
    t->fields_len += len;
    return at;
}

static void make_request_id(struct trace *t, const struct http1_head *head, const char *id, bool trusted)
{
    static const char name[] = "X-Request-Id: ";
    const struct http1_field *f = trusted ? only(head, HTTP1_FIELD_X_REQUEST_ID) : NULL;
    if (is_request_id(f)) {
        t->request_id = http1_value(f);
        return;
    }
    t->drops |= BIT(X_REQUEST_ID);
    add(t, name, sizeof(name) - 1);
    t->request_id = (struct http1_slice){ add(t, id, TRACE_ID_LEN), TRACE_ID_LEN };
    add(t, "\r\n", 2);
}

static void make_trace(struct trace *t, struct trace_source *source, const struct trace_policy *policy,
    const struct http1_head *head, const char *id, bool trusted)
{
    static const char name[] = "traceparent: 00-";
    const struct http1_field *f = trusted || policy->trust ? only(head, HTTP1_FIELD_TRACEPARENT) : NULL;
    if (f && trace_parent_is_valid(http1_value(f))) {
        t->trace_id = (struct http1_slice){ f->value + PARENT_TRACE, TRACE_ID_LEN };
        return;
    }
    /* tracestate without the traceparent that it belongs to means nothing. */
    t->drops |= BIT(TRACEPARENT) | BIT(TRACESTATE);
    char span[SPAN_LEN];
    put_new_span(span, source);
    add(t, name, sizeof(name) - 1);
    t->trace_id = (struct http1_slice){ add(t, id, TRACE_ID_LEN), TRACE_ID_LEN };
    add(t, "-", 1);
    add(t, span, SPAN_LEN);
    bool sampled = spread(source->low ^ source->span) % 100 < policy->sample_of_100;
    add(t, sampled ? "-01\r\n" : "-00\r\n", 5);
}

void trace_make(struct trace *t, struct trace_source *source, const struct trace_policy *policy,
    const struct http1_head *head, bool trusted)
{
    char id[TRACE_ID_LEN];
    t->drops = 0;
    t->fields_len = 0;
    t->request_id = t->trace_id = (struct http1_slice){ 0 };
    put_new_id(id, source);
    if (policy->request_id)
        make_request_id(t, head, id, trusted);
    if (policy->trace)
        make_trace(t, source, policy, head, id, trusted);
}
