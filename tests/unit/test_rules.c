/* SPDX-License-Identifier: MIT */
#include "routerd/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/table.h"
#include "routerd/client.h"
#include "routerd/files.h"
#include "routerd/headers.h"
#include "routerd/match.h"
#include "routerd/own_answer.h"

/* The rules of one route against requests and answers as text. Single quotes stand for double ones in tables. */

static char folder[] = "/tmp/test-rules-XXXXXX";
static char block[64 * 1024];
static struct http1_head head;

static struct match_rules *build(const char *keys)
{
    _cleanup_(free_ptr) char *text = xasprintf("{'format':1,'routes':[{'host':'a.b',%s}],'services':[{'name':"
                                               "'web','releases':[{'version':'1.0.0'}]}]}",
        keys);
    struct match_rules *rules = NULL;
    struct table table;
    struct error err = { 0 };
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (table_read(text, strlen(text), &table, &err) < 0 || rules_build(&table.routes[0], &rules, &err) < 0)
        fail_msg("%s: %s", keys, err.text);
    table_clear(&table);
    return rules;
}

static void parse(const char *request)
{
    struct http1_fault fault;
    if (http1_request_parse(request, strlen(request), NULL, &head, &fault) != HTTP1_DONE)
        fail_msg("%s", request);
}

static const char *forwarded(const struct match_rules *rules, const char *request, bool tls)
{
    struct forward forward = { .peer = "10.0.0.9", .tls = tls };
    struct request_extra extra = { .rules = rules, .service = "web", .version = "1.2.3" };
    struct http1_out out;
    parse(request);
    http1_out_init(&out, block, sizeof(block) - 1);
    headers_request(&out, &head, &forward, &extra);
    block[out.len] = '\0';
    return block;
}

/* --- targets --------------------------------------------------------------------------------------------- */

static void prefixes_are_replaced_by_whole_segments(void **state)
{
    static const struct {
        const char *keys, *target, *expected;
    } rows[] = {
        { "'path':'/shop','strip_prefix':true", "/shop", "/" },
        { "'path':'/shop','strip_prefix':true", "/shop/", "/" },
        { "'path':'/shop','strip_prefix':true", "/shop?a=1", "/?a=1" },
        { "'path':'/shop/','strip_prefix':true", "/shop/cart?a=/shop", "/cart?a=/shop" },
        { "'path':'/shop','strip_prefix':true", "/shop/%2e%2e/%41?%20", "/%2e%2e/%41?%20" },
        { "'path':'/shop','rewrite_prefix':'/v2/s'", "/shop", "/v2/s" },
        { "'path':'/shop','rewrite_prefix':'/v2/s'", "/shop/cart", "/v2/s/cart" },
        { "'path':'/shop','rewrite_prefix':'/v2/'", "/shop?x", "/v2?x" },
        { "'path':'/shop','rewrite_prefix':'/'", "/shop/cart", "/cart" },
        { "'path':'/shop','rewrite_prefix':'/'", "/shop?q", "/?q" },
        { "'rewrite_prefix':'/base'", "/", "/base/" },
        { "'rewrite_prefix':'/base'", "/a/b", "/base/a/b" },
        { "'rewrite_prefix':'/base'", "*", "*" },
        { "'body_size':1", "/as/it/is", "/as/it/is" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(free_ptr) char *keys = xasprintf("'service':'web',%s", rows[i].keys);
        _cleanup_(free_ptr) char *request = xasprintf("%s %s HTTP/1.1\r\nHost: a.b\r\n\r\n",
            rows[i].target[0] == '*' ? "OPTIONS" : "GET", rows[i].target);
        _cleanup_(free_ptr) char *line =
            xasprintf("%s %s HTTP/1.1\r\n", rows[i].target[0] == '*' ? "OPTIONS" : "GET", rows[i].expected);
        struct match_rules *rules = build(keys);
        const char *out = forwarded(rules, request, false);
        if (strncmp(out, line, strlen(line)) != 0)
            fail_msg("%s %s: %.40s", rows[i].keys, rows[i].target, out);
        rules_unref(rules);
    }
}

/* --- fields ---------------------------------------------------------------------------------------------- */

static void request_fields_are_set_added_and_removed(void **state)
{
    struct match_rules *rules =
        build("'path':'/x','service':'web','strip_prefix':true,'request_headers':["
              "{'set':'X-Who','value':'$client via $scheme to $service@$version for $host costs $$5'},"
              "{'add':'X-More','value':'b'},{'remove':'cookie'}]");
    const char *out = forwarded(rules,
        "GET /x HTTP/1.1\r\nHost: A.b:81\r\nx-who: liar\r\nX-More: a\r\nCookie: secret\r\n"
        "X-Forwarded-Prefix: /evil\r\n\r\n",
        true);
    assert_non_null(strstr(out, "X-Who: 10.0.0.9 via https to web@1.2.3 for A.b costs $5\r\n"));
    assert_non_null(strstr(out, "X-More: a\r\n"));
    assert_non_null(strstr(out, "X-More: b\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Prefix: /x\r\n"));
    assert_non_null(strstr(out, "X-Forwarded-Port: 81\r\n"));
    assert_null(strstr(out, "liar"));
    assert_null(strstr(out, "secret"));
    assert_null(strstr(out, "evil"));
    rules_unref(rules);
}

static struct answer_extra answer_extra(const struct match_rules *rules, bool tls)
{
    static const struct match_service service = { .name = "web" };
    static const struct match_release release = { .version = "1.2.3" };
    static char scratch[HEADERS_SCRATCH];
    return (struct answer_extra){
        .rules = rules, .service = &service, .release = &release, .scratch = scratch, .tls = tls
    };
}

static const char *answered(const struct match_rules *rules, const char *text, bool tls)
{
    struct answer_style style = { .extra = answer_extra(rules, tls) };
    struct http1_fault fault;
    struct http1_out out;
    if (http1_response_parse(text, strlen(text), NULL, HTTP1_METHOD_GET, &head, &fault) != HTTP1_DONE)
        fail_msg("%s", text);
    http1_out_init(&out, block, sizeof(block) - 1);
    headers_answer(&out, &head, &style);
    block[out.len] = '\0';
    return block;
}

/* The list for other versions of HTTP says the same as the text. */
static void assert_fields_are_in_text(const struct match_rules *rules, const char *text, bool tls)
{
    struct http1_field fields[HTTP1_FIELDS_MAX];
    struct answer_extra extra = answer_extra(rules, tls);
    const char *out = answered(rules, text, tls);
    int n = headers_answer_fields(&head, &extra, fields, HTTP1_FIELDS_MAX);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        _cleanup_(free_ptr) char *line = xasprintf("\r\n%.*s: %.*s\r\n", fields[i].name_len, fields[i].name,
            (int)fields[i].value_len, fields[i].value);
        if (!strstr(out, line))
            fail_msg("%s is not in %s", line, out);
    }
    /* One field more than there is room for is refused. */
    assert_int_equal(headers_answer_fields(&head, &extra, fields, n - 1), -1);
}

static void answer_fields_are_set_added_and_removed(void **state)
{
    static const char text[] =
        "HTTP/1.1 200 OK\r\nServer: secret\r\nX-A: 1\r\nX-B: 1\r\nContent-Length: 0\r\n\r\n";
    struct match_rules *rules = build("'service':'web','answer_headers':[{'remove':'server'},"
                                      "{'set':'X-A','value':'2'},{'add':'X-B','value':'2'},"
                                      "{'set':'X-Release','value':'$service@$version'}]");
    const char *out = answered(rules, text, false);
    assert_null(strstr(out, "secret"));
    assert_null(strstr(out, "X-A: 1"));
    assert_non_null(strstr(out, "X-A: 2\r\n"));
    assert_non_null(strstr(out, "X-B: 1\r\n"));
    assert_non_null(strstr(out, "X-B: 2\r\n"));
    assert_non_null(strstr(out, "X-Release: web@1.2.3\r\n"));
    assert_fields_are_in_text(rules, text, false);
    rules_unref(rules);
}

static void hsts_is_said_over_tls_only(void **state)
{
    static const char text[] =
        "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n";
    struct match_rules *rules =
        build("'service':'web','hsts':{'max_age':31536000,'include_subdomains':true,'preload':true}");
    const char *out = answered(rules, text, true);
    assert_non_null(
        strstr(out, "\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"));
    assert_null(strstr(out, "max-age=1\r\n"));
    assert_fields_are_in_text(rules, text, true);
    assert_null(strstr(answered(rules, text, false), "31536000"));
    rules_unref(rules);
}

/* --- answers --------------------------------------------------------------------------------------------- */

static void rules_answer_requests(void **state)
{
    static const struct {
        const char *keys, *request;
        bool tls;
        int status; /* 0: the service answers */
        const char *field;
    } rows[] = {
        { "'service':'web','body_size':1", "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 0, NULL },
        { "'service':'web','https':true", "GET /p?q HTTP/1.1\r\nHost: a.b:80\r\n\r\n", false, 301,
            "https://a.b/p?q" },
        { "'service':'web','https':true", "HEAD / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 301,
            "https://a.b/" },
        { "'service':'web','https':true", "DELETE /p HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 308,
            "https://a.b/p" },
        { "'service':'web','https':true", "GET /p HTTP/1.1\r\nHost: a.b\r\n\r\n", true, 0, NULL },
        { "'service':'web','https':true", "GET /p HTTP/1.0\r\n\r\n", false, 400, NULL },
        { "'service':'web','https':true", "OPTIONS * HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 400, NULL },
        { "'service':'web','https':true", "GET /.well-known/acme-challenge/t0k HTTP/1.1\r\nHost: a.b\r\n\r\n",
            false, 0, NULL },
        { "'path':'/p','strip_prefix':true,'service':'web','https':true",
            "GET /p/x HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 301, "https://a.b/p/x" },
        { "'redirect':{'to':'https://www.x.y$uri'}", "GET /p?q=%20 HTTP/1.1\r\nHost: a.b\r\n\r\n", true, 308,
            "https://www.x.y/p?q=%20" },
        { "'path':'/old','rewrite_prefix':'/new','redirect':{'to':'https://$host$path$query','status':302}",
            "GET /old/a?b HTTP/1.1\r\nHost: A.b\r\n\r\n", true, 302, "https://A.b/new/a?b" },
        { "'redirect':{'to':'/moved','status':303}",
            "POST /p HTTP/1.1\r\nHost: a.b\r\nContent-Length: 0\r\n\r\n", true, 303, "/moved" },
        { "'service':'web','methods':['GET','PURGE']", "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 0,
            NULL },
        { "'service':'web','methods':['GET','PURGE']", "PURGE / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 0,
            NULL },
        { "'service':'web','methods':['GET','PURGE']",
            "PUT / HTTP/1.1\r\nHost: a.b\r\nContent-Length: 0\r\n\r\n", false, 405, "GET, PURGE, HEAD" },
        { "'service':'web','methods':['GET','PURGE']", "PURG / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 405,
            "GET, PURGE, HEAD" },
        { "'service':'web','methods':['GET','PURGE']", "HEAD / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 0,
            NULL },
        { "'service':'web','methods':['HEAD','GET']", "PURGE / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 405,
            "HEAD, GET" },
        { "'service':'web','methods':['POST']", "HEAD / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 405, "POST" },
        { "'service':'web','allow':['10.0.0.0/24']", "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n", false, 0, NULL },
        { "'service':'web','allow':['10.0.1.0/24','::/0','unix']", "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n",
            false, 403, NULL },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct forward forward = { .peer = "10.0.0.9", .tls = rows[i].tls };
        struct own_answer own = { 0 };
        struct match_rules *rules = build(rows[i].keys);
        struct rules_values values = {
            .rules = rules, .head = &head, .forward = &forward, .tls = rows[i].tls
        };
        parse(rows[i].request);
        bool answered_here = rules_answer(&values, &own);
        if (answered_here != (rows[i].status != 0) || own.status != rows[i].status)
            fail_msg("%s %s: %d", rows[i].keys, rows[i].request, own.status);
        if (rows[i].field)
            assert_string_equal(own.location ? own.location : own.allow, rows[i].field);
        free(own.memory);
        rules_unref(rules);
    }
}

/* Who asks is whom a trusted proxy names: in "allow" and the choice of https. */
static void rules_see_the_client_behind_a_trusted_proxy(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a.b\r\nX-Forwarded-For: 10.0.0.5\r\n"
                               "X-Forwarded-Proto: http\r\n\r\n";
    struct match_rules *allow = build("'service':'web','allow':['10.0.0.0/24']");
    struct match_rules *https = build("'service':'web','https':true");
    for (int trusted = 0; trusted < 2; trusted++) {
        struct forward forward = { .peer = "192.0.2.1", .trusted = trusted, .tls = true };
        struct rules_values values = { .rules = allow, .head = &head, .forward = &forward };
        struct own_answer own = { 0 };
        parse(text);
        assert_int_equal(rules_answer(&values, &own), !trusted);
        assert_int_equal(own.status, trusted ? 0 : 403);
        values.rules = https;
        values.tls = client_is_tls(&head, &forward);
        assert_int_equal(rules_answer(&values, &own), trusted);
        free(own.memory);
    }
    rules_unref(allow);
    rules_unref(https);
}

/* --- files ----------------------------------------------------------------------------------------------- */

static void put(const char *name, const char *text)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_folder(void **state)
{
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    mkdir("www", 0755);
    mkdir("www/.well-known", 0755);
    mkdir("www/.well-known/acme-challenge", 0755);
    put("outside", "secret");
    put("www/a.html", "<p>");
    put("www/.hidden", "secret");
    put("www/100%", "percent");
    put("www/.well-known/acme-challenge/t0k", "proof");
    assert_int_equal(symlink("../outside", "www/link"), 0);
    assert_int_equal(symlink("/etc/passwd", "www/absolute"), 0);
    assert_int_equal(symlink("a.html", "www/inner"), 0);
    assert_int_equal(mkfifo("www/fifo", 0600), 0);
    put("large", "");
    assert_int_equal(truncate("large", FILES_MAX + 1), 0);
    assert_int_equal(rename("large", "www/large"), 0);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = { "www/.well-known/acme-challenge/t0k",
        "www/.well-known/acme-challenge", "www/.well-known", "www/a.html", "www/100%", "www/.hidden",
        "www/link", "www/absolute", "www/inner", "www/fifo", "www/large", "www", "outside", "page.html",
        "page" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)remove(names[i]);
    assert_int_equal(chdir("/"), 0);
    return rmdir(folder);
}

static void files_stay_inside_their_folder(void **state)
{
    static const struct {
        const char *path, *content;
    } rows[] = {
        { "/.well-known/acme-challenge/t0k", "proof" },
        { "/a.html", "<p>" },
        { "/inner", "<p>" },
        { "/", NULL },
        { "/.well-known/acme-challenge/", NULL },
        { "/.well-known/acme-challenge", NULL },
        { "/nothing", NULL },
        { "/.hidden", NULL },
        { "/../outside", NULL },
        { "/.well-known/../a.html", NULL },
        { "/.well-known/acme-challenge/../../../outside", NULL },
        { "//etc/passwd", NULL },
        { "/link", NULL },
        { "/absolute", NULL },
        { "/fifo", NULL },
        { "/large", NULL },
        { "/%61.html", NULL },
        { "/100%", "percent" },
        { "/a.html/", NULL },
    };
    _cleanup_(free_ptr) char *www = xasprintf("%s/www", folder);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *data = NULL;
        size_t len = 0;
        int r = files_read(
            www, (struct http1_slice){ rows[i].path, strlen(rows[i].path) }, FILES_MAX, &data, &len);
        if ((r == 0) != (rows[i].content != NULL) ||
            (r == 0 && (len != strlen(rows[i].content) || memcmp(data, rows[i].content, len) != 0)))
            fail_msg("%s: %d", rows[i].path, r);
        free(data);
    }
}

static void escapes_in_names_of_files_are_decoded(void **state)
{
    static const struct {
        const char *path, *name; /* NULL: it stands for none */
    } rows[] = {
        { "/a.html", "/a.html" },
        { "/", "/" },
        { "/a%20b.css", "/a b.css" },
        { "/%C3%bc.txt", "/\xc3\xbc.txt" },
        { "/%61%2E%63ss", "/a.css" },
        { "/100%25", "/100%" },
        { "/%2561", "/%61" },
        { "/a+b", "/a+b" },
        { "/%2e%2e/x", "/../x" },
        { "/a%2Fb", NULL },
        { "/a%2fb", NULL },
        { "/a%00", NULL },
        { "/%00.css", NULL },
        { "/a%", NULL },
        { "/a%6", NULL },
        { "/a%6g", NULL },
        { "/a%g6", NULL },
        { "/%%61", NULL },
        { "/% 1", NULL },
    };
    char name[FILES_PATH_MAX], path[FILES_PATH_MAX + 1];
    size_t len;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool fine = files_name((struct http1_slice){ rows[i].path, strlen(rows[i].path) }, name, &len);
        if (fine != (rows[i].name != NULL) ||
            (fine && (len != strlen(rows[i].name) || strcmp(name, rows[i].name) != 0)))
            fail_msg("%s: %s", rows[i].path, fine ? name : "-");
    }
    memset(path, 'a', sizeof(path));
    assert_true(files_name((struct http1_slice){ path, FILES_PATH_MAX - 1 }, name, &len));
    assert_int_equal(strlen(name), FILES_PATH_MAX - 1);
    assert_false(files_name((struct http1_slice){ path, FILES_PATH_MAX }, name, &len));
}

static void a_route_serves_a_folder(void **state)
{
    _cleanup_(free_ptr) char *keys = xasprintf("'path':'/docs','strip_prefix':true,'files':'%s/www'", folder);
    static const struct {
        const char *request;
        int status;
    } rows[] = { { "GET /docs/a.html HTTP/1.1\r\nHost: a.b\r\n\r\n", 200 },
        { "HEAD /docs/a.html?x HTTP/1.1\r\nHost: a.b\r\n\r\n", 200 },
        { "GET /docs/b.html HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "GET /docs HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "GET /docs/%61.html HTTP/1.1\r\nHost: a.b\r\n\r\n", 200 },
        { "GET /docs/a%2ehtml?%zz HTTP/1.1\r\nHost: a.b\r\n\r\n", 200 },
        { "GET /docs/a.html%00 HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "GET /docs/%2fa.html HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "GET /docs/%2e%2e/outside HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "GET /docs/large HTTP/1.1\r\nHost: a.b\r\n\r\n", 404 },
        { "POST /docs/a.html HTTP/1.1\r\nHost: a.b\r\nContent-Length: 0\r\n\r\n", 405 } };
    struct match_rules *rules = build(keys);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct forward forward = { .peer = "10.0.0.9" };
        struct rules_values values = { .rules = rules, .head = &head, .forward = &forward };
        struct own_answer own = { 0 };
        parse(rows[i].request);
        assert_true(rules_answer(&values, &own));
        assert_int_equal(own.status, rows[i].status);
        if (own.status == 200)
            assert_string_equal(own.content_type, "text/html; charset=utf-8");
        if (strstr(rows[i].request, "large"))
            assert_string_equal(own.reason, "the file is larger than 1024 kB");
        else
            assert_null(own.reason);
        free(own.memory);
    }
    rules_unref(rules);
}

static void types_go_by_extension(void **state)
{
    static const struct {
        const char *path, *type;
    } rows[] = { { "/a.html", "text/html; charset=utf-8" }, { "/t0k", "text/plain; charset=utf-8" },
        { "/a.b/t0k", "text/plain; charset=utf-8" }, { "/a.tar.gz", "application/octet-stream" },
        { "/a.json", "application/json" }, { "/a.", "application/octet-stream" } };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(files_type(rows[i].path, strlen(rows[i].path)), rows[i].type);
}

/* --- error pages ----------------------------------------------------------------------------------------- */

static void the_closest_error_page_is_shown(void **state)
{
    static const struct {
        int status;
        const char *body;
    } rows[] = { { 502, "bad gateway" }, { 503, "<b>any</b>" }, { 404, NULL }, { 200, NULL } };
    put("page", "bad gateway");
    put("page.html", "<b>any</b>");
    _cleanup_(free_ptr) char *keys =
        xasprintf("'service':'web','error_pages':{'5xx':'%s/page.html','502':'%s/page'}", folder, folder);
    struct match_rules *rules = build(keys);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct own_answer own = { .status = rows[i].status, .text = "x" };
        rules_error_page(rules, &own);
        assert_int_equal(own.body != NULL, rows[i].body != NULL);
        if (rows[i].body)
            assert_memory_equal(own.body, rows[i].body, own.body_len);
    }
    /* What is read from files is read again. */
    struct table_sum sum = { { 1, 1 } };
    rules->sum = sum;
    assert_false(rules_are_current(rules, &sum));
    rules_unref(rules);
}

static void files_that_cannot_be_read_refuse_the_table(void **state)
{
    static const struct {
        const char *page, *files, *error; /* below the folder */
    } rows[] = {
        { "nowhere.html", NULL, "the error page %s/nowhere.html can't be read: No such file or directory" },
        { "www", NULL, "the error page %s/www is a folder" },
        { "www/", NULL, "the error page %s/www/ is a folder" },
        { "www/fifo", NULL, "the error page %s/www/fifo is not a regular file" },
        { "www/large", NULL, "the error page %s/www/large is larger than 256 kB" },
        { "www/.hidden", NULL, "the error page %s/www/.hidden can't be read: its name begins with a dot" },
        { "www/link", NULL,
            "the error page %s/www/link can't be read: it is a link that leads out of its folder" },
        { NULL, "nowhere", "the folder %s/nowhere can't be read: No such file or directory" },
        { NULL, "outside", "%s/outside is not a folder" },
        { NULL, "outside/x", "the folder %s/outside/x can't be read: Not a directory" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(free_ptr) char *page = xasprintf("502=%s/%s", folder, rows[i].page ? rows[i].page : "");
        _cleanup_(free_ptr) char *files = xasprintf("%s/%s", folder, rows[i].files ? rows[i].files : "");
        _cleanup_(strbuf_done) struct strbuf expected = STRBUF_INIT;
        char *pages[] = { page, NULL };
        struct table_route route = { .host = (char *)"a.b" };
        struct match_rules *rules;
        struct error err = { 0 };
        table_route_init(&route);
        route.error_pages = rows[i].page ? pages : NULL;
        route.files = rows[i].files ? files : NULL;
        const char *at = strstr(rows[i].error, "%s");
        strbuf_add(&expected, rows[i].error, (size_t)(at - rows[i].error));
        strbuf_addf(&expected, "%s%s", folder, at + strlen("%s"));
        if (rules_build(&route, &rules, &err) == 0 || strncmp(err.text, expected.data, expected.len) != 0)
            fail_msg("%s: \"%s\"", expected.data, err.text);
        assert_null(rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_are_replaced_by_whole_segments),
        cmocka_unit_test(request_fields_are_set_added_and_removed),
        cmocka_unit_test(answer_fields_are_set_added_and_removed),
        cmocka_unit_test(hsts_is_said_over_tls_only),
        cmocka_unit_test(rules_answer_requests),
        cmocka_unit_test(rules_see_the_client_behind_a_trusted_proxy),
        cmocka_unit_test(files_stay_inside_their_folder),
        cmocka_unit_test(escapes_in_names_of_files_are_decoded),
        cmocka_unit_test(a_route_serves_a_folder),
        cmocka_unit_test(types_go_by_extension),
        cmocka_unit_test(the_closest_error_page_is_shown),
        cmocka_unit_test(files_that_cannot_be_read_refuse_the_table),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
