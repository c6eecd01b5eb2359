/* SPDX-License-Identifier: MIT */
#pragma once

/* What is UTF-8: shortest form, no surrogates, nothing above U+10FFFF. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the whole character at s, at most len bytes; 0 if there is none. */
size_t utf8_character(const unsigned char *s, size_t len);
bool utf8_is_valid(const char *s, size_t len);
/* The longest part of s of at most max bytes that does not end inside a character. */
size_t utf8_cut(const char *s, size_t len, size_t max);
/* Writes a code point, which must not be a surrogate nor above U+10FFFF; returns its length, 1 to 4. */
size_t utf8_encode(uint32_t code_point, char buf[4]);
