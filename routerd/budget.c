/* SPDX-License-Identifier: MIT */
#include "routerd/budget.h"

#include "routerd/conn_h1.h"
#include "routerd/conn_h2.h"
#include "routerd/endpoint.h"
#include "routerd/exchange.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

#define LOOKED_AT_MAX 256 /* connections of either kind, for one that is cut off */
#define CUT_OFF_MAX   64  /* in one turn */

static size_t max_bytes(const struct worker *w)
{
    return (size_t)w->settings->buffered_bytes;
}

/* The one of the longest not looked at that weighs most. They go to the end of the list. */
static struct conn_h1 *heaviest_h1(struct worker *w, uint64_t *ret_weight)
{
    struct conn_h1 *found = NULL, *last = list_last(&w->conns, struct conn_h1, link), *c;
    for (unsigned i = 0; i < LOOKED_AT_MAX && (c = list_first(&w->conns, struct conn_h1, link)); i++) {
        uint64_t weight = conn_h1_weight(c);
        if (weight > *ret_weight) {
            found = c;
            *ret_weight = weight;
        }
        list_remove(&c->link);
        list_append(&w->conns, &c->link);
        if (c == last)
            break;
    }
    return found;
}

static bool cut_off_one(struct worker *w)
{
    uint64_t weight = 0;
    struct conn_h1 *h1 = heaviest_h1(w, &weight);
    struct conn_h2 *h2 = conn_h2_heaviest(w, LOOKED_AT_MAX, &weight);
    if (h2)
        conn_h2_close(h2);
    else if (h1)
        conn_h1_cut_off(h1);
    else
        return false;
    endpoint_count(&w->counters.crowded_out, 1);
    return true;
}

static void on_relief(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < CUT_OFF_MAX && w->blocks.used_bytes > max_bytes(w); i++) {
        if (!cut_off_one(w))
            return;
    }
    if (w->blocks.used_bytes > max_bytes(w))
        loop_soon(w->loop, &w->relief);
}

bool budget_allows(struct worker *w)
{
    if (w->blocks.used_bytes <= max_bytes(w))
        return true;
    loop_at_end(w->loop, &w->relief);
    return w->blocks.used_bytes <= 2 * max_bytes(w);
}

void budget_init(struct worker *w)
{
    task_init(&w->relief, on_relief, w);
}

void budget_done(struct worker *w)
{
    task_done(&w->relief);
}
