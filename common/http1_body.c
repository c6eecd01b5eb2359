/* SPDX-License-Identifier: MIT */
#include "common/http1.h"

#include "common/http1_chars.h"

#define CHUNK_SIZE_DIGITS_MAX 16

enum body_state {
    BODY_PLAIN,      /* NONE, LENGTH, CLOSE: content */
    BODY_SIZE_FIRST, /* first digit of a chunk's size */
    BODY_SIZE,
    BODY_EXT_NAME_FIRST,
    BODY_EXT_NAME,
    BODY_EXT_VALUE_FIRST,
    BODY_EXT_VALUE,
    BODY_EXT_QUOTED,
    BODY_EXT_ESCAPE,
    BODY_EXT_UNQUOTED, /* behind the closing quote */
    BODY_SIZE_LF,
    BODY_CHUNK,
    BODY_CHUNK_CR,
    BODY_CHUNK_LF,
    BODY_TRAILERS,
    BODY_WHOLE,
};

void http1_body_init(struct http1_body *body, enum http1_body_kind kind, uint64_t content_length)
{
    *body = (struct http1_body){ .kind = (uint8_t)kind };
    switch (kind) {
    case HTTP1_BODY_NONE:
        body->state = BODY_WHOLE;
        break;
    case HTTP1_BODY_LENGTH:
        body->left = content_length;
        body->state = content_length > 0 ? BODY_PLAIN : BODY_WHOLE;
        break;
    case HTTP1_BODY_CHUNKED:
        body->state = BODY_SIZE_FIRST;
        break;
    case HTTP1_BODY_CLOSE:
        body->state = BODY_PLAIN;
        break;
    }
}

static int refuse(struct http1_fault *fault, const char *reason)
{
    *fault = (struct http1_fault){ 400, reason };
    return -1;
}

static int size_digit(struct http1_body *body, char c, struct http1_fault *fault)
{
    int digit = http1_hex_value(c);
    if (digit >= 0) {
        if (body->line > CHUNK_SIZE_DIGITS_MAX || body->left >> 59)
            return refuse(fault, "chunk size too large");
        body->left = body->left << 4 | (unsigned)digit;
        body->state = BODY_SIZE;
        return 0;
    }
    if (body->state == BODY_SIZE_FIRST)
        return refuse(fault, "chunk size is no hexadecimal number");
    if (c == ';')
        body->state = BODY_EXT_NAME_FIRST;
    else if (c == '\r')
        body->state = BODY_SIZE_LF;
    else
        return refuse(fault, "chunk size is followed by something else than a line end");
    return 0;
}

/* One byte of a chunk extension: *( ";" token [ "=" ( token / quoted-string ) ] ), no blanks. */
static int extension_byte(struct http1_body *body, char c, struct http1_fault *fault)
{
    static const char malformed[] = "chunk extension is malformed";
    bool token = http1_char_is(c, HTTP1_CHAR_TOKEN);
    if (++body->extensions > HTTP1_CHUNK_EXTENSIONS_MAX)
        return refuse(fault, "chunk extensions too large");
    switch (body->state) {
    case BODY_EXT_QUOTED:
        if (!http1_char_is(c, HTTP1_CHAR_VALUE))
            return refuse(fault, malformed);
        body->state = c == '"' ? BODY_EXT_UNQUOTED : c == '\\' ? BODY_EXT_ESCAPE : BODY_EXT_QUOTED;
        return 0;
    case BODY_EXT_ESCAPE:
        body->state = BODY_EXT_QUOTED;
        return http1_char_is(c, HTTP1_CHAR_VALUE) ? 0 : refuse(fault, malformed);
    case BODY_EXT_NAME_FIRST:
        body->state = BODY_EXT_NAME;
        return token ? 0 : refuse(fault, malformed);
    case BODY_EXT_VALUE_FIRST:
        body->state = c == '"' ? BODY_EXT_QUOTED : BODY_EXT_VALUE;
        return token || c == '"' ? 0 : refuse(fault, malformed);
    default:
        break;
    }
    if (c == '\r')
        body->state = BODY_SIZE_LF;
    else if (c == ';')
        body->state = BODY_EXT_NAME_FIRST;
    else if (c == '=' && body->state == BODY_EXT_NAME)
        body->state = BODY_EXT_VALUE_FIRST;
    else if (!token || body->state == BODY_EXT_UNQUOTED)
        return refuse(fault, malformed);
    return 0;
}

/* One byte of the framing around chunks. */
static int framing_byte(struct http1_body *body, char c, struct http1_fault *fault)
{
    switch (body->state) {
    case BODY_SIZE_FIRST:
        body->left = 0;
        body->line = 1;
        return size_digit(body, c, fault);
    case BODY_SIZE:
        body->line++;
        return size_digit(body, c, fault);
    case BODY_SIZE_LF:
        if (c != '\n')
            return refuse(fault, "bare CR in a chunk line");
        body->state = body->left > 0 ? BODY_CHUNK : BODY_TRAILERS;
        return 0;
    case BODY_CHUNK_CR:
        if (c != '\r')
            return refuse(fault, "chunk is longer than its size");
        body->state = BODY_CHUNK_LF;
        return 0;
    case BODY_CHUNK_LF:
        if (c != '\n')
            return refuse(fault, "chunk is longer than its size");
        body->state = BODY_SIZE_FIRST;
        return 0;
    default:
        if (++body->line > HTTP1_CHUNK_LINE_MAX)
            return refuse(fault, "chunk line too long");
        return extension_byte(body, c, fault);
    }
}

static enum http1_body_event take_data(
    struct http1_body *body, const char *data, size_t len, size_t *consumed, struct http1_slice *ret)
{
    size_t n = len - *consumed;
    bool counted = body->kind != HTTP1_BODY_CLOSE;
    if (counted && n > body->left)
        n = (size_t)body->left;
    *ret = (struct http1_slice){ data + *consumed, n };
    *consumed += n;
    if (counted) {
        body->left -= n;
        if (body->left == 0)
            body->state = body->kind == HTTP1_BODY_CHUNKED ? BODY_CHUNK_CR : BODY_WHOLE;
    }
    return HTTP1_BODY_DATA;
}

enum http1_body_event http1_body_next(struct http1_body *body, const char *data, size_t len, size_t *consumed,
    struct http1_slice *ret_data, struct http1_fault *fault)
{
    for (;;) {
        if (body->state == BODY_WHOLE)
            return HTTP1_BODY_END;
        if (body->state == BODY_TRAILERS)
            return HTTP1_BODY_TRAILERS;
        if (*consumed == len)
            return HTTP1_BODY_MORE;
        if (body->state == BODY_PLAIN || body->state == BODY_CHUNK)
            return take_data(body, data, len, consumed, ret_data);
        if (framing_byte(body, data[*consumed], fault) < 0)
            return HTTP1_BODY_REFUSED;
        (*consumed)++;
    }
}

void http1_body_end(struct http1_body *body)
{
    body->state = BODY_WHOLE;
}

uint64_t http1_body_left(const struct http1_body *body)
{
    return body->kind == HTTP1_BODY_LENGTH ? body->left : 0;
}

void http1_body_pass(struct http1_body *body, uint64_t n)
{
    body->left -= n;
    if (body->left == 0)
        body->state = BODY_WHOLE;
}

bool http1_body_is_whole(const struct http1_body *body)
{
    return body->state == BODY_WHOLE;
}

bool http1_body_is_at_trailers(const struct http1_body *body)
{
    return body->state == BODY_TRAILERS;
}

bool http1_body_eof(struct http1_body *body)
{
    if (body->kind == HTTP1_BODY_CLOSE)
        body->state = BODY_WHOLE;
    return body->state == BODY_WHOLE;
}
