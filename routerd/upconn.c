/* SPDX-License-Identifier: MIT */
#include "routerd/upconn.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/mem.h"
#include "routerd/endpoint.h"
#include "routerd/exchange.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

static struct endpoint_local *local_of(const struct upconn *up)
{
    return registry_local(up->worker->registry, up->worker->index, up->endpoint->slot);
}

static void free_later(void *p)
{
    free(p);
}

static void leave_pool(struct upconn *up)
{
    list_remove(&up->pool);
    list_remove(&up->all);
    up->worker->n_idle_upconns--;
    struct endpoint_local *local = local_of(up);
    atomic_store_explicit(
        &local->n_idle, atomic_load_explicit(&local->n_idle, memory_order_relaxed) - 1, memory_order_release);
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct upconn *up = container_of(wire, struct upconn, wire);
    if (up->closed)
        return;
    /* An event of the turn in which it was taken tells of bytes, or an end, from before anything was asked. */
    bool unasked = up->reused && up->taken_us == worker_now_us(up->worker) &&
        events & (WIRE_READABLE | WIRE_CLOSED) && up->exchange && up->exchange->state == EXCHANGE_ASKING;
    if (unasked)
        exchange_broken(up->exchange, false, "bytes that answer nothing");
    else if (up->exchange)
        exchange_on_upstream(up->exchange, events);
    else if (events & (WIRE_READABLE | WIRE_CLOSED))
        upconn_close(up);
}

static void on_deadline(struct wheel_node *node)
{
    struct upconn *up = container_of(node, struct upconn, deadline);
    if (up->closed)
        return;
    if (up->exchange)
        exchange_on_upstream_timeout(up->exchange);
    else
        upconn_close(up);
}

struct upconn *upconn_take(struct worker *worker, struct endpoint *endpoint, bool idempotent)
{
    struct endpoint_local *local = registry_local(worker->registry, worker->index, endpoint->slot);
    struct upconn *up = list_first(&local->idle, struct upconn, pool);
    if (!up)
        return NULL;
    if (!idempotent && worker_now_us(worker) - up->idle_since_us > UPCONN_UNSAFE_IDLE_MS * CLOCK_US_PER_MS)
        return NULL;
    leave_pool(up);
    wheel_clear(&up->deadline);
    up->reused = true;
    up->taken_us = worker_now_us(worker);
    return up;
}

struct upconn *upconn_connect(struct worker *worker, struct endpoint *endpoint, int *ret_error)
{
    struct upconn *up = xcalloc(1, sizeof(*up));
    up->worker = worker;
    up->endpoint = endpoint;
    list_init(&up->pool);
    list_init(&up->all);
    wheel_node_init(&up->deadline, on_deadline);
    wire_init(&up->wire, on_wire);
    int r = wire_connect(&up->wire, worker->loop, &endpoint->address);
    if (r < 0) {
        free(up);
        *ret_error = r;
        return NULL;
    }
    wire_keep_asking(&up->wire, UPCONN_ALIVE_S);
    return up;
}

void upconn_give_back(struct upconn *up)
{
    struct worker *worker = up->worker;
    struct endpoint_local *local = local_of(up);
    uint32_t n_idle = atomic_load_explicit(&local->n_idle, memory_order_relaxed);
    uint32_t cap = (uint32_t)worker->settings->idle_per_endpoint;
    bool clean = up->connected && !up->in && cap > 0 && !worker->stopping &&
        !atomic_load_explicit(&up->endpoint->draining, memory_order_relaxed) && wire_is_quiet(&up->wire);
    if (!clean) {
        upconn_close(up);
        return;
    }
    up->exchange = NULL;
    up->idle_since_us = worker_now_us(worker);
    list_prepend(&local->idle, &up->pool);
    list_prepend(&worker->idle_upconns, &up->all);
    worker->n_idle_upconns++;
    atomic_store_explicit(&local->n_idle, n_idle + 1, memory_order_release);
    wheel_set(&worker->wheel, &up->deadline, n_idle < cap ? UPCONN_IDLE_MS : UPCONN_SURPLUS_MS);
}

void upconn_close(struct upconn *up)
{
    if (!up || up->closed)
        return;
    struct worker *worker = up->worker;
    up->closed = true;
    if (!list_empty(&up->pool))
        leave_pool(up);
    up->exchange = NULL;
    wheel_node_done(&worker->wheel, &up->deadline);
    wire_close(&up->wire);
    block_free(&worker->blocks, up->in);
    up->in = NULL;
    loop_free_later(worker->loop, up, free_later);
}

void upconn_sweep(struct worker *worker, uint32_t n)
{
    struct upconn *up;
    for (; n > 0 && (up = list_last(&worker->idle_upconns, struct upconn, all)); n--) {
        if (atomic_load_explicit(&up->endpoint->draining, memory_order_relaxed)) {
            upconn_close(up);
        } else {
            list_remove(&up->all);
            list_prepend(&worker->idle_upconns, &up->all);
        }
    }
}

void upconn_drop_endpoint(struct worker *worker, struct endpoint *endpoint)
{
    struct endpoint_local *local = registry_local(worker->registry, worker->index, endpoint->slot);
    struct upconn *up, *next;
    list_for_each_safe (up, next, &local->idle, pool)
        upconn_close(up);
}

void upconn_drop_all(struct worker *worker)
{
    struct upconn *up, *next;
    list_for_each_safe (up, next, &worker->idle_upconns, all)
        upconn_close(up);
}
