/* SPDX-License-Identifier: MIT */

/* stagecoach-protocol(7) against the tables: each message, answer and object has a section there, and in it a
 * line for each field with its type, limits and default as the table has them. With --print it writes those
 * sections without the meanings, to be copied into the page when a table changes. */

#include "tests/golden/golden.h"

#include "tests/unit/rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/map.h"
#include "common/names.h"
#include "common/strbuf.h"

#define PAGE      SOURCE_ROOT "/common/stagecoach-protocol.7.scd"
#define PAGE_SIZE (1024 * 1024)

/* --- what a line of a field says ------------------------------------------------------------------------- */

/* scdoc takes these for marks unless they are escaped. */
static void add_escaped(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("_*\\", *text))
            strbuf_addc(out, '\\');
        strbuf_addc(out, *text);
    }
}

static void add_text_type(const struct field *f, struct strbuf *out)
{
    if (f->must)
        add_escaped(out, f->must);
    else
        strbuf_adds(out, "text");
    if (f->type != FIELD_STRING || f->check)
        return;
    if (f->max && f->min)
        strbuf_addf(out, " of %" PRId64 " to %" PRId64 " bytes", f->min, f->max);
    else if (f->max)
        strbuf_addf(out, " of at most %" PRId64 " bytes", f->max);
}

static void add_int_type(const struct field *f, struct strbuf *out)
{
    strbuf_adds(out, "whole number");
    if (f->max)
        strbuf_addf(out, " from %" PRId64 " to %" PRId64, f->min, f->max);
    else
        strbuf_addf(out, " from %" PRId64 " on", f->min);
}

static void add_words(const struct field *f, struct strbuf *out)
{
    const char *separator = "one of ";

    for (int i = 0; i < f->n_names; i++) {
        if (!f->names[i])
            continue;
        strbuf_adds(out, separator);
        strbuf_addf(out, "\"%s\"", f->names[i]);
        separator = ", ";
    }
}

static void add_entries(const struct field *f, struct strbuf *out)
{
    if (f->max)
        strbuf_addf(out, ", at most %" PRId64, f->max);
}

static void add_type(const struct field *f, struct strbuf *out)
{
    switch (f->type) {
    case FIELD_STRING:
        add_text_type(f, out);
        break;
    case FIELD_INT:
        add_int_type(f, out);
        break;
    case FIELD_BOOL:
        strbuf_adds(out, "true or false");
        break;
    case FIELD_ENUM:
        add_words(f, out);
        break;
    case FIELD_STRUCT:
        strbuf_adds(out, "object ");
        add_escaped(out, f->of->name);
        break;
    case FIELD_LIST:
        strbuf_adds(out, "list of object ");
        add_escaped(out, f->of->name);
        add_entries(f, out);
        break;
    case FIELD_STRV:
        strbuf_adds(out, "list, each ");
        add_text_type(f, out);
        add_entries(f, out);
        break;
    case FIELD_PAIRS:
        strbuf_adds(out, "object of strings, each ");
        add_text_type(f, out);
        add_entries(f, out);
        break;
    }
}

static void add_default(const struct field *f, struct strbuf *out)
{
    if (f->flags & FIELD_REQUIRED)
        strbuf_adds(out, "; required");
    else if (f->type == FIELD_BOOL && f->fallback)
        strbuf_adds(out, "; default true");
    else if (f->type == FIELD_INT && f->fallback)
        strbuf_addf(out, "; default %" PRId64, f->fallback);
    if (f->flags & FIELD_SECRET)
        strbuf_adds(out, "; secret");
}

static char *field_line(const struct field *f)
{
    struct strbuf out = STRBUF_INIT;

    strbuf_addf(&out, "*%s* (", f->name);
    add_type(f, &out);
    add_default(f, &out);
    strbuf_addc(&out, ')');
    return strbuf_steal(&out);
}

/* --- what the line below a message says ------------------------------------------------------------------ */

static char *message_line(const struct msg_info *info)
{
    struct strbuf out = STRBUF_INIT;
    const char *separator = " from: ";

    strbuf_adds(&out, info->answer ? "A call," : "A notice,");
    if (info->from & FROM_ANYBODY)
        strbuf_adds(&out, " from: anybody");
    for (int role = ROLE_ADMIN; role < ROLE_MAX_ && !(info->from & FROM_ANYBODY); role++) {
        if (!msg_allowed(info, (enum role)role))
            continue;
        strbuf_addf(&out, "%s%s", separator, role_names[role]);
        separator = ", ";
    }
    strbuf_addc(&out, '.');
    if (info->answer) {
        strbuf_adds(&out, " Answer: object ");
        add_escaped(&out, info->answer->name);
        strbuf_addc(&out, '.');
    }
    return strbuf_steal(&out);
}

/* --- all sections ---------------------------------------------------------------------------------------- */

/* `line` is NULL for objects. */
typedef void (*section_fn)(void *arg, const char *title, const char *line, const struct schema *schema);

/* An object and what it is made of, each once. */
static void walk_object(const struct schema *schema, struct map *seen, section_fn fn, void *arg)
{
    char *title = xasprintf("## object %s", schema->name);

    if (!map_get(seen, schema->name)) {
        map_set(seen, schema->name, (void *)schema);
        fn(arg, title, NULL, schema);
    }
    for (size_t i = 0; i < schema->n_fields; i++)
        if (schema->fields[i].of && !map_get(seen, schema->fields[i].of->name))
            walk_object(schema->fields[i].of, seen, fn, arg);
    free(title);
}

static void walk(section_fn fn, void *arg)
{
    struct map *seen = map_new(NULL);

    for (int type = 0; type < MSG_MAX_; type++) {
        const struct msg_info *info = msg_by_type((enum msg_type)type);
        if (!info)
            continue;
        char *title = xasprintf("## message %s", info->method), *line = message_line(info);
        fn(arg, title, line, info->schema);
        free(title);
        free(line);
    }
    for (int type = 0; type < MSG_MAX_; type++) {
        const struct msg_info *info = msg_by_type((enum msg_type)type);
        if (!info)
            continue;
        for (size_t i = 0; i < info->schema->n_fields; i++)
            if (info->schema->fields[i].of)
                walk_object(info->schema->fields[i].of, seen, fn, arg);
        if (info->answer)
            walk_object(info->answer, seen, fn, arg);
    }
    walk_object(&orders_schema, seen, fn, arg);
    walk_object(&report_schema, seen, fn, arg);
    map_free(seen);
}

static void print_section(void *arg, const char *title, const char *line, const struct schema *schema)
{
    printf("%s\n\n", title);
    if (line)
        printf("%s\n\n", line);
    for (size_t i = 0; i < schema->n_fields; i++) {
        char *text = field_line(&schema->fields[i]);
        printf("%s\n\tMEANING %s.%s\n\n", text, schema->name, schema->fields[i].name);
        free(text);
    }
}

/* --- the test -------------------------------------------------------------------------------------------- */

struct page {
    const char *text;
    int n_missing;
};

/* From the title to the next one of its kind or above; the caller frees. NULL: not there. */
static char *section_of(const char *text, const char *title)
{
    char *line = xasprintf("\n%s\n", title);
    const char *begin = strstr(text, line);
    char *section = NULL;

    if (begin) {
        const char *end = begin + 1;
        do
            end = strstr(end + 1, "\n#");
        while (end && strncmp(end, "\n###", 4) == 0);
        section = end ? xstrndup(begin, (size_t)(end - begin)) : xstrdup(begin);
    }
    free(line);
    return section;
}

static void expect(struct page *page, const char *title, const char *section, const char *line)
{
    if (section && strstr(section, line))
        return;
    print_error("in \"%s\" the page lacks:\n%s\n", title, line);
    page->n_missing++;
}

static void check_section(void *arg, const char *title, const char *line, const struct schema *schema)
{
    struct page *page = arg;
    char *section = section_of(page->text, title);

    expect(page, title, section, title);
    if (line)
        expect(page, title, section, line);
    size_t n_lines = 0;
    for (size_t i = 0; i < schema->n_fields; i++) {
        char *field = field_line(&schema->fields[i]), *text = xasprintf("\n%s\n\t", field);
        expect(page, title, section, text);
        free(text);
        free(field);
    }
    /* No line for a field that is no more. */
    for (const char *p = section; p && (p = strstr(p, "\n*")); p++)
        n_lines++;
    if (n_lines != schema->n_fields) {
        print_error("in \"%s\" the page has %zu fields, the table %zu\n", title, n_lines, schema->n_fields);
        page->n_missing++;
    }
    free(section);
}

static void the_page_has_every_field(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct error err = { 0 };

    if (statefile_read(PAGE, PAGE_SIZE, &text, &err) < 0)
        fail_msg("%s", err.text);
    struct page page = { strbuf_str(&text), 0 };
    walk(check_section, &page);
    if (strstr(page.text, "MEANING"))
        fail_msg("a field of the page has no meaning yet");
    if (page.n_missing > 0)
        fail_msg("%d lines are missing; test_protocol_page --print writes them all", page.n_missing);
    strbuf_done(&text);
}

/* The limits that are told in prose. */
static void the_page_tells_the_limits(void **state)
{
    struct strbuf text = STRBUF_INIT;
    char row[128];
    const struct {
        const char *name;
        long long value;
    } limits[] = {
        { "frame", FRAME_MAX },
        { "hello", FRAME_HELLO_MAX },
        { "document", DOCUMENT_SIZE_MAX },
        { "part", DOCUMENT_PART_MAX },
        { "depth", SCHEMA_DEPTH_MAX },
        { "text", SCHEMA_STRING_MAX },
        { "page", PAGE_MAX },
        { "instances", INSTANCES_MAX },
        { "service name", NAME_SERVICE_MAX },
        { "host name", NAME_HOST_MAX },
    };
    assert_int_equal(statefile_read(PAGE, PAGE_SIZE, &text, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        snprintf(row, sizeof(row), "|  %s\n:  %lld\n", limits[i].name, limits[i].value);
        row_has("limits", strbuf_str(&text), row);
    }
    strbuf_done(&text);
}

static void the_page_tells_the_kinds_of_errors(void **state)
{
    static const int kinds[] = { ERROR_PARSE, ERROR_REQUEST, ERROR_METHOD, ERROR_FIELDS, ERROR_INTERNAL,
        ERROR_REFUSED, ERROR_DENIED, ERROR_NOT_FOUND, ERROR_CONFLICT, ERROR_BUSY, ERROR_UNAVAILABLE,
        ERROR_SKEW };
    struct strbuf text = STRBUF_INIT;
    char row[32];

    assert_int_equal(statefile_read(PAGE, PAGE_SIZE, &text, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        snprintf(row, sizeof(row), "|  %d\n:", kinds[i]);
        row_has("error kinds", strbuf_str(&text), row);
    }
    strbuf_done(&text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_has_every_field),
        cmocka_unit_test(the_page_tells_the_limits),
        cmocka_unit_test(the_page_tells_the_kinds_of_errors),
    };
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        walk(print_section, NULL);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
