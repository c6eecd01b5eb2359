/* SPDX-License-Identifier: MIT */
#include "common/envelope.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

struct read_case {
    const char *name, *json;
    const char *printed; /* NULL: refused */
    const char *error;
};

#define V "{\"jsonrpc\":\"2.0\""

/* clang-format off */
static const struct read_case cases[] = {
    { "call",             V ",\"id\":1,\"method\":\"ping\",\"params\":{}}",        V ",\"id\":1,\"method\":\"ping\",\"params\":{}}" },
    { "call, no params",  V ",\"id\":7,\"method\":\"ping\"}",                      V ",\"id\":7,\"method\":\"ping\",\"params\":{}}" },
    { "call, null params", V ",\"id\":7,\"method\":\"ping\",\"params\":null}",     V ",\"id\":7,\"method\":\"ping\",\"params\":{}}" },
    { "any order",        "{\"params\":{\"a\":[1]},\"method\":\"m\",\"id\":9223372036854775807,\"jsonrpc\":\"2.0\"}",
      V ",\"id\":9223372036854775807,\"method\":\"m\",\"params\":{\"a\":[1]}}" },
    { "notice",           V ",\"method\":\"event\",\"params\":{\"seq\":1}}",       V ",\"method\":\"event\",\"params\":{\"seq\":1}}" },
    { "result",           V ",\"id\":2,\"result\":{\"x\":1}}",                     V ",\"id\":2,\"result\":{\"x\":1}}" },
    { "null result",      V ",\"id\":2,\"result\":null}",                          V ",\"id\":2,\"result\":{}}" },
    { "error",            V ",\"id\":2,\"error\":{\"code\":-32602,\"message\":\"a\\nb\"}}",
      V ",\"id\":2,\"error\":{\"code\":-32602,\"message\":\"a\\nb\"}}" },
    { "error with data",  V ",\"id\":2,\"error\":{\"code\":-32002,\"message\":\"\",\"data\":{\"k\":1}}}",
      V ",\"id\":2,\"error\":{\"code\":-32002,\"message\":\"\",\"data\":{\"k\":1}}}" },
    { "error of no call", V ",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"x\"}}",
      V ",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"x\"}}" },
    { "more is ignored",  V ",\"id\":1,\"method\":\"m\",\"trace\":\"x\"}",         V ",\"id\":1,\"method\":\"m\",\"params\":{}}" },

    { "not JSON",         "{\"jsonrpc\"",                            NULL, "not JSON: a \":\" after a key is missing" },
    { "not an object",    "[]",                                      NULL, "it must be an object" },
    { "no version",       "{\"id\":1,\"method\":\"m\"}",             NULL, "\"jsonrpc\" must be \"2.0\"" },
    { "other version",    "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"m\"}", NULL, "\"jsonrpc\" must be \"2.0\"" },
    { "version a number", "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"m\"}",     NULL, "\"jsonrpc\" must be \"2.0\"" },
    { "nothing",          V "}",                                     NULL, "neither a call nor a notice nor one answer" },
    { "id zero",          V ",\"id\":0,\"method\":\"m\"}",           NULL, "\"id\" must be a whole number from 1 on" },
    { "id negative",      V ",\"id\":-1,\"result\":{}}",             NULL, "\"id\" must be a whole number from 1 on" },
    { "id text",          V ",\"id\":\"1\",\"method\":\"m\"}",       NULL, "\"id\" must be a whole number from 1 on" },
    { "id null in a call", V ",\"id\":null,\"method\":\"m\"}",       NULL, "\"id\" must be a whole number from 1 on" },
    { "id real",          V ",\"id\":1.0,\"method\":\"m\"}",         NULL, "\"id\" must be a whole number from 1 on" },
    { "result without id", V ",\"result\":{}}",                      NULL, "\"id\" must be a whole number from 1 on" },
    { "id null in a result", V ",\"id\":null,\"result\":{}}",        NULL, "\"id\" must be a whole number from 1 on" },
    { "method a number",  V ",\"id\":1,\"method\":1}",               NULL, "\"method\" must be a name" },
    { "method empty",     V ",\"id\":1,\"method\":\"\"}",            NULL, "\"method\" must be a name" },
    { "method too long",  V ",\"id\":1,\"method\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
      NULL, "\"method\" must be a name of at most 64 bytes" },
    { "params a list",    V ",\"id\":1,\"method\":\"m\",\"params\":[]}", NULL, "\"params\" must be an object" },
    { "result a number",  V ",\"id\":1,\"result\":1}",               NULL, "\"result\" must be an object" },
    { "both answers",     V ",\"id\":1,\"result\":{},\"error\":{\"code\":1,\"message\":\"\"}}", NULL, "neither a call" },
    { "call and answer",  V ",\"id\":1,\"method\":\"m\",\"result\":{}}", NULL, "\"method\" and an answer in one" },
    { "error as text",    V ",\"id\":1,\"error\":\"x\"}",            NULL, "\"error\" must have" },
    { "error no code",    V ",\"id\":1,\"error\":{\"message\":\"x\"}}", NULL, "\"error\" must have" },
    { "error no message", V ",\"id\":1,\"error\":{\"code\":1}}",     NULL, "\"error\" must have" },
    { "error data text",  V ",\"id\":1,\"error\":{\"code\":1,\"message\":\"\",\"data\":\"x\"}}", NULL, "\"error\" must have" },
    { "a batch",          "[" V ",\"id\":1,\"method\":\"m\"}]",      NULL, "it must be an object" },
};
/* clang-format on */

static void read_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct read_case *c = &cases[i];
        struct strbuf out = STRBUF_INIT;
        struct error err = { 0 };
        struct envelope e = { 0 };
        int result = envelope_read(c->json, strlen(c->json), &e, &err);
        row_int(c->name, result == 0, c->printed != NULL);
        if (result == 0) {
            envelope_print(&e, &out);
            row_str(c->name, strbuf_str(&out), c->printed);
        } else {
            row_has(c->name, err.text, c->error);
            row_true(c->name, !e.method && !e.body);
        }
        envelope_done(&e);
        strbuf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(read_table) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
