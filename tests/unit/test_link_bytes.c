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
#include "common/mem.h"
#include "common/strbuf.h"
#include "tests/fakes/link_end.h"

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
    end_link(r->loop, &r->hub, fds[0], true, ROLE_ADMIN);
    r->fd = fds[1];
}

static void raw_end(struct raw *r)
{
    close(r->fd);
    link_free(r->hub.link);
    end_settle(r->loop);
    loop_free(r->loop);
}

static void raw_hello(struct raw *r)
{
    bool eof;
    send_frame(r->fd, HELLO, sizeof(HELLO) - 1);
    end_settle(r->loop);
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
        end_settle(r.loop);
        char *text = read_frames(r.fd, &eof);
        if (!strstr(text, c->answer))
            fail_msg("%s: answered %s", c->name, text);
        if (eof != c->closes)
            fail_msg("%s: %s", c->name, eof ? "closed" : "not closed");
        shutdown(r.fd, SHUT_WR);
        end_settle(r.loop);
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
    end_settle(r.loop);
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
    link_call(r.hub.link, MSG_PING, &(struct msg_empty){ 0 }, 0, end_answer_other, &r.hub);
    end_settle(r.loop);
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"));
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"no\"}}"));
    end_settle(r.loop);
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
    link_call(r.hub.link, MSG_STATUS, &(struct msg_query){ 0 }, 0, end_answer, &r.hub);
    end_settle(r.loop);
    send_frame(r.fd, TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"releases\":7}}"));
    end_settle(r.loop);
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
        end_settle(r.loop);
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
    end_settle(r.loop);
    close(r.fd);
    r.fd = -1;
    end_settle(r.loop);
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
    end_settle(r.loop);
    assert_int_equal(r.hub.calls, 3);
    assert_non_null(strstr(read_frames(r.fd, &eof), "\"id\":4,\"result\""));
    assert_int_equal(r.hub.closed, 1);
    raw_end(&r);
}

/* As many as a turn takes, or twice that, are no reason to overlook it. */
static void the_end_is_noticed_behind_any_number_of_frames(void **state)
{
    static const char notice[] =
        "{\"jsonrpc\":\"2.0\",\"method\":\"stream_lines\",\"params\":{\"lines\":[]}}";
    for (int n = 60; n <= 200; n++) {
        struct raw r;
        raw_start(&r);
        raw_hello(&r);
        _cleanup_(strbuf_done) struct strbuf all = STRBUF_INIT;
        unsigned char header[FRAME_HEADER_LEN];
        frame_header(header, sizeof(notice) - 1);
        for (int i = 0; i < n; i++) {
            strbuf_add(&all, header, sizeof(header));
            strbuf_add(&all, notice, sizeof(notice) - 1);
        }
        assert_int_equal(write(r.fd, all.data, all.len), (ssize_t)all.len);
        shutdown(r.fd, SHUT_WR);
        end_settle(r.loop);
        if (r.hub.closed != 1 || strcmp(r.hub.reason, "the peer closed the connection") != 0)
            fail_msg("behind %d frames: closed %d, \"%s\"", n, r.hub.closed, r.hub.reason);
        raw_end(&r);
    }
}

static void no_hello_in_time(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    loop_advance(r.loop, LINK_HELLO_MS - 1);
    assert_int_equal(r.hub.closed, 0);
    loop_advance(r.loop, 1);
    end_settle(r.loop);
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

static void nobody_may_send_little_and_not_for_long(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    link_set_peer(r.hub.link, &(struct peer){ .role = ROLE_NONE });
    raw_hello(&r);
    for (int i = 0; i < LINK_NOBODY_MS / 10000; i++) {
        assert_int_equal(r.hub.closed, 0);
        send_frame(r.fd, CALL(2, "ping", "{}"));
        loop_advance(r.loop, 10000);
    }
    end_settle(r.loop);
    assert_non_null(strstr(read_frames(r.fd, &eof), "no identity within 60 seconds"));
    assert_true(eof);
    raw_end(&r);

    raw_start(&r);
    link_set_peer(r.hub.link, &(struct peer){ .role = ROLE_NONE });
    raw_hello(&r);
    assert_int_equal(write(r.fd, "\0\0\x80\x01", 4), 4);
    end_settle(r.loop);
    assert_non_null(
        strstr(read_frames(r.fd, &eof), "a frame of 32769 bytes; at most 32768 are allowed here"));
    raw_end(&r);
}

/* Its own calls still count as life, and our unanswered pings do not pile up. */
static void a_peer_that_answers_no_ping_is_kept(void **state)
{
    struct raw r;
    bool eof;
    raw_start(&r);
    raw_hello(&r);
    for (int i = 0; i < 2000; i++) {
        send_frame(r.fd, CALL(2, "status", "{}"));
        loop_advance(r.loop, 10000);
        read_frames(r.fd, &eof);
    }
    assert_int_equal(r.hub.closed, 0);
    link_call(r.hub.link, MSG_PING, &(struct msg_empty){ 0 }, 100, end_answer_other, &r.hub);
    loop_advance(r.loop, 100);
    assert_int_equal(r.hub.result, -ETIMEDOUT); /* sent: not refused for too many */
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
        end_settle(r.loop);
    }
    assert_int_equal(r.hub.closed, 0);
    raw_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_bytes_are_answered_by_name),
        cmocka_unit_test(calls_of_one_id_at_once_are_refused),
        cmocka_unit_test(an_answer_given_twice_counts_once),
        cmocka_unit_test(an_answer_of_the_wrong_shape_fails_its_call),
        cmocka_unit_test(bytes_may_come_one_at_a_time),
        cmocka_unit_test(hanging_up_mid_frame_is_told_once),
        cmocka_unit_test(frames_before_the_end_are_answered),
        cmocka_unit_test(the_end_is_noticed_behind_any_number_of_frames),
        cmocka_unit_test(no_hello_in_time),
        cmocka_unit_test(a_silent_peer_is_pinged_and_then_closed),
        cmocka_unit_test(half_frames_count_as_life),
        cmocka_unit_test(nobody_may_send_little_and_not_for_long),
        cmocka_unit_test(a_peer_that_answers_no_ping_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
