/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/stream.h"
#include "common/strv.h"
#include "common/wire.h"
#include "droned/probe.h"
#include "tests/fakes/loopback.h"

#define ADDRESS loopback_port(28300)

struct world {
    struct loop *loop;
    struct stream_listener *listener;
    const char *answer; /* what the backend says to each connection; NULL: nothing */
    bool hang_up;       /* …and closes */
    struct stream *streams[64];
    int n_streams;
    int results;
    bool last;
};

static void on_client(void *arg, struct stream *stream, enum stream_event event)
{
    struct world *w = arg;
    if (event == STREAM_DATA && w->answer) {
        stream_write(stream, w->answer, strlen(w->answer));
        if (w->hang_up)
            stream_end(stream);
    } else if (event == STREAM_DATA && w->hang_up) {
        stream_end(stream);
    }
}

static void on_accept(void *arg, struct stream *stream)
{
    struct world *w = arg;
    assert_true(w->n_streams < 64);
    w->streams[w->n_streams++] = stream;
    stream_set_owner(stream, on_client, w);
}

static void on_result(void *owner, struct probe *probe, bool passed)
{
    struct world *w = owner;
    w->results++;
    w->last = passed;
}

static void settle(struct world *w)
{
    for (int i = 0, idle = 0; i < 200 && idle < 3; i++)
        idle = loop_turn(w->loop, 0) ? 0 : idle + 1;
}

static void advance(struct world *w, int64_t ms)
{
    for (int64_t done = 0; done < ms; done += 10) {
        loop_advance(w->loop, 10);
        settle(w);
    }
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    int fd;
    struct error err;
    w->loop = loop_new_fake();
    if (wire_listen(ADDRESS, 0, &fd, &err) < 0)
        return -1;
    struct stream_options options = { 0 };
    w->listener = stream_listener_new(w->loop, fd, &options, on_accept, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < w->n_streams; i++)
        stream_free(w->streams[i]);
    stream_listener_free(w->listener);
    loop_turn(w->loop, 0);
    loop_free(w->loop);
    free(w);
    return 0;
}

static struct probe *start(struct world *w, int kind, bool fast)
{
    static struct health_spec health;
    health = (struct health_spec){
        .kind = kind, .path = (char *)"/healthz", .interval_ms = 1000, .timeout_ms = 500, .passes = 3
    };
    struct probe_spec spec = {
        .health = &health, .address = ADDRESS, .fast = fast, .on_result = on_result, .owner = w
    };
    return probe_new(w->loop, &spec);
}

static void answers_are_judged(void **state)
{
    static const struct {
        const char *name, *answer;
        bool hang_up, passed;
        const char *says;
    } rows[] = {
        { "200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, true, "GET /healthz: 200 OK" },
        { "204", "HTTP/1.1 204 No Content\r\n\r\n", false, true, "GET /healthz: 204 No Content" },
        { "302", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", false, true, "GET /healthz: 302 Found" },
        { "100 first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false,
            true, "GET /healthz: 200 OK" },
        { "HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", true, true, "GET /healthz: 200 OK" },
        { "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false, false,
            "GET /healthz: 404 Not Found" },
        { "503", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", false, false, "GET /healthz: 503 Busy" },
        { "no HTTP", "SSH-2.0-OpenSSH\r\n", false, false, "GET /healthz: not an HTTP answer" },
        { "closed", NULL, true, false, "GET /healthz: closed without an answer" },
        { "half a head", "HTTP/1.1 200 OK\r\nConte", true, false, "GET /healthz: closed without an answer" },
        { "silent", NULL, false, false, "GET /healthz: no answer within 500 ms" },
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        w->answer = rows[i].answer;
        w->hang_up = rows[i].hang_up;
        w->results = 0;
        struct probe *probe = start(w, HEALTH_HTTP, false);
        advance(w, 600);
        row_int(rows[i].name, w->results, 1);
        row_int(rows[i].name, w->last, rows[i].passed);
        if (strncmp(probe_last(probe), rows[i].says, strlen(rows[i].says)) != 0)
            fail_msg("%s: says \"%s\"", rows[i].name, probe_last(probe));
        probe_free(probe);
        settle(w);
    }
}

static void passes_and_failures_count_in_a_row(void **state)
{
    struct world *w = *state;
    w->answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct probe *probe = start(w, HEALTH_HTTP, false);
    advance(w, 2100);
    assert_int_equal(probe_passes(probe), 3);
    w->answer = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
    advance(w, 2000);
    assert_int_equal(probe_passes(probe), 0);
    assert_int_equal(probe_failures(probe), 2);
    _cleanup_(strv_freep) char **transcript = probe_transcript(probe);
    assert_int_equal(strv_len(transcript), 2);
    assert_string_equal(transcript[0], "0.00s  GET /healthz: 200 OK (×3)");
    assert_non_null(strstr(transcript[1], "GET /healthz: 500 Oh (×2)"));
    probe_free(probe);
}

static void until_healthy_attempts_follow_quickly(void **state)
{
    struct world *w = *state;
    w->answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct probe *probe = start(w, HEALTH_HTTP, true);
    advance(w, 120);
    assert_int_equal(probe_passes(probe), 3);
    probe_set_slow(probe);
    advance(w, 100);
    int before = w->results;
    advance(w, 900);
    assert_int_equal(w->results, before);
    probe_free(probe);
}

static void refused_connections_are_told_and_tried_again(void **state)
{
    struct world *w = *state;
    stream_listener_free(steal_ptr(w->listener));
    struct probe *probe = start(w, HEALTH_TCP, true);
    advance(w, 1000);
    assert_true(probe_failures(probe) >= 15);
    assert_non_null(strstr(probe_last(probe), ":28300: "));
    probe_free(probe);
}

static void staying_up_takes_its_time(void **state)
{
    struct world *w = *state;
    struct probe *probe = start(w, HEALTH_STAYS_UP, true);
    advance(w, 2900);
    assert_int_equal(probe_passes(probe), 2);
    advance(w, 200);
    assert_int_equal(probe_passes(probe), 3);
    probe_free(probe);
}

static void tcp_needs_no_more_than_a_connection(void **state)
{
    struct world *w = *state;
    struct probe *probe = start(w, HEALTH_TCP, false);
    advance(w, 100);
    assert_int_equal(probe_passes(probe), 1);
    probe_free(probe);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers_are_judged),
        T(passes_and_failures_count_in_a_row),
        T(until_healthy_attempts_follow_quickly),
        T(refused_connections_are_told_and_tried_again),
        T(staying_up_takes_its_time),
        T(tcp_needs_no_more_than_a_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
