/* SPDX-License-Identifier: MIT */
#include "routerd/waiting.h"

#include <stdatomic.h>

#include "common/mem.h"
#include "routerd/endpoint.h"
#include "routerd/exchange.h"
#include "routerd/match.h"
#include "routerd/match_policy.h"
#include "routerd/pool.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

static struct pool_local *queue_of(const struct exchange *ex)
{
    return &ex->release->slots->pool->locals[ex->worker->index];
}

static uint64_t bit_of(const struct worker *worker)
{
    return UINT64_C(1) << worker->index;
}

static uint32_t n_waiting(const struct pool_local *q)
{
    return atomic_load_explicit(&q->n_waiting, memory_order_relaxed);
}

static void set_n_waiting(struct pool_local *q, uint32_t n)
{
    atomic_store_explicit(&q->n_waiting, n, memory_order_relaxed);
}

/* --- queues ---------------------------------------------------------------------------------------------- */

/* Says to one worker in whose queue somebody waits, whichever, that n places are free. */
static void tell(struct worker *worker, struct pool *pool, uint32_t n)
{
    while (n > 0) {
        uint64_t all = atomic_load(&pool->waiting);
        if (all == 0)
            return;
        for (uint64_t i = worker_random(worker) % (uint64_t)__builtin_popcountll(all); i > 0; i--)
            all &= all - 1; /* without its lowest bit */
        unsigned index = (unsigned)__builtin_ctzll(all);
        atomic_fetch_add(&pool->locals[index].n_freed, n);
        if (atomic_load(&pool->waiting) & UINT64_C(1) << index) {
            if (index == worker->index)
                loop_soon(worker->loop, &worker->waiting.task);
            else
                worker_ring(worker->routerd->workers[index]);
            return;
        }
        /* Nobody waits there any more: another one, unless it passed on what it found. */
        n = atomic_exchange(&pool->locals[index].n_freed, 0);
    }
}

static void open_queue(struct worker *worker, struct pool_local *q)
{
    if (!list_empty(&q->link))
        return;
    list_append(&worker->waiting.queues, &q->link);
    atomic_fetch_or(&q->pool->waiting, bit_of(worker));
}

static void close_if_empty(struct worker *worker, struct pool_local *q)
{
    if (!list_empty(&q->waiting) || list_empty(&q->link))
        return;
    list_remove(&q->link);
    q->looking = false;
    atomic_fetch_and(&q->pool->waiting, ~bit_of(worker));
    /* What was meant for one who has left is another's. */
    tell(worker, q->pool, atomic_exchange(&q->n_freed, 0));
}

static void put(struct exchange *ex, struct pool_local *q)
{
    open_queue(ex->worker, q);
    if (ex->turn == WAITING_FIRST)
        list_prepend(&q->waiting, &ex->waiting);
    else
        list_append(&q->waiting, &ex->waiting);
    ex->queue = q;
    set_n_waiting(q, n_waiting(q) + 1);
    ex->worker->waiting.n++;
}

static void take(struct exchange *ex)
{
    struct pool_local *q = ex->queue;
    list_remove(&ex->waiting);
    if (!q)
        return;
    ex->queue = NULL;
    set_n_waiting(q, n_waiting(q) - 1);
    ex->worker->waiting.n--;
}

static int64_t deadline_ms(const struct exchange *ex)
{
    int64_t ms = ex->service->policy->queue_ms;
    return ms >= 0 ? ms : ex->worker->settings->queue_ms;
}

static bool has_room(const struct exchange *ex, const struct pool_local *q)
{
    uint32_t max = ex->service->policy->queue, share = max / ex->worker->routerd->n_workers;
    if (max > 0 && share == 0)
        share = 1;
    return n_waiting(q) < share && deadline_ms(ex) > 0;
}

bool waiting_join(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    struct pool_local *q = queue_of(ex);
    if (ex->turn != WAITING_NOT) {
        if (!wheel_is_set(&ex->deadline))
            wheel_set(&worker->wheel, &ex->deadline, deadline_ms(ex));
        put(ex, q);
        return true;
    }
    if (!has_room(ex, q)) {
        endpoint_count(&q->queue_full, 1);
        return false;
    }
    endpoint_count(&q->queued, 1);
    wheel_set(&worker->wheel, &ex->deadline, deadline_ms(ex));
    /* A place that came free between looking and this was said to nobody. */
    q->looking |= list_empty(&q->link);
    put(ex, q);
    if (q->looking)
        loop_soon(worker->loop, &worker->waiting.task);
    return true;
}

void waiting_leave(struct exchange *ex)
{
    struct pool_local *q = ex->queue;
    take(ex);
    if (q)
        close_if_empty(ex->worker, q);
}

bool waiting_are_others(const struct exchange *ex)
{
    return ex->worker->waiting.n > 0 && ex->turn == WAITING_NOT && n_waiting(queue_of(ex)) > 0;
}

void waiting_count_expired(struct exchange *ex)
{
    endpoint_count(&queue_of(ex)->queue_expired, 1);
}

/* --- going on -------------------------------------------------------------------------------------------- */

/* The exchange may be over behind this; its memory is good until the turn ends. */
static void wake(struct exchange *ex, enum waiting_turn turn)
{
    take(ex);
    ex->turn = turn;
    exchange_wake(ex);
    ex->turn = WAITING_NOT;
}

/* fresh: that has tried no endpoint yet. NULL: none. */
static struct exchange *first_in(struct pool_local *q, bool fresh)
{
    struct exchange *ex;
    list_for_each (ex, &q->waiting, waiting) {
        if (!fresh || ex->n_tried == 0)
            return ex;
    }
    return NULL;
}

/* As many as there are places, while one finds one. Whoever may not use the free one, because it tried it before, holds
 * up nobody that may. Returns what is left of the budget. */
static unsigned serve_queue(struct worker *worker, struct pool_local *q, unsigned budget)
{
    struct exchange *ex;
    bool fresh = false;
    /* Whoever begins to wait looks for itself: of two that begin at once, each could think that the other was told. */
    uint32_t n = atomic_exchange(&q->n_freed, 0) + q->looking;
    q->looking = false;
    for (; n > 0 && budget > 0 && (ex = first_in(q, fresh)); n--, budget--) {
        wake(ex, WAITING_FIRST);
        if (ex->state == EXCHANGE_OVER)
            n++; /* it took no place */
        if (ex->queue != q)
            continue;
        if (fresh || ex->n_tried == 0)
            return budget;
        fresh = true;
        n++;
    }
    if (n > 0 && (!fresh || budget == 0))
        atomic_fetch_add(&q->n_freed, n);
    return budget;
}

static void on_task(void *arg)
{
    struct worker *worker = arg;
    struct waiting *w = &worker->waiting;
    unsigned budget = WAITING_PER_TURN, n_queues = 0;
    for (; budget > 0 && !list_empty(&w->again); budget--)
        wake(list_first(&w->again, struct exchange, waiting), WAITING_AGAIN);
    for (struct list *l = w->queues.next; l != &w->queues; l = l->next)
        n_queues++;
    /* Taking from the front, as those that are woken may end others and so close their queues. */
    for (; n_queues > 0 && budget > 0 && !list_empty(&w->queues); n_queues--) {
        struct pool_local *q = list_first(&w->queues, struct pool_local, link);
        list_remove(&q->link);
        list_append(&w->queues, &q->link);
        budget = serve_queue(worker, q, budget);
        close_if_empty(worker, q);
    }
    if (budget == 0)
        loop_soon(worker->loop, &w->task);
}

void waiting_freed(struct worker *worker, struct pool *pool)
{
    tell(worker, pool, 1);
}

void waiting_on_table(struct worker *worker)
{
    struct waiting *w = &worker->waiting;
    while (!list_empty(&w->queues)) {
        struct pool_local *q = list_first(&w->queues, struct pool_local, link);
        while (!list_empty(&q->waiting)) {
            struct exchange *ex = list_first(&q->waiting, struct exchange, waiting);
            take(ex);
            list_append(&w->again, &ex->waiting);
        }
        close_if_empty(worker, q);
    }
    if (!list_empty(&w->again))
        loop_soon(worker->loop, &w->task);
}

void waiting_on_mail(struct worker *worker)
{
    if (worker->waiting.n > 0)
        loop_soon(worker->loop, &worker->waiting.task);
}

void waiting_ring(struct routerd *routerd, struct pool *pool)
{
    uint64_t all = atomic_load(&pool->waiting);
    for (unsigned i = 0; i < routerd->n_workers; i++) {
        if (!(all & UINT64_C(1) << i))
            continue;
        atomic_fetch_add(&pool->locals[i].n_freed, n_waiting(&pool->locals[i]));
        worker_ring(routerd->workers[i]);
    }
}

/* --- life ------------------------------------------------------------------------------------------------ */

void waiting_init(struct waiting *w, struct worker *worker)
{
    list_init(&w->queues);
    list_init(&w->again);
    task_init(&w->task, on_task, worker);
}

void waiting_done(struct waiting *w)
{
    task_done(&w->task);
}
