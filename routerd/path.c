/* SPDX-License-Identifier: MIT */
#include "routerd/path.h"

#include <string.h>

static bool ends_segment(struct http1_slice path, size_t at)
{
    return at >= path.len || path.ptr[at] == '/';
}

bool path_is_plain(struct http1_slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '%' || c == ';' || c == '\\')
            return false;
        if (c != '/' || i + 1 == path.len)
            continue;
        bool dot = path.ptr[i + 1] == '.';
        if (path.ptr[i + 1] == '/' || (dot && ends_segment(path, i + 2)) ||
            (dot && path.ptr[i + 2] == '.' && ends_segment(path, i + 3)))
            return false;
    }
    return true;
}

/* One character of the path, decoded; *at moves behind it. */
static char next_char(struct http1_slice path, size_t *at)
{
    char c = path.ptr[(*at)++];
    if (c == '%' && *at + 1 < path.len) {
        int high = http1_hex_value(path.ptr[*at]), low = http1_hex_value(path.ptr[*at + 1]);
        if (high >= 0 && low >= 0) {
            *at += 2;
            c = (char)(high << 4 | low);
        }
    }
    return c == '\\' ? '/' : c;
}

/* ret[0…len) ends in "/" and a segment, which is over: what becomes of both. */
static size_t end_segment(const char *ret, size_t len)
{
    size_t start = len;
    while (ret[start - 1] != '/')
        start--;
    size_t n = len - start;
    if (n == 0 || (n == 1 && ret[start] == '.'))
        return start - 1;
    if (n != 2 || memcmp(ret + start, "..", 2) != 0)
        return len;
    start--;
    while (start > 0 && ret[start - 1] != '/')
        start--;
    return start > 0 ? start - 1 : 0;
}

size_t path_normalize(struct http1_slice path, char *ret)
{
    size_t at = 0, len = 0;
    bool parameter = false;
    while (at < path.len) {
        char c = next_char(path, &at);
        if (c == '/') {
            len = len > 0 ? end_segment(ret, len) : 0;
            ret[len++] = '/';
            parameter = false;
        } else if (c == ';') {
            parameter = true;
        } else if (!parameter && len > 0) {
            ret[len++] = c;
        }
    }
    if (len == 0)
        return 0;
    bool folder = ret[len - 1] == '/';
    len = end_segment(ret, len);
    if (folder || len == 0)
        ret[len++] = '/';
    return len;
}
