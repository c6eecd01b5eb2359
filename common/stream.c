/* SPDX-License-Identifier: MIT */
#include "common/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/resolve.h"

#define READ_STEP (16 * 1024)  /* free room that a read finds at least, within read_max */
#define BUFFER_KEEP (16 * 1024) /* an empty buffer larger than this is given back */
#define LINGER_MS 1000         /* after the last byte of ours: for the peer to take it and say its own end */

enum state {
    STATE_RESOLVING,
    STATE_CONNECTING,
    STATE_HANDSHAKE,
    STATE_OPEN,
    STATE_CLOSING, /* ours is being sent, theirs thrown away */
    STATE_CLOSED,
};

/* A queue of bytes: data[start … end). */
struct buffer {
    char *data;
    size_t start, end, cap;
};

struct stream {
    struct wire wire;
    struct loop *loop;
    stream_fn fn;
    void *arg;
    enum state state;
    bool freed; /* stream_free ran: nothing may be told any more */

    struct resolve *resolve;
    struct wire_address addresses[RESOLVE_ADDRESSES_MAX];
    size_t n_addresses, next_address;
    struct tls_context *tls;         /* a count of its own */
    struct tls_session *ended_tls;   /* the facts outlive the connection */
    bool is_server;

    struct buffer in, out;
    size_t read_max, write_high, write_low;
    bool paused, eof, eof_told, announce;
    bool congested, low_due;
    bool end_wanted, ended;
    int write_error;

    struct task task;
    struct timer deadline; /* the owner's */
    struct timer guard;    /* ours: connecting, closing */
    struct error err;
    bool failed;
    char peer[WIRE_ADDRESS_TEXT_MAX], local[WIRE_ADDRESS_TEXT_MAX];
};

/* --- buffers ------------------------------------------------------------------------------------------------ */

static size_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

static void buffer_reserve(struct buffer *b, size_t room)
{
    if (b->cap - b->end >= room)
        return;
    size_t len = buffer_len(b);
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
    }
    if (b->cap - len >= room)
        return;
    size_t cap = b->cap ? b->cap : 1024;
    while (cap - len < room)
        cap *= 2;
    b->data = xrealloc(b->data, cap);
    b->cap = cap;
}

static void buffer_done(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}

static void buffer_drop(struct buffer *b, size_t n)
{
    assert(n <= buffer_len(b));
    b->start += n;
    if (b->start < b->end)
        return;
    b->start = b->end = 0;
    if (b->cap > BUFFER_KEEP)
        buffer_done(b);
}

/* --- telling ------------------------------------------------------------------------------------------------ */

/* False once the stream is gone or has no more to do: the caller returns. */
static bool tell(struct stream *s, enum stream_event event)
{
    if (s->fn)
        s->fn(s->arg, s, event);
    return !s->freed && s->state != STATE_CLOSED;
}

static void soon(struct stream *s)
{
    loop_soon(s->loop, &s->task);
}

/* Takes down the connection; what is known of the peer stays. */
static void disconnect(struct stream *s)
{
    if (s->wire.tls) {
        tls_session_free(s->ended_tls);
        s->ended_tls = steal_ptr(s->wire.tls);
    }
    wire_close(&s->wire);
    resolve_free(steal_ptr(s->resolve));
    timer_clear(&s->guard);
    timer_clear(&s->deadline);
    buffer_done(&s->out);
}

static void finish(struct stream *s)
{
    disconnect(s);
    if (s->failed && s->fn) {
        s->fn(s->arg, s, STREAM_ERROR);
        if (s->freed)
            return;
    }
    s->state = STATE_CLOSED;
    task_done(&s->task);
    if (s->fn)
        s->fn(s->arg, s, STREAM_CLOSED);
}

/* To be followed by finish, at once or by the task. The first reason is the one that counts. */
static void fail(struct stream *s, const struct error *err)
{
    if (s->failed)
        return;
    s->failed = true;
    s->err = *err;
}

static void fail_code(struct stream *s, int code)
{
    struct error err = { 0 };
    wire_failure(&s->wire, code, &err);
    fail(s, &err);
}

/* --- writing ------------------------------------------------------------------------------------------------ */

static void flush(struct stream *s)
{
    size_t done = 0;

    while (buffer_len(&s->out) > 0 && done < STREAM_TURN_MAX) {
        ssize_t n = wire_write(&s->wire, s->out.data + s->out.start, buffer_len(&s->out));
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            s->write_error = (int)n;
            buffer_done(&s->out);
            return;
        }
        buffer_drop(&s->out, (size_t)n);
        done += (size_t)n;
    }
    if (s->congested && buffer_len(&s->out) <= s->write_low) {
        s->congested = false;
        s->low_due = true;
    }
    if (buffer_len(&s->out) == 0) {
        if (s->end_wanted && !s->ended) {
            s->ended = true;
            wire_shutdown_write(&s->wire);
        }
    } else if (done >= STREAM_TURN_MAX) {
        soon(s);
    }
}

/* --- reading ------------------------------------------------------------------------------------------------ */

static bool may_read(const struct stream *s)
{
    return !s->paused && !s->eof && buffer_len(&s->in) < s->read_max;
}

/* Returns the number of bytes that came in. */
static size_t fill(struct stream *s)
{
    size_t done = 0;

    while (may_read(s) && done < STREAM_TURN_MAX) {
        size_t room = s->read_max - buffer_len(&s->in);
        if (room > READ_STEP)
            room = READ_STEP;
        buffer_reserve(&s->in, room);
        ssize_t n = wire_read(&s->wire, s->in.data + s->in.end, room);
        if (n == -EAGAIN)
            break;
        if (n == 0)
            s->eof = true;
        else if (n < 0) {
            fail_code(s, (int)n);
            break;
        } else {
            s->in.end += (size_t)n;
            done += (size_t)n;
        }
    }
    if (buffer_len(&s->in) == 0)
        buffer_drop(&s->in, 0);
    if (done >= STREAM_TURN_MAX)
        soon(s);
    return done;
}

static void throw_away(struct stream *s)
{
    char scrap[4096];
    size_t done = 0;

    while (!s->eof && done < STREAM_TURN_MAX) {
        ssize_t n = wire_read(&s->wire, scrap, sizeof(scrap));
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            s->eof = true;
        else
            done += (size_t)n;
    }
    if (!s->eof)
        soon(s);
}

/* --- the work of one turn ------------------------------------------------------------------------------------ */

static void work_open(struct stream *s)
{
    flush(s);
    size_t got = fill(s);
    bool announce = s->announce && !s->paused && buffer_len(&s->in) > 0;

    if (!s->paused)
        s->announce = false;
    if ((got > 0 || announce) && !tell(s, STREAM_DATA))
        return;
    if (s->low_due) {
        s->low_due = false;
        if (!tell(s, STREAM_LOW))
            return;
    }
    if (s->eof && !s->eof_told && s->state == STATE_OPEN) {
        s->eof_told = true;
        if (!tell(s, STREAM_EOF))
            return;
    }
    if (!s->failed && buffer_len(&s->out) > 0)
        flush(s); /* what the owner answered goes out in the same turn */
    if (s->write_error && !s->failed)
        fail_code(s, s->write_error); /* after reading: the peer's last words say more than a broken pipe */
    if (s->failed || (s->eof && s->ended && s->eof_told))
        finish(s);
}

static void work_closing(struct stream *s)
{
    bool was_ended = s->ended;

    s->end_wanted = true;
    flush(s);
    if (s->ended && !was_ended)
        timer_set(&s->guard, LINGER_MS);
    throw_away(s);
    if (s->write_error || (s->ended && s->eof))
        finish(s);
}

static void connect_next(struct stream *s);

static void enter_open(struct stream *s)
{
    timer_clear(&s->guard);
    s->state = STATE_OPEN;
}

static void work_handshake(struct stream *s)
{
    struct error err = { 0 };
    int r = wire_handshake(&s->wire, &err);

    if (r == -EAGAIN)
        return;
    if (r < 0) {
        fail(s, &err);
        finish(s);
        return;
    }
    enter_open(s);
    if (tell(s, STREAM_TLS_READY))
        soon(s);
}

static void work(void *arg)
{
    struct stream *s = arg;

    if (s->freed || s->state == STATE_CLOSED)
        return;
    if (s->failed)
        finish(s);
    else if (s->state == STATE_HANDSHAKE)
        work_handshake(s);
    else if (s->state == STATE_OPEN)
        work_open(s);
    if (!s->freed && s->state == STATE_CLOSING)
        work_closing(s);
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
    wire_start_tls(&s->wire, s->tls, s->is_server);
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct stream *s = container_of(wire, struct stream, wire);

    if (s->state == STATE_CONNECTING) {
        if (wire->error) {
            fail_code(s, wire->error);
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
        if (!tell(s, STREAM_CONNECTED))
            return;
    }
    work(s);
}

/* The failure of an address is kept until one connects: the last one is told. */
static void connect_next(struct stream *s)
{
    while (s->next_address < s->n_addresses) {
        int r = wire_connect(&s->wire, s->loop, &s->addresses[s->next_address++]);
        if (r == 0) {
            s->failed = false;
            s->state = STATE_CONNECTING;
            return;
        }
        s->failed = false;
        fail_code(s, r);
    }
    soon(s);
}

static void on_resolved(void *arg, const struct wire_address *addresses, size_t n, const struct error *err)
{
    struct stream *s = arg;

    memcpy(s->addresses, addresses, n * sizeof(*addresses));
    s->n_addresses = n;
    if (n == 0)
        fail(s, err);
    connect_next(s);
}

static void on_guard(void *arg)
{
    struct stream *s = arg;
    struct error err;

    if (s->state != STATE_CLOSING) {
        s->failed = false; /* the failure of an earlier address is older news */
        error_set(&err, -ETIMEDOUT, s->state == STATE_HANDSHAKE ? "no end of the TLS handshake" : "no answer");
        fail(s, &err);
    }
    finish(s);
}

static void on_deadline(void *arg)
{
    tell(arg, STREAM_TIMEOUT);
}

static struct stream *make(
    struct loop *loop, const struct stream_options *options, stream_fn fn, void *arg)
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
    wire_init(&s->wire, on_wire);
    task_init(&s->task, work, s);
    timer_init(&s->deadline, loop, on_deadline, s);
    timer_init(&s->guard, loop, on_guard, s);
    return s;
}

static int64_t connect_ms(const struct stream_options *o)
{
    return o && o->connect_ms ? o->connect_ms : STREAM_CONNECT_MS;
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
    timer_set(&s->guard, connect_ms(options));
    int r = wire_address_parse(address, default_port, &s->addresses[0], &err);
    if (r == 0) {
        s->n_addresses = 1;
        connect_next(s);
    } else if (r == -EDESTADDRREQ && wire_host_split(address, default_port, &host, &port, &err) == 0) {
        s->resolve = resolve_start(loop, host, port, on_resolved, s);
    } else {
        fail(s, &err);
        soon(s);
    }
    return s;
}

struct stream *stream_adopt(struct loop *loop, int fd, bool is_server, const struct stream_options *options,
    stream_fn fn, void *arg)
{
    struct stream *s = make(loop, options, fn, arg);

    s->is_server = is_server;
    wire_adopt(&s->wire, loop, fd);
    learn_addresses(s);
    if (strcmp(s->peer, "local") != 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    s->state = STATE_OPEN;
    if (s->tls) {
        begin_tls(s);
        timer_set(&s->guard, connect_ms(options));
    }
    return s;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static void free_now(void *obj)
{
    free(obj);
}

void stream_free(struct stream *s)
{
    if (!s || s->freed)
        return;
    s->freed = true;
    disconnect(s);
    task_done(&s->task);
    tls_session_free(s->ended_tls);
    s->ended_tls = NULL;
    tls_context_free(steal_ptr(s->tls));
    buffer_done(&s->in);
    loop_free_later(s->loop, s, free_now);
}

void stream_close(struct stream *s)
{
    if (s->state >= STATE_CLOSING)
        return;
    if (s->state == STATE_OPEN) {
        s->state = STATE_CLOSING;
        timer_set(&s->guard, STREAM_CLOSE_MS);
    } else {
        /* Not that far yet: nothing can have been promised. */
        disconnect(s);
        s->state = STATE_CLOSING;
        s->ended = s->eof = true;
    }
    timer_clear(&s->deadline);
    soon(s);
}

void stream_set_owner(struct stream *s, stream_fn fn, void *arg)
{
    s->fn = fn;
    s->arg = arg;
    s->announce = true;
    s->eof_told = false;
    soon(s);
}

/* --- the owner's side ------------------------------------------------------------------------------------------ */

const char *stream_data(const struct stream *s, size_t *ret_len)
{
    *ret_len = buffer_len(&s->in);
    return s->in.data ? s->in.data + s->in.start : "";
}

void stream_consume(struct stream *s, size_t n)
{
    bool was_full = buffer_len(&s->in) >= s->read_max;
    buffer_drop(&s->in, n);
    if (was_full && may_read(s) && s->state == STATE_OPEN)
        soon(s);
}

void stream_set_read_max(struct stream *s, size_t max)
{
    s->read_max = max;
    soon(s);
}

void stream_pause(struct stream *s, bool pause)
{
    if (s->paused == pause)
        return;
    s->paused = pause;
    s->announce = !pause;
    if (!pause)
        soon(s);
}

void stream_again(struct stream *s)
{
    s->announce = true;
    soon(s);
}

bool stream_is_eof(const struct stream *s)
{
    return s->eof;
}

void stream_write(struct stream *s, const void *data, size_t len)
{
    if (len == 0 || s->freed || s->failed || s->state >= STATE_CLOSING || s->end_wanted || s->write_error)
        return;
    buffer_reserve(&s->out, len);
    memcpy(s->out.data + s->out.end, data, len);
    s->out.end += len;
    if (buffer_len(&s->out) > s->write_high)
        s->congested = true;
    soon(s);
}

size_t stream_queued(const struct stream *s)
{
    return buffer_len(&s->out);
}

bool stream_is_congested(const struct stream *s)
{
    return s->congested;
}

void stream_set_marks(struct stream *s, size_t high, size_t low)
{
    s->write_high = high;
    s->write_low = low;
}

void stream_end(struct stream *s)
{
    s->end_wanted = true;
    soon(s);
}

void stream_set_deadline(struct stream *s, int64_t in_ms)
{
    if (in_ms > 0 && !s->freed && s->state < STATE_CLOSING)
        timer_set(&s->deadline, in_ms);
    else
        timer_clear(&s->deadline);
}

const char *stream_error(const struct stream *s)
{
    return s->failed ? s->err.text : "";
}

int stream_error_code(const struct stream *s)
{
    return s->failed ? s->err.code : 0;
}

const struct tls_facts *stream_tls(const struct stream *s)
{
    return s->ended_tls ? tls_session_facts(s->ended_tls) : wire_tls_facts(&s->wire);
}

const char *stream_peer(const struct stream *s)
{
    return s->peer;
}

const char *stream_local(const struct stream *s)
{
    return s->local;
}

int stream_credentials(const struct stream *s, uid_t *ret_uid, gid_t *ret_gid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!wire_is_open(&s->wire) ||
        getsockopt(s->wire.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
        return -ENOTSUP;
    *ret_uid = cred.uid;
    *ret_gid = cred.gid;
    return 0;
}

struct loop *stream_loop(const struct stream *s)
{
    return s->loop;
}
