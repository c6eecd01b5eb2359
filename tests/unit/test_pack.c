/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/wire.h"
#include "droned/pack.h"
#include "tests/fakes/loopback.h"

#define ADDRESS loopback_port(28310)
#define COMMIT  "a0ab8390a0ab8390a0ab8390a0ab8390a0ab8390"

/* A pack on its way, and what came of it. The hub is a bare socket that the test writes to. */
struct world {
    struct loop *loop;
    int listener, hub;
    struct pack *pack;
    struct strbuf got;
    bool pause_at_data;
    int ends, result;
    char reason[256];
};

static bool on_data(void *arg, const void *data, size_t len)
{
    struct world *w = arg;
    strbuf_add(&w->got, data, len);
    return !w->pause_at_data;
}

static void on_end(void *arg, int result, const char *reason)
{
    struct world *w = arg;
    w->ends++;
    w->result = result;
    snprintf(w->reason, sizeof(w->reason), "%s", reason ? reason : "");
}

static void settle(struct world *w)
{
    for (int i = 0, idle = 0; i < 200 && idle < 3; i++)
        idle = loop_turn(w->loop, 0) ? 0 : idle + 1;
}

/* Asks, and takes the connection at the hub. */
static void ask(struct world *w, const char *base)
{
    struct pack_spec spec = { .hub = ADDRESS,
        .app = "shop",
        .commit = COMMIT,
        .base = base,
        .on_data = on_data,
        .on_end = on_end,
        .arg = w };
    char request[1024];
    w->ends = 0;
    strbuf_done(&w->got);
    w->pack = pack_new(w->loop, &spec);
    settle(w);
    assert_int_equal(poll(&(struct pollfd){ .fd = w->listener, .events = POLLIN }, 1, 1000), 1);
    w->hub = accept(w->listener, NULL, NULL);
    assert_true(w->hub >= 0);
    settle(w);
    ssize_t n = recv(w->hub, request, sizeof(request) - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    request[n] = '\0';
    _cleanup_(free_ptr) char *line =
        xasprintf("GET /pack/shop/" COMMIT "%s%s HTTP/1.1\r\n", base ? "?base=" : "", base ? base : "");
    row_has("the request", request, line);
    row_has("the request", request, "\r\nConnection: close\r\n");
}

/* Text and end lie in the socket before the drone looks. */
static void answer(struct world *w, const char *text)
{
    assert_int_equal(write(w->hub, text, strlen(text)), (ssize_t)strlen(text));
    close_fd(&w->hub);
    settle(w);
}

static void done(struct world *w)
{
    close_fd(&w->hub);
    pack_free(steal_ptr(w->pack));
    settle(w);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err;
    w->loop = loop_new_fake();
    w->hub = -1;
    if (wire_listen(ADDRESS, 0, &w->listener, &err) < 0)
        return -1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    close(w->listener);
    strbuf_done(&w->got);
    loop_free(w->loop);
    free(w);
    return 0;
}

#define WHOLE "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nPACK of this"

static void answers_are_judged(void **state)
{
    static const struct {
        const char *name, *answer, *got;
        int result;
        const char *says;
    } rows[] = {
        { "whole", WHOLE, "PACK of this", 0, "" },
        { "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nPACK\r\n0\r\n\r\n", "PACK", 0,
            "" },
        { "to the end", "HTTP/1.1 200 OK\r\n\r\nPACK", "PACK", 0, "" },
        { "half", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nPACK", "PACK", -EAGAIN,
            "in the middle of the pack" },
        { "half a head", "HTTP/1.1 200 OK\r\nCont", "", -EAGAIN, "without an answer" },
        { "nothing", "", "", -EAGAIN, "without an answer" },
        { "not there", "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno such", "", -ENOENT,
            "404: no such" },
        { "busy", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "", -EAGAIN, "503" },
        { "refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "", -EACCES, "403" },
        { "no HTTP", "SSH-2.0-OpenSSH_9\r\n\r\n", "", -EPROTO, "no HTTP" },
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(w, NULL);
        answer(w, rows[i].answer);
        row_int(rows[i].name, w->ends, 1);
        row_int(rows[i].name, w->result, rows[i].result);
        row_str(rows[i].name, strbuf_str(&w->got), rows[i].got);
        row_has(rows[i].name, w->reason, rows[i].says);
        done(w);
    }
}

static void a_base_is_asked_for(void **state)
{
    struct world *w = *state;
    ask(w, "b0ab8390a0ab8390a0ab8390a0ab8390a0ab8390");
    answer(w, WHOLE);
    assert_int_equal(w->result, 0);
    done(w);
}

/* Whoever takes the pack is full with its last byte, and the hub's end came along with that: going on, it ends. */
static void a_pause_at_the_last_byte_ends_when_it_goes_on(void **state)
{
    struct world *w = *state;
    w->pause_at_data = true;
    ask(w, NULL);
    answer(w, WHOLE);
    assert_string_equal(strbuf_str(&w->got), "PACK of this");
    assert_int_equal(w->ends, 0);
    pack_resume(w->pack);
    settle(w);
    assert_int_equal(w->ends, 1);
    assert_int_equal(w->result, 0);
    done(w);
}

static void a_silent_hub_is_given_up_but_not_while_we_pause(void **state)
{
    struct world *w = *state;
    w->pause_at_data = true;
    ask(w, NULL);
    assert_true(write(w->hub, WHOLE, strlen(WHOLE) - 2) > 0);
    settle(w);
    loop_advance(w->loop, 3 * PACK_IDLE_MS);
    assert_int_equal(w->ends, 0);
    pack_resume(w->pack);
    settle(w);
    loop_advance(w->loop, PACK_IDLE_MS + 1);
    assert_int_equal(w->ends, 1);
    assert_int_equal(w->result, -EAGAIN);
    assert_string_equal(w->reason, "the hub sends nothing any more");
    done(w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers_are_judged),
        T(a_base_is_asked_for),
        T(a_pause_at_the_last_byte_ends_when_it_goes_on),
        T(a_silent_hub_is_given_up_but_not_while_we_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
