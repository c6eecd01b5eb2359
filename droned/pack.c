/* SPDX-License-Identifier: MIT */
#include "droned/pack.h"

#include <errno.h>
#include <stdio.h>

#include "common/http1.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "common/stream.h"

struct pack {
    struct loop *loop;
    struct pack_spec spec;
    char *hub;
    char *request;
    struct stream *stream;
    struct http1_head *head;
    struct http1_body body;
    bool has_head, paused, ended;
    struct strbuf refusal; /* text of an answer that is no pack */
};

static void end(struct pack *pack, int result, const char *reason)
{
    if (pack->ended)
        return;
    pack->ended = true;
    stream_free(steal_ptr(pack->stream));
    pack->spec.on_end(pack->spec.arg, result, reason);
}

static void end_refused(struct pack *pack)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "the hub answered %d", pack->head->status);
    if (pack->refusal.len > 0) {
        strbuf_adds(&text, ": ");
        while (pack->refusal.len > 0 && pack->refusal.data[pack->refusal.len - 1] == '\n')
            pack->refusal.len--;
        strbuf_add_printable(&text, pack->refusal.data, pack->refusal.len, PACK_REFUSAL_MAX);
    }
    int status = pack->head->status;
    end(pack,
        status == 404                                                          ? -ENOENT
            : status == 429 || status == 500 || status == 502 || status == 503 ? -EAGAIN
                                                                               : -EACCES,
        strbuf_str(&text));
}

static void end_whole(struct pack *pack)
{
    if (pack->head->status == 200)
        end(pack, 0, NULL);
    else
        end_refused(pack);
}

/* 1: there is a head now. */
static int read_head(struct pack *pack)
{
    size_t len;
    const char *data = stream_data(pack->stream, &len);
    struct http1_fault fault;
    switch (http1_response_parse(data, len, NULL, HTTP1_METHOD_GET, pack->head, &fault)) {
    case HTTP1_REFUSED: {
        _cleanup_(free_ptr) char *text = xasprintf("the hub's answer is no HTTP: %s", fault.reason);
        end(pack, -EPROTO, text);
        return 0;
    }
    case HTTP1_MORE:
        return 0;
    case HTTP1_DONE:
        break;
    }
    size_t size = pack->head->size;
    if (pack->head->status >= 200) {
        pack->has_head = true;
        http1_body_init(&pack->body, pack->head->body, pack->head->content_length);
    }
    stream_consume(pack->stream, size);
    return 1;
}

static void take(struct pack *pack, struct http1_slice data)
{
    if (pack->head->status != 200) {
        size_t room = PACK_REFUSAL_MAX - pack->refusal.len;
        strbuf_add(&pack->refusal, data.ptr, data.len < room ? data.len : room);
    } else if (!pack->spec.on_data(pack->spec.arg, data.ptr, data.len)) {
        pack->paused = true;
        stream_pause(pack->stream, true);
    }
}

static void read_body(struct pack *pack)
{
    size_t len, used = 0;
    const char *data = stream_data(pack->stream, &len);
    enum http1_body_event event = HTTP1_BODY_MORE;
    while (!pack->ended && !pack->paused) {
        struct http1_slice slice;
        struct http1_fault fault;
        event = http1_body_next(&pack->body, data, len, &used, &slice, &fault);
        if (event == HTTP1_BODY_DATA) {
            take(pack, slice);
            continue;
        }
        if (event == HTTP1_BODY_REFUSED)
            end(pack, -EPROTO, fault.reason);
        else if (event == HTTP1_BODY_END || event == HTTP1_BODY_TRAILERS)
            end_whole(pack);
        break;
    }
    if (pack->ended)
        return;
    stream_consume(pack->stream, used);
    if (event == HTTP1_BODY_MORE && stream_is_eof(pack->stream)) {
        if (http1_body_eof(&pack->body))
            end_whole(pack);
        else
            end(pack, -EAGAIN, "the hub ended the connection in the middle of the pack");
    }
}

static void on_data(struct pack *pack)
{
    stream_set_deadline(pack->stream, PACK_IDLE_MS);
    while (!pack->ended && !pack->has_head)
        if (!read_head(pack)) {
            if (!pack->ended && stream_is_eof(pack->stream))
                end(pack, -EAGAIN, "the hub ended the connection without an answer");
            return;
        }
    if (!pack->ended && !pack->paused)
        read_body(pack);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct pack *pack = arg;
    switch (event) {
    case STREAM_CONNECTED:
        if (!pack->spec.tls)
            stream_write(stream, pack->request, strlen(pack->request));
        stream_set_deadline(stream, PACK_IDLE_MS);
        break;
    case STREAM_TLS_READY:
        stream_write(stream, pack->request, strlen(pack->request));
        break;
    case STREAM_DATA:
    case STREAM_EOF:
        on_data(pack);
        break;
    case STREAM_TIMEOUT:
        if (pack->paused)
            stream_set_deadline(stream, PACK_IDLE_MS);
        else
            end(pack, -EAGAIN, "the hub sends nothing any more");
        break;
    case STREAM_ERROR:
    case STREAM_CLOSED: {
        _cleanup_(free_ptr) char *text =
            xasprintf("can't fetch from %s: %s", pack->hub, stream_error(stream));
        end(pack, -EAGAIN, text);
        break;
    }
    default:
        break;
    }
}

struct pack *pack_new(struct loop *loop, const struct pack_spec *spec)
{
    struct pack *pack = xcalloc(1, sizeof(*pack));
    pack->loop = loop;
    pack->spec = *spec;
    pack->hub = xstrdup(spec->hub);
    pack->head = xcalloc(1, sizeof(*pack->head));
    pack->request =
        xasprintf("GET /pack/%s/%s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: stagecoach-droned/%s\r\n"
                  "Accept: application/x-git-pack\r\nConnection: close\r\n\r\n",
            spec->app, spec->commit, spec->base ? "?base=" : "", spec->base ? spec->base : "", spec->hub,
            STAGECOACH_VERSION);
    struct stream_options options = { .tls = spec->tls, .default_port = PROTOCOL_PORT };
    pack->stream = stream_connect(loop, spec->hub, &options, on_stream, pack);
    return pack;
}

static void pack_destroy(void *p)
{
    struct pack *pack = p;
    strbuf_done(&pack->refusal);
    free(pack->hub);
    free(pack->request);
    free(pack->head);
    free(pack);
}

void pack_free(struct pack *pack)
{
    if (!pack)
        return;
    pack->ended = true;
    stream_free(steal_ptr(pack->stream));
    loop_free_later(pack->loop, pack, pack_destroy);
}

void pack_resume(struct pack *pack)
{
    if (!pack->paused || pack->ended)
        return;
    pack->paused = false;
    stream_pause(pack->stream, false);
    stream_again(pack->stream);
}
