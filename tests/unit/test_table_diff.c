/* SPDX-License-Identifier: MIT */
#include "common/table_diff.h"

#include "tests/unit/rows.h"

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"

/* Tables that change at random: a table and the diff to the next one are the next one. */

#define STEPS    300
#define HOSTS    40
#define SERVICES 25
#define FLEET    "f1"

static uint64_t seed = 7;

static unsigned chance(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % n;
}

/* What a random table is made of: which rows are there, and what they say. */
struct world {
    int service[SERVICES]; /* 0: not there, else its version */
    int route[HOSTS][2];   /* by path; 0: not there, else 1 + service; rules by `rule` */
    int rule[HOSTS][2];
};

static void step(struct world *w)
{
    for (unsigned i = chance(4) + 1; i > 0; i--) {
        unsigned s = chance(SERVICES), h = chance(HOSTS), p = chance(2);
        if (chance(3) == 0)
            w->service[s] = chance(4) == 0 ? 0 : (int)chance(5) + 1;
        w->route[h][p] = chance(3) == 0 ? 0 : (int)chance(SERVICES) + 1;
        w->rule[h][p] = (int)chance(3);
    }
    /* What a route leads to is there. */
    for (int h = 0; h < HOSTS; h++)
        for (int p = 0; p < 2; p++)
            if (w->route[h][p] > 0 && w->service[w->route[h][p] - 1] == 0)
                w->route[h][p] = 0;
}

static void print_world(const struct world *w, int64_t epoch, struct strbuf *out)
{
    static const char *const rules[] = { "", ",\"https\":true",
        ",\"answer_headers\":[{\"set\":\"X-A\",\"value\":\"$version\"}]" };
    const char *comma = "";
    strbuf_addf(out, "{\"format\":1,\"fleet\":\"" FLEET "\",\"epoch\":%lld,\"routes\":[", (long long)epoch);
    for (int h = 0; h < HOSTS; h++)
        for (int p = 0; p < 2; p++) {
            if (w->route[h][p] == 0)
                continue;
            strbuf_addf(out, "%s{\"host\":\"h%d.example\",\"path\":\"%s\",\"service\":\"s%d\"%s}", comma, h,
                p ? "/x/" : "/", w->route[h][p] - 1, rules[w->rule[h][p]]);
            comma = ",";
        }
    strbuf_adds(out, "],\"services\":[");
    comma = "";
    for (int s = 0; s < SERVICES; s++) {
        if (w->service[s] == 0)
            continue;
        strbuf_addf(out,
            "%s{\"name\":\"s%d\",\"releases\":[{\"version\":\"1.0.%d\",\"ranges\":[{\"first\":0,\"last\":"
            "4294967295}],"
            "\"endpoints\":[{\"address\":\"10.0.0.%d:80\"}]}]}",
            comma, s, w->service[s], s + 1);
        comma = ",";
    }
    strbuf_adds(out, "]}");
}

static void read_world(const struct world *w, int64_t epoch, struct table *ret)
{
    struct strbuf text = STRBUF_INIT;
    struct error err;
    print_world(w, epoch, &text);
    if (table_read(text.data, text.len, ret, &err) < 0)
        fail_msg("%s", err.text);
    table_sum_rows(ret);
    strbuf_done(&text);
}

static int by_host_and_path(const void *a, const void *b)
{
    const struct table_route *x = a, *y = b;
    int r = strcmp(x->host, y->host);
    return r != 0 ? r : strcmp(x->path, y->path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct table_service *)a)->name, ((const struct table_service *)b)->name);
}

/* Rows may stand in another order. */
static void assert_same(struct table *a, struct table *b)
{
    struct table *both[] = { a, b };
    for (int i = 0; i < 2; i++) {
        if (both[i]->n_routes > 0)
            qsort(both[i]->routes, both[i]->n_routes, sizeof(*a->routes), by_host_and_path);
        if (both[i]->n_services > 0)
            qsort(both[i]->services, both[i]->n_services, sizeof(*a->services), by_name);
    }
    assert_true(schema_equal(&table_schema, a, b));
    assert_true(table_sum_is_equal(&a->sum, &b->sum));
}

/* Makes a diff, sends it as text, applies it; then back and forth again. */
static void base_and_diff_are_the_next_table(void **state)
{
    struct world world = { { 0 }, { { 0 } }, { { 0 } } };
    struct table table;
    read_world(&world, 1, &table);
    for (int64_t epoch = 2; epoch < STEPS; epoch++) {
        struct strbuf text = STRBUF_INIT;
        struct table before, next;
        struct table_diff diff;
        struct error err;
        read_world(&world, epoch - 1, &before);
        step(&world);
        read_world(&world, epoch, &next);
        table_diff_make(&table, &next, &diff);
        table_diff_print(&diff, &text);
        table_diff_clear(&diff);
        if (table_diff_read(text.data, text.len, &diff, &err) < 0 ||
            table_diff_apply(&table, &diff, &err) < 0)
            fail_msg("%s", err.text);
        assert_same(&table, &next);
        if (chance(2)) {
            if (table_diff_apply(&table, &diff, &err) < 0)
                fail_msg("%s", err.text);
            assert_same(&table, &before);
            if (table_diff_apply(&table, &diff, &err) < 0)
                fail_msg("%s", err.text);
            assert_same(&table, &next);
        }
        table_diff_clear(&diff);
        table_clear(&before);
        table_clear(&next);
        strbuf_done(&text);
    }
    table_clear(&table);
}

static void nothing_changed_is_an_empty_diff(void **state)
{
    struct world world = { { 0 }, { { 0 } }, { { 0 } } };
    struct table a, b;
    struct table_diff diff;
    for (int i = 0; i < 20; i++)
        step(&world);
    read_world(&world, 1, &a);
    read_world(&world, 2, &b);
    table_diff_make(&a, &b, &diff);
    assert_int_equal(table_diff_size(&diff), 0);
    table_diff_clear(&diff);
    table_clear(&a);
    table_clear(&b);
}

/* clang-format off */
#define SUM "0123456789abcdef0123456789abcdef"
#define DIFF(rest) "{'format':1,'fleet':'f1','base':1,'epoch':2,'sum':'" SUM "'" rest "}"
static const struct { const char *name, *text, *error; } refusals[] = {
    { "unknown key", DIFF(",'rules':[]"), "diff.rules: is not known here" },
    { "no sum", "{'format':1,'base':1,'epoch':2}", "diff.sum: is missing" },
    { "bad sum", "{'format':1,'base':1,'epoch':2,'sum':'12'}", "diff.sum: must be 32 hex digits" },
    { "bad row", DIFF(",'routes':[{'host':'A','service':'web'}]"), "diff.routes[0].host: must be a host name" },
    { "bad rule", DIFF(",'routes':[{'host':'a','service':'web','strip_prefix':true}]"), "there is no path to strip" },
    { "bad service", DIFF(",'services':[{'name':'web','releases':[{'version':'1.0.0','weight':1,'ranges':[{'first':0,'last':1}]}]}]"),
      "web has both weights and ranges" },
    { "a service twice", DIFF(",'services':[{'name':'web'},{'name':'web'}]"), "the service web is there twice" },
    { "another base", "{'format':1,'fleet':'f1','base':3,'epoch':4,'sum':'" SUM "'}", "changes epoch 3, and this is 1" },
    { "another fleet", "{'format':1,'fleet':'f2','base':1,'epoch':2,'sum':'" SUM "'}", "for another fleet" },
    { "removes nothing", DIFF(",'routes_removed':['a.b/x']"), "no route a.b/x to remove" },
    { "removes no service", DIFF(",'services_removed':['web']"), "no service web to remove" },
    { "a route twice", DIFF(",'routes':[{'host':'a','service':'s'},{'host':'a','path':'/','service':'s'}]"), "names the route a twice" },
    { "another sum", DIFF(",'services':[{'name':'web'}]"), "not what the hub has" },
};
/* clang-format on */

static void refused_diffs_change_nothing(void **state)
{
    struct world world = { { 0 }, { { 0 } }, { { 0 } } };
    struct table table, same;
    for (int i = 0; i < 20; i++)
        step(&world);
    read_world(&world, 1, &table);
    read_world(&world, 1, &same);
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        char *text = xstrdup(refusals[i].text);
        struct table_diff diff;
        struct error err = { 0 };
        for (char *p = text; *p; p++)
            *p = *p == '\'' ? '"' : *p;
        int r = table_diff_read(text, strlen(text), &diff, &err);
        if (r == 0) {
            r = table_diff_apply(&table, &diff, &err);
            table_diff_clear(&diff);
        }
        row_true(refusals[i].name, r < 0);
        row_has(refusals[i].name, err.text, refusals[i].error);
        assert_same(&table, &same);
        free(text);
    }
    table_clear(&table);
    table_clear(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_and_diff_are_the_next_table),
        cmocka_unit_test(nothing_changed_is_an_empty_diff),
        cmocka_unit_test(refused_diffs_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
