/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <errno.h>

#include "routerd/splice.h"
#include "routerd/upconn.h"
#include "routerd/worker.h"

/* Large plain answers: from the endpoint's socket to the client's through the worker's pipe. */

bool exchange_may_splice(struct exchange *ex)
{
    return ex->state == EXCHANGE_ANSWERING && ex->ops->direct && !ex->client_slow && !ex->up->in &&
        http1_body_left(&ex->body) >= SPLICE_MIN && ex->ops->direct(ex->client) &&
        splice_ready(&ex->worker->splice);
}

/* What the client did not take waits in its queue, like any other content. False: the client is gone. */
static bool queue_rest(struct exchange *ex, size_t rest)
{
    struct worker *worker = ex->worker;
    while (rest > 0) {
        size_t n =
            splice_read_rest(&worker->splice, worker->buffer, rest < WORKER_BUFFER ? rest : WORKER_BUFFER);
        if (n == 0) {
            splice_done(&worker->splice);
            exchange_fail(ex, 502, "", 0, "a pipe broke");
            return false;
        }
        rest -= n;
        struct iovec part = { worker->buffer, n };
        ex->ops->content(ex->client, &part, 1, false, NULL);
        if (ex->state == EXCHANGE_OVER) {
            if (rest > 0)
                splice_done(&worker->splice);
            return false;
        }
    }
    return true;
}

bool exchange_splice_answer(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    struct wire *client = ex->ops->direct(ex->client);
    struct splice_result r = splice_move(&worker->splice, &ex->up->wire, client, http1_body_left(&ex->body));
    if (r.moved == -EAGAIN)
        return false;
    if (r.moved <= 0) {
        exchange_fail(
            ex, 502, "", 0, r.moved < 0 ? "connection lost inside its answer" : "closed inside its answer");
        return false;
    }
    ex->moved_bytes += r.moved;
    ex->down_bytes += r.moved;
    http1_body_pass(&ex->body, (uint64_t)r.moved);
    if (r.out_failed) {
        ex->ops->reset(ex->client, NULL);
        exchange_abort(ex, 0, NULL);
        return false;
    }
    if (!queue_rest(ex, r.rest))
        return false;
    if (!http1_body_is_whole(&ex->body))
        return true;
    ex->ops->content(ex->client, NULL, 0, true, NULL);
    if (ex->state != EXCHANGE_OVER)
        exchange_finish(ex);
    return false;
}
