/* SPDX-License-Identifier: MIT */
#include "common/schema_member.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "common/strv.h"
#include "common/utf8.h"

#define INDENT_MAX 64

/* --- writing --------------------------------------------------------------------------------------------- */

struct printer {
    struct strbuf *out;
    bool pretty, safe;
    int depth;
};

static void print_object(struct printer *p, const struct schema *schema, const void *obj);

static void new_line(struct printer *p)
{
    static const char spaces[INDENT_MAX + 1] =
        "                                                                ";
    int n = p->depth * 2;

    if (!p->pretty)
        return;
    strbuf_addc(p->out, '\n');
    strbuf_add(p->out, spaces, (size_t)(n < INDENT_MAX ? n : INDENT_MAX));
}

static void begin(struct printer *p, char bracket)
{
    strbuf_addc(p->out, bracket);
    p->depth++;
}

static void next_item(struct printer *p, bool *first)
{
    if (!*first)
        strbuf_addc(p->out, ',');
    *first = false;
    new_line(p);
}

static void finish(struct printer *p, char bracket, bool empty)
{
    p->depth--;
    if (!empty)
        new_line(p);
    strbuf_addc(p->out, bracket);
}

static void print_key(struct printer *p, const char *key, size_t len)
{
    json_write_string(p->out, key, len);
    strbuf_adds(p->out, p->pretty ? ": " : ":");
}

/* What a reader would refuse as too long is cut: free text (log lines, commit messages) may be of any length,
 * and its end is worth less than the message it is in. */
static void print_long(struct printer *p, const char *s, size_t len, size_t most)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;

    /* Bytes that are no UTF-8 grow when they are replaced, so that comes first. */
    for (size_t i = 0; i < len && text.len <= most;) {
        size_t n = utf8_character((const unsigned char *)s + i, len - i);
        strbuf_add(&text, n ? s + i : "\xEF\xBF\xBD", n ? n : 3);
        i += n ? n : 1;
    }
    json_write_string(p->out, text.data, utf8_cut(text.data, text.len, most));
}

static void print_text(struct printer *p, const struct field *f, const char *s)
{
    if (p->safe && (f->flags & FIELD_SECRET) && s)
        s = "…";
    if (!s)
        s = "";
    size_t len = strlen(s);
    if (len > most_bytes(f) / 3 && !f->check)
        print_long(p, s, len, most_bytes(f));
    else
        json_write_string(p->out, s, len);
}

static void print_strv(struct printer *p, const struct field *f, char *const *v)
{
    bool first = true;

    begin(p, '[');
    for (; v && *v; v++) {
        next_item(p, &first);
        print_text(p, f, *v);
    }
    finish(p, ']', first);
}

/* A later pair of the same key wins, as it does in an environment. */
static bool is_overridden(char *const *pair, size_t key_len)
{
    for (char *const *later = pair + 1; *later; later++)
        if (strncmp(*later, *pair, key_len + 1) == 0)
            return true;
    return false;
}

static void print_pairs(struct printer *p, const struct field *f, char *const *v)
{
    bool first = true;

    begin(p, '{');
    for (; v && *v; v++) {
        const char *equals = strchr(*v, '=');
        if (!equals || is_overridden(v, (size_t)(equals - *v)))
            continue;
        next_item(p, &first);
        print_key(p, *v, (size_t)(equals - *v));
        print_text(p, f, equals + 1);
    }
    finish(p, '}', first);
}

static void print_list(struct printer *p, const struct field *f, const void *obj)
{
    const char *items = items_of(f, obj);
    size_t n = n_items(f, obj);

    begin(p, '[');
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0;
        next_item(p, &first);
        print_object(p, f->of, items + i * f->of->size);
    }
    finish(p, ']', n == 0);
}

static bool is_all_omitted(const struct schema *schema, const void *obj);

/* What the reader would put there anyway. */
static bool is_omitted(const struct field *f, const void *obj)
{
    bool omit_fallback = f->flags & FIELD_OMIT_EMPTY, required = f->flags & FIELD_REQUIRED;
    const char *s;

    switch (f->type) {
    case FIELD_STRING:
        s = *CONST_MEMBER(obj, f, char *);
        return !required && (!s || !*s);
    case FIELD_INT:
        return omit_fallback && *CONST_MEMBER(obj, f, int64_t) == f->fallback;
    case FIELD_BOOL:
        return omit_fallback && *CONST_MEMBER(obj, f, bool) == (f->fallback != 0);
    case FIELD_ENUM:
        return !word_of(f, *CONST_MEMBER(obj, f, int)) ||
            (omit_fallback && *CONST_MEMBER(obj, f, int) == f->fallback);
    case FIELD_LIST:
        return !required && n_items(f, obj) == 0;
    case FIELD_STRV:
    case FIELD_PAIRS:
        return !required && strv_len(*CONST_MEMBER(obj, f, char **)) == 0;
    case FIELD_STRUCT:
        return omit_fallback && is_all_omitted(f->of, CONST_MEMBER(obj, f, char));
    }
    return false;
}

/* A required text that is not there means that the object was not given at all. */
static bool is_all_omitted(const struct schema *schema, const void *obj)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct field *f = &schema->fields[i];
        bool is_absent = f->type == FIELD_STRING && !*CONST_MEMBER(obj, f, char *);
        if (!is_absent && !is_omitted(f, obj))
            return false;
    }
    return true;
}

static void print_field(struct printer *p, const struct field *f, const void *obj)
{
    const char *word;

    switch (f->type) {
    case FIELD_STRING:
        print_text(p, f, *CONST_MEMBER(obj, f, char *));
        return;
    case FIELD_INT:
        strbuf_addf(p->out, "%" PRId64, *CONST_MEMBER(obj, f, int64_t));
        return;
    case FIELD_BOOL:
        strbuf_adds(p->out, *CONST_MEMBER(obj, f, bool) ? "true" : "false");
        return;
    case FIELD_ENUM:
        word = word_of(f, *CONST_MEMBER(obj, f, int));
        json_write_string(p->out, word, strlen(word));
        return;
    case FIELD_STRUCT:
        print_object(p, f->of, CONST_MEMBER(obj, f, char));
        return;
    case FIELD_LIST:
        print_list(p, f, obj);
        return;
    case FIELD_STRV:
        print_strv(p, f, *CONST_MEMBER(obj, f, char **));
        return;
    case FIELD_PAIRS:
        print_pairs(p, f, *CONST_MEMBER(obj, f, char **));
        return;
    }
}

static void print_object(struct printer *p, const struct schema *schema, const void *obj)
{
    bool first = true;

    begin(p, '{');
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct field *f = &schema->fields[i];
        if (is_omitted(f, obj))
            continue;
        next_item(p, &first);
        print_key(p, f->name, strlen(f->name));
        print_field(p, f, obj);
    }
    finish(p, '}', first);
}

void schema_print(const struct schema *schema, const void *obj, struct strbuf *out)
{
    struct printer p = { .out = out };

    print_object(&p, schema, obj);
}

void schema_print_pretty(const struct schema *schema, const void *obj, struct strbuf *out)
{
    struct printer p = { .out = out, .pretty = true };

    print_object(&p, schema, obj);
    strbuf_addc(out, '\n');
}

void schema_print_safe(const struct schema *schema, const void *obj, struct strbuf *out)
{
    struct printer p = { .out = out, .safe = true };

    print_object(&p, schema, obj);
}

/* --- clearing, copying, comparing ------------------------------------------------------------------------ */

static void clear_field(const struct field *f, void *obj)
{
    char *items;

    switch (f->type) {
    case FIELD_STRING:
        free(*MEMBER(obj, f, char *));
        return;
    case FIELD_STRV:
    case FIELD_PAIRS:
        strv_free(*MEMBER(obj, f, char **));
        return;
    case FIELD_STRUCT:
        schema_clear(f->of, MEMBER(obj, f, char));
        return;
    case FIELD_LIST:
        items = items_of(f, obj);
        for (size_t i = 0; i < n_items(f, obj); i++)
            schema_clear(f->of, items + i * f->of->size);
        free(items);
        return;
    case FIELD_INT:
    case FIELD_BOOL:
    case FIELD_ENUM:
        return;
    }
}

void schema_clear(const struct schema *schema, void *obj)
{
    for (size_t i = 0; i < schema->n_fields; i++)
        clear_field(&schema->fields[i], obj);
    memset(obj, 0, schema->size);
}

static void copy_field(const struct field *f, const void *src, void *dst)
{
    size_t n;
    char *items;

    switch (f->type) {
    case FIELD_STRING:
        *MEMBER(dst, f, char *) = xstrdup(*CONST_MEMBER(src, f, char *));
        return;
    case FIELD_STRV:
    case FIELD_PAIRS:
        *MEMBER(dst, f, char **) = strv_copy(*CONST_MEMBER(src, f, char **));
        return;
    case FIELD_STRUCT:
        schema_copy(f->of, CONST_MEMBER(src, f, char), MEMBER(dst, f, char));
        return;
    case FIELD_LIST:
        n = n_items(f, src);
        items = n ? xcalloc(n, f->of->size) : NULL;
        for (size_t i = 0; i < n; i++)
            schema_copy(f->of, items_of(f, src) + i * f->of->size, items + i * f->of->size);
        *MEMBER(dst, f, char *) = items;
        *count_of(f, dst) = n;
        return;
    case FIELD_INT:
        *MEMBER(dst, f, int64_t) = *CONST_MEMBER(src, f, int64_t);
        return;
    case FIELD_BOOL:
        *MEMBER(dst, f, bool) = *CONST_MEMBER(src, f, bool);
        return;
    case FIELD_ENUM:
        *MEMBER(dst, f, int) = *CONST_MEMBER(src, f, int);
        return;
    }
}

void schema_copy(const struct schema *schema, const void *src, void *dst)
{
    memset(dst, 0, schema->size);
    for (size_t i = 0; i < schema->n_fields; i++)
        copy_field(&schema->fields[i], src, dst);
}

static bool texts_equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool lists_equal(const struct field *f, const void *a, const void *b)
{
    size_t n = n_items(f, a);

    if (n != n_items(f, b))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!schema_equal(f->of, items_of(f, a) + i * f->of->size, items_of(f, b) + i * f->of->size))
            return false;
    return true;
}

static bool fields_equal(const struct field *f, const void *a, const void *b)
{
    switch (f->type) {
    case FIELD_STRING:
        return texts_equal(*CONST_MEMBER(a, f, char *), *CONST_MEMBER(b, f, char *));
    case FIELD_STRV:
    case FIELD_PAIRS:
        return strv_equal(*CONST_MEMBER(a, f, char **), *CONST_MEMBER(b, f, char **));
    case FIELD_STRUCT:
        return schema_equal(f->of, CONST_MEMBER(a, f, char), CONST_MEMBER(b, f, char));
    case FIELD_LIST:
        return lists_equal(f, a, b);
    case FIELD_INT:
        return *CONST_MEMBER(a, f, int64_t) == *CONST_MEMBER(b, f, int64_t);
    case FIELD_BOOL:
        return *CONST_MEMBER(a, f, bool) == *CONST_MEMBER(b, f, bool);
    case FIELD_ENUM:
        return *CONST_MEMBER(a, f, int) == *CONST_MEMBER(b, f, int);
    }
    return false;
}

bool schema_equal(const struct schema *schema, const void *a, const void *b)
{
    for (size_t i = 0; i < schema->n_fields; i++)
        if (!fields_equal(&schema->fields[i], a, b))
            return false;
    return true;
}
