/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

/* A text that was cut off must not end inside a character: peers refuse what is not UTF-8. */
static void trim_to_character(char *text)
{
    size_t len = strlen(text), last = len;

    while (last > 0 && len - last < 3 && ((unsigned char)text[last - 1] & 0xC0) == 0x80)
        last--;
    if (last > 0 && (unsigned char)text[last - 1] >= 0xC0 &&
        utf8_character((const unsigned char *)text + last - 1, len - last + 1) == 0)
        text[last - 1] = '\0';
}

int error_vset(struct error *err, int code, const char *fmt, va_list args)
{
    /* A failure must not look like success, whatever the caller took for its reason (errno may be 0). */
    if (code >= 0)
        code = -EIO;
    if (!err)
        return code;
    /* By way of a copy: the old text may be among the arguments. */
    char text[ERROR_TEXT_MAX];
    int n = vsnprintf(text, sizeof(text), fmt, args);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= sizeof(text))
        trim_to_character(text);
    err->code = code;
    memcpy(err->text, text, strlen(text) + 1);
    return code;
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    code = error_vset(err, code, fmt, args);
    va_end(args);
    return code;
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
    char reason[128];
    va_list args;

    va_start(args, fmt);
    code = error_vset(err, code, fmt, args);
    va_end(args);
    if (err) {
        size_t len = strlen(err->text);
        snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror_r(-code, reason, sizeof(reason)));
        trim_to_character(err->text);
    }
    return code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    char old[ERROR_TEXT_MAX];
    va_list args;

    if (!err)
        return -EINVAL;
    memcpy(old, err->text, strlen(err->text) + 1);
    va_start(args, fmt);
    error_vset(err, err->code, fmt, args);
    va_end(args);
    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s", old);
    trim_to_character(err->text);
    return err->code;
}
