/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "ctl/moment.h"
#include "ctl/output.h"

/* 2026-11-21 09:45:00 UTC */
#define NOW_US INT64_C(1795254300000000)
#define MIN_US (60 * CLOCK_US_PER_S)
#define DAY_US (1440 * MIN_US)

/* Answers as a hub sends them; what is printed of them follows. */
static const struct {
    const char *name;
    enum msg_type type;
    const char *answer;
    const char *expected;
} rows[] = {
    // clang-format off
    { "list", MSG_LIST,
      "{\"releases\":["
      "{\"service\":\"auth\",\"version\":\"0.1.5\",\"commit\":\"8046c32c00000000000000000000000000000000\","
      "\"traffic_percent\":-1,\"wanted\":1,\"running\":1,\"addresses\":[\"app1:20031\"],"
      "\"last_hit_us\":1795081500000000},"
      "{\"service\":\"mailer\",\"version\":\"1.0.3\",\"commit\":\"35819ef700000000000000000000000000000000\","
      "\"traffic_percent\":-1,\"wanted\":1,\"running\":1,\"addresses\":[\"app1\"],\"worker\":true},"
      "{\"service\":\"web\",\"version\":\"0.2.0\",\"commit\":\"40548daf00000000000000000000000000000000\","
      "\"traffic_percent\":0,\"wanted\":1,\"running\":1,\"addresses\":[\"app1:20088\"],"
      "\"last_hit_us\":1795254060000000,\"warm_until_us\":1795270920000000},"
      "{\"service\":\"web\",\"version\":\"0.2.2\",\"commit\":\"35819ef700000000000000000000000000000000\","
      "\"traffic_percent\":100,\"wanted\":2,\"running\":2,\"addresses\":[\"app1:20117\",\"app2:20042\"],"
      "\"last_hit_us\":1795254299000000}]}",
      "SERVICE  VERSION  COMMIT    TRAFFIC  INSTANCES  ADDRESSES                       LAST HIT\n"
      "auth     0.1.5    8046c32c        –  1/1        app1:20031                      2 days ago\n"
      "mailer   1.0.3    35819ef7        –  1/1        app1                            worker\n"
      "web      0.2.0    40548daf       0%  1/1        app1:20088  (warm until 14:22)  4 min ago\n"
      "web      0.2.2    35819ef7     100%  2/2        app1:20117 app2:20042           now\n" },
    { "an empty list", MSG_LIST, "{\"releases\":[]}",
      "nothing runs; deploy with  stagecoachctl deploy SERVICE@VERSION\n" },
    { "a list with a note that means harm", MSG_LIST,
      "{\"releases\":[{\"service\":\"web\",\"version\":\"1.0.0\",\"traffic_percent\":5,\"wanted\":2,\"running\":0,"
      "\"note\":\"\\u001b[2J\\u0007gone\\r\\n\"}]}",
      "SERVICE  VERSION  COMMIT  TRAFFIC  INSTANCES  ADDRESSES                LAST HIT\n"
      "web      1.0.0                 5%  0/2        \\x1b[2J\\x07gone\\x0d\\x0a  never\n" },
    { "servers", MSG_SERVERS,
      "{\"hosts\":[{\"host\":\"app1\",\"role\":\"drone\",\"address\":\"10.0.0.11\",\"online\":true,"
      "\"up_ms\":3542400000,\"load_milli\":300,\"memory_bytes\":4080218931,\"memory_free_bytes\":2899102925,"
      "\"version\":\"0.1.0\",\"instances\":["
      "{\"id\":\"00000001\",\"service\":\"auth\",\"version\":\"0.1.5\",\"phase\":\"running\","
      "\"commit\":\"8046c32c00000000000000000000000000000000\",\"since_us\":1795081500000000,"
      "\"memory_bytes\":12582912},"
      "{\"id\":\"00000002\",\"service\":\"mailer\",\"version\":\"1.0.3\",\"phase\":\"running\","
      "\"commit\":\"35819ef700000000000000000000000000000000\",\"since_us\":1795254060000000,"
      "\"memory_bytes\":32505856}]},"
      "{\"host\":\"app22\",\"role\":\"drone\",\"address\":\"10.0.0.12\",\"online\":false,"
      "\"seen_us\":1795254060000000},"
      "{\"host\":\"edge\",\"role\":\"router\",\"address\":\"10.0.0.2\",\"online\":true,\"version\":\"0.1.0\"}]}",
      "app1   10.0.0.11  up 41 days  load 0.3  mem 1.1/3.8G  droned 0.1.0\n"
      "  auth@0.1.5    8046c32c  running 2 days  12 MB\n"
      "  mailer@1.0.3  35819ef7  running 4 min   31 MB\n"
      "app22  10.0.0.12  not connected since 09:41  (nothing runs here)\n"
      "edge   10.0.0.2  routerd 0.1.0\n" },
    { "status", MSG_STATUS,
      "{\"releases\":[{\"service\":\"web\",\"version\":\"0.2.2\",\"summary\":\"2 of 2 running, 100% of traffic\","
      "\"instances\":["
      "{\"id\":\"3f9a12c0\",\"host\":\"app1\",\"address\":\"10.0.0.11:20117\",\"phase\":\"running\","
      "\"since_us\":1795254060000000},"
      "{\"id\":\"81c05e2d\",\"host\":\"app2\",\"address\":\"10.0.0.12:20042\",\"phase\":\"running\","
      "\"since_us\":1795254060000000,\"restarts\":1,\"reason\":\"killed by the kernel for memory (256M)\"}]},"
      "{\"service\":\"web\",\"version\":\"0.2.3\",\"summary\":\"not running: exited with status 1\",\"instances\":["
      "{\"id\":\"12345678\",\"host\":\"app1\",\"phase\":\"failed\",\"since_us\":1795254240000000,\"restarts\":5,"
      "\"reason\":\"exited with status 1\",\"lines\":[\"Error: no\",\"\\u001b[31mat x\"]}]}]}",
      "web@0.2.2   2 of 2 running, 100% of traffic\n"
      "  3f9a12c0  app1:20117  running 4 min, 0 restarts\n"
      "  81c05e2d  app2:20042  running 4 min, 1 restart: killed by the kernel for memory (256M)\n"
      "web@0.2.3   not running: exited with status 1\n"
      "  12345678  app1  failed 1 min: exited with status 1\n"
      "    | Error: no\n"
      "    | \\x1b[31mat x\n" },
    { "ps", MSG_PS,
      "{\"instances\":[{\"id\":\"3f9a12c0\",\"host\":\"app1\",\"service\":\"web\",\"version\":\"0.2.2\","
      "\"address\":\"10.0.0.11:20117\",\"phase\":\"running\",\"since_us\":1795254060000000,\"pid\":4711,"
      "\"commit\":\"35819ef700000000000000000000000000000000\",\"memory_bytes\":50331648}]}",
      "INSTANCE  RELEASE    COMMIT    HOST         PID  RESTARTS  MEMORY  STATE\n"
      "3f9a12c0  web@0.2.2  35819ef7  app1:20117  4711         0   48 MB  running 4 min\n" },
    { "history", MSG_HISTORY,
      "{\"events\":["
      "{\"seq\":8,\"at_us\":1795254060000000,\"who\":\"ops\",\"kind\":\"deploy\",\"service\":\"web\","
      "\"version\":\"0.2.2\",\"text\":\"serves\"},"
      "{\"seq\":7,\"at_us\":1795254000000000,\"who\":\"ops\",\"kind\":\"push\",\"app\":\"shop\","
      "\"text\":\"main 35819ef7\"}]}",
      "2026-11-21 09:40:00  ops  push    shop       main 35819ef7\n"
      "2026-11-21 09:41:00  ops  deploy  web@0.2.2  serves\n" },
    { "tokens", MSG_TOKEN_LIST,
      "{\"tokens\":[{\"id\":\"0a1b2c3d\",\"role\":\"drone\",\"uses_left\":2,\"expires_us\":1795257900000000,"
      "\"created_by\":\"root\"}]}",
      "TOKEN     ROLE   FOR  USES LEFT  EXPIRES  MADE BY\n"
      "0a1b2c3d  drone               2  10:45    root\n" },
    { "hub status", MSG_HUB_STATUS,
      "{\"items\":[{\"name\":\"revision\",\"value\":\"118\"},{\"name\":\"links\",\"value\":\"3\"}]}",
      "revision  118\n"
      "links     3\n" },
    { "routers", MSG_ROUTERS,
      "{\"routers\":[{\"name\":\"r1\",\"online\":true,\"version\":\"0.1.0\",\"epoch\":118,\"now\":{\"generation\":3,"
      "\"older\":\"1 older generation with 14 connections\",\"connections\":118,\"in_flight\":34,"
      "\"interval_ms\":2000,\"requests\":424,\"errors\":1,\"p50_us\":800,\"p99_us\":20000,"
      "\"certificate\":\"www.example.com\",\"certificate_expires_us\":1795354000000000}},"
      "{\"name\":\"r2\",\"epoch\":117,\"now\":{\"interval_ms\":1000,\"requests\":9}}]}",
      "ROUTER  STATE             EPOCH  CONNECTIONS  IN FLIGHT  REQUESTS/S  ERRORS     P50    P99  EJECTED\n"
      "r1      online, 0.1.0       118          118         34         212   0.24%  0.8 ms  20 ms        0\n"
      "r2      gone, seen never    117            0          0           –       –       –      –        0\n"
      "  r1: generation 3; 1 older generation with 14 connections\n"
      "  r1: the certificate www.example.com ends on 22 Nov 2026\n" },
    { "version", MSG_VERSION,
      "{\"program\":\"stagecoach-hubd\",\"version\":\"0.1.0\",\"protocol\":1,\"fingerprint\":"
      "\"7c1f0d9e52aa0000000000000000000000000000000000000000000000000000\"}",
      "stagecoachctl " STAGECOACH_VERSION "\n"
      "stagecoach-hubd 0.1.0  protocol 1  key 7c1f 0d9e 52aa …\n" },
    { "operation", MSG_DEPLOY,
      "{\"deploy\":\"d-4f2a\",\"service\":\"web\",\"version\":\"0.2.2\","
      "\"commit\":\"35819ef700000000000000000000000000000000\",\"subject\":\"Fix the cart total\","
      "\"hosts\":[\"app2\",\"app1\",\"app1\"]}",
      "deploy d-4f2a  web@0.2.2  35819ef7 \"Fix the cart total\"  on app1 (2), app2\n" },
    { "another kind of operation", MSG_DEPLOY,
      "{\"deploy\":\"d-4f2a\",\"service\":\"web\",\"version\":\"0.2.1\",\"text\":\"rollback d-4f2a  web@0.2.1\"}",
      "rollback d-4f2a  web@0.2.1\n" },
    { "nothing to do", MSG_DEPLOY, "{\"text\":\"web@0.2.2 runs already, 2 of 2\"}",
      "web@0.2.2 runs already, 2 of 2\n" },
    // clang-format on
};

static void print(struct output *o, enum msg_type type, const void *m)
{
    switch (type) {
    case MSG_DEPLOY:
        o->ops->operation(o, m);
        break;
    case MSG_HISTORY:
        o->ops->history(o, m);
        break;
    case MSG_HUB_STATUS:
        o->ops->hub_status(o, m);
        break;
    case MSG_LIST:
        o->ops->list(o, m);
        break;
    case MSG_PS:
        o->ops->ps(o, m);
        break;
    case MSG_ROUTERS:
        o->ops->routers(o, m);
        break;
    case MSG_SERVERS:
        o->ops->servers(o, m);
        break;
    case MSG_STATUS:
        o->ops->status(o, m);
        break;
    case MSG_TOKEN_LIST:
        o->ops->tokens(o, m);
        break;
    case MSG_VERSION:
        o->ops->version(o, m);
        break;
    default:
        fail();
    }
}

static void *read_answer(size_t i)
{
    const struct schema *schema = msg_by_type(rows[i].type)->answer;
    struct error err = { 0 };
    void *m = xcalloc(1, schema->size);
    if (schema_read(schema, rows[i].answer, strlen(rows[i].answer), m, &err) < 0)
        fail_msg("%s: %s", rows[i].name, err.text);
    return m;
}

static void free_answer(size_t i, void *m)
{
    schema_clear(msg_by_type(rows[i].type)->answer, m);
    free(m);
}

static struct output new_output(const struct output_ops *ops)
{
    return (struct output){ .ops = ops, .style = { .utf8 = true }, .now = { NOW_US } };
}

static void text_for_people(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct output o = new_output(&output_text);
        void *m = read_answer(i);
        print(&o, rows[i].type, m);
        if (strcmp(strbuf_str(&o.text), rows[i].expected) != 0)
            fail_msg("%s: got\n%sexpected\n%s", rows[i].name, strbuf_str(&o.text), rows[i].expected);
        free_answer(i, m);
        strbuf_done(&o.text);
    }
}

/* What --json prints, read again by the same table, is what came. */
static void json_is_the_answer(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i].type == MSG_VERSION)
            continue; /* two objects: below */
        const struct schema *schema = msg_by_type(rows[i].type)->answer;
        struct output o = new_output(&output_json);
        void *m = read_answer(i), *again = xcalloc(1, schema->size);
        print(&o, rows[i].type, m);
        assert_int_equal(o.text.data[o.text.len - 1], '\n');
        assert_null(memchr(o.text.data, '\n', o.text.len - 1));
        assert_int_equal(schema_read(schema, o.text.data, o.text.len - 1, again, NULL), 0);
        if (!schema_equal(schema, m, again))
            fail_msg("%s: %s", rows[i].name, strbuf_str(&o.text));
        schema_clear(schema, again);
        free(again);
        free_answer(i, m);
        strbuf_done(&o.text);
    }
}

static void colour_only_where_it_is_wanted(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct output plain = new_output(&output_text), colored = new_output(&output_text);
        colored.style.color = true;
        void *m = read_answer(i);
        print(&plain, rows[i].type, m);
        print(&colored, rows[i].type, m);
        assert_null(strchr(strbuf_str(&plain.text), '\033'));
        /* Without its escapes the coloured one is the plain one. */
        struct strbuf stripped = STRBUF_INIT;
        for (const char *s = strbuf_str(&colored.text); *s; s++) {
            if (*s == '\033')
                s += strcspn(s, "m");
            else
                strbuf_addc(&stripped, *s);
        }
        assert_string_equal(strbuf_str(&stripped), strbuf_str(&plain.text));
        strbuf_done(&stripped);
        strbuf_done(&plain.text);
        strbuf_done(&colored.text);
        free_answer(i, m);
    }
}

static void log_lines_cannot_move_the_cursor(void **state)
{
    struct log_line line = { .at_us = NOW_US,
        .host = (char[]){ "app1" },
        .service = (char[]){ "web" },
        .version = (char[]){ "0.2.2" },
        .instance = (char[]){ "3f9a12c0" },
        .text = (char[]){ "x\033[1A\r\nfake | line\xff" } };
    struct msg_stream_lines m = { .lines = &line, .n_lines = 1 };
    struct output o = new_output(&output_text);
    o.ops->log_lines(&o, &m);
    assert_string_equal(
        strbuf_str(&o.text), "09:45:00 app1 web@0.2.2 3f9a12c0 | x\\x1b[1A\\x0d\\x0afake | line\\xff\n");
    strbuf_done(&o.text);
}

static void a_token_alone_off_a_terminal(void **state)
{
    struct msg_token m = { .id = (char[]){ "0a1b2c3d" },
        .token = (char[]){ "sc1.aa.bb" },
        .role = ROLE_DRONE,
        .uses_left = 2,
        .expires_us = NOW_US + 60 * MIN_US };
    struct output o = new_output(&output_text);
    o.hub = "hub1:7000";
    o.ops->token(&o, &m);
    assert_string_equal(strbuf_str(&o.text), "sc1.aa.bb\n");
    strbuf_clear(&o.text);
    o.style.terminal = true;
    o.ops->token(&o, &m);
    assert_string_equal(strbuf_str(&o.text),
        "sc1.aa.bb   role drone, 2 uses, 1 h\n"
        "  On each host:  sudo stagecoachctl join hub1:7000 --token-file=-   (paste the token)\n");
    strbuf_done(&o.text);
}

static void moments_and_sizes(void **state)
{
    static const struct {
        char *(*fn)(int64_t, char *);
        int64_t value;
        const char *expected;
    } plain[] = {
        // clang-format off
        { moment_elapsed, 6,                 "6 ms" },
        { moment_elapsed, 100,               "0.1s" },
        { moment_elapsed, 4390,              "4.3s" },
        { moment_elapsed, 65000,             "1m05s" },
        { moment_day,     NOW_US,            "21 Nov 2026" },
        { moment_stamp,   NOW_US,            "2026-11-21 09:45:00" },
        { size_text,      0,                 "0 B" },
        { size_text,      1023,              "1023 B" },
        { size_text,      6246,              "6.1 KB" },
        { size_text,      50331648,          "48 MB" },
        { size_text,      INT64_MAX,         "8.0 EB" },
        // clang-format on
    };
    static const struct {
        int64_t before_us;
        const char *expected;
    } ago[] = { { 0, "now" }, { 4 * CLOCK_US_PER_S, "now" }, { 30 * CLOCK_US_PER_S, "30 s ago" },
        { 4 * MIN_US, "4 min ago" }, { 120 * MIN_US, "2 h ago" }, { DAY_US, "1 day ago" },
        { 41 * DAY_US, "41 days ago" }, { -5 * MIN_US, "now" } };
    char buf[MOMENT_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        assert_string_equal(plain[i].fn(plain[i].value, buf), plain[i].expected);
    for (size_t i = 0; i < ARRAY_SIZE(ago); i++)
        assert_string_equal(moment_ago(NOW_US - ago[i].before_us, (wall_t){ NOW_US }, buf), ago[i].expected);
    assert_string_equal(moment_clock(NOW_US - DAY_US, (wall_t){ NOW_US }, buf), "20 Nov 09:45");
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_for_people),
        cmocka_unit_test(json_is_the_answer),
        cmocka_unit_test(colour_only_where_it_is_wanted),
        cmocka_unit_test(log_lines_cannot_move_the_cursor),
        cmocka_unit_test(a_token_alone_off_a_terminal),
        cmocka_unit_test(moments_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
