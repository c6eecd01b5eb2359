/* SPDX-License-Identifier: MIT */
#include "routerd/pool.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "routerd/endpoint.h"

struct pool *pool_new(const char *name, unsigned n_workers)
{
    size_t size = sizeof(struct pool) + n_workers * sizeof(struct pool_local);
    struct pool *pool = aligned_alloc(POOL_LINE, size);
    if (!pool)
        abort();
    memset(pool, 0, size);
    pool->name = xstrdup(name);
    pool->n_workers = n_workers;
    list_init(&pool->link);
    for (unsigned w = 0; w < n_workers; w++) {
        pool->locals[w].pool = pool;
        list_init(&pool->locals[w].waiting);
        list_init(&pool->locals[w].link);
    }
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    list_remove(&pool->link);
    free(pool->gone);
    free(pool->name);
    free(pool);
}

/* --- ejection -------------------------------------------------------------------------------------------- */

void pool_set_members(struct pool *pool, uint32_t n_members, unsigned max_ejected_percent)
{
    uint32_t max = (uint32_t)((uint64_t)n_members * max_ejected_percent / 100);
    if (max >= n_members)
        max = n_members > 0 ? n_members - 1 : 0;
    atomic_store_explicit(&pool->n_members, n_members, memory_order_relaxed);
    atomic_store_explicit(&pool->max_ejected, max, memory_order_relaxed);
}

bool pool_take_ejection(struct pool *pool)
{
    uint32_t n = atomic_fetch_add_explicit(&pool->n_ejected, 1, memory_order_relaxed);
    if (n < atomic_load_explicit(&pool->max_ejected, memory_order_relaxed))
        return true;
    pool_return_ejection(pool);
    return false;
}

void pool_return_ejection(struct pool *pool)
{
    atomic_fetch_sub_explicit(&pool->n_ejected, 1, memory_order_relaxed);
}

/* --- retries --------------------------------------------------------------------------------------------- */

/* Begins a new window if the present one is over. Nobody looks between two retries, so it may be long over: what
 * came in all that time is then cut down to one window's share. */
static void roll(struct retry_budget *b, int64_t now_us, uint64_t requests)
{
    int64_t elapsed = now_us - b->window_start_us;
    if (elapsed < RETRY_WINDOW_US)
        return;
    uint64_t n = requests - b->window_requests;
    b->last_requests = (uint64_t)((double)n * RETRY_WINDOW_US / (double)elapsed);
    b->last_retries = elapsed < 2 * RETRY_WINDOW_US ? b->retries : 0;
    b->retries = 0;
    b->window_start_us = now_us;
    b->window_requests = requests;
}

bool retry_budget_take(struct retry_budget *b, int64_t now_us, uint64_t requests, unsigned percent)
{
    roll(b, now_us, requests);
    uint64_t seen = b->last_requests + (requests - b->window_requests);
    uint64_t allowed = RETRY_FLOOR + seen * percent / 100;
    if (percent == 0 || (uint64_t)b->retries + b->last_retries >= allowed)
        return false;
    b->retries++;
    return true;
}

bool pool_may_retry(struct pool_local *local, int64_t now_us, unsigned percent)
{
    uint64_t requests = atomic_load_explicit(&local->requests, memory_order_relaxed);
    bool may = retry_budget_take(&local->budget, now_us, requests, percent);
    endpoint_count(may ? &local->retries : &local->retries_denied, 1);
    return may;
}
