/* SPDX-License-Identifier: MIT */
#pragma once

/* Making, writing and comparing secrets: randomness, base64, equality. Keys and certificates are pki.h's. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

/* From the kernel; cannot fail. */
void random_bytes(void *buf, size_t len);
/* n random bytes as 2 n hex digits. Caller frees. */
char *random_hex(size_t n_bytes);
/* n random bytes as base64url without padding. Caller frees. */
char *random_base64url(size_t n_bytes);

/* Without padding. Caller frees. */
char *base64url_encode(const void *data, size_t len);
/* With padding, as HTTP Basic has it; strict: nothing else, no bits left over. 0 or -EINVAL; NUL added behind the
 * bytes. */
_must_check_ int base64_decode(const char *text, char **ret, size_t *ret_len);

/* In a time that does not depend on where they differ. NULL equals nothing. */
bool secret_equal(const char *a, const char *b);
/* Overwrites, also when nobody reads it afterwards. NULL is fine. */
void secret_erase(char *s);
