/* SPDX-License-Identifier: MIT */
#include "common/table.h"

#include "tests/unit/rows.h"

#include "common/mem.h"
#include "common/strbuf.h"

/* The rules of a route: which are refused, and that those that are not are written back the same. Single quotes stand
 * for double ones, for the sake of the eye. */

/* clang-format off */
static const struct { const char *name, *rules, *error; } refusals[] = {
    { "unknown key",          "'service':'web','gzip':true", "table.routes[0].gzip: is not known here" },
    { "to none",              "'path':'/a'", "a.b/a: a route leads to one of service, redirect and files, not to none" },
    { "to several",           "'service':'web','files':'/srv'", "not to several" },
    { "to two of our own",    "'redirect':{'to':'/x'},'files':'/srv'", "not to several" },
    { "two actions",          "'service':'web','request_headers':[{'set':'A','add':'B','value':'1'}]",
      "each of request_headers must have one of set, add and remove" },
    { "no action",            "'service':'web','answer_headers':[{'value':'1'}]", "each of answer_headers must have one of" },
    { "value of nothing",     "'service':'web','answer_headers':[{'remove':'A','value':'1'}]", "(A) has no value" },
    { "no value",             "'service':'web','request_headers':[{'set':'A'}]", "the field A has no value" },
    { "bad name",             "'service':'web','request_headers':[{'set':'A B','value':'1'}]", "set: must be the name of a field" },
    { "line end in a value",  "'service':'web','request_headers':[{'set':'A','value':'1\\r\\nB: 2'}]", "value: must be what a field may hold" },
    { "framing",              "'service':'web','request_headers':[{'set':'content-LENGTH','value':'1'}]", "content-LENGTH is the router's own" },
    { "framing in disguise",  "'service':'web','answer_headers':[{'remove':'Transfer_Encoding'}]", "Transfer_Encoding is the router's own" },
    { "hop",                  "'service':'web','answer_headers':[{'add':'Connection','value':'close'}]", "Connection is the router's own" },
    { "host",                 "'service':'web','request_headers':[{'set':'Host','value':'x'}]", "Host is the router's own" },
    { "forwarding",           "'service':'web','request_headers':[{'remove':'X-Forwarded-For'}]", "X-Forwarded-For is the router's own" },
    { "unknown placeholder",  "'service':'web','request_headers':[{'set':'A','value':'$peer'}]", "\"$peer\" is no placeholder" },
    { "lonely dollar",        "'service':'web','request_headers':[{'set':'A','value':'5 $'}]", "\"$\" is no placeholder" },
    { "client in an answer",  "'service':'web','answer_headers':[{'set':'A','value':'$client'}]", "A can't hold $client" },
    { "uri in a request",     "'service':'web','request_headers':[{'set':'A','value':'$uri'}]", "A can't hold $uri" },
    { "strip and rewrite",    "'path':'/a','service':'web','strip_prefix':true,'rewrite_prefix':'/b'", "exclude each other" },
    { "nothing to strip",     "'service':'web','strip_prefix':true", "there is no path to strip" },
    { "rewrite with dots",    "'path':'/a','service':'web','rewrite_prefix':'/b/../c'", "rewrite_prefix: must be a path" },
    { "redirect to nowhere",  "'service':'web','redirect':{'status':301}", "table.routes[0].redirect.to: is missing" },
    { "redirect of nothing",  "'service':'web','redirect':{}", "table.routes[0].redirect.to: is missing" },
    { "redirect to nothing",  "'redirect':{'to':''}", "redirect.to must be https://HOST…, http://HOST… or /PATH, not \"\"" },
    { "redirect status",      "'redirect':{'to':'/x','status':304}", "redirect.status must be 301, 302, 303, 307 or 308, not 304" },
    { "redirect status below", "'redirect':{'to':'/x','status':300}", "redirect.status: must be 301, 302, 303, 307 or 308, not 300" },
    { "redirect status above", "'redirect':{'to':'/x','status':309}", "redirect.status: must be 301, 302, 303, 307 or 308, not 309" },
    { "redirect status as text", "'redirect':{'to':'/x','status':'301'}", "redirect.status: must be 301, 302, 303, 307 or 308, not \"301\"" },
    { "redirect to a word",   "'redirect':{'to':'example.com'}", "redirect.to must be https://HOST…, http://HOST… or /PATH, not \"example.com\"" },
    { "redirect to any host", "'redirect':{'to':'/$path'}", "redirect.to must be" },
    { "redirect to a host",   "'redirect':{'to':'//evil.example'}", "redirect.to must be" },
    { "redirect by the path", "'redirect':{'to':'https://$path'}", "redirect.to must be" },
    { "redirect host glued",  "'redirect':{'to':'https://$hostile'}", "redirect.to must be" },
    { "redirect placeholder", "'redirect':{'to':'/x?$client'}", "can't hold $client" },
    { "hsts of nothing",      "'service':'web','hsts':{'preload':true}", "hsts has no max_age" },
    { "hsts for ever",        "'service':'web','hsts':{'max_age':999999999999}", "hsts.max_age: must be a whole number from 0 to 315360000, not 999999999999" },
    { "hsts of the past",     "'service':'web','hsts':{'max_age':-1}", "hsts.max_age: must be a whole number from 0 to 315360000, not -1" },
    { "body",                 "'service':'web','body_size':-1", "body_size: must be a whole number from 0 on, not -1" },
    { "method",               "'service':'web','methods':['GET','CONNECT']", "methods[1]: must be a method in capitals other than CONNECT and TRACE" },
    { "method in small",      "'service':'web','methods':['get']", "methods[0]: must be a method in capitals" },
    { "no method",            "'service':'web','methods':[]", "methods: must be a list with something in it" },
    { "nobody",               "'service':'web','allow':[]", "allow: must be a list with something in it" },
    { "network",              "'service':'web','allow':['10.0.0.0/33']", "allow[0]: must be a network such as 10.0.0.0/8" },
    { "error status",         "'service':'web','error_pages':{'200':'/a'}", "error_pages.200: the key must be an error status (\"404\", \"503\") or a class of them (\"4xx\", \"5xx\")" },
    { "class without errors", "'service':'web','error_pages':{'3xx':'/a'}", "error_pages.3xx: the key must be an error status" },
    { "error file",           "'service':'web','error_pages':{'502':'a.html'}", "error_pages.502: must be the absolute path of a file (\"/…\"), without \"..\" and blanks, not \"a.html\"" },
    { "folder",               "'files':'srv'", "files: must be the absolute path of a folder (\"/…\"), without \"..\" and blanks, not \"srv\"" },
};

static const char *const good[] = {
    "'path':'/a','service':'web','strip_prefix':true,'https':true,'hsts':{'max_age':31536000,'include_subdomains':true,'preload':true}",
    "'service':'web','request_headers':[{'set':'X-A','value':'$client $$ $host'},{'add':'X-B','value':'a'},{'remove':'X-C'}]",
    "'service':'web','answer_headers':[{'set':'X-Release','value':'$service@$version'},{'remove':'Server'}]",
    "'redirect':{'to':'https://www.example.com$uri','status':301}",
    "'redirect':{'to':'https://$host/x$path$query'}",
    "'redirect':{'to':'/new$uri','status':302}",
    "'https':true",
    "'path':'/.well-known/acme-challenge','files':'/var/lib/acme'",
    "'service':'web','body_size':0,'timeout_ms':100,'methods':['GET','PURGE'],'allow':['10.0.0.0/8','2001:db8::/32','unix']",
    "'service':'web','error_pages':{'502':'/srv/502.html','5xx':'/srv/5xx.html','404':'/srv/404.html'}",
};
/* clang-format on */

static char *table_with(const char *rules)
{
    char *text = xasprintf("{'format':1,'routes':[{'host':'a.b',%s}],'services':[{'name':'web','releases':[{'"
                           "version':'1.0.0'}]}]}",
        rules);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return text;
}

static void rules_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        char *text = table_with(refusals[i].rules);
        struct error err = { 0 };
        struct table table;
        row_true(refusals[i].name, table_read(text, strlen(text), &table, &err) < 0);
        row_has(refusals[i].name, err.text, refusals[i].error);
        free(text);
    }
}

static void rules_are_written_back_the_same(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char *text = table_with(good[i]);
        struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
        struct error err = { 0 };
        struct table table, again;
        if (table_read(text, strlen(text), &table, &err) < 0)
            fail_msg("%s: %s", good[i], err.text);
        assert_true(table_route_has_rules(&table.routes[0]));
        table_print(&table, &first);
        if (table_read(first.data, first.len, &again, &err) < 0)
            fail_msg("%s: %s", good[i], err.text);
        table_print(&again, &second);
        assert_string_equal(first.data, second.data);
        table_clear(&table);
        table_clear(&again);
        strbuf_done(&first);
        strbuf_done(&second);
        free(text);
    }
}

static void values_are_cut_into_parts(void **state)
{
    static const struct {
        const char *value, *parts;
    } rows[] = {
        { "", "" },
        { "plain", "[plain]" },
        { "$$", "[$]" },
        { "a$$b", "[a][$][b]" },
        { "$client:$host", "client[:]host" },
        { "https://$host$uri", "[https://]hosturi" },
        { "$version.$service-x", "version[.]service[-x]" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct strbuf out = STRBUF_INIT;
        const char *at = rows[i].value, *text;
        enum table_value kind;
        size_t len;
        while (table_value_next(&at, &kind, &text, &len)) {
            if (kind == VALUE_TEXT)
                strbuf_addf(&out, "[%.*s]", (int)len, text);
            else
                strbuf_adds(&out, table_value_names[kind]);
        }
        row_true(rows[i].value, *at == '\0');
        assert_string_equal(strbuf_str(&out), rows[i].parts);
        strbuf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_refused_by_name),
        cmocka_unit_test(rules_are_written_back_the_same),
        cmocka_unit_test(values_are_cut_into_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
