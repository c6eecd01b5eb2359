/* SPDX-License-Identifier: MIT */
#pragma once

/* cmocka, and comparisons for tables of cases: a failure prints the row's name. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define row_true(row, condition)                           \
    do {                                                   \
        if (!(condition))                                  \
            fail_msg("%s: not so: %s", (row), #condition); \
    } while (0)

#define row_int(row, actual, expected)                                                \
    do {                                                                              \
        long long actual_ = (actual), expected_ = (expected);                         \
        if (actual_ != expected_)                                                     \
            fail_msg("%s: %s is %lld, not %lld", (row), #actual, actual_, expected_); \
    } while (0)

#define row_str(row, actual, expected)                                                           \
    do {                                                                                         \
        const char *actual_ = (actual), *expected_ = (expected);                                 \
        if (strcmp(actual_ ? actual_ : "(null)", expected_ ? expected_ : "(null)") != 0)         \
            fail_msg("%s: %s is\n  %s\nnot\n  %s", (row), #actual, actual_ ? actual_ : "(null)", \
                expected_ ? expected_ : "(null)");                                               \
    } while (0)

#define row_has(row, text, part)                                           \
    do {                                                                   \
        if (!strstr((text), (part)))                                       \
            fail_msg("%s: \"%s\" is not in\n  %s", (row), (part), (text)); \
    } while (0)
