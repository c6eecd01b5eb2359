/* SPDX-License-Identifier: MIT */
#include "routerd/access.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

struct access_record *access_begin(struct access_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (head - tail >= ACCESS_RECORDS) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    struct access_record *r = &ring->records[head % ACCESS_RECORDS];
    memset(r, 0, sizeof(*r));
    return r;
}

void access_commit(struct access_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static void log_record(const struct access_record *r)
{
    char service[sizeof(r->release)], status[16] = "no answer";
    struct log_about about = { .instance = r->endpoint[0] ? r->endpoint : NULL };
    memcpy(service, r->release, sizeof(service));
    char *at = strchr(service, '@');
    if (at) {
        *at = '\0';
        about.service = service;
        about.version = at + 1;
    }
    if (r->status > 0)
        snprintf(status, sizeof(status), "%d", r->status);
    enum log_level level = r->status == 0 || r->status >= 500 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    log_write(level, &about, "%s: %s%s%s%s%s in %" PRId64 " ms%s%s", r->request, status,
        r->release[0] ? " from " : "", r->release, r->endpoint[0] ? " " : "", r->endpoint,
        r->duration_us / 1000,
        r->reason     ? ": "
            : r->slow ? " (slow)"
                      : "",
        r->reason ? r->reason : "");
}

void access_drain(struct access_ring *ring)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t skipped = 0;
    for (int lines = 0; tail != head; tail++) {
        if (lines++ < ACCESS_LINES_MAX)
            log_record(&ring->records[tail % ACCESS_RECORDS]);
        else
            skipped++;
    }
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
    uint64_t dropped = atomic_exchange_explicit(&ring->dropped, 0, memory_order_relaxed) + skipped;
    if (dropped > 0)
        log_warning(NULL, "%" PRIu64 " more requests would have been logged here", dropped);
}
