/* SPDX-License-Identifier: MIT */
#pragma once

/* What happened to single requests, for people. Each worker writes records into a ring of its own and never waits;
 * main drains all rings and logs. A full ring drops and counts. The journal gets failures, slow requests and a
 * capped sample; counters, not this, are what reports are made of. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ACCESS_RECORDS   512 /* of a ring; a power of two */
#define ACCESS_TEXT_MAX  160
#define ACCESS_LINES_MAX 50 /* logged of one drain; the rest is counted */

struct access_record {
    int64_t duration_us;
    int status; /* as the client saw it; 0: it saw none */
    bool slow;
    char release[72];              /* "web@0.2.2", "" if there was none */
    char endpoint[24];             /* id */
    char request[ACCESS_TEXT_MAX]; /* method, host and path, printable, cut off */
    const char *reason;            /* a constant, or NULL */
};

struct access_ring {
    _Atomic uint32_t head, tail; /* written by the worker, by main */
    _Atomic uint64_t dropped;
    struct access_record records[ACCESS_RECORDS];
};

/* Room for one record, or NULL (counted). */
struct access_record *access_begin(struct access_ring *ring);
void access_commit(struct access_ring *ring);
/* Main: logs what is there. */
void access_drain(struct access_ring *ring);
