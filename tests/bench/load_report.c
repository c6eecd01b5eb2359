/* SPDX-License-Identifier: MIT */
#include "tests/bench/load.h"

#include <stdio.h>
#include <string.h>

void count_failure(const char *text)
{
    load.failed++;
    for (int i = 0; i < load.n_reasons; i++) {
        if (strcmp(load.reasons[i].text, text) == 0) {
            load.reasons[i].count++;
            return;
        }
    }
    if (load.n_reasons < REASONS_MAX)
        load.reasons[load.n_reasons++] = (struct reason){ text, 1 };
}

/* --- latency --------------------------------------------------------------------------------------------- */

static size_t bucket_of(int64_t us)
{
    if (us < BUCKETS_PER_OCTAVE)
        return us < 0 ? 0 : (size_t)us;
    int octave = 63 - __builtin_clzll((unsigned long long)us) - 5;
    size_t i = (size_t)octave * BUCKETS_PER_OCTAVE + (size_t)(us >> octave);
    return i < ARRAY_SIZE(load.buckets) ? i : ARRAY_SIZE(load.buckets) - 1;
}

static int64_t bucket_value(size_t i)
{
    if (i < 2 * BUCKETS_PER_OCTAVE)
        return (int64_t)i;
    size_t octave = i / BUCKETS_PER_OCTAVE - 1;
    return (int64_t)(i - octave * BUCKETS_PER_OCTAVE) << octave;
}

static int64_t percentile(double share)
{
    int64_t wanted = (int64_t)((double)load.requests * share), seen = 0;
    for (size_t i = 0; i < ARRAY_SIZE(load.buckets); i++) {
        seen += load.buckets[i];
        if (seen > wanted)
            return bucket_value(i);
    }
    return load.max_us;
}

void count_answer(int64_t us)
{
    load.buckets[bucket_of(us)]++;
    if (us > load.max_us)
        load.max_us = us;
    load.requests++;
}

/* --- versions -------------------------------------------------------------------------------------------- */

void count_version(struct conn *c, int64_t wall_us)
{
    struct version *v = &load.versions[c->version];
    if (v->requests++ == 0)
        v->first_us = wall_us;
    v->last_us = wall_us;
    if (v->first_sent_us == 0 || c->wall_us < v->first_sent_us)
        v->first_sent_us = c->wall_us;
    if (c->wall_us > v->last_sent_us)
        v->last_sent_us = c->wall_us;
    if (options.expect_version && strcmp(v->name, options.expect_version) != 0)
        load.wrong_version++;
}

void find_version(struct conn *c, const struct http1_head *head)
{
    const struct http1_field *f = http1_find_name(head, "x-version");
    c->version = -1;
    if (!f || f->value_len > VERSION_LEN_MAX)
        return;
    for (int i = 0; i < load.n_versions; i++) {
        struct version *v = &load.versions[i];
        if (strlen(v->name) == f->value_len && memcmp(v->name, f->value, f->value_len) == 0)
            c->version = i;
    }
    if (c->version < 0 && load.n_versions < VERSIONS_MAX) {
        c->version = load.n_versions++;
        memcpy(load.versions[c->version].name, f->value, f->value_len);
    }
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static void print_statuses(const char *name)
{
    const char *comma = "";
    printf(", \"%s\": {", name);
    for (int i = 0; i < 600; i++) {
        if (load.by_status[i] > 0) {
            printf("%s\"%d\": %lld", comma, i, (long long)load.by_status[i]);
            comma = ", ";
        }
    }
    printf("}");
}

/* Times are seconds of the wall clock; "last_sent" is when the last request was sent that this version answered. */
static void print_versions(void)
{
    const char *comma = "";
    printf(", \"by_version\": {");
    for (int i = 0; i < load.n_versions; i++) {
        const struct version *v = &load.versions[i];
        printf("%s\"%s\": {\"requests\": %lld, \"first\": %.6f, \"last\": %.6f, \"last_sent\": %.6f}", comma,
            v->name, (long long)v->requests, (double)v->first_us / 1e6, (double)v->last_us / 1e6,
            (double)v->last_sent_us / 1e6);
        comma = ", ";
    }
    printf("}, \"versions\": {");
    comma = "";
    for (int i = 0; i < load.n_versions; i++) {
        const struct version *v = &load.versions[i];
        printf("%s\"%s\": {\"count\": %lld, \"first_sent_us\": %lld, \"last_sent_us\": %lld}", comma, v->name,
            (long long)v->requests, (long long)v->first_sent_us, (long long)v->last_sent_us);
        comma = ", ";
    }
    printf("}");
}

static void print_reasons(void)
{
    const char *comma = "";
    printf(", \"reasons\": {");
    for (int i = 0; i < load.n_reasons; i++) {
        printf("%s\"%s\": %lld", comma, load.reasons[i].text, (long long)load.reasons[i].count);
        comma = ", ";
    }
    printf("}");
}

void print_result(void)
{
    double seconds = (double)(load.end_us - load.start_us) / 1e6;
    printf(
        "{\"requests\": %lld, \"failed\": %lld, \"seconds\": %.3f, \"per_second\": %.1f, \"connects\": %lld, "
        "\"bytes\": %lld, \"wrong_version\": %lld, \"handshakes\": %lld, \"resumed\": %lld",
        (long long)load.requests, (long long)load.failed, seconds, (double)load.requests / seconds,
        (long long)load.connects, (long long)load.bytes, (long long)load.wrong_version,
        (long long)load.handshakes, (long long)load.resumed);
    printf(", \"p50_us\": %lld, \"p99_us\": %lld, \"max_us\": %lld", (long long)percentile(0.50),
        (long long)percentile(0.99), (long long)load.max_us);
    print_statuses("by_status");
    print_statuses("status");
    print_versions();
    print_reasons();
    printf("}\n");
    fflush(stdout);
}
