/* SPDX-License-Identifier: MIT */
#pragma once

/* Counters, gauges and histograms of durations, and their text for Prometheus (format 0.0.4). Each is written
 * by one thread and may be read by any other: a write is a relaxed load and store, without a lock. Nothing is
 * registered: the owner of the numbers writes its families out when it is asked. */

#include <stdatomic.h>
#include <stdint.h>

#include "common/strbuf.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define HISTOGRAM_BUCKETS    20 /* the last takes everything above the bounds */

struct counter {
    _Atomic uint64_t n;
};

struct gauge {
    _Atomic int64_t n;
};

struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_us;
};

/* A histogram at one moment, or several added up, or the difference of two moments. */
struct histogram_view {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t sum_us;
};

/* --- writing: one thread --------------------------------------------------------------------------------- */

static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->n, atomic_load_explicit(&c->n, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void gauge_set(struct gauge *g, int64_t n)
{
    atomic_store_explicit(&g->n, n, memory_order_relaxed);
}

static inline void gauge_add(struct gauge *g, int64_t n)
{
    gauge_set(g, atomic_load_explicit(&g->n, memory_order_relaxed) + n);
}

void histogram_add(struct histogram *h, int64_t us);

/* --- reading: any thread --------------------------------------------------------------------------------- */

static inline uint64_t counter_get(const struct counter *c)
{
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}

static inline int64_t gauge_get(const struct gauge *g)
{
    return atomic_load_explicit(&g->n, memory_order_relaxed);
}

/* Adds what the histogram holds now to the view. */
void histogram_read(const struct histogram *h, struct histogram_view *view);
/* now -= before. */
void histogram_subtract(struct histogram_view *now, const struct histogram_view *before);
uint64_t histogram_count(const struct histogram_view *view);
/* The duration below which per_mille of 1000 lie, interpolated in its bucket; 0 if there are none. */
int64_t histogram_quantile_us(const struct histogram_view *view, int per_mille);

/* --- text ------------------------------------------------------------------------------------------------ */

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* The # HELP and # TYPE lines; samples of the same name follow. */
void metrics_family(struct strbuf *out, const char *name, enum metric_type type, const char *help);
/* Labels are pairs "key=value", NULL for none; values are escaped. */
void metrics_sample(struct strbuf *out, const char *name, const char *const *labels, int64_t value);
/* _bucket, _sum and _count lines, in seconds. */
void metrics_histogram(
    struct strbuf *out, const char *name, const char *const *labels, const struct histogram_view *view);
