/* SPDX-License-Identifier: MIT */
#include "common/metrics.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"

/* Upper bounds, inclusive: from a fast answer of a neighbour to the longest deadline. */
static const int64_t bounds_us[] = { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
    500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000 };

_Static_assert(ARRAY_SIZE(bounds_us) == HISTOGRAM_BUCKETS - 1, "one bucket lies above the bounds");

void histogram_add(struct histogram *h, int64_t us)
{
    size_t i = 0;

    if (us < 0)
        us = 0;
    while (i < ARRAY_SIZE(bounds_us) && us > bounds_us[i])
        i++;
    uint64_t n = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    atomic_store_explicit(&h->buckets[i], n + 1, memory_order_relaxed);
    uint64_t sum = atomic_load_explicit(&h->sum_us, memory_order_relaxed);
    atomic_store_explicit(&h->sum_us, sum + (uint64_t)us, memory_order_relaxed);
}

void histogram_read(const struct histogram *h, struct histogram_view *view)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        view->buckets[i] += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    view->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

void histogram_subtract(struct histogram_view *now, const struct histogram_view *before)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        now->buckets[i] -= before->buckets[i];
    now->sum_us -= before->sum_us;
}

uint64_t histogram_count(const struct histogram_view *view)
{
    uint64_t n = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        n += view->buckets[i];
    return n;
}

int64_t histogram_quantile_us(const struct histogram_view *view, int per_mille)
{
    uint64_t n = histogram_count(view), below = 0;
    /* The rank, rounded up: of ten, the 999th per mille is the tenth. */
    uint64_t rank = (n * (uint64_t)per_mille + 999) / 1000;

    for (size_t i = 0; n > 0 && i < ARRAY_SIZE(bounds_us); i++) {
        uint64_t here = view->buckets[i];
        if (here > 0 && below + here >= rank) {
            int64_t low = i > 0 ? bounds_us[i - 1] : 0;
            return low + (int64_t)((uint64_t)(bounds_us[i] - low) * (rank - below) / here);
        }
        below += here;
    }
    return n > 0 ? bounds_us[ARRAY_SIZE(bounds_us) - 1] : 0;
}

void metrics_family(struct strbuf *out, const char *name, enum metric_type type, const char *help)
{
    static const char *const names[] = { "counter", "gauge", "histogram" };

    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, names[type]);
}

static void add_label(struct strbuf *out, const char *pair, bool first)
{
    const char *equals = strchr(pair, '=');

    if (!equals)
        return;
    strbuf_addf(out, "%s%.*s=\"", first ? "" : ",", (int)(equals - pair), pair);
    for (const char *p = equals + 1; *p; p++) {
        if (*p == '\\' || *p == '"')
            strbuf_addc(out, '\\');
        if (*p == '\n')
            strbuf_adds(out, "\\n");
        else
            strbuf_addc(out, *p);
    }
    strbuf_addc(out, '"');
}

/* name{labels,extra} and a space */
static void add_name(
    struct strbuf *out, const char *name, const char *suffix, const char *const *labels, const char *extra)
{
    bool first = true;

    strbuf_addf(out, "%s%s", name, suffix);
    if ((labels && *labels) || extra)
        strbuf_addc(out, '{');
    for (; labels && *labels; labels++, first = false)
        add_label(out, *labels, first);
    if (extra) {
        add_label(out, extra, first);
        first = false;
    }
    strbuf_adds(out, first ? " " : "} ");
}

void metrics_sample(struct strbuf *out, const char *name, const char *const *labels, int64_t value)
{
    add_name(out, name, "", labels, NULL);
    strbuf_addf(out, "%" PRId64 "\n", value);
}

/* Microseconds as seconds, without trailing zeros. */
static void add_seconds(struct strbuf *out, uint64_t us)
{
    char fraction[8];

    strbuf_addf(out, "%" PRIu64, us / 1000000);
    if (us % 1000000 == 0)
        return;
    snprintf(fraction, sizeof(fraction), "%06u", (unsigned)(us % 1000000));
    for (size_t n = 6; n > 0 && fraction[n - 1] == '0'; n--)
        fraction[n - 1] = '\0';
    strbuf_addf(out, ".%s", fraction);
}

void metrics_histogram(
    struct strbuf *out, const char *name, const char *const *labels, const struct histogram_view *view)
{
    uint64_t n = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        struct strbuf le _cleanup_(strbuf_done) = STRBUF_INIT;
        strbuf_adds(&le, "le=");
        if (i < ARRAY_SIZE(bounds_us))
            add_seconds(&le, (uint64_t)bounds_us[i]);
        else
            strbuf_adds(&le, "+Inf");
        n += view->buckets[i];
        add_name(out, name, "_bucket", labels, strbuf_str(&le));
        strbuf_addf(out, "%" PRIu64 "\n", n);
    }
    add_name(out, name, "_sum", labels, NULL);
    add_seconds(out, view->sum_us);
    strbuf_addc(out, '\n');
    add_name(out, name, "_count", labels, NULL);
    strbuf_addf(out, "%" PRIu64 "\n", n);
}
