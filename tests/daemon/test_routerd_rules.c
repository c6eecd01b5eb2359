/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

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

/* Rules of routes through a whole routerd. The router's folder holds error pages and a certbot's webroot. */

static struct fake_backend *backend;
static struct router *router;
static char folder[] = "/tmp/routerd-rules-XXXXXX";

static void put(const char *name, const char *text)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_dir(const char *name)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

/* Single quotes stand for double ones; "PORT" and "DIR" for what is known now. */
static char *table_text(int64_t epoch)
{
    char *text = xasprintf(
        "{'format':1,'epoch':%lld,'routes':["
        "{'host':'*','service':'web'},"
        "{'host':'s.x','service':'web','https':true,'hsts':{'max_age':60}},"
        "{'host':'t.x','service':'web','answer_headers':[{'set':'X-Frame-Options','value':'DENY'},"
        "{'set':'X-Release','value':'$service@$version'},{'remove':'X-Version'},{'remove':'X_Sum'}]},"
        "{'host':'r.x','path':'/shop','service':'web','strip_prefix':true,'request_headers':["
        "{'set':'X-Who','value':'$client'},{'remove':'Cookie'}]},"
        "{'host':'r.x','path':'/old','redirect':{'to':'https://new.x$uri','status':301},'rewrite_prefix':'/"
        "new'},"
        "{'host':'l.x','service':'web','body_size':10,'methods':['GET','POST'],'timeout_ms':300,"
        "'answer_headers':[{'set':'X-Frame-Options','value':'DENY'}]},"
        "{'host':'p.x','service':'web','allow':['10.0.0.0/8']},"
        "{'host':'e.x','service':'dead','error_pages':{'5xx':'%s/5xx.html'}},"
        "{'host':'f.x','files':'%s/www'}],"
        "'services':[{'name':'web','releases':[{'version':'1.0.0','endpoints':[{'address':'127.0.0.1:%d'}]}]}"
        ","
        "{'name':'dead','releases':[{'version':'1.0.0','endpoints':[{'address':'127.0.0.1:%d'}]}]}]}",
        (long long)epoch, folder, folder, fake_backend_port(backend), fake_backend_dead_port());
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return text;
}

static int set_up(void **state)
{
    backend = fake_backend_new("1.0.0");
    assert_non_null(mkdtemp(folder));
    put("5xx.html", "<h1>sorry</h1>");
    make_dir("www");
    put("www/a.txt", "text");
    make_dir("acme");
    make_dir("acme/.well-known");
    make_dir("acme/.well-known/acme-challenge");
    put("acme/.well-known/acme-challenge/t0k", "proof");
    _cleanup_(free_ptr) char *acme = xasprintf("Router.AcmeDirectory=%s/acme", folder);
    _cleanup_(free_ptr) char *text = table_text(1);
    router = router_start(text, NULL, (const char *const[]){ acme, "Limits.BodySize=1000", NULL });
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "acme/.well-known/acme-challenge/t0k",
        "acme/.well-known/acme-challenge", "acme/.well-known", "acme", "www/a.txt", "www", "5xx.html", "" };
    router_stop(router);
    fake_backend_free(backend);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", folder, names[i]);
        (void)remove(path);
    }
    return 0;
}

static struct answer ask_host(const char *method, const char *host, const char *path, const char *rest)
{
    _cleanup_(free_ptr) char *text =
        xasprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, host, rest ? rest : "\r\n");
    return ask(router->port, text);
}

static void assert_status(
    const char *method, const char *host, const char *path, const char *rest, int status)
{
    struct answer a = ask_host(method, host, path, rest);
    if (a.status != status)
        fail_msg("%s %s%s: %d, not %d", method, host, path, a.status, status);
    answer_done(&a);
}

static void plain_requests_are_sent_to_https(void **state)
{
    struct answer a = ask_host("GET", "s.x:80", "/p?q=%20", NULL);
    assert_int_equal(a.status, 301);
    assert_string_equal(answer_field(&a, "Location"), "https://s.x/p?q=%20");
    assert_string_equal(answer_field(&a, "Strict-Transport-Security"), "");
    assert_int_equal(strlen(answer_field(&a, "Date")), strlen("Sat, 21 Nov 2026 07:00:00 GMT"));
    answer_done(&a);
    assert_status("POST", "s.x", "/p", "Content-Length: 0\r\n\r\n", 308);
}

static void a_proof_for_certificates_is_served_everywhere(void **state)
{
    static const char path[] = "/.well-known/acme-challenge/t0k";
    static const char *const hosts[] = { "s.x", "t.x", "anything.example" };
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct answer a = ask_host("GET", hosts[i], path, NULL);
        assert_int_equal(a.status, 200);
        assert_string_equal(strbuf_str(&a.content), "proof");
        answer_done(&a);
    }
    /* What is not there is the service's to answer, by plain http too. */
    static const struct {
        const char *host, *path;
        int status;
    } others[] = {
        { "s.x", "/.well-known/acme-challenge/other", 200 },
        { "t.x", "/.well-known/acme-challenge/", 200 },
        /* No proof has such a name: the route sends it to https. */
        { "s.x", "/.well-known/acme-challenge/../acme-challenge/t0k", 301 },
        { "s.x", "/.well-known/acme-challenge/..", 301 },
        { "s.x", "/.well-known/acme-challenge/%2e%2e", 301 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct answer a = ask_host("GET", others[i].host, others[i].path, NULL);
        assert_int_equal(a.status, others[i].status);
        assert_null(strstr(strbuf_str(&a.content), "proof"));
        answer_done(&a);
    }
}

static void fields_change_on_both_ways(void **state)
{
    struct answer a = ask_host("GET", "t.x", "/hello", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_field(&a, "X-Frame-Options"), "DENY");
    assert_string_equal(answer_field(&a, "X-Release"), "web@1.0.0");
    assert_string_equal(answer_field(&a, "X-Version"), "");
    answer_done(&a);
    a = ask_host("GET", "r.x", "/shop/head?x=/shop", "Cookie: a=b\r\nX-Who: liar\r\n\r\n");
    assert_int_equal(a.status, 200);
    const char *head = strbuf_str(&a.content);
    assert_int_equal(strncmp(head, "GET /head?x=/shop HTTP/1.1\r\n", 28), 0);
    assert_non_null(strstr(head, "X-Who: 127.0.0.1\r\n"));
    assert_non_null(strstr(head, "X-Forwarded-Prefix: /shop\r\n"));
    assert_non_null(strstr(head, "X-Forwarded-Port: 80\r\n"));
    assert_null(strstr(head, "Cookie"));
    assert_null(strstr(head, "liar"));
    answer_done(&a);
}

/* Answers of the router's own have the fields, too. */
static void own_answers_follow_the_rules(void **state)
{
    struct answer a = ask_host("GET", "t.x", "/hello", "X-Stagecoach-Version: 9.9.9\r\n\r\n");
    assert_int_equal(a.status, 404);
    assert_string_equal(answer_field(&a, "X-Frame-Options"), "DENY");
    answer_done(&a);
}

/* Where an answer is made or ends in another way than most. */
static void fields_change_in_trailers_tunnels_and_late_refusals(void **state)
{
    struct answer a = ask_host("GET", "t.x", "/chunked", NULL);
    assert_string_equal(strbuf_str(&a.content), "abcdefgh");
    assert_null(strstr(strbuf_str(&a.trailers), "X-Sum"));
    answer_done(&a);
    int fd = client_open(router->port);
    client_send(fd, "GET /upgrade HTTP/1.1\r\nHost: t.x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    a = client_read(fd, true);
    assert_int_equal(a.status, 101);
    assert_string_equal(answer_field(&a, "X-Frame-Options"), "DENY");
    answer_done(&a);
    close(fd);
    a = ask_host(
        "POST", "l.x", "/echo-chunked", "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n");
    assert_int_equal(a.status, 413);
    assert_string_equal(answer_field(&a, "X-Frame-Options"), "DENY");
    answer_done(&a);
}

static void redirects_lead_elsewhere(void **state)
{
    struct answer a = ask_host("GET", "r.x", "/old/page?q", NULL);
    assert_int_equal(a.status, 301);
    assert_string_equal(answer_field(&a, "Location"), "https://new.x/new/page?q");
    answer_done(&a);
}

static void a_connection_goes_on_behind_answers_of_the_rules(void **state)
{
    int fd = client_open(router->port);
    for (int i = 0; i < 3; i++) {
        client_send(fd, "GET /a HTTP/1.1\r\nHost: s.x\r\n\r\n");
        struct answer a = client_read(fd, false);
        assert_int_equal(a.status, 301);
        assert_true(a.whole && !a.eof);
        answer_done(&a);
        client_send(fd, "GET /hello HTTP/1.1\r\nHost: t.x\r\n\r\n");
        a = client_read(fd, false);
        assert_int_equal(a.status, 200);
        answer_done(&a);
    }
    close(fd);
}

static void limits_are_the_routes_own(void **state)
{
    assert_status("POST", "l.x", "/echo", "Content-Length: 10\r\n\r\n0123456789", 200);
    assert_status("POST", "l.x", "/echo", "Content-Length: 11\r\n\r\n01234567890", 413);
    assert_status("POST", "l.x", "/echo-chunked",
        "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n", 413);
    assert_status("POST", "t.x", "/echo", "Content-Length: 11\r\n\r\n01234567890", 200);
    assert_status("PUT", "l.x", "/echo", "Content-Length: 0\r\n\r\n", 405);
    int fd = client_open(router->port);
    client_send(fd, "HEAD /hello HTTP/1.1\r\nHost: l.x\r\n\r\n");
    struct answer a = client_read(fd, true);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(fd);
    assert_status("GET", "l.x", "/slow?1000", NULL, 504);
    assert_status("GET", "p.x", "/hello", NULL, 403);
}

static void error_pages_are_shown(void **state)
{
    struct answer a = ask_host("GET", "e.x", "/", NULL);
    assert_int_equal(a.status, 503);
    assert_string_equal(strbuf_str(&a.content), "<h1>sorry</h1>");
    assert_string_equal(answer_field(&a, "Content-Type"), "text/html; charset=utf-8");
    answer_done(&a);
    /* Those of the service are its own. */
    a = ask_host("GET", "t.x", "/status?503", NULL);
    assert_int_equal(a.status, 503);
    assert_null(strstr(strbuf_str(&a.content), "sorry"));
    answer_done(&a);
}

static void files_are_served(void **state)
{
    struct answer a = ask_host("GET", "f.x", "/a.txt", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(strbuf_str(&a.content), "text");
    answer_done(&a);
    assert_status("GET", "f.x", "/../5xx.html", NULL, 404);
    assert_status("GET", "f.x", "/", NULL, 404);
    assert_status("GET", "f.x", "/%61%2Etxt", NULL, 200);
    assert_status("GET", "f.x", "/%2Fa.txt", NULL, 404);
    assert_status("GET", "f.x", "/a.txt%00", NULL, 404);
    assert_status("DELETE", "f.x", "/a.txt", NULL, 405);
    int fd = client_open(router->port);
    client_send(fd, "HEAD /a.txt HTTP/1.1\r\nHost: f.x\r\n\r\n");
    a = client_read(fd, true);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_field(&a, "Content-Length"), "4");
    answer_done(&a);
    close(fd);
}

/* A page is read again with the table, also where the row stays as it is. */
static void error_pages_change_with_the_table(void **state)
{
    put("5xx.html", "later");
    _cleanup_(free_ptr) char *text = table_text(2);
    router_put_table(router, text, 2);
    struct answer a = ask_host("GET", "e.x", "/", NULL);
    assert_string_equal(strbuf_str(&a.content), "later");
    answer_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_requests_are_sent_to_https),
        cmocka_unit_test(a_proof_for_certificates_is_served_everywhere),
        cmocka_unit_test(fields_change_on_both_ways),
        cmocka_unit_test(own_answers_follow_the_rules),
        cmocka_unit_test(fields_change_in_trailers_tunnels_and_late_refusals),
        cmocka_unit_test(redirects_lead_elsewhere),
        cmocka_unit_test(a_connection_goes_on_behind_answers_of_the_rules),
        cmocka_unit_test(limits_are_the_routes_own),
        cmocka_unit_test(error_pages_are_shown),
        cmocka_unit_test(files_are_served),
        cmocka_unit_test(error_pages_change_with_the_table),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
