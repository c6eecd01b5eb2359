/* SPDX-License-Identifier: MIT */
#include "common/json_value.h"

#include <inttypes.h>
#include <string.h>

#include "common/utf8.h"

/* --- reading --------------------------------------------------------------------------------------------- */

enum json_type json_type(const struct json *v)
{
    return v ? v->type : JSON_NULL;
}

bool json_is(const struct json *v, enum json_type type)
{
    return v && v->type == type;
}

int json_line(const struct json *v)
{
    return v ? v->line : 0;
}

const char *json_key(const struct json *v)
{
    return v ? v->key : NULL;
}

const char *json_string(const struct json *v)
{
    return json_is(v, JSON_STRING) ? v->string : NULL;
}

size_t json_string_len(const struct json *v)
{
    return json_is(v, JSON_STRING) ? v->n : 0;
}

int64_t json_int(const struct json *v)
{
    return json_is(v, JSON_INT) ? v->number : 0;
}

bool json_bool(const struct json *v)
{
    return json_is(v, JSON_BOOL) && v->boolean;
}

const struct json *json_first(const struct json *v)
{
    return json_is(v, JSON_LIST) || json_is(v, JSON_OBJECT) ? v->first : NULL;
}

const struct json *json_next(const struct json *v)
{
    return v ? v->next : NULL;
}

size_t json_size(const struct json *v)
{
    return json_is(v, JSON_LIST) || json_is(v, JSON_OBJECT) ? v->n : 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    json_for_each(member, object) if (strcmp(member->key, key) == 0) return member;
    return NULL;
}

void json_span(const struct json *v, size_t *ret_offset, size_t *ret_len)
{
    *ret_offset = v->offset;
    *ret_len = v->len;
}

void json_describe(const struct json *v, struct strbuf *out)
{
    switch (json_type(v)) {
    case JSON_NULL:
        strbuf_adds(out, "null");
        return;
    case JSON_BOOL:
        strbuf_adds(out, v->boolean ? "true" : "false");
        return;
    case JSON_INT:
        strbuf_addf(out, "%" PRId64, v->number);
        return;
    case JSON_REAL:
        strbuf_adds(out, "a number with a fraction or exponent");
        return;
    case JSON_STRING:
        strbuf_addc(out, '"');
        strbuf_add_printable(out, v->string, v->n, JSON_SHOWN_MAX);
        strbuf_addc(out, '"');
        return;
    case JSON_LIST:
        strbuf_adds(out, "a list");
        return;
    case JSON_OBJECT:
        strbuf_adds(out, "an object");
        return;
    }
}

/* --- writing --------------------------------------------------------------------------------------------- */

static void write_escape(struct strbuf *out, unsigned char c)
{
    static const char meant[] = "\"\\\b\f\n\r\t", written[] = "\"\\bfnrt";
    const char *found = strchr(meant, c);

    if (found)
        strbuf_addf(out, "\\%c", written[found - meant]);
    else
        strbuf_addf(out, "\\u%04x", c);
}

void json_write_string(struct strbuf *out, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t plain = 0, i = 0;

    strbuf_addc(out, '"');
    while (i < len) {
        size_t n = p[i] < 0x80 ? 1 : utf8_character(p + i, len - i);
        if (n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')) {
            i += n;
            continue;
        }
        strbuf_add(out, p + plain, i - plain);
        if (n == 0 || p[i] == '\0')
            strbuf_adds(out, "\xEF\xBF\xBD");
        else
            write_escape(out, p[i]);
        plain = ++i;
    }
    strbuf_add(out, p + plain, i - plain);
    strbuf_addc(out, '"');
}
