/* SPDX-License-Identifier: MIT */
#include "ctl/text_router.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "ctl/grid.h"
#include "ctl/moment.h"
#include "ctl/text_fleet.h"

#define SOON_US (14 * 86400 * CLOCK_US_PER_S)

/* What happened between two looks at the same process; zeros if there was only one. */
struct change {
    int64_t requests, errors;
    int64_t p50_us, p99_us; /* 0: nothing to tell */
    double seconds;
};

static int64_t count_at(const struct router_release *r, int64_t us)
{
    for (size_t i = 0; r && i < r->n_latency; i++) {
        if (r->latency[i].us == us)
            return r->latency[i].n;
    }
    return 0;
}

static const struct router_release *find(const struct router_status *m, const struct router_release *like)
{
    for (size_t i = 0; m && i < m->n_releases; i++) {
        const struct router_release *r = &m->releases[i];
        if (strcmp(r->service, like->service) == 0 &&
            strcmp(r->version ? r->version : "", like->version ? like->version : "") == 0)
            return r;
    }
    return NULL;
}

static int64_t percentile(const struct router_release *before, const struct router_release *now, int percent)
{
    int64_t all = 0, seen = 0;
    for (size_t i = 0; i < now->n_latency; i++)
        all += now->latency[i].n - count_at(before, now->latency[i].us);
    for (size_t i = 0; all > 0 && i < now->n_latency; i++) {
        seen += now->latency[i].n - count_at(before, now->latency[i].us);
        if (seen * 100 >= all * percent)
            return now->latency[i].us;
    }
    return 0;
}

static struct change change_of(
    const struct router_status *before, const struct router_status *now, const struct router_release *r)
{
    struct change c = { 0 };
    /* After a restart everything is new. */
    if (!before || before->started_us != now->started_us || now->now_us <= before->now_us)
        return c;
    const struct router_release *old = find(before, r);
    c.seconds = (double)(now->now_us - before->now_us) / (double)CLOCK_US_PER_S;
    c.requests = r->requests - (old ? old->requests : 0);
    c.errors = r->errors - (old ? old->errors : 0);
    c.p50_us = percentile(old, r, 50);
    c.p99_us = percentile(old, r, 99);
    return c;
}

/* --- the router itself ---------------------------------------------------------------------------------------- */

static void add_moment_ms(struct grid *grid, int64_t us)
{
    char text[MOMENT_MAX];
    if (us <= 0)
        grid_add(grid, "–");
    else if (us < CLOCK_US_PER_MS)
        grid_addf(grid, "%.1f ms", (double)us / CLOCK_US_PER_MS);
    else
        grid_add(grid, moment_elapsed(us / CLOCK_US_PER_MS, text));
}

static void add_head(struct output *o, const struct router_status *m)
{
    char up[MOMENT_MAX], size[MOMENT_MAX], since[MOMENT_MAX];
    wall_t now = { m->now_us };
    strbuf_adds(&o->text, "stagecoach-routerd ");
    text_add(o, m->version);
    strbuf_addf(&o->text, "  up %s, %" PRId64 " %s, %s", moment_since(m->started_us, now, up), m->workers,
        m->workers == 1 ? "worker" : "workers", size_text(m->rss_bytes, size));
    if (m->generation > 1)
        strbuf_addf(&o->text, ", generation %" PRId64, m->generation);
    if (m->older) {
        strbuf_adds(&o->text, "; ");
        text_add(o, m->older);
    }
    strbuf_addf(&o->text, "\n  table        epoch %" PRId64 ", %" PRId64 " %s, served since %s\n", m->epoch,
        m->routes, m->routes == 1 ? "route" : "routes",
        m->served_us > 0 ? moment_clock(m->served_us, now, since) : "–");
    if (m->hub) {
        strbuf_adds(&o->text, "  hub          ");
        text_add(o, m->hub);
        strbuf_addc(&o->text, '\n');
    }
    strbuf_addf(
        &o->text, "  connections  %" PRId64 ", %" PRId64 " in flight\n", m->connections, m->in_flight);
    if (m->refused + m->timeouts + m->unrouted > 0)
        strbuf_addf(&o->text,
            "  since start  %" PRId64 " requests, %" PRId64 " not understood, %" PRId64
            " without a route, %" PRId64 " time-outs\n",
            m->requests, m->refused, m->unrouted, m->timeouts);
    if (m->access_log) {
        strbuf_adds(&o->text, "  access log   ");
        text_add(o, m->access_log);
        strbuf_addc(&o->text, '\n');
    }
}

static void add_certificates(struct output *o, const struct router_status *m)
{
    char day[MOMENT_MAX];
    for (size_t i = 0; i < m->n_certificates; i++) {
        const struct router_certificate *c = &m->certificates[i];
        bool soon = c->expires_us < m->now_us + SOON_US;
        const char *paint = soon || c->problem ? style_paint(&o->style, PAINT_BAD) : NULL;
        strbuf_addf(&o->text, "  certificate  %s", paint ? paint : "");
        text_add(o, c->name);
        if (c->expires_us > 0)
            strbuf_addf(&o->text, "  until %s%s", moment_day(c->expires_us, day), soon ? " (soon)" : "");
        if (c->problem) {
            strbuf_adds(&o->text, "  ");
            text_add(o, c->problem);
        }
        strbuf_addf(&o->text, "%s\n", paint ? STYLE_END : "");
    }
}

/* --- its releases ---------------------------------------------------------------------------------------------- */

static void add_release(struct grid *grid, const struct output *o, const struct router_status *before,
    const struct router_status *now, const struct router_release *r)
{
    struct change c = change_of(before, now, r);
    char ago[MOMENT_MAX];
    const char *bad = style_paint(&o->style, PAINT_BAD);
    grid_add(grid, r->service);
    grid_add(grid, r->version);
    if (r->usable < r->endpoints)
        grid_paint(grid, bad);
    grid_addf(grid, "%" PRId64 "/%" PRId64, r->usable, r->endpoints);
    if (c.seconds > 0)
        grid_addf(grid, "%.0f", (double)c.requests / c.seconds);
    else
        grid_add(grid, "–");
    if (c.errors > 0)
        grid_paint(grid, bad);
    if (c.requests > 0)
        grid_addf(grid, "%.2f%%", 100.0 * (double)c.errors / (double)c.requests);
    else
        grid_add(grid, "–");
    add_moment_ms(grid, c.p50_us);
    add_moment_ms(grid, c.p99_us);
    grid_addf(grid, "%" PRId64, r->in_flight);
    grid_addf(grid, "%" PRId64, r->waiting);
    grid_add(grid, r->last_hit_us > 0 ? moment_ago(r->last_hit_us, (wall_t){ now->now_us }, ago) : "never");
}

void text_router(struct output *o, const struct router_status *before, const struct router_status *now)
{
    static const char *const titles[] = { "SERVICE", "VERSION", "ENDPOINTS", "REQUESTS/S", "ERRORS", "P50",
        "P99", "IN FLIGHT", "WAITING", "LAST HIT" };
    struct grid grid;
    add_head(o, now);
    add_certificates(o, now);
    if (now->n_releases == 0)
        return;
    grid_init(&grid, "llrrrrrrrl");
    for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
        grid_paint(&grid, style_paint(&o->style, PAINT_DIM));
        grid_add(&grid, titles[i]);
    }
    for (size_t i = 0; i < now->n_releases; i++)
        add_release(&grid, o, before, now, &now->releases[i]);
    strbuf_addc(&o->text, '\n');
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
}

/* --- all routers of a fleet ------------------------------------------------------------------------------------- */

static void add_row(struct grid *grid, const struct output *o, const struct router_row *row)
{
    const struct router_brief *now = &row->now;
    const char *bad = style_paint(&o->style, PAINT_BAD);
    char text[MOMENT_MAX];
    double seconds = (double)now->interval_ms / (double)CLOCK_MS_PER_S;
    grid_add(grid, row->name);
    if (!row->online)
        grid_paint(grid, bad);
    if (row->online)
        grid_addf(grid, "online, %s", row->version ? row->version : "?");
    else
        grid_addf(grid, "gone, seen %s", row->seen_us > 0 ? moment_ago(row->seen_us, o->now, text) : "never");
    grid_addf(grid, "%" PRId64, row->epoch);
    grid_addf(grid, "%" PRId64, now->connections);
    grid_addf(grid, "%" PRId64, now->in_flight);
    if (row->online && seconds > 0)
        grid_addf(grid, "%.0f", (double)now->requests / seconds);
    else
        grid_add(grid, "–");
    if (now->errors > 0)
        grid_paint(grid, bad);
    if (row->online && now->requests > 0)
        grid_addf(grid, "%.2f%%", 100.0 * (double)now->errors / (double)now->requests);
    else
        grid_add(grid, "–");
    add_moment_ms(grid, row->online ? now->p50_us : 0);
    add_moment_ms(grid, row->online ? now->p99_us : 0);
    if (now->ejected > 0)
        grid_paint(grid, bad);
    grid_addf(grid, "%" PRId64, now->ejected);
}

static void add_notes(struct output *o, const struct router_row *row)
{
    const struct router_brief *now = &row->now;
    char day[MOMENT_MAX];
    if (now->older) {
        strbuf_adds(&o->text, "  ");
        text_add(o, row->name);
        strbuf_addf(&o->text, ": generation %" PRId64 "; ", now->generation);
        text_add(o, now->older);
        strbuf_addc(&o->text, '\n');
    }
    if (now->certificate && now->certificate_expires_us < o->now.us + SOON_US) {
        const char *bad = style_paint(&o->style, PAINT_BAD);
        strbuf_addf(&o->text, "  %s", bad ? bad : "");
        text_add(o, row->name);
        strbuf_adds(&o->text, ": the certificate ");
        text_add(o, now->certificate);
        strbuf_addf(
            &o->text, " ends on %s%s\n", moment_day(now->certificate_expires_us, day), bad ? STYLE_END : "");
    }
}

void text_routers(struct output *o, const struct msg_routers *m)
{
    static const char *const titles[] = { "ROUTER", "STATE", "EPOCH", "CONNECTIONS", "IN FLIGHT",
        "REQUESTS/S", "ERRORS", "P50", "P99", "EJECTED" };
    struct grid grid;
    if (m->n_routers == 0) {
        strbuf_adds(&o->text, "no router has joined; stagecoachctl token create --role=router lets one\n");
        return;
    }
    grid_init(&grid, "llrrrrrrrr");
    for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
        grid_paint(&grid, style_paint(&o->style, PAINT_DIM));
        grid_add(&grid, titles[i]);
    }
    for (size_t i = 0; i < m->n_routers; i++)
        add_row(&grid, o, &m->routers[i]);
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
    for (size_t i = 0; i < m->n_routers; i++)
        add_notes(o, &m->routers[i]);
}
