/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/document.h"
#include "common/frame.h"
#include "common/link.h"
#include "common/loop.h"
#include "common/stream.h"

/* A hub's end of a link under whatever a peer sends. The first byte says how: 'r' as it is, 'R' as it is after a
 * proper hello, 'F' each line as a frame after a proper hello, 'f' each line as a frame. The second byte says
 * what handlers do: answer, refuse, answer later, close, free. Whatever comes, LINK_CLOSED is told at most once,
 * every call of ours completes once, and nothing is told after link_free. */

#define HELLO                                                                                          \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":1,\"program\":\"x\"," \
    "\"version\":\"1\",\"name\":\"ops\"}}"

struct hub {
    struct loop *loop;
    struct link *link;
    struct reply *kept;
    struct document_sink sink;
    char habit;
    int closed, calls, answers;
    bool freed;
};

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct hub *hub = owner;
    must(!hub->freed);
    must(hub->closed == 0);
    hub->closed += event == LINK_CLOSED;
    must(event != LINK_CLOSED || (reason && *reason));
}

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct hub *hub = arg;
    must(!hub->freed);
    must((result == 0) == (answer != NULL));
    must((result == 0) != (reason != NULL));
    hub->answers++;
}

static void on_call(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub *hub = owner;

    must(!hub->freed && hub->closed == 0 && reply);
    if (hub->habit == 'l' && !hub->kept) {
        hub->kept = reply;
        return;
    }
    if (hub->habit == 'x')
        reply_error(reply, ERROR_REFUSED, "no");
    else
        reply_ok(reply, NULL);
    if (hub->habit == 'c')
        link_close(link, "enough");
    if (hub->habit == 'f') {
        link_free(link);
        hub->freed = true;
    }
}

static void on_notice(void *owner, struct link *link, const void *m, struct reply *reply)
{
    must(!reply && !((struct hub *)owner)->freed);
}

static void on_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct error err;
    if (document_sink_begin(&((struct hub *)owner)->sink, m, &err) < 0)
        must(err.text[0]);
}

static void on_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct error err;
    if (document_sink_part(&((struct hub *)owner)->sink, m, &err) < 0)
        must(err.text[0]);
}

static void on_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub *hub = owner;
    struct error err;
    if (document_sink_end(&hub->sink, m, &err) < 0)
        reply_error(reply, ERROR_REFUSED, "%s", err.text);
    else
        reply_ok(reply, NULL);
}

static const struct link_handler handlers[] = {
    { MSG_DEPLOY, on_call },
    { MSG_STATUS, on_call },
    { MSG_TOKEN_CREATE, on_call },
    { MSG_JOIN, on_call },
    { MSG_LOGS, on_call },
    { MSG_HOST_REPORT, on_notice },
    { MSG_INSTANCE_REPORT, on_notice },
    { MSG_DOCUMENT_BEGIN, on_begin },
    { MSG_DOCUMENT_PART, on_part },
    { MSG_DOCUMENT_END, on_end },
    { MSG_NONE_, NULL },
};

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    hello->program = (char *)"hub";
    hello->name = (char *)"hub";
}

static void settle(struct hub *hub, int fd)
{
    char scrap[4096];
    for (int i = 0; i < 1000 && loop_turn(hub->loop, 0); i++)
        while (recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
            ;
}

static void put(struct hub *hub, int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        size_t n = len < 16384 ? len : 16384;
        if (send(fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
            return;
        at += n;
        len -= n;
        settle(hub, fd);
    }
}

static void put_frame(struct hub *hub, int fd, const void *data, size_t len)
{
    unsigned char header[FRAME_HEADER_LEN];
    frame_header(header, len);
    put(hub, fd, header, sizeof(header));
    put(hub, fd, data, len);
}

static void start(struct hub *hub, enum role role, int fd)
{
    struct link_spec spec = {
        .handlers = handlers, .on_event = on_event, .owner = hub, .fill_hello = fill_hello
    };
    hub->link = link_new(hub->loop, stream_adopt(hub->loop, fd, true, NULL, NULL, NULL), true, &spec);
    link_set_peer(hub->link, &(struct peer){ .role = role, .name = (char *)"ops" });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    struct hub hub = { 0 };
    int fds[2];

    if (size < 2)
        return 0;
    if (!loop)
        loop = loop_new_fake();
    hub.loop = loop;
    hub.habit = (char)data[1];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    start(&hub, hub.habit == 'd' ? ROLE_DRONE : ROLE_ADMIN, fds[0]);
    if (data[0] == 'R' || data[0] == 'F')
        put_frame(&hub, fds[1], HELLO, sizeof(HELLO) - 1);
    if (link_is_connected(hub.link)) {
        link_call(hub.link, MSG_PING, &(struct msg_empty){ 0 }, 0, on_answer, &hub);
        link_call(hub.link, MSG_STATUS, &(struct msg_query){ 0 }, 0, on_answer, &hub);
        hub.calls = 2;
    }
    const char *at = (const char *)data + 2, *end = (const char *)data + size;
    if (data[0] == 'R' || data[0] == 'r')
        put(&hub, fds[1], at, size - 2);
    else
        while (at < end && !hub.freed) {
            const char *line_end = memchr(at, '\n', (size_t)(end - at));
            if (!line_end)
                line_end = end;
            if (line_end > at)
                put_frame(&hub, fds[1], at, (size_t)(line_end - at));
            at = line_end + 1;
        }
    close(fds[1]);
    for (int i = 0; i < 1000 && loop_turn(loop, 0); i++)
        ;
    if (!hub.freed) {
        must(hub.closed == 1);
        must(hub.answers == hub.calls);
        link_free(hub.link);
    }
    if (hub.kept)
        reply_ok(hub.kept, NULL);
    document_sink_done(&hub.sink);
    loop_turn(loop, 0);
    return 0;
}
