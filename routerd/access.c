/* SPDX-License-Identifier: MIT */
#include "routerd/access.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define RECORD_ALIGN 8

_Static_assert(sizeof(struct access_record) % RECORD_ALIGN == 0, "records follow each other aligned");

struct access_ring *access_ring_new(uint32_t cap)
{
    struct access_ring *ring = aligned_alloc(64, sizeof(*ring));
    if (!ring)
        abort();
    memset(ring, 0, sizeof(*ring));
    ring->cap = cap;
    ring->data = xmalloc(cap);
    return ring;
}

void access_ring_free(struct access_ring *ring)
{
    if (!ring)
        return;
    free(ring->data);
    free(ring);
}

/* --- the writing side ------------------------------------------------------------------------------------- */

static bool has_room(struct access_ring *ring, uint64_t head, uint64_t n)
{
    if (head + n - ring->seen_tail <= ring->cap)
        return true;
    ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return head + n - ring->seen_tail <= ring->cap;
}

/* Room for n bytes in one piece: what is left at the ring's end is skipped if it is too short. */
static struct access_record *make_room(struct access_ring *ring, uint64_t *head, uint64_t n)
{
    uint64_t at = *head & (ring->cap - 1), rest = ring->cap - at;
    uint64_t skip = rest < n ? rest : 0;
    if (!has_room(ring, *head, n + skip))
        return NULL;
    if (skip > 0) {
        ((struct access_record *)(void *)(ring->data + at))->size = 0;
        *head += skip;
        at = 0;
    }
    return (struct access_record *)(void *)(ring->data + at);
}

bool access_put(struct access_ring *ring, const struct access_record *record, const struct http1_slice *texts)
{
    uint64_t n = sizeof(*record), head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (int i = 0; i < ACCESS_TEXT_MAX_; i++)
        n += texts[i].len;
    n = (n + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
    struct access_record *to = make_room(ring, &head, n);
    if (!to) {
        uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
        atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
        return false;
    }
    *to = *record;
    to->size = (uint32_t)n;
    char *text = to->text;
    for (int i = 0; i < ACCESS_TEXT_MAX_; i++) {
        to->lens[i] = (uint16_t)texts[i].len;
        if (texts[i].len > 0)
            memcpy(text, texts[i].ptr, texts[i].len);
        text += texts[i].len;
    }
    atomic_store_explicit(&ring->head, head + n, memory_order_release);
    return true;
}

uint64_t access_used(const struct access_ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_relaxed) -
        atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

/* --- the reading side ------------------------------------------------------------------------------------- */

const struct access_record *access_peek(struct access_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail == head)
        return NULL;
    const struct access_record *r = (const void *)(ring->data + (tail & (ring->cap - 1)));
    if (r->size > 0)
        return r;
    /* A record is always behind what was skipped. */
    tail += ring->cap - (tail & (ring->cap - 1));
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
    return (const void *)ring->data;
}

void access_take(struct access_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    const struct access_record *r = (const void *)(ring->data + (tail & (ring->cap - 1)));
    atomic_store_explicit(&ring->tail, tail + r->size, memory_order_release);
}

/* The writer's counter only grows; what the reader saw of it is remembered here. */
uint64_t access_dropped(struct access_ring *ring)
{
    uint64_t all = atomic_load_explicit(&ring->dropped, memory_order_relaxed), before = ring->dropped_seen;
    ring->dropped_seen = all;
    return all - before;
}

struct http1_slice access_text(const struct access_record *r, enum access_text text)
{
    const char *at = r->text;
    for (unsigned i = 0; i < text; i++)
        at += r->lens[i];
    return (struct http1_slice){ at, r->lens[text] };
}

/* --- the journal ------------------------------------------------------------------------------------------ */

#define PART(text) (int)(text).len, (text).len > 0 ? (text).ptr : ""

static void copy(char *to, size_t cap, struct http1_slice from)
{
    snprintf(to, cap, "%.*s", PART(from));
}

static void log_record(const struct access_record *r)
{
    char service[96], endpoint[96], request[160], status[16] = "no answer";
    struct http1_slice release = access_text(r, ACCESS_RELEASE), id = access_text(r, ACCESS_ENDPOINT);
    struct http1_slice reason = access_text(r, ACCESS_REASON);
    struct log_about about = { .instance = id.len > 0 ? endpoint : NULL };
    copy(service, sizeof(service), release);
    copy(endpoint, sizeof(endpoint), id);
    copy(request, sizeof(request), access_text(r, ACCESS_REQUEST_ID));
    about.request = request[0] ? request : NULL;
    char *at = strchr(service, '@');
    if (at) {
        *at = '\0';
        about.version = at + 1;
    }
    about.service = service[0] ? service : NULL;
    if (r->note) {
        log_write((enum log_level)r->note, &about, "%.*s", PART(reason));
        return;
    }
    if (r->status > 0)
        snprintf(status, sizeof(status), "%d", r->status);
    struct http1_slice method = access_text(r, ACCESS_METHOD);
    enum log_level level = r->status == 0 || r->status >= 500 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    log_write(level, &about, "%.*s %.*s%.*s: %s%s%.*s%s%s in %" PRId64 " ms%s%.*s%s",
        method.len > 0 ? (int)method.len : 1, method.len > 0 ? method.ptr : "-",
        PART(access_text(r, ACCESS_HOST)), PART(access_text(r, ACCESS_TARGET)), status,
        release.len > 0 ? " from " : "", PART(release), id.len > 0 ? " " : "", endpoint,
        r->duration_us / CLOCK_US_PER_MS, reason.len > 0 ? ": " : "", PART(reason),
        reason.len == 0 && r->slow ? " (slow)" : "");
}

void access_drain(struct access_ring *ring)
{
    const struct access_record *r;
    uint64_t skipped = 0;
    for (int lines = 0; (r = access_peek(ring)); access_take(ring)) {
        if (lines++ < ACCESS_LINES_MAX)
            log_record(r);
        else
            skipped++;
    }
    skipped += access_dropped(ring);
    if (skipped > 0)
        log_warning(NULL, "%" PRIu64 " more requests would have been logged here", skipped);
}
