/* SPDX-License-Identifier: MIT */
#include "tests/daemon/router_harness.h"
#include "tests/fakes/fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/http1.h"
#include "common/mem.h"
#include "tests/h1/cases.h"

/* Every message of tests/h1/requests.tsv, sent to a whole routerd over a socket: the status that comes back is the
 * verdict, and nothing that is refused reaches the service. */

#define SILENCE_MS 30

static const char *requests_path;

/* Whether bytes of an answer come; a case that is not whole gets none. */
static bool answers(int fd, int ms)
{
    struct pollfd p = { fd, POLLIN, 0 };
    return poll(&p, 1, ms) == 1;
}

static bool is_whole(const struct h1_case *c)
{
    return strcmp(c->name, "length-18-digits") != 0 && strcmp(c->name, "chunk-not-whole") != 0;
}

static void check(int port, const struct h1_case *c)
{
    int fd = client_open(port);
    client_send_bytes(fd, c->bytes.data, c->bytes.len);
    if (strcmp(c->verdict, "more") == 0 || !is_whole(c)) {
        if (answers(fd, SILENCE_MS))
            fail_msg("%s: answered", c->name);
        close(fd);
        return;
    }
    bool fine = strcmp(c->verdict, "ok") == 0 || strcmp(c->verdict, "own") == 0;
    int wanted = fine ? 200 : (int)strtol(c->verdict, NULL, 10);
    struct answer a = client_read(fd, strncmp(strbuf_str(&c->bytes), "HEAD ", 5) == 0);
    if (a.status != wanted)
        fail_msg("%s (%s): %d %s, not %d", c->name, c->source, a.status, strbuf_str(&a.content), wanted);
    if (wanted >= 400 && wanted != 508 && wanted != 421 &&
        strcmp(answer_field(&a, "Connection"), "close") != 0)
        fail_msg("%s: the connection is kept", c->name);
    answer_done(&a);
    close(fd);
}

/* A body may break off after its head was passed on; a bad head never is. */
static bool is_bad_head(const struct h1_case *c)
{
    static struct http1_head head;
    struct http1_fault fault;
    return http1_request_parse(c->bytes.data, c->bytes.len, NULL, &head, &fault) == HTTP1_REFUSED;
}

static void every_case_gets_its_verdict(void **state)
{
    struct fake_backend *backend = fake_backend_new("1.0.0");
    char *release = xasprintf("1.0.0:%d", fake_backend_port(backend));
    char *table = table_of(1, 1, (const char *const[]){ release });
    struct router *router = router_start(table, NULL, NULL);
    size_t n, refused = 0;
    struct h1_case *cases = h1_cases_load(requests_path, &n);
    for (size_t i = 0; i < n; i++) {
        int64_t before = fake_backend_requests(backend);
        check(router->port, &cases[i]);
        bool bad = is_bad_head(&cases[i]);
        refused += bad;
        if (bad && fake_backend_requests(backend) != before)
            fail_msg("%s: reached the service", cases[i].name);
    }
    print_message("%zu cases, %zu of them with heads that are refused\n", n, refused);
    h1_cases_free(cases, n);
    router_stop(router);
    fake_backend_free(backend);
    free(table);
    free(release);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 1;
    requests_path = argv[1];
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_case_gets_its_verdict) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
