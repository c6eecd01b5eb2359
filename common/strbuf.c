/* SPDX-License-Identifier: MIT */
#include "common/strbuf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/utf8.h"

#define STRBUF_FIRST 64

void strbuf_done(struct strbuf *sb)
{
    free(sb->data);
    *sb = (struct strbuf)STRBUF_INIT;
}

void strbuf_clear(struct strbuf *sb)
{
    sb->len = 0;
    if (sb->data)
        sb->data[0] = '\0';
}

const char *strbuf_str(const struct strbuf *sb)
{
    return sb->data ? sb->data : "";
}

char *strbuf_steal(struct strbuf *sb)
{
    char *s = sb->data ? sb->data : xstrdup("");

    *sb = (struct strbuf)STRBUF_INIT;
    return s;
}

void strbuf_reserve(struct strbuf *sb, size_t extra)
{
    assert(extra < SIZE_MAX / 4 && sb->len < SIZE_MAX / 4);
    size_t wanted = sb->len + extra + 1;
    if (wanted <= sb->cap)
        return;
    size_t cap = sb->cap ? sb->cap : STRBUF_FIRST;
    while (cap < wanted)
        cap *= 2;
    sb->data = xrealloc(sb->data, cap);
    sb->data[sb->len] = '\0';
    sb->cap = cap;
}

void strbuf_add(struct strbuf *sb, const void *data, size_t len)
{
    strbuf_reserve(sb, len);
    if (len)
        memcpy(sb->data + sb->len, data, len);
    sb->len += len;
    sb->data[sb->len] = '\0';
}

void strbuf_adds(struct strbuf *sb, const char *s)
{
    strbuf_add(sb, s, strlen(s));
}

void strbuf_addc(struct strbuf *sb, char c)
{
    if (sb->len + 1 >= sb->cap)
        strbuf_reserve(sb, 1);
    sb->data[sb->len++] = c;
    sb->data[sb->len] = '\0';
}

void strbuf_addf(struct strbuf *sb, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    strbuf_reserve(sb, 0);
    size_t room = sb->cap - sb->len;
    int n = vsnprintf(sb->data + sb->len, room, fmt, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n >= room) {
        strbuf_reserve(sb, (size_t)n);
        vsnprintf(sb->data + sb->len, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    sb->len += (size_t)n;
}

void strbuf_consume(struct strbuf *sb, size_t n)
{
    assert(n <= sb->len);
    if (n == 0)
        return;
    sb->len -= n;
    memmove(sb->data, sb->data + n, sb->len);
    sb->data[sb->len] = '\0';
}

static bool is_printable(const unsigned char *s, size_t n)
{
    if (n == 1)
        return s[0] >= 0x20 && s[0] != 0x7F;
    /* C1 controls, which some terminals obey, and the marks that turn the direction of what follows. */
    if (s[0] == 0xC2 && s[1] < 0xA0)
        return false;
    if (s[0] == 0xE2 && s[1] == 0x80 && ((s[2] >= 0xA8 && s[2] <= 0xAE) || s[2] == 0x8E || s[2] == 0x8F))
        return false;
    if (s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9)
        return false;
    return true;
}

void strbuf_add_printable(struct strbuf *sb, const char *s, size_t len, size_t max)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;

    while (i < len) {
        size_t n = utf8_character(p + i, len - i);
        size_t step = n ? n : 1;
        if (i + step > max) {
            strbuf_adds(sb, "…");
            return;
        }
        if (n && is_printable(p + i, n))
            strbuf_add(sb, p + i, n);
        else
            for (size_t k = 0; k < step; k++)
                strbuf_addf(sb, "\\x%02x", p[i + k]);
        i += step;
    }
}
