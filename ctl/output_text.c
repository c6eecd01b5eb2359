/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/strv.h"
#include "ctl/deps_tree.h"
#include "ctl/grid.h"
#include "ctl/moment.h"
#include "ctl/output.h"
#include "ctl/progress.h"
#include "ctl/remote.h"
#include "ctl/text_fleet.h"
#include "ctl/text_router.h"

#define WHO_WIDTH  8 /* of monitor's columns, which can't be measured beforehand */
#define KIND_WIDTH 9

static void text_line(struct output *o, const char *text)
{
    text_add(o, text);
    strbuf_addc(&o->text, '\n');
}

/* --- deploys ---------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "  on app1 (2), app2": each host once. */
static void add_hosts(struct output *o, char *const *hosts)
{
    _cleanup_(strv_freep) char **sorted = strv_copy(hosts);
    size_t n = strv_len(sorted);
    const char *before = "  on ";
    if (n > 0)
        qsort(sorted, n, sizeof(*sorted), by_name);
    for (size_t i = 0, count; i < n; i += count) {
        for (count = 1; i + count < n && strcmp(sorted[i], sorted[i + count]) == 0;)
            count++;
        strbuf_adds(&o->text, before);
        text_add(o, sorted[i]);
        if (count > 1)
            strbuf_addf(&o->text, " (%zu)", count);
        before = ", ";
    }
}

/* "deploy ", or what the hub's line calls it: "rollback d-4f2a …". */
static void add_kind(struct output *o, const struct msg_operation *m)
{
    size_t len = m->text ? strspn(m->text, "abcdefghijklmnopqrstuvwxyz") : 0;
    bool named =
        len > 0 && m->text[len] == ' ' && strncmp(m->text + len + 1, m->deploy, strlen(m->deploy)) == 0;
    strbuf_add(&o->text, named ? m->text : "deploy", named ? len : strlen("deploy"));
    strbuf_addc(&o->text, ' ');
}

static void text_operation(struct output *o, const struct msg_operation *m)
{
    if (!m->deploy) {
        text_line(o, m->text ? m->text : "nothing to do");
        return;
    }
    add_kind(o, m);
    text_add(o, m->deploy);
    if (m->service) {
        strbuf_adds(&o->text, "  ");
        text_add(o, m->service);
    }
    if (m->version) {
        strbuf_addc(&o->text, '@');
        text_add(o, m->version);
    }
    if (m->commit) {
        strbuf_adds(&o->text, "  ");
        strbuf_add_printable(&o->text, m->commit, strnlen(m->commit, NAME_SHORT_COMMIT_LEN), NAME_COMMIT_LEN);
    }
    if (m->subject) {
        strbuf_adds(&o->text, " \"");
        text_add(o, m->subject);
        strbuf_addc(&o->text, '"');
    }
    add_hosts(o, m->hosts);
    strbuf_addc(&o->text, '\n');
}

static void text_deploy_event(struct output *o, const struct msg_deploy_event *m)
{
    if (o->progress)
        progress_event(o->progress, m);
}

static void text_deploy_result(struct output *o, const struct msg_deploy_result *m)
{
    if (o->progress)
        progress_result(o->progress, m);
}

/* --- what happened ---------------------------------------------------------------------------------------- */

/* "web@0.2.2", or whatever else the event is about. */
static char *event_subject(const struct msg_event *e)
{
    if (e->service)
        return e->version ? xasprintf("%s@%s", e->service, e->version) : xstrdup(e->service);
    return xstrdup(e->app ? e->app : e->host ? e->host : "");
}

static void text_event(struct output *o, const struct msg_event *e)
{
    char clock[MOMENT_MAX];
    struct strbuf who = STRBUF_INIT, kind = STRBUF_INIT;
    _cleanup_(free_ptr) char *subject = event_subject(e);
    if (e->who)
        strbuf_add_printable(&who, e->who, strlen(e->who), 64);
    if (e->kind)
        strbuf_add_printable(&kind, e->kind, strlen(e->kind), 64);
    strbuf_addf(&o->text, "%s  %-*s  %-*s  ", moment_clock_s(e->at_us, clock), WHO_WIDTH, strbuf_str(&who),
        KIND_WIDTH, strbuf_str(&kind));
    text_add(o, subject);
    if (*subject && e->text)
        strbuf_adds(&o->text, "  ");
    text_line(o, e->text);
    strbuf_done(&who);
    strbuf_done(&kind);
}

static void text_history(struct output *o, const struct msg_history *m)
{
    struct grid grid;
    char stamp[MOMENT_MAX];
    grid_init(&grid, "lllll");
    for (size_t i = m->n_events; i-- > 0;) { /* the newest last, next to the prompt */
        const struct msg_event *e = &m->events[i];
        _cleanup_(free_ptr) char *subject = event_subject(e);
        grid_paint(&grid, style_paint(&o->style, PAINT_DIM));
        grid_add(&grid, moment_stamp(e->at_us, stamp));
        grid_add(&grid, e->who);
        grid_add(&grid, e->kind);
        grid_add(&grid, subject);
        grid_add(&grid, e->text);
    }
    grid_print(&grid, 0, &o->text);
    if (m->n_events == 0)
        strbuf_adds(&o->text, "nothing has happened yet\n");
    grid_done(&grid);
}

/* The same instance has the same colour in every run. */
static const char *line_color(const struct output *o, const struct log_line *line)
{
    static const char *const colors[] = { "\033[36m", "\033[33m", "\033[35m", "\033[34m", "\033[32m",
        "\033[96m", "\033[93m", "\033[95m" };
    if (!o->style.color)
        return NULL;
    unsigned hash = 0;
    for (const char *s = line->instance ? line->instance : ""; *s; s++)
        hash = hash * 31 + (unsigned char)*s;
    return colors[hash % ARRAY_SIZE(colors)];
}

static void text_log_lines(struct output *o, const struct msg_stream_lines *m)
{
    char clock[MOMENT_MAX];
    for (size_t i = 0; i < m->n_lines; i++) {
        const struct log_line *line = &m->lines[i];
        const char *color = line_color(o, line);
        strbuf_adds(&o->text, color ? color : "");
        strbuf_addf(&o->text, "%s ", moment_clock_s(line->at_us, clock));
        text_add(o, line->host ? line->host : "?");
        strbuf_addc(&o->text, ' ');
        text_add(o, line->service ? line->service : "?");
        if (line->version) {
            strbuf_addc(&o->text, '@');
            text_add(o, line->version);
        }
        strbuf_addc(&o->text, ' ');
        text_add(o, line->instance ? line->instance : "?");
        strbuf_adds(&o->text, color ? STYLE_END " | " : " | ");
        text_line(o, line->text);
    }
}

static void text_deps(struct output *o, const struct msg_deps *m)
{
    if (m->n_edges == 0)
        strbuf_adds(&o->text, "no release is known yet; push one\n");
    deps_tree_print(m, &o->style, &o->text);
}

/* --- identities ------------------------------------------------------------------------------------------- */

static void text_done(struct output *o, const char *text)
{
    if (text)
        text_line(o, text);
}

static void text_identity(struct output *o, const char *text, const struct msg_identity *m)
{
    text_line(o, text);
}

static const char *role_name(int64_t role)
{
    return role >= 0 && role < ROLE_MAX_ ? role_names[role] : "?";
}

static void add_uses(struct output *o, const struct msg_token *m)
{
    char left[CLOCK_STAMP_MAX];
    int64_t left_ms =
        (m->expires_us - o->now.us + CLOCK_US_PER_S - 1) / CLOCK_US_PER_MS; /* an hour, not 59 min */
    _cleanup_(free_ptr) char *services = strv_join(m->services, ", ");
    strbuf_addf(&o->text, "role %s", role_name(m->role));
    if (m->name) {
        strbuf_adds(&o->text, " \"");
        text_add(o, m->name);
        strbuf_addc(&o->text, '"');
    }
    if (*services) {
        strbuf_adds(&o->text, " (");
        text_add(o, services);
        strbuf_addc(&o->text, ')');
    }
    strbuf_addf(&o->text, ", %lld use%s", (long long)m->uses_left, m->uses_left == 1 ? "" : "s");
    if (m->expires_us > 0)
        strbuf_addf(&o->text, ", %s", left_ms > 0 ? duration_for_people(left_ms, left) : "expired");
    strbuf_addc(&o->text, '\n');
}

/* On a terminal with what to do with it; elsewhere the token alone, for $(…) and files. */
static void text_token(struct output *o, const struct msg_token *m)
{
    text_add(o, m->token);
    if (!o->style.terminal) {
        strbuf_addc(&o->text, '\n');
        return;
    }
    strbuf_adds(&o->text, "   ");
    add_uses(o, m);
    const char *hub = o->hub ? o->hub : "HUB:7000";
    if (role_is_person((enum role)m->role))
        strbuf_addf(&o->text,
            "  There:  stagecoachctl remote add NAME --hub=%s --token-file=-   (paste the token)\n", hub);
    else
        strbuf_addf(&o->text,
            "  On each host:  sudo stagecoachctl join %s --token-file=-   (paste the token)\n", hub);
}

static void text_tokens(struct output *o, const struct msg_tokens *m)
{
    struct grid grid;
    char buf[MOMENT_MAX];
    static const char *const titles[] = { "TOKEN", "ROLE", "FOR", "USES LEFT", "EXPIRES", "MADE BY" };
    grid_init(&grid, "lllrll");
    for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
        grid_paint(&grid, style_paint(&o->style, PAINT_DIM));
        grid_add(&grid, titles[i]);
    }
    for (size_t i = 0; i < m->n_tokens; i++) {
        const struct msg_token *t = &m->tokens[i];
        _cleanup_(free_ptr) char *services = strv_join(t->services, " ");
        grid_add(&grid, t->id);
        grid_add(&grid, role_name(t->role));
        grid_add(&grid, t->name ? t->name : services);
        grid_addf(&grid, "%lld", (long long)t->uses_left);
        grid_add(&grid, t->expires_us > 0 ? moment_clock(t->expires_us, o->now, buf) : "never");
        grid_add(&grid, t->created_by);
    }
    if (m->n_tokens > 0)
        grid_print(&grid, 0, &o->text);
    else
        strbuf_adds(&o->text, "no token is open\n");
    grid_done(&grid);
}

static void text_remotes(struct output *o, const struct remotes *m)
{
    struct grid grid;
    char buf[MOMENT_MAX], key[32];
    grid_init(&grid, "llllll");
    for (size_t i = 0; i < m->n_remotes; i++) {
        const struct remote *r = &m->remotes[i];
        bool is_default = m->n_remotes == 1 || (m->default_remote && strcmp(m->default_remote, r->name) == 0);
        _cleanup_(free_ptr) char *services = strv_join(r->services, ", ");
        grid_add(&grid, is_default ? "*" : " ");
        grid_add(&grid, r->name);
        grid_add(&grid, r->hub);
        grid_addf(&grid, "key %s", pki_fingerprint_text(r->pin, key));
        grid_addf(&grid, "%s \"%s\"%s%s%s", role_name(r->role), r->user ? r->user : "?",
            *services ? " (" : "", services, *services ? ")" : "");
        if (r->expires_us <= 0)
            grid_add(&grid, NULL);
        else
            grid_addf(&grid, "until %s", moment_day(r->expires_us, buf));
    }
    if (m->n_remotes > 0)
        grid_print(&grid, 0, &o->text);
    else
        strbuf_addf(&o->text,
            "no remote is known; add one with  stagecoachctl remote add NAME --hub=HOST:%d "
            "--token-file=FILE\n",
            PROTOCOL_PORT);
    grid_done(&grid);
}

/* --- the hub itself --------------------------------------------------------------------------------------- */

static void text_version(struct output *o, const struct msg_version *m)
{
    char key[32];
    strbuf_adds(&o->text, "stagecoachctl " STAGECOACH_VERSION "\n");
    if (!m)
        return;
    text_add(o, m->program ? m->program : "stagecoach-hubd");
    strbuf_addc(&o->text, ' ');
    text_add(o, m->version);
    strbuf_addf(&o->text, "  protocol %d", (int)m->protocol);
    if (m->fleet) {
        strbuf_adds(&o->text, "  fleet ");
        text_add(o, m->fleet);
    }
    if (m->fingerprint && strlen(m->fingerprint) == SHA256_HEX_SIZE - 1) {
        strbuf_adds(&o->text, "  key ");
        text_add(o, pki_fingerprint_text(m->fingerprint, key));
    }
    strbuf_addc(&o->text, '\n');
}

static void text_hub_status(struct output *o, const struct msg_hub_status *m)
{
    struct grid grid;
    grid_init(&grid, "ll");
    for (size_t i = 0; i < m->n_items; i++) {
        grid_add(&grid, m->items[i].name);
        grid_add(&grid, m->items[i].value);
    }
    grid_print(&grid, 0, &o->text);
    grid_done(&grid);
}

const struct output_ops output_text = {
    // clang-format off
    .deploy_event  = text_deploy_event,
    .deploy_result = text_deploy_result,
    .deps          = text_deps,
    .done          = text_done,
    .event         = text_event,
    .history       = text_history,
    .host_list     = text_host_list,
    .hub_status    = text_hub_status,
    .identity      = text_identity,
    .list          = text_list,
    .log_lines     = text_log_lines,
    .operation     = text_operation,
    .ps            = text_ps,
    .remotes       = text_remotes,
    .router        = text_router,
    .routers       = text_routers,
    .servers       = text_servers,
    .status        = text_status,
    .token         = text_token,
    .tokens        = text_tokens,
    .version       = text_version,
    // clang-format on
};
