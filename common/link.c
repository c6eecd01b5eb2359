/* SPDX-License-Identifier: MIT */
#include "common/link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/frame.h"
#include "common/link_state.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stream.h"
#include "common/strv.h"

/* A feed (a document's next part) goes out when no more than ROOM_LOW bytes wait, so that another message waits
 * for one part at most. Both marks of the stream: whatever waits above it, STREAM_LOW is to come. */
#define ROOM_LOW (16 * 1024)

/* --- who it is ----------------------------------------------------------------------------------------------- */

static void peer_done(struct peer *peer)
{
    free(peer->name);
    free(peer->fleet);
    free(peer->address);
    free(peer->serial);
    free(peer->key);
    *peer = (struct peer){ .role = ROLE_NONE };
}

void link_set_peer(struct link *link, const struct peer *peer)
{
    struct peer copy = { .role = peer->role,
        .name = xstrdup(peer->name),
        .fleet = xstrdup(peer->fleet),
        .address = xstrdup(peer->address),
        .serial = xstrdup(peer->serial),
        .expired = peer->expired,
        .key = xstrdup(peer->key) };
    peer_done(&link->peer);
    link->peer = copy;
}

static void learn_peer(struct link *link)
{
    const struct tls_facts *tls = stream_tls(link->stream);
    struct peer peer = { .role = link->is_server ? ROLE_NONE : ROLE_HUB,
        .address = (char *)stream_peer(link->stream) };

    if (tls && tls->has_peer) {
        peer.role = tls->peer.role;
        peer.name = tls->peer.name;
        peer.fleet = tls->peer.fleet;
        peer.serial = tls->peer.serial;
        peer.key = (char *)tls->peer.spki;
        peer.expired = tls->peer.not_after.us < loop_wall(link->loop).us;
    }
    link_set_peer(link, &peer);
}

const struct peer *link_peer(const struct link *link)
{
    return &link->peer;
}

const struct msg_hello *link_hello(const struct link *link)
{
    return link->has_hello ? &link->hello : NULL;
}

bool link_offers(const struct link *link, const char *feature)
{
    return link->has_hello && strv_contains(link->hello.features, feature);
}

bool link_is_connected(const struct link *link)
{
    return link->state == LINK_OPEN;
}

struct loop *link_loop(const struct link *link)
{
    return link->loop;
}

enum error_kind link_refusal(const struct link *link)
{
    return link->refusal;
}

bool link_is_nobody(const struct link *link)
{
    return link->is_server && link->peer.role == ROLE_NONE;
}

size_t link_frame_max(const struct link *link)
{
    if (link->state == LINK_HELLO)
        return FRAME_HELLO_MAX;
    return link_is_nobody(link) ? LINK_NOBODY_FRAME_MAX : FRAME_MAX;
}

/* --- sending --------------------------------------------------------------------------------------------------- */

size_t link_output_bytes(const struct link *link)
{
    return link->stream ? stream_queued(link->stream) : 0;
}

bool link_is_congested(const struct link *link)
{
    return link->congested;
}

static void run_feed(void *arg)
{
    struct link *link = arg;
    struct link_feed *feed = list_first(&link->feeds, struct link_feed, link);
    if (!feed || link->state != LINK_OPEN || link_output_bytes(link) > ROOM_LOW)
        return; /* STREAM_LOW comes back to it */
    bool is_more = feed->on_room(feed);
    if (is_more && !link->freed && link->state == LINK_OPEN && link_output_bytes(link) <= ROOM_LOW)
        loop_soon(link->loop, &link->feed);
}

void link_feed_add(struct link *link, struct link_feed *feed)
{
    list_append(&link->feeds, &feed->link);
    loop_soon(link->loop, &link->feed);
}

void link_feed_remove(struct link *link, struct link_feed *feed)
{
    list_remove(&feed->link);
    loop_soon(link->loop, &link->feed);
}

int link_send(struct link *link, const struct envelope *envelope)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    unsigned char header[FRAME_HEADER_LEN];

    if (!link->stream || link->state >= LINK_CLOSING)
        return 0;
    envelope_print(envelope, &text);
    if (text.len > (link->state == LINK_HELLO ? FRAME_HELLO_MAX : FRAME_MAX))
        return -EMSGSIZE;
    frame_header(header, text.len);
    stream_write(link->stream, header, sizeof(header));
    stream_write(link->stream, text.data, text.len);
    link->sent = loop_now(link->loop);
    if (stream_queued(link->stream) > LINK_OUTPUT_HIGH)
        link->congested = true;
    if (stream_queued(link->stream) > LINK_OUTPUT_MAX)
        loop_soon(link->loop, &link->drop);
    return 0;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

void link_set_reason(struct link *link, const char *reason)
{
    if (!link->reason)
        link->reason = xstrdup(reason);
}

static void end_feeds(struct link *link, bool closed)
{
    while (!list_empty(&link->feeds)) {
        struct link_feed *feed = list_first(&link->feeds, struct link_feed, link);
        list_remove(&feed->link);
        feed->on_gone(feed, closed);
    }
}

/* In the loop only: tells everybody. */
static void gone(struct link *link)
{
    if (link->state == LINK_GONE)
        return;
    link->state = LINK_GONE;
    timer_clear(&link->timer);
    stream_free(steal_ptr(link->stream));
    end_feeds(link, true);
    if (!link->freed)
        link_end_calls(link, true);
    if (!link->freed)
        link->spec.on_event(link->spec.owner, link, LINK_CLOSED,
            link->peer_reason  ? link->peer_reason
                : link->reason ? link->reason
                               : "the connection ended");
}

void link_begin_closing(struct link *link)
{
    link->state = LINK_CLOSING;
    timer_clear(&link->timer);
    stream_close(link->stream);
}

void link_close(struct link *link, const char *reason_fmt, ...)
{
    struct error reason = { 0 };
    va_list args;

    if (link->freed || link->state >= LINK_CLOSING)
        return;
    va_start(args, reason_fmt);
    error_vset(&reason, -ECANCELED, reason_fmt, args);
    va_end(args);
    link_set_reason(link, reason.text);
    if (link->state == LINK_OPEN)
        link_notify(link, MSG_GOODBYE, &(struct msg_goodbye){ .reason = reason.text });
    link_begin_closing(link);
}

void link_protocol_error(struct link *link, enum error_kind kind, const char *fmt, ...)
{
    struct error reason = { 0 };
    va_list args;

    if (link->freed || link->state >= LINK_CLOSING)
        return;
    va_start(args, fmt);
    error_vset(&reason, -EPROTO, fmt, args);
    va_end(args);
    (void)link_send(link, &(struct envelope){ .kind = ENVELOPE_ERROR, .code = kind, .message = reason.text });
    error_prefix(&reason, "the peer broke the protocol");
    link_set_reason(link, reason.text);
    link_begin_closing(link);
}

static void on_drop(void *arg)
{
    struct link *link = arg;
    if (link->state >= LINK_CLOSING)
        return;
    struct error reason = { 0 };
    error_set(&reason, -ENOBUFS, "the peer is too slow: %zu bytes wait for it, at most %d may",
        link_output_bytes(link), LINK_OUTPUT_MAX);
    link_set_reason(link, reason.text);
    gone(link);
}

/* --- time ------------------------------------------------------------------------------------------------------------ */

static void on_timer(void *arg)
{
    struct link *link = arg;
    mono_t now = loop_now(link->loop);
    int64_t quiet = mono_diff_ms(now, link->sent), silent = mono_diff_ms(now, link->received);

    if (link->state == LINK_HELLO) {
        link_set_reason(link,
            link->is_server ? "the peer said no hello within 10 seconds"
                            : "the hub did not answer hello within 10 seconds");
        if (link->is_server)
            (void)link_send(link,
                &(struct envelope){ .kind = ENVELOPE_ERROR,
                    .code = ERROR_REQUEST,
                    .message = (char *)"no hello within 10 seconds" });
        link_begin_closing(link);
        return;
    }
    if (link->paused) {
        link->received = now;
        silent = 0;
    }
    if (silent >= LINK_SILENCE_MS) {
        link_set_reason(link, "the peer was silent for 15 seconds");
        gone(link);
        return;
    }
    if (link_is_nobody(link) && mono_diff_ms(now, link->begun) >= LINK_NOBODY_MS) {
        link_close(link, "no identity within %d seconds", LINK_NOBODY_MS / 1000);
        return;
    }
    if (quiet >= LINK_HEARTBEAT_MS) {
        link_call(link, MSG_PING, &(struct msg_empty){ 0 }, LINK_SILENCE_MS, NULL, NULL);
        quiet = 0;
    }
    int64_t beat = LINK_HEARTBEAT_MS - quiet, end = LINK_SILENCE_MS - silent;
    timer_set(&link->timer, beat < end ? beat : end);
}

/* --- frames in --------------------------------------------------------------------------------------------------------- */

static void take_envelope(struct link *link, const struct envelope *envelope)
{
    bool is_request = envelope->kind == ENVELOPE_CALL || envelope->kind == ENVELOPE_NOTICE;

    if (!is_request) {
        link_take_answer(link, envelope);
        return;
    }
    free(steal_ptr(link->peer_reason)); /* it went on: that was not the end */
    if (link->state == LINK_OPEN)
        link_take_request(link, envelope);
    else if (!link->is_server)
        link_protocol_error(link, ERROR_REQUEST, "a call before the answer to hello");
    else if (envelope->kind != ENVELOPE_CALL || strcmp(envelope->method, "hello") != 0)
        link_protocol_error(link, ERROR_REQUEST, "the first message must be a call of hello");
    else
        link_take_hello(link, envelope);
}

/* One frame; false: there is none, or the link is ending. */
static bool take_frame(struct link *link)
{
    struct envelope envelope _cleanup_(envelope_done) = { 0 };
    struct error err = { 0 };
    size_t avail, len;
    const char *data = stream_data(link->stream, &avail);
    int r = frame_peek(data, avail, link_frame_max(link), &len, &err);

    if (r == 0)
        return false;
    if (r > 0)
        r = envelope_read(data + FRAME_HEADER_LEN, len, &envelope, &err);
    if (r < 0) {
        bool is_parse = strncmp(err.text, "not JSON:", 9) == 0;
        link_protocol_error(link, is_parse ? ERROR_PARSE : ERROR_REQUEST, "%s", err.text);
        return false;
    }
    stream_consume(link->stream, FRAME_HEADER_LEN + len);
    take_envelope(link, &envelope);
    return !link->freed && link->state < LINK_CLOSING;
}

static void take_frames(struct link *link)
{
    int n = 0;

    link->received = loop_now(link->loop);
    while (n < LINK_FRAMES_PER_TURN && !link->paused && take_frame(link))
        n++;
    if (link->freed || link->state >= LINK_CLOSING || link->paused)
        return;
    size_t rest;
    stream_data(link->stream, &rest);
    if (n == LINK_FRAMES_PER_TURN && rest > 0) {
        stream_again(link->stream);
        return;
    }
    if (!stream_is_eof(link->stream))
        return;
    link_set_reason(link,
        rest ? "the peer closed the connection in the middle of a frame" : "the peer closed the connection");
    link_begin_closing(link);
}

void link_pause(struct link *link, bool pause)
{
    if (link->paused == pause || !link->stream)
        return;
    link->paused = pause;
    link->received = loop_now(link->loop);
    stream_pause(link->stream, pause); /* going on, it tells DATA again if there is some */
}

static void on_room(struct link *link)
{
    run_feed(link);
    if (link->freed || link->state != LINK_OPEN || !link->congested ||
        stream_queued(link->stream) > LINK_OUTPUT_HIGH)
        return;
    link->congested = false;
    link->spec.on_event(link->spec.owner, link, LINK_DRAINED, NULL);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct link *link = arg;

    switch (event) {
    case STREAM_DATA:
    case STREAM_EOF:
        if (link->state < LINK_CLOSING)
            take_frames(link);
        break;
    case STREAM_LOW:
        on_room(link);
        break;
    case STREAM_ERROR:
        link_set_reason(link, stream_error(stream));
        break;
    case STREAM_CLOSED:
        gone(link);
        break;
    case STREAM_CONNECTED:
    case STREAM_TLS_READY:
    case STREAM_TIMEOUT:
        break;
    }
}

/* --- life ------------------------------------------------------------------------------------------------------------------ */

struct link *link_new(struct loop *loop, struct stream *stream, bool is_server, const struct link_spec *spec)
{
    struct link *link = xcalloc(1, sizeof(*link));

    assert(spec->on_event && spec->handlers);
    link->loop = loop;
    link->stream = stream;
    link->spec = *spec;
    link->is_server = is_server;
    link->next_id = 1;
    link->sent = link->received = link->begun = loop_now(loop);
    list_init(&link->calls);
    list_init(&link->replies);
    list_init(&link->feeds);
    timer_init(&link->timer, loop, on_timer, link);
    task_init(&link->begin, link_say_hello, link);
    task_init(&link->drop, on_drop, link);
    task_init(&link->feed, run_feed, link);
    learn_peer(link);
    stream_set_marks(stream, ROOM_LOW, ROOM_LOW);
    stream_set_read_max(stream, FRAME_HEADER_LEN + FRAME_HELLO_MAX);
    stream_set_owner(stream, on_stream, link);
    timer_set(&link->timer, LINK_HELLO_MS);
    if (!is_server)
        loop_soon(loop, &link->begin);
    return link;
}

static void free_now(void *obj)
{
    struct link *link = obj;
    peer_done(&link->peer);
    if (link->has_hello)
        schema_clear(msg_by_type(MSG_HELLO)->schema, &link->hello);
    free(link->reason);
    free(link->peer_reason);
    free(link);
}

void link_free(struct link *link)
{
    if (!link || link->freed)
        return;
    link->freed = true;
    link->state = LINK_GONE;
    timer_done(&link->timer);
    task_done(&link->begin);
    task_done(&link->drop);
    task_done(&link->feed);
    stream_free(steal_ptr(link->stream));
    end_feeds(link, false);
    link_end_calls(link, false);
    loop_free_later(link->loop, link, free_now);
}
