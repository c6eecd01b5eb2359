/* SPDX-License-Identifier: MIT */
#pragma once

/* Structs and JSON, each way, by table, for all JSON that came from outside or goes there. What json.h takes is
 * checked against the table's types, ranges and names, and what is refused is refused by name:
 * "orders.orders[3].run.health.kind: must be one of stays-up, http, tcp, exec, notify, not \"htp\"".
 *
 * It knows nothing of messages or of what the fields mean. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/json.h"
#include "common/strbuf.h"

#define SCHEMA_DEPTH_MAX  JSON_DEPTH_MAX
#define SCHEMA_FIELDS_MAX 64     /* of one struct */
#define SCHEMA_STRING_MAX 65536  /* default cap of a string, bytes */
#define SCHEMA_LIST_MAX   100000 /* default cap of a list, items */

enum field_type {
    FIELD_STRING, /* char *, owned; absent, null or, unless required, "": NULL */
    FIELD_INT,    /* int64_t */
    FIELD_BOOL,   /* bool */
    FIELD_ENUM,   /* int, from a table of names */
    FIELD_STRUCT, /* struct, embedded */
    FIELD_LIST,   /* struct foo *name; size_t n_name; */
    FIELD_STRV,   /* char **, list of strings */
    FIELD_PAIRS,  /* char ** of "KEY=value", an object of strings in JSON, order kept */
};

enum field_flags {
    FIELD_REQUIRED = 1,
    FIELD_SECRET = 2, /* printed as "…" by schema_print_safe */
    FIELD_OMIT_EMPTY =
        4, /* left out when it equals its fallback (a struct: when it is all left out); optional
                           * strings and lists always are */
    FIELD_NOT_EMPTY =
        8, /* a list that is given has something in it, where nothing would mean the opposite of absent */
};

/* True if the text is acceptable; `must` of the row then says what it must be. */
typedef bool (*field_check_fn)(const char *text);

struct schema;

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    size_t offset;
    size_t count_offset; /* FIELD_LIST */
    /* FIELD_INT: of the value; FIELD_STRING: bytes; lists and pairs: items. max 0: the default, or no limit. */
    int64_t min, max;
    int64_t fallback;         /* FIELD_INT, FIELD_BOOL, FIELD_ENUM: when absent */
    const char *const *names; /* FIELD_ENUM */
    int n_names;
    const struct schema *of;  /* FIELD_STRUCT, FIELD_LIST */
    field_check_fn check;     /* FIELD_STRING, each of FIELD_STRV, each value of FIELD_PAIRS */
    field_check_fn check_key; /* FIELD_PAIRS */
    const char *must;     /* "a service name": completes "must be …"; also of a FIELD_INT out of range */
    const char *must_key; /* FIELD_PAIRS: the same for check_key; may be NULL */
};

struct schema {
    const char *name; /* prefix of error texts */
    size_t size;      /* of the struct */
    const struct field *fields;
    size_t n_fields;
    bool strict; /* an unknown key refuses the whole, by name (orders, tables); else it is ignored */
};

/* Reads text as one JSON object into *obj (zeroed first). On failure *obj is left empty, nothing to free. */
_must_check_ int schema_read(
    const struct schema *schema, const char *text, size_t len, void *obj, struct error *err);
/* The same, and on failure *ret_line (may be NULL) is the line of what was refused, from 1: for files. */
_must_check_ int schema_read_at(
    const struct schema *schema, const char *text, size_t len, void *obj, int *ret_line, struct error *err);
/* The same from a value that is parsed already; NULL reads as an empty object. */
_must_check_ int schema_read_json(
    const struct schema *schema, const struct json *value, void *obj, int *ret_line, struct error *err);
/* Appends obj as compact JSON, always such that schema_read takes it: text that is not UTF-8 is mended, free text
 * above its limit is cut, an enum without a word is left out. */
void schema_print(const struct schema *schema, const void *obj, struct strbuf *out);
/* The same, indented, for files and people. */
void schema_print_pretty(const struct schema *schema, const void *obj, struct strbuf *out);
/* The same, compact, secrets as "…": for logs. */
void schema_print_safe(const struct schema *schema, const void *obj, struct strbuf *out);
/* What the reader puts where nothing is said: for objects (zeroed ones) that are made by hand. */
void schema_set_fallbacks(const struct schema *schema, void *obj);
/* Frees what obj owns and zeroes it; safe on a zeroed struct. */
void schema_clear(const struct schema *schema, void *obj);
/* Deep copy into an uninitialised dst. */
void schema_copy(const struct schema *schema, const void *src, void *dst);
bool schema_equal(const struct schema *schema, const void *a, const void *b);

/* --- rows ------------------------------------------------------------------------------------------------
 * Each macro checks the C type of the member: a table that disagrees with its struct does not compile. */

#define FIELD_TYPED_(s, m, c_type) (offsetof(s, m) + 0 * sizeof(_Generic(((s *)0)->m, c_type : 1)))

/* clang-format off */
#define F_STRING(s, m, fl, ...)                                                                              \
    { .name = #m, .type = FIELD_STRING, .flags = (fl), .offset = FIELD_TYPED_(s, m, char *), __VA_ARGS__ }
#define F_INT(s, m, fl, lo, hi, ...)                                                                         \
    { .name = #m, .type = FIELD_INT, .flags = (fl), .offset = FIELD_TYPED_(s, m, int64_t), .min = (lo),      \
      .max = (hi), __VA_ARGS__ }
#define F_BOOL(s, m, fl, ...)                                                                                \
    { .name = #m, .type = FIELD_BOOL, .flags = (fl), .offset = FIELD_TYPED_(s, m, bool), __VA_ARGS__ }
/* The member is an int holding an enum whose names array is complete. */
#define F_ENUM(s, m, fl, table, ...)                                                                         \
    { .name = #m, .type = FIELD_ENUM, .flags = (fl), .offset = FIELD_TYPED_(s, m, int), .names = (table),    \
      .n_names = (int)(sizeof(table) / sizeof((table)[0])), __VA_ARGS__ }
#define F_STRUCT(s, m, fl, schema_of, ...)                                                                   \
    { .name = #m, .type = FIELD_STRUCT, .flags = (fl), .offset = offsetof(s, m), .of = (schema_of),          \
      __VA_ARGS__ }
#define F_LIST(s, m, fl, schema_of, ...)                                                                     \
    { .name = #m, .type = FIELD_LIST, .flags = (fl), .offset = offsetof(s, m),                               \
      .count_offset = FIELD_TYPED_(s, n_##m, size_t), .of = (schema_of), __VA_ARGS__ }
#define F_STRV(s, m, fl, ...)                                                                                \
    { .name = #m, .type = FIELD_STRV, .flags = (fl), .offset = FIELD_TYPED_(s, m, char **), __VA_ARGS__ }
#define F_PAIRS(s, m, fl, ...)                                                                               \
    { .name = #m, .type = FIELD_PAIRS, .flags = (fl), .offset = FIELD_TYPED_(s, m, char **), __VA_ARGS__ }

#define SCHEMA(label, s, table, is_strict)                                                                   \
    { .name = (label), .size = sizeof(s), .fields = (table),                                                 \
      .n_fields = sizeof(table) / sizeof((table)[0]), .strict = (is_strict) }
/* clang-format on */
