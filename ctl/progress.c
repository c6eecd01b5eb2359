/* SPDX-License-Identifier: MIT */
#include "ctl/progress.h"

#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strv.h"
#include "ctl/grid.h"
#include "ctl/moment.h"
#include "ctl/output.h"
#include "ctl/text_fleet.h"

#define NAME_WIDTH         9 /* of the phases' column */
#define CELL_GAP           3
#define TEXT_MAX           2048 /* bytes of one event's text that are shown */
#define LIVE_WIDTH_DEFAULT 80
#define SPINNER_STEP_MS    120
#define CLOCK_FROM_MS      300 /* what is over sooner needs no clock */

/* What one host, or one instance, did in one phase. */
struct cell {
    char *host; /* NULL: of the deploy as a whole */
    char *instance;
    int status;
    char *text;
    char **lines;
    int64_t started_us; /* running: since when */
    int64_t elapsed_ms;
};

struct phase {
    struct cell *cells;
    size_t n_cells, cap;
};

struct progress {
    struct output *output; /* weak */
    bool live;
    struct phase phases[DEPLOY_PHASE_MAX_];
    char **build_lines; /* the last ones of … */
    char *build_host;   /* … the host that built last */
    int lines_drawn;    /* on the terminal, above the cursor */
    int64_t begin_us, now_us;
};

struct progress *progress_new(struct output *output, bool live)
{
    struct progress *p = xcalloc(1, sizeof(*p));
    p->output = output;
    p->live = live;
    p->begin_us = p->now_us = output->now.us;
    return p;
}

static void cell_done(struct cell *cell)
{
    free(cell->host);
    free(cell->instance);
    free(cell->text);
    strv_free(cell->lines);
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(p->phases); i++) {
        for (size_t j = 0; j < p->phases[i].n_cells; j++)
            cell_done(&p->phases[i].cells[j]);
        free(p->phases[i].cells);
    }
    strv_free(p->build_lines);
    free(p->build_host);
    free(p);
}

/* --- what happened ---------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* By host and instance; what concerns the deploy as a whole comes last. */
static int compare(const struct cell *cell, const struct msg_deploy_event *m)
{
    if (!cell->host || !m->host)
        return !cell->host - !m->host;
    int order = strcmp(cell->host, m->host);
    if (order != 0 || !cell->instance || !m->instance)
        return order != 0 ? order : !!cell->instance - !!m->instance;
    return strcmp(cell->instance, m->instance);
}

/* The cell of the event, made in its place if it is new. NULL: there are too many. */
static struct cell *find_cell(struct phase *phase, const struct msg_deploy_event *m)
{
    size_t at = 0;
    while (at < phase->n_cells && compare(&phase->cells[at], m) < 0)
        at++;
    if (at < phase->n_cells && compare(&phase->cells[at], m) == 0)
        return &phase->cells[at];
    if (phase->n_cells == PROGRESS_HOSTS_MAX)
        return NULL;
    phase->cells = xgrow(phase->cells, phase->n_cells, &phase->cap, sizeof(*phase->cells));
    struct cell *cell = &phase->cells[at];
    memmove(cell + 1, cell, (phase->n_cells++ - at) * sizeof(*cell));
    *cell = (struct cell){ .host = xstrdup(m->host), .instance = xstrdup(m->instance) };
    return cell;
}

static void keep_output(struct progress *p, const struct msg_deploy_event *m)
{
    if (!same(p->build_host, m->host)) {
        strv_free(p->build_lines);
        p->build_lines = NULL;
        str_set(&p->build_host, m->host);
    }
    for (char **line = m->lines; line && *line; line++)
        strv_push(&p->build_lines, *line);
    size_t n = strv_len(p->build_lines);
    if (n <= PROGRESS_OUTPUT_LINES)
        return;
    char **last = strv_copy(p->build_lines + n - PROGRESS_OUTPUT_LINES);
    strv_free(p->build_lines);
    p->build_lines = last;
}

static void forget_output(struct progress *p)
{
    strv_free(p->build_lines);
    p->build_lines = NULL;
    str_set(&p->build_host, NULL);
}

static void keep(struct progress *p, const struct msg_deploy_event *m)
{
    if (m->status == STEP_OUTPUT) {
        keep_output(p, m);
        return;
    }
    struct cell *cell = find_cell(&p->phases[m->phase], m);
    if (!cell)
        return;
    if (m->status == STEP_RUNNING && cell->status != STEP_RUNNING)
        cell->started_us = 0;
    cell->status = m->status;
    if (m->text)
        str_set(&cell->text, m->text);
    cell->elapsed_ms = m->elapsed_ms;
    if (cell->started_us == 0)
        cell->started_us = p->now_us;
    strv_free(cell->lines);
    cell->lines = strv_copy(m->lines);
    if (m->status != STEP_RUNNING && same(p->build_host, m->host))
        forget_output(p);
}

/* --- a phase as one line ---------------------------------------------------------------------------------- */

static enum step_status phase_status(const struct phase *phase)
{
    bool running = false, whole_done = false;
    for (size_t i = 0; i < phase->n_cells; i++) {
        if (phase->cells[i].status == STEP_FAILED)
            return STEP_FAILED;
        running |= phase->cells[i].status == STEP_RUNNING;
        whole_done |= phase->cells[i].status == STEP_DONE && !phase->cells[i].host;
    }
    return running && !whole_done ? STEP_RUNNING : STEP_DONE;
}

static void add_mark(const struct progress *p, enum step_status status, struct strbuf *out)
{
    static const char *const spinner[] = { "⠋", "⠙", "⠸", "⠴", "⠦", "⠇" };
    static const enum glyph marks[] = { GLYPH_RUNNING, GLYPH_DONE, GLYPH_FAILED };
    static const enum paint colors[] = { PAINT_DIM, PAINT_GOOD, PAINT_BAD };
    const struct style *style = &p->output->style;
    const char *paint = style_paint(style, colors[status]);
    strbuf_adds(out, paint ? paint : "");
    if (status == STEP_RUNNING && p->live && style->utf8) {
        size_t turn = (size_t)(p->now_us / CLOCK_US_PER_MS / SPINNER_STEP_MS);
        strbuf_adds(out, spinner[turn % ARRAY_SIZE(spinner)]);
    } else {
        strbuf_adds(out, style_glyph(style, marks[status]));
    }
    strbuf_adds(out, paint ? STYLE_END : "");
}

static void add_text(struct strbuf *out, const char *text)
{
    if (text)
        strbuf_add_printable(out, text, strlen(text), TEXT_MAX);
}

/* The text that all hosts share stands once, at the end: "14 objects, 6.1 kB". NULL if they differ. */
static const char *shared_text(const struct phase *phase)
{
    const char *text = NULL;
    for (size_t i = 0; i < phase->n_cells; i++) {
        const struct cell *cell = &phase->cells[i];
        if (!cell->host || !cell->text || cell->status == STEP_FAILED || cell->instance)
            continue;
        if (text && !same(text, cell->text))
            return NULL;
        text = cell->text;
    }
    return text;
}

static int64_t cell_elapsed_ms(const struct progress *p, const struct cell *cell)
{
    if (cell->status != STEP_RUNNING)
        return cell->elapsed_ms;
    int64_t since_ms = cell->started_us > 0 ? (p->now_us - cell->started_us) / CLOCK_US_PER_MS : 0;
    return since_ms > cell->elapsed_ms ? since_ms : cell->elapsed_ms;
}

static void add_elapsed(const struct progress *p, const struct cell *cell, struct strbuf *out)
{
    char buf[MOMENT_MAX];
    int64_t ms = cell_elapsed_ms(p, cell);
    if (ms > 0 && !(cell->status == STEP_RUNNING && !p->live))
        strbuf_addf(out, " %s", moment_elapsed(ms, buf));
}

/* "app1 0.1s", "app1 3f9a12c0 :20117", "app1 exited with status 1 after 0.21s" */
static void add_cell(
    const struct progress *p, const struct cell *cell, const char *shared, struct strbuf *out)
{
    add_text(out, cell->host);
    if (cell->instance && cell->status != STEP_FAILED) {
        strbuf_addc(out, ' ');
        add_text(out, cell->instance);
    }
    bool own_text = cell->text && cell->text != shared && !same(cell->text, shared);
    bool says_it = cell->instance || cell->status == STEP_FAILED; /* the text is what matters, not the time */
    if (!says_it || !own_text)
        add_elapsed(p, cell, out);
    if (own_text && *cell->text) {
        strbuf_addc(out, ' ');
        add_text(out, cell->text);
    }
}

/* What concerns the deploy as a whole: "epoch 118 on 2 of 2 routers   6 ms". */
static void add_whole(const struct progress *p, const struct cell *cell, struct strbuf *out)
{
    char buf[MOMENT_MAX];
    add_text(out, cell->text);
    int64_t ms = cell_elapsed_ms(p, cell);
    if (ms > 0 && cell->status != STEP_FAILED && !(cell->status == STEP_RUNNING && !p->live))
        strbuf_addf(out, "%s%s", cell->text ? "   " : "", moment_elapsed(ms, buf));
}

static void add_gap(struct strbuf *out, size_t begin)
{
    if (out->len > begin)
        strbuf_addf(out, "%*s", CELL_GAP, "");
}

static void add_phase_name(const struct progress *p, int phase, enum step_status status, struct strbuf *out)
{
    strbuf_adds(out, "  ");
    add_mark(p, status, out);
    strbuf_addf(out, " %-*s ", NAME_WIDTH, deploy_phase_names[phase]);
}

static void add_phase_line(const struct progress *p, int number, struct strbuf *out)
{
    const struct phase *phase = &p->phases[number];
    enum step_status status = phase_status(phase);
    const char *shared = shared_text(phase);
    add_phase_name(p, number, status, out);
    size_t begin = out->len;
    for (size_t i = 0; i < phase->n_cells; i++) {
        if (!phase->cells[i].host || (status == STEP_FAILED && phase->cells[i].status != STEP_FAILED))
            continue;
        add_gap(out, begin);
        add_cell(p, &phase->cells[i], shared, out);
    }
    if (shared && *shared && status != STEP_FAILED) {
        add_gap(out, begin);
        strbuf_adds(out, "     ");
        add_text(out, shared);
    }
    for (size_t i = 0; i < phase->n_cells; i++) {
        if (phase->cells[i].host)
            continue;
        add_gap(out, begin);
        add_whole(p, &phase->cells[i], out);
    }
}

static void add_quotes(struct progress *p, const struct phase *phase)
{
    for (size_t i = 0; i < phase->n_cells; i++)
        if (phase->cells[i].status == STEP_FAILED)
            text_quote(p->output, phase->cells[i].lines);
}

/* --- on a terminal ---------------------------------------------------------------------------------------- */

/* Back to the first line; what is there is written over, so that nothing flickers. */
static void rewind_lines(struct progress *p)
{
    if (p->lines_drawn > 0)
        strbuf_addf(&p->output->text, "\r\033[%dA", p->lines_drawn);
    p->lines_drawn = 0;
}

/* Cut to the terminal's width: a wrapped line would be two when they are counted back. */
static void draw_line(struct progress *p, const char *line, enum paint paint)
{
    struct strbuf *out = &p->output->text;
    size_t width = (size_t)(p->output->style.width > 0 ? p->output->style.width : LIVE_WIDTH_DEFAULT);
    const char *escape = paint == PAINT_MAX_ ? NULL : style_paint(&p->output->style, paint);
    strbuf_adds(out, escape ? escape : "");
    strbuf_add(out, line, display_cut(line, width - 1));
    strbuf_adds(out, p->output->style.color ? STYLE_END "\033[K\n" : "\033[K\n");
    p->lines_drawn++;
}

static void draw_build_output(struct progress *p)
{
    char *line;
    strv_for_each (line, p->build_lines) {
        _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
        strbuf_adds(&text, "    ");
        add_text(&text, line);
        draw_line(p, strbuf_str(&text), PAINT_DIM);
    }
}

/* That something is under way, also while no phase has anything to tell. */
static void draw_clock(struct progress *p)
{
    char buf[MOMENT_MAX];
    _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
    int64_t ms = (p->now_us - p->begin_us) / CLOCK_US_PER_MS;
    if (ms < CLOCK_FROM_MS)
        return;
    strbuf_adds(&line, "  ");
    add_mark(p, STEP_RUNNING, &line);
    strbuf_addf(&line, " %s", moment_elapsed(ms, buf));
    draw_line(p, strbuf_str(&line), PAINT_MAX_);
}

static void draw(struct progress *p)
{
    rewind_lines(p);
    for (int i = 0; i < DEPLOY_PHASE_MAX_; i++) {
        if (p->phases[i].n_cells == 0)
            continue;
        _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
        add_phase_line(p, i, &line);
        draw_line(p, strbuf_str(&line), PAINT_MAX_);
    }
    draw_clock(p);
    draw_build_output(p);
    strbuf_adds(&p->output->text, "\033[J");
}

/* The last picture, whole lines this time. */
static void draw_final(struct progress *p)
{
    bool drawn = p->lines_drawn > 0;
    rewind_lines(p);
    strbuf_adds(&p->output->text, drawn ? "\033[J" : "");
    for (int i = 0; i < DEPLOY_PHASE_MAX_; i++) {
        if (p->phases[i].n_cells == 0)
            continue;
        add_phase_line(p, i, &p->output->text);
        strbuf_addc(&p->output->text, '\n');
        add_quotes(p, &p->phases[i]);
    }
}

/* --- elsewhere -------------------------------------------------------------------------------------------- */

static void print_output(struct progress *p, const struct msg_deploy_event *m)
{
    for (char **line = m->lines; line && *line; line++) {
        strbuf_adds(&p->output->text, "    ");
        text_add(p->output, m->host);
        strbuf_adds(&p->output->text, " | ");
        text_add(p->output, *line);
        strbuf_addc(&p->output->text, '\n');
    }
}

static void print_event(struct progress *p, const struct msg_deploy_event *m)
{
    if (m->status == STEP_OUTPUT) {
        print_output(p, m);
        return;
    }
    const struct cell cell = { .host = m->host,
        .instance = m->instance,
        .status = m->status,
        .text = m->text,
        .elapsed_ms = m->elapsed_ms };
    struct strbuf *out = &p->output->text;
    add_phase_name(p, m->phase, (enum step_status)m->status, out);
    if (m->host)
        add_cell(p, &cell, NULL, out);
    else
        add_whole(p, &cell, out);
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    strbuf_addc(out, '\n');
    if (m->status == STEP_FAILED)
        text_quote(p->output, m->lines);
}

/* --- verbs ------------------------------------------------------------------------------------------------ */

void progress_event(struct progress *p, const struct msg_deploy_event *m)
{
    if (m->phase < 0 || m->phase >= DEPLOY_PHASE_MAX_ || m->status < 0 || m->status >= STEP_STATUS_MAX_)
        return;
    if (!p->live) {
        print_event(p, m);
        return;
    }
    keep(p, m);
    draw(p);
}

void progress_tick(struct progress *p, int64_t now_us)
{
    p->now_us = now_us;
    if (p->live)
        draw(p);
}

void progress_leave(struct progress *p)
{
    if (p->live)
        draw_final(p);
    p->lines_drawn = 0;
}

void progress_result(struct progress *p, const struct msg_deploy_result *m)
{
    struct output *o = p->output;
    char buf[MOMENT_MAX];
    progress_leave(p);
    bool good = m->outcome == OUTCOME_DONE;
    const char *paint = good ? NULL : style_paint(&o->style, PAINT_BAD);
    strbuf_adds(&o->text, paint ? paint : "");
    text_add(o, m->text);
    strbuf_adds(&o->text, paint ? STYLE_END : "");
    if (m->elapsed_ms > 0)
        strbuf_addf(&o->text, "%s%s", m->text ? " " : "", moment_elapsed(m->elapsed_ms, buf));
    strbuf_addc(&o->text, '\n');
    for (char **line = m->lines; line && *line; line++) {
        text_add(o, *line);
        strbuf_addc(&o->text, '\n');
    }
    if (m->outcome == OUTCOME_FAILED && m->service && m->version)
        strbuf_addf(&o->text, "More: stagecoachctl logs %s@%s\n", m->service, m->version);
}
