/* SPDX-License-Identifier: MIT */
#include "hubd/http_conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "common/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "hubd/hubd.h"

#define INFLATE_BLOCK (32 * 1024)
#define GZIP_WINDOW   (15 + 16) /* zlib: gzip framing only */

enum http_phase {
    HTTP_HEAD, /* a head is to come */
    HTTP_BODY, /* it came; the body is being read, the answer may be under way */
    HTTP_WAIT, /* the body is whole; the answer is not */
};

struct http_conn {
    struct hubd *hub;
    struct stream *stream;
    struct peer peer;
    void (*on_closed)(void *arg);
    void *arg;
    enum http_phase phase;
    struct http1_body body;
    uint64_t discarded;
    const struct http_handler *handler;
    void *handler_arg;
    z_stream *inflate; /* NULL: the body is not zipped */
    uint64_t inflated;
    bool inflate_done;
    bool body_paused;
    bool begun, chunked, ended; /* the answer */
    bool bodiless;              /* HEAD */
    bool keep_alive;
    bool closing;      /* the last answer is being sent */
    struct timer turn; /* goes on although no byte came */
    bool in_pump;
    size_t queued; /* of the answer, when a deadline passed last */
    bool closed;
};

static void pump(struct http_conn *conn);

static void on_turn(void *arg)
{
    struct http_conn *conn = arg;
    if (!conn->closed && !conn->closing)
        pump(conn);
}

/* --- life cycle ------------------------------------------------------------------------------------------------ */

static void peer_copy(struct peer *dst, const struct peer *src)
{
    *dst = (struct peer){
        .role = src->role,
        .name = xstrdup(src->name),
        .fleet = xstrdup(src->fleet),
        .address = xstrdup(src->address),
        .serial = xstrdup(src->serial),
        .key = xstrdup(src->key),
        .expired = src->expired,
    };
}

static void inflate_free(struct http_conn *conn)
{
    if (conn->inflate)
        inflateEnd(conn->inflate);
    free(conn->inflate);
    conn->inflate = NULL;
}

static void conn_free_now(void *obj)
{
    struct http_conn *conn = obj;
    free(conn->peer.name);
    free(conn->peer.fleet);
    free(conn->peer.address);
    free(conn->peer.serial);
    free(conn->peer.key);
    inflate_free(conn);
    free(conn);
}

static void drop_handler(struct http_conn *conn)
{
    const struct http_handler *handler = conn->handler;
    conn->handler = NULL;
    if (handler && handler->on_gone)
        handler->on_gone(conn->handler_arg);
}

void http_conn_free(struct http_conn *conn)
{
    if (!conn || conn->closed)
        return;
    conn->closed = true;
    stream_free(conn->stream);
    conn->stream = NULL;
    timer_done(&conn->turn);
    drop_handler(conn);
    if (conn->on_closed)
        conn->on_closed(conn->arg);
    loop_free_later(conn->hub->loop, conn, conn_free_now);
}

/* What is queued goes out first. */
static void conn_close(struct http_conn *conn)
{
    if (conn->closed || conn->closing)
        return;
    conn->closing = true;
    stream_close(conn->stream);
}

/* A client that takes what was answered is not idle, whatever else it was to do. */
static void on_deadline(struct http_conn *conn)
{
    size_t queued = stream_queued(conn->stream);
    if (queued == 0 || queued == conn->queued) {
        http_conn_free(conn);
        return;
    }
    conn->queued = queued;
    stream_set_deadline(conn->stream, HTTP_WRITE_IDLE_MS);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct http_conn *conn = arg;
    if (conn->closed)
        return;
    switch (event) {
    case STREAM_DATA:
        if (!conn->closing)
            pump(conn);
        break;
    case STREAM_LOW:
        if (conn->handler && conn->handler->on_room)
            conn->handler->on_room(conn->handler_arg);
        break;
    case STREAM_TIMEOUT:
        on_deadline(conn);
        break;
    case STREAM_ERROR:
    case STREAM_CLOSED:
        http_conn_free(conn);
        break;
    case STREAM_EOF:
        /* Nobody is left to read an answer. */
        if (!conn->closing)
            http_conn_free(conn);
        break;
    case STREAM_CONNECTED:
    case STREAM_TLS_READY:
        break;
    }
}

struct http_conn *http_conn_new(
    struct hubd *hub, struct stream *stream, const struct peer *peer, void (*on_closed)(void *arg), void *arg)
{
    struct http_conn *conn = xcalloc(1, sizeof(*conn));
    conn->hub = hub;
    conn->stream = stream;
    conn->on_closed = on_closed;
    conn->arg = arg;
    peer_copy(&conn->peer, peer);
    timer_init(&conn->turn, hub->loop, on_turn, conn);
    stream_set_owner(stream, on_stream, conn);
    stream_set_close_ms(stream, HTTP_WRITE_IDLE_MS);
    stream_set_deadline(stream, HTTP_HEAD_MS);
    return conn;
}

struct hubd *http_conn_hub(const struct http_conn *conn)
{
    return conn->hub;
}

const struct peer *http_conn_peer(const struct http_conn *conn)
{
    return &conn->peer;
}

void http_conn_set_handler(struct http_conn *conn, const struct http_handler *handler, void *arg)
{
    conn->handler = handler;
    conn->handler_arg = arg;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static bool body_begin(struct http_conn *conn, const struct http1_head *head)
{
    http1_body_init(&conn->body, head->body, head->content_length);
    conn->discarded = conn->inflated = 0;
    conn->inflate_done = false;
    const struct http1_field *encoding = http1_find(head, HTTP1_FIELD_CONTENT_ENCODING);
    if (!encoding || http1_slice_is(http1_value(encoding), "identity"))
        return true;
    if (!http1_slice_is(http1_value(encoding), "gzip") && !http1_slice_is(http1_value(encoding), "x-gzip"))
        return false;
    conn->inflate = xcalloc(1, sizeof(*conn->inflate));
    return inflateInit2(conn->inflate, GZIP_WINDOW) == Z_OK;
}

static void head_done(struct http_conn *conn, const struct http1_head *head)
{
    conn->begun = conn->chunked = conn->ended = false;
    conn->bodiless = head->method_id == HTTP1_METHOD_HEAD;
    conn->keep_alive = head->keep_alive;
    conn->phase = HTTP_BODY;
    bool readable = body_begin(conn, head);
    if (!readable) {
        http_answer(conn, 415, NULL, "only gzip is understood as Content-Encoding\n");
        return;
    }
    if (head->expect_continue)
        stream_write(conn->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    http_dispatch(conn, head);
}

static bool read_head(struct http_conn *conn)
{
    static struct http1_head head; /* one thread, used up before the next */
    static const struct http1_limits limits = { .head_max = HTTP_HEAD_MAX };
    struct http1_fault fault;
    size_t len;
    const char *data = stream_data(conn->stream, &len);
    switch (http1_request_parse(data, len, &limits, &head, &fault)) {
    case HTTP1_MORE:
        return false;
    case HTTP1_REFUSED: {
        char text[256];
        snprintf(text, sizeof(text), "%s\n", fault.reason);
        conn->keep_alive = false;
        conn->phase = HTTP_WAIT;
        conn->begun = conn->chunked = conn->ended = conn->bodiless = false;
        http_answer(conn, fault.status, NULL, text);
        return true;
    }
    case HTTP1_DONE:
        break;
    }
    stream_set_deadline(conn->stream, HTTP_BODY_IDLE_MS);
    conn->queued = 0;
    size_t size = head.size;
    head_done(conn, &head);
    if (!conn->closed)
        stream_consume(conn->stream, size);
    return !conn->closed && !conn->closing;
}

static void body_refused(struct http_conn *conn, int status, const char *text)
{
    conn->keep_alive = false;
    if (conn->begun) {
        http_answer_abort(conn);
        return;
    }
    http_answer(conn, status, NULL, text);
    conn_close(conn);
}

static void give_body(struct http_conn *conn, const char *data, size_t len)
{
    if (conn->handler && conn->handler->on_body) {
        conn->handler->on_body(conn->handler_arg, data, len);
        return;
    }
    conn->discarded += len;
    if (conn->discarded > HTTP_DISCARD_MAX)
        conn_close(conn);
}

static void give_zipped(struct http_conn *conn, const char *data, size_t len)
{
    static unsigned char block[INFLATE_BLOCK];
    z_stream *z = conn->inflate;
    z->next_in = (unsigned char *)(uintptr_t)data;
    z->avail_in = (unsigned)len;
    while (!conn->closed && !conn->closing && !conn->inflate_done) {
        z->next_out = block;
        z->avail_out = sizeof(block);
        int r = inflate(z, Z_NO_FLUSH);
        size_t n = sizeof(block) - z->avail_out;
        conn->inflated += n;
        if ((r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) || conn->inflated > HTTP_INFLATED_MAX) {
            body_refused(conn, conn->inflated > HTTP_INFLATED_MAX ? 413 : 400,
                conn->inflated > HTTP_INFLATED_MAX ? "the unzipped body is larger than 64 MiB\n"
                                                   : "the body is not valid gzip\n");
            return;
        }
        conn->inflate_done = r == Z_STREAM_END;
        if (n > 0)
            give_body(conn, (const char *)block, n);
        if (n < sizeof(block))
            break;
    }
    if (!conn->closed && conn->inflate_done && z->avail_in > 0)
        body_refused(conn, 400, "there is something behind the gzip body\n");
}

static void body_whole(struct http_conn *conn)
{
    conn->phase = HTTP_WAIT;
    stream_set_deadline(conn->stream, HTTP_WORK_MS);
    if (conn->inflate && !conn->inflate_done) {
        body_refused(conn, 400, "the gzip body is not whole\n");
        return;
    }
    inflate_free(conn);
    if (conn->handler && conn->handler->on_body_end)
        conn->handler->on_body_end(conn->handler_arg);
}

static bool read_trailers(struct http_conn *conn)
{
    static struct http1_head trailers;
    static const struct http1_limits limits = { 0 };
    struct http1_fault fault;
    size_t len;
    const char *data = stream_data(conn->stream, &len);
    enum http1_result r = http1_trailers_parse(data, len, &limits, &trailers, &fault);
    if (r == HTTP1_MORE)
        return false;
    if (r == HTTP1_REFUSED) {
        body_refused(conn, fault.status, "the trailers are malformed\n");
        return false;
    }
    stream_consume(conn->stream, trailers.size);
    http1_body_end(&conn->body);
    body_whole(conn);
    return !conn->closed;
}

/* One piece of the body; false: nothing more can be done now. */
static bool read_body(struct http_conn *conn)
{
    struct http1_fault fault;
    struct http1_slice slice = { 0 };
    size_t len, consumed = 0;
    const char *data = stream_data(conn->stream, &len);
    enum http1_body_event event = http1_body_next(&conn->body, data, len, &consumed, &slice, &fault);
    switch (event) {
    case HTTP1_BODY_REFUSED:
        body_refused(conn, 400, "the body is malformed\n");
        return false;
    case HTTP1_BODY_MORE:
        stream_consume(conn->stream, consumed);
        return false;
    case HTTP1_BODY_TRAILERS:
        stream_consume(conn->stream, consumed);
        return read_trailers(conn);
    case HTTP1_BODY_END:
        stream_consume(conn->stream, consumed);
        body_whole(conn);
        return !conn->closed;
    case HTTP1_BODY_DATA:
        break;
    }
    stream_set_deadline(conn->stream, HTTP_BODY_IDLE_MS);
    if (conn->inflate)
        give_zipped(conn, slice.ptr, slice.len);
    else
        give_body(conn, slice.ptr, slice.len);
    if (conn->closed || conn->closing)
        return false;
    stream_consume(conn->stream, consumed);
    return true;
}

/* The exchange is over on both sides: the next one, or the end. */
static bool next_request(struct http_conn *conn)
{
    if (conn->phase != HTTP_WAIT || !conn->ended)
        return false;
    if (!conn->keep_alive) {
        conn_close(conn);
        return false;
    }
    conn->phase = HTTP_HEAD;
    stream_set_deadline(conn->stream, HTTP_HEAD_MS);
    return true;
}

static bool step(struct http_conn *conn)
{
    size_t len;
    switch (conn->phase) {
    case HTTP_HEAD:
        stream_data(conn->stream, &len);
        return len > 0 && read_head(conn);
    case HTTP_BODY:
        return !conn->body_paused && read_body(conn);
    case HTTP_WAIT:
        return next_request(conn);
    }
    return false;
}

static void pump(struct http_conn *conn)
{
    if (conn->in_pump)
        return;
    conn->in_pump = true;
    while (!conn->closed && !conn->closing && step(conn))
        ;
    conn->in_pump = false;
}

void http_pause_body(struct http_conn *conn, bool pause)
{
    if (conn->closed || conn->closing || conn->body_paused == pause)
        return;
    conn->body_paused = pause;
    stream_pause(conn->stream, pause);
    if (conn->phase == HTTP_BODY)
        stream_set_deadline(conn->stream, pause ? HTTP_WORK_MS : HTTP_BODY_IDLE_MS);
    if (!pause)
        timer_set(&conn->turn, 0);
}

/* --- answering ----------------------------------------------------------------------------------------------------- */

static void write_head(
    struct http_conn *conn, int status, const char *content_type, const char *fields, int64_t length)
{
    char block[2048], type[128];
    struct http1_out out;
    http1_out_init(&out, block, sizeof(block));
    http1_out_status_line(&out, status, (struct http1_slice){ 0 });
    if (content_type) {
        snprintf(type, sizeof(type), "%s", content_type);
        http1_out_field_str(&out, "Content-Type", type);
    }
    http1_out_field_str(&out, "Cache-Control", "no-cache");
    if (fields)
        http1_out_str(&out, fields);
    if (length >= 0)
        http1_out_content_length(&out, (uint64_t)length);
    else
        http1_out_field_str(&out, "Transfer-Encoding", "chunked");
    if (!conn->keep_alive)
        http1_out_field_str(&out, "Connection", "close");
    http1_out_end(&out);
    conn->begun = true;
    conn->chunked = length < 0;
    stream_write(conn->stream, block, out.len);
}

void http_answer(struct http_conn *conn, int status, const char *fields, const char *text)
{
    if (conn->closed || conn->closing || conn->begun)
        return;
    write_head(conn, status, "text/plain; charset=utf-8", fields, (int64_t)strlen(text));
    if (!conn->bodiless)
        stream_write(conn->stream, text, strlen(text));
    http_answer_end(conn);
}

void http_answer_begin(struct http_conn *conn, int status, const char *content_type, int64_t length)
{
    if (!conn->closed && !conn->closing && !conn->begun)
        write_head(conn, status, content_type, NULL, length);
}

bool http_answer_data(struct http_conn *conn, const void *data, size_t len)
{
    if (conn->closed || conn->closing || conn->ended || conn->bodiless || len == 0)
        return true;
    stream_set_deadline(conn->stream, HTTP_WRITE_IDLE_MS);
    if (conn->chunked) {
        char chunk_head[HTTP1_CHUNK_HEAD_MAX];
        stream_write(conn->stream, chunk_head, http1_chunk_head(chunk_head, len));
        stream_write(conn->stream, data, len);
        stream_write(conn->stream, "\r\n", 2);
    } else {
        stream_write(conn->stream, data, len);
    }
    return !stream_is_congested(conn->stream);
}

void http_answer_end(struct http_conn *conn)
{
    if (conn->closed || conn->closing || conn->ended)
        return;
    if (conn->chunked && !conn->bodiless)
        stream_write(conn->stream, HTTP1_LAST_CHUNK, sizeof(HTTP1_LAST_CHUNK) - 1);
    conn->ended = true;
    drop_handler(conn);
    /* A refused body is read to its end, or the client might never see the answer. */
    http_pause_body(conn, false);
    stream_set_deadline(conn->stream, HTTP_BODY_IDLE_MS);
    timer_set(&conn->turn, 0);
}

bool http_answer_has_begun(const struct http_conn *conn)
{
    return conn->begun;
}

void http_answer_abort(struct http_conn *conn)
{
    http_conn_free(conn);
}
