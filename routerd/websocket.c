/* SPDX-License-Identifier: MIT */
#include "routerd/websocket.h"

#include <string.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#define SHA1_BLOCK 64
#define SHA1_BYTES 20

/* --- base64 ---------------------------------------------------------------------------------------------- */

static void base64(const uint8_t *data, size_t len, char *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)data[i] << 16 | (n > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
            (n > 2 ? (uint32_t)data[i + 2] : 0);
        *ret++ = digits[bits >> 18 & 63];
        *ret++ = digits[bits >> 12 & 63];
        *ret++ = n > 1 ? digits[bits >> 6 & 63] : '=';
        *ret++ = n > 2 ? digits[bits & 63] : '=';
    }
    *ret = '\0';
}

/* --- SHA-1, for this proof alone, where it protects nothing ------------------------------------------------ */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t *block)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
            (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* Of at most two blocks, padding included. */
static void sha1(const char *data, size_t len, uint8_t ret[SHA1_BYTES])
{
    uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    uint8_t padded[2 * SHA1_BLOCK] = { 0 };
    size_t total = len + 9 <= SHA1_BLOCK ? SHA1_BLOCK : 2 * SHA1_BLOCK;
    memcpy(padded, data, len);
    padded[len] = 0x80;
    padded[total - 2] = (uint8_t)(len * 8 >> 8);
    padded[total - 1] = (uint8_t)(len * 8);
    for (size_t i = 0; i < total; i += SHA1_BLOCK)
        sha1_block(h, padded + i);
    for (int i = 0; i < SHA1_BYTES; i++)
        ret[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

/* --- the handshake --------------------------------------------------------------------------------------- */

void websocket_key(const uint8_t random[WEBSOCKET_KEY_BYTES], char ret[WEBSOCKET_KEY_LEN + 1])
{
    base64(random, WEBSOCKET_KEY_BYTES, ret);
}

void websocket_accept(const char key[WEBSOCKET_KEY_LEN + 1], char ret[WEBSOCKET_ACCEPT_LEN + 1])
{
    char text[WEBSOCKET_KEY_LEN + sizeof(GUID)];
    uint8_t hash[SHA1_BYTES];
    memcpy(text, key, WEBSOCKET_KEY_LEN);
    memcpy(text + WEBSOCKET_KEY_LEN, GUID, sizeof(GUID));
    sha1(text, sizeof(text) - 1, hash);
    base64(hash, SHA1_BYTES, ret);
}
