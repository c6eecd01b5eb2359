/* SPDX-License-Identifier: MIT */
#pragma once

/* What the place that output goes to can show: colour, UTF-8, a width, lines that change. Decides nothing about
 * what is written. */

#include <stdbool.h>

struct style {
    bool terminal;
    bool live; /* lines can be changed in place */
    bool color;
    bool utf8;
    int width; /* columns; 0: unknown, no limit */
};

enum paint { PAINT_GOOD, PAINT_BAD, PAINT_DIM, PAINT_STRONG, PAINT_MAX_ };

enum glyph {
    GLYPH_DONE,
    GLYPH_FAILED,
    GLYPH_RUNNING,
    GLYPH_NONE,   /* an empty cell */
    GLYPH_BRANCH, /* a node with more below it */
    GLYPH_LAST,
    GLYPH_BRANCH_OPEN, /* the same, with children */
    GLYPH_LAST_OPEN,
    GLYPH_PIPE,
    GLYPH_MORE,
    GLYPH_MAX_
};

/* color: "auto", "always", "never" or NULL (auto; NO_COLOR counts). Reads the locale's character set only. */
struct style style_detect(int fd, const char *color);
/* Columns now, after the window was made larger or smaller; 0: unknown. */
int style_width(int fd);
/* Escape that begins it, or NULL without colour; STYLE_END ends it. */
const char *style_paint(const struct style *style, enum paint paint);
#define STYLE_END "\033[0m"
const char *style_glyph(const struct style *style, enum glyph glyph);
