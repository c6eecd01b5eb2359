/* SPDX-License-Identifier: MIT */
#pragma once

/* JSON text into a read-only tree, and strings into JSON text. Strict by RFC 8259 and stricter: valid UTF-8, no
 * NUL (nor \u0000), no lone surrogates, no key twice in an object, integers within int64, bounded depth and
 * number of values. Every value knows its line, for messages about files that people write.
 *
 * It knows nothing of structs: schema.h maps between the two. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"

#define JSON_DEPTH_MAX  16
#define JSON_VALUES_MAX 2000000 /* bounds memory: a value of two bytes of text takes 64 in a tree */

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_LIST, JSON_OBJECT };

struct json;

/* Parses exactly one value with nothing but white space around it. NULL: refused, err says what was wrong near
 * which text, *ret_line (may be NULL) counts from 1. The text need not outlive the call. */
struct json *json_parse(const char *text, size_t len, int *ret_line, struct error *err);
void json_free(struct json *root);   /* the whole tree; NULL is fine */
void json_freep(struct json **root); /* for _cleanup_ */

/* All readers take NULL as an absent value, so that lookups can be chained. */
enum json_type json_type(const struct json *v);          /* JSON_NULL for NULL */
bool json_is(const struct json *v, enum json_type type); /* false for NULL */
int json_line(const struct json *v);                     /* where the value begins; 0 for NULL */
const char *json_key(const struct json *v);              /* of a member of an object, else NULL */
const char *json_string(const struct json *v); /* NULL unless a string; without NULs, so a C string */
size_t json_string_len(const struct json *v);
int64_t json_int(const struct json *v);                                  /* 0 unless an integer */
bool json_bool(const struct json *v);                                    /* false unless true */
const struct json *json_get(const struct json *object, const char *key); /* NULL if absent */
size_t json_size(const struct json *v);                                  /* items or members; 0 for others */
const struct json *json_first(const struct json *v);
const struct json *json_next(const struct json *v);

/* Items of a list or members of an object, in the order of the text. */
#define json_for_each(item, v) for (const struct json *item = json_first(v); item; item = json_next(item))

/* Where the value stood in the text that was parsed. */
void json_span(const struct json *v, size_t *ret_offset, size_t *ret_len);

/* Appends what a message says after "not ": "\"two\"", "70000", "a list"; printable and short. */
void json_describe(const struct json *v, struct strbuf *out);

/* Appends s with quotes, always as valid JSON: what is not UTF-8 becomes U+FFFD. */
void json_write_string(struct strbuf *out, const char *s, size_t len);
