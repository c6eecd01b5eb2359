/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_service.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/mem.h"
#include "routerd/endpoint.h"
#include "routerd/pool.h"
#include "routerd/routerd.h"

/* One routerd in front of endpoints that fall ill: who still gets requests, and what clients see of it. */

#define GET        "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"
#define GET_CLOSE  "GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n"
#define CLIENTS    8
#define STATUS_MAX 600

/* `keys`: more of the service, as "\"limits\":{…},"; `rows`: of its one release. */
static char *table_with(int64_t epoch, const char *keys, const char *rows)
{
    return xasprintf("{\"format\":1,\"epoch\":%lld,\"routes\":[{\"host\":\"*\",\"service\":\"web\"}],"
                     "\"services\":[{\"name\":\"web\",%s\"releases\":[{\"version\":\"1.0.0\",\"weight\":1,"
                     "\"endpoints\":[%s]}]}]}",
        (long long)epoch, keys, rows);
}

static char *rows_of(const struct fake_service *s, int n)
{
    struct strbuf out = STRBUF_INIT;
    for (int i = 0; i < n; i++)
        strbuf_addf(&out, "%s{\"address\":\"%s\"}", i ? "," : "", fake_service_address(s, i));
    return strbuf_steal(&out);
}

static char *table_for(int64_t epoch, const char *keys, const struct fake_service *s, int n)
{
    char *rows = rows_of(s, n), *table = table_with(epoch, keys, rows);
    free(rows);
    return table;
}

static struct router *start(
    const char *keys, const struct fake_service *s, int n, const char *const *settings)
{
    char *table = table_for(1, keys, s, n);
    struct router *router = router_start(table, NULL, settings);
    free(table);
    return router;
}

/* --- load ------------------------------------------------------------------------------------------------ */

struct load {
    int port, n_each;
    int64_t until_ms; /* instead of n_each */
    _Atomic int64_t status[STATUS_MAX];
    _Atomic int64_t n, not_whole;
};

static void *client(void *arg)
{
    struct load *load = arg;
    int fd = client_open(load->port);
    for (int i = 0; i == 0 || (load->until_ms ? now_ms() < load->until_ms : i < load->n_each); i++) {
        client_send(fd, GET);
        struct answer a = client_read(fd, false);
        load->n++;
        load->status[a.status]++;
        load->not_whole += !a.whole;
        bool ends = a.eof || strcmp(answer_field(&a, "Connection"), "close") == 0;
        answer_done(&a);
        if (ends) {
            close(fd);
            fd = client_open(load->port);
        }
    }
    close(fd);
    return NULL;
}

static void run_clients(struct load *load, int n_clients)
{
    pthread_t *threads = xcalloc((size_t)n_clients, sizeof(*threads));
    for (int i = 0; i < n_clients; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, client, load), 0);
    for (int i = 0; i < n_clients; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static struct load *ask_many(const struct router *router, int n_clients, int n_each)
{
    struct load *load = xcalloc(1, sizeof(*load));
    load->port = router->port;
    load->n_each = n_each;
    run_clients(load, n_clients);
    return load;
}

static struct load *ask_for(const struct router *router, int n_clients, int64_t ms)
{
    struct load *load = xcalloc(1, sizeof(*load));
    load->port = router->port;
    load->until_ms = now_ms() + ms;
    run_clients(load, n_clients);
    return load;
}

static void assert_all_well(struct load *load)
{
    if (load->status[200] != load->n)
        for (int i = 0; i < STATUS_MAX; i++)
            if (load->status[i])
                print_message("status %d: %lld\n", i, (long long)load->status[i]);
    assert_true(load->n > 0);
    assert_int_equal(load->status[200], load->n);
    assert_int_equal(load->not_whole, 0);
    free(load);
}

/* --- what the router thinks ------------------------------------------------------------------------------ */

struct view {
    int by_health[HEALTH_MAX_];
    int n_ejections, ejections[64]; /* of each endpoint, as the table has them */
    int64_t retries, retries_denied, queue_full, queue_expired, n_waiting;
};

static void look(struct router *router, void *arg)
{
    struct view *v = arg;
    struct registry *registry = router->routerd->registry;
    *v = (struct view){ 0 };
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        struct endpoint *e = registry_at(registry, i);
        if (!e || e->draining)
            continue;
        v->by_health[endpoint_health(e)]++;
        v->n_ejections += (int)e->n_ejections;
        if (i < ARRAY_SIZE(v->ejections))
            v->ejections[i] += (int)e->n_ejections;
    }
    struct pool *pool;
    list_for_each (pool, &registry->pools, link) {
        for (unsigned w = 0; w < pool->n_workers; w++) {
            v->retries += (int64_t)pool->locals[w].retries;
            v->retries_denied += (int64_t)pool->locals[w].retries_denied;
            v->queue_full += (int64_t)pool->locals[w].queue_full;
            v->queue_expired += (int64_t)pool->locals[w].queue_expired;
            v->n_waiting += pool->locals[w].n_waiting;
        }
    }
}

static struct view view_of(struct router *router)
{
    struct view v;
    router_call(router, look, &v);
    return v;
}

static void wait_for_health(struct router *router, enum endpoint_health health, int n)
{
    for (int64_t end = now_ms() + 10000; view_of(router).by_health[health] != n; sleep_ms(5)) {
        if (now_ms() > end)
            fail_msg("%d endpoints are %s, not %d", view_of(router).by_health[health],
                endpoint_health_names[health], n);
    }
}

static void wait_for_waiting(struct router *router, int64_t n)
{
    for (int64_t end = now_ms() + 10000; view_of(router).n_waiting != n; sleep_ms(2)) {
        if (now_ms() > end)
            fail_msg("%lld wait, not %lld", (long long)view_of(router).n_waiting, (long long)n);
    }
}

/* --- ejection -------------------------------------------------------------------------------------------- */

static void half_of_fifty_are_dead_and_nobody_sees_it(void **state)
{
    struct fake_service *s = fake_service_new(50, FAKE_IPV4);
    struct router *router = start("", s, 50, NULL);
    for (int i = 0; i < 50; i += 2)
        fake_service_set(s, i, FAKE_REFUSES);
    assert_all_well(ask_many(router, CLIENTS, 250));
    for (int i = 0; i < 50; i++)
        assert_true(i % 2 == 0 ? fake_service_requests(s, i) == 0 : fake_service_requests(s, i) > 0);
    wait_for_health(router, HEALTH_EJECTED, 25);
    /* They are back within the back-off that is due, one trial each. */
    for (int i = 0; i < 50; i += 2)
        fake_service_set(s, i, FAKE_WELL);
    int64_t end = now_ms() + 20000;
    while (view_of(router).by_health[HEALTH_HEALTHY] < 50 && now_ms() < end)
        assert_all_well(ask_for(router, 2, 100));
    assert_int_equal(view_of(router).by_health[HEALTH_HEALTHY], 50);
    router_stop(router);
    fake_service_free(s);
}

static void when_all_are_dead_the_first_that_is_back_is_found(void **state)
{
    struct fake_service *s = fake_service_new(4, FAKE_IPV4);
    struct router *router = start("", s, 4, NULL);
    for (int i = 0; i < 4; i++)
        fake_service_set(s, i, FAKE_REFUSES);
    for (int i = 0; i < 20; i++) {
        struct answer a = ask(router->port, GET);
        assert_int_equal(a.status, 503);
        assert_string_equal(answer_field(&a, "Retry-After"), "1");
        answer_done(&a);
    }
    assert_int_equal(view_of(router).by_health[HEALTH_EJECTED], 2);
    fake_service_set(s, 3, FAKE_WELL);
    int status = 0;
    for (int64_t end = now_ms() + 10000; status != 200 && now_ms() < end; sleep_ms(20))
        free(get(router->port, "/", NULL, &status));
    assert_int_equal(status, 200);
    router_stop(router);
    fake_service_free(s);
}

static void a_single_endpoint_is_never_ejected(void **state)
{
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router = start("", s, 1, NULL);
    int status;
    fake_service_set(s, 0, FAKE_REFUSES);
    for (int i = 0; i < 10; i++)
        free(get(router->port, "/", NULL, &status));
    assert_int_equal(status, 503);
    assert_int_equal(view_of(router).n_ejections, 0);
    fake_service_set(s, 0, FAKE_WELL);
    free(get(router->port, "/", NULL, &status));
    assert_int_equal(status, 200);
    router_stop(router);
    fake_service_free(s);
}

struct flapper {
    struct fake_service *service;
    _Atomic bool over;
};

static void *flap(void *arg)
{
    struct flapper *f = arg;
    for (int i = 0; !f->over; i++) {
        fake_service_set(f->service, 0, i % 2 ? FAKE_WELL : FAKE_REFUSES);
        sleep_ms(30);
    }
    fake_service_set(f->service, 0, FAKE_WELL);
    return NULL;
}

static void one_that_comes_and_goes_costs_no_request(void **state)
{
    struct fake_service *s = fake_service_new(3, FAKE_IPV4);
    struct router *router = start("", s, 3, NULL);
    struct flapper flapper = { .service = s };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flap, &flapper), 0);
    struct load *load = ask_for(router, CLIENTS, 3000);
    flapper.over = true;
    pthread_join(thread, NULL);
    assert_all_well(load);
    assert_true(view_of(router).n_ejections >= 1);
    router_stop(router);
    fake_service_free(s);
}

static void one_that_hangs_is_found_out(void **state)
{
    static const char *const settings[] = { "Timeouts.FirstByte=1s", NULL };
    struct fake_service *s = fake_service_new(3, FAKE_IPV4);
    struct router *router = start("", s, 3, settings);
    fake_service_set(s, 1, FAKE_HANGS);
    struct load *load = ask_for(router, CLIENTS, 5000);
    assert_true(load->n - load->status[200] <= 5 + CLIENTS + 3);
    assert_true(view_of(router).n_ejections >= 1);
    free(load);
    router_stop(router);
    fake_service_free(s);
}

static void errors_in_a_row_eject_where_the_table_says_so(void **state)
{
    struct fake_service *s = fake_service_new(3, FAKE_IPV4);
    struct router *router = start("\"limits\":{\"eject_errors\":3,\"outlier_percent\":0},", s, 3, NULL);
    fake_service_set(s, 2, FAKE_ERRORS);
    struct load *load = ask_many(router, 4, 100);
    assert_in_range(load->status[500], 3, 3 + 4 + 2);
    assert_int_equal(view_of(router).by_health[HEALTH_EJECTED], 1);
    free(load);
    router_stop(router);
    fake_service_free(s);
}

static void the_one_that_fails_more_than_the_others_is_ejected(void **state)
{
    struct fake_service *s = fake_service_new(4, FAKE_IPV4);
    struct router *router = start("", s, 4, NULL);
    fake_service_error_percent(s, 2, 80);
    for (int64_t end = now_ms() + 15000; view_of(router).n_ejections == 0 && now_ms() < end;)
        free(ask_for(router, 4, 200));
    struct view v = view_of(router);
    assert_true(v.n_ejections > 0);
    assert_int_equal(v.ejections[2], v.n_ejections);
    router_stop(router);
    fake_service_free(s);
}

static void when_all_fail_alike_nobody_is_ejected(void **state)
{
    struct fake_service *s = fake_service_new(4, FAKE_IPV4);
    struct router *router = start("", s, 4, NULL);
    for (int i = 0; i < 4; i++)
        fake_service_error_percent(s, i, 80);
    free(ask_for(router, 4, 2500));
    assert_int_equal(view_of(router).n_ejections, 0);
    router_stop(router);
    fake_service_free(s);
}

/* --- retries --------------------------------------------------------------------------------------------- */

static void total_failure_is_not_multiplied(void **state)
{
    enum { N = 4000 };
    struct fake_service *s = fake_service_new(6, FAKE_IPV4);
    struct router *router = start("", s, 6, NULL);
    for (int i = 0; i < 6; i++)
        fake_service_set(s, i, FAKE_CLOSES);
    struct load *load = ask_many(router, CLIENTS, N / CLIENTS);
    struct view v = view_of(router);
    assert_int_equal(load->status[502] + load->status[503], N);
    /* A fifth more, and each worker's floor. */
    assert_in_range(fake_service_all_requests(s), N / 2, N + N / 5 + 2 * 2 * RETRY_FLOOR);
    assert_true(v.retries <= N / 5 + 2 * 2 * RETRY_FLOOR);
    assert_true(v.retries_denied > 0);
    free(load);
    router_stop(router);
    fake_service_free(s);
}

static void no_retries_where_the_table_says_so(void **state)
{
    struct fake_service *s = fake_service_new(2, FAKE_IPV4);
    struct router *router = start("\"limits\":{\"retries\":0},", s, 2, NULL);
    fake_service_set(s, 0, FAKE_CLOSES);
    fake_service_set(s, 1, FAKE_CLOSES);
    int status;
    for (int i = 0; i < 10; i++)
        free(get(router->port, "/", NULL, &status));
    assert_int_equal(fake_service_all_requests(s), 10);
    assert_int_equal(view_of(router).retries, 0);
    router_stop(router);
    fake_service_free(s);
}

/* --- queues ---------------------------------------------------------------------------------------------- */

static void a_limit_holds_and_nobody_waits_in_vain(void **state)
{
    struct fake_service *s = fake_service_new(2, FAKE_IPV4);
    struct router *router = start("\"limits\":{\"max_in_flight\":2},", s, 2, NULL);
    for (int i = 0; i < 2; i++)
        fake_service_delay(s, i, 5);
    int64_t begin = now_ms();
    assert_all_well(ask_many(router, 48, 20));
    /* 960 requests of 5 ms each, four at once: 1.2 s, were nobody else here. */
    assert_true(now_ms() - begin < 20000);
    for (int i = 0; i < 2; i++)
        assert_in_range(fake_service_peak(s, i), 1, 2);
    assert_int_equal(view_of(router).n_waiting, 0);
    router_stop(router);
    fake_service_free(s);
}

static void a_full_queue_refuses_at_once(void **state)
{
    static const char *const settings[] = { "Router.Workers=1", NULL };
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router =
        start("\"limits\":{\"max_in_flight\":1,\"queue\":4,\"queue_ms\":60000},", s, 1, settings);
    fake_service_set(s, 0, FAKE_HANGS);
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = client_open(router->port);
        client_send(fds[i], GET);
    }
    wait_for_waiting(router, 4);
    for (int i = 0; i < 10; i++) {
        struct answer a = ask(router->port, GET);
        assert_int_equal(a.status, 503);
        assert_string_equal(answer_field(&a, "Retry-After"), "1");
        answer_done(&a);
    }
    assert_int_equal(view_of(router).queue_full, 10);
    assert_int_equal(view_of(router).n_waiting, 4);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    router_stop(router);
    fake_service_free(s);
}

static void waiting_has_an_end(void **state)
{
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router = start("\"limits\":{\"max_in_flight\":1,\"queue_ms\":300},", s, 1, NULL);
    fake_service_set(s, 0, FAKE_HANGS);
    int holder = client_open(router->port);
    client_send(holder, GET);
    while (fake_service_requests(s, 0) == 0)
        sleep_ms(1);
    int64_t begin = now_ms();
    struct answer a = ask(router->port, GET);
    assert_int_equal(a.status, 503);
    assert_string_equal(answer_field(&a, "Retry-After"), "1");
    assert_in_range(now_ms() - begin, 290, 9000);
    assert_int_equal(view_of(router).queue_expired, 1);
    answer_done(&a);
    close(holder);
    router_stop(router);
    fake_service_free(s);
}

static void who_leaves_the_queue_keeps_nobody_waiting(void **state)
{
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router = start("\"limits\":{\"max_in_flight\":1},", s, 1, NULL);
    fake_service_delay(s, 0, 300);
    int holder = client_open(router->port), gone[10];
    client_send(holder, GET);
    while (fake_service_requests(s, 0) == 0)
        sleep_ms(1);
    for (int i = 0; i < 10; i++) {
        gone[i] = client_open(router->port);
        client_send(gone[i], GET);
    }
    wait_for_waiting(router, 10);
    for (int i = 0; i < 10; i++)
        close(gone[i]);
    wait_for_waiting(router, 0);
    struct answer a = ask(router->port, GET);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    assert_int_equal(fake_service_requests(s, 0), 2);
    close(holder);
    router_stop(router);
    fake_service_free(s);
}

static void who_came_first_goes_first(void **state)
{
    static const char *const settings[] = { "Router.Workers=1", NULL };
    enum { N = 40 };
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router = start("\"paused\":true,\"limits\":{\"queue_ms\":60000},", s, 1, settings);
    char *table = table_for(2, "\"limits\":{\"max_in_flight\":1},", s, 1);
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_open(router->port);
        client_send(fds[i], GET);
        wait_for_waiting(router, i + 1);
    }
    fake_service_delay(s, 0, 2);
    router_put_table(router, table, 2);
    for (int i = 0; i < N; i++) {
        struct answer a = client_read(fds[i], false);
        assert_int_equal(a.status, 200);
        assert_int_equal(strtol(answer_field(&a, "X-Serial"), NULL, 10), i + 1);
        answer_done(&a);
        close(fds[i]);
    }
    assert_int_equal(fake_service_peak(s, 0), 1);
    free(table);
    router_stop(router);
    fake_service_free(s);
}

static void a_paused_service_lets_its_requests_wait(void **state)
{
    enum { N = 200 };
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct router *router = start("\"paused\":true,\"limits\":{\"queue_ms\":60000},", s, 1, NULL);
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_open(router->port);
        client_send(fds[i], GET);
    }
    wait_for_waiting(router, N);
    assert_int_equal(fake_service_requests(s, 0), 0);
    char *table = table_for(2, "\"paused\":true,\"limits\":{\"queue_ms\":60000,\"queue\":999},", s, 1);
    router_put_table(router, table, 2);
    free(table);
    wait_for_waiting(router, N);
    table = table_for(3, "", s, 1);
    router_put_table(router, table, 3);
    free(table);
    for (int i = 0; i < N; i++) {
        struct answer a = client_read(fds[i], false);
        assert_int_equal(a.status, 200);
        answer_done(&a);
        close(fds[i]);
    }
    assert_int_equal(view_of(router).n_waiting, 0);
    router_stop(router);
    fake_service_free(s);
}

/* --- coming in ------------------------------------------------------------------------------------------- */

static double share(struct router *router, struct fake_service *s, int i, int64_t ms)
{
    fake_service_clear(s);
    assert_all_well(ask_for(router, CLIENTS, ms));
    return (double)fake_service_requests(s, i) / (double)fake_service_all_requests(s);
}

static void a_new_endpoint_starts_slowly(void **state)
{
    static const char keys[] = "\"limits\":{\"slow_start_ms\":3000},";
    struct fake_service *s = fake_service_new(3, FAKE_IPV4);
    struct router *router = start(keys, s, 2, NULL);
    double first = share(router, s, 1, 300);
    assert_true(first > 0.4 && first < 0.6); /* all that are there from the start are alike */
    char *table = table_for(2, keys, s, 3);
    router_put_table(router, table, 2);
    free(table);
    double early = share(router, s, 2, 400), later = share(router, s, 2, 1400);
    sleep_ms(1300);
    double whole = share(router, s, 2, 400);
    print_message("share of the new one of three: %.3f, %.3f, %.3f\n", early, later, whole);
    assert_true(early > 0.005 && early < 0.2);
    assert_true(later > early && later < 0.3);
    assert_true(whole > 0.27 && whole < 0.40);
    router_stop(router);
    fake_service_free(s);
}

static void draining_endpoints_get_nothing_new(void **state)
{
    struct fake_service *s = fake_service_new(2, FAKE_IPV4);
    struct router *router = start("", s, 2, NULL);
    assert_all_well(ask_many(router, 4, 50));
    char *rows = xasprintf("{\"address\":\"%s\",\"draining\":true},{\"address\":\"%s\"}",
        fake_service_address(s, 0), fake_service_address(s, 1));
    char *table = table_with(2, "", rows);
    router_put_table(router, table, 2);
    fake_service_clear(s);
    /* Whatever becomes of the other one. */
    fake_service_set(s, 1, FAKE_REFUSES);
    free(ask_many(router, 4, 10));
    assert_int_equal(fake_service_requests(s, 0), 0);
    free(table);
    free(rows);
    router_stop(router);
    fake_service_free(s);
}

static void endpoints_of_every_kind_serve(void **state)
{
    for (enum fake_place place = FAKE_IPV4; place <= FAKE_UNIX; place++) {
        struct fake_service *s = fake_service_new(3, place);
        struct router *router = start("\"health\":{\"path\":\"/probe\",\"interval_ms\":100},", s, 3, NULL);
        fake_service_set(s, 1, FAKE_REFUSES);
        assert_all_well(ask_many(router, 4, 50));
        assert_int_equal(fake_service_requests(s, 1), 0);
        assert_true(fake_service_requests(s, 2) > 0);
        fake_service_set(s, 1, FAKE_WELL);
        for (int64_t end = now_ms() + 10000; fake_service_requests(s, 1) == 0 && now_ms() < end;)
            assert_all_well(ask_for(router, 2, 50));
        assert_true(fake_service_requests(s, 1) > 0);
        assert_true(fake_service_probe_requests(s, 0) > 0);
        router_stop(router);
        fake_service_free(s);
    }
}

/* --- probes ---------------------------------------------------------------------------------------------- */

#define PROBED                                                                                      \
    "\"health\":{\"path\":\"/probe\",\"interval_ms\":100,\"timeout_ms\":200,\"rise\":2,\"fall\":2," \
    "\"status_min\":200,\"status_max\":299},"

static void probes_take_endpoints_out_and_bring_them_back(void **state)
{
    static const enum fake_illness illnesses[] = { FAKE_REFUSES, FAKE_HANGS, FAKE_CLOSES, FAKE_WELL };
    struct fake_service *s = fake_service_new(3, FAKE_IPV4);
    struct router *router = start(PROBED, s, 3, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(illnesses); i++) {
        fake_service_set(s, 1, illnesses[i]);
        fake_service_probes(s, 1, illnesses[i] == FAKE_WELL ? 302 : 200);
        wait_for_health(router, HEALTH_PROBE_FAILED, 1);
        sleep_ms(30);
        fake_service_clear(s);
        assert_all_well(ask_many(router, 4, 50));
        assert_int_equal(fake_service_requests(s, 1), 0);
        fake_service_set(s, 1, FAKE_WELL);
        fake_service_probes(s, 1, 201);
        wait_for_health(router, HEALTH_PROBE_FAILED, 0);
        sleep_ms(30);
        assert_all_well(ask_many(router, 4, 50));
        assert_true(fake_service_requests(s, 1) > 0);
    }
    router_stop(router);
    fake_service_free(s);
}

static void when_all_fail_their_probes_all_are_used(void **state)
{
    struct fake_service *s = fake_service_new(2, FAKE_IPV4);
    struct router *router = start(PROBED, s, 2, NULL);
    fake_service_probes(s, 0, 500);
    fake_service_probes(s, 1, 500);
    wait_for_health(router, HEALTH_PROBE_FAILED, 2);
    sleep_ms(30);
    assert_all_well(ask_many(router, 4, 25));
    assert_true(fake_service_requests(s, 0) > 0 && fake_service_requests(s, 1) > 0);
    /* No probes, no verdict of theirs. */
    char *table = table_for(2, "", s, 2);
    router_put_table(router, table, 2);
    free(table);
    assert_int_equal(view_of(router).by_health[HEALTH_HEALTHY], 2);
    fake_service_clear(s);
    sleep_ms(300);
    assert_int_equal(fake_service_probe_requests(s, 0), 0);
    router_stop(router);
    fake_service_free(s);
}

static void an_unproven_endpoint_gets_nothing_before_its_first_probe(void **state)
{
    static const char keys[] =
        "\"health\":{\"path\":\"/probe\",\"interval_ms\":100,\"start\":\"unhealthy\"},";
    struct fake_service *s = fake_service_new(2, FAKE_IPV4);
    fake_service_probes(s, 0, 503);
    fake_service_probes(s, 1, 503);
    struct router *router = start(keys, s, 2, NULL);
    int fd = client_open(router->port);
    client_send(fd, GET);
    wait_for_waiting(router, 1);
    sleep_ms(300);
    assert_int_equal(view_of(router).by_health[HEALTH_UNPROVEN], 2);
    assert_int_equal(fake_service_all_requests(s), 0);
    fake_service_probes(s, 1, 200);
    struct answer a = client_read(fd, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(strbuf_str(&a.content), "1");
    answer_done(&a);
    close(fd);
    assert_all_well(ask_many(router, 2, 20));
    assert_int_equal(fake_service_requests(s, 0), 0);
    router_stop(router);
    fake_service_free(s);
}

static void many_probes_of_dead_endpoints_cost_little(void **state)
{
    enum { N = 1000 };
    struct fake_service *s = fake_service_new(1, FAKE_IPV4);
    struct strbuf rows = STRBUF_INIT;
    strbuf_addf(&rows, "{\"address\":\"%s\"}", fake_service_address(s, 0));
    /* Nobody answers in 198.18.0.0/15, or the network says so at once. */
    for (int i = 0; i < N; i++)
        strbuf_addf(&rows, ",{\"address\":\"127.0.%d.%d:9\"}", 1 + i / 250, 1 + i % 250);
    char *table = table_with(1, PROBED, strbuf_str(&rows));
    struct router *router = router_start(table, NULL, NULL);
    wait_for_health(router, HEALTH_PROBE_FAILED, N);
    sleep_ms(30);
    assert_all_well(ask_many(router, 4, 100));
    assert_int_equal(fake_service_requests(s, 0), 400);
    router_stop(router);
    strbuf_done(&rows);
    free(table);
    fake_service_free(s);
}

/* An argument names the test to run, with * for any characters. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_fifty_are_dead_and_nobody_sees_it),
        cmocka_unit_test(when_all_are_dead_the_first_that_is_back_is_found),
        cmocka_unit_test(a_single_endpoint_is_never_ejected),
        cmocka_unit_test(one_that_comes_and_goes_costs_no_request),
        cmocka_unit_test(one_that_hangs_is_found_out),
        cmocka_unit_test(errors_in_a_row_eject_where_the_table_says_so),
        cmocka_unit_test(the_one_that_fails_more_than_the_others_is_ejected),
        cmocka_unit_test(when_all_fail_alike_nobody_is_ejected),
        cmocka_unit_test(total_failure_is_not_multiplied),
        cmocka_unit_test(no_retries_where_the_table_says_so),
        cmocka_unit_test(a_limit_holds_and_nobody_waits_in_vain),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(who_leaves_the_queue_keeps_nobody_waiting),
        cmocka_unit_test(who_came_first_goes_first),
        cmocka_unit_test(a_paused_service_lets_its_requests_wait),
        cmocka_unit_test(a_new_endpoint_starts_slowly),
        cmocka_unit_test(draining_endpoints_get_nothing_new),
        cmocka_unit_test(endpoints_of_every_kind_serve),
        cmocka_unit_test(probes_take_endpoints_out_and_bring_them_back),
        cmocka_unit_test(when_all_fail_their_probes_all_are_used),
        cmocka_unit_test(an_unproven_endpoint_gets_nothing_before_its_first_probe),
        cmocka_unit_test(many_probes_of_dead_endpoints_cost_little),
    };
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
