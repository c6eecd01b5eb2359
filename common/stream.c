/* SPDX-License-Identifier: MIT */
#include "common/stream.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/stream_state.h"

#define READ_STEP   (16 * 1024) /* free room that a read finds at least, within read_max */
#define BUFFER_KEEP (16 * 1024) /* an empty buffer larger than this is given back */

/* --- buffers ------------------------------------------------------------------------------------------------ */

static size_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

/* Moves the bytes to the front only where at least as much lies free there as has to be moved, else into twice the
 * room: a long queue that drains slowly is not copied for each byte that comes. */
static void buffer_reserve(struct buffer *b, size_t room)
{
    size_t len = buffer_len(b), cap = b->cap ? b->cap : 1024;

    if (b->cap - b->end >= room)
        return;
    if (b->start >= len && b->cap - len >= room) {
        memmove(b->data, b->data + b->start, len);
    } else {
        while (cap - len < room)
            cap *= 2;
        if (cap == b->cap)
            cap *= 2;
        char *data = xmalloc(cap);
        if (len > 0)
            memcpy(data, b->data + b->start, len);
        free(b->data);
        b->data = data;
        b->cap = cap;
    }
    b->start = 0;
    b->end = len;
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

bool stream_tell(struct stream *s, enum stream_event event)
{
    if (s->fn)
        s->fn(s->arg, s, event);
    return !s->freed && s->state != STATE_CLOSED;
}

void stream_soon(struct stream *s)
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

bool stream_tell_failure(struct stream *s)
{
    if (!s->failed || s->failure_told)
        return true;
    s->failure_told = true;
    return stream_tell(s, STREAM_ERROR);
}

void stream_finish(struct stream *s)
{
    disconnect(s);
    stream_tell_failure(s);
    if (s->freed)
        return;
    s->state = STATE_CLOSED;
    task_done(&s->task);
    if (s->fn)
        s->fn(s->arg, s, STREAM_CLOSED);
}

void stream_fail(struct stream *s, const struct error *err)
{
    if (s->failed)
        return;
    s->failed = true;
    s->err = *err;
}

void stream_fail_code(struct stream *s, int code)
{
    struct error err = { 0 };
    wire_failure(&s->wire, code, &err);
    stream_fail(s, &err);
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
        stream_soon(s);
    }
}

void stream_drop_output(struct stream *s)
{
    buffer_done(&s->out);
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
            stream_fail_code(s, (int)n);
            break;
        } else {
            s->in.end += (size_t)n;
            done += (size_t)n;
        }
    }
    if (buffer_len(&s->in) == 0)
        buffer_drop(&s->in, 0);
    if (done >= STREAM_TURN_MAX)
        stream_soon(s);
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
        stream_soon(s);
}

/* --- the work of one turn ------------------------------------------------------------------------------------ */

static void work_open(struct stream *s)
{
    flush(s);
    size_t got = fill(s);
    bool announce = s->announce && !s->paused && buffer_len(&s->in) > 0;

    if (!s->paused)
        s->announce = false;
    if ((got > 0 || announce) && !stream_tell(s, STREAM_DATA))
        return;
    if (s->low_due) {
        s->low_due = false;
        if (!stream_tell(s, STREAM_LOW))
            return;
    }
    if (s->eof && !s->eof_told && !s->paused && s->state == STATE_OPEN) {
        s->eof_told = true;
        if (!stream_tell(s, STREAM_EOF))
            return;
    }
    if (!s->failed && buffer_len(&s->out) > 0)
        flush(s); /* what the owner answered goes out in the same turn */
    if (s->write_error && !s->failed)
        stream_fail_code(
            s, s->write_error); /* after reading: the peer's last words say more than a broken pipe */
    if (s->failed || (s->eof && s->ended && s->eof_told))
        stream_finish(s);
}

static void work_closing(struct stream *s)
{
    bool was_ended = s->ended;
    size_t before = buffer_len(&s->out);

    s->end_wanted = true;
    flush(s);
    if (s->ended && !was_ended)
        timer_set(&s->guard, STREAM_LINGER_MS);
    else if (buffer_len(&s->out) < before)
        timer_set(&s->guard, s->close_ms);
    throw_away(s);
    if (s->write_error || (s->ended && s->eof))
        stream_finish(s);
}

void stream_work(void *arg)
{
    struct stream *s = arg;

    if (s->freed || s->state == STATE_CLOSED)
        return;
    if (s->failed && s->state != STATE_CLOSING)
        stream_finish(s);
    else if (s->state == STATE_HANDSHAKE)
        stream_work_handshake(s);
    else if (s->state == STATE_OPEN)
        work_open(s);
    if (!s->freed && s->state == STATE_CLOSING)
        work_closing(s);
}

/* --- time ---------------------------------------------------------------------------------------------------- */

void stream_on_guard(void *arg)
{
    struct stream *s = arg;
    struct error err;

    if (s->state != STATE_CLOSING) {
        s->failed = false; /* the failure of an earlier address is older news */
        error_set(
            &err, -ETIMEDOUT, s->state == STATE_HANDSHAKE ? "no end of the TLS handshake" : "no answer");
        if (stream_try_next(s, &err))
            return;
        stream_fail(s, &err);
    }
    stream_finish(s);
}

void stream_on_deadline(void *arg)
{
    stream_tell(arg, STREAM_TIMEOUT);
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

void stream_set_close_ms(struct stream *s, int64_t ms)
{
    s->close_ms = ms;
}

void stream_close(struct stream *s)
{
    if (s->state >= STATE_CLOSING)
        return;
    if (s->state == STATE_OPEN) {
        s->state = STATE_CLOSING;
        timer_set(&s->guard, s->close_ms);
    } else {
        /* Not that far yet: nothing can have been promised. */
        disconnect(s);
        s->state = STATE_CLOSING;
        s->ended = s->eof = true;
        s->failed = false;
    }
    timer_clear(&s->deadline);
    stream_soon(s);
}

void stream_set_owner(struct stream *s, stream_fn fn, void *arg)
{
    s->fn = fn;
    s->arg = arg;
    s->announce = true;
    s->eof_told = false;
    stream_soon(s);
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
        stream_soon(s);
}

void stream_set_read_max(struct stream *s, size_t max)
{
    s->read_max = max;
    stream_soon(s);
}

void stream_pause(struct stream *s, bool pause)
{
    if (s->paused == pause)
        return;
    s->paused = pause;
    s->announce = !pause;
    if (!pause)
        stream_soon(s);
}

void stream_again(struct stream *s)
{
    s->announce = true;
    stream_soon(s);
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
    stream_soon(s);
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
    stream_soon(s);
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

    if (!wire_is_open(&s->wire) || getsockopt(s->wire.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
        cred.pid <= 0)
        return -ENOTSUP;
    *ret_uid = cred.uid;
    *ret_gid = cred.gid;
    return 0;
}
