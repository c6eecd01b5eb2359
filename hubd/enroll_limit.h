/* SPDX-License-Identifier: MIT */
#pragma once

/* Counts wrong tokens by address, so that passwords can't be tried out. It keeps a fixed number of addresses;
 * the one that failed longest ago makes room. Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "common/clock.h"

#define ENROLL_LIMIT_ADDRESSES   256
#define ENROLL_LIMIT_ADDRESS_MAX 64

struct enroll_limit {
    struct {
        char address[ENROLL_LIMIT_ADDRESS_MAX]; /* without the port */
        mono_t since;                           /* of the first failure in this window */
        int failures;
    } rows[ENROLL_LIMIT_ADDRESSES];
};

bool enroll_limit_allows(const struct enroll_limit *limit, const char *address, mono_t now);
void enroll_limit_failed(struct enroll_limit *limit, const char *address, mono_t now);
/* "10.0.0.5:51234" and "[::1]:7" without their port. */
size_t enroll_limit_host_len(const char *address);
