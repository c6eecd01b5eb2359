/* SPDX-License-Identifier: MIT */
#include "common/link.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/frame.h"
#include "common/link_state.h"
#include "common/mem.h"
#include "common/stream.h"

static void connected(struct link *link)
{
    link->state = LINK_OPEN;
    stream_set_read_max(link->stream, FRAME_HEADER_LEN + link_frame_max(link));
    timer_set(&link->timer, LINK_HEARTBEAT_MS);
    loop_soon(link->loop, &link->feed);
    link->spec.on_event(link->spec.owner, link, LINK_CONNECTED, NULL);
}

static void fill_hello(struct link *link, struct msg_hello *hello)
{
    *hello = (struct msg_hello){ .protocol = PROTOCOL_VERSION,
        .version = (char *)STAGECOACH_VERSION,
        .time_us = loop_wall(link->loop).us };
    if (link->spec.fill_hello)
        link->spec.fill_hello(link->spec.owner, link, hello);
}

static const struct {
    int code;
    enum error_kind kind;
} hello_kinds[] = {
    { -EACCES, ERROR_DENIED },
    { -EPERM, ERROR_DENIED },
    { -EEXIST, ERROR_CONFLICT },
    { -EBUSY, ERROR_BUSY },
    { -EAGAIN, ERROR_BUSY },
    { -ENOENT, ERROR_NOT_FOUND },
    { -EPROTONOSUPPORT, ERROR_SKEW },
};

static int judge_hello(struct link *link, const struct msg_hello *hello, struct error *err)
{
    if (hello->protocol != PROTOCOL_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
            "hello.protocol: %s speaks version %" PRId64 ", here it is %d",
            hello->program ? hello->program : "the peer", hello->protocol, PROTOCOL_VERSION);
    if (link->is_server && link->spec.check_hello)
        return link->spec.check_hello(link->spec.owner, link, hello, err);
    return 0;
}

static void refuse_hello(struct link *link, struct reply *reply, const struct error *err)
{
    enum error_kind kind = ERROR_REFUSED;
    for (size_t i = 0; i < ARRAY_SIZE(hello_kinds); i++)
        if (hello_kinds[i].code == err->code)
            kind = hello_kinds[i].kind;
    if (err->code == -EBADMSG)
        kind = ERROR_FIELDS;
    reply_error(reply, kind, "%s", err->text);
    if (link->freed || link->state >= LINK_CLOSING)
        return;
    link_set_reason(link, err->text);
    link_begin_closing(link);
}

/* Server side. */
void link_take_hello(struct link *link, const struct envelope *envelope)
{
    const struct msg_info *info = msg_by_type(MSG_HELLO);
    struct reply *reply = link_reply_new(link, envelope->id, info);
    struct msg_hello answer;
    struct error err = { 0 };
    int r = schema_read(info->schema, envelope->body, strlen(envelope->body), &link->hello, &err);

    if (r < 0) {
        err.code = -EBADMSG;
        refuse_hello(link, reply, &err);
        return;
    }
    link->has_hello = true;
    r = judge_hello(link, &link->hello, &err);
    if (link->freed || link->state != LINK_HELLO) {
        reply_ok(reply, NULL); /* the judge ended the link: this frees the reply */
        return;
    }
    if (r < 0) {
        refuse_hello(link, reply, &err);
        return;
    }
    fill_hello(link, &answer);
    reply_ok(reply, &answer);
    if (!link->freed && link->state == LINK_HELLO)
        connected(link);
}

/* Client side. */
static void on_hello_answer(
    void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct link *link = arg;
    struct error err = { 0 };

    if (result < 0) {
        if (result == -EREMOTEIO)
            link->refusal = kind;
        if (link->state < LINK_CLOSING) {
            link_set_reason(link, reason);
            link_begin_closing(link);
        }
        return;
    }
    schema_copy(msg_by_type(MSG_HELLO)->answer, answer, &link->hello);
    link->has_hello = true;
    if (judge_hello(link, &link->hello, &err) < 0) {
        link->refusal = ERROR_SKEW;
        link_set_reason(link, err.text);
        link_begin_closing(link);
        return;
    }
    connected(link);
}

void link_say_hello(void *arg)
{
    struct link *link = arg;
    struct msg_hello hello;
    if (link->state != LINK_HELLO)
        return;
    fill_hello(link, &hello);
    link_call(link, MSG_HELLO, &hello, 0, on_hello_answer, link);
}
