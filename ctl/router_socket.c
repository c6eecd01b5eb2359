/* SPDX-License-Identifier: MIT */
#include "ctl/router_socket.h"

#include <errno.h>
#include <string.h>

#include "common/http1.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/wire.h"

#define READ_SIZE (64 * 1024)

static const char request[] = "GET /status HTTP/1.1\r\nHost: router\r\n\r\n";

struct fetch {
    struct wire wire;
    struct strbuf in;
    size_t sent;
    int result; /* of what failed */
    bool done;
};

static void end(struct fetch *f, int result)
{
    f->result = result;
    f->done = true;
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct fetch *f = container_of(wire, struct fetch, wire);
    char buf[READ_SIZE];
    ssize_t n = 1;
    if (wire->error < 0) {
        end(f, wire->error);
        return;
    }
    if ((events & WIRE_WRITABLE) && f->sent < sizeof(request) - 1) {
        n = wire_write(wire, request + f->sent, sizeof(request) - 1 - f->sent);
        f->sent += n > 0 ? (size_t)n : 0;
    }
    while (!f->done && (events & WIRE_READABLE) && (n = wire_read(wire, buf, sizeof(buf))) > 0) {
        strbuf_add(&f->in, buf, (size_t)n);
        if (f->in.len > ROUTER_STATUS_MAX)
            end(f, -EFBIG);
    }
    if (n == 0)
        end(f, 0);
    else if (n < 0 && n != -EAGAIN)
        end(f, (int)n);
}

static int fetch(struct loop *loop, const struct wire_address *address, struct strbuf *ret)
{
    struct fetch f = { .in = STRBUF_INIT };
    mono_t end_at = { loop_now(loop).us + ROUTER_SOCKET_MS * CLOCK_US_PER_MS };
    wire_init(&f.wire, on_wire);
    int r = wire_connect(&f.wire, loop, address);
    while (r == 0 && !f.done) {
        loop_turn(loop, 100);
        if (loop_now(loop).us > end_at.us)
            end(&f, -ETIMEDOUT);
    }
    wire_close(&f.wire);
    loop_turn(loop, 0);
    *ret = f.in;
    return r < 0 ? r : f.result;
}

/* The content of a whole answer. */
static int unframe(const struct strbuf *in, struct strbuf *ret, struct error *err)
{
    static struct http1_head head;
    struct http1_fault fault = { .reason = "it breaks off" };
    struct http1_body body;
    struct http1_slice piece;
    if (http1_response_parse(in->data, in->len, NULL, HTTP1_METHOD_GET, &head, &fault) != HTTP1_DONE)
        return error_set(err, -EPROTO, "the router's answer is not understood: %s", fault.reason);
    if (head.status != 200)
        return error_set(err, -EPROTO, "what answers there is not a router: status %d", head.status);
    size_t used = head.size;
    http1_body_init(&body, head.body, head.content_length);
    while (http1_body_next(&body, in->data, in->len, &used, &piece, &fault) == HTTP1_BODY_DATA)
        strbuf_add(ret, piece.ptr, piece.len);
    if (!http1_body_is_whole(&body) && !http1_body_is_at_trailers(&body))
        return error_set(err, -EPROTO, "the router's answer breaks off");
    return 0;
}

int router_socket_ask(struct loop *loop, const char *address, struct router_status *ret, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf answer = STRBUF_INIT, text = STRBUF_INIT;
    struct wire_address parsed;
    int r = wire_address_parse(address, 0, &parsed, err);
    if (r < 0)
        return r;
    r = fetch(loop, &parsed, &answer);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return error_set(
            err, -ENOENT, "no router shows itself at %s; is stagecoach-routerd running here?", address);
    if (r < 0)
        return error_set_errno(err, r, "can't ask the router at %s", address);
    r = unframe(&answer, &text, err);
    if (r < 0)
        return r;
    return schema_read(&router_status_schema, strbuf_str(&text), text.len, ret, err);
}
