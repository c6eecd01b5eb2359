/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/mem.h"
#include "routerd/feed.h"

/* Which release a request reaches, and what happens when the table changes. */

#define SWAPS   60
#define CLIENTS 6

static struct fake_backend *b1, *b2, *b3;

static int set_up(void **state)
{
    b1 = fake_backend_new("1.0.0");
    b2 = fake_backend_new("2.0.0");
    b3 = fake_backend_new("3.0.0");
    return 0;
}

static int tear_down(void **state)
{
    fake_backend_free(b1);
    fake_backend_free(b2);
    fake_backend_free(b3);
    return 0;
}

static char *table(int64_t epoch, const char *first, const char *second)
{
    return table_of(epoch, second ? 2 : 1, (const char *const[]){ first, second });
}

static char *release(const char *version, struct fake_backend *b, int weight)
{
    return xasprintf("%s:%d:%d", version, fake_backend_port(b), weight);
}

/* Version that answered; "404" and the like where none did. Caller frees. */
static char *version_of(int port, const char *host, const char *path, const char *fields)
{
    char *text = xasprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, host, fields);
    struct answer a = ask(port, text);
    char *ret = a.status == 200 ? xstrdup(answer_field(&a, "X-Version")) : xasprintf("%d", a.status);
    free(text);
    answer_done(&a);
    return ret;
}

/* --- choosing -------------------------------------------------------------------------------------------- */

static char *routes_table(void)
{
    return xasprintf(
        "{\"format\":1,\"epoch\":7,\"routes\":["
        "{\"host\":\"www.example.com\",\"service\":\"web\"},"
        "{\"host\":\"www.example.com\",\"path\":\"/api\",\"service\":\"api\"},"
        "{\"host\":\"*.example.com\",\"service\":\"api\"},"
        "{\"host\":\"*.deep.example.com\",\"path\":\"/\",\"service\":\"web\"}],"
        "\"services\":[{\"name\":\"web\",\"releases\":["
        "{\"version\":\"1.0.0\",\"commit\":\"35819ef70000000000000000000000000000000a\",\"weight\":1,"
        "\"endpoints\":[{\"address\":\"127.0.0.1:%d\"}]},"
        "{\"version\":\"2.0.0\",\"commit\":\"4444444400000000000000000000000000000000\",\"weight\":0,"
        "\"endpoints\":[{\"address\":\"127.0.0.1:%d\"}]}]},"
        "{\"name\":\"api\",\"pin_cookie\":false,\"releases\":[{\"version\":\"3.0.0\",\"weight\":1,"
        "\"endpoints\":[{\"address\":\"127.0.0.1:%d\"}]}]}]}",
        fake_backend_port(b1), fake_backend_port(b2), fake_backend_port(b3));
}

static void hosts_paths_and_pins_choose(void **state)
{
    static const struct {
        const char *host, *path, *fields, *version;
    } rows[] = {
        { "www.example.com", "/", "", "1.0.0" },
        { "WWW.Example.COM:8080", "/", "", "1.0.0" },
        { "www.example.com.", "/", "", "1.0.0" },
        { "www.example.com", "/api", "", "3.0.0" },
        { "www.example.com", "/api/x?y", "", "3.0.0" },
        { "www.example.com", "/apix", "", "1.0.0" },
        { "www.example.com", "//apix", "", "1.0.0" },
        { "www.example.com", "/api//x/../y%2fz;q", "", "3.0.0" },
        /* Read otherwise, these lead to /api, and that to the other service. */
        { "www.example.com", "//api", "", "400" },
        { "www.example.com", "/./api", "", "400" },
        { "www.example.com", "/x/../api/y", "", "400" },
        { "www.example.com", "/%61pi", "", "400" },
        { "www.example.com", "/api;x", "", "400" },
        { "www.example.com", "/api%2Fx", "", "400" },
        { "www.example.com", "/api/..", "", "400" },
        { "other.example.com", "//api", "", "3.0.0" },
        { "other.example.com", "/", "", "3.0.0" },
        { "a.b.example.com", "/", "", "3.0.0" },
        { "x.deep.example.com", "/", "", "1.0.0" },
        { "example.com", "/", "", "404" },
        { "evil.com", "/", "", "404" },
        { "www.example.com", "/", "X-Stagecoach-Version: 2.0.0\r\n", "2.0.0" },
        { "www.example.com", "/", "X-Stagecoach-Version: g4444444\r\n", "2.0.0" },
        { "www.example.com", "/", "X-Stagecoach-Version: 9.9.9\r\n", "404" },
        { "www.example.com", "/", "Cookie: a=b; stagecoach-version=2.0.0\r\n", "2.0.0" },
        { "www.example.com", "/", "Cookie: stagecoach-version=9.9.9\r\n", "1.0.0" },
        { "www.example.com", "/", "X-Stagecoach-Version: 1.0.0\r\nCookie: stagecoach-version=2.0.0\r\n",
            "1.0.0" },
        { "www.example.com", "/api", "Cookie: stagecoach-version=2.0.0\r\n", "3.0.0" },
        { "2-0-0.web.example.com", "/", "", "2.0.0" },
        { "2-0-0.web.anything.at.all:8080", "/", "", "2.0.0" },
        { "2-0-0.web", "/", "", "2.0.0" },
        { "g44444444.web.example.com", "/", "", "2.0.0" },
        { "g35819ef.web.example.com", "/", "", "1.0.0" },
        { "g3.web.elsewhere", "/", "", "404" },
        { "9-9-9.web.example.com", "/", "", "404" },
        { "2-0-0.nothing.elsewhere", "/", "", "404" },
    };
    char *text = routes_table();
    struct router *r = router_start(text, NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *version = version_of(r->port, rows[i].host, rows[i].path, rows[i].fields);
        if (strcmp(version, rows[i].version) != 0)
            fail_msg("%s%s (%s): %s, not %s", rows[i].host, rows[i].path, rows[i].fields, version,
                rows[i].version);
        free(version);
    }
    free(text);
    router_stop(r);
}

static void assignments_stick(void **state)
{
    char *one = release("1.0.0", b1, 50), *two = release("2.0.0", b2, 50), *text = table(1, one, two);
    struct router *r = router_start(text, NULL, NULL);
    int n[3] = { 0 };
    for (int i = 0; i < 40; i++) {
        struct answer a = ask(r->port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        char cookie[128], fields[200];
        snprintf(cookie, sizeof(cookie), "%s", answer_field(&a, "Set-Cookie"));
        cookie[strcspn(cookie, ";")] = '\0';
        assert_true(strlen(cookie) > 20);
        char *first = xstrdup(answer_field(&a, "X-Version"));
        n[first[0] - '0']++;
        snprintf(fields, sizeof(fields), "Cookie: %s\r\n", cookie);
        for (int k = 0; k < 3; k++) {
            char *again = version_of(r->port, "x", "/", fields);
            assert_string_equal(again, first);
            free(again);
        }
        free(first);
        answer_done(&a);
    }
    assert_in_range(n[1], 5, 35);
    /* A cookie that was tampered with is replaced. */
    struct answer a = ask(
        r->port, "GET / HTTP/1.1\r\nHost: x\r\nCookie: stagecoach-assign=o-00000000-000000000000000\r\n\r\n");
    assert_true(strlen(answer_field(&a, "Set-Cookie")) > 20);
    answer_done(&a);
    free(one);
    free(two);
    free(text);
    router_stop(r);
}

static void one_live_release_needs_no_cookie(void **state)
{
    char *one = release("1.0.0", b1, 1), *two = release("2.0.0", b2, 0), *text = table(1, one, two);
    struct router *r = router_start(text, NULL, NULL);
    int64_t before = fake_backend_requests(b2);
    for (int i = 0; i < 20; i++) {
        struct answer a = ask(r->port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_string_equal(answer_field(&a, "Set-Cookie"), "");
        assert_string_equal(answer_field(&a, "X-Version"), "1.0.0");
        answer_done(&a);
    }
    assert_int_equal(fake_backend_requests(b2), before);
    free(one);
    free(two);
    free(text);
    router_stop(r);
}

/* --- endpoints ------------------------------------------------------------------------------------------- */

static char *endpoints_table(int64_t epoch, const char *endpoints)
{
    return xasprintf("{\"format\":1,\"epoch\":%lld,\"routes\":[{\"host\":\"*\",\"service\":\"web\"}],"
                     "\"services\":[{\"name\":"
                     "\"web\",\"releases\":[{\"version\":\"1.0.0\",\"weight\":1,\"endpoints\":[%s]}]}]}",
        (long long)epoch, endpoints);
}

static void a_refused_connection_is_tried_elsewhere(void **state)
{
    char *endpoints = xasprintf("{\"address\":\"127.0.0.1:%d\"},{\"address\":\"127.0.0.1:%d\"}",
        fake_backend_dead_port(), fake_backend_port(b1));
    char *text = endpoints_table(1, endpoints);
    struct router *r = router_start(text, NULL, NULL);
    for (int i = 0; i < 30; i++) {
        struct answer a = ask(r->port,
            i % 2 ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
                  : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        assert_int_equal(a.status, 200);
        if (i % 2 == 0)
            assert_string_equal(strbuf_str(&a.content), "abc");
        answer_done(&a);
    }
    free(endpoints);
    free(text);
    router_stop(r);
}

static void no_endpoint_is_a_503_with_retry_after(void **state)
{
    char *dead = xasprintf("{\"address\":\"127.0.0.1:%d\"}", fake_backend_dead_port());
    const char *const rows[] = { "", dead, "{\"address\":\"127.0.0.1:1\",\"draining\":true}" };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *text = endpoints_table(1, rows[i]);
        struct router *r = router_start(text, NULL, NULL);
        struct answer a = ask(r->port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(a.status, 503);
        assert_string_equal(answer_field(&a, "Retry-After"), "1");
        answer_done(&a);
        router_stop(r);
        free(text);
    }
    free(dead);
}

/* Until the service has so many heads. */
static void wait_for_requests(struct fake_backend *b, int64_t n)
{
    for (int64_t end = now_ms() + 10000; fake_backend_requests(b) < n; sleep_ms(2))
        assert_true(now_ms() < end);
}

static void a_limit_makes_requests_wait(void **state)
{
    static const char *const settings[] = { "Timeouts.Queue=1500ms", NULL };
    struct fake_backend *held = fake_backend_new("1.0.0");
    char *endpoint = xasprintf("{\"address\":\"127.0.0.1:%d\",\"max_in_flight\":1}", fake_backend_port(held));
    char *text = endpoints_table(1, endpoint);
    struct router *r = router_start(text, NULL, settings);
    int first = client_open(r->port);
    client_send(first, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for_requests(held, 1);
    /* Too long. */
    int64_t start = now_ms();
    struct answer a = ask(r->port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(a.status, 503);
    assert_true(now_ms() - start >= 1450);
    answer_done(&a);
    /* In time; who ends wakes who waits on any worker within a tick. */
    int second = client_open(r->port);
    client_send(second, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    sleep_ms(50);
    fake_backend_release(held);
    a = client_read(second, false);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    a = client_read(first, false);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(first);
    close(second);
    free(endpoint);
    free(text);
    router_stop(r);
    fake_backend_free(held);
}

/* --- the file -------------------------------------------------------------------------------------------- */

static void the_file_is_watched(void **state)
{
    char *one = release("1.0.0", b1, 1), *two = release("2.0.0", b2, 1);
    char *t1 = table(1, one, NULL), *t2 = table(2, two, NULL);
    struct router *r = router_start(t1, NULL, NULL);
    char *version = version_of(r->port, "x", "/", "");
    assert_string_equal(version, "1.0.0");
    free(version);
    router_put_table(r, t2, 2);
    version = version_of(r->port, "x", "/", "");
    assert_string_equal(version, "2.0.0");
    free(version);
    free(one);
    free(two);
    free(t1);
    free(t2);
    router_stop(r);
}

static void write_in_place(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The folder of the link says nothing of what it leads to. */
static void a_file_behind_a_link_is_looked_at(void **state)
{
    char *one = release("1.0.0", b1, 1), *t1 = table(1, one, NULL);
    struct router *r = router_start(t1, NULL, NULL);
    char *file = xasprintf("%s/there", r->dir), *link = xasprintf("%s/link", r->dir);
    for (int64_t epoch = 2; epoch <= 3; epoch++) {
        char *text = table(epoch, one, NULL);
        write_in_place(file, text);
        if (epoch == 2) {
            assert_int_equal(symlink("there", link), 0);
            assert_int_equal(rename(link, r->table_path), 0);
        }
        for (int64_t end = now_ms() + 5 * FEED_LOOK_MS; router_epoch(r) != epoch; sleep_ms(10))
            assert_true(now_ms() < end);
        free(text);
    }
    /* What it leads to is gone. */
    assert_int_equal(unlink(file), 0);
    sleep_ms(FEED_LOOK_MS + 500);
    assert_int_equal(router_epoch(r), 3);
    free(file);
    free(link);
    free(one);
    free(t1);
    router_stop(r);
}

static void an_invalid_table_is_refused_whole(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "{\"format\":1}x",
        "{\"format\":99,\"routes\":[],\"services\":[]}",
        "{\"format\":1,\"epoch\":9}",
        "{\"format\":1,\"epoch\":9,\"unknown\":1,\"routes\":[],\"services\":[]}",
        "{\"format\":1,\"epoch\":9,\"routes\":[{\"host\":\"*\",\"service\":\"nobody\"}],\"services\":[]}",
        "{\"format\":1,\"epoch\":9,\"routes\":[],\"services\":[{\"name\":\"web\",\"releases\":[{\"version\":"
        "\"1.0.0\","
        "\"endpoints\":[{\"address\":\"no address\"}]}]}]}",
    };
    char *one = release("1.0.0", b1, 1), *t1 = table(1, one, NULL);
    struct router *r = router_start(t1, NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        router_put_file(r, bad[i]);
        sleep_ms(120);
        assert_int_equal(router_epoch(r), 1);
        char *version = version_of(r->port, "x", "/", "");
        assert_string_equal(version, "1.0.0");
        free(version);
    }
    /* And a good one after it is taken. */
    char *t2 = table(2, one, NULL);
    router_put_table(r, t2, 2);
    free(t2);
    free(one);
    free(t1);
    router_stop(r);
}

/* --- under load ------------------------------------------------------------------------------------------ */

/* Of the only table that a request begun now may meet; 0 while it changes. Odd ones have version 1, even ones 2. */
static _Atomic int served_epoch;
static _Atomic bool load_stop;
static _Atomic int64_t load_requests, load_failed, load_stale;

/* Keep-alive, close and pipelined clients; each request must get one whole, right answer. */
static void *load_client(void *arg)
{
    int port = ((struct router *)((void **)arg)[0])->port;
    int kind = (int)(intptr_t)((void **)arg)[1] % 3, fd = -1;
    while (!atomic_load(&load_stop)) {
        int before = atomic_load(&served_epoch);
        if (fd < 0)
            fd = client_open(port);
        const char *request = kind == 0 ? "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            : kind == 1
            ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            : "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nz";
        client_send(fd, request);
        for (int i = 0; i < (kind == 2 ? 2 : 1); i++) {
            struct answer a = client_read(fd, false);
            atomic_fetch_add(&load_requests, 1);
            if (a.status != 200 || !a.whole)
                atomic_fetch_add(&load_failed, 1);
            else if (before > 0 && atomic_load(&served_epoch) == before &&
                answer_field(&a, "X-Version")[0] != (before % 2 ? '1' : '2'))
                atomic_fetch_add(&load_stale, 1);
            answer_done(&a);
        }
        if (kind == 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void swaps_lose_nothing_and_leave_nothing_stale(void **state)
{
    char *one = release("1.0.0", b1, 1), *two = release("2.0.0", b2, 1);
    char *first = table(1, one, NULL);
    struct router *r = router_start(first, NULL, NULL);
    pthread_t threads[CLIENTS];
    void *args[CLIENTS][2];
    atomic_store(&served_epoch, 1);
    for (int i = 0; i < CLIENTS; i++) {
        args[i][0] = r;
        args[i][1] = (void *)(intptr_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, load_client, args[i]), 0);
    }
    for (int i = 2; i < SWAPS + 2; i++) {
        char *next = table(i, i % 2 ? one : two, NULL);
        atomic_store(&served_epoch, 0);
        router_put_table(r, next, i);
        /* All workers serve it: from here on only the new one may answer. */
        atomic_store(&served_epoch, i);
        free(next);
        int64_t enough = atomic_load(&load_requests) + 10;
        for (int64_t end = now_ms() + 10000; atomic_load(&load_requests) < enough && now_ms() < end;)
            sleep_ms(2);
    }
    atomic_store(&load_stop, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    print_message("%lld requests across %d swaps\n", (long long)load_requests, SWAPS);
    assert_true(load_requests > 500);
    assert_int_equal(load_failed, 0);
    assert_int_equal(load_stale, 0);
    free(one);
    free(two);
    free(first);
    router_stop(r);
}

static void a_stop_lets_requests_finish(void **state)
{
    char *one = release("1.0.0", b1, 1), *text = table(1, one, NULL);
    struct router *r = router_start(text, NULL, NULL);
    int fd = client_open(r->port);
    int64_t before = fake_backend_requests(b1);
    client_send(fd, "GET /slow?400 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for_requests(b1, before + 1);
    router_stop(r);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_field(&a, "Connection"), "close");
    assert_true(a.whole);
    answer_done(&a);
    close(fd);
    free(one);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_paths_and_pins_choose),
        cmocka_unit_test(assignments_stick),
        cmocka_unit_test(one_live_release_needs_no_cookie),
        cmocka_unit_test(a_refused_connection_is_tried_elsewhere),
        cmocka_unit_test(no_endpoint_is_a_503_with_retry_after),
        cmocka_unit_test(a_limit_makes_requests_wait),
        cmocka_unit_test(the_file_is_watched),
        cmocka_unit_test(a_file_behind_a_link_is_looked_at),
        cmocka_unit_test(an_invalid_table_is_refused_whole),
        cmocka_unit_test(swaps_lose_nothing_and_leave_nothing_stale),
        cmocka_unit_test(a_stop_lets_requests_finish),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
