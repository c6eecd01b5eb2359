/* SPDX-License-Identifier: MIT */
#include "ctl/style.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/mem.h"

static const char *const paints[] = {
    // clang-format off
    [PAINT_GOOD]   = "\033[32m",
    [PAINT_BAD]    = "\033[31m",
    [PAINT_DIM]    = "\033[2m",
    [PAINT_STRONG] = "\033[1m",
    // clang-format on
};
_Static_assert(ARRAY_SIZE(paints) == PAINT_MAX_, "one escape per paint");

static const char *const glyphs[][2] = {
    // clang-format off
    /*                       UTF-8       elsewhere */
    [GLYPH_DONE]        = { "✓",        "+"    },
    [GLYPH_FAILED]      = { "✗",        "!"    },
    [GLYPH_RUNNING]     = { "·",        "."    },
    [GLYPH_NONE]        = { "–",        "-"    },
    [GLYPH_BRANCH]      = { "├── ",     "|-- " },
    [GLYPH_LAST]        = { "└── ",     "`-- " },
    [GLYPH_BRANCH_OPEN] = { "├─┬ ",     "|-+ " },
    [GLYPH_LAST_OPEN]   = { "└─┬ ",     "`-+ " },
    [GLYPH_PIPE]        = { "│ ",       "| "   },
    [GLYPH_MORE]        = { "…",        "..."  },
    // clang-format on
};
_Static_assert(ARRAY_SIZE(glyphs) == GLYPH_MAX_, "two texts per glyph");

static bool can_move(void)
{
    const char *term = getenv("TERM");
    return term && *term && strcmp(term, "dumb") != 0;
}

static bool want_color(bool terminal, const char *color)
{
    if (color && strcmp(color, "auto") != 0)
        return strcmp(color, "always") == 0;
    const char *no_color = getenv("NO_COLOR");
    return terminal && !(no_color && *no_color) && can_move();
}

int style_width(int fd)
{
    struct winsize size;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

struct style style_detect(int fd, const char *color)
{
    struct style style = { .terminal = isatty(fd) == 1 };
    style.live = style.terminal && can_move();
    style.width = style.terminal ? style_width(fd) : 0;
    style.color = want_color(style.terminal, color);
    /* Only the character set: numbers and dates look the same everywhere. */
    setlocale(LC_CTYPE, "");
    style.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    return style;
}

const char *style_paint(const struct style *style, enum paint paint)
{
    return style->color ? paints[paint] : NULL;
}

const char *style_glyph(const struct style *style, enum glyph glyph)
{
    return glyphs[glyph][style->utf8 ? 0 : 1];
}
