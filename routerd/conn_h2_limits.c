/* SPDX-License-Identifier: MIT */
#include "routerd/conn_h2_state.h"

#include "routerd/budget.h"
#include "routerd/conn_h1.h"
#include "routerd/conn_h2.h"
#include "routerd/endpoint.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

/* What bounds a client of HTTP/2: patience with what brings nothing, and deadlines, of a stream and of the connection. */

/* --- patience -------------------------------------------------------------------------------------------- */

bool conn_h2_spend(struct conn_h2 *c, enum h2_cost cost)
{
    c->patience -= (int)cost;
    if (c->patience > 0)
        return true;
    int64_t now = worker_now_us(c->worker);
    int64_t back = (now - c->patience_us) * H2_PATIENCE_PER_S / CLOCK_US_PER_S;
    c->patience_us = now;
    c->patience += (int)(back < H2_PATIENCE ? back : H2_PATIENCE);
    if (c->patience <= 0)
        c->failure = NGHTTP2_ENHANCE_YOUR_CALM;
    return c->patience > 0;
}

void conn_h2_earn(struct conn_h2 *c, int n)
{
    if (c->patience < H2_PATIENCE)
        c->patience += n;
}

static uint64_t weight(const struct conn_h2 *c)
{
    uint64_t sum = c->out.bytes;
    struct h2_stream *s;
    list_for_each (s, &c->streams, link)
        sum += budget_weight(s->out.bytes, worker_now_us(c->worker), s->out_since_us) + s->early.bytes +
            (s->exchange ? s->exchange->out.bytes : 0);
    return sum;
}

struct conn_h2 *conn_h2_heaviest(struct worker *worker, unsigned max, uint64_t *ret_weight)
{
    struct conn_h2 *found = NULL, *last = list_last(&worker->h2_conns, struct conn_h2, link), *c;
    for (unsigned i = 0; i < max && (c = list_first(&worker->h2_conns, struct conn_h2, link)); i++) {
        uint64_t w = weight(c);
        if (w > *ret_weight) {
            found = c;
            *ret_weight = w;
        }
        list_remove(&c->link);
        list_append(&worker->h2_conns, &c->link);
        if (c == last)
            break;
    }
    return found;
}

/* --- deadlines ------------------------------------------------------------------------------------------- */

/* Bytes that the client's side has acknowledged: the kernel takes much for one that reads slowly. */
static int64_t moved(const struct conn_h2 *c)
{
    return c->moved_bytes - (int64_t)wire_unsent(&c->wire);
}

void conn_h2_arm(struct h2_stream *s)
{
    s->window_bytes = s->moved_bytes;
    s->conn_bytes = s->conn->moved_bytes;
    wheel_set(&s->conn->worker->wheel, &s->deadline, s->conn->worker->settings->body_ms);
}

static void count_timeout(struct conn_h2 *c, enum worker_timeout what)
{
    endpoint_count(&c->worker->counters.timeouts[what], 1);
}

static bool is_enough(const struct conn_h2 *c, int64_t bytes)
{
    const struct settings *s = c->worker->settings;
    return bytes >= s->body_rate * s->body_ms / CLOCK_MS_PER_S;
}

/* The client is what we wait for: it has room for nothing of this stream, or for nothing at all. A stream that others
 * go before is not its fault. */
static bool is_stalled(struct h2_stream *s)
{
    struct conn_h2 *c = s->conn;
    return nghttp2_session_get_stream_remote_window_size(c->session, s->id) <= 0 ||
        (nghttp2_session_get_remote_window_size(c->session) <= 0 &&
            !is_enough(c, c->moved_bytes - s->conn_bytes));
}

/* All that the client may send is here already, because other streams of it don't go on. */
static bool has_no_room(const struct conn_h2 *c)
{
    return nghttp2_session_get_effective_recv_data_length(c->session) * 2 >=
        nghttp2_session_get_effective_local_window_size(c->session);
}

void conn_h2_on_stream_deadline(struct wheel_node *node)
{
    static const struct http1_fault slow = { 408, "the request came too slowly" };
    struct h2_stream *s = container_of(node, struct h2_stream, deadline);
    struct exchange *ex = s->exchange;
    bool sending = s->out.bytes > 0 || s->ended,
         enough = is_enough(s->conn, s->moved_bytes - s->window_bytes);
    bool receiving = ex && !s->request_ended && ex->state != EXCHANGE_TUNNEL && exchange_wants_content(ex) &&
        !ex->head_answered && !exchange_awaits_continue(ex) && !has_no_room(s->conn);
    if (s->closed)
        return;
    if (s->lingers) {
        conn_h2_reset(s, NGHTTP2_NO_ERROR);
        return;
    }
    if (sending && !enough && is_stalled(s)) {
        count_timeout(s->conn, TIMED_OUT_WRITE);
        conn_h2_reset(s, NGHTTP2_CANCEL);
    } else if (receiving && !enough) {
        count_timeout(s->conn, TIMED_OUT_BODY);
        conn_h2_break_off(s, &slow);
    } else if (sending || (ex && !s->request_ended)) {
        conn_h2_arm(s);
    }
}

static enum conn_h2_deadline due_for(const struct conn_h2 *c)
{
    if (c->state == CONN_H2_LINGER)
        return DEADLINE_LINGER;
    if (c->blocked)
        return DEADLINE_BLOCKED;
    if (h2_head_is_open(&c->head))
        return DEADLINE_HEAD;
    if (c->n_streams > 0)
        return DEADLINE_NONE;
    if (!c->greeted)
        return DEADLINE_GREETING;
    return c->draining ? DEADLINE_DRAIN : DEADLINE_IDLE;
}

static int64_t deadline_ms(const struct conn_h2 *c)
{
    const struct settings *s = c->worker->settings;
    switch ((enum conn_h2_deadline)c->deadline_of) {
    case DEADLINE_GREETING:
    case DEADLINE_HEAD:
        return s->head_ms;
    case DEADLINE_IDLE:
        return worker_idle_ms(c->worker);
    case DEADLINE_BLOCKED:
        return s->body_ms;
    case DEADLINE_DRAIN:
        return H2_DRAIN_MS;
    default:
        return CONN_LINGER_MS;
    }
}

void conn_h2_watch(struct conn_h2 *c, bool again)
{
    enum conn_h2_deadline what = due_for(c);
    if (what == c->deadline_of && !again)
        return;
    c->deadline_of = (uint8_t)what;
    c->window_bytes = what == DEADLINE_BLOCKED ? moved(c) : 0;
    if (what == DEADLINE_NONE)
        wheel_clear(&c->deadline);
    else
        wheel_set(&c->worker->wheel, &c->deadline, deadline_ms(c));
}

void conn_h2_on_deadline(struct wheel_node *node)
{
    struct conn_h2 *c = container_of(node, struct conn_h2, deadline);
    switch ((enum conn_h2_deadline)c->deadline_of) {
    case DEADLINE_HEAD:
        count_timeout(c, TIMED_OUT_HEAD);
        conn_h2_leave(c, NGHTTP2_ENHANCE_YOUR_CALM);
        break;
    case DEADLINE_IDLE:
    case DEADLINE_GREETING:
        count_timeout(c, TIMED_OUT_IDLE);
        conn_h2_leave(c, NGHTTP2_NO_ERROR);
        break;
    case DEADLINE_BLOCKED:
        if (is_enough(c, moved(c) - c->window_bytes)) {
            conn_h2_watch(c, true);
        } else {
            count_timeout(c, TIMED_OUT_WRITE);
            conn_h2_close(c);
        }
        break;
    case DEADLINE_DRAIN:
        conn_h2_last_word(c);
        break;
    case DEADLINE_LINGER:
        conn_h2_close(c);
        break;
    case DEADLINE_NONE:
        break;
    }
}
