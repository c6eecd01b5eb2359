/* SPDX-License-Identifier: MIT */
#include "common/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "common/clock.h"

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
    strbuf_addc(out, first ? '{' : ',');
    strbuf_add(out, pair, (size_t)(equals - pair));
    strbuf_add(out, "=\"", 2);
    for (const char *p = equals + 1; *p;) {
        size_t n = strcspn(p, "\\\"\n");
        strbuf_add(out, p, n);
        p += n;
        if (*p == '\n')
            strbuf_add(out, "\\n", 2);
        else if (*p)
            strbuf_add(out, (char[]){ '\\', *p }, 2);
        p += *p != '\0';
    }
    strbuf_addc(out, '"');
}

static void add_name(struct strbuf *out, const char *name, const char *const *labels)
{
    strbuf_adds(out, name);
    for (size_t i = 0; labels && labels[i]; i++)
        add_label(out, labels[i], i == 0);
    strbuf_adds(out, labels && *labels ? "} " : " ");
}

void metrics_sample(struct strbuf *out, const char *name, const char *const *labels, int64_t value)
{
    add_name(out, name, labels);
    strbuf_addf(out, "%" PRId64 "\n", value);
}

void metrics_sample_seconds(struct strbuf *out, const char *name, const char *const *labels, int64_t us)
{
    add_name(out, name, labels);
    strbuf_addf(out, "%" PRId64 ".%06" PRId64 "\n", us / CLOCK_US_PER_S, us % CLOCK_US_PER_S);
}
