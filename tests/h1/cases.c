/* SPDX-License-Identifier: MIT */
#include "tests/h1/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static const char *unescape_one(const char *p, struct strbuf *out)
{
    if (p[0] != '\\') {
        strbuf_addc(out, *p);
        return p + 1;
    }
    switch (p[1]) {
    case 'r':
        strbuf_addc(out, '\r');
        return p + 2;
    case 'n':
        strbuf_addc(out, '\n');
        return p + 2;
    case 't':
        strbuf_addc(out, '\t');
        return p + 2;
    case 'x':
        strbuf_addc(out, (char)(hex(p[2]) << 4 | hex(p[3])));
        return p + 4;
    default:
        fprintf(stderr, "unknown escape \\%c\n", p[1]);
        abort();
    }
}

/* {text*N}: the closing brace, with *ret_star at its star; NULL for a brace that is meant as such. */
static const char *repeat_end(const char *p, const char **ret_star)
{
    const char *end = strchr(p, '}'), *star = end;
    if (!end)
        return NULL;
    while (star > p && *star != '*')
        star--;
    if (star == p || star + 1 == end || strspn(star + 1, "0123456789") != (size_t)(end - star - 1))
        return NULL;
    *ret_star = star;
    return end;
}

static void unescape(const char *p, struct strbuf *out)
{
    while (*p) {
        const char *star, *end = *p == '{' ? repeat_end(p, &star) : NULL;
        if (!end) {
            p = unescape_one(p, out);
            continue;
        }
        struct strbuf text = STRBUF_INIT;
        for (const char *q = p + 1; q < star;)
            q = unescape_one(q, &text);
        for (long n = strtol(star + 1, NULL, 10); n > 0; n--)
            strbuf_add(out, text.data, text.len);
        strbuf_done(&text);
        p = end + 1;
    }
}

static void read_row(char *line, const char *source, struct h1_case *c)
{
    char *columns[3 + H1_EXPECTATIONS_MAX];
    int n = 0;
    for (char *p = line; p && n < 3 + H1_EXPECTATIONS_MAX; n++) {
        columns[n] = p;
        p = strchr(p, '\t');
        if (p)
            *p++ = '\0';
    }
    if (n < 3) {
        fprintf(stderr, "a row with %d columns: %s\n", n, line);
        abort();
    }
    c->name = xstrdup(columns[0]);
    c->verdict = xstrdup(columns[1]);
    c->source = xstrdup(source);
    unescape(columns[2], &c->bytes);
    for (int i = 3; i < n; i++) {
        c->kinds[c->n_expected] = columns[i][0];
        unescape(columns[i] + 1, &c->expected[c->n_expected++]);
    }
}

struct h1_case *h1_cases_load(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        perror(path);
        exit(1);
    }
    struct h1_case *cases = NULL;
    size_t n = 0, cap = 0, size = 0;
    char *line = NULL, source[256] = "";
    ssize_t len;
    while ((len = getline(&line, &size, f)) > 0) {
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
        if (line[0] == '#')
            snprintf(source, sizeof(source), "%s", line + 1);
        if (line[0] == '#' || line[0] == '\0')
            continue;
        cases = xgrow(cases, n, &cap, sizeof(*cases));
        memset(&cases[n], 0, sizeof(*cases));
        read_row(line, source, &cases[n++]);
    }
    free(line);
    fclose(f);
    *ret_n = n;
    return cases;
}

void h1_cases_free(struct h1_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(cases[i].name);
        free(cases[i].verdict);
        free(cases[i].source);
        strbuf_done(&cases[i].bytes);
        for (int k = 0; k < cases[i].n_expected; k++)
            strbuf_done(&cases[i].expected[k]);
    }
    free(cases);
}

bool h1_contains(const void *haystack, size_t len, const struct strbuf *needle)
{
    return needle->len == 0 || memmem(haystack, len, needle->data, needle->len) != NULL;
}
