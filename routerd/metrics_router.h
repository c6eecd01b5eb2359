/* SPDX-License-Identifier: MIT */
#pragma once

/* The part of /metrics that is of the router itself: its workers, TLS, table, log, process. */

#include <stdbool.h>

struct metrics_router;
struct routerd;
struct strbuf;

struct metrics_router *metrics_router_new(struct routerd *routerd);
void metrics_router_free(struct metrics_router *m);
/* Appends the next piece. False: that was the last. */
bool metrics_router_next(struct metrics_router *m, struct strbuf *out);
