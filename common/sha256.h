/* SPDX-License-Identifier: MIT */
#pragma once

/* SHA-256 (FIPS 180-4) for names and checksums in pure files. What has to do with keys and certificates uses
 * the TLS library's own (tls.h). Pure. */

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE     32
#define SHA256_HEX_SIZE 65 /* with the NUL */
#define SHA256_BLOCK    64

struct sha256 {
    uint32_t state[8];
    uint64_t len;
    unsigned char block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *h);
void sha256_update(struct sha256 *h, const void *data, size_t len);
void sha256_final(struct sha256 *h, unsigned char digest[SHA256_SIZE]);

/* Of one piece, as lower-case hex; returned. */
char *sha256_hex(const void *data, size_t len, char hex[SHA256_HEX_SIZE]);
/* A digest as lower-case hex; returned. */
char *sha256_print(const unsigned char digest[SHA256_SIZE], char hex[SHA256_HEX_SIZE]);
