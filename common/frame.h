/* SPDX-License-Identifier: MIT */
#pragma once

/* Length-prefixed frames: four bytes of big-endian length, then so many bytes. Bytes in, whole frames out;
 * what is inside is not looked at. Pure. */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define FRAME_HEADER_LEN 4

/* 1: a whole frame lies at the front of data, its contents at data + FRAME_HEADER_LEN, *ret_len bytes long.
 * 0: more bytes are needed. Negative: refused (empty, or longer than max; err names both). */
_must_check_ int frame_peek(const char *data, size_t len, size_t max, size_t *ret_len, struct error *err);
/* The header of a frame of len bytes. */
void frame_header(unsigned char header[static FRAME_HEADER_LEN], size_t len);
