/* SPDX-License-Identifier: MIT */
#include "routerd/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "common/http1.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/secret.h"
#include "common/wire.h"
#include "routerd/endpoint.h"
#include "routerd/match.h"
#include "routerd/match_policy.h"

struct probes {
    struct loop *loop;
    struct registry *registry;
    probes_changed_fn fn;
    void *arg;
    struct list all;
    uint64_t round; /* of probes_serve */
    uint64_t random;
    unsigned n_running;
    struct list turns; /* those whose time has come while as many were running as may */
    struct task task;
};

struct probe {
    struct list link, turn;
    struct probes *probes;
    struct endpoint *endpoint;
    const struct match_policy *policy; /* of the table that is served */
    uint64_t round;                    /* of the last table that wants it */
    struct timer timer;                /* the next one, or the deadline of the one that runs */
    unsigned passed, failed;           /* in a row */
    /* while it runs */
    struct wire wire;
    char *in;
    size_t n_in, n_sent;
    bool running;
};

static void on_timer(void *arg);

static uint64_t next_random(struct probes *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    return p->random ^= p->random << 17;
}

/* --- outcome --------------------------------------------------------------------------------------------- */

static void end_run(struct probe *p)
{
    if (!p->running)
        return;
    p->running = false;
    p->probes->n_running--;
    wire_close(&p->wire);
    free(p->in);
    p->in = NULL;
    if (!list_empty(&p->probes->turns))
        loop_soon(p->probes->loop, &p->probes->task);
}

static void set_next(struct probe *p)
{
    int64_t ms = p->policy->interval_ms, spread = ms / PROBE_JITTER_PART;
    timer_set(&p->timer, ms - spread + (int64_t)(next_random(p->probes) % (uint64_t)(2 * spread + 1)));
}

static void change_flags(struct probe *p, uint32_t set, uint32_t clear)
{
    struct endpoint *e = p->endpoint;
    if (set)
        atomic_fetch_or_explicit(&e->flags, set, memory_order_relaxed);
    if (clear)
        atomic_fetch_and_explicit(&e->flags, ~clear, memory_order_relaxed);
    p->probes->fn(p->probes->arg);
}

static void pass(struct probe *p)
{
    struct endpoint *e = p->endpoint;
    uint32_t flags = endpoint_flags(e);
    e->probes_passed++;
    p->failed = 0;
    p->passed++;
    end_run(p);
    set_next(p);
    /* Who has never passed needs no row of them. */
    if (!(flags & ENDPOINT_UNPROVEN) && (!(flags & ENDPOINT_PROBE_FAILED) || p->passed < p->policy->rise))
        return;
    log_info(&(struct log_about){ .instance = e->id }, "endpoint %s of %s passes its probes%s",
        e->address_text, e->release, flags & ENDPOINT_UNPROVEN ? "" : " again");
    atomic_store_explicit(&e->warm_from_us, loop_now(p->probes->loop).us, memory_order_relaxed);
    change_flags(p, p->policy->slow_start_ms > 0 && !(flags & ENDPOINT_UNPROVEN) ? ENDPOINT_WARMING : 0,
        ENDPOINT_UNPROVEN | ENDPOINT_PROBE_FAILED);
}

static void fail(struct probe *p, const char *reason)
{
    struct endpoint *e = p->endpoint;
    e->probes_failed++;
    p->passed = 0;
    p->failed++;
    end_run(p);
    set_next(p);
    if (endpoint_flags(e) & (ENDPOINT_PROBE_FAILED | ENDPOINT_UNPROVEN) || p->failed < p->policy->fall)
        return;
    log_warning(&(struct log_about){ .instance = e->id },
        "endpoint %s of %s gets no requests until its probes pass: %s", e->address_text, e->release, reason);
    change_flags(p, ENDPOINT_PROBE_FAILED, 0);
}

/* --- one run --------------------------------------------------------------------------------------------- */

static void judge(struct probe *p)
{
    struct http1_head head;
    struct http1_fault fault;
    char text[64];
    switch (http1_response_parse(p->in, p->n_in, NULL, HTTP1_METHOD_GET, &head, &fault)) {
    case HTTP1_MORE:
        if (p->n_in == PROBE_HEAD_MAX)
            fail(p, "the head of the answer is too large");
        return;
    case HTTP1_REFUSED:
        fail(p, fault.reason);
        return;
    case HTTP1_DONE:
        break;
    }
    if (head.status >= p->policy->status_min && head.status <= p->policy->status_max) {
        pass(p);
        return;
    }
    snprintf(text, sizeof(text), "the probe was answered %d", head.status);
    fail(p, text);
}

static void read_answer(struct probe *p)
{
    while (p->running && p->wire.readable) {
        ssize_t n = wire_read(&p->wire, p->in + p->n_in, PROBE_HEAD_MAX - p->n_in);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            fail(p, n == 0 ? "the probe was closed without an answer" : "the probe's connection was lost");
            return;
        }
        p->n_in += (size_t)n;
        judge(p);
    }
}

static void send_request(struct probe *p)
{
    char text[2048];
    const char *host = p->policy->probe_host;
    if (!host)
        host = strncmp(p->endpoint->address_text, "unix:", 5) == 0 ? "localhost" : p->endpoint->address_text;
    int len = snprintf(text, sizeof(text),
        "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: stagecoach-routerd\r\nAccept: */*\r\nConnection: "
        "close\r\n\r\n",
        p->policy->probe_path, host);
    while (p->n_sent < (size_t)len) {
        ssize_t n = wire_write(&p->wire, text + p->n_sent, (size_t)len - p->n_sent);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            fail(p, "the probe's connection was lost");
            return;
        }
        p->n_sent += (size_t)n;
    }
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct probe *p = container_of(wire, struct probe, wire);
    if (!p->running)
        return;
    if (wire->error) {
        char text[96];
        snprintf(text, sizeof(text), "the probe can't connect (%s)", strerror(-wire->error));
        fail(p, text);
        return;
    }
    if (wire->connecting)
        return;
    send_request(p);
    read_answer(p);
}

static void begin(struct probe *p)
{
    p->running = true;
    p->probes->n_running++;
    p->n_in = p->n_sent = 0;
    p->in = xmalloc(PROBE_HEAD_MAX);
    wire_init(&p->wire, on_wire);
    int r = wire_connect(&p->wire, p->probes->loop, &p->endpoint->address);
    if (r < 0)
        fail(p, strerror(-r));
    else
        timer_set(&p->timer, p->policy->timeout_ms);
}

static void on_turn(void *arg)
{
    struct probes *probes = arg;
    while (probes->n_running < PROBES_AT_ONCE && !list_empty(&probes->turns)) {
        struct probe *p = list_first(&probes->turns, struct probe, turn);
        list_remove(&p->turn);
        begin(p);
    }
}

static void on_timer(void *arg)
{
    struct probe *p = arg;
    if (p->running) {
        fail(p, "the probe was not answered in time");
    } else if (p->probes->n_running < PROBES_AT_ONCE) {
        begin(p);
    } else {
        list_append(&p->probes->turns, &p->turn);
    }
}

/* --- which ----------------------------------------------------------------------------------------------- */

static void free_probe(void *p)
{
    free(p);
}

static void stop(struct probe *p)
{
    end_run(p);
    timer_done(&p->timer);
    list_remove(&p->turn);
    list_remove(&p->link);
    p->endpoint->probe = NULL;
    loop_free_later(p->probes->loop, p, free_probe);
}

/* Spread over one interval; but whoever waits for its first one does not wait. */
static void want(struct probes *probes, struct endpoint *e, const struct match_policy *policy)
{
    struct probe *p = e->probe;
    if (!p) {
        p = e->probe = xcalloc(1, sizeof(*p));
        p->probes = probes;
        p->endpoint = e;
        list_init(&p->turn);
        wire_init(&p->wire, on_wire);
        timer_init(&p->timer, probes->loop, on_timer, p);
        list_append(&probes->all, &p->link);
        timer_set(&p->timer,
            endpoint_flags(e) & ENDPOINT_UNPROVEN ? 0 : (int64_t)(next_random(probes) % policy->interval_ms));
    }
    p->policy = policy;
    p->round = probes->round;
}

static void want_service(struct probes *probes, const struct match_service *service)
{
    if (!service->policy->probe_path)
        return;
    for (uint32_t i = 0; i < service->n_releases; i++) {
        const struct match_slots *slots = service->releases[i].slots;
        for (uint32_t j = 0; j < slots->n; j++)
            want(probes, registry_at(probes->registry, match_slot(slots, j)), service->policy);
    }
}

void probes_serve(struct probes *probes, const struct match_table *table)
{
    struct probe *p, *next;
    probes->round++;
    for (uint32_t i = 0; table && i < table->n_services; i++)
        want_service(probes, table->services[i]);
    list_for_each_safe (p, next, &probes->all, link) {
        if (p->round != probes->round)
            stop(p);
    }
}

struct probes *probes_new(struct loop *loop, struct registry *registry, probes_changed_fn fn, void *arg)
{
    struct probes *probes = xcalloc(1, sizeof(*probes));
    *probes = (struct probes){ .loop = loop, .registry = registry, .fn = fn, .arg = arg };
    list_init(&probes->all);
    list_init(&probes->turns);
    task_init(&probes->task, on_turn, probes);
    random_bytes(&probes->random, sizeof(probes->random));
    probes->random |= 1;
    return probes;
}

void probes_free(struct probes *probes)
{
    if (!probes)
        return;
    probes_serve(probes, NULL);
    task_done(&probes->task);
    free(probes);
}
