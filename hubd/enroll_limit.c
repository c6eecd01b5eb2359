/* SPDX-License-Identifier: MIT */
#include "hubd/enroll_limit.h"

#include <string.h>

#include "common/mem.h"
#include "hubd/enroll.h"

size_t enroll_limit_host_len(const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : strlen(address);
    return len < ENROLL_LIMIT_ADDRESS_MAX - 1 ? len : ENROLL_LIMIT_ADDRESS_MAX - 1;
}

static int find(const struct enroll_limit *limit, const char *address)
{
    size_t len = enroll_limit_host_len(address);
    for (int i = 0; i < ENROLL_LIMIT_ADDRESSES; i++)
        if (limit->rows[i].failures > 0 && strlen(limit->rows[i].address) == len &&
            memcmp(limit->rows[i].address, address, len) == 0)
            return i;
    return -1;
}

bool enroll_limit_allows(const struct enroll_limit *limit, const char *address, mono_t now)
{
    int i = find(limit, address);
    return i < 0 || limit->rows[i].failures < ENROLL_FAILURES_MAX ||
        mono_diff_ms(now, limit->rows[i].since) >= ENROLL_WINDOW_MS;
}

void enroll_limit_failed(struct enroll_limit *limit, const char *address, mono_t now)
{
    int i = find(limit, address);
    if (i < 0) {
        i = 0;
        for (int k = 1; k < ENROLL_LIMIT_ADDRESSES; k++)
            if (limit->rows[k].failures == 0 ||
                (limit->rows[i].failures > 0 && limit->rows[k].since.us < limit->rows[i].since.us)) {
                i = k;
                if (limit->rows[k].failures == 0)
                    break;
            }
        size_t len = enroll_limit_host_len(address);
        memcpy(limit->rows[i].address, address, len);
        limit->rows[i].address[len] = '\0';
        limit->rows[i].failures = 0;
    }
    if (limit->rows[i].failures == 0 || mono_diff_ms(now, limit->rows[i].since) >= ENROLL_WINDOW_MS) {
        limit->rows[i].since = now;
        limit->rows[i].failures = 0;
    }
    limit->rows[i].failures++;
}
