/* SPDX-License-Identifier: MIT */
#include "routerd/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/secret.h"
#include "common/tls.h"
#include "common/wire.h"
#include "routerd/budget.h"
#include "routerd/conn_h1.h"
#include "routerd/conn_h2.h"
#include "routerd/exchange.h"
#include "routerd/front.h"
#include "routerd/match.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/upconn.h"

#define IDLE_GRACE_MS 1000 /* of worker_stop: idle clients may ask once more, and are then told to go */

const char *const worker_timeout_names[TIMED_OUT_MAX_] = { "head", "idle", "body", "write", "queue",
    "connect", "first-byte", "answer", "tunnel" };

/* --- tables ---------------------------------------------------------------------------------------------- */

struct worker_table *worker_table_hold(struct worker *worker)
{
    worker->table->n_exchanges++;
    return worker->table;
}

static void table_drop(struct worker *worker, struct worker_table *t)
{
    if (match_unref(t->table))
        routerd_retire(worker->routerd, t->table);
    free(t);
}

void worker_table_release(struct worker *worker, struct worker_table *t)
{
    if (--t->n_exchanges == 0 && t != worker->table)
        table_drop(worker, t);
}

/* Time that this thread used: what else runs on the machine is not a swap's fault. */
static int64_t used_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * CLOCK_US_PER_S + t.tv_nsec / 1000;
}

static void note_pause(struct worker *worker, int64_t began_us)
{
    int64_t us = used_us() - began_us;
    if (us > atomic_load_explicit(&worker->counters.longest_swap_us, memory_order_relaxed))
        atomic_store_explicit(&worker->counters.longest_swap_us, us, memory_order_relaxed);
}

/* A few in each turn. */
static void on_sweep(void *arg)
{
    struct worker *worker = arg;
    int64_t began_us = used_us();
    uint32_t n = worker->n_to_sweep < WORKER_SWEEP ? worker->n_to_sweep : WORKER_SWEEP;
    upconn_sweep(worker, n);
    worker->n_to_sweep -= n;
    if (worker->n_to_sweep > 0)
        loop_soon(worker->loop, &worker->sweep);
    note_pause(worker, began_us);
}

static void swap_table(struct worker *worker, struct match_table *table)
{
    int64_t began_us = used_us();
    struct worker_table *old = worker->table, *t = xcalloc(1, sizeof(*t));
    t->table = table;
    worker->table = t;
    if (old && old->n_exchanges == 0)
        table_drop(worker, old);
    worker->n_to_sweep = worker->n_idle_upconns;
    loop_soon(worker->loop, &worker->sweep);
    waiting_on_table(worker);
    atomic_store_explicit(&worker->serving, table->serial, memory_order_release);
    routerd_wake(worker->routerd, ROUTERD_SERVED);
    note_pause(worker, began_us);
}

/* --- connections ----------------------------------------------------------------------------------------- */

static bool is_full(const struct worker *worker)
{
    int64_t max = worker->settings->connections / worker->routerd->n_workers;
    return atomic_load_explicit(&worker->counters.connections, memory_order_relaxed) >= (max > 0 ? max : 1);
}

static void pause_listeners(struct worker *worker, bool pause)
{
    if (worker->listeners_paused == pause)
        return;
    worker->listeners_paused = pause;
    for (unsigned i = 0; i < worker->n_listeners; i++)
        wire_listener_pause(worker->listeners[i].listener, pause);
}

static void on_accept(void *arg, int fd, const struct wire_address *peer)
{
    const struct worker_listener *l = arg;
    struct worker *worker = l->worker;
    if (l->flags)
        front_new(worker, fd, peer, l->flags);
    else
        conn_h1_new(worker, fd, peer);
    if (is_full(worker))
        pause_listeners(worker, true);
}

static void close_listeners(struct worker *worker)
{
    for (unsigned i = 0; i < worker->n_listeners; i++)
        wire_listener_free(worker->listeners[i].listener);
    worker->n_listeners = 0;
}

static bool has_no_client(const struct worker *worker)
{
    return list_empty(&worker->conns) && list_empty(&worker->h2_conns) && list_empty(&worker->fronts);
}

void worker_check_room(struct worker *worker)
{
    if (worker->listeners_paused && worker->accepting && !is_full(worker))
        pause_listeners(worker, false);
    if (worker->stopping && has_no_client(worker))
        loop_stop(worker->loop);
}

/* --- stopping -------------------------------------------------------------------------------------------- */

static void end_idle(struct worker *worker)
{
    struct conn_h1 *c, *next;
    list_for_each_safe (c, next, &worker->conns, link) {
        if (conn_h1_is_idle(c))
            conn_h1_close(c);
    }
    conn_h2_end_idle(worker);
}

static void close_conns(struct worker *worker)
{
    struct conn_h1 *c, *next;
    list_for_each_safe (c, next, &worker->conns, link)
        conn_h1_close(c);
    conn_h2_close_all(worker);
}

static void on_stop_timer(void *arg)
{
    struct worker *worker = arg;
    bool grace_over = worker->idle_grace_over;
    worker->idle_grace_over = true;
    if (grace_over)
        close_conns(worker);
    else
        end_idle(worker);
    if (grace_over || has_no_client(worker))
        loop_stop(worker->loop);
    else
        timer_set(&worker->stop_timer, WORKER_STOP_MS - IDLE_GRACE_MS);
}

int64_t worker_idle_ms(const struct worker *worker)
{
    int64_t ms = worker->settings->idle_ms;
    return worker->stopping && ms > WORKER_DRAIN_IDLE_MS ? WORKER_DRAIN_IDLE_MS : ms;
}

static void begin_drain(struct worker *worker)
{
    struct conn_h1 *c;
    if (worker->stopping)
        return;
    worker->stopping = true;
    close_listeners(worker);
    upconn_drop_all(worker);
    conn_h2_drain_all(worker);
    list_for_each (c, &worker->conns, link) {
        if (conn_h1_is_idle(c))
            wheel_set(&worker->wheel, &c->deadline, worker_idle_ms(worker));
    }
    worker_check_room(worker);
}

static void begin_stop(struct worker *worker)
{
    if (worker->ending)
        return;
    worker->ending = true;
    begin_drain(worker);
    timer_set(&worker->stop_timer, IDLE_GRACE_MS);
}

static void begin_accepting(struct worker *worker)
{
    worker->accepting = true;
    worker_check_room(worker);
}

/* --- the door -------------------------------------------------------------------------------------------- */

static void on_mail(unsigned ready, void *arg)
{
    struct worker *worker = arg;
    uint64_t n;
    if (read(worker->mail_fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
        return;
    struct match_table *table = atomic_exchange_explicit(&worker->posted, NULL, memory_order_acq_rel);
    if (table)
        swap_table(worker, table);
    if (!worker->accepting && atomic_load_explicit(&worker->accept_posted, memory_order_acquire))
        begin_accepting(worker);
    if (!worker->stopping && atomic_load_explicit(&worker->drain_posted, memory_order_acquire))
        begin_drain(worker);
    waiting_on_mail(worker);
    if (atomic_load_explicit(&worker->stop_posted, memory_order_acquire))
        begin_stop(worker);
}

void worker_ring(struct worker *worker)
{
    uint64_t one = 1;
    ssize_t n = write(worker->mail_fd, &one, sizeof(one));
    (void)n; /* EAGAIN: it is ringing already */
}

void worker_post(struct worker *worker, struct match_table *table)
{
    match_ref(table);
    struct match_table *unseen = atomic_exchange_explicit(&worker->posted, table, memory_order_acq_rel);
    if (unseen && match_unref(unseen))
        match_free(unseen);
    worker_ring(worker);
}

void worker_accept(struct worker *worker)
{
    atomic_store_explicit(&worker->accept_posted, true, memory_order_release);
    worker_ring(worker);
}

void worker_drain(struct worker *worker)
{
    atomic_store_explicit(&worker->drain_posted, true, memory_order_release);
    worker_ring(worker);
}

void worker_stop(struct worker *worker)
{
    atomic_store_explicit(&worker->stop_posted, true, memory_order_release);
    worker_ring(worker);
}

/* --- life ------------------------------------------------------------------------------------------------ */

static void on_beat(void *arg)
{
    struct worker *worker = arg;
    int64_t starved = 0;
    for (unsigned i = 0; i < worker->n_listeners; i++)
        starved += wire_listener_starved(worker->listeners[i].listener);
    atomic_store_explicit(&worker->counters.starved, starved, memory_order_relaxed);
    atomic_store_explicit(
        &worker->counters.buffered_bytes, (int64_t)worker->blocks.used_bytes, memory_order_relaxed);
    endpoint_count(&worker->counters.beat, 1);
    timer_set(&worker->beat, WORKER_BEAT_MS);
}

/* xorshift64*: spreading requests needs no more. */
uint64_t worker_random(struct worker *worker)
{
    uint64_t x = worker->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    worker->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static void set_limits(struct worker *worker)
{
    worker->limits.head_max = (size_t)worker->settings->head_bytes;
    worker->limits.fields_max = (unsigned)worker->settings->fields;
}

static void set_traces(struct worker *worker)
{
    const struct settings *s = worker->settings;
    uint64_t random[TRACE_SEEDS];
    random_bytes(random, sizeof(random));
    trace_source_init(&worker->trace_source, random);
    worker->traces = (struct trace_policy){
        .request_id = s->request_id,
        .trace = s->trace,
        .trust = s->trace_trust,
        .sample_of_100 = (unsigned)s->trace_sample,
    };
}

struct worker *worker_new(struct routerd *routerd, unsigned index)
{
    struct worker *w = xcalloc(1, sizeof(*w));
    w->routerd = routerd;
    w->settings = &routerd->settings;
    w->registry = routerd->registry;
    w->index = index;
    w->loop = loop_new();
    w->buffer = xmalloc(WORKER_BUFFER);
    w->head_out = xmalloc(WORKER_HEAD_OUT);
    w->access = access_ring_new(ACCESS_JOURNAL_RING);
    set_traces(w);
    set_limits(w);
    list_init(&w->conns);
    list_init(&w->fronts);
    list_init(&w->h2_conns);
    list_init(&w->idle_upconns);
    waiting_init(&w->waiting, w);
    list_init(&w->exchanges);
    wheel_init(&w->wheel, w->loop);
    timer_init(&w->beat, w->loop, on_beat, w);
    task_init(&w->sweep, on_sweep, w);
    budget_init(w);
    timer_init(&w->stop_timer, w->loop, on_stop_timer, w);
    if (getrandom(&w->random, sizeof(w->random), 0) != sizeof(w->random) || w->random == 0)
        w->random = UINT64_C(0x9e3779b97f4a7c15) + index;
    w->mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->mail = io_new(w->loop, w->mail_fd, IO_READ, on_mail, w);
    return w;
}

void worker_listen(struct worker *worker, int fd, unsigned flags)
{
    if (worker->n_listeners == WORKER_LISTENERS_MAX) {
        close(fd);
        return;
    }
    struct worker_listener *l = &worker->listeners[worker->n_listeners++];
    *l = (struct worker_listener){ .worker = worker, .flags = flags };
    l->listener = wire_listener_new(worker->loop, fd, on_accept, l);
    /* Until worker_accept. */
    wire_listener_pause(l->listener, true);
    worker->listeners_paused = true;
}

static void *thread_main(void *arg)
{
    struct worker *worker = arg;
    pthread_setname_np(pthread_self(), "worker");
    timer_set(&worker->beat, WORKER_BEAT_MS);
    /* The first table is taken before the first connection: in one turn of the loop either may come first. */
    on_mail(IO_READ, worker);
    loop_run(worker->loop);
    atomic_store(&worker->ended, true);
    routerd_wake(worker->routerd, ROUTERD_STOPPED);
    return NULL;
}

int worker_start(struct worker *worker)
{
    int r = pthread_create(&worker->thread, NULL, thread_main, worker);
    worker->started = r == 0;
    return -r;
}

static void free_exchanges(struct worker *worker)
{
    while (worker->free_exchanges) {
        struct exchange *ex = worker->free_exchanges;
        worker->free_exchanges = (struct exchange *)(void *)ex->link.next;
        free(ex);
    }
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    close_listeners(worker);
    front_close_all(worker);
    close_conns(worker);
    upconn_drop_all(worker);
    /* What was put off until the end of a turn. */
    loop_turn(worker->loop, 0);
    tls_context_free(worker->tls);
    conn_h2_worker_done(worker);
    free_exchanges(worker);
    struct match_table *posted = atomic_exchange(&worker->posted, NULL);
    if (posted && match_unref(posted))
        match_free(posted);
    if (worker->table) {
        if (match_unref(worker->table->table))
            match_free(worker->table->table);
        free(worker->table);
    }
    wheel_done(&worker->wheel);
    timer_done(&worker->beat);
    task_done(&worker->sweep);
    budget_done(worker);
    timer_done(&worker->stop_timer);
    waiting_done(&worker->waiting);
    io_free(worker->mail);
    close(worker->mail_fd);
    loop_free(worker->loop);
    block_pool_done(&worker->blocks);
    splice_done(&worker->splice);
    free(worker->buffer);
    free(worker->head_out);
    access_ring_free(worker->access);
    free(worker);
}
