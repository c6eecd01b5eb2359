/* SPDX-License-Identifier: MIT */
#pragma once

/* A growing byte string, always NUL-terminated at data[len]; may hold NULs. Growth cannot fail: check sizes
 * that a peer chose before appending. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

struct strbuf {
    char *data; /* NULL until first written; use strbuf_str() for a C string */
    size_t len;
    size_t cap;
};

/* clang-format off */
#define STRBUF_INIT { NULL, 0, 0 }
/* clang-format on */

void strbuf_done(struct strbuf *sb);
void strbuf_clear(struct strbuf *sb); /* empty, memory kept */
const char *strbuf_str(const struct strbuf *sb);
char *strbuf_steal(struct strbuf *sb); /* caller frees; never NULL; sb is empty afterwards */

void strbuf_add(struct strbuf *sb, const void *data, size_t len);
void strbuf_adds(struct strbuf *sb, const char *s);
void strbuf_addc(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) _printf_(2, 3);
void strbuf_consume(struct strbuf *sb, size_t n); /* drops the first n bytes */
void strbuf_reserve(struct strbuf *sb, size_t extra);

/* Appends s so that it is safe in a log line or on a terminal: control characters, DEL, C1 and bytes that are
 * not UTF-8 become \xNN; at most max bytes of s are used, then "…". */
void strbuf_add_printable(struct strbuf *sb, const char *s, size_t len, size_t max);
