/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "routerd/handover.h"
#include "routerd/sums.h"

static char web[] = "web-1", api[] = "api-1";

static struct endpoint_traffic row(char *endpoint, int64_t in_flight, int64_t requests)
{
    return (struct endpoint_traffic){ .endpoint = endpoint, .in_flight = in_flight, .requests = requests };
}

static void say(struct sums *sums, struct map *said, char *endpoint, int64_t in_flight, int64_t requests)
{
    struct endpoint_traffic r = row(endpoint, in_flight, requests);
    sums_take(sums, said, &r);
}

static void expect_sum(struct sums *sums, char *endpoint, int64_t in_flight, int64_t requests)
{
    struct endpoint_traffic own = row(endpoint, 1, 10);
    sums_add(sums, &own);
    assert_int_equal(own.in_flight, in_flight + 1);
    assert_int_equal(own.requests, requests + 10);
}

static void what_two_generations_say_is_added_up(void **state)
{
    struct sums *sums = sums_new();
    struct map *first = sums_said_new(), *second = sums_said_new();
    expect_sum(sums, web, 0, 0);
    say(sums, first, web, 3, 100);
    say(sums, second, web, 2, 50);
    expect_sum(sums, web, 5, 150);
    say(sums, first, web, 1, 104); /* absolute numbers, not what was added */
    expect_sum(sums, web, 3, 154);
    sums_leave(sums, first, false); /* ended: what it had counted stays */
    expect_sum(sums, web, 2, 154);
    sums_leave(sums, second, true); /* says it to somebody else */
    expect_sum(sums, web, 0, 104);
    sums_free(sums);
}

static void endpoints_that_nobody_else_tells_are_told_once_moved(void **state)
{
    struct sums *sums = sums_new();
    struct map *said = sums_said_new();
    const struct endpoint_traffic *r;
    size_t at = 0;
    say(sums, said, web, 1, 1);
    say(sums, said, api, 4, 9);
    expect_sum(sums, web, 1, 1); /* known here */
    r = sums_next(sums, &at);
    assert_non_null(r);
    assert_string_equal(r->endpoint, "api-1");
    assert_int_equal(r->in_flight, 4);
    assert_null(sums_next(sums, &at));
    at = 0;
    assert_null(sums_next(sums, &at)); /* nothing moved since */
    say(sums, said, api, 0, 10);
    at = 0;
    r = sums_next(sums, &at);
    assert_non_null(r);
    assert_int_equal(r->in_flight, 0);
    assert_null(sums_next(sums, &at));
    sums_leave(sums, said, false);
    sums_free(sums);
}

static void messages_stay_whole_and_carry_memory(void **state)
{
    static char buf[HANDOVER_TEXT_MAX + 1];
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    struct handover_message m;
    struct error err;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(handover_hear(ends[1], buf, &m), -EAGAIN);
    int fd = handover_memory("table", "{\"epoch\":7}", 11);
    assert_true(fd >= 0);
    assert_int_equal(handover_say(ends[0], HANDOVER_TABLE, fd, "%d", 7), 0);
    close(fd);
    assert_int_equal(handover_say(ends[0], HANDOVER_END, -1, "%s", ""), 0);

    assert_int_equal(handover_hear(ends[1], buf, &m), 1);
    assert_int_equal(m.word, HANDOVER_TABLE);
    assert_string_equal(m.text, "7");
    assert_int_equal(handover_remember(m.fd, 10, &text, &err), -EFBIG);
    assert_int_equal(handover_remember(m.fd, 11, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), "{\"epoch\":7}");
    close(m.fd);
    assert_int_equal(handover_hear(ends[1], buf, &m), 1);
    assert_int_equal(m.word, HANDOVER_END);
    assert_int_equal(m.fd, -1);
    assert_string_equal(m.text, "");
    close(ends[0]);
    assert_int_equal(handover_hear(ends[1], buf, &m), 0);
    close(ends[1]);
}

static void unknown_words_are_passed_over(void **state)
{
    static char buf[HANDOVER_TEXT_MAX + 1];
    struct handover_message m;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(send(ends[0], "sing a song", 11, 0), 11);
    assert_int_equal(send(ends[0], "ready", 5, 0), 5);
    assert_int_equal(handover_hear(ends[1], buf, &m), 1);
    assert_int_equal(m.word, HANDOVER_READY);
    assert_string_equal(m.text, "");
    assert_int_equal(handover_hear(ends[1], buf, &m), -EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_two_generations_say_is_added_up),
        cmocka_unit_test(endpoints_that_nobody_else_tells_are_told_once_moved),
        cmocka_unit_test(messages_stay_whole_and_carry_memory),
        cmocka_unit_test(unknown_words_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
