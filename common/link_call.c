/* SPDX-License-Identifier: MIT */
#include "common/link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/link_state.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/strbuf.h"

/* A call of ours that waits for its answer. */
struct call {
    struct list link;
    struct link *owner;
    int64_t id;
    const struct msg_info *info;
    struct timer timer; /* its time-out, or the telling of a failure known at once */
    int early_code;     /* that failure; 0: it was sent */
    link_answer_fn fn;
    void *arg;
};

/* An answer that we owe. */
struct reply {
    struct list link;
    struct link *owner; /* weak: cleared when the link ends */
    int64_t id;
    const struct msg_info *info;
};

/* --- calls --------------------------------------------------------------------------------------------------------- */

static void call_free(struct call *call)
{
    list_remove(&call->link);
    timer_done(&call->timer);
    call->owner->n_calls--;
    free(call);
}

static void call_complete(
    struct call *call, int result, enum error_kind kind, const char *reason, const void *answer)
{
    link_answer_fn fn = call->fn;
    void *arg = call->arg;
    call_free(call);
    if (fn)
        fn(arg, result, kind, reason, answer);
}

static void on_call_timer(void *arg)
{
    struct call *call = arg;
    static const char *const texts[] = { "the connection is closed", "the message is too long",
        "too many calls wait for an answer", "no answer in time" };
    const char *text = call->early_code == -ECONNRESET ? texts[0]
        : call->early_code == -EMSGSIZE                ? texts[1]
        : call->early_code == -EBUSY                   ? texts[2]
                                                       : texts[3];
    call_complete(call, call->early_code ? call->early_code : -ETIMEDOUT, ERROR_NONE, text, NULL);
}

static int send_message(
    struct link *link, enum envelope_kind kind, int64_t id, const struct msg_info *info, const void *m)
{
    struct strbuf body _cleanup_(strbuf_done) = STRBUF_INIT;
    schema_print(info->schema, m, &body);
    return link_send(link,
        &(struct envelope){
            .kind = kind, .id = id, .method = (char *)info->method, .body = (char *)strbuf_str(&body) });
}

int64_t link_call(
    struct link *link, enum msg_type type, const void *m, int64_t timeout_ms, link_answer_fn fn, void *arg)
{
    struct call *call = xcalloc(1, sizeof(*call));
    bool may_send = link->state == LINK_OPEN || (link->state == LINK_HELLO && type == MSG_HELLO);

    call->owner = link;
    call->id = link->next_id++;
    call->info = msg_by_type(type);
    call->fn = fn;
    call->arg = arg;
    assert(call->info && call->info->answer && !link->freed);
    timer_init(&call->timer, link->loop, on_call_timer, call);
    list_append(&link->calls, &call->link);
    link->n_calls++;
    if (!may_send)
        call->early_code = -ECONNRESET;
    else if (link->n_calls > LINK_CALLS_MAX)
        call->early_code = -EBUSY;
    else
        call->early_code = send_message(link, ENVELOPE_CALL, call->id, call->info, m);
    if (call->early_code)
        timer_set(&call->timer, 0);
    else if (timeout_ms > 0)
        timer_set(&call->timer, timeout_ms);
    return call->id;
}

static struct call *find_call(struct link *link, int64_t id)
{
    struct call *call;
    list_for_each (call, &link->calls, link)
        if (call->id == id)
            return call;
    return NULL;
}

void link_cancel(struct link *link, int64_t id)
{
    struct call *call = find_call(link, id);
    if (call)
        call_free(call);
}

void link_notify(struct link *link, enum msg_type type, const void *m)
{
    const struct msg_info *info = msg_by_type(type);
    assert(info && !info->answer);
    if (link->state == LINK_OPEN && send_message(link, ENVELOPE_NOTICE, 0, info, m) < 0)
        log_debug(NULL, "%s: dropped, longer than a frame", info->method);
}

static void take_result(struct call *call, const struct envelope *envelope)
{
    const struct schema *schema = call->info->answer;
    struct error err = { 0 };
    void *answer = xcalloc(1, schema->size ? schema->size : 1);
    int r = schema_read(schema, envelope->body, strlen(envelope->body), answer, &err);

    if (r < 0) {
        error_prefix(&err, "the answer to %s", call->info->method);
        call_complete(call, -EREMOTEIO, ERROR_FIELDS, err.text, NULL);
    } else {
        call_complete(call, 0, ERROR_NONE, NULL, answer);
        schema_clear(schema, answer);
    }
    free(answer);
}

void link_take_answer(struct link *link, const struct envelope *envelope)
{
    struct call *call;

    if (envelope->id == 0) { /* about no call: the peer says why it is going to close, or what it dropped */
        str_set(&link->peer_reason, envelope->message);
        return;
    }
    call = find_call(link, envelope->id);
    if (!call || call->early_code) {
        /* Timed out, cancelled or answered before: nobody waits. A number never used is a mistake. */
        if (envelope->id >= link->next_id)
            link_protocol_error(
                link, ERROR_REQUEST, "an answer to call %" PRId64 ", which was never made", envelope->id);
        return;
    }
    if (envelope->kind == ENVELOPE_RESULT)
        take_result(call, envelope);
    else
        call_complete(call, -EREMOTEIO, (enum error_kind)envelope->code,
            envelope->message ? envelope->message : "", NULL);
}

/* --- replies ------------------------------------------------------------------------------------------------------- */

struct reply *link_reply_new(struct link *link, int64_t id, const struct msg_info *info)
{
    struct reply *reply = xcalloc(1, sizeof(*reply));
    reply->owner = link;
    reply->id = id;
    reply->info = info;
    list_append(&link->replies, &reply->link);
    link->n_replies++;
    return reply;
}

static void reply_free(struct reply *reply)
{
    list_remove(&reply->link);
    if (reply->owner)
        reply->owner->n_replies--;
    free(reply);
}

struct link *reply_link(const struct reply *reply)
{
    return reply->owner;
}

static void send_error(struct link *link, int64_t id, enum error_kind kind, const char *text)
{
    (void)link_send(
        link, &(struct envelope){ .kind = ENVELOPE_ERROR, .id = id, .code = kind, .message = (char *)text });
}

void reply_ok(struct reply *reply, const void *result)
{
    struct strbuf body _cleanup_(strbuf_done) = STRBUF_INIT;
    struct link *link = reply->owner;

    if (link) {
        if (result)
            schema_print(reply->info->answer, result, &body);
        else
            strbuf_adds(&body, "{}");
        if (link_send(link,
                &(struct envelope){ .kind = ENVELOPE_RESULT, .id = reply->id, .body = body.data }) < 0) {
            struct error err = { 0 };
            error_set(&err, -EMSGSIZE,
                "%s: the answer has %zu bytes, at most %d fit; ask for fewer at a time", reply->info->method,
                body.len, FRAME_MAX);
            send_error(link, reply->id, ERROR_INTERNAL, err.text);
        }
    }
    reply_free(reply);
}

void reply_error(struct reply *reply, enum error_kind kind, const char *fmt, ...)
{
    struct error err = { 0 };
    va_list args;

    va_start(args, fmt);
    error_vset(&err, -EREMOTEIO, fmt, args);
    va_end(args);
    if (reply->owner)
        send_error(reply->owner, reply->id, kind, err.text);
    reply_free(reply);
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

/* A call is answered with its id; a mistake in a notice is told with none. */
static void refuse(struct link *link, const struct envelope *e, enum error_kind kind, const char *fmt, ...)
    _printf_(4, 5);

static void refuse(struct link *link, const struct envelope *e, enum error_kind kind, const char *fmt, ...)
{
    struct error err = { 0 };
    va_list args;

    va_start(args, fmt);
    error_vset(&err, -EREMOTEIO, fmt, args);
    va_end(args);
    send_error(link, e->kind == ENVELOPE_CALL ? e->id : 0, kind, err.text);
}

static bool is_allowed(struct link *link, const struct envelope *e, const struct msg_info *info)
{
    const struct peer *peer = &link->peer;

    if (!msg_allowed(info, peer->role)) {
        if (peer->role == ROLE_NONE)
            refuse(link, e, ERROR_DENIED, "%s needs an identity: join first", info->method);
        else
            refuse(link, e, ERROR_DENIED, "%s is not for %s \"%s\"", info->method, role_names[peer->role],
                peer->name ? peer->name : "");
        return false;
    }
    if (peer->expired && info->type != MSG_RENEW && info->type != MSG_PING && info->type != MSG_GOODBYE) {
        refuse(link, e, ERROR_DENIED, "the certificate of %s expired; it may only renew",
            peer->name ? peer->name : "this peer");
        return false;
    }
    return true;
}

static bool id_is_open(struct link *link, int64_t id)
{
    struct reply *reply;
    list_for_each (reply, &link->replies, link)
        if (reply->id == id)
            return true;
    return false;
}

/* The message that envelope names, if it may come here and now in this form. */
static const struct msg_info *admit(struct link *link, const struct envelope *e)
{
    const struct msg_info *info = msg_by_method(e->method);
    bool is_call = e->kind == ENVELOPE_CALL;
    size_t max = link_is_nobody(link) ? LINK_NOBODY_CALLS_MAX : LINK_CALLS_MAX;

    if (is_call && id_is_open(link, e->id)) {
        link_protocol_error(link, ERROR_REQUEST, "%.64s: call %" PRId64 " is open already", e->method, e->id);
        return NULL;
    }
    if (!info) {
        struct strbuf name _cleanup_(strbuf_done) = STRBUF_INIT;
        strbuf_add_printable(&name, e->method, strlen(e->method), 64);
        refuse(link, e, ERROR_METHOD, "there is no \"%s\"", strbuf_str(&name));
    } else if (info->type == MSG_HELLO) {
        refuse(link, e, ERROR_REQUEST, "hello is said once");
    } else if (is_call != (info->answer != NULL)) {
        refuse(link, e, ERROR_REQUEST,
            is_call ? "%s is a notice: it has no id" : "%s is a call: it needs an id", info->method);
    } else if (is_call && link->n_replies >= max) {
        refuse(link, e, ERROR_BUSY, "%zu calls wait for their answers already", max);
    } else if (is_allowed(link, e, info)) {
        return info;
    }
    return NULL;
}

static const struct link_handler *find_handler(struct link *link, enum msg_type type)
{
    for (const struct link_handler *h = link->spec.handlers; h->type != MSG_NONE_; h++)
        if (h->type == type)
            return h;
    return NULL;
}

static void run_handler(struct link *link, const struct envelope *e, const struct msg_info *info,
    const struct link_handler *handler)
{
    void *m = xcalloc(1, info->schema->size ? info->schema->size : 1);
    struct error err = { 0 };
    int r = schema_read(info->schema, e->body, strlen(e->body), m, &err);

    if (r < 0) {
        refuse(link, e, ERROR_FIELDS, "%s", err.text);
    } else {
        struct reply *reply = e->kind == ENVELOPE_CALL ? link_reply_new(link, e->id, info) : NULL;
        if (info->type == MSG_PING)
            reply_ok(reply, NULL);
        else if (info->type == MSG_GOODBYE)
            str_set(&link->peer_reason, ((struct msg_goodbye *)m)->reason);
        if (handler && info->type != MSG_PING)
            handler->fn(link->spec.owner, link, m, reply);
        schema_clear(info->schema, m);
    }
    free(m);
}

void link_take_request(struct link *link, const struct envelope *e)
{
    const struct msg_info *info = admit(link, e);
    if (!info)
        return;
    const struct link_handler *handler = find_handler(link, info->type);
    if (!handler && info->type != MSG_PING && info->type != MSG_GOODBYE) {
        refuse(link, e, ERROR_METHOD, "%s is not understood here", info->method);
        return;
    }
    run_handler(link, e, info, handler);
}

/* --- the end ------------------------------------------------------------------------------------------------------- */

void link_end_calls(struct link *link, bool closed)
{
    struct reply *reply, *next;

    list_for_each_safe (reply, next, &link->replies, link) {
        list_remove(&reply->link);
        reply->owner = NULL;
    }
    link->n_replies = 0;
    while (!list_empty(&link->calls)) {
        struct call *call = list_first(&link->calls, struct call, link);
        if (closed && !link->freed)
            call_complete(call, -ECONNRESET, ERROR_NONE,
                link->peer_reason  ? link->peer_reason
                    : link->reason ? link->reason
                                   : "the connection ended",
                NULL);
        else
            call_free(call);
    }
}
