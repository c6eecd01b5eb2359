/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/mem.h"

struct address_case {
    const char *text;
    int default_port;
    int result;
    const char *is; /* as text, or part of the refusal */
};

/* clang-format off */
static const struct address_case addresses[] = {
    { "10.0.0.5:80",            0,    0,             "10.0.0.5:80" },
    { "10.0.0.5",               7000, 0,             "10.0.0.5:7000" },
    { "10.0.0.5:80",            7000, 0,             "10.0.0.5:80" },
    { "127.0.0.1:0",            0,    0,             "127.0.0.1:0" },
    { "[::1]:80",               0,    0,             "[::1]:80" },
    { "[::1]",                  7000, 0,             "[::1]:7000" },
    { "::1",                    7000, 0,             "[::1]:7000" },
    { "[::ffff:10.0.0.5]:80",   0,    0,             "10.0.0.5:80" },
    { "*:80",                   0,    0,             "[::]:80" },
    { "unix:/run/x.sock",       0,    0,             "local" },
    { "/run/x.sock",            0,    0,             "local" },
    { "10.0.0.5",               0,    -EINVAL,       "there is no port" },
    { "10.0.0.5:",              7000, -EINVAL,       "a port from 0 to 65535 must follow" },
    { "10.0.0.5:65536",         0,    -EINVAL,       "above 65535" },
    { "10.0.0.5:655360",        0,    -EINVAL,       "a port from 0 to 65535 must follow" },
    { "10.0.0.5:+80",           0,    -EINVAL,       "a port from 0 to 65535 must follow" },
    { "10.0.0.5:80 ",           0,    -EINVAL,       "a port from 0 to 65535 must follow" },
    { ":80",                    0,    -EINVAL,       "there is no host" },
    { "",                       7000, -EINVAL,       "there is no host" },
    { "[::1",                   7000, -EINVAL,       "after \"[\" comes an IPv6 address" },
    { "[::1]80",                7000, -EINVAL,       "after \"[\" comes an IPv6 address" },
    { "hub1:7000",              0,    -EDESTADDRREQ, "\"hub1\" is a name, not an address such as 10.0.0.5:80" },
    { "10.0.0.256:80",          0,    -EDESTADDRREQ, "is a name" },
    { "010.0.0.1:80",           0,    -EDESTADDRREQ, "is a name" },
    { "unix:run/x.sock",        0,    -EINVAL,       "must begin with /" },
    { "unix:",                  0,    -EINVAL,       "must begin with /" },
};
/* clang-format on */

static void addresses_are_parsed_strictly(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        const struct address_case *c = &addresses[i];
        struct wire_address address;
        struct error err = { 0 };
        char text[WIRE_ADDRESS_TEXT_MAX];
        int r = wire_address_parse(c->text, c->default_port, &address, &err);
        if (r != c->result)
            fail_msg("%s: %d %s", c->text, r, err.text);
        if (r < 0 ? !strstr(err.text, c->is) : strcmp(wire_address_text(&address, text), c->is) != 0)
            fail_msg("%s: %s", c->text, r < 0 ? err.text : text);
    }
    char path[200] = "/";
    memset(path + 1, 'x', sizeof(path) - 2);
    struct wire_address address;
    struct error err;
    assert_int_equal(wire_address_parse(path, 0, &address, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "at most 107 bytes"));
}

/* --- events ------------------------------------------------------------------------------------------------------- */

struct owner {
    struct wire wire;
    unsigned seen;
    int calls;
    size_t got;
    ssize_t last;
    bool read, close;
};

static void on_wire(struct wire *wire, unsigned events)
{
    struct owner *o = container_of(wire, struct owner, wire);
    char buf[1000];

    o->calls++;
    o->seen |= events;
    while (o->read && (o->last = wire_read(wire, buf, sizeof(buf))) > 0)
        o->got += (size_t)o->last;
    if (o->close)
        wire_close(wire);
}

static void settle(struct loop *loop)
{
    for (int i = 0; i < 1000 && loop_turn(loop, 0); i++)
        ;
}

static void start(struct loop **loop, struct owner *a, struct owner *b)
{
    int fds[2];
    *loop = loop_new_fake();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    wire_init(&a->wire, on_wire);
    wire_init(&b->wire, on_wire);
    wire_adopt(&a->wire, *loop, fds[0]);
    wire_adopt(&b->wire, *loop, fds[1]);
    settle(*loop);
}

static void end(struct loop *loop, struct owner *a, struct owner *b)
{
    wire_close(&a->wire);
    wire_close(&b->wire);
    wire_close(&b->wire);
    loop_free(loop);
}

static void readiness_waits_in_the_wire(void **state)
{
    struct loop *loop;
    struct owner a = { 0 }, b = { 0 };
    char buf[100];

    start(&loop, &a, &b);
    assert_int_equal(a.seen, WIRE_WRITABLE);
    assert_int_equal(wire_read(&b.wire, buf, sizeof(buf)), -EAGAIN);
    assert_int_equal(wire_write(&a.wire, "hello", 5), 5);
    settle(loop);
    int calls = b.calls;
    assert_true(b.seen & WIRE_READABLE);
    settle(loop); /* not read: nothing more is told, and nothing is lost */
    assert_int_equal(b.calls, calls);
    wire_again(&b.wire);
    wire_again(&b.wire);
    settle(loop);
    assert_int_equal(b.calls, calls + 1);
    assert_int_equal(wire_read(&b.wire, buf, sizeof(buf)), 5);
    assert_int_equal(wire_read(&b.wire, buf, sizeof(buf)), -EAGAIN);
    assert_int_equal(
        wire_writev(&a.wire, (struct iovec[]){ { (void *)"ab", 2 }, { (void *)"cd", 2 } }, 2), 4);
    settle(loop);
    assert_int_equal(wire_read(&b.wire, buf, 3), 3);
    assert_memory_equal(buf, "abc", 3);
    assert_int_equal(wire_read(&b.wire, buf, 3), 1);
    end(loop, &a, &b);
}

static void half_close_leaves_the_other_half(void **state)
{
    struct loop *loop;
    struct owner a = { .read = true }, b = { .read = true };

    start(&loop, &a, &b);
    assert_int_equal(wire_write(&a.wire, "last", 4), 4);
    wire_shutdown_write(&a.wire);
    settle(loop);
    assert_int_equal(b.got, 4);
    assert_int_equal(b.last, 0);
    assert_true(b.seen & WIRE_CLOSED);
    assert_int_equal(wire_write(&b.wire, "answer", 6), 6);
    settle(loop);
    assert_int_equal(a.got, 6);
    end(loop, &a, &b);
}

static void a_full_socket_says_when_it_has_room(void **state)
{
    struct loop *loop;
    struct owner a = { 0 }, b = { 0 };
    static char data[65536];
    size_t sent = 0;
    ssize_t n;

    start(&loop, &a, &b);
    while ((n = wire_write(&a.wire, data, sizeof(data))) > 0)
        sent += (size_t)n;
    assert_int_equal(n, -EAGAIN);
    a.seen = 0;
    settle(loop);
    assert_false(a.seen & WIRE_WRITABLE);
    b.read = true;
    wire_again(&b.wire);
    settle(loop);
    assert_true(a.seen & WIRE_WRITABLE);
    assert_int_equal(b.got, sent);
    end(loop, &a, &b);
}

static void closed_inside_its_event(void **state)
{
    struct loop *loop;
    struct owner a = { 0 }, b = { .close = true };
    char c;

    start(&loop, &a, &b);
    settle(loop);
    assert_int_equal(b.calls, 1);
    assert_false(wire_is_open(&b.wire));
    assert_int_equal(wire_read(&b.wire, &c, 1), -ENOTCONN);
    assert_int_equal(wire_write(&b.wire, "x", 1), -ENOTCONN);
    wire_shutdown_write(&b.wire);
    a.read = true;
    wire_again(&a.wire);
    settle(loop);
    assert_int_equal(a.last, 0);
    assert_int_equal(wire_write(&a.wire, "x", 1), -EPIPE); /* and no SIGPIPE */
    end(loop, &a, &b);
}

static void pipes_end_too(void **state)
{
    struct loop *loop = loop_new_fake();
    struct owner r = { .read = true }, w = { 0 };
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    wire_init(&r.wire, on_wire);
    wire_init(&w.wire, on_wire);
    wire_adopt(&r.wire, loop, fds[0]);
    wire_adopt(&w.wire, loop, fds[1]);
    settle(loop);
    assert_int_equal(wire_write(&w.wire, "bytes", 5), 5);
    wire_close(&w.wire);
    settle(loop);
    assert_int_equal(r.got, 5);
    assert_int_equal(r.last, 0);
    end(loop, &r, &w);
}

static void connecting_is_told_never_at_once(void **state)
{
    struct loop *loop = loop_new();
    struct owner o = { 0 };
    struct wire_address to;
    struct error err;
    char text[64];
    int listener;

    assert_int_equal(wire_listen("127.0.0.1:0", 0, &listener, &err), 0);
    snprintf(text, sizeof(text), "127.0.0.1:%d", wire_local_port(listener));
    assert_int_equal(wire_address_parse(text, 0, &to, &err), 0);
    wire_init(&o.wire, on_wire);
    assert_int_equal(wire_connect(&o.wire, loop, &to), 0);
    assert_int_equal(o.calls, 0);
    assert_int_equal(wire_write(&o.wire, "x", 1), -EAGAIN);
    for (int i = 0; i < 100 && !o.seen; i++)
        loop_turn(loop, 20);
    assert_int_equal(o.seen, WIRE_CONNECTED | WIRE_WRITABLE);
    wire_close(&o.wire);
    close(listener);

    o = (struct owner){ 0 };
    wire_init(&o.wire, on_wire);
    if (wire_connect(&o.wire, loop, &to) == 0) {
        for (int i = 0; i < 100 && !o.seen; i++)
            loop_turn(loop, 20);
        assert_int_equal(o.seen, WIRE_CLOSED);
        assert_int_equal(o.wire.error, -ECONNREFUSED);
        wire_failure(&o.wire, o.wire.error, &err);
        assert_string_equal(err.text, "connection refused");
    }
    wire_close(&o.wire);
    loop_free(loop);
}

/* --- connections of TCP -------------------------------------------------------------------------------------------- */

static void connect_pair(int *ret_client, int *ret_server)
{
    struct wire_address to;
    struct error err;
    char text[64];
    int listener;

    assert_int_equal(wire_listen("127.0.0.1:0", 0, &listener, &err), 0);
    snprintf(text, sizeof(text), "127.0.0.1:%d", wire_local_port(listener));
    assert_int_equal(wire_address_parse(text, 0, &to, &err), 0);
    *ret_client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*ret_client, (struct sockaddr *)&to.sa, to.len), 0);
    do
        *ret_server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (*ret_server < 0 && errno == EAGAIN);
    assert_true(*ret_server >= 0);
    close(listener);
}

static void turn_until(struct loop *loop, const struct owner *o, unsigned events)
{
    for (int i = 0; i < 100 && (o->seen & events) != events; i++)
        loop_turn(loop, 20);
}

/* One edge tells of both, and a read that does not fill the buffer must not be taken for the last one. */
static void a_reset_that_comes_with_bytes_is_seen(void **state)
{
    struct loop *loop = loop_new();
    struct owner o = { .read = true };
    int client, server;

    connect_pair(&client, &server);
    assert_int_equal(send(client, "last", 4, 0), 4);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(client);
    wire_init(&o.wire, on_wire);
    wire_adopt_accepted(&o.wire, loop, server);
    turn_until(loop, &o, WIRE_READABLE);
    assert_int_equal(o.last, -ECONNRESET);
    wire_close(&o.wire);
    loop_free(loop);
}

static void a_silent_peer_is_asked_for_life(void **state)
{
    struct loop *loop = loop_new();
    struct owner o = { 0 };
    int client, server, on = 0, after = 0;
    socklen_t len = sizeof(int);

    connect_pair(&client, &server);
    wire_init(&o.wire, on_wire);
    wire_adopt_accepted(&o.wire, loop, server);
    wire_keep_asking(&o.wire, 7);
    assert_int_equal(getsockopt(server, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_int_equal(getsockopt(server, IPPROTO_TCP, TCP_KEEPIDLE, &after, &len), 0);
    assert_true(on);
    assert_int_equal(after, 7);
    wire_close(&o.wire);
    close(client);
    loop_free(loop);
}

static void a_lazy_wire_is_told_of_what_it_waits_for(void **state)
{
    struct loop *loop = loop_new();
    struct owner o = { 0 };
    char buf[10];
    int client, server;

    connect_pair(&client, &server);
    assert_int_equal(send(client, "abc", 3, 0), 3);
    wire_init(&o.wire, on_wire);
    wire_adopt_lazily(&o.wire, loop, server);
    assert_true(o.wire.unwatched);
    assert_int_equal(wire_read(&o.wire, buf, sizeof(buf)), 3);
    assert_int_equal(wire_write(&o.wire, "answer", 6), 6);
    assert_true(o.wire.unwatched); /* nothing had to wait */
    assert_int_equal(wire_read(&o.wire, buf, sizeof(buf)), -EAGAIN);
    assert_false(o.wire.unwatched);
    assert_int_equal(send(client, "d", 1, 0), 1);
    turn_until(loop, &o, WIRE_READABLE);
    assert_int_equal(wire_read(&o.wire, buf, sizeof(buf)), 1);
    wire_close(&o.wire);
    close(client);
    loop_free(loop);
}

static void a_lazy_wire_is_watched_after_a_while(void **state)
{
    struct loop *loop = loop_new();
    struct owner o = { 0 };
    int client, server;

    connect_pair(&client, &server);
    wire_init(&o.wire, on_wire);
    wire_adopt_lazily(&o.wire, loop, server);
    close(client);
    turn_until(loop, &o, WIRE_CLOSED);
    assert_true(o.seen & WIRE_CLOSED);
    wire_close(&o.wire);
    /* Closed before that, it is forgotten. */
    connect_pair(&client, &server);
    wire_init(&o.wire, on_wire);
    wire_adopt_lazily(&o.wire, loop, server);
    o.calls = 0;
    wire_close(&o.wire);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 2 * LOOP_LATE_MS);
    assert_int_equal(o.calls, 0);
    close(client);
    loop_free(loop);
}

static void a_moved_wire_goes_on_elsewhere(void **state)
{
    struct loop *loop;
    struct owner a = { 0 }, b = { 0 }, c = { .read = true };

    start(&loop, &a, &b);
    wire_init(&c.wire, on_wire);
    b.calls = 0;
    wire_move(&b.wire, &c.wire);
    assert_false(wire_is_open(&b.wire));
    assert_int_equal(wire_write(&a.wire, "hello", 5), 5);
    settle(loop);
    assert_int_equal(b.calls, 0);
    assert_int_equal(c.got, 5);
    wire_close(&c.wire);
    end(loop, &a, &b);
}

/* --- pipes between wires --------------------------------------------------------------------------------------------- */

static void bytes_go_through_a_pipe(void **state)
{
    struct loop *loop;
    struct owner a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    struct loop *other;
    int fds[2];
    char buf[100];

    start(&loop, &a, &b);
    start(&other, &c, &d);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(wire_splice_in(&b.wire, fds[1], 100), -EAGAIN);
    assert_int_equal(wire_write(&a.wire, "hello", 5), 5);
    settle(loop);
    assert_false(wire_is_quiet(&b.wire));
    assert_int_equal(wire_splice_in(&b.wire, fds[1], 100), 5);
    assert_true(b.wire.readable);        /* nobody knows whether that was all … */
    assert_true(wire_is_quiet(&b.wire)); /* … but who asks */
    assert_int_equal(wire_splice_out(&c.wire, fds[0], 5), 5);
    settle(other);
    assert_int_equal(wire_read(&d.wire, buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "hello", 5);
    wire_close(&a.wire);
    settle(loop);
    assert_false(wire_is_quiet(&b.wire));
    assert_int_equal(wire_splice_in(&b.wire, fds[1], 100), 0);
    close(fds[0]);
    close(fds[1]);
    end(loop, &a, &b);
    end(other, &c, &d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_parsed_strictly),
        cmocka_unit_test(readiness_waits_in_the_wire),
        cmocka_unit_test(half_close_leaves_the_other_half),
        cmocka_unit_test(a_full_socket_says_when_it_has_room),
        cmocka_unit_test(closed_inside_its_event),
        cmocka_unit_test(pipes_end_too),
        cmocka_unit_test(connecting_is_told_never_at_once),
        cmocka_unit_test(a_reset_that_comes_with_bytes_is_seen),
        cmocka_unit_test(a_silent_peer_is_asked_for_life),
        cmocka_unit_test(a_lazy_wire_is_told_of_what_it_waits_for),
        cmocka_unit_test(a_lazy_wire_is_watched_after_a_while),
        cmocka_unit_test(a_moved_wire_goes_on_elsewhere),
        cmocka_unit_test(bytes_go_through_a_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
