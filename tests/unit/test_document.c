/* SPDX-License-Identifier: MIT */
#include "common/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/stream.h"

/* A hub that sends and a drone that receives; what reaches the drone is written down. */
struct side {
    struct link *link;
    struct document_sink sink;
    struct reply *kept;
    bool keep;
    int applied, refused, pings_between;
    struct strbuf text;
    int64_t revision;
    int done, result;
    char reason[512];
    int parts;
};

struct world {
    struct loop *loop;
    struct side hub, drone;
};

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
}

static void on_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct side *s = owner;
    struct error err;
    if (document_sink_begin(&s->sink, m, &err) < 0)
        s->refused++;
}

static void on_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct side *s = owner;
    struct error err;
    s->parts++;
    if (document_sink_part(&s->sink, m, &err) < 0)
        s->refused++;
}

static void on_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct side *s = owner;
    struct error err;
    if (document_sink_end(&s->sink, m, &err) < 0) {
        reply_error(reply, ERROR_REFUSED, "%s", err.text);
        return;
    }
    s->applied++;
    s->revision = s->sink.revision;
    strbuf_clear(&s->text);
    strbuf_add(&s->text, s->sink.text.data, s->sink.text.len);
    document_sink_done(&s->sink);
    if (s->keep)
        s->kept = reply;
    else
        reply_ok(reply, NULL);
}

static void on_stream_open(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct side *s = owner;
    s->pings_between = s->parts;
    reply_ok(reply, NULL);
}

static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, on_begin },
    { MSG_DOCUMENT_PART, on_part },
    { MSG_DOCUMENT_END, on_end },
    { MSG_STREAM_OPEN, on_stream_open },
    { MSG_NONE_, NULL },
};

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    hello->program = (char *)"test";
    hello->name = (char *)"app1";
}

static void settle(struct loop *loop)
{
    for (int i = 0; i < 100000 && loop_turn(loop, 0); i++)
        ;
}

static void start(struct world *w)
{
    int fds[2];
    *w = (struct world){ .loop = loop_new_fake() };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct link_spec spec = { .handlers = handlers, .on_event = on_event, .fill_hello = fill_hello };
    spec.owner = &w->hub;
    w->hub.link = link_new(w->loop, stream_adopt(w->loop, fds[0], true, NULL, NULL, NULL), true, &spec);
    link_set_peer(w->hub.link, &(struct peer){ .role = ROLE_DRONE, .name = (char *)"app1" });
    spec.owner = &w->drone;
    w->drone.link = link_new(w->loop, stream_adopt(w->loop, fds[1], false, NULL, NULL, NULL), false, &spec);
    settle(w->loop);
    assert_true(link_is_connected(w->hub.link));
}

static void end(struct world *w)
{
    link_free(w->hub.link);
    link_free(w->drone.link);
    settle(w->loop);
    loop_free(w->loop);
    document_sink_done(&w->drone.sink);
    document_sink_done(&w->hub.sink);
    strbuf_done(&w->drone.text);
    strbuf_done(&w->hub.text);
}

static void on_done(int result, const char *reason, void *arg)
{
    struct side *s = arg;
    s->done++;
    s->result = result;
    snprintf(s->reason, sizeof(s->reason), "%s", reason ? reason : "");
}

/* Text of n bytes with characters of every length, so that parts are cut between them. */
static char *text_of(size_t n)
{
    static const char *const pieces[] = { "a", "ä", "€", "😀", "\\\"" };
    char *text = xcalloc(1, n + 8);
    for (size_t len = 0, i = 0; len < n; i++) {
        const char *piece = n - len < 4 ? "z" : pieces[i % ARRAY_SIZE(pieces)];
        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return text;
}

static void documents_of_every_size_arrive_whole(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 100, 12000, 20000, 30000, DOCUMENT_PART_MAX - 1,
        DOCUMENT_PART_MAX, DOCUMENT_PART_MAX + 1, DOCUMENT_PART_MAX + 20000, 3 * DOCUMENT_PART_MAX, 2000003 };
    struct world w;
    start(&w);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *text = text_of(sizes[i]);
        document_send(w.hub.link, DOCUMENT_ORDERS, (int64_t)i + 5, text, sizes[i], on_done, &w.hub);
        assert_int_equal(w.hub.done, (int)i);
        settle(w.loop);
        assert_int_equal(w.hub.done, (int)i + 1);
        assert_int_equal(w.hub.result, 0);
        assert_int_equal(w.drone.text.len, sizes[i]);
        assert_memory_equal(strbuf_str(&w.drone.text), text, sizes[i]);
        assert_int_equal(w.drone.revision, (int64_t)i + 5);
        free(text);
    }
    assert_int_equal(w.drone.refused, 0);
    end(&w);
}

static void documents_go_one_after_the_other(void **state)
{
    struct world w;
    start(&w);
    for (int i = 0; i < 3; i++) {
        char *text = text_of(200000 + (size_t)i);
        document_send(w.hub.link, DOCUMENT_ORDERS, i, text, 200000 + (size_t)i, on_done, &w.hub);
        free(text);
    }
    w.drone.keep = true;
    settle(w.loop);
    assert_int_equal(w.drone.applied, 1); /* the next waits for the answer */
    for (int i = 0; i < 3; i++) {
        reply_ok(steal_ptr(w.drone.kept), NULL);
        settle(w.loop);
    }
    assert_int_equal(w.drone.applied, 3);
    assert_int_equal(w.hub.done, 3);
    assert_int_equal(w.drone.text.len, 200002);
    end(&w);
}

static void on_nothing(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
}

static void another_message_waits_for_one_part_at_most(void **state)
{
    struct world w;
    start(&w);
    size_t len = 20 * DOCUMENT_PART_MAX;
    char *text = text_of(len);
    document_send(w.hub.link, DOCUMENT_ORDERS, 1, text, len, on_done, &w.hub);
    while (w.drone.parts < 5)
        loop_turn(w.loop, 0);
    int before = w.drone.parts;
    w.drone.pings_between = -1;
    link_call(w.hub.link, MSG_STREAM_OPEN,
        &(struct msg_stream_open){
            .stream = (char *)"0123456789abcdef0123456789abcdef", .service = (char *)"web" },
        0, on_nothing, NULL);
    settle(w.loop);
    assert_int_equal(w.hub.done, 1);
    /* What the socket's own buffer holds is on its way already; our queue adds one part. */
    assert_in_range(w.drone.pings_between, before, before + 6);
    free(text);
    end(&w);
}

static void loss_is_told_once_and_free_not_at_all(void **state)
{
    struct world w;
    start(&w);
    char *text = text_of(1000000);
    document_send(w.hub.link, DOCUMENT_ORDERS, 1, text, 1000000, on_done, &w.hub);
    document_send(w.hub.link, DOCUMENT_ORDERS, 2, text, 1000000, on_done, &w.hub);
    while (w.drone.parts < 3)
        loop_turn(w.loop, 0);
    link_free(w.drone.link);
    w.drone.link = NULL;
    settle(w.loop);
    assert_int_equal(w.hub.done, 2);
    assert_int_equal(w.hub.result, -ECONNRESET);
    end(&w);

    start(&w);
    w.drone.keep = true;
    document_send(w.hub.link, DOCUMENT_ORDERS, 1, "{}", 2, on_done, &w.hub);
    document_send(w.hub.link, DOCUMENT_ORDERS, 2, text, 1000000, on_done, &w.hub);
    settle(w.loop);
    link_free(w.hub.link);
    w.hub.link = NULL;
    settle(w.loop);
    assert_int_equal(w.hub.done, 0);
    reply_ok(w.drone.kept, NULL);
    free(text);
    end(&w);
}

static void too_long_is_refused_before_it_is_sent(void **state)
{
    struct world w;
    start(&w);
    document_send(w.hub.link, DOCUMENT_ORDERS, 1, "x", (size_t)DOCUMENT_SIZE_MAX + 1, on_done, &w.hub);
    assert_int_equal(w.hub.done, 0);
    settle(w.loop);
    assert_int_equal(w.hub.done, 1);
    assert_int_equal(w.hub.result, -EMSGSIZE);
    assert_non_null(strstr(w.hub.reason, "at most 67108864 are allowed"));
    document_send(w.hub.link, DOCUMENT_ORDERS, 1, "{}", 2, on_done, &w.hub);
    settle(w.loop);
    assert_int_equal(w.hub.result, 0);
    end(&w);
}

/* --- the receiving side alone: a peer that cuts wrongly ----------------------------------------------------------- */

#define SUM_OF_AB "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"

struct sink_case {
    const char *name;
    int64_t bytes; /* announced; -1: document_begin is left out */
    const char *parts[3];
    int64_t part_id, end_id;
    const char *sha256;
    const char *refusal; /* part of it; NULL: accepted */
};

/* clang-format off */
static const struct sink_case sink_cases[] = {
    { "right",             2,  { "a", "b", NULL }, 7, 7, SUM_OF_AB, NULL },
    { "one part",          2,  { "ab", NULL },     7, 7, SUM_OF_AB, NULL },
    { "another sum",       2,  { "ba", NULL },     7, 7, SUM_OF_AB, "document_end.sha256: the document has another sum" },
    { "too few bytes",     3,  { "ab", NULL },     7, 7, SUM_OF_AB, "2 bytes came of the 3 that were announced" },
    { "too many bytes",    1,  { "a", "b", NULL }, 7, 7, SUM_OF_AB, "document_part: more than the 1 bytes" },
    { "part of another",   2,  { "ab", NULL },     8, 7, SUM_OF_AB, "document_part.id: document 8 was not begun" },
    { "end of another",    2,  { "ab", NULL },     7, 8, SUM_OF_AB, "document_end.id: document 8 was not begun" },
    { "no beginning",      -1, { "ab", NULL },     7, 7, SUM_OF_AB, "document_part.id: document 7 was not begun" },
    { "end alone",         -1, { NULL },           7, 7, SUM_OF_AB, "document_end.id: document 7 was not begun" },
    { "larger than fits",  (int64_t)DOCUMENT_SIZE_MAX + 1, { "ab", NULL }, 7, 7, SUM_OF_AB, "at most 67108864 are allowed" },
};
/* clang-format on */

static void wrong_documents_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(sink_cases); i++) {
        const struct sink_case *c = &sink_cases[i];
        struct document_sink sink = { .open = false };
        struct error err = { 0 };
        int r = 0;
        if (c->bytes >= 0)
            r = document_sink_begin(&sink,
                &(struct msg_document_begin){ .kind = DOCUMENT_ORDERS, .id = 7, .bytes = c->bytes }, &err);
        for (int k = 0; c->parts[k]; k++)
            r = document_sink_part(
                &sink, &(struct msg_document_part){ .id = c->part_id, .text = (char *)c->parts[k] }, &err);
        err.text[0] = '\0';
        r = document_sink_end(
            &sink, &(struct msg_document_end){ .id = c->end_id, .sha256 = (char *)c->sha256 }, &err);
        if (!c->refusal != (r == 0) || (c->refusal && !strstr(err.text, c->refusal)))
            fail_msg("%s: %d \"%s\"", c->name, r, err.text);
        document_sink_done(&sink);
    }
}

static void a_second_beginning_spoils_the_first(void **state)
{
    struct document_sink sink = { .open = false };
    struct error err = { 0 };
    struct msg_document_begin begin = { .id = 7, .bytes = 2 };
    assert_int_equal(document_sink_begin(&sink, &begin, &err), 0);
    begin.id = 8;
    assert_int_equal(document_sink_begin(&sink, &begin, &err), -EBUSY);
    assert_int_equal(
        document_sink_end(&sink, &(struct msg_document_end){ .id = 8, .sha256 = (char *)SUM_OF_AB }, &err),
        -EBUSY);
    assert_int_equal(document_sink_begin(&sink, &begin, &err), 0);
    document_sink_done(&sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_every_size_arrive_whole),
        cmocka_unit_test(documents_go_one_after_the_other),
        cmocka_unit_test(another_message_waits_for_one_part_at_most),
        cmocka_unit_test(loss_is_told_once_and_free_not_at_all),
        cmocka_unit_test(too_long_is_refused_before_it_is_sent),
        cmocka_unit_test(wrong_documents_are_refused_by_name),
        cmocka_unit_test(a_second_beginning_spoils_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
