/* SPDX-License-Identifier: MIT */
#include "common/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define WORD_MAX 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edit distance with swaps of neighbours, letter case ignored; both words at most WORD_MAX bytes. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            row[j] = least(last[j - 1] + (ca != cb), least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b_len];
}

const char *nearest_word(const char *word, const char *const *known)
{
    const char *best = NULL;
    size_t len = strlen(word), best_distance = 0;
    if (len > WORD_MAX)
        return NULL;
    for (; *known; known++) {
        size_t known_len = strlen(*known);
        if (known_len > WORD_MAX)
            continue;
        size_t d = distance(word, len, *known, known_len);
        if (d <= (known_len < 4 ? 1 : known_len / 3) && (!best || d < best_distance)) {
            best = *known;
            best_distance = d;
        }
    }
    return best;
}
