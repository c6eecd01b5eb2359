/* SPDX-License-Identifier: MIT */
#include "ctl/grid.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "common/mem.h"

#define COLUMN_GAP 2

void grid_init(struct grid *grid, const char *align)
{
    *grid = (struct grid){ .align = align, .n_columns = strlen(align) };
}

void grid_done(struct grid *grid)
{
    for (size_t i = 0; i < grid->n_cells; i++)
        free(grid->cells[i].text);
    free(grid->cells);
    *grid = (struct grid){ 0 };
}

void grid_add(struct grid *grid, const char *text)
{
    struct strbuf printable = STRBUF_INIT;
    if (text)
        strbuf_add_printable(&printable, text, strlen(text), GRID_CELL_MAX);
    grid->cells = xgrow(grid->cells, grid->n_cells, &grid->cap, sizeof(*grid->cells));
    grid->cells[grid->n_cells++] = (struct grid_cell){ strbuf_steal(&printable), grid->paint };
    grid->paint = NULL;
}

void grid_addf(struct grid *grid, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = NULL;
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    grid_add(grid, text);
    free(text);
}

void grid_paint(struct grid *grid, const char *escape)
{
    grid->paint = escape;
}

size_t grid_rows(const struct grid *grid)
{
    return grid->n_columns ? grid->n_cells / grid->n_columns : 0;
}

static void measure(const struct grid *grid, size_t *widths)
{
    for (size_t c = 0; c < grid->n_columns; c++)
        widths[c] = 0;
    for (size_t i = 0; i < grid->n_cells; i++) {
        size_t width = display_width(grid->cells[i].text);
        if (width > widths[i % grid->n_columns])
            widths[i % grid->n_columns] = width;
    }
}

static void add_blanks(struct strbuf *out, size_t n)
{
    while (n-- > 0)
        strbuf_addc(out, ' ');
}

static void print_row(
    const struct grid *grid, const struct grid_cell *row, const size_t *widths, struct strbuf *out)
{
    size_t last = 0;
    for (size_t c = 0; c < grid->n_columns; c++)
        if (row[c].text[0])
            last = c;
    size_t owed = 0; /* blanks that are written only if something follows */
    for (size_t c = 0; c <= last; c++) {
        size_t pad = widths[c] - display_width(row[c].text);
        bool right = grid->align[c] == 'r';
        if (widths[c] == 0)
            continue; /* a column that no row uses */
        add_blanks(out, owed + (right ? pad : 0));
        if (row[c].paint)
            strbuf_adds(out, row[c].paint);
        strbuf_adds(out, row[c].text);
        if (row[c].paint)
            strbuf_adds(out, "\033[0m");
        owed = COLUMN_GAP + (right ? 0 : pad);
    }
    strbuf_addc(out, '\n');
}

void grid_print_rows(const struct grid *grid, size_t from, size_t to, int indent, struct strbuf *out)
{
    size_t widths[GRID_COLUMNS_MAX];
    measure(grid, widths);
    for (size_t r = from; r < to; r++) {
        add_blanks(out, (size_t)indent);
        print_row(grid, grid->cells + r * grid->n_columns, widths, out);
    }
}

void grid_print(const struct grid *grid, int indent, struct strbuf *out)
{
    grid_print_rows(grid, 0, grid_rows(grid), indent, out);
}

/* --- width ----------------------------------------------------------------------------------------------- */

/* The text is valid UTF-8 by then: it went through strbuf_add_printable. */
static size_t decode(const char *s, uint32_t *ret)
{
    unsigned char c = (unsigned char)s[0];
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    uint32_t point = len == 1 ? c : c & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80) {
            *ret = c;
            return 1;
        }
        point = point << 6 | ((unsigned char)s[i] & 0x3f);
    }
    *ret = point;
    return len;
}

static size_t point_width(uint32_t point)
{
    if (point < 0x80)
        return 1;
    int width = wcwidth((wchar_t)point);
    return width < 0 ? 1 : (size_t)width; /* outside UTF-8 locales nothing is known of it */
}

size_t display_width(const char *text)
{
    size_t width = 0;
    while (*text) {
        uint32_t point;
        text += decode(text, &point);
        width += point_width(point);
    }
    return width;
}

size_t display_cut(const char *text, size_t width)
{
    const char *s = text;
    while (*s) {
        if (s[0] == '\033' && s[1] == '[') {
            s += 2 + strcspn(s + 2, "mK");
            s += *s != '\0';
            continue;
        }
        uint32_t point;
        size_t len = decode(s, &point);
        size_t takes = point_width(point);
        if (takes > width)
            break;
        width -= takes;
        s += len;
    }
    return (size_t)(s - text);
}
