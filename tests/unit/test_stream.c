/* SPDX-License-Identifier: MIT */
#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"

/* What happened, one letter an event, and how the owner behaves. */
struct owner {
    struct stream *stream;
    char trace[128];
    size_t got;
    char error[256];
    bool keep_data, pause_at_data, close_at_eof, free_at_error, free_at_data;
};

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    static const char letters[] =
        "CTDLE!XZ"; /* in the order of enum stream_event: ! is TIMEOUT, X is ERROR */
    struct owner *o = arg;
    size_t n = strlen(o->trace), len;

    if (n < sizeof(o->trace) - 1 && !(event == STREAM_DATA && n > 0 && o->trace[n - 1] == 'D'))
        o->trace[n] = letters[event];
    if (event == STREAM_DATA) {
        stream_data(stream, &len);
        if (!o->keep_data) {
            o->got += len;
            stream_consume(stream, len);
        }
    }
    if (event == STREAM_DATA && o->pause_at_data)
        stream_pause(stream, true);
    if (event == STREAM_EOF && o->close_at_eof)
        stream_close(stream);
    if (event == STREAM_ERROR)
        snprintf(o->error, sizeof(o->error), "%s", stream_error(stream));
    if ((event == STREAM_ERROR && o->free_at_error) || (event == STREAM_DATA && o->free_at_data)) {
        stream_free(stream);
        o->stream = NULL;
    }
}

static void settle(struct loop *loop)
{
    for (int i = 0; i < 100000 && loop_turn(loop, 0); i++)
        ;
}

struct pair {
    struct loop *loop;
    struct owner a, b;
};

static void pair_start(struct pair *p, const struct stream_options *options)
{
    int fds[2];
    p->loop = loop_new_fake();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p->a.stream = stream_adopt(p->loop, fds[0], true, options, on_stream, &p->a);
    p->b.stream = stream_adopt(p->loop, fds[1], false, options, on_stream, &p->b);
}

static void pair_end(struct pair *p)
{
    stream_free(p->a.stream);
    stream_free(p->b.stream);
    settle(p->loop);
    loop_free(p->loop);
}

static void bytes_and_ends_go_both_ways(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, NULL);
    stream_write(p.a.stream, "hello", 5);
    assert_string_equal(p.b.trace, "");
    settle(p.loop);
    assert_string_equal(p.b.trace, "D");
    stream_end(p.a.stream);
    stream_write(p.a.stream, "ignored", 7);
    settle(p.loop);
    assert_string_equal(p.b.trace, "DE");
    assert_true(stream_is_eof(p.b.stream));
    stream_write(p.b.stream, "answer", 6); /* half closed: our direction is open */
    settle(p.loop);
    assert_string_equal(p.a.trace, "D");
    assert_int_equal(p.a.got, 6);
    stream_end(p.b.stream);
    settle(p.loop);
    assert_string_equal(p.a.trace, "DEZ");
    assert_string_equal(p.b.trace, "DEZ");
    pair_end(&p);
}

static void back_pressure_stops_the_reader_and_tells_the_writer(void **state)
{
    struct pair p = { 0 };
    struct stream_options options = { .read_max = 10000, .write_high = 50000, .write_low = 10000 };
    enum { N = 2000000 };
    char *data = xcalloc(1, N);
    pair_start(&p, &options);
    p.b.keep_data = true;
    stream_write(p.a.stream, data, N);
    assert_true(stream_is_congested(p.a.stream));
    settle(p.loop);
    size_t len;
    stream_data(p.b.stream, &len);
    assert_int_equal(len, 10000);
    assert_true(stream_queued(p.a.stream) > 1000000); /* the kernel holds the rest */
    assert_string_equal(p.a.trace, "");
    p.b.keep_data = false;
    p.b.got = 10000;
    stream_consume(p.b.stream, 10000);
    settle(p.loop);
    assert_int_equal(p.b.got, N);
    assert_string_equal(p.a.trace, "L");
    assert_false(stream_is_congested(p.a.stream));
    free(data);
    pair_end(&p);
}

static void a_pause_holds_data_and_end_back(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, NULL);
    p.b.keep_data = true;
    stream_write(p.a.stream, "one", 3);
    settle(p.loop);
    stream_pause(p.b.stream, true);
    stream_write(p.a.stream, "two", 3);
    stream_end(p.a.stream);
    settle(p.loop);
    assert_string_equal(p.b.trace, "D");
    p.b.keep_data = false;
    stream_pause(p.b.stream, false);
    settle(p.loop);
    assert_string_equal(p.b.trace, "DE");
    assert_int_equal(p.b.got, 6);
    pair_end(&p);
}

/* The last bytes and the end are read in one go, and the owner pauses at the bytes. */
static void a_pause_at_the_last_bytes_puts_the_end_off(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, NULL);
    p.b.pause_at_data = true;
    stream_write(p.a.stream, "last", 4);
    stream_end(p.a.stream);
    settle(p.loop);
    assert_int_equal(p.b.got, 4);
    assert_string_equal(p.b.trace, "D");
    stream_pause(p.b.stream, false);
    settle(p.loop);
    assert_string_equal(p.b.trace, "DE");
    pair_end(&p);
}

static void a_new_owner_hears_of_what_lies_there(void **state)
{
    struct pair p = { 0 };
    struct owner next = { .close_at_eof = true };
    pair_start(&p, NULL);
    p.b.keep_data = true;
    stream_write(p.a.stream, "GET / HTTP/1.1\r\n", 16);
    stream_end(p.a.stream);
    settle(p.loop);
    assert_string_equal(p.b.trace, "DE");
    stream_set_owner(p.b.stream, on_stream, &next);
    settle(p.loop);
    assert_string_equal(next.trace, "DEZ");
    assert_int_equal(next.got, 16);
    assert_string_equal(p.b.trace, "DE");
    pair_end(&p);
}

static void close_sends_what_is_queued(void **state)
{
    struct pair p = { 0 };
    enum { N = 3000000 };
    char *data = xcalloc(1, N);
    pair_start(&p, NULL);
    p.b.close_at_eof = true;
    stream_write(p.a.stream, data, N);
    stream_write(p.b.stream, "never read, and no reset for it", 31);
    stream_close(p.a.stream);
    stream_close(p.a.stream);
    assert_string_equal(p.a.trace, "");
    settle(p.loop);
    assert_int_equal(p.b.got, N);
    assert_string_equal(p.a.trace, "Z");
    assert_string_equal(p.b.trace, "DEZ");
    free(data);
    pair_end(&p);
}

static void close_waits_for_a_stuck_peer_only_so_long(void **state)
{
    struct pair p = { 0 };
    enum { N = 3000000 };
    char *data = xcalloc(1, N);
    pair_start(&p, NULL);
    stream_pause(p.b.stream, true);
    stream_write(p.a.stream, data, N);
    stream_close(p.a.stream);
    loop_advance(p.loop, STREAM_CLOSE_MS - 1);
    assert_string_equal(p.a.trace, "");
    loop_advance(p.loop, 1);
    assert_string_equal(p.a.trace, "Z");
    free(data);
    pair_end(&p);
}

static void close_waits_for_a_slow_peer_as_long_as_it_takes_something(void **state)
{
    struct pair p = { 0 };
    enum { N = 3000000 };
    char *data = xcalloc(1, N);
    pair_start(&p, NULL);
    stream_write(p.a.stream, data, N);
    stream_pause(p.b.stream, true);
    stream_close(p.a.stream);
    p.b.pause_at_data = true;
    for (int i = 0; i < 1000 && p.b.got < N; i++) {
        loop_advance(p.loop, STREAM_CLOSE_MS / 8);
        stream_pause(p.b.stream, false);
        settle(p.loop);
    }
    assert_int_equal(p.b.got, N);
    free(data);
    pair_end(&p);
}

static void the_peer_vanishing_is_an_error_or_an_end(void **state)
{
    struct pair p = { 0 };
    enum { N = 1000000 };
    char *data = xcalloc(1, N);
    pair_start(&p, NULL);
    stream_pause(p.b.stream, true);
    stream_write(p.a.stream, data, N);
    settle(p.loop);
    stream_free(p.b.stream); /* with bytes unread: a reset */
    p.b.stream = NULL;
    settle(p.loop);
    assert_non_null(strstr(p.a.trace, "XZ"));
    assert_true(stream_error_code(p.a.stream) == -EPIPE || stream_error_code(p.a.stream) == -ECONNRESET);
    free(data);
    pair_end(&p);
}

static void the_deadline_is_the_owners(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, NULL);
    stream_set_deadline(p.a.stream, 100);
    loop_advance(p.loop, 99);
    stream_set_deadline(p.a.stream, 100);
    loop_advance(p.loop, 99);
    assert_string_equal(p.a.trace, "");
    loop_advance(p.loop, 1);
    assert_string_equal(p.a.trace, "!");
    stream_write(p.a.stream, "still open", 10);
    stream_set_deadline(p.a.stream, 100);
    stream_set_deadline(p.a.stream, 0);
    loop_advance(p.loop, 1000);
    assert_string_equal(p.a.trace, "!");
    assert_int_equal(p.b.got, 10);
    pair_end(&p);
}

static void freeing_inside_an_event_ends_events(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, NULL);
    p.b.free_at_data = true;
    stream_write(p.a.stream, "x", 1);
    stream_end(p.a.stream);
    settle(p.loop);
    assert_string_equal(p.b.trace, "D");
    pair_end(&p);
}

/* --- connecting and listening ------------------------------------------------------------------------------------ */

struct server {
    struct loop *loop;
    struct stream_listener *listener;
    int port;
    int accepts;
    struct owner owner;
};

static void on_accept(void *arg, struct stream *stream)
{
    struct server *s = arg;
    s->accepts++;
    stream_free(s->owner.stream);
    s->owner.stream = stream;
    s->owner.close_at_eof = true;
    stream_set_owner(stream, on_stream, &s->owner);
}

static void server_start(struct server *s, struct loop *loop, const char *address)
{
    struct error err;
    int fd;
    *s = (struct server){ .loop = loop };
    if (wire_listen(address, 0, &fd, &err) < 0)
        fail_msg("%s", err.text);
    s->port = wire_local_port(fd);
    s->listener = stream_listener_new(loop, fd, NULL, on_accept, s);
}

static void server_end(struct server *s)
{
    stream_listener_free(s->listener);
    stream_free(s->owner.stream);
}

/* Real sockets and processes take real time. */
static void wait_for(struct loop *loop, const struct owner *o, char letter)
{
    for (int i = 0; i < 500 && !strchr(o->trace, letter); i++)
        loop_turn(loop, 20);
    if (!strchr(o->trace, letter))
        fail_msg("waited for %c, got \"%s\" %s", letter, o->trace, o->error);
}

static void connects_by_address_and_by_name(void **state)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct loop *loop = loop_new();
        struct server server;
        struct owner o = { 0 };
        char address[64], peer[WIRE_ADDRESS_TEXT_MAX];
        server_start(&server, loop, "127.0.0.1:0");
        snprintf(address, sizeof(address), "%s:%d", hosts[i], server.port);
        o.stream = stream_connect(loop, address, NULL, on_stream, &o);
        stream_write(o.stream, "early", 5); /* queued until it stands */
        assert_string_equal(o.trace, "");
        wait_for(loop, &o, 'C');
        wait_for(loop, &server.owner, 'D');
        assert_int_equal(server.owner.got, 5);
        snprintf(peer, sizeof(peer), "127.0.0.1:%d", server.port);
        assert_string_equal(stream_peer(o.stream), peer);
        assert_string_equal(stream_local(o.stream), stream_peer(server.owner.stream));
        uid_t uid;
        gid_t gid;
        assert_int_equal(stream_credentials(o.stream, &uid, &gid), -ENOTSUP);
        stream_close(o.stream);
        wait_for(loop, &o, 'Z');
        stream_free(o.stream);
        server_end(&server);
        loop_free(loop);
    }
}

static void unix_sockets_bring_credentials(void **state)
{
    struct loop *loop = loop_new();
    struct server server, second;
    struct owner o = { 0 };
    char dir[] = "/tmp/test_stream_XXXXXX", path[64];
    uid_t uid;
    gid_t gid;
    struct error err;
    int fd;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "unix:%s/hub.sock", dir);
    server_start(&server, loop, path);
    assert_int_equal(wire_listen(path, 0, &fd, &err), -EADDRINUSE);
    o.stream = stream_connect(loop, path, NULL, on_stream, &o);
    wait_for(loop, &o, 'C');
    for (int i = 0; i < 100 && !server.owner.stream; i++)
        loop_turn(loop, 20);
    assert_int_equal(stream_credentials(server.owner.stream, &uid, &gid), 0);
    assert_int_equal(uid, getuid());
    assert_int_equal(gid, getgid());
    assert_string_equal(stream_peer(server.owner.stream), "local");
    stream_free(o.stream);
    server_end(&server);
    server_start(&second, loop, path); /* the file of the first one is stale now */
    server_end(&second);
    unlink(path + 5);
    rmdir(dir);
    loop_free(loop);
}

struct refusal {
    const char *address, *error;
};

static void what_cannot_be_reached_says_why(void **state)
{
    static const struct refusal rows[] = {
        { "127.0.0.1:1", "connection refused" },
        { "unix:/nonexistent/hub.sock", "no such file or directory" },
        { "127.0.0.1", "\"127.0.0.1\": there is no port, as in 10.0.0.5:80 (a path begins with /)" },
        { "127.0.0.1:99999", "\"127.0.0.1:99999\": the port is above 65535" },
        { "127.0.0.1:http", "\"127.0.0.1:http\": a port from 0 to 65535 must follow the last colon" },
        { "[::1", "\"[::1\": after \"[\" comes an IPv6 address and \"]\"" },
        { ":80", "\":80\": there is no host" },
        { "no-such-host.invalid:80", "the name \"no-such-host.invalid\" is not known here" },
        { "-x:80", "\"-x\" is not a host name" },
        { "a b:80", "\"a b\" is not a host name" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loop *loop = loop_new();
        struct owner o = { .free_at_error = i % 2 == 1 };
        o.stream = stream_connect(loop, rows[i].address, NULL, on_stream, &o);
        assert_string_equal(o.trace, "");
        wait_for(loop, &o, o.free_at_error ? 'X' : 'Z');
        if (strcmp(o.error, rows[i].error) != 0)
            fail_msg("%s: \"%s\"", rows[i].address, o.error);
        stream_free(o.stream);
        loop_free(loop);
    }
}

static void a_listener_accepts_many_and_survives_without_descriptors(void **state)
{
    struct loop *loop = loop_new();
    struct server server;
    struct wire_address to;
    struct error err;
    char address[64];
    int fds[40];

    server_start(&server, loop, "127.0.0.1:0");
    snprintf(address, sizeof(address), "127.0.0.1:%d", server.port);
    assert_int_equal(wire_address_parse(address, 0, &to, &err), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&to.sa, to.len), 0);
    }
    loop_turn(loop, 100);
    assert_int_equal(server.accepts, WIRE_ACCEPTS_PER_TURN); /* the rest waits for its turn */
    for (int i = 0; i < 100 && server.accepts < (int)ARRAY_SIZE(fds); i++)
        loop_turn(loop, 20);
    assert_int_equal(server.accepts, ARRAY_SIZE(fds));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    stream_free(steal_ptr(server.owner.stream));
    loop_turn(loop, 0);

    /* No descriptor is left: the listener pauses instead of spinning, and goes on later. */
    int waiting = socket(AF_INET, SOCK_STREAM, 0), hog[4096], n_hog = 0;
    assert_int_equal(connect(waiting, (struct sockaddr *)&to.sa, to.len), 0);
    while (n_hog < (int)ARRAY_SIZE(hog) && (hog[n_hog] = dup(waiting)) >= 0)
        n_hog++;
    int before = server.accepts, turns = 0;
    mono_t begin = clock_mono();
    while (mono_diff_ms(clock_mono(), begin) < WIRE_ACCEPT_RETRY_MS / 2) {
        loop_turn(loop, 20);
        turns++;
    }
    bool was_starved = n_hog < (int)ARRAY_SIZE(hog);
    while (n_hog > 0)
        close(hog[--n_hog]);
    if (was_starved) {
        assert_int_equal(server.accepts, before);
        assert_true(turns < 20);
    }
    for (int i = 0; i < 100 && server.accepts == before; i++)
        loop_turn(loop, 20);
    assert_int_equal(server.accepts, before + 1);
    close(waiting);
    server_end(&server);
    loop_free(loop);
}

static void freed_while_it_connects(void **state)
{
    static const char *const addresses[] = { "127.0.0.1:1", "localhost:1", "nonsense", "unix:/nonexistent" };
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct loop *loop = loop_new();
        struct owner o = { 0 };
        struct stream *s = stream_connect(loop, addresses[i], NULL, on_stream, &o);
        stream_free(s);
        for (int k = 0; k < 3; k++)
            loop_turn(loop, 10);
        s = stream_connect(loop, addresses[i], NULL, on_stream, &o);
        stream_close(s);
        wait_for(loop, &o, 'Z');
        assert_string_equal(o.trace, "Z");
        stream_free(s);
        loop_free(loop);
    }
}

/* A reset that comes together with data: the data is read, and the end is noticed. */
static void a_reset_right_behind_data_is_noticed(void **state)
{
    struct loop *loop = loop_new();
    struct server server;
    struct wire_address to;
    struct error err;
    char address[64];

    server_start(&server, loop, "127.0.0.1:0");
    snprintf(address, sizeof(address), "127.0.0.1:%d", server.port);
    assert_int_equal(wire_address_parse(address, 0, &to, &err), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to.sa, to.len), 0);
    for (int i = 0; i < 100 && !server.owner.stream; i++)
        loop_turn(loop, 20);
    while (loop_turn(loop, 0))
        ;
    assert_int_equal(write(fd, "last words", 10), 10);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    close(fd);
    usleep(20000); /* both are in the socket before the loop looks */
    for (int i = 0; i < 50 && !strchr(server.owner.trace, 'Z'); i++)
        loop_turn(loop, 20);
    if (!strchr(server.owner.trace, 'Z'))
        fail_msg("the reset went unnoticed: \"%s\", %zu bytes", server.owner.trace, server.owner.got);
    server_end(&server);
    loop_free(loop);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_ends_go_both_ways),
        cmocka_unit_test(back_pressure_stops_the_reader_and_tells_the_writer),
        cmocka_unit_test(a_pause_holds_data_and_end_back),
        cmocka_unit_test(a_pause_at_the_last_bytes_puts_the_end_off),
        cmocka_unit_test(a_new_owner_hears_of_what_lies_there),
        cmocka_unit_test(close_sends_what_is_queued),
        cmocka_unit_test(close_waits_for_a_stuck_peer_only_so_long),
        cmocka_unit_test(close_waits_for_a_slow_peer_as_long_as_it_takes_something),
        cmocka_unit_test(the_peer_vanishing_is_an_error_or_an_end),
        cmocka_unit_test(the_deadline_is_the_owners),
        cmocka_unit_test(freeing_inside_an_event_ends_events),
        cmocka_unit_test(connects_by_address_and_by_name),
        cmocka_unit_test(unix_sockets_bring_credentials),
        cmocka_unit_test(what_cannot_be_reached_says_why),
        cmocka_unit_test(a_listener_accepts_many_and_survives_without_descriptors),
        cmocka_unit_test(freed_while_it_connects),
        cmocka_unit_test(a_reset_right_behind_data_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
