/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/document.h"
#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/stream.h"
#include "common/table_diff.h"
#include "common/wire.h"

/* A hub that says what it is told to, in a loop and a thread of its own: tables prepared, committed, aborted, and what
 * the router reports. */

#define WAIT_MS 8000

static struct hub {
    struct loop *loop;
    struct stream_listener *listener;
    struct link *link;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *path;
    struct task task;
    int wake[2];
    struct io *io;
    /* under the lock */
    bool connected, stop, kick;
    int64_t counter;
    void (*todo)(void);
    int result; /* of the last call; 1: none yet */
    char reason[256];
    int n_reports;
    int64_t report_epoch;
    struct endpoint_traffic last;                           /* of the endpoint that was named last */
    int64_t brief_requests, brief_errors, brief_generation; /* summed over reports; said last */
    int64_t in_flight_seen[8];
    int n_in_flight_seen;
    /* arguments of todo */
    int64_t epoch;
    const char *text;
} hub;

static void locked_signal(void)
{
    pthread_cond_broadcast(&hub.changed);
}

/* --- the hub's loop -------------------------------------------------------------------------------------- */

static void on_traffic(void *owner, struct link *link, const void *message, struct reply *reply)
{
    const struct msg_traffic_report *m = message;
    pthread_mutex_lock(&hub.lock);
    hub.n_reports++;
    hub.report_epoch = m->epoch;
    hub.brief_requests += m->router.requests;
    hub.brief_errors += m->router.errors;
    if (m->router.interval_ms > 0)
        hub.brief_generation = m->router.generation;
    for (size_t i = 0; i < m->n_endpoints; i++) {
        hub.last = m->endpoints[i];
        hub.last.endpoint = NULL;
        if (hub.n_in_flight_seen < 8)
            hub.in_flight_seen[hub.n_in_flight_seen++] = m->endpoints[i].in_flight;
    }
    locked_signal();
    pthread_mutex_unlock(&hub.lock);
}

static void on_goodbye(void *owner, struct link *link, const void *message, struct reply *reply)
{
}

static const struct link_handler handlers[] = {
    { MSG_TRAFFIC_REPORT, on_traffic },
    { MSG_GOODBYE, on_goodbye },
    { 0, NULL },
};

static void on_link(void *owner, struct link *link, enum link_event event, const char *reason)
{
    pthread_mutex_lock(&hub.lock);
    if (event == LINK_CONNECTED) {
        hub.connected = true;
        hub.counter = link_hello(link)->counter;
    } else if (event == LINK_CLOSED) {
        hub.connected = false;
        link_free(link);
        if (hub.link == link)
            hub.link = NULL;
    }
    locked_signal();
    pthread_mutex_unlock(&hub.lock);
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    hello->program = (char *)"stagecoach-hubd";
    hello->version = (char *)"0";
    hello->name = (char *)"hub";
}

static void on_accept(void *arg, struct stream *stream)
{
    static const struct link_spec spec = {
        .handlers = handlers, .on_event = on_link, .fill_hello = fill_hello
    };
    struct peer peer = { .role = ROLE_ROUTER, .name = (char *)"r1", .address = (char *)"local" };
    hub.link = link_new(hub.loop, stream, true, &spec);
    link_set_peer(hub.link, &peer);
}

static void on_done(int result, const char *reason, void *arg)
{
    pthread_mutex_lock(&hub.lock);
    hub.result = result;
    snprintf(hub.reason, sizeof(hub.reason), "%s", reason ? reason : "");
    locked_signal();
    pthread_mutex_unlock(&hub.lock);
}

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    on_done(result, reason, arg);
}

static void on_wake(unsigned ready, void *arg)
{
    char c;
    if (read(hub.wake[0], &c, 1) != 1)
        return;
    if (hub.stop)
        loop_stop(hub.loop);
    else if (hub.link)
        hub.todo();
    else
        on_done(-ENOTCONN, "no router", NULL);
}

static void *hub_main(void *arg)
{
    loop_run(hub.loop);
    return NULL;
}

static void hub_start(void)
{
    struct error err;
    char folder[] = "/tmp/router-hub-XXXXXX";
    int fd;
    memset(&hub, 0, sizeof(hub));
    assert_non_null(mkdtemp(folder));
    hub.path = xasprintf("%s/hub.sock", folder);
    char *address = xasprintf("unix:%s", hub.path);
    assert_int_equal(wire_listen(address, 0, &fd, &err), 0);
    free(address);
    pthread_mutex_init(&hub.lock, NULL);
    pthread_cond_init(&hub.changed, NULL);
    hub.loop = loop_new();
    hub.listener = stream_listener_new(hub.loop, fd, NULL, on_accept, NULL);
    assert_int_equal(pipe(hub.wake), 0);
    hub.io = io_new(hub.loop, hub.wake[0], IO_READ, on_wake, NULL);
    assert_int_equal(pthread_create(&hub.thread, NULL, hub_main, NULL), 0);
}

static void hub_kick(void)
{
    assert_int_equal(write(hub.wake[1], "x", 1), 1);
}

static void hub_end(void)
{
    hub.stop = true;
    hub_kick();
    pthread_join(hub.thread, NULL);
    link_free(hub.link);
    stream_listener_free(hub.listener);
    io_free(hub.io);
    loop_turn(hub.loop, 0);
    loop_free(hub.loop);
    close(hub.wake[0]);
    close(hub.wake[1]);
    unlink(hub.path);
    *strrchr(hub.path, '/') = '\0';
    rmdir(hub.path);
    free(hub.path);
}

/* Waits until what is said of the hub is so. */
#define hub_wait(condition)                          \
    do {                                             \
        int64_t end_ = now_ms() + WAIT_MS;           \
        bool so_ = false;                            \
        while (!so_ && now_ms() < end_) {            \
            pthread_mutex_lock(&hub.lock);           \
            so_ = (condition);                       \
            pthread_mutex_unlock(&hub.lock);         \
            if (!so_)                                \
                sleep_ms(1);                         \
        }                                            \
        if (!so_)                                    \
            fail_msg("not in time: %s", #condition); \
    } while (0)

static int hub_do(void (*fn)(void), int64_t epoch, const char *text)
{
    pthread_mutex_lock(&hub.lock);
    hub.result = 1;
    hub.todo = fn;
    hub.epoch = epoch;
    hub.text = text;
    pthread_mutex_unlock(&hub.lock);
    hub_kick();
    hub_wait(hub.result != 1);
    return hub.result;
}

static void do_send(void)
{
    document_send(hub.link, DOCUMENT_TABLE, hub.epoch, hub.text, strlen(hub.text), on_done, NULL);
}

static void do_send_diff(void)
{
    document_send(hub.link, DOCUMENT_TABLE_DIFF, hub.epoch, hub.text, strlen(hub.text), on_done, NULL);
}

static void do_call(enum msg_type type)
{
    struct msg_epoch m = { hub.epoch };
    link_call(hub.link, type, &m, 0, on_answer, NULL);
}

static void do_prepare(void)
{
    do_call(MSG_TABLE_PREPARE);
}

static void do_commit(void)
{
    do_call(MSG_TABLE_COMMIT);
}

static void do_abort(void)
{
    do_call(MSG_TABLE_ABORT);
}

static void do_close(void)
{
    link_close(hub.link, "the test wants it");
    on_done(0, NULL, NULL);
}

/* --- the cases ------------------------------------------------------------------------------------------- */

static struct fake_backend *b1, *b2;

static int set_up(void **state)
{
    b1 = fake_backend_new("1.0.0");
    b2 = fake_backend_new("2.0.0");
    hub_start();
    return 0;
}

static int tear_down(void **state)
{
    hub_end();
    fake_backend_free(b1);
    fake_backend_free(b2);
    return 0;
}

static char *table(int64_t epoch, const char *version, struct fake_backend *b)
{
    char *release = xasprintf("%s:%d", version, fake_backend_port(b));
    char *text = table_of(epoch, 1, (const char *const[]){ release });
    free(release);
    return text;
}

static void assert_answers(struct router *r, int wanted, const char *version)
{
    struct answer a = ask(r->port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(a.status, wanted);
    if (version)
        assert_string_equal(answer_field(&a, "X-Version"), version);
    answer_done(&a);
}

static bool exists(const struct router *r, const char *name)
{
    struct stat st;
    char *path = xasprintf("%s/%s", r->dir, name);
    bool ret = stat(path, &st) == 0;
    free(path);
    return ret;
}

static void tables_are_prepared_and_committed(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *t1 = table(11, "1.0.0", b1), *t2 = table(12, "2.0.0", b2);
    hub_wait(hub.connected);
    assert_int_equal(hub.counter, 0);
    assert_answers(r, 503, NULL);

    assert_int_equal(hub_do(do_send, 11, t1), 0);
    assert_true(exists(r, "table.next"));
    assert_int_equal(hub_do(do_prepare, 11, NULL), 0);
    assert_answers(r, 503, NULL);
    assert_int_equal(hub_do(do_commit, 11, NULL), 0);
    assert_false(exists(r, "table.next"));
    assert_true(exists(r, "table.json"));
    assert_answers(r, 200, "1.0.0");
    hub_wait(hub.report_epoch == 11);

    /* Prepared changes nothing; aborted leaves nothing. */
    assert_int_equal(hub_do(do_send, 12, t2), 0);
    assert_answers(r, 200, "1.0.0");
    assert_int_equal(hub_do(do_abort, 12, NULL), 0);
    assert_false(exists(r, "table.next"));
    assert_true(hub_do(do_commit, 12, NULL) < 0);
    assert_answers(r, 200, "1.0.0");

    assert_int_equal(hub_do(do_send, 12, t2), 0);
    assert_int_equal(hub_do(do_commit, 12, NULL), 0);
    assert_answers(r, 200, "2.0.0");
    /* Said again: fine. */
    assert_int_equal(hub_do(do_commit, 12, NULL), 0);

    free(t1);
    free(t2);
    router_stop(r);
    hub_wait(!hub.connected);
}

/* The intervals together are all that happened, the router's own answers too. */
static void the_hub_hears_how_the_router_does(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *dead = xasprintf("2.0.0:%d", fake_backend_dead_port());
    char *t1 = table(15, "1.0.0", b1), *t2 = table_of(16, 1, (const char *const[]){ dead });
    hub_wait(hub.connected);
    assert_int_equal(hub_do(do_send, 15, t1), 0);
    assert_int_equal(hub_do(do_commit, 15, NULL), 0);
    hub_wait(hub.report_epoch == 15);
    pthread_mutex_lock(&hub.lock);
    hub.brief_requests = hub.brief_errors = hub.brief_generation = 0;
    pthread_mutex_unlock(&hub.lock);
    for (int i = 0; i < 5; i++)
        assert_answers(r, 200, "1.0.0");
    hub_wait(hub.brief_requests == 5 && hub.brief_errors == 0 && hub.brief_generation == 1);
    assert_int_equal(hub_do(do_send, 16, t2), 0);
    assert_int_equal(hub_do(do_commit, 16, NULL), 0);
    assert_answers(r, 503, NULL);
    hub_wait(hub.brief_requests == 6 && hub.brief_errors == 1);
    free(dead);
    free(t1);
    free(t2);
    router_stop(r);
    hub_wait(!hub.connected);
}

static void wrong_tables_are_refused_with_the_reason(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *t1 = table(21, "1.0.0", b1);
    hub_wait(hub.connected);
    assert_int_equal(hub_do(do_send, 21, t1), 0);
    assert_int_equal(hub_do(do_commit, 21, NULL), 0);
    assert_true(
        hub_do(do_send, 22, "{\"format\":1,\"epoch\":22,\"wider\":true,\"routes\":[],\"services\":[]}") < 0);
    assert_non_null(strstr(hub.reason, "wider"));
    assert_true(hub_do(do_send, 23, t1) < 0);
    assert_true(hub_do(do_prepare, 23, NULL) < 0);
    assert_answers(r, 200, "1.0.0");
    free(t1);
    router_stop(r);
    hub_wait(!hub.connected);
}

static void a_lost_hub_changes_nothing_and_what_was_not_decided_goes(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *t1 = table(31, "1.0.0", b1), *t2 = table(32, "2.0.0", b2);
    hub_wait(hub.connected);
    assert_int_equal(hub_do(do_send, 31, t1), 0);
    assert_int_equal(hub_do(do_commit, 31, NULL), 0);
    assert_int_equal(hub_do(do_send, 32, t2), 0);
    assert_int_equal(hub_do(do_close, 0, NULL), 0);
    hub_wait(!hub.connected);
    assert_answers(r, 200, "1.0.0");
    hub_wait(hub.connected);
    assert_int_equal(hub.counter, 31);
    assert_true(hub_do(do_commit, 32, NULL) < 0);
    assert_answers(r, 200, "1.0.0");
    free(t1);
    free(t2);
    router_stop(r);
    hub_wait(!hub.connected);
}

/* What leads from one table to another. Caller frees. */
static char *diff(const char *from, const char *to)
{
    struct strbuf text = STRBUF_INIT;
    struct table base, next;
    struct table_diff made;
    struct error err;
    assert_int_equal(table_read(from, strlen(from), &base, &err), 0);
    assert_int_equal(table_read(to, strlen(to), &next, &err), 0);
    table_sum_rows(&base);
    table_sum_rows(&next);
    table_diff_make(&base, &next, &made);
    table_diff_print(&made, &text);
    table_diff_clear(&made);
    table_clear(&base);
    table_clear(&next);
    return strbuf_steal(&text);
}

static void diffs_take_the_place_of_tables(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *t1 = table(51, "1.0.0", b1), *t2 = table(52, "2.0.0", b2), *t3 = table(53, "1.0.0", b1);
    char *d2 = diff(t1, t2), *d3 = diff(t2, t3), *d13 = diff(t1, t3);
    hub_wait(hub.connected);
    assert_true(hub_do(do_send_diff, 52, d2) < 0); /* there is nothing yet that it changes */
    assert_int_equal(hub_do(do_send, 51, t1), 0);
    assert_int_equal(hub_do(do_commit, 51, NULL), 0);

    assert_int_equal(hub_do(do_send_diff, 52, d2), 0);
    assert_int_equal(hub_do(do_prepare, 52, NULL), 0);
    assert_answers(r, 200, "1.0.0");
    assert_int_equal(hub_do(do_abort, 52, NULL), 0);
    assert_true(hub_do(do_commit, 52, NULL) < 0);
    assert_answers(r, 200, "1.0.0");

    assert_true(hub_do(do_send_diff, 53, d3) < 0);
    assert_non_null(strstr(hub.reason, "changes epoch 52, and this is 51"));
    assert_int_equal(hub_do(do_send_diff, 52, d2), 0);
    assert_int_equal(hub_do(do_send_diff, 53, d13), 0); /* the hub thought better of it */
    assert_int_equal(hub_do(do_send_diff, 52, d2), 0);
    assert_int_equal(hub_do(do_commit, 52, NULL), 0);
    assert_true(exists(r, "table.51.diff"));
    assert_answers(r, 200, "2.0.0");
    assert_int_equal(hub_do(do_send_diff, 53, d3), 0);
    assert_int_equal(hub_do(do_commit, 53, NULL), 0);
    assert_answers(r, 200, "1.0.0");
    assert_int_equal(router_epoch(r), 53);

    /* A whole table ends the row of diffs. */
    char *t4 = table(54, "2.0.0", b2);
    assert_int_equal(hub_do(do_send, 54, t4), 0);
    assert_int_equal(hub_do(do_commit, 54, NULL), 0);
    assert_false(exists(r, "table.51.diff"));
    assert_false(exists(r, "table.52.diff"));
    assert_answers(r, 200, "2.0.0");
    char *const texts[] = { t1, t2, t3, t4, d2, d3, d13 };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    router_stop(r);
    hub_wait(!hub.connected);
}

/* What the hub waits for before it stops an old instance. */
static void draining_counts_are_told_soon(void **state)
{
    struct router *r = router_start(NULL, hub.path, NULL);
    char *t1 = table(41, "1.0.0", b1), *t2 = table(42, "2.0.0", b2);
    hub_wait(hub.connected);
    assert_int_equal(hub_do(do_send, 41, t1), 0);
    assert_int_equal(hub_do(do_commit, 41, NULL), 0);
    int fd = client_open(r->port);
    client_send(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    sleep_ms(100);
    hub.n_in_flight_seen = 0;
    assert_int_equal(hub_do(do_send, 42, t2), 0);
    assert_int_equal(hub_do(do_commit, 42, NULL), 0);
    hub_wait(hub.report_epoch == 42 && hub.n_in_flight_seen > 0);
    assert_int_equal(hub.in_flight_seen[0], 1);
    assert_answers(r, 200, "2.0.0");
    sleep_ms(1100); /* the every-second report is out of the way */
    pthread_mutex_lock(&hub.lock);
    hub.last.in_flight = -1;
    pthread_mutex_unlock(&hub.lock);
    int64_t start = now_ms();
    fake_backend_release(b1);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_field(&a, "X-Version"), "1.0.0");
    hub_wait(hub.last.in_flight == 0);
    assert_true(now_ms() - start < 300);
    assert_int_equal(hub.last.requests, 1);
    assert_int_equal(hub.last.status_2xx, 1);
    assert_true(hub.last.p99_us > 0 && hub.last.last_hit_us > 0);
    answer_done(&a);
    close(fd);
    free(t1);
    free(t2);
    router_stop(r);
    hub_wait(!hub.connected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_prepared_and_committed),
        cmocka_unit_test(the_hub_hears_how_the_router_does),
        cmocka_unit_test(wrong_tables_are_refused_with_the_reason),
        cmocka_unit_test(a_lost_hub_changes_nothing_and_what_was_not_decided_goes),
        cmocka_unit_test(diffs_take_the_place_of_tables),
        cmocka_unit_test(draining_counts_are_told_soon),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
