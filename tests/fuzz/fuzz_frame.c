/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/frame.h"

/* A stream of frames as link.c reads it: what comes out lies inside of what came in. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    size_t left = size, len = 0;
    struct error err;

    while (frame_peek(at, left, 1000, &len, &err) == 1) {
        unsigned char header[FRAME_HEADER_LEN];
        must(len > 0 && len <= 1000 && len + FRAME_HEADER_LEN <= left);
        frame_header(header, len);
        must(memcmp(header, at, FRAME_HEADER_LEN) == 0);
        at += FRAME_HEADER_LEN + len;
        left -= FRAME_HEADER_LEN + len;
    }
    return 0;
}
