/* SPDX-License-Identifier: MIT */
#pragma once

/* Reads tests/h1/NAME.tsv: messages as bytes with a verdict and what is expected of what is passed on. */

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

#define H1_EXPECTATIONS_MAX 8

struct h1_case {
    char *name, *verdict, *source;
    struct strbuf bytes;
    int n_expected;
    char kinds[H1_EXPECTATIONS_MAX]; /* + - ~ = */
    struct strbuf expected[H1_EXPECTATIONS_MAX];
};

/* All cases of the file; ends the test if it can't be read. */
struct h1_case *h1_cases_load(const char *path, size_t *ret_n);
void h1_cases_free(struct h1_case *cases, size_t n);
bool h1_contains(const void *haystack, size_t len, const struct strbuf *needle);
