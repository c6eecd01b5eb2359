/* SPDX-License-Identifier: MIT */
#include "common/metrics.h"

#include "tests/unit/rows.h"

static void samples_are_prometheus_text(void **state)
{
    const char *const labels[] = { "service=web", "path=a\"b\\c\nd", NULL };
    struct strbuf out = STRBUF_INIT;

    metrics_family(&out, "stagecoach_requests_total", METRIC_COUNTER, "Requests.");
    metrics_sample(&out, "stagecoach_requests_total", labels, 7);
    metrics_family(&out, "stagecoach_delta", METRIC_GAUGE, "Delta.");
    metrics_sample(&out, "stagecoach_delta", NULL, -2);
    metrics_sample(&out, "stagecoach_delta", labels + 2, INT64_MAX);
    assert_string_equal(strbuf_str(&out),
        "# HELP stagecoach_requests_total Requests.\n# TYPE stagecoach_requests_total counter\n"
        "stagecoach_requests_total{service=\"web\",path=\"a\\\"b\\\\c\\nd\"} 7\n"
        "# HELP stagecoach_delta Delta.\n# TYPE stagecoach_delta gauge\nstagecoach_delta -2\n"
        "stagecoach_delta 9223372036854775807\n");
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(samples_are_prometheus_text) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
