/* SPDX-License-Identifier: MIT */
#pragma once

/* A value of the tree that json.h reads, for json.c and json_parse.c only. */

#include "common/json.h"

#define JSON_SHOWN_MAX 60 /* bytes of a value or of the text in a message */

struct json {
    enum json_type type;
    int line;
    size_t offset, len; /* in the text */
    size_t n;           /* bytes of a string, items, members */
    const char *key;
    struct json *next;
    union {
        struct json *first;
        const char *string;
        int64_t number;
        bool boolean;
    };
};
