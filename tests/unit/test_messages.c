/* SPDX-License-Identifier: MIT */
#include "common/messages.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static void every_message_is_found_both_ways(void **state)
{
    int n = 0;

    for (int type = 0; type < MSG_MAX_; type++) {
        const struct msg_info *info = msg_by_type((enum msg_type)type);
        if (!info)
            continue;
        n++;
        assert_int_equal(info->type, type);
        row_true(info->method, msg_by_method(info->method) == info);
        row_true(info->method, info->schema != NULL && info->from != 0);
    }
    assert_int_equal(n, 44);
    assert_null(msg_by_type(MSG_NONE_));
    assert_null(msg_by_type(MSG_MAX_));
    assert_null(msg_by_method("nonsense"));
    assert_null(msg_by_method(""));
}

struct right_case {
    const char *method;
    const char *may; /* none admin deployer viewer drone router hub, by first letter: nadvxrh (x: drone) */
};

/* clang-format off */
static const struct right_case rights[] = {
    { "hello",           "nadvxrh" },
    { "ping",            "nadvxrh" },
    { "goodbye",         "nadvxrh" },
    { "join",            "nadvxrh" },
    { "renew",           "advxr" },
    { "document_begin",  "xh" },
    { "document_part",   "xh" },
    { "document_end",    "xh" },
    { "token_create",    "a" },
    { "token_list",      "a" },
    { "token_revoke",    "a" },
    { "deploy",          "ad" },
    { "rollback",        "ad" },
    { "scale",           "ad" },
    { "start",           "ad" },
    { "stop",            "ad" },
    { "restart",         "ad" },
    { "deploy_watch",    "adv" },
    { "deploy_event",    "h" },
    { "list",            "adv" },
    { "servers",         "adv" },
    { "ps",              "adv" },
    { "status",          "adv" },
    { "deps",            "adv" },
    { "history",         "adv" },
    { "monitor",         "adv" },
    { "event",           "h" },
    { "logs",            "adv" },
    { "host_list",       "adv" },
    { "host_remove",     "a" },
    { "version",         "adv" },
    { "identity_revoke", "a" },
    { "hub_status",      "adv" },
    { "routers",         "adv" },
    { "orders_change",   "h" },
    { "instance_report", "x" },
    { "host_report",     "x" },
    { "stream_open",     "h" },
    { "stream_lines",    "xh" },
    { "stream_end",      "xh" },
    { "table_prepare",   "h" },
    { "table_commit",    "h" },
    { "table_abort",     "h" },
    { "traffic_report",  "r" },
};
/* clang-format on */

static void rights_table(void **state)
{
    static const char letters[ROLE_MAX_ + 1] = "nadvxrh";

    assert_int_equal(ARRAY_SIZE(rights), 44);
    for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
        const struct msg_info *info = msg_by_method(rights[i].method);
        row_true(rights[i].method, info != NULL);
        for (int role = 0; role < ROLE_MAX_; role++)
            if (msg_allowed(info, (enum role)role) != (strchr(rights[i].may, letters[role]) != NULL))
                fail_msg("%s from %s", rights[i].method, role_names[role]);
        assert_false(msg_allowed(info, ROLE_MAX_));
    }
}

struct refusal_case {
    const char *method, *json, *error;
};

#define R   "\"request_id\":\"r-12345678\""
#define C40 "\"0123456789abcdef0123456789abcdef01234567\""

/* clang-format off */
static const struct refusal_case refusals[] = {
    { "deploy", "{" R ",\"target\":\"web\",\"instances\":\"two\"}",
      "deploy.instances: must be a whole number from 0 to 1000, not \"two\"" },
    { "deploy", "{" R ",\"target\":\"web\",\"instances\":1001}",
      "deploy.instances: must be a whole number from 0 to 1000, not 1001" },
    { "deploy", "{" R "}", "deploy.target: is missing" },
    { "deploy", "{" R ",\"target\":\"\"}", "deploy.target: must not be empty" },
    { "deploy", "{\"target\":\"web\"}", "deploy.request_id: is missing" },
    { "deploy", "{\"request_id\":\"../../x\",\"target\":\"web\"}",
      "deploy.request_id: must be 8 to 64 letters, digits, \"-\" and \"_\", not \"../../x\"" },
    { "deploy", "{" R ",\"target\":\"web\",\"hosts\":[\"app1\",\"../app2\"]}",
      "deploy.hosts[1]: must be the name of a host (lower-case letters, digits, dots, dashes, at most 63), not \"../app2\"" },
    { "deploy", "{" R ",\"target\":\"web\",\"env\":{\"A-B\":\"1\"}}", "deploy.env.A-B: the key is not allowed here" },
    { "deploy", "{" R ",\"target\":\"web\",\"env\":{\"PASSWORD\":\"hunter2\\r\"}}",
      "deploy.env.PASSWORD: must be text of at most 32 KiB without control characters" },
    { "stop", "{" R ",\"target\":7}", "stop.target: must be a string, not 7" },
    { "join", "{" R ",\"token\":17,\"csr_pem\":\"x\"}", "join.token: must be a string" },
    { "token_create", "{" R ",\"role\":\"hub\"}",
      "token_create.role: must be one of admin, deployer, viewer, drone, router, not \"hub\"" },
    { "token_create", "{" R ",\"role\":\"none\"}",
      "token_create.role: must be one of admin, deployer, viewer, drone, router, not \"none\"" },
    { "token_create", "{" R ",\"role\":\"drone\",\"uses\":0}",
      "token_create.uses: must be a whole number from 1 to 10000, not 0" },
    { "token_create", "{" R ",\"role\":\"drone\",\"password\":\"short\"}",
      "token_create.password: must be at least 8 bytes long, not 5" },
    { "list", "{\"limit\":1001}", "list.limit: must be a whole number from 0 to 1000, not 1001" },
    { "orders_change", "{\"from_revision\":1,\"revision\":2,\"sandbox\":true}", "orders_change.sandbox: is not known here" },
    { "orders_change", "{\"from_revision\":1,\"revision\":2,\"put\":[{\"id\":\"3f9a12c0\",\"app\":\"shop\","
      "\"service\":\"web\",\"version\":\"1.0.0\",\"commit\":" C40 ",\"run\":{\"command\":[\"x\"],\"health\":{\"kind\":\"htp\"}}}]}",
      "orders_change.put[0].run.health.kind: must be one of stays-up, http, tcp, exec, notify, not \"htp\"" },
    { "orders_change", "{\"from_revision\":1,\"revision\":2,\"put\":[{\"id\":\"3f9a12c0\",\"app\":\"shop\","
      "\"service\":\"web\",\"version\":\"1.0.0\",\"commit\":" C40 ",\"run\":{\"command\":[]}}]}",
      "orders_change.put[0].run.command: must have at least 1 entries, not 0" },
    { "orders_change", "{\"from_revision\":1,\"revision\":2,\"drop\":[\"../../etc\"]}",
      "orders_change.drop[0]: must be the id of an instance: 8 hex digits, not \"../../etc\"" },
    { "document_part", "{\"id\":1,\"text\":\"\"}", "document_part.text: must not be empty" },
    { "document_begin", "{\"kind\":\"orders\",\"id\":1,\"bytes\":67108865}",
      "document_begin.bytes: must be a whole number from 0 to 67108864, not 67108865" },
    { "table_commit", "{\"epoch\":0}", "table_commit.epoch: must be a whole number from 1 on, not 0" },
    { "stream_lines", "{\"lines\":[{\"text\":\"a\",\"priority\":8}]}",
      "stream_lines.lines[0].priority: must be a whole number from 0 to 7, not 8" },
    { "hello", "{\"protocol\":1,\"program\":\"x\",\"version\":\"1\",\"name\":\"a\\u001b[2J\"}",
      "hello.name: must be a name of lower-case letters, digits, \".\", \"-\", \"_\", \"@\", at most 63, not \"a\\x1b[2J\"" },
};
/* clang-format on */

static void refusals_name_the_field(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        const struct refusal_case *c = &refusals[i];
        const struct schema *schema = msg_by_method(c->method)->schema;
        struct error err = { 0 };
        void *m = xcalloc(1, schema->size);
        row_true(c->error, schema_read(schema, c->json, strlen(c->json), m, &err) < 0);
        row_str(c->method, err.text, c->error);
        free(m);
    }
}

static void a_part_of_any_text_fits_into_a_frame(void **state)
{
    const struct schema *schema = msg_by_type(MSG_DOCUMENT_PART)->schema;
    struct msg_document_part part = { .id = INT64_MAX, .text = xcalloc(1, DOCUMENT_PART_MAX + 1) };
    struct strbuf out = STRBUF_INIT;

    memset(part.text, 1, DOCUMENT_PART_MAX); /* what takes most room: \u0001 */
    schema_print(schema, &part, &out);
    assert_true(out.len + 100 < FRAME_MAX);
    schema_clear(schema, &part);
    strbuf_done(&out);
}

static void secrets_stay_out_of_logs(void **state)
{
    static const char token[] = "{" R ",\"token\":\"sc1.aa.hunter2\",\"csr_pem\":\"x\"}";
    static const char deploy[] = "{" R ",\"target\":\"web\",\"env\":{\"PASSWORD\":\"hunter2\"}}";
    static const char created[] = "{\"id\":\"9b20c11d\",\"token\":\"hunter2\",\"role\":\"drone\"}";
    static const char create[] = "{" R ",\"role\":\"drone\",\"password\":\"hunter2hunter2\"}";
    const struct {
        const struct schema *schema;
        const char *json;
    } samples[] = {
        { msg_by_type(MSG_JOIN)->schema, token },
        { msg_by_type(MSG_DEPLOY)->schema, deploy },
        { msg_by_type(MSG_TOKEN_CREATE)->answer, created },
        { msg_by_type(MSG_TOKEN_CREATE)->schema, create },
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct strbuf out = STRBUF_INIT;
        struct error err = { 0 };
        void *m = xcalloc(1, samples[i].schema->size);
        row_int(
            err.text, schema_read(samples[i].schema, samples[i].json, strlen(samples[i].json), m, &err), 0);
        schema_print_safe(samples[i].schema, m, &out);
        row_has(samples[i].json, strbuf_str(&out), "\"…\"");
        row_true(samples[i].json, !strstr(strbuf_str(&out), "hunter2"));
        schema_clear(samples[i].schema, m);
        free(m);
        strbuf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_found_both_ways),
        cmocka_unit_test(rights_table),
        cmocka_unit_test(refusals_name_the_field),
        cmocka_unit_test(a_part_of_any_text_fits_into_a_frame),
        cmocka_unit_test(secrets_stay_out_of_logs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
