/* SPDX-License-Identifier: MIT */
#include "tests/fakes/link_end.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/stream.h"

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct end *e = owner;
    e->connected += event == LINK_CONNECTED;
    e->drained += event == LINK_DRAINED;
    if (event == LINK_CLOSED) {
        e->closed++;
        snprintf(e->reason, sizeof(e->reason), "%s", reason);
        if (e->free_in_closed) {
            link_free(link);
            e->link = NULL;
        }
    }
}

static void on_status(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct end *e = owner;
    const struct msg_query *q = m;

    e->calls++;
    if (e->free_in_handler) {
        link_free(link);
        e->link = NULL;
    }
    if (e->close_in_handler)
        link_close(link, "enough");
    if (e->keep) {
        e->kept = reply;
        return;
    }
    if (q->target && strcmp(q->target, "nothing") == 0) {
        reply_error(reply, ERROR_NOT_FOUND, "there is no %s", q->target);
        return;
    }
    struct status_row row = {
        .service = (char *)"web", .version = (char *)"1.0.0", .summary = q->target ? q->target : (char *)"all"
    };
    reply_ok(reply, &(struct msg_status){ .releases = &row, .n_releases = 1 });
}

static void on_deploy(void *owner, struct link *link, const void *m, struct reply *reply)
{
    ((struct end *)owner)->calls++;
    reply_ok(reply, &(struct msg_operation){ .text = (char *)"nothing to do" });
}

static void on_notice(void *owner, struct link *link, const void *m, struct reply *reply)
{
    assert(!reply);
    ((struct end *)owner)->calls++;
}

static const struct link_handler handlers[] = {
    { MSG_STATUS, on_status },
    { MSG_DEPLOY, on_deploy },
    { MSG_EVENT, on_notice },
    { MSG_STREAM_LINES, on_notice },
    { MSG_NONE_, NULL },
};

static int check_hello(void *owner, struct link *link, const struct msg_hello *hello, struct error *err)
{
    struct end *e = owner;
    return e->check ? error_set(err, e->check, "not %s", hello->name) : 0;
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    static char *features[] = { (char *)"orders/1", NULL };
    hello->program = (char *)"test";
    hello->name = (char *)"somebody";
    hello->features = features;
}

static void spec_of(struct end *e, struct link_spec *spec)
{
    *spec = (struct link_spec){ .handlers = handlers,
        .on_event = on_event,
        .owner = e,
        .check_hello = check_hello,
        .fill_hello = fill_hello };
}

void end_settle(struct loop *loop)
{
    for (int i = 0; i < 10000 && loop_turn(loop, 0); i++)
        ;
}

struct link *end_link(struct loop *loop, struct end *e, int fd, bool is_server, enum role role)
{
    struct link_spec spec;
    spec_of(e, &spec);
    e->link = link_new(loop, stream_adopt(loop, fd, is_server, NULL, NULL, NULL), is_server, &spec);
    if (is_server)
        link_set_peer(
            e->link, &(struct peer){ .role = role, .name = (char *)"ops", .address = (char *)"local" });
    return e->link;
}

void end_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct end *e = arg;
    e->answers++;
    e->result = result;
    e->kind = kind;
    snprintf(e->text, sizeof(e->text), "%s", reason ? reason : "");
    if (result == 0 && answer && ((const struct msg_status *)answer)->n_releases == 1)
        snprintf(e->text, sizeof(e->text), "%s", ((const struct msg_status *)answer)->releases[0].summary);
}

/* Of messages whose answer does not matter here. */
void end_answer_other(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    end_answer(arg, result, kind, reason, NULL);
}

int64_t end_ask(struct end *e, const char *target, int64_t timeout_ms)
{
    return link_call(
        e->link, MSG_STATUS, &(struct msg_query){ .target = (char *)target }, timeout_ms, end_answer, e);
}
