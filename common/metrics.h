/* SPDX-License-Identifier: MIT */
#pragma once

/* Numbers as Prometheus reads them (text format 0.0.4). Nothing is registered: the owner of the numbers writes
 * its families out when it is asked. Pure. */

#include <stdint.h>

#include "common/strbuf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* The # HELP and # TYPE lines; samples of the same name follow. */
void metrics_family(struct strbuf *out, const char *name, enum metric_type type, const char *help);
/* Labels are pairs "key=value", NULL for none; values are escaped. */
void metrics_sample(struct strbuf *out, const char *name, const char *const *labels, int64_t value);
/* The same of microseconds, in seconds. */
void metrics_sample_seconds(struct strbuf *out, const char *name, const char *const *labels, int64_t us);
