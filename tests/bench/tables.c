/* SPDX-License-Identifier: MIT */
/* What a change of a large routing table costs, piece by piece, and what a lookup costs in a small and in a large one:
 * ./bench-tables [ROUTES]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/table_diff.h"
#include "routerd/match.h"

#define CHANGED 100
#define ROUNDS  7

static uint32_t claim(void *arg, const char *release, const struct table_service *service,
    const struct table_endpoint *endpoint)
{
    return (*(uint32_t *)arg)++ % 4096;
}

/* One route, one service, one endpoint each; `version` in the first CHANGED of them. */
static void print_table(struct strbuf *out, int n, int64_t epoch, int version)
{
    strbuf_addf(out, "{\"format\":1,\"fleet\":\"f\",\"epoch\":%lld,\"routes\":[", (long long)epoch);
    for (int i = 0; i < n; i++)
        strbuf_addf(out, "%s{\"host\":\"h%d.example.com\",\"service\":\"s%d\"}", i ? "," : "", i, i);
    strbuf_adds(out, "],\"services\":[");
    for (int i = 0; i < n; i++)
        strbuf_addf(out,
            "%s{\"name\":\"s%d\",\"releases\":[{\"version\":\"1.0.%d\",\"commit\":\"%040x\",\"ranges\":[{"
            "\"first\":0,"
            "\"last\":4294967295}],\"endpoints\":[{\"id\":\"%08x\",\"address\":\"10.0.%d.%d:20000\"}]}]}",
            i ? "," : "", i, i < CHANGED ? version : 0, i, i + 1, i / 250, i % 250 + 1);
    strbuf_adds(out, "]}");
}

/* Of the processor: a machine that does other things, too, does not count. */
static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double since_ms(double start)
{
    return now_ms() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

enum piece { READ, SUM, BUILD, DIFF_READ, DIFF_APPLY, DIFF_BUILD, FREE, PIECE_MAX_ };
static const char *const names[] = { "read the whole", "sum its rows", "compile it",
    "read a diff of 100 services", "apply it", "compile by difference", "free the one before" };

static void must(int r, const struct error *err)
{
    if (r < 0) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static void one_round(const struct strbuf *text, const struct strbuf *diff_text, double *ms)
{
    uint32_t next = 0;
    struct match_slot_ops slots = { claim, &next };
    struct match_table *before, *after;
    struct table table;
    struct table_diff diff;
    struct error err;
    double t = now_ms();
    must(table_read(text->data, text->len, &table, &err), &err);
    ms[READ] = since_ms(t);
    t = now_ms();
    table_sum_rows(&table);
    ms[SUM] = since_ms(t);
    t = now_ms();
    must(match_build(&table, NULL, &slots, &before, &err), &err);
    ms[BUILD] = since_ms(t);
    t = now_ms();
    must(table_diff_read(diff_text->data, diff_text->len, &diff, &err), &err);
    ms[DIFF_READ] = since_ms(t);
    t = now_ms();
    must(table_diff_apply(&table, &diff, &err), &err);
    ms[DIFF_APPLY] = since_ms(t);
    t = now_ms();
    must(match_build(&table, before, &slots, &after, &err), &err);
    ms[DIFF_BUILD] = since_ms(t);
    t = now_ms();
    match_free(before);
    ms[FREE] = since_ms(t);
    match_free(after);
    table_diff_clear(&diff);
    table_clear(&table);
}

static void changes(int n)
{
    struct strbuf a = STRBUF_INIT, b = STRBUF_INIT, d = STRBUF_INIT;
    double ms[PIECE_MAX_][ROUNDS], round[PIECE_MAX_];
    struct table base, next;
    struct table_diff diff;
    struct error err;
    print_table(&a, n, 1, 1);
    print_table(&b, n, 2, 2);
    must(table_read(a.data, a.len, &base, &err), &err);
    must(table_read(b.data, b.len, &next, &err), &err);
    table_sum_rows(&base);
    table_sum_rows(&next);
    double t = now_ms();
    table_diff_make(&base, &next, &diff);
    printf("%8.2f ms  make the diff, on the hub\n", since_ms(t));
    table_diff_print(&diff, &d);
    for (int r = 0; r < ROUNDS; r++) {
        one_round(&a, &d, round);
        for (int i = 0; i < PIECE_MAX_; i++)
            ms[i][r] = round[i];
    }
    for (int i = 0; i < PIECE_MAX_; i++) {
        qsort(ms[i], ROUNDS, sizeof(double), by_value);
        printf("%8.2f ms  %s\n", ms[i][ROUNDS / 2], names[i]);
    }
    table_diff_clear(&diff);
    table_clear(&base);
    table_clear(&next);
    strbuf_done(&a);
    strbuf_done(&b);
    strbuf_done(&d);
}

/* Hosts in an order that no cache knows. */
static double lookup_ns(int n, int hosts)
{
    struct strbuf text = STRBUF_INIT;
    uint32_t next = 0, at = 1;
    struct match_slot_ops slots = { claim, &next };
    struct match_table *match;
    struct table table;
    struct error err;
    enum { LOOKUPS = 1000000 };
    print_table(&text, n, 1, 1);
    must(table_read(text.data, text.len, &table, &err), &err);
    must(match_build(&table, NULL, &slots, &match, &err), &err);
    char(*names_of)[32] = xcalloc((size_t)hosts, sizeof(*names_of));
    for (int i = 0; i < hosts; i++)
        snprintf(names_of[i], sizeof(*names_of), "H%d.example.com", i);
    uintptr_t sum = 0;
    double t = now_ms();
    for (int i = 0; i < LOOKUPS; i++) {
        at = at * 1664525 + 1013904223;
        const char *host = names_of[(at >> 8) % (uint32_t)hosts];
        struct match_route r =
            match_route(match, (struct http1_slice){ host, strlen(host) }, (struct http1_slice){ "/", 1 });
        sum += (uintptr_t)r.service->only;
    }
    double ns = since_ms(t) * 1e6 / LOOKUPS;
    if (sum == 1)
        printf("%s", "");
    free(names_of);
    match_free(match);
    table_clear(&table);
    strbuf_done(&text);
    return ns;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10000;
    if (n < CHANGED || n > TABLE_ROUTES_MAX) {
        fprintf(stderr, "usage: bench-tables [ROUTES]\n");
        return 2;
    }
    printf("%d routes, services and endpoints, %d services changed; processor time, medians of %d\n", n,
        CHANGED, ROUNDS);
    changes(n);
    printf("%8.0f ns  look up one host of %d\n", lookup_ns(CHANGED, 1), CHANGED);
    printf("%8.0f ns  look up one host of %d\n", lookup_ns(n, 1), n);
    printf("%8.0f ns  look up any host of %d\n", lookup_ns(n, n), n);
    return 0;
}
