/* SPDX-License-Identifier: MIT */
#pragma once

/* A failure and the one sentence that explains it to an operator.
 *
 * Convention of the whole tree: a function that can fail takes `struct error *err` last and returns 0 for
 * done, a negative errno for failed (err is filled exactly once, where the fact is known), and a positive
 * value only for a documented outcome of its own. err may be NULL where the caller does not want the text.
 * This module does not log. */

#include <stdarg.h>

#define ERROR_TEXT_MAX 1024

#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _must_check_        __attribute__((warn_unused_result))

struct error {
    int code; /* 0 or a negative errno */
    char text[ERROR_TEXT_MAX];
};

/* Fills err (cut off at ERROR_TEXT_MAX, on a UTF-8 boundary) and returns code, which must be negative (else
 * -EIO stands for it), so that the place that knows the fact reads `return error_set(err, -EINVAL, "…")`. */
int error_set(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);
int error_vset(struct error *err, int code, const char *fmt, va_list args);

/* error_set with ": " and strerror(-code) at the end: for system calls. */
int error_set_errno(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);

/* Puts "<text>: " in front of what err says and returns err->code. */
int error_prefix(struct error *err, const char *fmt, ...) _printf_(2, 3);
