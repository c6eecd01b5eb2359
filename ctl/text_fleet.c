/* SPDX-License-Identifier: MIT */
#include "ctl/text_fleet.h"

#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strv.h"
#include "ctl/grid.h"
#include "ctl/moment.h"

#define TEXT_LINE_MAX 4096 /* bytes of one line from elsewhere */

void text_add(struct output *o, const char *text)
{
    if (text)
        strbuf_add_printable(&o->text, text, strlen(text), TEXT_LINE_MAX);
}

void text_quote(struct output *o, char *const *lines)
{
    for (; lines && *lines; lines++) {
        const char *dim = style_paint(&o->style, PAINT_DIM);
        strbuf_adds(&o->text, "    ");
        strbuf_adds(&o->text, dim ? dim : "");
        strbuf_adds(&o->text, "| ");
        text_add(o, *lines);
        strbuf_adds(&o->text, dim ? STYLE_END "\n" : "\n");
    }
}

static void add_titles(struct grid *grid, const struct output *o, const char *const *titles)
{
    for (; *titles; titles++) {
        grid_paint(grid, style_paint(&o->style, PAINT_DIM));
        grid_add(grid, *titles);
    }
}

/* --- list ------------------------------------------------------------------------------------------------- */

static void add_addresses(struct grid *grid, const struct output *o, const struct release_row *r)
{
    _cleanup_(free_ptr) char *addresses = strv_join(r->addresses, " ");
    char clock[MOMENT_MAX];
    const char *gap = *addresses ? "  " : "";
    if (r->warm_until_us > o->now.us)
        grid_addf(grid, "%s%s(warm until %s)", addresses, gap, moment_clock(r->warm_until_us, o->now, clock));
    else if (r->note)
        grid_addf(grid, "%s%s%s", addresses, gap, r->note);
    else
        grid_add(grid, addresses);
}

static void add_release(struct grid *grid, const struct output *o, const struct release_row *r)
{
    char ago[MOMENT_MAX];
    grid_add(grid, r->service);
    grid_add(grid, r->version);
    grid_addf(grid, "%.*s", NAME_SHORT_COMMIT_LEN, r->commit ? r->commit : "");
    if (r->traffic_percent < 0)
        grid_add(grid, style_glyph(&o->style, GLYPH_NONE));
    else
        grid_addf(grid, "%d%%", (int)r->traffic_percent);
    if (r->running < r->wanted)
        grid_paint(grid, style_paint(&o->style, PAINT_BAD));
    grid_addf(grid, "%d/%d", (int)r->running, (int)r->wanted);
    add_addresses(grid, o, r);
    if (r->worker)
        grid_add(grid, "worker");
    else if (r->last_hit_us == 0)
        grid_add(grid, "never");
    else
        grid_add(grid, moment_ago(r->last_hit_us, o->now, ago));
}

void text_list(struct output *o, const struct msg_list *m)
{
    static const char *const titles[] = { "SERVICE", "VERSION", "COMMIT", "TRAFFIC", "INSTANCES", "ADDRESSES",
        "LAST HIT", NULL };
    if (m->n_releases == 0) {
        strbuf_adds(&o->text, "nothing runs; deploy with  stagecoachctl deploy SERVICE@VERSION\n");
        return;
    }
    struct grid grid;
    grid_init(&grid, "lllrlll");
    add_titles(&grid, o, titles);
    for (size_t i = 0; i < m->n_releases; i++)
        add_release(&grid, o, &m->releases[i]);
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
}

/* --- instances -------------------------------------------------------------------------------------------- */

static bool runs_well(const struct instance_state *s)
{
    return s->phase != INSTANCE_FAILED && s->phase != INSTANCE_UNHEALTHY && s->phase != INSTANCE_BACKING_OFF;
}

static void add_place(struct grid *grid, const struct instance_state *s)
{
    const char *port = s->address ? strrchr(s->address, ':') : NULL;
    grid_addf(grid, "%s%s", s->host ? s->host : "?", port ? port : "");
}

/* "running 4 min", "backing off 3 s: exited with status 1" */
static void add_phase(struct grid *grid, const struct output *o, const struct instance_state *s)
{
    char since[MOMENT_MAX];
    bool known = s->phase >= 0 && s->phase < INSTANCE_PHASE_MAX_;
    bool tell = s->reason && s->phase != INSTANCE_RUNNING;
    moment_since(s->since_us, o->now, since);
    if (!runs_well(s))
        grid_paint(grid, style_paint(&o->style, PAINT_BAD));
    grid_addf(grid, "%s%s%s%s%s", known ? instance_phase_names[s->phase] : "?", *since ? " " : "", since,
        tell ? ": " : "", tell ? s->reason : "");
}

static void add_memory(struct grid *grid, const struct instance_state *s)
{
    char size[MOMENT_MAX];
    grid_add(grid, s->memory_bytes > 0 ? size_text(s->memory_bytes, size) : NULL);
}

static char *release_name(const struct instance_state *s)
{
    return xasprintf("%s@%s", s->service ? s->service : "?", s->version ? s->version : "?");
}

/* --- servers ---------------------------------------------------------------------------------------------- */

static void add_host_numbers(struct output *o, const struct host_row *h)
{
    char buf[MOMENT_MAX];
    if (h->up_ms > 0) {
        moment_since(o->now.us - h->up_ms * CLOCK_US_PER_MS, o->now, buf);
        strbuf_addf(&o->text, "  up %s", buf);
    }
    if (h->memory_bytes > 0) {
        strbuf_addf(&o->text, "  load %d.%d", (int)(h->load_milli / 1000), (int)(h->load_milli / 100 % 10));
        strbuf_addf(&o->text, "  mem %s",
            size_pair_text(h->memory_bytes - h->memory_free_bytes, h->memory_bytes, buf));
    }
}

static void add_host(struct output *o, const struct host_row *h, size_t name_width)
{
    char buf[MOMENT_MAX];
    const char *strong = style_paint(&o->style, PAINT_STRONG), *bad = style_paint(&o->style, PAINT_BAD);
    strbuf_adds(&o->text, strong ? strong : "");
    text_add(o, h->host);
    strbuf_adds(&o->text, strong ? STYLE_END : "");
    if (h->address) {
        strbuf_addf(&o->text, "%*s  ", (int)(name_width - display_width(h->host ? h->host : "")), "");
        text_add(o, h->address);
    }
    if (h->online) {
        add_host_numbers(o, h);
    } else {
        strbuf_addf(&o->text, "  %snot connected", bad ? bad : "");
        if (h->seen_us > 0)
            strbuf_addf(&o->text, " since %s", moment_clock(h->seen_us, o->now, buf));
        strbuf_adds(&o->text, bad ? STYLE_END : "");
    }
    if (h->version) {
        strbuf_adds(&o->text, h->role == ROLE_ROUTER ? "  routerd " : "  droned ");
        text_add(o, h->version);
    }
    if (h->note) {
        strbuf_adds(&o->text, "  ");
        text_add(o, h->note);
    }
    if (h->n_instances == 0 && h->role == ROLE_DRONE)
        strbuf_adds(&o->text, "  (nothing runs here)");
    strbuf_addc(&o->text, '\n');
}

void text_servers(struct output *o, const struct msg_servers *m)
{
    struct grid grid; /* of all hosts, so that columns agree */
    size_t name_width = 0, row = 0;
    grid_init(&grid, "lllr");
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct host_row *h = &m->hosts[i];
        size_t width = display_width(h->host ? h->host : "");
        name_width = width > name_width ? width : name_width;
        for (size_t j = 0; j < h->n_instances; j++) {
            const struct instance_state *s = &h->instances[j];
            _cleanup_(free_ptr) char *name = release_name(s);
            grid_add(&grid, name);
            grid_addf(&grid, "%.*s", NAME_SHORT_COMMIT_LEN, s->commit ? s->commit : "");
            add_phase(&grid, o, s);
            add_memory(&grid, s);
        }
    }
    for (size_t i = 0; i < m->n_hosts; i++) {
        add_host(o, &m->hosts[i], name_width);
        grid_print_rows(&grid, row, row + m->hosts[i].n_instances, 2, &o->text);
        row += m->hosts[i].n_instances;
    }
    if (m->n_hosts == 0)
        strbuf_adds(
            &o->text, "no host has joined; make a token with  stagecoachctl token create --role=drone\n");
    grid_done(&grid);
}

void text_host_list(struct output *o, const struct msg_servers *m)
{
    static const char *const titles[] = { "HOST", "ROLE", "ADDRESS", "STATE", "VERSION", "NOTE", NULL };
    struct grid grid;
    char buf[MOMENT_MAX];
    grid_init(&grid, "llllll");
    add_titles(&grid, o, titles);
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct host_row *h = &m->hosts[i];
        grid_add(&grid, h->host);
        grid_add(&grid, h->role >= 0 && h->role < ROLE_MAX_ ? role_names[h->role] : "?");
        grid_add(&grid, h->address);
        if (!h->online)
            grid_paint(&grid, style_paint(&o->style, PAINT_BAD));
        if (h->online || h->seen_us == 0)
            grid_add(&grid, h->online ? "connected" : "not connected");
        else
            grid_addf(&grid, "not connected since %s", moment_clock(h->seen_us, o->now, buf));
        grid_add(&grid, h->version);
        grid_add(&grid, h->note);
    }
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
}

/* --- ps --------------------------------------------------------------------------------------------------- */

void text_ps(struct output *o, const struct msg_ps *m)
{
    static const char *const titles[] = { "INSTANCE", "RELEASE", "COMMIT", "HOST", "PID", "RESTARTS",
        "MEMORY", "STATE", NULL };
    if (m->n_instances == 0) {
        strbuf_adds(&o->text, "nothing runs\n");
        return;
    }
    struct grid grid;
    grid_init(&grid, "llllrrrl");
    add_titles(&grid, o, titles);
    for (size_t i = 0; i < m->n_instances; i++) {
        const struct instance_state *s = &m->instances[i];
        _cleanup_(free_ptr) char *name = release_name(s);
        grid_add(&grid, s->id);
        grid_add(&grid, name);
        grid_addf(&grid, "%.*s", NAME_SHORT_COMMIT_LEN, s->commit ? s->commit : "");
        add_place(&grid, s);
        if (s->pid > 0)
            grid_addf(&grid, "%d", (int)s->pid);
        else
            grid_add(&grid, style_glyph(&o->style, GLYPH_NONE));
        grid_addf(&grid, "%d", (int)s->restarts);
        add_memory(&grid, s);
        add_phase(&grid, o, s);
    }
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
}

/* --- status ----------------------------------------------------------------------------------------------- */

/* "running 4 min, 1 restart: killed by the kernel for memory (256M)" */
static void add_health(struct grid *grid, const struct output *o, const struct instance_state *s)
{
    if (s->phase != INSTANCE_RUNNING) {
        add_phase(grid, o, s);
        return;
    }
    char since[MOMENT_MAX];
    moment_since(s->since_us, o->now, since);
    bool tell = s->restarts > 0 && s->reason;
    grid_addf(grid, "running%s%s, %d restart%s%s%s", *since ? " " : "", since, (int)s->restarts,
        s->restarts == 1 ? "" : "s", tell ? ": " : "", tell ? s->reason : "");
}

static char *status_name(const struct status_row *row)
{
    const char *service = row->service ? row->service : "?";
    return row->version ? xasprintf("%s@%s", service, row->version) : xstrdup(service);
}

static void add_status_row(struct output *o, const struct status_row *row, size_t width)
{
    _cleanup_(free_ptr) char *name = status_name(row);
    const char *strong = style_paint(&o->style, PAINT_STRONG);
    strbuf_adds(&o->text, strong ? strong : "");
    text_add(o, name);
    strbuf_adds(&o->text, strong ? STYLE_END : "");
    strbuf_addf(&o->text, "%*s", (int)(width - display_width(name)) + 3, "");
    text_add(o, row->summary);
    strbuf_addc(&o->text, '\n');
    struct grid grid;
    grid_init(&grid, "lll");
    for (size_t i = 0; i < row->n_instances; i++) {
        grid_add(&grid, row->instances[i].id);
        add_place(&grid, &row->instances[i]);
        add_health(&grid, o, &row->instances[i]);
    }
    for (size_t i = 0; i < row->n_instances; i++) {
        grid_print_rows(&grid, i, i + 1, 2, &o->text);
        if (row->instances[i].phase != INSTANCE_RUNNING)
            text_quote(o, row->instances[i].lines);
    }
    grid_done(&grid);
}

void text_status(struct output *o, const struct msg_status *m)
{
    size_t width = 0;
    for (size_t i = 0; i < m->n_releases; i++) {
        _cleanup_(free_ptr) char *name = status_name(&m->releases[i]);
        size_t w = display_width(name);
        width = w > width ? w : width;
    }
    for (size_t i = 0; i < m->n_releases; i++)
        add_status_row(o, &m->releases[i], width);
    if (m->n_releases == 0)
        strbuf_adds(&o->text, "nothing runs\n");
}
