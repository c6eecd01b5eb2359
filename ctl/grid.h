/* SPDX-License-Identifier: MIT */
#pragma once

/* Rows of cells, aligned by display width, never wrapped. Every cell is made printable when it is added, so
 * that nothing from the hub can move a cursor. Knows nothing of what the cells mean. Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

#define GRID_COLUMNS_MAX 12
#define GRID_CELL_MAX    4096 /* bytes; the rest becomes "…" */

struct grid_cell {
    char *text;
    const char *paint; /* escape sequence around it, or NULL */
};

struct grid {
    const char *align; /* one letter per column: l or r */
    size_t n_columns;
    struct grid_cell *cells;
    size_t n_cells, cap;
    const char *paint; /* of the next cell */
};

void grid_init(struct grid *grid, const char *align);
void grid_done(struct grid *grid);

/* The next cell of the row under way; a row ends when it has all its columns. */
void grid_add(struct grid *grid, const char *text);
void grid_addf(struct grid *grid, const char *fmt, ...) _printf_(2, 3);
/* The next cell is painted so. */
void grid_paint(struct grid *grid, const char *escape);

size_t grid_rows(const struct grid *grid);
/* Rows from (incl.) to (excl.), each behind `indent` blanks; columns are as wide as in the whole grid. */
void grid_print_rows(const struct grid *grid, size_t from, size_t to, int indent, struct strbuf *out);
void grid_print(const struct grid *grid, int indent, struct strbuf *out);

/* Columns that a printable UTF-8 text takes on a terminal. */
size_t display_width(const char *text);
/* Bytes of the longest start of text that takes at most width columns; escape sequences take none. */
size_t display_cut(const char *text, size_t width);
