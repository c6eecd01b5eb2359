/* SPDX-License-Identifier: MIT */
#include "routerd/page.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/router_status.h"
#include "routerd/access_file.h"
#include "routerd/certs.h"
#include "routerd/endpoint.h"
#include "routerd/generation.h"
#include "routerd/match.h"
#include "routerd/process.h"
#include "routerd/routerd.h"
#include "routerd/tally.h"
#include "routerd/uplink.h"
#include "routerd/worker.h"

/* /status: one JSON object, its releases last and printed one by one. */

struct status_page {
    struct page page;
    struct tally_view *view;
    bool begun;
    size_t row;
};

#define LOAD(counter) ((int64_t)atomic_load_explicit(&(counter), memory_order_relaxed))

static void add_workers(struct router_status *s, const struct routerd *r)
{
    for (unsigned w = 0; w < r->n_workers; w++) {
        const struct worker_counters *c = &r->workers[w]->counters;
        s->connections += LOAD(c->connections);
        s->in_flight += LOAD(c->in_flight);
        s->requests += LOAD(c->requests);
        s->h2_requests += LOAD(c->h2_requests);
        s->unrouted += LOAD(c->unanswered);
        for (int i = 0; i < STATUS_CLASS_MAX_; i++)
            s->unrouted += LOAD(c->own[i]);
        for (int i = 0; i < REFUSED_MAX_; i++)
            s->refused += LOAD(c->refused[i]);
        for (int i = 0; i < TIMED_OUT_MAX_; i++)
            s->timeouts += LOAD(c->timeouts[i]);
    }
}

static void add_certificate(
    void *arg, const char *label, const struct tls_certificate *certificate, const char *problem)
{
    struct router_status *s = arg;
    s->certificates = xrealloc(s->certificates, (s->n_certificates + 1) * sizeof(*s->certificates));
    s->certificates[s->n_certificates++] = (struct router_certificate){
        .name = xstrdup(label),
        .problem = problem ? xstrdup(problem) : NULL,
        .expires_us = certificate ? tls_certificate_expires(certificate).us : 0,
    };
}

static char *hub_text(const struct routerd *r)
{
    if (!r->uplink)
        return NULL;
    const char *trouble = uplink_trouble(r->uplink);
    return xstrdup(uplink_is_connected(r->uplink) ? "linked" : trouble ? trouble : "not linked yet");
}

static void fill_status(struct router_status *s, struct routerd *r)
{
    struct strbuf older = STRBUF_INIT;
    *s = (struct router_status){
        .version = xstrdup(STAGECOACH_VERSION),
        .pid = getpid(),
        .generation = generation_number(r->generation),
        .workers = r->n_workers,
        .started_us = r->started_at.us,
        .now_us = loop_wall(r->loop).us,
        .epoch = routerd_epoch(r),
        .served_us = r->served_at.us,
        .routes = r->table ? r->table->n_routes : 0,
        .hub = hub_text(r),
        .rss_bytes = process_rss_bytes(),
    };
    add_workers(s, r);
    if (r->generation)
        generation_describe(r->generation, &older);
    /* It is made to stand behind something else. */
    if (older.len > 2)
        s->older = xstrdup(strbuf_str(&older) + strspn(strbuf_str(&older), "; "));
    strbuf_done(&older);
    if (r->access_file && access_file_stats(r->access_file).failing)
        s->access_log = xstrdup("can't be written");
    if (r->certs)
        certs_each(r->certs, add_certificate, s);
}

/* The object without its end, so that releases can follow. */
static void begin(struct status_page *p, struct strbuf *out)
{
    struct router_status s;
    fill_status(&s, p->page.routerd);
    schema_print(&router_status_schema, &s, out);
    schema_clear(&router_status_schema, &s);
    while (out->len > 0 && out->data[out->len - 1] != '}')
        out->len--;
    out->len--;
    strbuf_adds(out, ",\"releases\":[");
}

static void put_release(const struct tally_row *row, struct strbuf *out)
{
    const struct counts *c = &row->counts;
    struct router_latency latency[ENDPOINT_LATENCY_BUCKETS];
    struct router_release r = {
        .service = row->service,
        .version = row->version,
        .endpoints = c->endpoints,
        .usable = c->usable,
        .requests = (int64_t)counts_answers(c),
        .errors = (int64_t)(c->status[STATUS_5XX] + c->own[STATUS_5XX]),
        .unanswered = (int64_t)c->unanswered,
        .in_flight = c->in_flight,
        .waiting = c->waiting,
        .failures = (int64_t)c->failures,
        .retries = (int64_t)c->retries,
        .ejections = (int64_t)c->ejections,
        .bytes_in = (int64_t)c->bytes_in,
        .bytes_out = (int64_t)c->bytes_out,
        .last_hit_us = c->last_hit_us,
        .latency = latency,
    };
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        r.requests += (int64_t)c->own[i];
    for (unsigned b = 0; b < ENDPOINT_LATENCY_BUCKETS; b++) {
        if (c->latency[b] > 0)
            latency[r.n_latency++] = (struct router_latency){ latency_value(b), (int64_t)c->latency[b] };
    }
    schema_print(&router_release_schema, &r, out);
}

static bool next(struct page *page, struct strbuf *out)
{
    struct status_page *p = container_of(page, struct status_page, page);
    if (page->reads_registry) {
        page->reads_registry = !tally_view_step(p->view, loop_now(page->routerd->loop).us);
        return true;
    }
    if (!p->begun)
        begin(p, out);
    p->begun = true;
    for (; p->row < p->view->n_releases && out->len < PAGE_PIECE; p->row++) {
        if (p->row > 0)
            strbuf_adds(out, ",");
        put_release(&p->view->releases[p->row], out);
    }
    if (p->row < p->view->n_releases)
        return true;
    strbuf_adds(out, "]}\n");
    return false;
}

static void free_page(struct page *page)
{
    struct status_page *p = container_of(page, struct status_page, page);
    tally_view_free(p->view);
    free(p);
}

struct page *status_page_new(struct routerd *routerd)
{
    static const struct page_ops ops = { .next = next, .free = free_page };
    struct status_page *p = xcalloc(1, sizeof(*p));
    p->page = (struct page){ .ops = &ops, .routerd = routerd, .reads_registry = true };
    p->view = tally_view_new(routerd->registry->tally, routerd->registry);
    return &p->page;
}
