/* SPDX-License-Identifier: MIT */
#include "common/frame.h"

#include <errno.h>

int frame_peek(const char *data, size_t len, size_t max, size_t *ret_len, struct error *err)
{
    if (len < FRAME_HEADER_LEN)
        return 0;
    const unsigned char *h = (const unsigned char *)data;
    size_t n = (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | (size_t)h[3];
    if (n == 0)
        return error_set(err, -EPROTO, "an empty frame");
    if (n > max)
        return error_set(err, -EMSGSIZE, "a frame of %zu bytes; at most %zu are allowed here", n, max);
    if (len - FRAME_HEADER_LEN < n)
        return 0;
    *ret_len = n;
    return 1;
}

void frame_header(unsigned char header[static FRAME_HEADER_LEN], size_t len)
{
    header[0] = (unsigned char)(len >> 24);
    header[1] = (unsigned char)(len >> 16);
    header[2] = (unsigned char)(len >> 8);
    header[3] = (unsigned char)len;
}
