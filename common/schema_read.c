/* SPDX-License-Identifier: MIT */
#include "common/schema_member.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "common/nearest.h"

/* --- where in the object something is, for messages ------------------------------------------------------ */

struct path {
    const struct path *up;
    const char *name; /* NULL: an item, by index */
    size_t index;
};

static void print_path(const struct path *path, struct strbuf *out)
{
    if (!path)
        return;
    print_path(path->up, out);
    if (!path->name) {
        strbuf_addf(out, "[%zu]", path->index);
        return;
    }
    if (path->up)
        strbuf_addc(out, '.');
    /* Keys of pairs and unknown keys are the peer's. */
    strbuf_add_printable(out, path->name, strlen(path->name), 60);
}

struct reader {
    int line;
    struct error *err;
};

static int refuse(struct reader *r, const struct path *path, const struct json *at, const char *fmt, ...)
    _printf_(4, 5);
static int refuse(struct reader *r, const struct path *path, const struct json *at, const char *fmt, ...)
{
    struct strbuf where _cleanup_(strbuf_done) = STRBUF_INIT;
    va_list args;

    if (at)
        r->line = json_line(at);
    print_path(path, &where);
    va_start(args, fmt);
    error_vset(r->err, -EINVAL, fmt, args);
    va_end(args);
    error_prefix(r->err, "%s", strbuf_str(&where));
    return -EINVAL;
}

/* "must be <what>, not <value>" */
static int refuse_value(struct reader *r, const struct path *path, const struct json *value,
    const char *what_fmt, ...) _printf_(4, 5);
static int refuse_value(
    struct reader *r, const struct path *path, const struct json *value, const char *what_fmt, ...)
{
    struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error what;
    va_list args;

    va_start(args, what_fmt);
    error_vset(&what, -EINVAL, what_fmt, args);
    va_end(args);
    json_describe(value, &shown);
    return refuse(r, path, value, "must be %s, not %s", what.text, strbuf_str(&shown));
}

static int refuse_unknown(
    struct reader *r, const struct path *path, const struct json *member, const struct schema *schema)
{
    const char *known[SCHEMA_FIELDS_MAX + 1], *near;

    for (size_t i = 0; i < schema->n_fields; i++)
        known[i] = schema->fields[i].name;
    known[schema->n_fields] = NULL;
    near = nearest_word(path->name, known);
    if (near)
        return refuse(r, path, member, "is not known here, did you mean \"%s\"?", near);
    return refuse(r, path, member, "is not known here");
}

static size_t most_items(const struct field *f)
{
    return f->max > 0 ? (size_t)f->max : SCHEMA_LIST_MAX;
}

/* --- reading --------------------------------------------------------------------------------------------- */

static int read_object(struct reader *r, const struct path *path, const struct schema *schema,
    const struct json *value, void *obj);

/* What a secret is not is all that may be said of it. */
static int refuse_text(struct reader *r, const struct path *path, const struct field *f, const struct json *v,
    const char *otherwise)
{
    const char *must = f->must ? f->must : otherwise;

    if (f->flags & FIELD_SECRET)
        return refuse(r, path, v, "must be %s", must);
    return refuse_value(r, path, v, "%s", must);
}

static int check_text(struct reader *r, const struct path *path, const struct field *f, const struct json *v)
{
    const char *text = json_string(v);
    size_t len = json_string_len(v), most = most_bytes(f);

    if (!text)
        return refuse_text(r, path, f, v, "a string");
    if (len > most)
        return refuse(r, path, v, "must be at most %zu bytes long, not %zu", most, len);
    if (f->type == FIELD_STRING && len < (size_t)f->min)
        return len == 0 ? refuse(r, path, v, "must not be empty")
                        : refuse(r, path, v, "must be at least %" PRId64 " bytes long, not %zu", f->min, len);
    if (f->check && !f->check(text))
        return refuse_text(r, path, f, v, "acceptable");
    return 0;
}

static int read_string(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    if (!(f->flags & FIELD_REQUIRED) && json_is(v, JSON_STRING) && json_string_len(v) == 0)
        return 0;
    int result = check_text(r, path, f, v);
    if (result < 0)
        return result;
    *MEMBER(obj, f, char *) = xstrndup(json_string(v), json_string_len(v));
    return 0;
}

static int read_int(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    int64_t n = json_int(v), max = f->max == 0 ? INT64_MAX : f->max;

    if (!json_is(v, JSON_INT) || n < f->min || n > max) {
        if (f->must)
            return refuse_value(r, path, v, "%s", f->must);
        if (f->min == max)
            return refuse_value(r, path, v, "%" PRId64, max);
        if (max == INT64_MAX && f->min == INT64_MIN)
            return refuse_value(r, path, v, "a whole number");
        if (max == INT64_MAX)
            return refuse_value(r, path, v, "a whole number from %" PRId64 " on", f->min);
        return refuse_value(r, path, v, "a whole number from %" PRId64 " to %" PRId64, f->min, max);
    }
    *MEMBER(obj, f, int64_t) = n;
    return 0;
}

static int read_bool(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    if (!json_is(v, JSON_BOOL))
        return refuse_value(r, path, v, "true or false");
    *MEMBER(obj, f, bool) = json_bool(v);
    return 0;
}

static int read_enum(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    struct strbuf known _cleanup_(strbuf_done) = STRBUF_INIT;
    const char *text = json_string(v);

    for (int i = 0; i < f->n_names; i++) {
        if (!f->names[i])
            continue;
        if (text && strcmp(text, f->names[i]) == 0) {
            *MEMBER(obj, f, int) = i;
            return 0;
        }
        strbuf_addf(&known, "%s%s", known.len ? ", " : "", f->names[i]);
    }
    return refuse_value(r, path, v, "one of %s", strbuf_str(&known));
}

static int check_size(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, const char *what)
{
    size_t n = json_size(v);

    if (!json_is(v, f->type == FIELD_PAIRS ? JSON_OBJECT : JSON_LIST))
        return refuse_value(r, path, v, "%s", what);
    if (n > most_items(f))
        return refuse(r, path, v, "must have at most %zu entries, not %zu", most_items(f), n);
    if (f->type != FIELD_STRING && n < (size_t)f->min)
        return refuse(r, path, v, "must have at least %" PRId64 " entries, not %zu", f->min, n);
    return 0;
}

static int read_list(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    struct path item_path = { .up = path };
    int result = check_size(r, path, f, v, "a list of objects");

    if (result < 0 || json_size(v) == 0)
        return result;
    char *items = xcalloc(json_size(v), f->of->size);
    *MEMBER(obj, f, char *) = items;
    json_for_each(item, v)
    {
        void *to = items + item_path.index * f->of->size;
        /* Counted before it is read: what is half read is cleared too. */
        *count_of(f, obj) = item_path.index + 1;
        result = read_object(r, &item_path, f->of, item, to);
        if (result < 0)
            return result;
        item_path.index++;
    }
    return 0;
}

static int read_strv(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    struct path item_path = { .up = path };
    int result = check_size(r, path, f, v, "a list of strings");

    if (result == 0 && json_size(v) == 0 && f->flags & FIELD_NOT_EMPTY)
        return refuse_value(r, path, v, "a list with something in it");
    if (result < 0 || json_size(v) == 0)
        return result;
    char **items = xcalloc(json_size(v) + 1, sizeof(*items));
    *MEMBER(obj, f, char **) = items;
    json_for_each(item, v)
    {
        result = check_text(r, &item_path, f, item);
        if (result < 0)
            return result;
        items[item_path.index++] = xstrndup(json_string(item), json_string_len(item));
    }
    return 0;
}

static int read_pairs(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    size_t n = 0;
    int result = check_size(r, path, f, v, "an object of strings");

    if (result < 0 || json_size(v) == 0)
        return result;
    char **pairs = xcalloc(json_size(v) + 1, sizeof(*pairs));
    *MEMBER(obj, f, char **) = pairs;
    json_for_each(member, v)
    {
        const char *key = json_key(member);
        struct path member_path = { .up = path, .name = key };
        if (!*key || strchr(key, '=') || (f->check_key && !f->check_key(key)))
            return f->must_key ? refuse(r, &member_path, member, "the key must be %s", f->must_key)
                               : refuse(r, &member_path, member, "the key is not allowed here");
        result = check_text(r, &member_path, f, member);
        if (result < 0)
            return result;
        pairs[n++] = xasprintf("%s=%s", key, json_string(member));
    }
    return 0;
}

static int read_struct(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj)
{
    return read_object(r, path, f->of, v, MEMBER(obj, f, char));
}

/* By enum field_type. */
static int (*const readers[])(
    struct reader *r, const struct path *path, const struct field *f, const struct json *v, void *obj) = {
    [FIELD_STRING] = read_string,
    [FIELD_INT] = read_int,
    [FIELD_BOOL] = read_bool,
    [FIELD_ENUM] = read_enum,
    [FIELD_STRUCT] = read_struct,
    [FIELD_LIST] = read_list,
    [FIELD_STRV] = read_strv,
    [FIELD_PAIRS] = read_pairs,
};

void schema_set_fallbacks(const struct schema *schema, void *obj)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct field *f = &schema->fields[i];
        if (f->type == FIELD_INT)
            *MEMBER(obj, f, int64_t) = f->fallback;
        else if (f->type == FIELD_BOOL)
            *MEMBER(obj, f, bool) = f->fallback != 0;
        else if (f->type == FIELD_ENUM)
            *MEMBER(obj, f, int) = (int)f->fallback;
        else if (f->type == FIELD_STRUCT)
            schema_set_fallbacks(f->of, MEMBER(obj, f, char));
    }
}

static int read_object(struct reader *r, const struct path *path, const struct schema *schema,
    const struct json *value, void *obj)
{
    uint64_t seen = 0;

    assert(schema->n_fields <= SCHEMA_FIELDS_MAX);
    if (value && !json_is(value, JSON_OBJECT))
        return refuse_value(r, path, value, "an object");
    schema_set_fallbacks(schema, obj);
    json_for_each(member, value)
    {
        struct path member_path = { .up = path, .name = json_key(member) };
        size_t i = 0;
        while (i < schema->n_fields && strcmp(schema->fields[i].name, json_key(member)) != 0)
            i++;
        if (i == schema->n_fields) {
            if (schema->strict)
                return refuse_unknown(r, &member_path, member, schema);
            continue;
        }
        if (json_is(member, JSON_NULL))
            continue;
        int result = readers[schema->fields[i].type](r, &member_path, &schema->fields[i], member, obj);
        if (result < 0)
            return result;
        seen |= UINT64_C(1) << i;
    }
    for (size_t i = 0; i < schema->n_fields; i++) {
        struct path missing = { .up = path, .name = schema->fields[i].name };
        if ((schema->fields[i].flags & FIELD_REQUIRED) && !(seen & UINT64_C(1) << i))
            return refuse(r, &missing, value, "is missing");
    }
    return 0;
}

int schema_read_json(
    const struct schema *schema, const struct json *value, void *obj, int *ret_line, struct error *err)
{
    struct reader r = { .line = 1, .err = err };
    struct path root = { .name = schema->name };

    memset(obj, 0, schema->size);
    int result = read_object(&r, &root, schema, value, obj);
    if (result < 0) {
        schema_clear(schema, obj);
        if (ret_line)
            *ret_line = r.line;
    }
    return result;
}

int schema_read_at(
    const struct schema *schema, const char *text, size_t len, void *obj, int *ret_line, struct error *err)
{
    struct json *root _cleanup_(json_freep) = json_parse(text, len, ret_line, err);

    if (!root) {
        memset(obj, 0, schema->size);
        error_prefix(err, "%s: is not JSON", schema->name);
        return -EBADMSG;
    }
    return schema_read_json(schema, root, obj, ret_line, err);
}

int schema_read(const struct schema *schema, const char *text, size_t len, void *obj, struct error *err)
{
    return schema_read_at(schema, text, len, obj, NULL, err);
}
