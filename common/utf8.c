/* SPDX-License-Identifier: MIT */
#include "common/utf8.h"

static bool is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_character(const unsigned char *s, size_t len)
{
    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2)
        return 0;
    if (s[0] < 0xE0)
        return len >= 2 && is_tail(s[1]) ? 2 : 0;
    if (s[0] < 0xF0) {
        if (len < 3 || !is_tail(s[1]) || !is_tail(s[2]))
            return 0;
        if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] >= 0xA0))
            return 0;
        return 3;
    }
    if (s[0] > 0xF4 || len < 4 || !is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3]))
        return 0;
    if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] >= 0x90))
        return 0;
    return 4;
}

bool utf8_is_valid(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;

    for (size_t i = 0; i < len;) {
        size_t n = utf8_character(p + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t utf8_cut(const char *s, size_t len, size_t max)
{
    if (len <= max)
        return len;
    size_t cut = max;
    while (cut > 0 && max - cut < 3 && is_tail((unsigned char)s[cut]))
        cut--;
    return cut;
}

size_t utf8_encode(uint32_t code_point, char buf[4])
{
    if (code_point < 0x80) {
        buf[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        buf[0] = (char)(0xC0 | (code_point >> 6));
        buf[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        buf[0] = (char)(0xE0 | (code_point >> 12));
        buf[1] = (char)(0x80 | ((code_point >> 6) & 0x3F));
        buf[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    buf[0] = (char)(0xF0 | (code_point >> 18));
    buf[1] = (char)(0x80 | ((code_point >> 12) & 0x3F));
    buf[2] = (char)(0x80 | ((code_point >> 6) & 0x3F));
    buf[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}
