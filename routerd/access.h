/* SPDX-License-Identifier: MIT */
#pragma once

/* What happened to single requests, for people. Each worker writes records into rings of its own and never waits: one
 * that main drains into the journal (failures, slow requests, a capped sample), and with AccessLog= one that a thread
 * drains into the file (access_file.h). A full ring drops and counts. Counters, not this, are what reports are made of. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

#define ACCESS_JOURNAL_RING (64 * 1024)
#define ACCESS_FILE_RING \
    (2 * 1024 * 1024)          /* 50 ms of 100,000 records a second; a power of two, as the other */
#define ACCESS_STATUS_GONE 499 /* in files: the client went away before an answer, as nginx has it */
#define ACCESS_LINES_MAX   50  /* logged of one drain; the rest is counted */

enum access_text {
    ACCESS_PEER,   /* address without port */
    ACCESS_CLIENT, /* whom a trusted peer names; empty: the peer itself */
    ACCESS_METHOD,
    ACCESS_HOST,
    ACCESS_TARGET, /* "…" at its end as "..." where it was cut off */
    ACCESS_REQUEST_ID,
    ACCESS_TRACE_ID,
    ACCESS_AGENT,
    ACCESS_REFERER,
    ACCESS_RELEASE,  /* "web@0.2.2" */
    ACCESS_ENDPOINT, /* id */
    ACCESS_REASON,   /* why it failed */
    ACCESS_TEXT_MAX_
};

struct access_record {
    uint32_t size;    /* of the whole; 0: the rest of the ring is skipped */
    uint16_t status;  /* as the client saw it; 0: it saw none */
    uint8_t protocol; /* 10, 11, 20; 0: nothing that was understood */
    uint8_t n_retries;
    bool slow;
    uint8_t note; /* enum log_level: not a request, but a line about the endpoint; it is in ACCESS_REASON */
    uint16_t tls_version, tls_cipher;   /* as on the wire; 0: plain */
    int64_t wall_us;                    /* when it ended */
    int64_t duration_us, first_byte_us; /* first_byte_us < 0: no answer of an endpoint */
    int64_t bytes_in, bytes_out;
    uint16_t lens[ACCESS_TEXT_MAX_];
    char text[]; /* one behind the other */
};

struct access_ring {
    _Atomic uint64_t head; /* bytes ever written; the worker's */
    _Atomic uint64_t dropped;
    uint64_t seen_tail; /* the worker's look at tail: read again only when the ring seems full */
    _Alignas(64) _Atomic uint64_t tail; /* bytes ever taken; the reader's */
    uint64_t dropped_seen;              /* the reader's too */
    _Alignas(64) uint32_t cap;
    char *data;
};

struct access_ring *access_ring_new(uint32_t cap);
void access_ring_free(struct access_ring *ring);

/* --- the writing side ------------------------------------------------------------------------------------- */

/* Copies the record with its texts. False: full, and counted. */
bool access_put(
    struct access_ring *ring, const struct access_record *record, const struct http1_slice *texts);
/* Bytes that wait, as far as the writer knows. */
uint64_t access_used(const struct access_ring *ring);

/* --- the reading side ------------------------------------------------------------------------------------- */

/* The oldest record, NULL: none. It stays until access_take. */
const struct access_record *access_peek(struct access_ring *ring);
void access_take(struct access_ring *ring);
/* How many were dropped since the last call. */
uint64_t access_dropped(struct access_ring *ring);
struct http1_slice access_text(const struct access_record *record, enum access_text text);

/* Main: logs what is there. */
void access_drain(struct access_ring *ring);
