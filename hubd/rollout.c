/* SPDX-License-Identifier: MIT */
#include "hubd/rollout.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

/* A piece of the space and whose it is: index into the weights, -1 nobody's. */
struct piece {
    int64_t first, last;
    int owner;
};

struct pieces {
    struct piece *v;
    size_t n, cap;
};

static void add_piece(struct pieces *p, int64_t first, int64_t last, int owner)
{
    if (first > last)
        return;
    if (p->n > 0 && p->v[p->n - 1].owner == owner && p->v[p->n - 1].last + 1 == first) {
        p->v[p->n - 1].last = last;
        return;
    }
    p->v = xgrow(p->v, p->n, &p->cap, sizeof(*p->v));
    p->v[p->n++] = (struct piece){ first, last, owner };
}

static int by_first(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int owner_of(const struct rollout_weight *weights, size_t n, const char *version)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(weights[i].version, version) == 0)
            return (int)i;
    return -1;
}

/* The whole space in order, gaps and releases that leave as nobody's. */
static void cut_up(
    const struct live_set *now, const struct rollout_weight *weights, size_t n, struct pieces *ret)
{
    struct pieces have = { 0 };
    for (size_t i = 0; i < now->n_releases; i++) {
        const struct live_release *release = &now->releases[i];
        for (size_t k = 0; k < release->n_ranges; k++) {
            have.v = xgrow(have.v, have.n, &have.cap, sizeof(*have.v));
            have.v[have.n++] = (struct piece){ release->ranges[k].first, release->ranges[k].last,
                owner_of(weights, n, release->version) };
        }
    }
    if (have.n > 0)
        qsort(have.v, have.n, sizeof(*have.v), by_first);
    int64_t next = 0;
    for (size_t i = 0; i < have.n; i++) {
        if (have.v[i].last < next)
            continue; /* never written so; an overlap must not derail us */
        if (have.v[i].first > next)
            add_piece(ret, next, have.v[i].first - 1, -1);
        int64_t first = have.v[i].first > next ? have.v[i].first : next;
        add_piece(ret, first, have.v[i].last, have.v[i].owner);
        next = have.v[i].last + 1;
    }
    add_piece(ret, next, ROLLOUT_SPACE - 1, -1);
    free(have.v);
}

/* Shares of the space by cumulative rounding, so that they always sum up to it. */
static void share_out(const struct rollout_weight *weights, size_t n, int64_t *ret)
{
    /* 2^32 times a sum of weights must fit: weights are shares of a few thousand at most. */
    int64_t sum = 0, before = 0;
    for (size_t i = 0; i < n; i++)
        sum += weights[i].weight;
    for (size_t i = 0; i < n; i++) {
        int64_t after = before + weights[i].weight;
        ret[i] = sum == 0 ? 0 : after * ROLLOUT_SPACE / sum - before * ROLLOUT_SPACE / sum;
        before = after;
    }
}

/* First pass: everybody keeps what is his, up to his share. `room` is what he still lacks afterwards. */
static void keep(const struct pieces *all, int64_t *room, struct pieces *ret)
{
    for (size_t i = 0; i < all->n; i++) {
        struct piece p = all->v[i];
        if (p.owner < 0) {
            add_piece(ret, p.first, p.last, -1);
            continue;
        }
        int64_t len = p.last - p.first + 1;
        int64_t kept = len < room[p.owner] ? len : room[p.owner];
        add_piece(ret, p.first, p.first + kept - 1, p.owner);
        add_piece(ret, p.first + kept, p.last, -1);
        room[p.owner] -= kept;
    }
}

/* Second pass: what is nobody's goes, in order, to those who lack. */
static void give(const struct pieces *all, int64_t *room, size_t n, struct pieces *ret)
{
    size_t who = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct piece p = all->v[i];
        if (p.owner >= 0) {
            add_piece(ret, p.first, p.last, p.owner);
            continue;
        }
        while (p.first <= p.last) {
            while (who < n && room[who] == 0)
                who++;
            if (who == n)
                break; /* only when all weights are 0 */
            int64_t len = p.last - p.first + 1;
            int64_t taken = len < room[who] ? len : room[who];
            add_piece(ret, p.first, p.first + taken - 1, (int)who);
            room[who] -= taken;
            p.first += taken;
        }
    }
}

void rollout_next(
    const struct live_set *now, const struct rollout_weight *weights, size_t n, struct live_set *ret)
{
    *ret = (struct live_set){ 0 };
    struct pieces all = { 0 }, kept = { 0 }, given = { 0 };
    int64_t *room = xcalloc(n + 1, sizeof(*room));
    cut_up(now, weights, n, &all);
    share_out(weights, n, room);
    keep(&all, room, &kept);
    give(&kept, room, n, &given);

    ret->releases = xcalloc(n + 1, sizeof(*ret->releases));
    for (size_t i = 0; i < n; i++) {
        struct live_release release = { 0 };
        size_t cap = 0;
        for (size_t k = 0; k < given.n; k++) {
            if (given.v[k].owner != (int)i)
                continue;
            release.ranges = xgrow(release.ranges, release.n_ranges, &cap, sizeof(*release.ranges));
            release.ranges[release.n_ranges++] = (struct table_range){ given.v[k].first, given.v[k].last };
        }
        if (release.n_ranges == 0)
            continue;
        release.version = xstrdup(weights[i].version);
        ret->releases[ret->n_releases++] = release;
    }
    if (ret->n_releases == 0)
        free(steal_ptr(ret->releases));
    free(room);
    free(all.v);
    free(kept.v);
    free(given.v);
}

int64_t rollout_percent(const struct live_set *live, const char *version)
{
    for (size_t i = 0; i < live->n_releases; i++) {
        if (strcmp(live->releases[i].version, version) != 0)
            continue;
        int64_t sum = 0;
        for (size_t k = 0; k < live->releases[i].n_ranges; k++)
            sum += live->releases[i].ranges[k].last - live->releases[i].ranges[k].first + 1;
        return (sum * 100 + ROLLOUT_SPACE / 2) / ROLLOUT_SPACE;
    }
    return -1;
}
