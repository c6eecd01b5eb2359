/* SPDX-License-Identifier: MIT */
#include "common/metrics.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static void samples_are_prometheus_text(void **state)
{
    const char *const labels[] = { "service=web", "path=a\"b\\c\nd", NULL };
    struct strbuf out = STRBUF_INIT;
    struct counter counter = { 0 };
    struct gauge gauge = { 0 };

    counter_add(&counter, 3);
    counter_add(&counter, 4);
    gauge_set(&gauge, 5);
    gauge_add(&gauge, -7);
    metrics_family(&out, "stagecoach_requests_total", METRIC_COUNTER, "Requests.");
    metrics_sample(&out, "stagecoach_requests_total", labels, (int64_t)counter_get(&counter));
    metrics_family(&out, "stagecoach_delta", METRIC_GAUGE, "Delta.");
    metrics_sample(&out, "stagecoach_delta", NULL, gauge_get(&gauge));
    assert_string_equal(strbuf_str(&out),
        "# HELP stagecoach_requests_total Requests.\n# TYPE stagecoach_requests_total counter\n"
        "stagecoach_requests_total{service=\"web\",path=\"a\\\"b\\\\c\\nd\"} 7\n"
        "# HELP stagecoach_delta Delta.\n# TYPE stagecoach_delta gauge\nstagecoach_delta -2\n");
    strbuf_done(&out);
}

static void histograms_are_cumulative_and_in_seconds(void **state)
{
    const char *const labels[] = { "service=web", NULL };
    struct histogram_view view = { 0 };
    struct strbuf out = STRBUF_INIT;
    struct histogram h = { 0 };

    histogram_add(&h, 100);
    histogram_add(&h, 101);
    histogram_add(&h, 2000000);
    histogram_add(&h, INT64_C(400000000));
    histogram_add(&h, -1);
    histogram_read(&h, &view);
    metrics_histogram(&out, "d", labels, &view);
    row_has("lowest", strbuf_str(&out), "d_bucket{service=\"web\",le=\"0.0001\"} 2\n");
    row_has("next", strbuf_str(&out), "d_bucket{service=\"web\",le=\"0.00025\"} 3\n");
    row_has("whole seconds", strbuf_str(&out), "d_bucket{service=\"web\",le=\"1\"} 3\n");
    row_has("2.5", strbuf_str(&out), "d_bucket{service=\"web\",le=\"2.5\"} 4\n");
    row_has("infinite", strbuf_str(&out), "d_bucket{service=\"web\",le=\"+Inf\"} 5\n");
    row_has("sum", strbuf_str(&out), "d_sum{service=\"web\"} 402.000201\n");
    row_has("count", strbuf_str(&out), "d_count{service=\"web\"} 5\n");
    strbuf_done(&out);
}

static void quantiles_lie_in_their_bucket(void **state)
{
    struct histogram_view before = { 0 }, now = { 0 }, empty = { 0 };
    struct histogram h = { 0 };

    assert_int_equal(histogram_quantile_us(&empty, 500), 0);
    for (int i = 0; i < 99; i++)
        histogram_add(&h, 700);
    histogram_add(&h, 8000);
    histogram_read(&h, &now);
    assert_int_equal(histogram_count(&now), 100);
    assert_in_range(histogram_quantile_us(&now, 500), 501, 1000);
    assert_in_range(histogram_quantile_us(&now, 990), 501, 1000);
    assert_in_range(histogram_quantile_us(&now, 999), 5001, 10000);
    before = now;
    histogram_add(&h, INT64_C(999000000));
    now = empty;
    histogram_read(&h, &now);
    histogram_subtract(&now, &before);
    assert_int_equal(histogram_count(&now), 1);
    assert_int_equal(histogram_quantile_us(&now, 500), 300000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_prometheus_text),
        cmocka_unit_test(histograms_are_cumulative_and_in_seconds),
        cmocka_unit_test(quantiles_lie_in_their_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
