/* SPDX-License-Identifier: MIT */
#include "common/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/frame.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/stream.h"
#include "common/strv.h"

/* One end of a conversation, and everything that happened to it. */
struct end {
    struct link *link;
    int connected, closed, drained;
    char reason[512];
    int calls;          /* handled */
    struct reply *kept; /* of "status", when keep is set */
    bool keep, close_in_handler, free_in_handler, free_in_closed;
    int check; /* what check_hello returns */
    int answers, result;
    enum error_kind kind;
    char text[512];
};

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
    assert_null(reply);
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

static void settle(struct loop *loop)
{
    for (int i = 0; i < 10000 && loop_turn(loop, 0); i++)
        ;
}

static struct link *link_on(struct loop *loop, struct end *e, int fd, bool is_server, enum role role)
{
    struct link_spec spec;
    spec_of(e, &spec);
    e->link = link_new(loop, stream_adopt(loop, fd, is_server, NULL, NULL, NULL), is_server, &spec);
    if (is_server)
        link_set_peer(
            e->link, &(struct peer){ .role = role, .name = (char *)"ops", .address = (char *)"local" });
    return e->link;
}

struct pair {
    struct loop *loop;
    struct end hub, ctl;
};

static void pair_begin(struct pair *p, enum role role)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p->loop = loop_new_fake();
    link_on(p->loop, &p->hub, fds[0], true, role);
    link_on(p->loop, &p->ctl, fds[1], false, ROLE_HUB);
}

static void pair_start(struct pair *p, enum role role)
{
    pair_begin(p, role);
    settle(p->loop);
    assert_int_equal(p->hub.connected, 1);
    assert_int_equal(p->ctl.connected, 1);
}

static void pair_end(struct pair *p)
{
    link_free(p->hub.link);
    link_free(p->ctl.link);
    settle(p->loop);
    loop_free(p->loop);
}

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
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
static void on_other(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    on_answer(arg, result, kind, reason, NULL);
}

static int64_t ask(struct end *e, const char *target, int64_t timeout_ms)
{
    return link_call(
        e->link, MSG_STATUS, &(struct msg_query){ .target = (char *)target }, timeout_ms, on_answer, e);
}

/* --- both sides are ours -------------------------------------------------------------------------------------- */

static void hello_call_and_answer(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    assert_string_equal(link_hello(p.hub.link)->program, "test");
    assert_true(link_offers(p.ctl.link, "orders/1"));
    assert_false(link_offers(p.ctl.link, "orders/2"));
    assert_int_equal(link_peer(p.ctl.link)->role, ROLE_HUB);

    ask(&p.ctl, "web", 0);
    assert_int_equal(p.ctl.answers, 0); /* never inside link_call */
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, 0);
    assert_string_equal(p.ctl.text, "web");

    ask(&p.ctl, "nothing", 0);
    settle(p.loop);
    assert_int_equal(p.ctl.result, -EREMOTEIO);
    assert_int_equal(p.ctl.kind, ERROR_NOT_FOUND);
    assert_string_equal(p.ctl.text, "there is no nothing");
    pair_end(&p);
}

static void notices_arrive_in_order_without_answer(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    for (int i = 0; i < 200; i++) /* more than a turn's frames */
        link_notify(p.hub.link, MSG_EVENT, &(struct msg_event){ .seq = i + 1, .kind = (char *)"push" });
    settle(p.loop);
    assert_int_equal(p.ctl.calls, 200);
    pair_end(&p);
}

static void a_kept_reply_is_answered_later_and_outlives_its_link(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    ask(&p.ctl, "web", 0);
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 0);
    assert_ptr_equal(reply_link(p.hub.kept), p.hub.link);
    reply_error(p.hub.kept, ERROR_BUSY, "later");
    settle(p.loop);
    assert_string_equal(p.ctl.text, "later");

    ask(&p.ctl, "web", 0);
    settle(p.loop);
    link_free(p.hub.link);
    p.hub.link = NULL;
    assert_null(reply_link(p.hub.kept));
    reply_ok(p.hub.kept, NULL);
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 2);
    assert_int_equal(p.ctl.result, -ECONNRESET);
    assert_int_equal(p.ctl.closed, 1);
    pair_end(&p);
}

static void every_waiting_call_completes_once_on_loss(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    for (int i = 0; i < 5; i++)
        ask(&p.ctl, "web", 0);
    int64_t cancelled = ask(&p.ctl, "web", 0);
    link_cancel(p.ctl.link, cancelled);
    link_cancel(p.ctl.link, cancelled);
    p.hub.keep = false;
    p.hub.free_in_handler = true;
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 5);
    assert_int_equal(p.ctl.closed, 1);
    ask(&p.ctl, "web", 0); /* on a dead link */
    assert_int_equal(p.ctl.answers, 5);
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 6);
    assert_int_equal(p.ctl.result, -ECONNRESET);
    pair_end(&p);
}

static void a_call_times_out_and_its_late_answer_is_ignored(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    ask(&p.ctl, "web", 700);
    loop_advance(p.loop, 699);
    assert_int_equal(p.ctl.answers, 0);
    loop_advance(p.loop, 1);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, -ETIMEDOUT);
    reply_ok(p.hub.kept, NULL);
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.closed, 0);
    pair_end(&p);
}

static void close_says_why_and_flushes(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    for (int i = 0; i < 100; i++)
        link_notify(p.hub.link, MSG_EVENT, &(struct msg_event){ .seq = i + 1, .kind = (char *)"push" });
    link_close(p.hub.link, "the hub is being upgraded");
    assert_int_equal(p.hub.closed, 0);
    settle(p.loop);
    assert_int_equal(p.ctl.calls, 100);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.closed, 1);
    assert_string_equal(p.ctl.reason, "the hub is being upgraded");
    pair_end(&p);
}

static void handlers_may_close_and_free(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.close_in_handler = p.hub.free_in_closed = true;
    ask(&p.ctl, "web", 0);
    ask(&p.ctl, "web", 0);
    settle(p.loop);
    assert_int_equal(p.hub.calls, 1);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.answers, 2);
    pair_end(&p);
    struct pair q = { 0 };
    pair_start(&q, ROLE_ADMIN);
    q.hub.free_in_handler = true;
    ask(&q.ctl, "web", 0);
    settle(q.loop);
    assert_int_equal(q.hub.closed, 0);
    assert_int_equal(q.ctl.closed, 1);
    pair_end(&q);
}

static void heartbeats_keep_an_idle_link(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    loop_advance(p.loop, 3600 * CLOCK_MS_PER_S);
    assert_int_equal(p.hub.closed + p.ctl.closed, 0);
    pair_end(&p);
}

static void roles_decide(void **state)
{
    static const struct {
        enum role role;
        bool expired;
        enum error_kind kind;
        const char *text;
    } rows[] = {
        { ROLE_ADMIN, false, ERROR_NONE, "" },
        { ROLE_DEPLOYER, false, ERROR_NONE, "" },
        { ROLE_VIEWER, false, ERROR_DENIED, "deploy is not for viewer \"ops\"" },
        { ROLE_DRONE, false, ERROR_DENIED, "deploy is not for drone \"ops\"" },
        { ROLE_NONE, false, ERROR_DENIED, "deploy needs an identity: join first" },
        { ROLE_ADMIN, true, ERROR_DENIED, "the certificate of ops expired; it may only renew" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct pair p = { 0 };
        pair_start(&p, rows[i].role);
        link_set_peer(p.hub.link,
            &(struct peer){ .role = rows[i].role, .name = (char *)"ops", .expired = rows[i].expired });
        link_call(p.ctl.link, MSG_DEPLOY,
            &(struct msg_deploy){ .request_id = (char *)"request-1", .target = (char *)"web" }, 0, on_other,
            &p.ctl);
        settle(p.loop);
        assert_int_equal(p.ctl.answers, 1);
        assert_int_equal(p.ctl.kind, rows[i].kind);
        if (rows[i].kind)
            assert_string_equal(p.ctl.text, rows[i].text);
        pair_end(&p);
    }
}

static void a_refused_hello_says_why(void **state)
{
    struct pair p = { 0 };
    p.hub.check = -EACCES;
    pair_begin(&p, ROLE_ADMIN);
    settle(p.loop);
    assert_int_equal(p.hub.connected + p.ctl.connected, 0);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.closed, 1);
    assert_string_equal(p.ctl.reason, "not somebody");
    assert_int_equal(link_refusal(p.ctl.link), ERROR_DENIED);
    pair_end(&p);
}

static void too_many_calls_are_busy(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    for (int i = 0; i < LINK_CALLS_MAX; i++)
        link_call(p.ctl.link, MSG_PING, &(struct msg_empty){ 0 }, 0, NULL, NULL);
    ask(&p.ctl, "web", 0);
    settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, -EBUSY);
    assert_int_equal(p.hub.calls, 0);
    pair_end(&p);
}

static void an_answer_longer_than_a_frame_is_an_error(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    ask(&p.ctl, "web", 0);
    settle(p.loop);
    enum { N = 30 };
    struct status_row rows[N] = { 0 };
    char *big = xcalloc(1, 40001);
    memset(big, 'x', 40000);
    for (int i = 0; i < N; i++)
        rows[i] = (struct status_row){ .service = (char *)"web", .version = (char *)"1.0.0", .summary = big };
    reply_ok(p.hub.kept, &(struct msg_status){ .releases = rows, .n_releases = N });
    settle(p.loop);
    assert_int_equal(p.ctl.kind, ERROR_INTERNAL);
    assert_non_null(strstr(p.ctl.text, "status: the answer has 12"));
    assert_int_equal(p.hub.closed, 0);
    free(big);
    pair_end(&p);
}

static void congestion_is_told_and_ends(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    char *text = xcalloc(1, 8001);
    memset(text, 'x', 8000);
    struct log_line line = { .text = text };
    link_pause(p.ctl.link, true);
    int n = 0;
    while (!link_is_congested(p.hub.link)) {
        link_notify(p.hub.link, MSG_STREAM_LINES, &(struct msg_stream_lines){ .lines = &line, .n_lines = 1 });
        n++;
        settle(p.loop);
        assert_true(n < 10000);
    }
    assert_true(link_output_bytes(p.hub.link) > LINK_OUTPUT_HIGH);
    loop_advance(p.loop, 60 * CLOCK_MS_PER_S); /* silence of a paused link does not count on its side */
    assert_int_equal(p.ctl.closed, 0);
    link_pause(p.ctl.link, false);
    settle(p.loop);
    assert_int_equal(p.ctl.calls, n);
    assert_int_equal(p.hub.drained, 1);
    assert_false(link_is_congested(p.hub.link));
    free(text);
    pair_end(&p);
}

static void a_peer_that_takes_nothing_is_dropped(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    char *text = xcalloc(1, 8001);
    memset(text, 'x', 8000);
    struct log_line line = { .text = text };
    link_pause(p.ctl.link, true);
    for (int i = 0; i < 2000 && p.hub.closed == 0; i++) {
        link_notify(p.hub.link, MSG_STREAM_LINES, &(struct msg_stream_lines){ .lines = &line, .n_lines = 1 });
        settle(p.loop);
    }
    assert_int_equal(p.hub.closed, 1);
    assert_non_null(strstr(p.hub.reason, "too slow"));
    free(text);
    pair_end(&p);
}

/* --- one side is raw bytes --------------------------------------------------------------------------------------- */

#define HELLO                                                                                          \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":1,\"program\":\"x\"," \
    "\"version\":\"1\",\"name\":\"ops\"}}"

static void send_frame(int fd, const char *text, size_t len)
{
    unsigned char header[FRAME_HEADER_LEN];
    frame_header(header, len);
    assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(write(fd, text, len), (ssize_t)len);
}

/* All that came, frame contents separated by newlines. */
static char *read_frames(int fd, bool *ret_eof)
{
    static char raw[1 << 16], text[1 << 16];
    size_t n = 0, at = 0, out = 0, len;
    ssize_t r;
    while ((r = recv(fd, raw + n, sizeof(raw) - n, MSG_DONTWAIT)) > 0)
        n += (size_t)r;
    *ret_eof = r == 0;
    while (frame_peek(raw + at, n - at, FRAME_MAX, &len, NULL) == 1) {
        memcpy(text + out, raw + at + FRAME_HEADER_LEN, len);
        out += len;
        text[out++] = '\n';
        at += FRAME_HEADER_LEN + len;
    }
    text[out] = '\0';
    return text;
}

struct raw_case {
    const char *name;
    bool hello; /* say hello properly first */
    const char *bytes;
    size_t len;         /* of a frame; see raw_bytes */
    bool raw_bytes;     /* bytes are sent as they are, with no header of ours */
    const char *answer; /* part of what comes back */
    bool closes;
};

#define TEXT(s) (s), sizeof(s) - 1
#define CALL(id, method, params) \
    TEXT("{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"" method "\",\"params\":" params "}")

/* clang-format off */
static const struct raw_case raw_cases[] = {
    { "frame too long before hello",  false, TEXT("\0\0\x10\x01"), true,
      "a frame of 4097 bytes; at most 4096 are allowed here", true },
    { "frame too long after hello",   true,  TEXT("\0\x10\0\x01"), true,
      "a frame of 1048577 bytes; at most 1048576 are allowed here", true },
    { "empty frame",                  true,  TEXT("\0\0\0\0"), true, "an empty frame", true },
    { "an HTTP client",               false, TEXT("GET / HTTP/1.1\r\n\r\n"), true, "-32600", true },
    { "not JSON",                     true,  TEXT("hello?"), false, "-32700", true },
    { "not JSON says so",             true,  TEXT("{\"a\":}"), false, "not JSON", true },
    { "id of a broken frame is null", true,  TEXT("{"), false, "\"id\":null", true },
    { "NUL inside",                   true,  TEXT("{\"jsonrpc\":\"2.0\",\"method\":\"a\0b\"}"), false, "-32700", true },
    { "escaped NUL inside",           true,  CALL(2, "status", "{\"target\":\"a\\u0000b\"}"), false, "-32700", true },
    { "too deep",                     true,  TEXT("{\"a\":[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}"), false, "-32700", true },
    { "an array",                     true,  TEXT("[]"), false, "-32600", true },
    { "no version",                   true,  TEXT("{\"id\":2,\"method\":\"ping\"}"), false, "\\\"jsonrpc\\\" must be", true },
    { "id of text",                   true,  TEXT("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"ping\"}"), false, "-32600", true },
    { "not hello first",              false, CALL(1, "status", "{}"), false, "the first message must be a call of hello", true },
    { "hello as a notice",            false, TEXT("{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"params\":{\"protocol\":1}}"), false,
      "the first message must be a call of hello", true },
    { "hello of another protocol",    false, CALL(1, "hello", "{\"protocol\":7,\"program\":\"old\",\"version\":\"1\",\"name\":\"a\"}"), false,
      "old speaks version 7, here it is 1", true },
    { "hello without protocol",       false, CALL(1, "hello", "{\"program\":\"old\",\"version\":\"1\"}"), false, "hello.protocol", true },
    { "hello twice",                  true,  TEXT(HELLO), false, "hello is said once", false },
    { "unknown method",               true,  CALL(2, "make_tea", "{}"), false, "there is no \\\"make_tea\\\"", false },
    { "unknown notice, then ping",    true,  CALL(2, "ping", "{}"), false, "\"id\":2,\"result\":{}", false },
    { "a method of no handler",       true,  CALL(2, "list", "{}"), false, "list is not understood here", false },
    { "a notice as a call",           true,  CALL(2, "goodbye", "{}"), false, "goodbye is a notice", false },
    { "a call as a notice",           true,  TEXT("{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"params\":{}}"), false, "status is a call: it needs an id", false },
    { "wrong type",                   true,  CALL(2, "deploy", "{\"request_id\":\"request-1\",\"target\":\"web\",\"instances\":\"two\"}"), false,
      "deploy.instances: must be a whole number from 0 to 1000, not \\\"two\\\"", false },
    { "out of range",                 true,  CALL(2, "deploy", "{\"request_id\":\"request-1\",\"target\":\"web\",\"instances\":1001}"), false,
      "deploy.instances: must be a whole number from 0 to 1000, not 1001", false },
    { "missing field",                true,  CALL(2, "deploy", "{\"target\":\"web\"}"), false, "deploy.request_id", false },
    { "duplicate key",                true,  CALL(2, "status", "{\"target\":\"a\",\"target\":\"b\"}"), false, "-32", true },
    { "an answer to nothing",         true,  TEXT("{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}"), false,
      "an answer to call 77, which was never made", true },
    { "a good call",                  true,  CALL(2, "status", "{}"), false, "\"id\":2,\"result\":{\"releases\"", false },
};
/* clang-format on */

struct raw {
    struct loop *loop;
    struct end hub;
    int fd;
};

static void raw_start(struct raw *r)
{
    int fds[2];
    *r = (struct raw){ .loop = loop_new_fake() };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    link_on(r->loop, &r->hub, fds[0], true, ROLE_ADMIN);
    r->fd = fds[1];
}

static void raw_end(struct raw *r)
{
    close(r->fd);
    link_free(r->hub.link);
    settle(r->loop);
    loop_free(r->loop);
}

static void raw_hello(struct raw *r)
{
    bool eof;
    send_frame(r->fd, HELLO, sizeof(HELLO) - 1);
    settle(r->loop);
    assert_non_null(strstr(read_frames(r->fd, &eof), "\"id\":1,\"result\""));
    assert_int_equal(r->hub.connected, 1);
}

static void wrong_bytes_are_answered_by_name(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(raw_cases); i++) {
        const struct raw_case *c = &raw_cases[i];
        struct raw r;
        bool eof;
        raw_start(&r);
        if (c->hello)
            raw_hello(&r);
        if (c->raw_bytes)
            assert_int_equal(write(r.fd, c->bytes, c->len), (ssize_t)c->len);
        else
            send_frame(r.fd, c->bytes, c->len);
        settle(r.loop);
        char *text = read_frames(r.fd, &eof);
        if (!strstr(text, c->answer))
            fail_msg("%s: answered %s", c->name, text);
        if (eof != c->closes)
            fail_msg("%s: %s", c->name, eof ? "closed" : "not closed");
        shutdown(r.fd, SHUT_WR);
        settle(r.loop);
        if (r.hub.closed != 1)
            fail_msg("%s: told %d times that it is closed", c->name, r.hub.closed);
        raw_end(&r);
    }
}

static void calls_of_one_id_at_once_are_refused(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    raw_hello(&r);
    r.hub.keep = true;
    send_frame(r.fd, CALL(2, "status", "{}"));
    send_frame(r.fd, CALL(2, "status", "{}"));
    settle(r.loop);
    assert_non_null(strstr(read_frames(r.fd, &eof), "call 2 is open already"));
    assert_true(eof);
    assert_int_equal(r.hub.calls, 1);
    reply_ok(r.hub.kept, NULL);
    raw_end(&r);
}

static void an_answer_given_twice_counts_once(void **state)
{
    struct raw r;
    raw_start(&r);
    raw_hello(&r);
    link_call(r.hub.link, MSG_PING, &(struct msg_empty){ 0 }, 0, on_other, &r.hub);
    settle(r.loop);
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"));
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"no\"}}"));
    settle(r.loop);
    assert_int_equal(r.hub.answers, 1);
    assert_int_equal(r.hub.result, 0);
    assert_int_equal(r.hub.closed, 0);
    raw_end(&r);
}

static void an_answer_of_the_wrong_shape_fails_its_call(void **state)
{
    struct raw r;
    raw_start(&r);
    raw_hello(&r);
    link_call(r.hub.link, MSG_STATUS, &(struct msg_query){ 0 }, 0, on_answer, &r.hub);
    settle(r.loop);
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"releases\":7}}"));
    settle(r.loop);
    assert_int_equal(r.hub.answers, 1);
    assert_int_equal(r.hub.result, -EREMOTEIO);
    assert_non_null(strstr(r.hub.text, "the answer to status: "));
    raw_end(&r);
}

static void bytes_may_come_one_at_a_time(void **state)
{
    struct raw r;
    bool eof;
    unsigned char header[FRAME_HEADER_LEN];
    raw_start(&r);
    frame_header(header, sizeof(HELLO) - 1);
    for (size_t i = 0; i < FRAME_HEADER_LEN + sizeof(HELLO) - 1; i++) {
        const void *byte = i < FRAME_HEADER_LEN ? (const void *)&header[i] : &HELLO[i - FRAME_HEADER_LEN];
        assert_int_equal(write(r.fd, byte, 1), 1);
        settle(r.loop);
    }
    assert_int_equal(r.hub.connected, 1);
    read_frames(r.fd, &eof);
    raw_end(&r);
}

static void hanging_up_mid_frame_is_told_once(void **state)
{
    struct raw r;
    raw_start(&r);
    raw_hello(&r);
    assert_int_equal(write(r.fd, "\0\0\0\x20{\"jso", 9), 9);
    settle(r.loop);
    close(r.fd);
    r.fd = -1;
    settle(r.loop);
    assert_int_equal(r.hub.closed, 1);
    assert_string_equal(r.hub.reason, "the peer closed the connection in the middle of a frame");
    raw_end(&r);
}

static void frames_before_the_end_are_answered(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    raw_hello(&r);
    for (int i = 0; i < 3; i++) {
        char text[128];
        int n = snprintf(
            text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"status\",\"params\":{}}", i + 2);
        send_frame(r.fd, text, (size_t)n);
    }
    shutdown(r.fd, SHUT_WR);
    settle(r.loop);
    assert_int_equal(r.hub.calls, 3);
    assert_non_null(strstr(read_frames(r.fd, &eof), "\"id\":4,\"result\""));
    assert_int_equal(r.hub.closed, 1);
    raw_end(&r);
}

static void no_hello_in_time(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    loop_advance(r.loop, LINK_HELLO_MS - 1);
    assert_int_equal(r.hub.closed, 0);
    loop_advance(r.loop, 1);
    settle(r.loop);
    assert_non_null(strstr(read_frames(r.fd, &eof), "no hello within 10 seconds"));
    loop_advance(r.loop, 60000);
    assert_int_equal(r.hub.closed, 1);
    assert_int_equal(r.hub.connected, 0);
    raw_end(&r);
}

static void a_silent_peer_is_pinged_and_then_closed(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    raw_hello(&r);
    loop_advance(r.loop, LINK_HEARTBEAT_MS);
    assert_non_null(strstr(read_frames(r.fd, &eof), "\"method\":\"ping\""));
    loop_advance(r.loop, LINK_SILENCE_MS - LINK_HEARTBEAT_MS - 1);
    assert_int_equal(r.hub.closed, 0);
    loop_advance(r.loop, 1);
    assert_int_equal(r.hub.closed, 1);
    assert_string_equal(r.hub.reason, "the peer was silent for 15 seconds");
    raw_end(&r);
}

static void half_frames_count_as_life(void **state)
{
    struct raw r;
    raw_start(&r);
    raw_hello(&r);
    assert_int_equal(write(r.fd, "\0\0\0\x20", 4), 4);
    for (int i = 0; i < 10; i++) {
        loop_advance(r.loop, LINK_SILENCE_MS - 1000);
        assert_int_equal(write(r.fd, "{", 1), 1);
        settle(r.loop);
    }
    assert_int_equal(r.hub.closed, 0);
    raw_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_call_and_answer),
        cmocka_unit_test(notices_arrive_in_order_without_answer),
        cmocka_unit_test(a_kept_reply_is_answered_later_and_outlives_its_link),
        cmocka_unit_test(every_waiting_call_completes_once_on_loss),
        cmocka_unit_test(a_call_times_out_and_its_late_answer_is_ignored),
        cmocka_unit_test(close_says_why_and_flushes),
        cmocka_unit_test(handlers_may_close_and_free),
        cmocka_unit_test(heartbeats_keep_an_idle_link),
        cmocka_unit_test(roles_decide),
        cmocka_unit_test(a_refused_hello_says_why),
        cmocka_unit_test(too_many_calls_are_busy),
        cmocka_unit_test(an_answer_longer_than_a_frame_is_an_error),
        cmocka_unit_test(congestion_is_told_and_ends),
        cmocka_unit_test(a_peer_that_takes_nothing_is_dropped),
        cmocka_unit_test(wrong_bytes_are_answered_by_name),
        cmocka_unit_test(calls_of_one_id_at_once_are_refused),
        cmocka_unit_test(an_answer_given_twice_counts_once),
        cmocka_unit_test(an_answer_of_the_wrong_shape_fails_its_call),
        cmocka_unit_test(bytes_may_come_one_at_a_time),
        cmocka_unit_test(hanging_up_mid_frame_is_told_once),
        cmocka_unit_test(frames_before_the_end_are_answered),
        cmocka_unit_test(no_hello_in_time),
        cmocka_unit_test(a_silent_peer_is_pinged_and_then_closed),
        cmocka_unit_test(half_frames_count_as_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
