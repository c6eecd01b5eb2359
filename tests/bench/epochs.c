/* SPDX-License-Identifier: MIT */
/* A router with many routes takes one diff after the other while a client asks: how long each takes from its arrival until
 * every worker serves it, how long it kept a worker from requests, and the slowest request meanwhile.
 * ./bench-epochs [ROUTES [DIFFS]]. */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/table_diff.h"
#include "routerd/feed.h"
#include "routerd/routerd.h"
#include "routerd/worker.h"

#define CHANGED   100
#define DIFFS_MAX 1000

static struct fake_backend *backend;
static _Atomic bool ended;
static int64_t slowest_us;

/* A service for each route; the endpoint of the first is there, those of the others are never asked. */
static void print_table(struct strbuf *out, int n, int64_t epoch)
{
    strbuf_addf(out, "{\"format\":1,\"fleet\":\"f\",\"epoch\":%lld,\"routes\":[", (long long)epoch);
    for (int i = 0; i < n; i++)
        strbuf_addf(out, "%s{\"host\":\"h%d.example.com\",\"service\":\"s%d\"}", i ? "," : "", i, i);
    strbuf_adds(out, "],\"services\":[");
    for (int i = 0; i < n; i++)
        strbuf_addf(out,
            "%s{\"name\":\"s%d\",\"releases\":[{\"version\":\"1.0.%lld\",\"ranges\":[{\"first\":0,\"last\":"
            "4294967295}],"
            "\"endpoints\":[{\"id\":\"e%d\",\"address\":\"127.0.0.1:%d\"}]}]}",
            i ? "," : "", i, i < CHANGED ? (long long)epoch : 0LL, i, fake_backend_port(backend));
    strbuf_adds(out, "]}");
}

struct step {
    int64_t epoch;
    const struct strbuf *text;
    bool is_diff;
    double used_ms; /* of the main thread's processor time */
};

static double used_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void take(struct router *router, void *arg)
{
    struct step *step = arg;
    double before = used_ms();
    struct feed *feed = router->routerd->feed;
    struct error err;
    if (feed_prepare(feed, step->epoch, step->text->data, step->text->len, step->is_diff, &err) < 0 ||
        feed_commit(feed, step->epoch, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    step->used_ms = used_ms() - before;
}

static double serve(struct router *router, struct step *step)
{
    mono_t start = clock_mono();
    router_call(router, take, step);
    while (router_epoch(router) != step->epoch)
        usleep(100);
    return (double)(clock_mono().us - start.us) / 1000;
}

static void *ask_all_the_time(void *arg)
{
    const struct router *router = arg;
    int fd = client_open(router->port);
    while (!ended) {
        mono_t start = clock_mono();
        client_send(fd, "GET /hello HTTP/1.1\r\nHost: h0.example.com\r\n\r\n");
        struct answer a = client_read(fd, false);
        if (a.status != 200) {
            fprintf(stderr, "status %d\n", a.status);
            exit(1);
        }
        answer_done(&a);
        int64_t us = clock_mono().us - start.us;
        slowest_us = us > slowest_us ? us : slowest_us;
    }
    close(fd);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void make_diffs(int n, int n_diffs, struct strbuf *whole, struct strbuf *diffs)
{
    struct table base, next;
    struct table_diff diff;
    struct error err;
    print_table(whole, n, 1);
    if (table_read(whole->data, whole->len, &base, &err) < 0)
        exit(1);
    table_sum_rows(&base);
    for (int i = 0; i < n_diffs; i++) {
        struct strbuf text = STRBUF_INIT;
        print_table(&text, n, i + 2);
        if (table_read(text.data, text.len, &next, &err) < 0)
            exit(1);
        table_sum_as(&next, &base);
        table_diff_make(&base, &next, &diff);
        table_diff_print(&diff, &diffs[i]);
        table_diff_clear(&diff);
        table_clear(&base);
        base = next;
        strbuf_done(&text);
    }
    table_clear(&base);
}

static int64_t longest_pause_us(const struct routerd *r)
{
    int64_t us = 0;
    for (unsigned i = 0; i < r->n_workers; i++) {
        int64_t one = atomic_load(&r->workers[i]->counters.longest_swap_us);
        us = one > us ? one : us;
    }
    return us;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10000;
    int n_diffs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 50;
    if (n < CHANGED || n > TABLE_ROUTES_MAX || n_diffs < 1 || n_diffs > DIFFS_MAX) {
        fprintf(stderr, "usage: bench-epochs [ROUTES [DIFFS]]\n");
        return 2;
    }
    struct strbuf whole = STRBUF_INIT, *diffs = xcalloc((size_t)n_diffs, sizeof(*diffs));
    double *ms = xcalloc((size_t)n_diffs, sizeof(*ms)), *used = xcalloc((size_t)n_diffs, sizeof(*used));
    pthread_t client;
    backend = fake_backend_new("1.0.0");
    make_diffs(n, n_diffs, &whole, diffs);
    struct router *router = router_start(NULL, "/nonexistent/hub.sock", NULL);
    double first = serve(router, &(struct step){ 1, &whole, false, 0 });
    if (pthread_create(&client, NULL, ask_all_the_time, router) != 0)
        return 1;
    for (int i = 0; i < n_diffs; i++) {
        struct step step = { i + 2, &diffs[i], true, 0 };
        ms[i] = serve(router, &step);
        used[i] = step.used_ms;
        sleep_ms(20);
    }
    ended = true;
    pthread_join(client, NULL);
    qsort(ms, (size_t)n_diffs, sizeof(*ms), by_value);
    qsort(used, (size_t)n_diffs, sizeof(*used), by_value);
    printf("%d routes; the whole table %.1f ms; %d diffs of %d services: fastest %.1f, median %.1f, slowest "
           "%.1f ms\n",
        n, first, n_diffs, CHANGED, ms[0], ms[n_diffs / 2], ms[n_diffs - 1]);
    printf("processor time of the main thread for one: median %.1f ms\n", used[n_diffs / 2]);
    printf("longest pause of a worker %lld us (processor time), slowest request %.1f ms\n",
        (long long)longest_pause_us(router->routerd), (double)slowest_us / 1000);
    router_stop(router);
    fake_backend_free(backend);
    for (int i = 0; i < n_diffs; i++)
        strbuf_done(&diffs[i]);
    strbuf_done(&whole);
    free(diffs);
    free(ms);
    free(used);
    return 0;
}
