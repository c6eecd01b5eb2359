/* SPDX-License-Identifier: MIT */
#include "common/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/mem.h"

void random_bytes(void *buf, size_t len)
{
    unsigned char *p = buf;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            abort(); /* a kernel without randomness: no secret may be made */
        p += n;
        len -= (size_t)n;
    }
}

char *random_hex(size_t n_bytes)
{
    unsigned char *bytes = xmalloc(n_bytes);
    char *hex = xmalloc(2 * n_bytes + 1);
    random_bytes(bytes, n_bytes);
    for (size_t i = 0; i < n_bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    hex[2 * n_bytes] = '\0';
    explicit_bzero(bytes, n_bytes);
    free(bytes);
    return hex;
}

char *random_base64url(size_t n_bytes)
{
    unsigned char *bytes = xmalloc(n_bytes);
    random_bytes(bytes, n_bytes);
    char *text = base64url_encode(bytes, n_bytes);
    explicit_bzero(bytes, n_bytes);
    free(bytes);
    return text;
}

/* --- base64 ---------------------------------------------------------------------------------------------- */

static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char plain_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64url_encode(const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = xmalloc(len / 3 * 4 + 5), *p = out;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        unsigned v =
            (unsigned)in[i] << 16 | (n > 1 ? (unsigned)in[i + 1] << 8 : 0) | (n > 2 ? in[i + 2] : 0u);
        for (size_t k = 0; k <= n; k++)
            *p++ = url_alphabet[v >> (18 - 6 * k) & 63];
    }
    *p = '\0';
    return out;
}

/* Digits without padding; bits left over must be zero, so that a text has one meaning and a meaning one text. */
static int decode(const char *text, size_t len, char **ret, size_t *ret_len)
{
    _cleanup_(free_ptr) char *out = xmalloc(len / 4 * 3 + 4);
    size_t n = 0;
    unsigned bits = 0, n_bits = 0;

    if (len % 4 == 1)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        const char *at = memchr(plain_alphabet, text[i], 64);
        if (!at)
            return -EINVAL;
        bits = bits << 6 | (unsigned)(at - plain_alphabet);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[n++] = (char)(bits >> n_bits & 255);
        }
    }
    if (bits & ((1u << n_bits) - 1))
        return -EINVAL;
    out[n] = '\0';
    *ret = steal_ptr(out);
    *ret_len = n;
    return 0;
}

int base64_decode(const char *text, char **ret, size_t *ret_len)
{
    size_t len = strlen(text);
    if (len % 4 != 0)
        return -EINVAL;
    for (int i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++)
        len--;
    return decode(text, len, ret, ret_len);
}

/* --- secrets --------------------------------------------------------------------------------------------- */

bool secret_equal(const char *a, const char *b)
{
    unsigned char differs = 0;

    if (!a || !b)
        return false;
    size_t len = strlen(a);
    if (strlen(b) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        differs |= (unsigned char)(a[i] ^ b[i]);
    __asm__ volatile("" : "+r"(differs)); /* no early end by the compiler's cleverness */
    return differs == 0;
}

void secret_erase(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
}
