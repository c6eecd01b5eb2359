/* SPDX-License-Identifier: MIT */
#include "common/json.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

#define BYTES(s) (s), sizeof(s) - 1

/* Prints the tree again, so that one line shows what was understood. */
static void print(const struct json *v, struct strbuf *out)
{
    bool first = true;

    switch (json_type(v)) {
    case JSON_LIST:
    case JSON_OBJECT:
        strbuf_addc(out, json_type(v) == JSON_LIST ? '[' : '{');
        json_for_each(item, v)
        {
            if (!first)
                strbuf_addc(out, ',');
            first = false;
            if (json_key(item)) {
                json_write_string(out, json_key(item), strlen(json_key(item)));
                strbuf_addc(out, ':');
            }
            print(item, out);
        }
        strbuf_addc(out, json_type(v) == JSON_LIST ? ']' : '}');
        return;
    case JSON_STRING:
        json_write_string(out, json_string(v), json_string_len(v));
        return;
    case JSON_REAL:
        strbuf_adds(out, "real");
        return;
    default:
        json_describe(v, out);
    }
}

struct text_case {
    const char *name, *text;
    size_t len;
    const char *printed; /* NULL: refused */
    const char *error;
    int line;
};

/* clang-format off */
static const struct text_case cases[] = {
    { "null",                 BYTES("null"),                     "null" },
    { "true",                 BYTES(" true "),                   "true" },
    { "white space",          BYTES("\t[ 1 ,\r\n2 ]\n"),         "[1,2]" },
    { "empty list",           BYTES("[ ]"),                      "[]" },
    { "empty object",         BYTES("{\n}"),                     "{}" },
    { "empty key",            BYTES("{\"\":1}"),                 "{\"\":1}" },
    { "nested",               BYTES("{\"a\":[{\"b\":null}],\"c\":\"d\"}"), "{\"a\":[{\"b\":null}],\"c\":\"d\"}" },
    { "order is kept",        BYTES("{\"z\":1,\"a\":2}"),        "{\"z\":1,\"a\":2}" },
    { "largest integer",      BYTES("9223372036854775807"),      "9223372036854775807" },
    { "smallest integer",     BYTES("-9223372036854775808"),     "-9223372036854775808" },
    { "minus zero",           BYTES("-0"),                       "0" },
    { "reals",                BYTES("[0.5,-1e9,1E+2,1.5e-7]"),   "[real,real,real,real]" },
    { "escapes",              BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\""),
        "\"\\\"\\\\/\\b\\f\\n\\r\\tA\xC3\xA9\xE2\x82\xAC\"" },
    { "surrogate pair",       BYTES("\"\\ud83d\\ude00\""),       "\"\xF0\x9F\x98\x80\"" },
    { "U+10FFFF by escape",   BYTES("\"\\uDBFF\\uDFFF\""),       "\"\xF4\x8F\xBF\xBF\"" },
    { "DEL is allowed",       BYTES("\"\x7f\""),                 "\"\x7f\"" },

    { "nothing",              BYTES(""),                         NULL, "a value is missing at the end of the text", 1 },
    { "only space",           BYTES(" \n "),                     NULL, "a value is missing at the end", 2 },
    { "two values",           BYTES("1 2"),                      NULL, "the end of the text is missing before '2'", 1 },
    { "trailing comma",       BYTES("[1,]"),                     NULL, "a value is missing before ']'", 1 },
    { "leading comma",        BYTES("[,1]"),                     NULL, "a value is missing before ',1]'", 1 },
    { "missing comma",        BYTES("{\"a\":1\n\n \"b\":2}"),    NULL, "a \",\" or \"}\" is missing before '\"b\":2}'", 3 },
    { "missing colon",        BYTES("{\"a\" 1}"),                NULL, "a \":\" after a key is missing", 1 },
    { "open list",            BYTES("[1"),                       NULL, "a \",\" or \"]\" is missing at the end", 1 },
    { "open object",          BYTES("{\"a\":1"),                 NULL, "a \",\" or \"}\" is missing at the end", 1 },
    { "wrong bracket",        BYTES("[1}"),                      NULL, "a \",\" or \"]\" is missing before '}'", 1 },
    { "single quotes",        BYTES("{'a':1}"),                  NULL, "a key in double quotes is missing", 1 },
    { "single-quoted value",  BYTES("['a']"),                    NULL, "a value is missing before ''a']'", 1 },
    { "bare key",             BYTES("{a:1}"),                    NULL, "a key in double quotes", 1 },
    { "comment",              BYTES("[1 /* x */]"),              NULL, "is missing before '/* x */]'", 1 },
    { "NaN",                  BYTES("NaN"),                      NULL, "a value is missing before 'NaN'", 1 },
    { "True",                 BYTES("True"),                     NULL, "a value is missing", 1 },
    { "truex",                BYTES("truex"),                    NULL, "the end of the text is missing before 'x'", 1 },
    { "plus",                 BYTES("+1"),                       NULL, "a value is missing before '+1'", 1 },
    { "leading zero",         BYTES("01"),                       NULL, "must not begin with 0", 1 },
    { "minus leading zero",   BYTES("-01"),                      NULL, "must not begin with 0", 1 },
    { "minus alone",          BYTES("-"),                        NULL, "a digit is missing at the end", 1 },
    { "dot first",            BYTES(".5"),                       NULL, "a value is missing before '.5'", 1 },
    { "dot last",             BYTES("5."),                       NULL, "a digit after the \".\" is missing", 1 },
    { "exponent without",     BYTES("5e"),                       NULL, "a digit of the exponent is missing", 1 },
    { "hexadecimal",          BYTES("0x10"),                     NULL, "the end of the text is missing before 'x10'", 1 },
    { "one beyond int64",     BYTES("9223372036854775808"),      NULL, "the number 9223372036854775808 is beyond 64 bits", 1 },
    { "one below int64",      BYTES("-9223372036854775809"),     NULL, "the number -9223372036854775809 is beyond 64 bits", 1 },
    { "same key twice",       BYTES("{\"a\":1,\n\"a\":2}"),      NULL, "the key \"a\" is there twice", 2 },
    { "same key by escape",   BYTES("{\"a\":1,\"\\u0061\":2}"),  NULL, "the key \"a\" is there twice", 1 },
    { "NUL byte",             BYTES("\"a\0b\""),                 NULL, "a NUL byte", 1 },
    { "NUL by escape",        BYTES("\"\\u0000\""),              NULL, "\\u0000", 1 },
    { "NUL in a key",         BYTES("{\"a\\u0000\":1}"),         NULL, "\\u0000", 1 },
    { "NUL behind",           BYTES("1\0"),                      NULL, "the end of the text is missing before '\\x00'", 1 },
    { "not UTF-8",            BYTES("\"\xFF\""),                 NULL, "not valid UTF-8 (byte 0xff)", 1 },
    { "overlong",             BYTES("\"\xC0\xAF\""),             NULL, "not valid UTF-8", 1 },
    { "cut character",        BYTES("\"\xC3\""),                 NULL, "not valid UTF-8", 1 },
    { "surrogate in UTF-8",   BYTES("\"\xED\xA0\x80\""),         NULL, "not valid UTF-8", 1 },
    { "lone high surrogate",  BYTES("\"\\ud83d\""),              NULL, "half a surrogate pair", 1 },
    { "lone low surrogate",   BYTES("\"\\ude00\""),              NULL, "half a surrogate pair", 1 },
    { "high and no low",      BYTES("\"\\ud83d\\u0041\""),       NULL, "half a surrogate pair", 1 },
    { "bad escape",           BYTES("\"\\x41\""),                NULL, "begins no escape", 1 },
    { "escape at the end",    BYTES("\"\\"),                     NULL, "begins no escape", 1 },
    { "short \\u",            BYTES("\"\\u12\""),                NULL, "four hex digits", 1 },
    { "\\u with a sign",      BYTES("\"\\u+123\""),              NULL, "four hex digits", 1 },
    { "open string",          BYTES("\"abc"),                    NULL, "a string does not end", 1 },
    { "string over lines",    BYTES("[\n\"abc\ndef\"]"),         NULL, "does not end on its line", 2 },
    { "control character",    BYTES("\"a\x01\""),                NULL, "a control character (0x01)", 1 },
    { "tab in a string",      BYTES("\"a\tb\""),                 NULL, "a control character (0x09)", 1 },
    { "byte order mark",      BYTES("\xEF\xBB\xBF{}"),           NULL, "a value is missing", 1 },
    { "form feed",            BYTES("[1,\f2]"),                  NULL, "a value is missing", 1 },
};
/* clang-format on */

static void text_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct text_case *c = &cases[i];
        struct strbuf out = STRBUF_INIT;
        struct error err = { 0 };
        int line = 0;
        /* From the heap and without a NUL, so that a sanitizer sees a byte too many. */
        char *text = malloc(c->len ? c->len : 1);
        memcpy(text, c->text, c->len);
        struct json *root = json_parse(text, c->len, &line, &err);
        free(text);
        row_int(c->name, root != NULL, c->printed != NULL);
        if (root) {
            print(root, &out);
            row_str(c->name, strbuf_str(&out), c->printed);
        } else {
            row_has(c->name, err.text, c->error);
            row_int(c->name, line, c->line);
        }
        json_free(root);
        strbuf_done(&out);
    }
}

static char *nested(int depth)
{
    char *text = xcalloc(1, 2 * (size_t)depth + 1);

    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    return text;
}

static void depth_is_bounded(void **state)
{
    struct error err = { 0 };
    char *fits = nested(JSON_DEPTH_MAX), *deep = nested(JSON_DEPTH_MAX + 1), *deeper = nested(1000000);
    struct json *root = json_parse(fits, strlen(fits), NULL, &err);

    assert_non_null(root);
    json_free(root);
    assert_null(json_parse(deep, strlen(deep), NULL, &err));
    assert_string_equal(err.text, "lists and objects lie more than 16 deep in each other");
    assert_null(json_parse(deeper, strlen(deeper), NULL, &err));
    free(fits);
    free(deep);
    free(deeper);
}

static void many_keys_are_compared_too(void **state)
{
    struct strbuf text = STRBUF_INIT;

    for (int n = 1; n < 200; n++) {
        struct error err = { 0 };
        strbuf_clear(&text);
        strbuf_addc(&text, '{');
        for (int i = 0; i < n; i++)
            strbuf_addf(&text, "\"key%d\":%d,", i, i);
        size_t before = text.len;
        strbuf_adds(&text, "\"last\":0}");
        struct json *root = json_parse(text.data, text.len, NULL, &err);
        assert_non_null(root);
        assert_int_equal(json_size(root), n + 1);
        assert_int_equal(json_int(json_get(root, "key0")), 0);
        json_free(root);
        for (int i = 0; i < n; i += 7) {
            text.len = before;
            strbuf_addf(&text, "\"key%d\":0}", i);
            assert_null(json_parse(text.data, text.len, NULL, &err));
            row_has("twice", err.text, "is there twice");
        }
    }
    strbuf_done(&text);
}

static void the_number_of_values_is_bounded(void **state)
{
    size_t n = JSON_VALUES_MAX + 10;
    char *text = xmalloc(2 * n + 1);
    struct error err = { 0 };

    text[0] = '[';
    for (size_t i = 0; i < n; i++) {
        text[1 + 2 * i] = '1';
        text[2 + 2 * i] = i + 1 < n ? ',' : ']';
    }
    assert_null(json_parse(text, 2 * n + 1, NULL, &err));
    assert_string_equal(err.text, "it holds more than 2000000 values");
    free(text);
}

static void lookups_can_be_chained(void **state)
{
    static const char text[] = "{\n \"a\": {\n  \"b\": [\"x\", 7]\n }\n}";
    struct json *root = json_parse(text, sizeof(text) - 1, NULL, NULL);
    const struct json *b = json_get(json_get(root, "a"), "b");

    assert_int_equal(json_line(b), 3);
    assert_string_equal(json_string(json_first(b)), "x");
    assert_int_equal(json_int(json_next(json_first(b))), 7);
    assert_int_equal(json_size(b), 2);
    assert_null(json_get(json_get(root, "c"), "b"));
    assert_null(json_get(b, "x"));
    assert_null(json_string(b));
    assert_null(json_first(json_first(b)));
    assert_int_equal(json_line(NULL), 0);
    assert_false(json_is(NULL, JSON_NULL));
    size_t offset, len;
    json_span(b, &offset, &len);
    assert_memory_equal(text + offset, "[\"x\", 7]", len);
    json_free(root);
}

static void written_strings_are_always_json(void **state)
{
    static const char raw[] = "a\"\\\n\x01\x7f\xC3\xB6\xFF\xED\xA0\x80\0z";
    struct strbuf out = STRBUF_INIT;

    json_write_string(&out, raw, sizeof(raw) - 1);
    assert_string_equal(strbuf_str(&out),
        "\"a\\\"\\\\\\n\\u0001\x7f\xC3\xB6\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\"");
    struct json *root = json_parse(out.data, out.len, NULL, NULL);
    assert_non_null(root);
    json_free(root);
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_table),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(many_keys_are_compared_too),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(lookups_can_be_chained),
        cmocka_unit_test(written_strings_are_always_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
