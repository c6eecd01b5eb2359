/* SPDX-License-Identifier: MIT */
#pragma once

/* Times and sizes in the words of the output. Local time, numbers only, the same in every locale. Pure but for
 * the time zone. */

#include <stdint.h>

#include "common/clock.h"

#define MOMENT_MAX 48

/* Each writes into buf of MOMENT_MAX bytes and returns it. */
char *moment_clock(int64_t at_us, wall_t now, char *buf);     /* "14:22", another day "21 Nov 14:22" */
char *moment_clock_s(int64_t at_us, char *buf);               /* "09:41:07" */
char *moment_stamp(int64_t at_us, char *buf);                 /* "2026-11-21 09:41:07" */
char *moment_day(int64_t at_us, char *buf);                   /* "21 Dec 2026" */
char *moment_ago(int64_t at_us, wall_t now, char *buf);       /* "now", "4 min ago" */
char *moment_since(int64_t at_us, wall_t now, char *buf);     /* "4 min"; "" when unknown (0) */
char *moment_elapsed(int64_t ms, char *buf);                  /* "6 ms", "0.4s", "3.2s", "1m05s" */
char *size_text(int64_t bytes, char *buf);                    /* "48 MB" */
char *size_pair_text(int64_t part, int64_t whole, char *buf); /* "1.1/3.8G" */
