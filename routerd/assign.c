/* SPDX-License-Identifier: MIT */
#include "routerd/assign.h"

#include <string.h>

/* --- SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) --------------------------- */

static uint64_t load64(const uint8_t *p)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[static 4], int n)
{
    while (n-- > 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t siphash24(const uint8_t key[static 16], const void *data, size_t len)
{
    uint64_t k0 = load64(key), k1 = load64(key + 8);
    uint64_t v[4] = {
        k0 ^ UINT64_C(0x736f6d6570736575),
        k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261),
        k1 ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *p = data;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t m = load64(p);
        v[3] ^= m;
        sip_rounds(v, 2);
        v[0] ^= m;
    }
    uint8_t tail[8] = { 0 };
    if (left > 0)
        memcpy(tail, p, left);
    tail[7] = (uint8_t)len;
    uint64_t m = load64(tail);
    v[3] ^= m;
    sip_rounds(v, 2);
    v[0] ^= m;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- the value -------------------------------------------------------------------------------------------- */

/* A fixed key: positions must be equal everywhere, whatever signs the cookie. */
static const uint8_t position_key[16] = "stagecoach/pos/1";

#define SERVICE_USED_MAX 64

uint32_t assign_position(uint32_t value, const char *service)
{
    uint8_t text[4 + SERVICE_USED_MAX];
    size_t n = strnlen(service, SERVICE_USED_MAX);
    for (int i = 0; i < 4; i++)
        text[i] = (uint8_t)(value >> (8 * i));
    memcpy(text + 4, service, n);
    return (uint32_t)siphash24(position_key, text, 4 + n);
}

static uint64_t sign(const struct assign_key *key, uint32_t value)
{
    uint8_t text[6] = { 'c', (uint8_t)key->id };
    for (int i = 0; i < 4; i++)
        text[2 + i] = (uint8_t)(value >> (8 * i));
    return siphash24(key->bytes, text, sizeof(text));
}

static void print_hex(char *out, uint64_t n, int digits)
{
    for (int i = digits - 1; i >= 0; i--, n >>= 4)
        out[i] = "0123456789abcdef"[n & 15];
}

static bool read_hex(const char *s, int digits, uint64_t *ret)
{
    uint64_t n = 0;
    for (int i = 0; i < digits; i++) {
        char c = s[i];
        if (c >= '0' && c <= '9')
            n = n << 4 | (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n << 4 | (unsigned)(c - 'a' + 10);
        else
            return false;
    }
    *ret = n;
    return true;
}

void assign_print(const struct assign_key *key, uint32_t value, char ret[static ASSIGN_VALUE_LEN + 1])
{
    ret[0] = key->id;
    ret[1] = ret[10] = '-';
    print_hex(ret + 2, value, 8);
    print_hex(ret + 11, sign(key, value) >> 4, 15);
    ret[ASSIGN_VALUE_LEN] = '\0';
}

bool assign_read(const struct assign_key *key, struct http1_slice text, uint32_t *ret)
{
    uint64_t value, mac;
    if (text.len != ASSIGN_VALUE_LEN || text.ptr[0] != key->id || text.ptr[1] != '-' || text.ptr[10] != '-' ||
        !read_hex(text.ptr + 2, 8, &value) || !read_hex(text.ptr + 11, 15, &mac))
        return false;
    /* Differences are folded together, so that the time taken tells nothing about where they are. */
    if (((sign(key, (uint32_t)value) >> 4) ^ mac) != 0)
        return false;
    *ret = (uint32_t)value;
    return true;
}
