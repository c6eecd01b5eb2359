/* SPDX-License-Identifier: MIT */
#include "common/table.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

/* Single quotes stand for double ones, for the sake of the eye. */
static char *json(const char *text)
{
    char *copy = xstrdup(text);

    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    return copy;
}

struct refusal_case {
    const char *name, *text, *error;
};

#define C40             "0123456789abcdef0123456789abcdef01234567"
#define TABLE(services) "{'format':1,'services':[" services "]}"
#define WEB(releases)   TABLE("{'name':'web','releases':[" releases "]}")
#define A               "'endpoints':[{'address':'10.0.0.1:80'}]"

/* clang-format off */
static const struct refusal_case refusals[] = {
    { "not JSON",        "{'format':1",               "line 1: table: is not JSON" },
    { "no format",       "{}",                        "table.format: is missing" },
    { "later format",    "{'format':2}",              "line 1: table.format: must be 1, not 2" },
    { "format as text",  "{'format':'1'}",            "table.format: must be 1, not \"1\"" },
    { "unknown key",     "{'format':1,\n'rules':[]}", "line 2: table.rules: is not known here" },
    { "unknown key in a release", WEB("{'version':'1.0.0','wieght':1}"),
      "table.services[0].releases[0].wieght: is not known here, did you mean \"weight\"?" },
    { "unknown key in an endpoint", WEB("{'version':'1.0.0','endpoints':[{'address':'10.0.0.1:80','backup':true}]}"),
      "table.services[0].releases[0].endpoints[0].backup: is not known here" },
    { "bad service name", TABLE("{'name':'We'}"),     
      "table.services[0].name: must be the name of a service (lower-case letters, digits, single dashes, at most 41), not \"We\"" },
    { "bad version",     WEB("{'version':'1'}"),      "releases[0].version: must be a version such as 1.2.3, not \"1\"" },
    { "bad commit",      WEB("{'version':'1.0.0','commit':'abc'}"), "commit: must be a commit: 40 hex digits" },
    { "bad address",     WEB("{'version':'1.0.0','endpoints':[{'address':'localhost:80'}]}"),
      "address: must be IPv4:port, [IPv6]:port or unix:/path, not \"localhost:80\"" },
    { "relative socket", WEB("{'version':'1.0.0','endpoints':[{'address':'unix:run/a'}]}"), "must be IPv4:port" },
    { "socket with dots", WEB("{'version':'1.0.0','endpoints':[{'address':'unix:/run/../a'}]}"), "must be IPv4:port" },
    { "bad id",          WEB("{'version':'1.0.0','endpoints':[{'id':'A','address':'10.0.0.1:80'}]}"),
      "id: must be 1 to 64 lower-case letters" },
    { "negative weight", WEB("{'version':'1.0.0','weight':-1}"), "weight: must be a whole number from 0 to 1000000, not -1" },
    { "range too far",   WEB("{'version':'1.0.0','ranges':[{'first':0,'last':4294967296}]}"),
      "last: must be a whole number from 0 to 4294967295, not 4294967296" },
    { "unknown key of health", TABLE("{'name':'web','health':{'path':'/h','uri':'/'}}"), "services[0].health.uri: is not known here" },
    { "probe path",      TABLE("{'name':'web','health':{'path':'healthz'}}"), "health.path: must be a path that begins with" },
    { "probe path with a blank", TABLE("{'name':'web','health':{'path':'/a b'}}"), "health.path: must be a path" },
    { "probe path with a line", TABLE("{'name':'web','health':{'path':'/a\\r\\nX: 1'}}"), "health.path: must be a path" },
    { "probe host",      TABLE("{'name':'web','health':{'path':'/','host':'a b'}}"), "health.host: must be a host name" },
    { "health without a path", TABLE("{'name':'web','health':{'interval_ms':1000}}"), "the health of web has no path to probe" },
    { "start without a path", TABLE("{'name':'web','health':{'start':'unhealthy'}}"), "the health of web has no path to probe" },
    { "no status",       TABLE("{'name':'web','health':{'path':'/','status_min':300,'status_max':299}}"),
      "the health of web takes no status at all (300 to 299)" },
    { "start",           TABLE("{'name':'web','health':{'path':'/','start':'warm'}}"), "health.start: must be one of healthy, unhealthy" },
    { "probes too often", TABLE("{'name':'web','health':{'path':'/','interval_ms':99}}"), "interval_ms: must be a whole number from 100 to 3600000, not 99" },
    { "retries",         TABLE("{'name':'web','limits':{'retries':3}}"), "limits.retries: must be a whole number from 0 to 2, not 3" },
    { "queue",           TABLE("{'name':'web','limits':{'queue':-1}}"), "limits.queue: must be a whole number from 0 to 100000, not -1" },
    { "ejected",         TABLE("{'name':'web','limits':{'max_ejected_percent':101}}"), "from 0 to 100, not 101" },
    { "unknown limit",   TABLE("{'name':'web','limits':{'rate':1}}"), "services[0].limits.rate: is not known here" },
    { "paused",          TABLE("{'name':'web','paused':1}"), "services[0].paused: must be true or false" },
    { "service twice",   TABLE("{'name':'web'},{'name':'web'}"), "the service web is there twice" },
    { "release twice",   WEB("{'version':'1.0.0'},{'version':'1.0.0'}"), "web@1.0.0 is there twice" },
    { "endpoint twice",  WEB("{'version':'1.0.0','endpoints':[{'address':'10.0.0.1:80'},{'address':'10.0.0.1:80'}]}"),
      "web@1.0.0 has the endpoint 10.0.0.1:80 twice" },
    { "id at two addresses", WEB("{'version':'1.0.0','endpoints':[{'id':'a','address':'10.0.0.1:80'}]},"
                                 "{'version':'1.0.1','endpoints':[{'id':'a','address':'10.0.0.2:80'}]}"),
      "the endpoint a has two addresses, 10.0.0.1:80 and 10.0.0.2:80" },
    { "overlap",         WEB("{'version':'1.0.0','ranges':[{'first':0,'last':9}]},"
                             "{'version':'1.0.1','ranges':[{'first':9,'last':4294967295}]}"),
      "ranges of web@1.0.0 and web@1.0.1 overlap (both have 9)" },
    { "gap",             WEB("{'version':'1.0.0','ranges':[{'first':0,'last':9}]},"
                             "{'version':'1.0.1','ranges':[{'first':11,'last':4294967295}]}"),
      "no release of web has the assignments from 10 to 10" },
    { "gap at the start", WEB("{'version':'1.0.0','ranges':[{'first':1,'last':4294967295}]}"),
      "no release of web has the assignments from 0 to 0" },
    { "gap at the end",  WEB("{'version':'1.0.0','ranges':[{'first':0,'last':4294967294}]}"),
      "no release of web has the assignments from 4294967295 on" },
    { "backwards",       WEB("{'version':'1.0.0','ranges':[{'first':9,'last':0}]}"), "ends before it begins (9 to 0)" },
    { "weights and ranges", WEB("{'version':'1.0.0','weight':1},{'version':'1.0.1','ranges':[{'first':0,'last':4294967295}]}"),
      "web has both weights and ranges" },
    { "route to nowhere", "{'format':1,'routes':[{'host':'a.b','path':'/x','service':'web'}]}",
      "the route a.b/x leads to the service web, which is not there" },
    { "line of a route", "{'format':1,\n'services':[{'name':'web'}],\n'routes':[{'host':'a.b','service':'web'},\n{'host':'a.b','service':'web'}]}",
      "line 4: table: the route a.b is there twice" },
    { "line of a rule", "{'format':1,\n'routes':[\n{'host':'a.b','path':'/a'}]}", "line 3: table: a.b/a: a route leads to one of" },
    { "line of a service", "{'format':1,\n'services':[{'name':'a'},\n\n{'name':'b','health':{'rise':1}}]}",
      "line 4: table: the health of b has no path to probe" },
    { "bad route host",  "{'format':1,'routes':[{'host':'A.b','service':'web'}]}", 
      "routes[0].host: must be a host name in lower case without a port, *.name or *, not \"A.b\"" },
    { "route host with a port", "{'format':1,'routes':[{'host':'a.b:80','service':'web'}]}", "host: must be a host name in lower case without a port" },
    { "route host in brackets", "{'format':1,'routes':[{'host':'[::1]','service':'web'}]}", "host: must be a host name in lower case" },
    { "bad route path",  "{'format':1,'routes':[{'host':'a.b','path':'/%2e','service':'web'}]}", "routes[0].path: must be" },
    { "route twice",     "{'format':1,'routes':[{'host':'a.b','path':'/x','service':'web'},{'host':'a.b','path':'/x/','service':'web'}],"
                         "'services':[{'name':'web'}]}", "the route a.b/x is there twice" },
    { "all-path route twice", "{'format':1,'routes':[{'host':'*','service':'web'},{'host':'*','path':'/','service':'web'}],"
                         "'services':[{'name':'web'}]}", "the route * is there twice" },
};
/* clang-format on */

static void refusals_name_what_is_wrong(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        const struct refusal_case *c = &refusals[i];
        char *text = json(c->text);
        struct error err = { 0 };
        struct table table, empty = { 0 };
        row_true(c->name, table_read(text, strlen(text), &table, &err) < 0);
        row_has(c->name, err.text, c->error);
        row_true(c->name, memcmp(&table, &empty, sizeof(table)) == 0);
        free(text);
    }
}

static void read_good(const char *text, struct table *ret)
{
    struct error err = { 0 };
    char *good = json(text);

    if (table_read(good, strlen(good), ret, &err) < 0)
        fail_msg("%s", err.text);
    free(good);
}

static void hand_written_tables_are_short(void **state)
{
    struct table t;

    read_good("{'format':1,'routes':[{'host':'*','service':'web'}],"
              "'services':[{'name':'web','releases':[{'version':'1.0.0'," A "}]}]}",
        &t);
    const struct table_release *release = &t.services[0].releases[0];
    assert_int_equal(release->n_ranges, 1);
    assert_int_equal(release->ranges[0].first, 0);
    assert_int_equal(release->ranges[0].last, UINT32_MAX);
    assert_string_equal(release->endpoints[0].id, "10.0.0.1:80");
    assert_true(t.services[0].pin_header && t.services[0].pin_cookie && t.services[0].pin_host);
    table_clear(&t);
}

/* The hub's table has a fleet: its release without ranges is one that shall have no traffic. */
static void a_release_of_the_hub_without_ranges_has_no_traffic(void **state)
{
    struct table t;

    read_good("{'format':1,'fleet':'f1','epoch':7,'services':[{'name':'web','pin_host':false,"
              "'releases':[{'version':'1.0.0','commit':'" C40 "'," A "}]}]}",
        &t);
    assert_int_equal(t.services[0].releases[0].n_ranges, 0);
    assert_false(t.services[0].pin_host);
    table_clear(&t);
}

static void addresses_of_every_kind(void **state)
{
    struct table t;

    read_good(WEB("{'version':'1.0.0','endpoints':[{'address':'[::1]:80'},{'address':'unix:/run/app.sock'},"
                  "{'id':'3f9a12c0','address':'10.0.0.1:80','draining':true,'max_in_flight':3}]},"
                  "{'version':'1.0.1','endpoints':[{'id':'3f9a12c0','address':'10.0.0.1:80'}]}"),
        &t);
    assert_int_equal(t.services[0].releases[0].n_endpoints, 3);
    assert_true(t.services[0].releases[0].endpoints[2].draining);
    table_clear(&t);
}

static void printed_tables_read_back_the_same(void **state)
{
    static const char *const tables[] = {
        "{'format':1}",
        "{'format':1,'fleet':'f1','epoch':118,'routes':[{'host':'*.a.b','path':'/"
        "x','service':'web'}],'services':["
        "{'name':'web','pin_cookie':false,'releases':[{'version':'1.0.0','weight':3," A "},"
        "{'version':'1.1.0-rc.1+g1','weight':1},{'version':'2.0.0'}]}]}",
        TABLE("{'name':'web','paused':true,'health':{'path':'/h?deep=1','host':'a.b:80','interval_ms':500,"
              "'timeout_ms':100,'rise':1,'fall':1,'status_min':204,'status_max':204,'start':'unhealthy'},"
              "'limits':{'max_in_flight':7,'queue':0,'queue_ms':0,'retries':0,'retry_percent':0,'eject_after'"
              ":0,"
              "'eject_errors':9,'outlier_percent':0,'outlier_requests':1,'max_ejected_percent':0,"
              "'slow_start_ms':30000}}"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
        struct error err = { 0 };
        struct table t, again;
        read_good(tables[i], &t);
        table_print(&t, &first);
        row_int(err.text, table_read(first.data, first.len, &again, &err), 0);
        table_print(&again, &second);
        assert_string_equal(strbuf_str(&first), strbuf_str(&second));
        table_clear(&t);
        table_clear(&again);
        strbuf_done(&first);
        strbuf_done(&second);
    }
}

/* A router of an earlier version takes the table of whoever asks for nothing new. */
static void what_is_not_said_is_not_printed(void **state)
{
    struct strbuf out = STRBUF_INIT;
    struct table t;

    read_good(TABLE("{'name':'web','health':{},'limits':{'retries':2,'queue':1000},'paused':false}"), &t);
    assert_int_equal(t.services[0].limits.max_ejected_percent, 50);
    assert_int_equal(t.services[0].limits.queue_ms, -1);
    assert_int_equal(t.services[0].health.interval_ms, 2000);
    table_print(&t, &out);
    assert_null(strstr(out.data, "health"));
    assert_null(strstr(out.data, "limits"));
    assert_null(strstr(out.data, "paused"));
    table_clear(&t);
    strbuf_done(&out);
}

struct weight_case {
    const char *name;
    int64_t weights[4]; /* -1 at the end: absent */
    int64_t widths[4];
};

#define ALL (INT64_C(1) << 32)

static const struct weight_case weight_cases[] = {
    { "one", { 1, -1, -1, -1 }, { ALL, 0, 0, 0 } },
    { "none", { -1, -1, -1, -1 }, { 0, 0, 0, 0 } },
    { "only zeros", { 0, 0, -1, -1 }, { 0, 0, 0, 0 } },
    { "halves", { 1, 1, -1, -1 }, { ALL / 2, ALL / 2, 0, 0 } },
    { "thirds: the first takes the odd one", { 1, 1, 1, -1 }, { 1431655766, 1431655765, 1431655765, 0 } },
    { "sevenths", { 1, 2, 4, -1 }, { 613566757, 1227133513, 2454267026, 0 } },
    { "a zero between", { 1, 0, 1, -1 }, { ALL / 2, 0, ALL / 2, 0 } },
    { "an absent one first", { -1, 0, 0, 5 }, { 0, 0, 0, ALL } },
    { "one against many", { 1000000, 1, -1, -1 }, { 4294963001, 4295, 0, 0 } },
};

static void weights_become_ranges(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(weight_cases); i++) {
        const struct weight_case *c = &weight_cases[i];
        struct table_release releases[4] = { 0 };
        struct table_service service = { .releases = releases, .n_releases = 4 };
        int64_t next = 0;
        for (int k = 0; k < 4; k++)
            releases[k].weight = c->weights[k];
        table_ranges_from_weights(&service);
        for (int k = 0; k < 4; k++) {
            row_int(c->name, releases[k].n_ranges, c->widths[k] > 0);
            row_int(c->name, releases[k].weight, -1);
            if (c->widths[k] == 0)
                continue;
            row_int(c->name, releases[k].ranges[0].first, next);
            row_int(c->name, releases[k].ranges[0].last, next + c->widths[k] - 1);
            next += c->widths[k];
            free(releases[k].ranges);
        }
        row_true(c->name, next == 0 || next == ALL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_what_is_wrong),
        cmocka_unit_test(hand_written_tables_are_short),
        cmocka_unit_test(a_release_of_the_hub_without_ranges_has_no_traffic),
        cmocka_unit_test(addresses_of_every_kind),
        cmocka_unit_test(printed_tables_read_back_the_same),
        cmocka_unit_test(what_is_not_said_is_not_printed),
        cmocka_unit_test(weights_become_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
