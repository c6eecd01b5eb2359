/* SPDX-License-Identifier: MIT */
#pragma once

/* Probes of endpoints, where the table asks for them: a GET over a connection of its own, on the main loop. Rise and
 * fall turn an endpoint's flags; whoever picks reads those. It knows nothing of ejection. */

#include <stdint.h>

#define PROBES_AT_ONCE    256 /* connections; further ones wait their turn */
#define PROBE_HEAD_MAX    (16 * 1024)
#define PROBE_JITTER_PART 10 /* an interval is up to a tenth longer or shorter */

struct loop;
struct match_table;
struct probes;
struct registry;

/* An endpoint's flags have changed. */
typedef void (*probes_changed_fn)(void *arg);

struct probes *probes_new(struct loop *loop, struct registry *registry, probes_changed_fn fn, void *arg);
void probes_free(struct probes *probes);
/* Probes go on where the endpoint is still named, and stop where it is not. Before the table that was served last is
 * freed. NULL: all stop. */
void probes_serve(struct probes *probes, const struct match_table *table);
