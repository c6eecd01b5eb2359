/* SPDX-License-Identifier: MIT */
#include "ctl/deps_tree.h"

#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "ctl/grid.h"

#define INDENT_MAX (DEPS_DEPTH_MAX * 8)
#define LEFT_MIN   24 /* columns of the tree before what is asked for */

struct tree {
    const struct msg_deps *deps;
    const struct style *style;
    struct grid grid;                           /* the tree, and the range or what is missing */
    struct map *shown;                          /* "web@0.2.2" of releases that were unfolded */
    const struct dep_row *path[DEPS_DEPTH_MAX]; /* from the root to here: one edge of each release */
};

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool edge_of(const struct dep_row *edge, const char *service, const char *version)
{
    return same(edge->service, service) && same(edge->version, version);
}

static char *key_of(const char *service, const char *version)
{
    return version ? xasprintf("%s@%s", service, version) : xstrdup(service);
}

static bool is_shown(const struct tree *t, const char *service, const char *version)
{
    _cleanup_(free_ptr) char *key = key_of(service, version);
    return map_get(t->shown, key) != NULL;
}

static void set_shown(struct tree *t, const char *service, const char *version)
{
    _cleanup_(free_ptr) char *key = key_of(service, version);
    map_set(t->shown, key, t);
}

static bool has_edges(const struct tree *t, const char *service, const char *version)
{
    for (size_t i = 0; i < t->deps->n_edges; i++)
        if (t->deps->edges[i].name && edge_of(&t->deps->edges[i], service, version))
            return true;
    return false;
}

/* Does a branch that leads here already hold this release? */
static bool is_cycle(const struct tree *t, size_t depth, const struct dep_row *edge)
{
    for (size_t i = 0; i <= depth; i++)
        if (edge_of(t->path[i], edge->name, edge->resolved))
            return true;
    return false;
}

static void add_line(
    struct tree *t, const char *indent, enum glyph glyph, const struct dep_row *edge, const char *remark)
{
    const struct style *style = t->style;
    _cleanup_(free_ptr) char *name = edge->resolved
        ? key_of(edge->name, edge->resolved)
        : xasprintf("%s %s", edge->name, edge->range ? edge->range : "*");
    grid_addf(&t->grid, "%s%s%s%s", indent, style_glyph(style, glyph), name, remark);
    if (edge->resolved) {
        grid_add(&t->grid, edge->range);
        return;
    }
    grid_paint(&t->grid, style_paint(style, PAINT_BAD));
    grid_addf(&t->grid, "missing%s%s", edge->missing ? ": " : "", edge->missing ? edge->missing : "");
}

static void add_edges(struct tree *t, const char *indent, size_t depth);

static void add_edge(struct tree *t, const char *indent, size_t depth, const struct dep_row *edge, bool last)
{
    const char *remark = "";
    bool open = edge->resolved && has_edges(t, edge->name, edge->resolved);
    if (open && is_cycle(t, depth, edge)) {
        open = false;
        remark = " (a circle)";
    } else if (open && (is_shown(t, edge->name, edge->resolved) || depth + 1 == DEPS_DEPTH_MAX)) {
        open = false;
        remark = " (see above)";
    }
    enum glyph glyph =
        last ? (open ? GLYPH_LAST_OPEN : GLYPH_LAST) : (open ? GLYPH_BRANCH_OPEN : GLYPH_BRANCH);
    add_line(t, indent, glyph, edge, remark);
    if (edge->resolved && !*remark)
        set_shown(t, edge->name, edge->resolved);
    if (!open)
        return;
    char deeper[INDENT_MAX];
    snprintf(deeper, sizeof(deeper), "%s%s", indent, last ? "  " : style_glyph(t->style, GLYPH_PIPE));
    for (size_t i = 0; i < t->deps->n_edges; i++)
        if (edge_of(&t->deps->edges[i], edge->name, edge->resolved)) {
            t->path[depth + 1] = &t->deps->edges[i];
            break;
        }
    add_edges(t, deeper, depth + 1);
}

/* Everything that the release of path[depth] depends on. */
static void add_edges(struct tree *t, const char *indent, size_t depth)
{
    const struct dep_row *of = t->path[depth];
    set_shown(t, of->service, of->version);
    size_t n = 0, seen = 0;
    for (size_t i = 0; i < t->deps->n_edges; i++)
        n += t->deps->edges[i].name && edge_of(&t->deps->edges[i], of->service, of->version);
    for (size_t i = 0; i < t->deps->n_edges; i++) {
        const struct dep_row *edge = &t->deps->edges[i];
        if (edge->name && edge_of(edge, of->service, of->version))
            add_edge(t, indent, depth, edge, ++seen == n);
    }
}

static bool is_depended_on(const struct tree *t, const struct dep_row *release)
{
    for (size_t i = 0; i < t->deps->n_edges; i++) {
        const struct dep_row *edge = &t->deps->edges[i];
        if (same(edge->name, release->service) && same(edge->resolved, release->version))
            return true;
    }
    return false;
}

static void add_root(struct tree *t, const struct dep_row *release)
{
    if (is_shown(t, release->service, release->version))
        return;
    _cleanup_(free_ptr) char *key = key_of(release->service, release->version);
    grid_paint(&t->grid, style_paint(t->style, PAINT_STRONG));
    grid_add(&t->grid, key);
    grid_add(&t->grid, NULL);
    t->path[0] = release;
    add_edges(t, "", 0);
}

/* The column of what is asked for does not jump about between short trees. */
static void print(struct tree *t, struct strbuf *out)
{
    size_t rows = grid_rows(&t->grid);
    for (size_t r = 0; r < rows; r++) {
        const struct grid_cell *cell = &t->grid.cells[2 * r];
        size_t width = display_width(cell->text);
        if (width < LEFT_MIN && cell[1].text[0]) {
            char *padded = xasprintf("%s%*s", cell->text, (int)(LEFT_MIN - width), "");
            free(t->grid.cells[2 * r].text);
            t->grid.cells[2 * r].text = padded;
        }
    }
    grid_print(&t->grid, 0, out);
}

void deps_tree_print(const struct msg_deps *deps, const struct style *style, struct strbuf *out)
{
    struct tree t = { .deps = deps, .style = style, .shown = map_new(NULL) };
    grid_init(&t.grid, "ll");
    for (size_t i = 0; i < deps->n_edges; i++)
        if (deps->edges[i].service && !is_depended_on(&t, &deps->edges[i]))
            add_root(&t, &deps->edges[i]);
    for (size_t i = 0; i < deps->n_edges; i++) /* circles that no root leads into */
        if (deps->edges[i].service)
            add_root(&t, &deps->edges[i]);
    print(&t, out);
    grid_done(&t.grid);
    map_free(t.shown);
}
