/* SPDX-License-Identifier: MIT */
#pragma once

/* Which byte may stand where in an HTTP/1 message: one table, for http1*.c only. */

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP1_CHAR_TOKEN = 1,  /* tchar: methods, field names, options */
    HTTP1_CHAR_VALUE = 2,  /* field values: blanks, visible, obs-text; no control, no DEL */
    HTTP1_CHAR_TARGET = 4, /* request targets: visible ASCII without " # < > */
    HTTP1_CHAR_HOST = 8,   /* names of hosts */
    HTTP1_CHAR_UNDERSCORE = 16,
};

extern const uint8_t http1_chars[256];

static inline bool http1_char_is(char c, uint8_t kind)
{
    return http1_chars[(unsigned char)c] & kind;
}

/* The first byte from p that is not of that kind, or end; *ret_seen is what all before it are, or'ed. */
static inline const char *http1_char_span(const char *p, const char *end, uint8_t kind, uint8_t *ret_seen)
{
    uint8_t seen = 0;
    for (; p < end && http1_char_is(*p, kind); p++)
        seen |= http1_chars[(unsigned char)*p];
    *ret_seen = seen;
    return p;
}
