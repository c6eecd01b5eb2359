/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/stream.h"
#include "hubd/http_conn.h"
#include "hubd/http_routes.h"
#include "hubd/hubd.h"

#define ANSWER 200000
#define TICK   100

static char content[ANSWER];

/* All of it lies in the hub's queue when it is whole. */
void http_dispatch(struct http_conn *conn, const struct http1_head *head)
{
    (void)head;
    http_answer_begin(conn, 200, "application/x-git-upload-pack-result", ANSWER);
    http_answer_data(conn, content, ANSWER);
    http_answer_end(conn);
}

struct world {
    struct hubd hub;
    struct http_conn *conn;
    int client;
    int closed;
};

static void on_closed(void *arg)
{
    struct world *w = arg;
    w->closed++;
}

static void ask(struct world *w, const char *request)
{
    int fds[2];
    struct peer peer = { .role = ROLE_ADMIN, .name = (char *)"ops", .address = (char *)"local" };
    *w = (struct world){ .hub.loop = loop_new_fake() };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){ 4096 }, sizeof(int));
    struct stream *stream = stream_adopt(w->hub.loop, fds[0], true, NULL, NULL, NULL);
    w->client = fds[1];
    w->conn = http_conn_new(&w->hub, stream, &peer, on_closed, w);
    assert_int_equal(write(w->client, request, strlen(request)), (ssize_t)strlen(request));
    loop_advance(w->hub.loop, 0);
}

/* Takes so much every TICK ms until nothing comes for a minute or there is an end; how much it was. */
static size_t take(struct world *w, size_t every_tick)
{
    static char buf[ANSWER];
    size_t total = 0;
    for (int quiet_ms = 0; quiet_ms < 2 * HTTP_WRITE_IDLE_MS; quiet_ms += TICK) {
        ssize_t n = recv(w->client, buf, every_tick, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        total += n > 0 ? (size_t)n : 0;
        quiet_ms = n > 0 ? 0 : quiet_ms;
        loop_advance(w->hub.loop, TICK);
    }
    return total;
}

static void done(struct world *w)
{
    close(w->client);
    loop_advance(w->hub.loop, 2 * HTTP_WRITE_IDLE_MS);
    assert_int_equal(w->closed, 1);
    loop_free(w->hub.loop);
}

static void a_slow_client_gets_the_whole_answer(void **state)
{
    static const struct {
        const char *name, *request;
        size_t every_tick;
    } rows[] = {
        { "kept alive", "GET /x HTTP/1.1\r\nHost: hub\r\n\r\n", 1600 },
        { "closed", "GET /x HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n", 1600 },
        { "very slow", "GET /x HTTP/1.1\r\nHost: hub\r\n\r\n", 160 },
        { "very slow, closed", "GET /x HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n", 160 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world w;
        ask(&w, rows[i].request);
        row_true(rows[i].name, take(&w, rows[i].every_tick) > ANSWER);
        done(&w);
    }
}

static void a_client_that_takes_nothing_is_dropped(void **state)
{
    struct world w;
    ask(&w, "GET /x HTTP/1.1\r\nHost: hub\r\n\r\n");
    loop_advance(w.hub.loop, HTTP_HEAD_MS + 2 * HTTP_WRITE_IDLE_MS);
    assert_int_equal(w.closed, 1);
    done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_client_gets_the_whole_answer),
        cmocka_unit_test(a_client_that_takes_nothing_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
