/* SPDX-License-Identifier: MIT */
#pragma once

/* Monotonic and wall-clock time as types of their own, so that neither can be taken for the other.
 * Inside a loop time comes from loop_now() and loop_wall(), which are cached per turn and which tests move;
 * clock_* ask the kernel. */

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t us; /* CLOCK_MONOTONIC, microseconds */
} mono_t;

typedef struct {
    int64_t us; /* microseconds since 1970 UTC */
} wall_t;

#define CLOCK_MS_PER_S  INT64_C(1000)
#define CLOCK_US_PER_MS INT64_C(1000)
#define CLOCK_US_PER_S  INT64_C(1000000)

mono_t clock_mono(void);
wall_t clock_wall(void);

/* a - b in milliseconds. */
static inline int64_t mono_diff_ms(mono_t a, mono_t b)
{
    return (a.us - b.us) / CLOCK_US_PER_MS;
}

static inline int64_t wall_diff_ms(wall_t a, wall_t b)
{
    return (a.us - b.us) / CLOCK_US_PER_MS;
}

/* "2026-11-21T09:41:07Z"; buf of CLOCK_STAMP_MAX bytes, returned. */
#define CLOCK_STAMP_MAX 32
char *wall_format_utc(wall_t t, char *buf);
/* "Sat, 21 Nov 2026 09:41:07 GMT" (RFC 9110, 5.6.7); the same buf. */
char *wall_format_http(wall_t t, char *buf);

/* "250ms", "30s", "5min", "2h", "1d", also "1h30m"; a bare number is refused. 0 or -EINVAL. */
int duration_parse(const char *s, int64_t *ret_ms);
/* The shortest exact form that duration_parse reads back; buf of CLOCK_STAMP_MAX bytes, returned. */
char *duration_format(int64_t ms, char *buf);
/* For people: "4 min", "2 days", "0.3s"; rounded down to one unit. */
char *duration_for_people(int64_t ms, char *buf);
