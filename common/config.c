/* SPDX-License-Identifier: MIT */
#include "common/config.h"

#include <ini.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "common/statefile.h"
#include "common/strv.h"

#define CONFIG_FILE_MAX (256 * 1024)
#define CONFIG_LINE_MAX 190 /* inih keeps lines in 200 bytes and cuts longer ones without a word */
#define OPTIONS_MAX     128
#define SHOWN_MAX       60
#define WHITE           " \t\r\n"

/* --- one value ------------------------------------------------------------------------------------------- */

#define MEMBER(obj, row, type)       ((type *)((char *)(obj) + (row)->offset))
#define CONST_MEMBER(obj, row, type) ((type const *)((const char *)(obj) + (row)->offset))

static const char *const truths[] = { "yes", "true", "on", "1" };
static const char *const untruths[] = { "no", "false", "off", "0" };

static bool parse_bool(const char *text, bool *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(truths); i++) {
        bool yes = strcasecmp(text, truths[i]) == 0;
        if (yes || strcasecmp(text, untruths[i]) == 0) {
            *ret = yes;
            return true;
        }
    }
    return false;
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end;

    if (!*text || strspn(text, "-0123456789") != strlen(text))
        return false;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno != 0 || *end)
        return false;
    *ret = n;
    return true;
}

static bool parse_size(const char *text, int64_t *ret)
{
    static const char suffixes[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    char number[24];
    int64_t n;

    if (digits == 0 || digits >= sizeof(number))
        return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (!parse_int(number, &n))
        return false;
    if (text[digits]) {
        const char *suffix = strchr(suffixes, text[digits]);
        if (!suffix || text[digits + 1])
            return false;
        if (__builtin_mul_overflow(n, INT64_C(1) << (10 * (suffix - suffixes + 1)), &n))
            return false;
    }
    *ret = n;
    return true;
}

static void print_size(int64_t n, struct strbuf *out)
{
    static const char suffixes[] = "KMGT";
    int power = 0;

    while (power < 4 && n != 0 && n % 1024 == 0) {
        n /= 1024;
        power++;
    }
    strbuf_addf(out, "%" PRId64, n);
    if (power > 0)
        strbuf_addc(out, suffixes[power - 1]);
}

static void print_number(enum option_type type, int64_t n, struct strbuf *out)
{
    char buf[CLOCK_STAMP_MAX];

    if (type == OPTION_DURATION)
        strbuf_adds(out, duration_format(n, buf));
    else if (type == OPTION_SIZE)
        print_size(n, out);
    else
        strbuf_addf(out, "%" PRId64, n);
}

static const char *const number_names[] = {
    [OPTION_INT] = "a whole number",
    [OPTION_DURATION] = "a time (such as 250ms, 30s, 5min, 2h)",
    [OPTION_SIZE] = "a size (such as 64K, 256M, 2G)",
};

/* "a whole number from 1 to 65535" */
static void print_range(const struct option_row *row, struct strbuf *out)
{
    strbuf_adds(out, number_names[row->type]);
    if (row->min != 0 || row->max != 0) {
        strbuf_adds(out, " from ");
        print_number(row->type, row->min, out);
    }
    if (row->max != 0) {
        strbuf_adds(out, " to ");
        print_number(row->type, row->max, out);
    } else if (row->min != 0) {
        strbuf_adds(out, " on");
    }
}

static int refuse(const struct option_row *row, const char *text, const char *must, struct error *err)
{
    struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;

    strbuf_add_printable(&shown, text, strlen(text), SHOWN_MAX);
    return error_set(err, -EINVAL, "\"%s\" must be %s, not \"%s\"", row->key, must, strbuf_str(&shown));
}

static int set_number(const struct option_row *row, const char *text, void *obj, struct error *err)
{
    struct strbuf must _cleanup_(strbuf_done) = STRBUF_INIT;
    int64_t n;
    bool ok = row->type == OPTION_DURATION ? duration_parse(text, &n) == 0
        : row->type == OPTION_SIZE         ? parse_size(text, &n)
                                           : parse_int(text, &n);

    if (ok && n >= row->min && (row->max == 0 || n <= row->max)) {
        *MEMBER(obj, row, int64_t) = n;
        return 0;
    }
    print_range(row, &must);
    return refuse(row, text, strbuf_str(&must), err);
}

static int set_value(const struct option_row *row, const char *text, void *obj, struct error *err)
{
    switch (row->type) {
    case OPTION_STRING:
        str_set(MEMBER(obj, row, char *), *text ? text : NULL);
        return 0;
    case OPTION_BOOL:
        return parse_bool(text, MEMBER(obj, row, bool)) ? 0 : refuse(row, text, "yes or no", err);
    case OPTION_STRV:
        strv_free(*MEMBER(obj, row, char **));
        *MEMBER(obj, row, char **) = strv_split(text, WHITE);
        return 0;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return set_number(row, text, obj, err);
    }
    return -EINVAL;
}

static void print_value(const struct option_row *row, const void *obj, struct strbuf *out)
{
    const char *s;
    char *joined;

    switch (row->type) {
    case OPTION_STRING:
        s = *CONST_MEMBER(obj, row, char *);
        strbuf_adds(out, s ? s : "");
        return;
    case OPTION_BOOL:
        strbuf_adds(out, *CONST_MEMBER(obj, row, bool) ? "yes" : "no");
        return;
    case OPTION_STRV:
        joined = strv_join(*CONST_MEMBER(obj, row, char **), " ");
        strbuf_adds(out, joined);
        free(joined);
        return;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        print_number(row->type, *CONST_MEMBER(obj, row, int64_t), out);
        return;
    }
}

/* --- finding rows ---------------------------------------------------------------------------------------- */

static int refuse_unknown(
    const char *what, const char *name, const char *where, const char *const *known, struct error *err)
{
    struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;
    const char *near = nearest_word(name, known);

    strbuf_add_printable(&shown, name, strlen(name), SHOWN_MAX);
    error_set(err, -EINVAL, "unknown %s \"%s\"%s%s%s%s", what, strbuf_str(&shown), where,
        near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return -EINVAL;
}

static const struct option_row *find_row(
    const struct option_table *table, const char *section, const char *key, struct error *err)
{
    const char *names[OPTIONS_MAX + 1];
    size_t n = 0;

    assert(table->n_rows <= OPTIONS_MAX);
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        if (strcmp(row->section, section) != 0)
            continue;
        if (strcmp(row->key, key) == 0)
            return row;
        names[n++] = row->key;
    }
    names[n] = NULL;
    if (n > 0) {
        char *where _cleanup_(free_ptr) = xasprintf(" in [%s]", section);
        refuse_unknown("key", key, where, names, err);
        return NULL;
    }
    for (size_t i = 0; i < table->n_rows; i++)
        names[i] = table->rows[i].section;
    names[table->n_rows] = NULL;
    if (*section)
        refuse_unknown("section", section, "", names, err);
    else
        error_set(err, -EINVAL, "the key \"%s\" stands before any [Section]", key);
    return NULL;
}

/* --- files ----------------------------------------------------------------------------------------------- */

struct load {
    const struct option_table *table;
    void *obj;
    struct error *err;
    bool failed;
    bool seen[OPTIONS_MAX];
};

/* Called by inih for each key; 0 = refused. inih itself then says on which line, but goes on. */
static int on_key(void *arg, const char *section, const char *key, const char *value)
{
    struct load *load = arg;

    if (load->failed)
        return 1;
    const struct option_row *row = find_row(load->table, section, key, load->err);
    size_t i = row ? (size_t)(row - load->table->rows) : 0;
    load->failed = true;
    if (!row)
        return 0;
    if (load->seen[i]) {
        error_set(load->err, -EINVAL, "\"%s\" is set twice in [%s]", key, section);
        return 0;
    }
    if (set_value(row, value, load->obj, load->err) < 0)
        return 0;
    load->seen[i] = true;
    load->failed = false;
    return 1;
}

/* What inih would cut off, join or overlook. */
static int check_lines(const char *path, const struct strbuf *text, struct error *err)
{
    const char *p = strbuf_str(text);

    if (strlen(p) != text->len)
        return error_set(err, -EINVAL, "%s: contains a NUL byte", path);
    for (int line = 1; *p; line++) {
        size_t len = strcspn(p, "\n"), indent = strspn(p, " \t");
        if (len > CONFIG_LINE_MAX)
            return error_set(
                err, -EINVAL, "%s:%d: the line is longer than %d bytes", path, line, CONFIG_LINE_MAX);
        bool is_empty = indent == len || strchr("\r#;", p[indent]);
        if (!is_empty && indent > 0)
            return error_set(err, -EINVAL, "%s:%d: the line begins with white space", path, line);
        if (!is_empty && !memchr(p, *p == '[' ? ']' : '=', len))
            return error_set(err, -EINVAL, "%s:%d: neither a [Section] nor Key=value", path, line);
        p += len + (p[len] == '\n');
    }
    return 0;
}

static void set_fallbacks(const struct option_table *table, void *obj)
{
    struct error err;

    memset(obj, 0, table->size);
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        int result = row->fallback ? set_value(row, row->fallback, obj, &err) : 0;
        assert(result == 0);
        (void)result;
    }
}

static int parse(const struct option_table *table, const char *path, const struct strbuf *text, void *obj,
    struct error *err)
{
    struct load load = { .table = table, .obj = obj, .err = err };
    int result = check_lines(path, text, err);

    if (result < 0)
        return result;
    int line = ini_parse_string(strbuf_str(text), on_key, &load);
    if (line == 0)
        return 0;
    if (line < 0)
        return error_set(err, -ENOMEM, "%s: no memory to read it", path);
    if (!load.failed)
        return error_set(err, -EINVAL, "%s:%d: neither a [Section] nor Key=value", path, line);
    error_prefix(err, "%s:%d", path, line);
    return -EINVAL;
}

int config_load(
    const struct option_table *table, const char *path, bool must_exist, void *obj, struct error *err)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;

    set_fallbacks(table, obj);
    int result = statefile_read(path, CONFIG_FILE_MAX, &text, err);
    if (result == -ENOENT && !must_exist) {
        if (err)
            *err = (struct error){ 0 };
        return 0;
    }
    if (result == 0)
        result = parse(table, path, &text, obj, err);
    if (result < 0)
        config_clear(table, obj);
    return result;
}

int config_set(const struct option_table *table, void *obj, const char *assignment, struct error *err)
{
    const char *equals = strchr(assignment, '='), *dot = strchr(assignment, '.');

    if (!equals || !dot || dot > equals)
        return error_set(err, -EINVAL, "\"%s\" is not of the form Section.Key=value", assignment);
    char *section _cleanup_(free_ptr) = xstrndup(assignment, (size_t)(dot - assignment));
    char *key _cleanup_(free_ptr) = xstrndup(dot + 1, (size_t)(equals - dot - 1));
    const struct option_row *row = find_row(table, section, key, err);
    return row ? set_value(row, equals + 1, obj, err) : -EINVAL;
}

void config_clear(const struct option_table *table, void *obj)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        if (row->type == OPTION_STRING)
            free(*MEMBER(obj, row, char *));
        else if (row->type == OPTION_STRV)
            strv_free(*MEMBER(obj, row, char **));
    }
    memset(obj, 0, table->size);
}

void config_print(const struct option_table *table, const void *obj, struct strbuf *out)
{
    char *defaults _cleanup_(free_ptr) = xcalloc(1, table->size);
    const char *section = "";

    set_fallbacks(table, defaults);
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        struct strbuf now _cleanup_(strbuf_done) = STRBUF_INIT, then _cleanup_(strbuf_done) = STRBUF_INIT;
        if (strcmp(section, row->section) != 0)
            strbuf_addf(out, "%s[%s]\n", i > 0 ? "\n" : "", row->section);
        section = row->section;
        print_value(row, obj, &now);
        print_value(row, defaults, &then);
        bool is_default = strcmp(strbuf_str(&now), strbuf_str(&then)) == 0;
        strbuf_addf(out, "\n# %s\n%s%s=%s\n", row->help, is_default ? "#" : "", row->key, strbuf_str(&now));
    }
    config_clear(table, defaults);
}
