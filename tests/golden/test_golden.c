/* SPDX-License-Identifier: MIT */
#include "tests/golden/golden.h"

#include "tests/unit/rows.h"

#include <dirent.h>

#include "common/json.h"
#include "common/mem.h"

static struct sample *samples;
static size_t n_samples;

static void load(const struct sample *sample, struct strbuf *text)
{
    struct error err = { 0 };

    strbuf_clear(text);
    if (statefile_read(sample->path, FRAME_MAX, text, &err) < 0)
        fail_msg("%s: %s", sample->what, err.text);
}

/* --- as it is -------------------------------------------------------------------------------------------- */

static void samples_are_read_and_written_byte_for_byte(void **state)
{
    struct strbuf text = STRBUF_INIT, out = STRBUF_INIT, compact = STRBUF_INIT;

    for (size_t i = 0; i < n_samples; i++) {
        const struct sample *s = &samples[i];
        void *obj = xcalloc(1, s->schema->size), *copy = xcalloc(1, s->schema->size);
        struct error err = { 0 };
        load(s, &text);
        if (schema_read(s->schema, text.data, text.len, obj, &err) < 0)
            fail_msg("%s: %s", s->path, err.text);
        strbuf_clear(&out);
        schema_print_pretty(s->schema, obj, &out);
        row_str(s->path, strbuf_str(&out), strbuf_str(&text));
        strbuf_clear(&compact);
        schema_print(s->schema, obj, &compact);
        row_int(s->path, schema_read(s->schema, compact.data, compact.len, copy, &err), 0);
        row_true(s->path, schema_equal(s->schema, obj, copy));
        schema_clear(s->schema, obj);
        schema_clear(s->schema, copy);
        free(obj);
        free(copy);
    }
    strbuf_done(&text);
    strbuf_done(&out);
    strbuf_done(&compact);
}

/* The member of an object, or of the first object of a list that has it. */
static const struct json *member_of(const struct json *v, const char *name)
{
    if (json_is(v, JSON_OBJECT))
        return json_get(v, name);
    json_for_each(item, v) if (json_get(item, name)) return json_get(item, name);
    return NULL;
}

/* Each field of the table, also of what lies inside, is in the sample, and in one of the objects of a list: some exclude
 * each other. Weights are for tables written by hand. */
static void check_complete(const char *path, const struct schema *schema, const struct json *v)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct field *f = &schema->fields[i];
        const struct json *member = member_of(v, f->name);
        if (!member && strcmp(f->name, "weight") != 0)
            fail_msg("%s: the sample lacks %s.%s", path, schema->name, f->name);
        if ((f->type == FIELD_STRUCT || f->type == FIELD_LIST) && member)
            check_complete(path, f->of, member);
    }
}

static void samples_show_every_field(void **state)
{
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < n_samples; i++) {
        load(&samples[i], &text);
        struct json *root = json_parse(text.data, text.len, NULL, NULL);
        check_complete(samples[i].path, samples[i].schema, root);
        json_free(root);
    }
    strbuf_done(&text);
}

static int count_json(const char *root, const char *folder)
{
    char *path = xasprintf("%s/tests/golden/%s", root, folder);
    DIR *dir = opendir(path);
    int n = 0;

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += strstr(e->d_name, ".json") != NULL;
    closedir(dir);
    free(path);
    return n;
}

static void no_file_lacks_its_message(void **state)
{
    assert_int_equal(count_json(SOURCE_ROOT, "messages") + count_json(SOURCE_ROOT, "documents"), n_samples);
}

/* --- spoilt ---------------------------------------------------------------------------------------------- */

/* What one member of the whole tree becomes. */
enum spoil { SPOIL_DROP, SPOIL_TYPE, SPOIL_UNKNOWN };

struct spoiler {
    const struct json *member; /* SPOIL_UNKNOWN: the object that gets one more */
    enum spoil how;
};

static void print_spoilt(const struct json *v, const struct spoiler *s, struct strbuf *out, const char *text)
{
    size_t offset, len;
    bool first = true;

    if (json_type(v) != JSON_OBJECT && json_type(v) != JSON_LIST) {
        json_span(v, &offset, &len);
        strbuf_add(out, text + offset, len);
        return;
    }
    bool is_object = json_type(v) == JSON_OBJECT;
    strbuf_addc(out, is_object ? '{' : '[');
    json_for_each(item, v)
    {
        if (item == s->member && s->how == SPOIL_DROP)
            continue;
        if (!first)
            strbuf_addc(out, ',');
        first = false;
        if (is_object)
            strbuf_addf(out, "\"%s\":", json_key(item));
        if (item == s->member && s->how == SPOIL_TYPE)
            strbuf_adds(out, "[[]]"); /* of no type that a field has */
        else
            print_spoilt(item, s, out, text);
    }
    if (v == s->member && s->how == SPOIL_UNKNOWN)
        strbuf_addf(out, "%s\"later\":{}", first ? "" : ",");
    strbuf_addc(out, is_object ? '}' : ']');
}

struct spoilt {
    const struct sample *sample;
    const struct json *root;
    const char *text;
    int n_tried;
};

/* The spoilt text is refused with these words, or accepted where wanted is NULL. */
static void try_spoilt(struct spoilt *t, const struct json *member, enum spoil how, const char *wanted)
{
    const struct schema *schema = t->sample->schema;
    struct spoiler spoiler = { member, how };
    struct strbuf out = STRBUF_INIT;
    void *obj = xcalloc(1, schema->size);
    struct error err = { 0 };

    t->n_tried++;
    print_spoilt(t->root, &spoiler, &out, t->text);
    int result = schema_read(schema, out.data, out.len, obj, &err);
    if (wanted) {
        row_true(t->sample->path, result < 0);
        if (strncmp(err.text, wanted, strlen(wanted)) != 0)
            fail_msg(
                "%s: the refusal is\n  %s\nand should begin with\n  %s", t->sample->path, err.text, wanted);
    } else if (result < 0) {
        fail_msg("%s: %s", t->sample->path, err.text);
    }
    schema_clear(schema, obj);
    free(obj);
    strbuf_done(&out);
}

static void spoil_object(
    struct spoilt *t, const struct schema *schema, const struct json *v, const char *path)
{
    char *unknown = xasprintf("%s.later: is not known here", path);

    try_spoilt(t, v, SPOIL_UNKNOWN, schema->strict ? unknown : NULL);
    free(unknown);
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct field *f = &schema->fields[i];
        const struct json *member = json_get(v, f->name);
        if (!member)
            continue;
        bool is_list = f->type == FIELD_LIST || f->type == FIELD_STRV;
        char *missing = xasprintf("%s.%s: is missing", path, f->name);
        char *wrong = xasprintf("%s.%s%s: must be ", path, f->name, is_list ? "[0]" : "");
        try_spoilt(t, member, SPOIL_DROP, f->flags & FIELD_REQUIRED ? missing : NULL);
        try_spoilt(t, member, SPOIL_TYPE, wrong);
        free(missing);
        free(wrong);
        char *inside = xasprintf("%s.%s%s", path, f->name, f->type == FIELD_LIST ? "[0]" : "");
        if (f->type == FIELD_STRUCT)
            spoil_object(t, f->of, member, inside);
        if (f->type == FIELD_LIST)
            spoil_object(t, f->of, json_first(member), inside);
        free(inside);
    }
}

static void each_missing_wrong_or_unknown_field_is_named(void **state)
{
    struct strbuf text = STRBUF_INIT;
    int n_tried = 0;

    for (size_t i = 0; i < n_samples; i++) {
        load(&samples[i], &text);
        struct json *root = json_parse(text.data, text.len, NULL, NULL);
        struct spoilt t = { &samples[i], root, text.data, 0 };
        spoil_object(&t, samples[i].schema, root, samples[i].schema->name);
        n_tried += t.n_tried;
        json_free(root);
    }
    assert_true(n_tried > 500);
    strbuf_done(&text);
}

/* --- the example of a table is a table ------------------------------------------------------------------- */

static void the_sample_of_a_table_is_valid(void **state)
{
    struct strbuf text = STRBUF_INIT, out = STRBUF_INIT;
    struct error err = { 0 };
    struct table table;

    load(&samples[n_samples - 1], &text);
    if (table_read(text.data, text.len, &table, &err) < 0)
        fail_msg("%s", err.text);
    table_print(&table, &out);
    assert_string_equal(strbuf_str(&out), strbuf_str(&text));
    table_clear(&table);
    strbuf_done(&text);
    strbuf_done(&out);
}

static int list_samples(void **state)
{
    samples = samples_list(SOURCE_ROOT, &n_samples);
    return 0;
}

static int free_samples(void **state)
{
    samples_free(samples, n_samples);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_read_and_written_byte_for_byte),
        cmocka_unit_test(samples_show_every_field),
        cmocka_unit_test(no_file_lacks_its_message),
        cmocka_unit_test(each_missing_wrong_or_unknown_field_is_named),
        cmocka_unit_test(the_sample_of_a_table_is_valid),
    };
    return cmocka_run_group_tests(tests, list_samples, free_samples);
}
