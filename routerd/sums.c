/* SPDX-License-Identifier: MIT */
#include "routerd/sums.h"

#include <stdlib.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/messages.h"

struct sum {
    struct endpoint_traffic row;
    bool known; /* to somebody who tells it */
    bool moved;
};

struct sums {
    struct map *by_endpoint; /* struct sum */
    const char **keys;       /* of a walk by sums_next */
    size_t n_keys;
    struct endpoint_traffic told;
    char told_name[256];
};

static void free_sum(void *p)
{
    struct sum *sum = p;
    free(sum->row.endpoint);
    free(sum);
}

struct sums *sums_new(void)
{
    struct sums *sums = xcalloc(1, sizeof(*sums));
    sums->by_endpoint = map_new(free_sum);
    return sums;
}

void sums_free(struct sums *sums)
{
    if (!sums)
        return;
    map_free(sums->by_endpoint);
    free(sums->keys);
    free(sums);
}

struct map *sums_said_new(void)
{
    return map_new(free);
}

/* to += factor * by, but for what is no count. */
static void add(struct endpoint_traffic *to, const struct endpoint_traffic *by, int64_t factor)
{
    to->in_flight += factor * by->in_flight;
    to->requests += factor * by->requests;
    to->status_1xx += factor * by->status_1xx;
    to->status_2xx += factor * by->status_2xx;
    to->status_3xx += factor * by->status_3xx;
    to->status_4xx += factor * by->status_4xx;
    to->status_5xx += factor * by->status_5xx;
    to->failures += factor * by->failures;
    if (factor > 0 && by->last_hit_us > to->last_hit_us)
        to->last_hit_us = by->last_hit_us;
}

void sums_take(struct sums *sums, struct map *said, const struct endpoint_traffic *row)
{
    struct sum *sum = map_get(sums->by_endpoint, row->endpoint);
    struct endpoint_traffic *before = map_get(said, row->endpoint);
    if (!sum) {
        sum = xcalloc(1, sizeof(*sum));
        sum->row.endpoint = xstrdup(row->endpoint);
        map_set(sums->by_endpoint, row->endpoint, sum);
    }
    if (before) {
        add(&sum->row, before, -1);
    } else {
        before = xcalloc(1, sizeof(*before));
        map_set(said, row->endpoint, before);
    }
    add(&sum->row, row, 1);
    *before = *row;
    before->endpoint = NULL;
    sum->moved = true;
}

void sums_leave(struct sums *sums, struct map *said, bool all)
{
    map_for_each (it, said) {
        const struct endpoint_traffic *last = it.value;
        struct sum *sum = map_get(sums->by_endpoint, it.key);
        struct endpoint_traffic in_flight = { .in_flight = last->in_flight };
        if (!sum)
            continue;
        add(&sum->row, all ? last : &in_flight, -1);
        sum->moved = true;
    }
    map_free(said);
}

void sums_add(struct sums *sums, struct endpoint_traffic *row)
{
    struct sum *sum = map_get(sums->by_endpoint, row->endpoint);
    if (!sum)
        return;
    add(row, &sum->row, 1);
    sum->known = true;
    sum->moved = false;
}

const struct endpoint_traffic *sums_next(struct sums *sums, size_t *at)
{
    if (*at == 0) {
        free(sums->keys);
        sums->keys = map_sorted_keys(sums->by_endpoint);
        sums->n_keys = map_size(sums->by_endpoint);
    }
    while (*at < sums->n_keys) {
        const char *key = sums->keys[(*at)++];
        struct sum *sum = map_get(sums->by_endpoint, key);
        bool tell = sum->moved && !sum->known;
        bool keep = sum->known || sum->row.in_flight != 0;
        sum->known = sum->moved = false;
        if (tell) {
            sums->told = sum->row;
            snprintf(sums->told_name, sizeof(sums->told_name), "%s", sum->row.endpoint);
            sums->told.endpoint = sums->told_name;
        }
        /* An endpoint that no table names and nobody uses is told for the last time. */
        if (!keep)
            map_remove(sums->by_endpoint, key);
        if (tell)
            return &sums->told;
    }
    return NULL;
}
