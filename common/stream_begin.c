/* SPDX-License-Identifier: MIT */
#include "common/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "common/mem.h"
#include "common/stream_state.h"

/* --- the TLS handshake --------------------------------------------------------------------------------------- */

static void enter_open(struct stream *s)
{
    timer_clear(&s->guard);
    s->state = STATE_OPEN;
}

/* Closing at once, with bytes of the peer unread, would reset the connection and take our alert with it, which
 * says why: so the failure is told now, and the connection lingers. */
static void refuse_handshake(struct stream *s)
{
    s->state = STATE_CLOSING;
    s->ended_tls = steal_ptr(s->wire.tls);
    wire_shutdown_write(&s->wire);
    stream_drop_output(s);
    s->ended = true;
    timer_set(&s->guard, STREAM_LINGER_MS);
    if (stream_tell_failure(s))
        stream_soon(s);
}

void stream_work_handshake(struct stream *s)
{
    struct error err = { 0 };
    int r = wire_handshake(&s->wire, &err);

    if (r == -EAGAIN)
        return;
    if (r < 0) {
        stream_fail(s, &err);
        if (r == -EPROTO)
            refuse_handshake(s);
        else
            stream_finish(s);
        return;
    }
    enter_open(s);
    if (stream_tell(s, STREAM_TLS_READY))
        stream_soon(s);
}

/* --- connecting ---------------------------------------------------------------------------------------------- */

static void learn_addresses(struct stream *s)
{
    struct wire_address a = { .len = sizeof(a.sa) };

    if (getpeername(s->wire.fd, (struct sockaddr *)&a.sa, &a.len) == 0)
        wire_address_text(&a, s->peer);
    a.len = sizeof(a.sa);
    if (getsockname(s->wire.fd, (struct sockaddr *)&a.sa, &a.len) == 0)
        wire_address_text(&a, s->local);
}

static void begin_tls(struct stream *s)
{
    s->state = STATE_HANDSHAKE;
    timer_set(&s->guard, s->connect_ms);
    wire_start_tls(&s->wire, s->tls, s->is_server);
}

static void connect_next(struct stream *s);

static void on_wire(struct wire *wire, unsigned events)
{
    struct stream *s = container_of(wire, struct stream, wire);

    if (s->state == STATE_CONNECTING) {
        if (wire->error) {
            stream_fail_code(s, wire->error);
            wire_close(wire);
            connect_next(s);
            return;
        }
        if (!(events & WIRE_CONNECTED))
            return;
        learn_addresses(s);
        if (s->tls)
            begin_tls(s);
        else
            enter_open(s);
        if (!stream_tell(s, STREAM_CONNECTED))
            return;
    }
    stream_work(s);
}

/* The failure of an address is kept until one connects: the last one is told. */
static void connect_next(struct stream *s)
{
    while (s->next_address < s->n_addresses) {
        int r = wire_connect(&s->wire, s->loop, &s->addresses[s->next_address++]);
        if (r == 0) {
            s->failed = false;
            s->state = STATE_CONNECTING;
            timer_set(&s->guard, s->connect_ms / (int64_t)s->n_addresses);
            return;
        }
        s->failed = false;
        stream_fail_code(s, r);
    }
    stream_soon(s);
}

bool stream_try_next(struct stream *s, const struct error *why)
{
    if (s->state != STATE_CONNECTING || s->next_address >= s->n_addresses)
        return false;
    stream_fail(s, why);
    wire_close(&s->wire);
    connect_next(s);
    return true;
}

static void on_resolved(void *arg, const struct wire_address *addresses, size_t n, const struct error *err)
{
    struct stream *s = arg;

    if (n > 0)
        memcpy(s->addresses, addresses, n * sizeof(*addresses));
    s->n_addresses = n;
    if (n == 0)
        stream_fail(s, err);
    connect_next(s);
}

static struct stream *make(struct loop *loop, const struct stream_options *options, stream_fn fn, void *arg)
{
    static const struct stream_options defaults;
    const struct stream_options *o = options ? options : &defaults;
    struct stream *s = xcalloc(1, sizeof(*s));

    s->loop = loop;
    s->fn = fn;
    s->arg = arg;
    s->tls = tls_context_ref(o->tls);
    s->read_max = o->read_max ? o->read_max : STREAM_READ_MAX;
    s->write_high = o->write_high ? o->write_high : STREAM_WRITE_HIGH;
    s->write_low = o->write_low ? o->write_low : STREAM_WRITE_LOW;
    s->connect_ms = o->connect_ms ? o->connect_ms : STREAM_CONNECT_MS;
    s->close_ms = STREAM_CLOSE_MS;
    wire_init(&s->wire, on_wire);
    task_init(&s->task, stream_work, s);
    timer_init(&s->deadline, loop, stream_on_deadline, s);
    timer_init(&s->guard, loop, stream_on_guard, s);
    return s;
}

struct stream *stream_connect(
    struct loop *loop, const char *address, const struct stream_options *options, stream_fn fn, void *arg)
{
    struct stream *s = make(loop, options, fn, arg);
    int default_port = options ? options->default_port : 0;
    struct error err = { 0 };
    _cleanup_(free_ptr) char *host = NULL;
    int port = 0;

    s->state = STATE_RESOLVING;
    snprintf(s->peer, sizeof(s->peer), "%s", address);
    timer_set(&s->guard, s->connect_ms);
    int r = wire_address_parse(address, default_port, &s->addresses[0], &err);
    if (r == 0) {
        s->n_addresses = 1;
        connect_next(s);
    } else if (r == -EDESTADDRREQ && wire_host_split(address, default_port, &host, &port, &err) == 0) {
        s->resolve = resolve_start(loop, host, port, on_resolved, s);
    } else {
        stream_fail(s, &err);
        stream_soon(s);
    }
    return s;
}

struct stream *stream_adopt(
    struct loop *loop, int fd, bool is_server, const struct stream_options *options, stream_fn fn, void *arg)
{
    struct stream *s = make(loop, options, fn, arg);

    s->is_server = is_server;
    wire_adopt(&s->wire, loop, fd);
    learn_addresses(s);
    if (strcmp(s->peer, "local") != 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    s->state = STATE_OPEN;
    if (s->tls)
        begin_tls(s);
    return s;
}
