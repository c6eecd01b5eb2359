/* SPDX-License-Identifier: MIT */
#pragma once

/* The members of a struct that a row of a table describes, for schema.c and schema_read.c only. */

#include "common/schema.h"

#define MEMBER(obj, field, type)       ((type *)((char *)(obj) + (field)->offset))
#define CONST_MEMBER(obj, field, type) ((type const *)((const char *)(obj) + (field)->offset))

static inline size_t *count_of(const struct field *f, void *obj)
{
    return (size_t *)((char *)obj + f->count_offset);
}

static inline size_t n_items(const struct field *f, const void *obj)
{
    return *(const size_t *)((const char *)obj + f->count_offset);
}

/* Items of lists lie behind a pointer whose type only the table knows. */
static inline char *items_of(const struct field *f, const void *obj)
{
    return *CONST_MEMBER(obj, f, char *);
}

static inline size_t most_bytes(const struct field *f)
{
    return f->max > 0 && f->type == FIELD_STRING ? (size_t)f->max : SCHEMA_STRING_MAX;
}

/* NULL if the value has no word: it can't go over the wire. */
static inline const char *word_of(const struct field *f, int value)
{
    return value >= 0 && value < f->n_names ? f->names[value] : NULL;
}
