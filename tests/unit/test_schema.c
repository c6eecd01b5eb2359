/* SPDX-License-Identifier: MIT */
#include "common/schema.h"

#include "tests/unit/rows.h"

#include <errno.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strv.h"

/* One struct with a field of every type. */

enum colour { RED, GREEN, BLUE, COLOUR_MAX_ };
static const char *const colour_names[COLOUR_MAX_] = {
    [RED] = "red", [BLUE] = "blue"
}; /* no word for GREEN */

struct inner {
    char *name;
    int64_t port;
};

struct outer {
    char *id;
    char *secret;
    char *note;
    int64_t n;
    int64_t any;
    bool yes;
    bool no;
    int colour;
    int64_t one;
    int64_t even;
    struct inner inner;
    struct inner maybe;
    struct inner *items;
    size_t n_items;
    char **words;
    char **env;
    char **by_name;
};

static const struct field inner_fields[] = {
    F_STRING(struct inner, name, FIELD_REQUIRED, .check = name_is_service, .must = "a service name"),
    F_INT(struct inner, port, FIELD_OMIT_EMPTY, 1, 65535, .fallback = 80),
};
static const struct schema inner_schema = SCHEMA("inner", struct inner, inner_fields, true);

static const struct field outer_fields[] = {
    F_STRING(struct outer, id, FIELD_REQUIRED, .min = 2, .max = 8),
    F_STRING(struct outer, secret, FIELD_SECRET, .check = name_is_service, .must = "a service name"),
    F_STRING(struct outer, note, 0),
    F_INT(struct outer, n, 0, -5, 1000, .fallback = 7),
    F_INT(struct outer, any, FIELD_OMIT_EMPTY, INT64_MIN, 0),
    F_BOOL(struct outer, yes, FIELD_OMIT_EMPTY, .fallback = true),
    F_BOOL(struct outer, no, FIELD_OMIT_EMPTY),
    F_ENUM(struct outer, colour, 0, colour_names, .fallback = BLUE),
    F_INT(struct outer, one, FIELD_OMIT_EMPTY, 1, 1),
    F_INT(struct outer, even, FIELD_OMIT_EMPTY, 2, 4, .must = "2 or 4"),
    F_STRUCT(struct outer, inner, FIELD_REQUIRED, &inner_schema),
    F_STRUCT(struct outer, maybe, FIELD_OMIT_EMPTY, &inner_schema),
    F_LIST(struct outer, items, 0, &inner_schema, .max = 3),
    F_STRV(struct outer, words, 0, .max = 3, .check = name_is_service, .must = "a service name"),
    F_PAIRS(struct outer, env, FIELD_SECRET, .max = 3, .check = name_is_env_value,
        .check_key = name_is_env_key, .must = "text without control characters"),
    F_PAIRS(struct outer, by_name, 0, .check_key = name_is_service, .must_key = "a service name"),
};
static const struct schema outer_schema = SCHEMA("outer", struct outer, outer_fields, false);

#define INNER "\"inner\":{\"name\":\"web\"}"
#define HEAD  "{\"id\":\"abc\"," INNER

struct read_case {
    const char *name, *json;
    const char *printed; /* NULL: refused */
    const char *error;   /* whole */
};

/* clang-format off */
static const struct read_case cases[] = {
    { "least", HEAD "}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },
    { "everything", "{\"id\":\"abcdefgh\",\"secret\":\"s\",\"note\":\"x\",\"n\":-5,\"any\":-1,\"yes\":false,\"no\":true,"
      "\"colour\":\"red\",\"inner\":{\"name\":\"web\",\"port\":1},\"items\":[{\"name\":\"a\"},{\"name\":\"b\",\"port\":65535}],"
      "\"words\":[\"a\",\"b\",\"c\"],\"env\":{\"A\":\"1\",\"B\":\"\"}}",
      "{\"id\":\"abcdefgh\",\"secret\":\"s\",\"note\":\"x\",\"n\":-5,\"any\":-1,\"yes\":false,\"no\":true,"
      "\"colour\":\"red\",\"inner\":{\"name\":\"web\",\"port\":1},\"items\":[{\"name\":\"a\"},{\"name\":\"b\",\"port\":65535}],"
      "\"words\":[\"a\",\"b\",\"c\"],\"env\":{\"A\":\"1\",\"B\":\"\"}}" },
    { "null is absent", HEAD ",\"n\":null,\"note\":null,\"items\":null,\"words\":null,\"env\":null,\"yes\":null}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },
    { "an empty optional string is absent, unchecked", HEAD ",\"secret\":\"\",\"note\":\"\"}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },
    { "unknown is ignored", HEAD ",\"later\":{\"x\":[1.5]}}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },
    { "empty lists", HEAD ",\"items\":[],\"words\":[],\"env\":{}}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },
    { "fallback written out", HEAD ",\"n\":7,\"yes\":true,\"inner2\":1}",
      "{\"id\":\"abc\",\"n\":7,\"colour\":\"blue\",\"inner\":{\"name\":\"web\"}}" },

    { "not JSON", "{", NULL, "outer: is not JSON: a key in double quotes is missing at the end of the text" },
    { "a list", "[]", NULL, "outer: must be an object, not a list" },
    { "missing", "{" INNER "}", NULL, "outer.id: is missing" },
    { "required and null", "{\"id\":null," INNER "}", NULL, "outer.id: is missing" },
    { "struct missing", "{\"id\":\"abc\"}", NULL, "outer.inner: is missing" },
    { "missing inside", "{\"id\":\"abc\",\"inner\":{}}", NULL, "outer.inner.name: is missing" },
    { "unknown in a strict one", "{\"id\":\"abc\",\"inner\":{\"name\":\"web\",\"prot\":1}}", NULL,
      "outer.inner.prot: is not known here, did you mean \"port\"?" },
    { "unknown key is printable", "{\"id\":\"abc\",\"inner\":{\"a\\u001bb\":1}}", NULL,
      "outer.inner.a\\x1bb: is not known here" },
    { "too short", "{\"id\":\"a\"," INNER "}", NULL, "outer.id: must be at least 2 bytes long, not 1" },
    { "empty", "{\"id\":\"\"," INNER "}", NULL, "outer.id: must not be empty" },
    { "too long", "{\"id\":\"123456789\"," INNER "}", NULL, "outer.id: must be at most 8 bytes long, not 9" },
    { "number for text", "{\"id\":12," INNER "}", NULL, "outer.id: must be a string, not 12" },
    { "check fails", HEAD ",\"words\":[\"a\",\"-B\"]}", NULL,
      "outer.words[1]: must be a service name, not \"-B\"" },
    { "secret is not shown", HEAD ",\"secret\":\"Hunter2\"}", NULL, "outer.secret: must be a service name" },
    { "secret of the wrong type", HEAD ",\"secret\":12345}", NULL, "outer.secret: must be a service name" },
    { "text for a number", HEAD ",\"n\":\"two\"}", NULL,
      "outer.n: must be a whole number from -5 to 1000, not \"two\"" },
    { "above", HEAD ",\"n\":1001}", NULL, "outer.n: must be a whole number from -5 to 1000, not 1001" },
    { "below", HEAD ",\"n\":-6}", NULL, "outer.n: must be a whole number from -5 to 1000, not -6" },
    { "a real", HEAD ",\"n\":1.0}", NULL,
      "outer.n: must be a whole number from -5 to 1000, not a number with a fraction or exponent" },
    { "no limits", HEAD ",\"any\":true}", NULL, "outer.any: must be a whole number, not true" },
    { "the only one", HEAD ",\"one\":2}", NULL, "outer.one: must be 1, not 2" },
    { "one of few", HEAD ",\"even\":5}", NULL, "outer.even: must be 2 or 4, not 5" },
    { "an object of which a part is missing", HEAD ",\"maybe\":{\"port\":1}}", NULL, "outer.maybe.name: is missing" },
    { "bad key of known kind", HEAD ",\"by_name\":{\"B\":\"1\"}}", NULL, "outer.by_name.B: the key must be a service name" },
    { "bool as number", HEAD ",\"yes\":1}", NULL, "outer.yes: must be true or false, not 1" },
    { "bool as text", HEAD ",\"yes\":\"true\"}", NULL, "outer.yes: must be true or false, not \"true\"" },
    { "unknown word", HEAD ",\"colour\":\"green\"}", NULL, "outer.colour: must be one of red, blue, not \"green\"" },
    { "word as number", HEAD ",\"colour\":0}", NULL, "outer.colour: must be one of red, blue, not 0" },
    { "struct as list", "{\"id\":\"abc\",\"inner\":[]}", NULL, "outer.inner: must be an object, not a list" },
    { "list as object", HEAD ",\"items\":{}}", NULL, "outer.items: must be a list of objects, not an object" },
    { "item as text", HEAD ",\"items\":[{\"name\":\"a\"},\"b\"]}", NULL,
      "outer.items[1]: must be an object, not \"b\"" },
    { "item is null", HEAD ",\"items\":[null]}", NULL, "outer.items[0]: must be an object, not null" },
    { "deep", HEAD ",\"items\":[{\"name\":\"a\"},{\"name\":\"b\",\"port\":70000}]}", NULL,
      "outer.items[1].port: must be a whole number from 1 to 65535, not 70000" },
    { "too many items", HEAD ",\"items\":[{},{},{},{}]}", NULL, "outer.items: must have at most 3 entries, not 4" },
    { "too many words", HEAD ",\"words\":[\"a\",\"b\",\"c\",\"d\"]}", NULL,
      "outer.words: must have at most 3 entries, not 4" },
    { "word is a number", HEAD ",\"words\":[1]}", NULL, "outer.words[0]: must be a service name, not 1" },
    { "pairs as list", HEAD ",\"env\":[\"A=1\"]}", NULL, "outer.env: must be an object of strings, not a list" },
    { "bad key", HEAD ",\"env\":{\"A B\":\"1\"}}", NULL, "outer.env.A B: the key is not allowed here" },
    { "key with =", HEAD ",\"env\":{\"A=B\":\"1\"}}", NULL, "outer.env.A=B: the key is not allowed here" },
    { "empty key", HEAD ",\"env\":{\"\":\"1\"}}", NULL, "outer.env.: the key is not allowed here" },
    { "bad value is not shown", HEAD ",\"env\":{\"A\":\"pass\\u0007word\"}}", NULL,
      "outer.env.A: must be text without control characters" },
    { "value of the wrong type", HEAD ",\"env\":{\"A\":1}}", NULL,
      "outer.env.A: must be text without control characters" },
    { "too many pairs", HEAD ",\"env\":{\"A\":\"\",\"B\":\"\",\"C\":\"\",\"D\":\"\"}}", NULL,
      "outer.env: must have at most 3 entries, not 4" },
    { "shown values are cut and printable",
      HEAD ",\"words\":[\"\\u001b]0;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]}", NULL,
      "outer.words[0]: must be a service name, not \"\\x1b]0;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…\"" },
};
/* clang-format on */

static bool is_zeroed(const void *obj, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const char *)obj)[i] != 0)
            return false;
    return true;
}

static void read_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct read_case *c = &cases[i];
        struct strbuf out = STRBUF_INIT;
        struct error err = { 0 };
        struct outer obj;
        memset(&obj, 0xAA, sizeof(obj));
        int result = schema_read(&outer_schema, c->json, strlen(c->json), &obj, &err);
        row_int(c->name, result == 0, c->printed != NULL);
        if (result == 0) {
            schema_print(&outer_schema, &obj, &out);
            row_str(c->name, strbuf_str(&out), c->printed);
            schema_clear(&outer_schema, &obj);
        } else {
            row_str(c->name, err.text, c->error);
        }
        row_true(c->name, is_zeroed(&obj, sizeof(obj)));
        strbuf_done(&out);
    }
}

static void copies_are_deep_and_equal(void **state)
{
    const char *json = cases[1].json;
    struct outer a, b;

    assert_int_equal(schema_read(&outer_schema, json, strlen(json), &a, NULL), 0);
    schema_copy(&outer_schema, &a, &b);
    assert_true(schema_equal(&outer_schema, &a, &b));
    assert_ptr_not_equal(a.items, b.items);
    str_set(&b.items[1].name, "other");
    assert_false(schema_equal(&outer_schema, &a, &b));
    str_set(&b.items[1].name, "b");
    assert_true(schema_equal(&outer_schema, &a, &b));
    pairs_set(&b.env, "A", "2");
    assert_false(schema_equal(&outer_schema, &a, &b));
    pairs_set(&b.env, "A", "1");
    b.n++;
    assert_false(schema_equal(&outer_schema, &a, &b));
    schema_clear(&outer_schema, &a);
    schema_clear(&outer_schema, &b);
    schema_copy(&outer_schema, &a, &b); /* of an empty one */
    assert_true(schema_equal(&outer_schema, &a, &b));
}

static void secrets_are_not_printed_for_logs(void **state)
{
    struct strbuf out = STRBUF_INIT;
    struct outer a;

    assert_int_equal(schema_read(&outer_schema, cases[1].json, strlen(cases[1].json), &a, NULL), 0);
    schema_print_safe(&outer_schema, &a, &out);
    row_has("safe", strbuf_str(&out), "\"secret\":\"…\"");
    row_has("safe", strbuf_str(&out), "\"env\":{\"A\":\"…\",\"B\":\"…\"}");
    schema_clear(&outer_schema, &a);
    strbuf_done(&out);
}

static void what_is_written_can_be_read(void **state)
{
    struct strbuf out = STRBUF_INIT;
    struct error err = { 0 };
    struct outer a = { .colour = RED, .maybe.port = 80 }, b;

    /* Text that is not UTF-8, and the same key twice: made by us, or taken from a log. */
    str_set(&a.id, "a\xFF");
    str_set(&a.inner.name, "web");
    a.inner.port = 1;
    str_set(&a.note, "a\"\xED\xA0\x80\n");
    strv_push(&a.env, "A=1");
    strv_push(&a.env, "B=2");
    strv_push(&a.env, "A=3");
    strv_push(&a.env, "no pair");
    schema_print_pretty(&outer_schema, &a, &out);
    assert_string_equal(strbuf_str(&out),
        "{\n  \"id\": \"a\xEF\xBF\xBD\",\n  \"note\": \"a\\\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\\n\",\n"
        "  \"n\": 0,\n  \"yes\": false,\n  \"colour\": \"red\",\n  \"inner\": {\n    \"name\": \"web\",\n"
        "    \"port\": 1\n  },\n  \"env\": {\n    \"B\": \"2\",\n    \"A\": \"3\"\n  }\n}\n");
    assert_int_equal(schema_read(&outer_schema, out.data, out.len, &b, &err), 0);
    assert_string_equal(pairs_get(b.env, "A"), "3");
    schema_clear(&outer_schema, &a);
    schema_clear(&outer_schema, &b);
    strbuf_done(&out);
}

/* Free text of any length and of any bytes is cut so that its reader takes it; a value without a word is left
 * out. */
static void long_text_is_cut_not_refused(void **state)
{
    static const char *const units[] = { "x", "\xC3\xB6", "\xFF", "\xF0\x9F\x98\x80", "\"" };

    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        struct strbuf note = STRBUF_INIT, out = STRBUF_INIT;
        struct outer a = { .colour = GREEN, .inner.port = 1, .maybe.port = 80 }, b;
        struct error err = { 0 };
        while (note.len < 3 * SCHEMA_STRING_MAX)
            strbuf_adds(&note, units[i]);
        str_set(&a.id, "abcdefghijk");
        str_set(&a.inner.name, "web");
        a.note = strbuf_steal(&note);
        schema_print(&outer_schema, &a, &out);
        row_int(err.text, schema_read(&outer_schema, out.data, out.len, &b, &err), 0);
        assert_string_equal(b.id, "abcdefgh");
        assert_in_range(strlen(b.note), SCHEMA_STRING_MAX - 3, SCHEMA_STRING_MAX);
        assert_int_equal(b.colour, BLUE);
        schema_clear(&outer_schema, &a);
        schema_clear(&outer_schema, &b);
        strbuf_done(&out);
    }
}

static void refusals_know_their_line(void **state)
{
    static const struct {
        const char *json;
        int line;
    } lines[] = {
        { "{\n\"id\": \"abc\",\n\"inner\":\n{ \"name\": \"web\",\n\"port\": 0 } }", 5 },
        { "{\n\"id\": \"abc\",\n\"inner\":\n{ \"port\": 1 } }", 4 },
        { "{\n\"id\": \"abc\",\n}", 3 },
        { "{\n\n}", 1 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct outer a;
        int line = 0;
        row_true(lines[i].json,
            schema_read_at(&outer_schema, lines[i].json, strlen(lines[i].json), &a, &line, NULL) < 0);
        row_int(lines[i].json, line, lines[i].line);
    }
}

static void an_absent_value_reads_as_empty(void **state)
{
    struct error err = { 0 };
    struct outer a;

    assert_int_equal(schema_read_json(&outer_schema, NULL, &a, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "outer.id: is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_table),
        cmocka_unit_test(copies_are_deep_and_equal),
        cmocka_unit_test(secrets_are_not_printed_for_logs),
        cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(long_text_is_cut_not_refused),
        cmocka_unit_test(refusals_know_their_line),
        cmocka_unit_test(an_absent_value_reads_as_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
