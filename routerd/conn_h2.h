/* SPDX-License-Identifier: MIT */
#pragma once

/* One client connection that speaks HTTP/2: frames by nghttp2, one exchange per stream. What a request means and where it
 * goes is the exchange's; how HTTP/2 is abused, and what stands against it, is here. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn_h2;
struct forward;
struct wire;
struct worker;

/* Goes on where `from` was, which is closed behind it. data: what has been read of the connection already. */
void conn_h2_new(
    struct worker *worker, struct wire *from, const struct forward *forward, const char *data, size_t len);
/* No new request: the client is told, what is under way ends, then the connection does. */
void conn_h2_drain(struct conn_h2 *c);
/* At once; exchanges are aborted. */
void conn_h2_close(struct conn_h2 *c);

/* The one of at most `max`, those that were not looked at for longest, that weighs most (budget.h), and more than
 * *ret_weight; NULL: none. */
struct conn_h2 *conn_h2_heaviest(struct worker *worker, unsigned max, uint64_t *ret_weight);

/* All of a worker's. */
void conn_h2_close_all(struct worker *worker);
void conn_h2_drain_all(struct worker *worker);
/* Of those that are drained: who has no request now is told the last word, so that a request that crosses it is known
 * not to have been begun. */
void conn_h2_end_idle(struct worker *worker);
/* What the connections of a worker share. */
void conn_h2_worker_done(struct worker *worker);
