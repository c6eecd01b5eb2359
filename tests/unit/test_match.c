/* SPDX-License-Identifier: MIT */
#include "routerd/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/table_diff.h"
#include "routerd/match_policy.h"

/* A compiled table against its text: which service, which release. */

struct slots {
    uint32_t next;
};

static uint32_t next_slot(void *arg, const char *release, const struct table_service *service,
    const struct table_endpoint *endpoint)
{
    return ((struct slots *)arg)->next++;
}

static struct match_table *build(const char *text)
{
    struct table table;
    struct match_table *ret = NULL;
    struct slots slots = { 0 };
    struct match_slot_ops ops = { next_slot, &slots };
    struct error err = { 0 };
    if (table_read(text, strlen(text), &table, &err) < 0 || match_build(&table, NULL, &ops, &ret, &err) < 0)
        fail_msg("%s", err.text);
    table_clear(&table);
    return ret;
}

static struct http1_slice slice(const char *s)
{
    return (struct http1_slice){ s, strlen(s) };
}

#define RELEASE(version) \
    "{\"version\":\"" version "\",\"weight\":1,\"endpoints\":[{\"address\":\"10.0.0.1:80\"}]}"
#define SERVICE(name) "{\"name\":\"" name "\",\"releases\":[{\"version\":\"1.0.0\",\"weight\":1}]}"

static const char routes[] = "{\"format\":1,\"routes\":["
                             "{\"host\":\"a.b\",\"service\":\"root\"},"
                             "{\"host\":\"a.b\",\"path\":\"/x\",\"service\":\"x\"},"
                             "{\"host\":\"a.b\",\"path\":\"/x/y/z\",\"service\":\"xyz\"},"
                             "{\"host\":\"c.b\",\"path\":\"/only\",\"service\":\"only\"},"
                             "{\"host\":\"*.b\",\"service\":\"wild\"},"
                             "{\"host\":\"*.w.b\",\"path\":\"/p\",\"service\":\"deep\"},"
                             "{\"host\":\"*\",\"path\":\"/.well-known\",\"service\":\"acme\"}],"
                             "\"services\":[" SERVICE("root") "," SERVICE("x") "," SERVICE("xyz") "," SERVICE(
                                 "only") "," SERVICE("wild") "," SERVICE("deep") "," SERVICE("acme") "]}";

static void the_most_specific_route_wins(void **state)
{
    static const struct {
        const char *host, *path, *service;
    } rows[] = {
        { "a.b", "/", "root" },
        { "A.B", "/q", "root" },
        { "a.b.", "/", "root" },
        { "a.b", "/x", "x" },
        { "a.b", "/x/", "x" },
        { "a.b", "/xx", "root" },
        { "a.b", "/x/y", "x" },
        { "a.b", "/x/y/z", "xyz" },
        { "a.b", "/x/y/z/and/more/than/there/is", "xyz" },
        { "a.b", "/x/y/zz", "x" },
        { "a.b", "/X", "root" },
        { "a.b", "//x", "root" },
        { "a.b", "*", "root" },
        { "c.b", "/only/this", "only" },
        { "c.b", "/else", "wild" },
        { "d.b", "/", "wild" },
        { "x.w.b", "/p/q", "deep" },
        { "x.w.b", "/q", "wild" },
        { "x.y.w.b", "/p", "deep" },
        { "w.b", "/p", "wild" },
        { "b", "/", NULL },
        { "z", "/", NULL },
        { "z", "/.well-known/acme-challenge/x", "acme" },
        { "", "/.well-known/x", "acme" },
        { "", "/", NULL },
        { ".", "/", NULL },
        { "[::1]", "/", NULL },
    };
    struct match_table *t = build(routes);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct match_route r = match_route(t, slice(rows[i].host), slice(rows[i].path));
        const char *got = r.service ? r.service->name : NULL;
        if ((got == NULL) != (rows[i].service == NULL) || (got && strcmp(got, rows[i].service) != 0))
            fail_msg("%s%s: %s, not %s", rows[i].host, rows[i].path, got ? got : "none",
                rows[i].service ? rows[i].service : "none");
    }
    match_free(t);
}

static const char releases[] =
    "{\"format\":1,\"routes\":[],\"services\":[{\"name\":\"web\",\"releases\":["
    "{\"version\":\"0.2.2\",\"commit\":\"35819ef700000000000000000000000000000000\",\"weight\":0},"
    "{\"version\":\"0.2.2+g3581a001\",\"commit\":\"3581a00100000000000000000000000000000000\",\"weight\":0},"
    "{\"version\":\"1.0.0-rc.1\",\"weight\":1}]},"
    "{\"name\":\"shy\",\"pin_host\":false,\"releases\":[{\"version\":\"0.2.2\",\"weight\":1}]}]}";

static void releases_are_found_by_version_and_commit(void **state)
{
    static const struct {
        const char *pin, *version;
    } rows[] = {
        { "0.2.2", "0.2.2" },
        { "0.2.2+g3581a001", "0.2.2+g3581a001" },
        { "1.0.0-rc.1", "1.0.0-rc.1" },
        { "0.2.3", NULL },
        { "0.2", NULL },
        { "", NULL },
        { "g35819ef7", "0.2.2" },
        { "g35819", "0.2.2" },
        { "g3581a", "0.2.2+g3581a001" },
        { "g3581", NULL }, /* two */
        { "g358", NULL },  /* too short */
        { "g", NULL },
        { "g9999", NULL },
        { "g35819ef700000000000000000000000000000000", "0.2.2" },
        { "g35819ef7000000000000000000000000000000000", NULL },
        { "35819ef7", NULL },
    };
    struct match_table *t = build(releases);
    const struct match_service *web = match_find_service(t, "web", 3);
    assert_non_null(web);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct match_release *r = match_find_release(web, slice(rows[i].pin));
        if ((r == NULL) != (rows[i].version == NULL) || (r && strcmp(r->version, rows[i].version) != 0))
            fail_msg("%s: %s", rows[i].pin, r ? r->version : "none");
    }
    match_free(t);
}

static void hosts_name_versions(void **state)
{
    static const struct {
        const char *host, *release; /* "": the host is one, but no such release; NULL: it is none */
    } rows[] = {
        { "0-2-2.web", "0.2.2" },
        { "0-2-2.web.example.com", "0.2.2" },
        { "0-2-2.WEB.example.com", "0.2.2" },
        { "g35819ef7.web.x", "0.2.2" },
        { "9-9-9.web.x", "" },
        { "g9999.web.x", "" },
        { "0-2.web.x", NULL },
        { "0-2-2-1.web.x", NULL },
        { "-2-2.web.x", NULL },
        { "0--2.web.x", NULL },
        { "0-2-.web.x", NULL },
        { "good.web.x", NULL },
        { "web.x", NULL },
        { "0-2-2.shy.x", NULL },
        { "0-2-2.nobody.x", NULL },
        { "0-2-2", NULL },
        { "0-2-2.", NULL },
    };
    struct match_table *t = build(releases);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct match_route r = match_route(t, slice(rows[i].host), slice("/"));
        const char *got = r.release ? r.release->version : r.pinned_by_host ? "" : NULL;
        if ((got == NULL) != (rows[i].release == NULL) || (got && strcmp(got, rows[i].release) != 0))
            fail_msg("%s: %s", rows[i].host, got ? got : "no version");
    }
    match_free(t);
}

/* A version host is no way around the rules of the service's routes. */
static void version_hosts_have_the_rules_of_the_service(void **state)
{
    static const struct {
        const char *name, *routes;
        bool there, rules;
    } rows[] = {
        { "no rules", "{\"host\":\"a.x\",\"service\":\"web\"}", true, false },
        { "the only route's", "{\"host\":\"a.x\",\"service\":\"web\",\"allow\":[\"10.0.0.0/8\"]}", true,
            true },
        { "the first route's",
            "{\"host\":\"a.x\",\"service\":\"web\",\"https\":true},{\"host\":\"b.x\",\"service\":\"web\"}",
            true, true },
        { "another one restricts",
            "{\"host\":\"a.x\",\"service\":\"web\"},"
            "{\"host\":\"a.x\",\"path\":\"/adm\",\"service\":\"web\",\"allow\":[\"10.0.0.0/8\"]}",
            false, false },
        { "a prefix it need not have",
            "{\"host\":\"a.x\",\"path\":\"/shop\",\"service\":\"web\",\"strip_prefix\":true}", false, false },
        { "no route", "{\"host\":\"a.x\",\"service\":\"other\",\"https\":true}", true, false },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *text = xasprintf("{\"format\":1,\"routes\":[%s],\"services\":[%s,%s]}", rows[i].routes,
            SERVICE("web"), SERVICE("other"));
        struct match_table *t = build(text);
        struct match_route r = match_route(t, slice("1-0-0.web.x"), slice("/"));
        if (r.pinned_by_host != rows[i].there || (r.rules != NULL) != rows[i].rules)
            fail_msg("%s: %s, %s", rows[i].name, r.pinned_by_host ? "there" : "not there",
                r.rules ? "rules" : "none");
        match_free(t);
        free(text);
    }
}

static void positions_fall_into_ranges(void **state)
{
    static const char text[] =
        "{\"format\":1,\"routes\":[],\"services\":[{\"name\":\"web\",\"releases\":["
        "{\"version\":\"1.0.0\",\"ranges\":[{\"first\":0,\"last\":99},{\"first\":200,\"last\":4294967295}]},"
        "{\"version\":\"2.0.0\",\"ranges\":[{\"first\":100,\"last\":199}]}]}]}";
    static const struct {
        uint32_t position;
        const char *version;
    } rows[] = { { 0, "1.0.0" }, { 99, "1.0.0" }, { 100, "2.0.0" }, { 199, "2.0.0" }, { 200, "1.0.0" },
        { UINT32_MAX, "1.0.0" } };
    struct match_table *t = build(text);
    const struct match_service *web = match_find_service(t, "web", 3);
    assert_int_equal(web->n_live, 2);
    assert_int_equal(web->only, MATCH_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(match_at(web, rows[i].position)->version, rows[i].version);
    match_free(t);
}

static void draining_endpoints_take_no_new_requests(void **state)
{
    static const char text[] =
        "{\"format\":1,\"routes\":[],\"services\":[{\"name\":\"web\",\"releases\":["
        "{\"version\":\"1.0.0\",\"weight\":1,\"endpoints\":["
        "{\"address\":\"10.0.0.1:80\",\"draining\":true},{\"address\":\"10.0.0.2:80\"}]}]}]}";
    struct match_table *t = build(text);
    const struct match_service *web = match_find_service(t, "web", 3);
    const struct match_release *r = &web->releases[0];
    assert_int_equal(web->n_slots, 2);
    assert_int_equal(r->slots->n, 1);
    assert_int_equal(match_slot(r->slots, 0), 1);
    match_free(t);
}

/* A table as a row of letters: services in order, each a letter and a digit (its version); then routes, each a letter
 * (host X.example leads to service x) and a digit: 1 has a rule. */
static struct table *small_table(const char *services, const char *route_letters)
{
    struct strbuf text = STRBUF_INIT;
    struct table *table = xcalloc(1, sizeof(*table));
    struct error err = { 0 };
    strbuf_adds(&text, "{\"format\":1,\"routes\":[");
    for (const char *p = route_letters; *p; p += 2)
        strbuf_addf(&text, "%s{\"host\":\"%c.example\",\"path\":\"/p\",\"service\":\"%c\"%s}",
            p == route_letters ? "" : ",", *p, *p, p[1] == '1' ? ",\"https\":true" : "");
    strbuf_adds(&text, "],\"services\":[");
    for (const char *p = services; *p; p += 2)
        strbuf_addf(&text, "%s{\"name\":\"%c\",\"releases\":[{\"version\":\"1.0.%c\",\"weight\":1}]}",
            p == services ? "" : ",", *p, p[1]);
    strbuf_adds(&text, "]}");
    if (table_read(text.data, text.len, table, &err) < 0)
        fail_msg("%s", err.text);
    table_sum_rows(table);
    strbuf_done(&text);
    return table;
}

static struct match_table *build_next(
    const char *services, const char *route_letters, struct match_table *before)
{
    struct slots slots = { 0 };
    struct match_slot_ops ops = { next_slot, &slots };
    struct table *table = small_table(services, route_letters);
    struct match_table *ret = NULL;
    struct error err = { 0 };
    if (match_build(table, before, &ops, &ret, &err) < 0)
        fail_msg("%s", err.text);
    table_clear(table);
    free(table);
    return ret;
}

static void what_did_not_change_is_shared(void **state)
{
    static const struct {
        const char *services, *routes;
        uint32_t n_shared;
    } steps[] = {
        { "a1b1c1", "a0b1c0", 0 },
        { "a1b2c1", "a0b1c0", 2 }, /* a version: the index of routes is taken over */
        { "a1b2c1", "a0b1c0", 3 },
        { "a1b2c1", "a0b1c1", 3 }, /* a rule */
        { "c1b2a1", "a0b1c1", 3 }, /* another order */
        { "c1b2", "b1c1", 2 },
        { "c1b2d1", "b1c1d0", 2 },
        { "c2b3d2", "b1c1d0", 0 },
        { "c2b3d2", "d0c1b1", 3 },
        { "c2b3d2", "b1c0", 3 },
        { "c2b4d2", "b1c0", 2 },
    };
    struct match_table *before = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct match_table *t = build_next(steps[i].services, steps[i].routes, before);
        if (t->n_services - t->n_fresh != steps[i].n_shared)
            fail_msg("step %zu: %u fresh", i, t->n_fresh);
        match_free(before);
        before = t;
        for (char host = 'a'; host <= 'd'; host++) {
            char name[] = { host, '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0 };
            struct match_route r = match_route(t, slice(name), slice("/p/q"));
            const char *route = strchr(steps[i].routes, host), *service = strchr(steps[i].services, host);
            if (!route) {
                assert_null(r.service);
                continue;
            }
            assert_int_equal(r.service->name[0], host);
            assert_int_equal(r.service->releases[0].version[4], service[1]);
            assert_int_equal(r.rules != NULL, route[1] == '1');
        }
    }
    match_free(before);
}

/* Nothing is lost among many. */
static void ten_thousand_routes_are_all_found(void **state)
{
    enum { N = 10000 };
    struct strbuf text = STRBUF_INIT;
    strbuf_adds(&text, "{\"format\":1,\"routes\":[");
    for (int i = 0; i < N; i++)
        strbuf_addf(&text, "%s{\"host\":\"h%d.example\",\"path\":\"/p%d\",\"service\":\"s%d\"}", i ? "," : "",
            i, i % 7, i % 100);
    strbuf_adds(&text, "],\"services\":[");
    for (int i = 0; i < 100; i++)
        strbuf_addf(&text, "%s{\"name\":\"s%d\",\"releases\":[{\"version\":\"1.0.0\",\"weight\":1}]}",
            i ? "," : "", i);
    strbuf_adds(&text, "]}");
    struct match_table *t = build(strbuf_str(&text));
    for (int i = 0; i < N; i++) {
        char host[32], path[32], service[32];
        snprintf(host, sizeof(host), "H%d.example", i);
        snprintf(path, sizeof(path), "/p%d/x", i % 7);
        snprintf(service, sizeof(service), "s%d", i % 100);
        struct match_route r = match_route(t, slice(host), slice(path));
        assert_non_null(r.service);
        assert_string_equal(r.service->name, service);
    }
    match_free(t);
    strbuf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_route_wins),
        cmocka_unit_test(releases_are_found_by_version_and_commit),
        cmocka_unit_test(hosts_name_versions),
        cmocka_unit_test(version_hosts_have_the_rules_of_the_service),
        cmocka_unit_test(positions_fall_into_ranges),
        cmocka_unit_test(draining_endpoints_take_no_new_requests),
        cmocka_unit_test(what_did_not_change_is_shared),
        cmocka_unit_test(ten_thousand_routes_are_all_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
