/* SPDX-License-Identifier: MIT */
#pragma once

/* The router seen from outside: a small HTTP/1.1 server of the main thread on a socket of its own, with /metrics for
 * Prometheus, /status for people and programs, /healthz for probes. Nothing can be changed through it. Bounded in
 * connections, bytes and time; answers are made in pieces between other work. */

#include <stdbool.h>

#define STATUS_CONNS_MAX 16
#define STATUS_HEAD_MAX  8192
#define STATUS_HEAD_MS   5000
#define STATUS_WRITE_MS  20000 /* without the client taking a byte */
#define STATUS_LINGER_MS 1000
#define STATUS_OUT_HIGH  (256 * 1024) /* that waits for a client; then no further piece is made */

struct routerd;
struct status;

struct status *status_new(struct routerd *routerd);
void status_free(struct status *status);
/* A listening socket; fd is taken. */
void status_listen(struct status *status, int fd);
/* Takes no further connection: another generation does. */
void status_close(struct status *status);
/* Something is being added up from the registry: nothing may be swept now. */
bool status_reads_registry(const struct status *status);
