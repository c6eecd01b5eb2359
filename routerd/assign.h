/* SPDX-License-Identifier: MIT */
#pragma once

/* Sticky assignment: a client carries one signed 32-bit value; together with a service's name it gives a
 * position of 2^32 in that service's ranges, the same on every router that has the key. The value says nothing
 * about the client. Pure: randomness comes in as an argument. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

#define ASSIGN_COOKIE    "stagecoach-assign"
#define ASSIGN_VALUE_LEN 26 /* "<key id>-<8 hex>-<15 hex>" */
#define ASSIGN_MAX_AGE_S 2592000

struct assign_key {
    uint8_t bytes[16];
    char id; /* [0-9a-z] */
};

uint64_t siphash24(const uint8_t key[static 16], const void *data, size_t len);

uint32_t assign_position(uint32_t value, const char *service);
/* "k-0123abcd-0123456789abcde" and a NUL. */
void assign_print(const struct assign_key *key, uint32_t value, char ret[static ASSIGN_VALUE_LEN + 1]);
/* False if it is malformed or not signed with this key. */
bool assign_read(const struct assign_key *key, struct http1_slice text, uint32_t *ret);
