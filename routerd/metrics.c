/* SPDX-License-Identifier: MIT */
#include "routerd/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/names.h"
#include "routerd/endpoint.h"
#include "routerd/metrics_router.h"
#include "routerd/routerd.h"
#include "routerd/tally.h"

/* /metrics: the families of services, releases and endpoints, one after the other as Prometheus wants it, and those of the
 * router. Sums are of the moment in which they were added up, samples of endpoints of that in which they are written. */

#define NAME_MAX_      96
#define LABEL_MAX      256
#define LABELS_MAX     8
#define ROWS_PER_PIECE 1000 /* looked at, whether or not there is something to say of them */

enum level { LEVEL_SERVICE, LEVEL_RELEASE, LEVEL_ENDPOINT, LEVEL_MAX_ };
static const char *const level_names[LEVEL_MAX_] = { "service", "release", "endpoint" };

#define S 1
#define R 2
#define E 4

/* How the numbers of a family are found and written. */
enum kind {
    KIND_COUNT,    /* uint64_t at the offset */
    KIND_NOW,      /* int64_t at the offset */
    KIND_MOMENT,   /* the same, microseconds of the wall clock; left out while 0 */
    KIND_ANSWERS,  /* by class, our own among them */
    KIND_OWN,      /* by class */
    KIND_DURATION, /* a histogram */
    KIND_HEALTH,   /* a 1 at the name of the state */
};

struct family {
    const char *name;
    enum kind kind;
    unsigned levels;
    size_t offset;
    const char *help;
};

#define AT(member) offsetof(struct counts, member)

/* clang-format off */
static const struct family families[] = {
    { "requests_total",               KIND_ANSWERS,  S | R | E, 0,                    "Answers by status class; none: the client went away before one." },
    { "own_answers_total",            KIND_OWN,      S | R,     0,                    "Answers that the router gave itself, because no endpoint did; among requests_total." },
    { "request_duration_seconds",     KIND_DURATION, S | R | E, 0,                    "From the head of a request to the end of the answer of an endpoint; tunnels left out." },
    { "request_bytes_total",          KIND_COUNT,    S | R | E, AT(bytes_in),         "Content of requests sent to endpoints." },
    { "response_bytes_total",         KIND_COUNT,    S | R | E, AT(bytes_out),        "Content of answers sent to clients." },
    { "failures_total",               KIND_COUNT,    S | R | E, AT(failures),         "Times that an endpoint could not be reached, broke off, or did not answer in time." },
    { "retries_total",                KIND_COUNT,    S | R,     AT(retries),          "Requests that were sent again." },
    { "retries_denied_total",         KIND_COUNT,    S | R,     AT(retries_denied),   "Requests that were not, because the retry budget was used up." },
    { "ejections_total",              KIND_COUNT,    S | R | E, AT(ejections),        "Times that an endpoint was left out." },
    { "queued_total",                 KIND_COUNT,    S | R,     AT(queued),           "Requests that had to wait for an endpoint." },
    { "queue_full_total",             KIND_COUNT,    S | R,     AT(queue_full),       "Requests refused because too many waited." },
    { "queue_expired_total",          KIND_COUNT,    S | R,     AT(queue_expired),    "Requests that waited for too long." },
    { "in_flight",                    KIND_NOW,      S | R | E, AT(in_flight),        "Requests and tunnels under way." },
    { "waiting",                      KIND_NOW,      S | R,     AT(waiting),          "Requests that wait for an endpoint." },
    { "idle_connections",             KIND_NOW,      S | R | E, AT(idle_connections), "Connections to endpoints that are kept for the next request." },
    { "last_hit_timestamp_seconds",   KIND_MOMENT,   S | R | E, AT(last_hit_us),      "When an endpoint answered last." },
    { "endpoints",                    KIND_NOW,      S | R,     AT(endpoints),        "Endpoints that take new requests by the table." },
    { "endpoints_usable",             KIND_NOW,      S | R,     AT(usable),           "Endpoints that take new requests and are neither ejected nor fail their probes." },
    { "health",                       KIND_HEALTH,   E,         0,                    "What the router thinks of the endpoint." },
};

/* Upper ends of the buckets that are shown, all of them ends of finer ones: latency_value(). */
static const struct { int64_t us; const char *label; } buckets[] = {
    {     1000, "le=0.001" }, {     2500, "le=0.0025" }, {     5000, "le=0.005" },
    {    10000, "le=0.01"  }, {    25000, "le=0.025"  }, {    50000, "le=0.05"  },
    {   100000, "le=0.1"   }, {   250000, "le=0.25"   }, {   500000, "le=0.5"   },
    {  1000000, "le=1"     }, {  2500000, "le=2.5"    }, {  5000000, "le=5"     },
    { 10000000, "le=10"    }, { 30000000, "le=30"     },
};

static const char *const class_labels[STATUS_CLASS_MAX_] = { "class=2xx", "class=3xx", "class=4xx", "class=5xx", "class=1xx" };
/* clang-format on */

struct metrics_page {
    struct page page;
    bool endpoints;
    struct tally_view *view;
    size_t family;
    enum level level;
    size_t row;    /* of the level */
    size_t looked; /* at how many, for this piece */
    bool begun;    /* the family's head is written */
    struct metrics_router *router;
};

/* --- samples ------------------------------------------------------------------------------------------------- */

/* Whom samples are of. */
struct subject {
    const char *name; /* of the family */
    char labels[3][LABEL_MAX];
    int n_labels;
};

static void put(struct strbuf *out, const struct subject *s, const char *suffix, const char *label,
    int64_t value, bool seconds)
{
    char name[NAME_MAX_];
    const char *labels[LABELS_MAX] = { 0 };
    for (int i = 0; i < s->n_labels; i++)
        labels[i] = s->labels[i];
    labels[s->n_labels] = label;
    snprintf(name, sizeof(name), "%s%s", s->name, suffix);
    if (seconds)
        metrics_sample_seconds(out, name, labels, value);
    else
        metrics_sample(out, name, labels, value);
}

static void put_answers(struct strbuf *out, const struct subject *s, const struct counts *c, enum level level)
{
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        put(out, s, "", class_labels[i], (int64_t)(c->status[i] + c->own[i]), false);
    if (level != LEVEL_ENDPOINT)
        put(out, s, "", "class=none", (int64_t)c->unanswered, false);
}

static void put_own(struct strbuf *out, const struct subject *s, const struct counts *c)
{
    for (int i = 0; i < STATUS_CLASS_MAX_; i++)
        put(out, s, "", class_labels[i], (int64_t)c->own[i], false);
}

static void put_duration(struct strbuf *out, const struct subject *s, const struct counts *c)
{
    uint64_t sum = 0;
    unsigned b = 0;
    for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
        for (; b < ENDPOINT_LATENCY_BUCKETS - 1 && latency_value(b) <= buckets[i].us; b++)
            sum += c->latency[b];
        put(out, s, "_bucket", buckets[i].label, (int64_t)sum, false);
    }
    for (; b < ENDPOINT_LATENCY_BUCKETS; b++)
        sum += c->latency[b];
    put(out, s, "_bucket", "le=+Inf", (int64_t)sum, false);
    put(out, s, "_sum", NULL, (int64_t)c->latency_sum_us, true);
    put(out, s, "_count", NULL, (int64_t)sum, false);
}

/* Thousands that nobody has asked for yet would fill pages with zeros: only what they are is told. */
static bool is_told(const struct family *f, const struct counts *c)
{
    bool is_of_requests = f->kind != KIND_HEALTH && f->offset != AT(endpoints) && f->offset != AT(usable);
    return !is_of_requests || counts_touched(c);
}

static void put_samples(struct strbuf *out, const struct family *f, enum level level, const struct subject *s,
    const struct counts *c, const struct endpoint *e)
{
    const void *at = (const char *)c + f->offset;
    char label[LABEL_MAX];
    switch (f->kind) {
    case KIND_COUNT:
        put(out, s, "", NULL, (int64_t) * (const uint64_t *)at, false);
        break;
    case KIND_NOW:
        put(out, s, "", NULL, *(const int64_t *)at, false);
        break;
    case KIND_MOMENT:
        if (*(const int64_t *)at > 0)
            put(out, s, "", NULL, *(const int64_t *)at, true);
        break;
    case KIND_ANSWERS:
        put_answers(out, s, c, level);
        break;
    case KIND_OWN:
        put_own(out, s, c);
        break;
    case KIND_DURATION:
        put_duration(out, s, c);
        break;
    case KIND_HEALTH:
        snprintf(label, sizeof(label), "state=%s", endpoint_health_names[endpoint_health(e)]);
        put(out, s, "", label, 1, false);
        break;
    }
}

/* --- one after the other --------------------------------------------------------------------------------------- */

static void set_release(struct subject *s, const char *service, const char *version)
{
    snprintf(s->labels[s->n_labels++], LABEL_MAX, "service=%s", service);
    if (version)
        snprintf(s->labels[s->n_labels++], LABEL_MAX, "version=%s", version);
}

static void put_row(struct strbuf *out, const struct family *f, enum level level, const char *name,
    const struct tally_row *row)
{
    struct subject s = { .name = name };
    if (!is_told(f, &row->counts))
        return;
    set_release(&s, row->service, row->version);
    put_samples(out, f, level, &s, &row->counts, NULL);
}

static void put_endpoint(
    struct strbuf *out, const struct family *f, const char *name, struct routerd *r, const struct endpoint *e)
{
    struct subject s = { .name = name };
    struct counts counts = { 0 };
    char service[NAME_SERVICE_MAX + 1];
    size_t n = strcspn(e->release, "@");
    if (f->kind != KIND_HEALTH)
        counts_add_endpoint(&counts, r->registry, e, loop_now(r->loop).us);
    if (!is_told(f, &counts))
        return;
    snprintf(service, sizeof(service), "%.*s", (int)n, e->release);
    set_release(&s, service, e->release + n + (e->release[n] == '@'));
    snprintf(s.labels[s.n_labels++], LABEL_MAX, "endpoint=%s", e->id);
    put_samples(out, f, LEVEL_ENDPOINT, &s, &counts, e);
}

static size_t n_rows(const struct metrics_page *p)
{
    return p->level == LEVEL_SERVICE ? p->view->n_services
        : p->level == LEVEL_RELEASE  ? p->view->n_releases
                                     : p->page.routerd->registry->n_slots;
}

static bool is_shown(const struct metrics_page *p)
{
    return (families[p->family].levels & 1u << p->level) && (p->level != LEVEL_ENDPOINT || p->endpoints);
}

/* The head of a family, then rows until the piece is full. True: the family is whole. */
static bool put_family(struct metrics_page *p, struct strbuf *out)
{
    const struct family *f = &families[p->family];
    enum metric_type type = f->kind == KIND_DURATION                              ? METRIC_HISTOGRAM
        : f->kind == KIND_NOW || f->kind == KIND_MOMENT || f->kind == KIND_HEALTH ? METRIC_GAUGE
                                                                                  : METRIC_COUNTER;
    char name[NAME_MAX_];
    snprintf(name, sizeof(name), "stagecoach_router_%s_%s", level_names[p->level], f->name);
    if (!p->begun)
        metrics_family(out, name, type, f->help);
    p->begun = true;
    for (; p->row < n_rows(p) && out->len < PAGE_PIECE && p->looked < ROWS_PER_PIECE; p->row++, p->looked++) {
        const struct endpoint *e =
            p->level == LEVEL_ENDPOINT ? registry_at(p->page.routerd->registry, (uint32_t)p->row) : NULL;
        if (p->level == LEVEL_SERVICE)
            put_row(out, f, p->level, name, &p->view->services[p->row]);
        else if (p->level == LEVEL_RELEASE)
            put_row(out, f, p->level, name, &p->view->releases[p->row]);
        else if (e)
            put_endpoint(out, f, name, p->page.routerd, e);
    }
    return p->row >= n_rows(p);
}

static void next_family(struct metrics_page *p)
{
    p->row = 0;
    p->begun = false;
    if (++p->level == LEVEL_MAX_) {
        p->level = 0;
        p->family++;
    }
}

static bool next(struct page *page, struct strbuf *out)
{
    struct metrics_page *p = container_of(page, struct metrics_page, page);
    if (page->reads_registry) {
        page->reads_registry = !tally_view_step(p->view, loop_now(page->routerd->loop).us);
        return true;
    }
    p->looked = 0;
    while (p->family < ARRAY_SIZE(families) && out->len < PAGE_PIECE && p->looked < ROWS_PER_PIECE) {
        if (!is_shown(p) || put_family(p, out))
            next_family(p);
    }
    return p->family < ARRAY_SIZE(families) || metrics_router_next(p->router, out);
}

static void free_page(struct page *page)
{
    struct metrics_page *p = container_of(page, struct metrics_page, page);
    tally_view_free(p->view);
    metrics_router_free(p->router);
    free(p);
}

struct page *metrics_page_new(struct routerd *routerd, bool endpoints)
{
    static const struct page_ops ops = { .next = next, .free = free_page };
    struct metrics_page *p = xcalloc(1, sizeof(*p));
    p->page = (struct page){ .ops = &ops, .routerd = routerd, .reads_registry = true };
    p->endpoints = endpoints;
    p->view = tally_view_new(routerd->registry->tally, routerd->registry);
    p->router = metrics_router_new(routerd);
    return &p->page;
}
