/* SPDX-License-Identifier: MIT */
#pragma once

/* A second reader of HTTP/1 heads, written from RFC 9110 and 9112 alone: it shares nothing with common/http1.h and judges
 * what that one accepted and what was made of it. Slow and plain: lines first, then words. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRICT_FIELDS_MAX 512

struct strict_text {
    const char *ptr;
    size_t len;
};

struct strict_field {
    struct strict_text name, value;
};

struct strict_head {
    struct strict_text method, target;
    int status, minor;
    int n_fields;
    struct strict_field fields[STRICT_FIELDS_MAX];
    bool chunked, has_length;
    uint64_t length;
    size_t size;
};

/* False: no well-formed, whole head begins at data. */
bool strict_request(const char *data, size_t len, struct strict_head *ret);
bool strict_answer(const char *data, size_t len, struct strict_head *ret);

bool strict_same(struct strict_text a, struct strict_text b);
bool strict_is(struct strict_text a, const char *text); /* ASCII case aside */
/* NULL if there is none; the number of such fields in *ret_n where that is given. */
const struct strict_field *strict_find(const struct strict_head *head, const char *name, int *ret_n);
/* Is the name an element of a field that is a list of tokens? */
bool strict_lists(const struct strict_head *head, const char *list, struct strict_text name);
bool strict_is_one_of(struct strict_text name, const char *const *names, size_t n);
/* Has what was sent on the fields that came, in their order, with their values? Those of these names, and those that
 * Connection lists, do not count. */
bool strict_same_fields(const struct strict_head *came, const struct strict_head *went,
    const char *const *not_compared, size_t n);
