/* SPDX-License-Identifier: MIT */
#pragma once

/* Health of one instance: asks again and again (HTTP, TCP, a command) or just waits, counts passes in a row and
 * failures in a row, and keeps a transcript of what it saw. What follows from that is instance.c's. */

#include <stdbool.h>
#include <stdint.h>

#include "common/messages.h"

#define PROBE_FAST_MS        50 /* most time between attempts until first healthy */
#define PROBE_FIRST_MS       20 /* after the first failed attempt; doubles up to that */
#define PROBE_TRANSCRIPT_MAX 12
#define PROBE_ANSWER_MAX     (16 * 1024) /* bytes of a response's head */

struct loop;
struct probe;

/* After each attempt, never before probe_new has returned. The probe may be freed in it. */
typedef void (*probe_fn)(void *owner, struct probe *probe, bool passed);
/* HEALTH_EXEC: run the command; probe_exec_done ends it (never inside this call). */
typedef void (*probe_exec_fn)(void *owner, struct probe *probe);

struct probe_spec {
    const struct health_spec *health; /* copied */
    const char *address;              /* "10.0.0.11:20117"; NULL for workers */
    bool fast;                        /* not yet healthy: attempts follow each other quickly */
    probe_fn on_result;
    probe_exec_fn run_exec;
    void *owner;
};

struct probe *probe_new(struct loop *loop, const struct probe_spec *spec);
void probe_free(struct probe *probe); /* NULL is fine */

/* Healthy: from now on at the interval of the manifest. */
void probe_set_slow(struct probe *probe);
void probe_exec_done(struct probe *probe, bool passed, const char *text);

int64_t probe_passes(const struct probe *probe);   /* in a row */
int64_t probe_failures(const struct probe *probe); /* in a row */
const char *probe_last(const struct probe *probe); /* what the last attempt saw: "connection refused" */
/* "0.52s  GET /healthz: 503 Service Unavailable (×4)". A copy; caller frees. */
char **probe_transcript(const struct probe *probe);
/* "/healthz", "tcp", "bin/health", "notify", "stays up": for "3 of 3 /healthz". Caller frees. */
char *probe_label(const struct health_spec *health);
