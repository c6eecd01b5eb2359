/* SPDX-License-Identifier: MIT */
#include "common/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/fakes/link_end.h"

struct pair {
    struct loop *loop;
    struct end hub, ctl;
};

static void pair_begin(struct pair *p, enum role role)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p->loop = loop_new_fake();
    end_link(p->loop, &p->hub, fds[0], true, role);
    end_link(p->loop, &p->ctl, fds[1], false, ROLE_HUB);
}

static void pair_start(struct pair *p, enum role role)
{
    pair_begin(p, role);
    end_settle(p->loop);
    assert_int_equal(p->hub.connected, 1);
    assert_int_equal(p->ctl.connected, 1);
}

static void pair_end(struct pair *p)
{
    link_free(p->hub.link);
    link_free(p->ctl.link);
    end_settle(p->loop);
    loop_free(p->loop);
}

/* --- both sides are ours -------------------------------------------------------------------------------------- */

static void hello_call_and_answer(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    assert_string_equal(link_hello(p.hub.link)->program, "test");
    assert_true(link_offers(p.ctl.link, "orders/1"));
    assert_false(link_offers(p.ctl.link, "orders/2"));
    assert_int_equal(link_peer(p.ctl.link)->role, ROLE_HUB);

    end_ask(&p.ctl, "web", 0);
    assert_int_equal(p.ctl.answers, 0); /* never inside link_call */
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, 0);
    assert_string_equal(p.ctl.text, "web");

    end_ask(&p.ctl, "nothing", 0);
    end_settle(p.loop);
    assert_int_equal(p.ctl.result, -EREMOTEIO);
    assert_int_equal(p.ctl.kind, ERROR_NOT_FOUND);
    assert_string_equal(p.ctl.text, "there is no nothing");
    pair_end(&p);
}

static void notices_arrive_in_order_without_answer(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    for (int i = 0; i < 200; i++) /* more than a turn's frames */
        link_notify(p.hub.link, MSG_EVENT, &(struct msg_event){ .seq = i + 1, .kind = (char *)"push" });
    end_settle(p.loop);
    assert_int_equal(p.ctl.calls, 200);
    pair_end(&p);
}

static void a_kept_reply_is_answered_later_and_outlives_its_link(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    end_ask(&p.ctl, "web", 0);
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 0);
    assert_ptr_equal(reply_link(p.hub.kept), p.hub.link);
    reply_error(p.hub.kept, ERROR_BUSY, "later");
    end_settle(p.loop);
    assert_string_equal(p.ctl.text, "later");

    end_ask(&p.ctl, "web", 0);
    end_settle(p.loop);
    link_free(p.hub.link);
    p.hub.link = NULL;
    assert_null(reply_link(p.hub.kept));
    reply_ok(p.hub.kept, NULL);
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 2);
    assert_int_equal(p.ctl.result, -ECONNRESET);
    assert_int_equal(p.ctl.closed, 1);
    pair_end(&p);
}

static void every_waiting_call_completes_once_on_loss(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    for (int i = 0; i < 5; i++)
        end_ask(&p.ctl, "web", 0);
    int64_t cancelled = end_ask(&p.ctl, "web", 0);
    link_cancel(p.ctl.link, cancelled);
    link_cancel(p.ctl.link, cancelled);
    p.hub.keep = false;
    p.hub.free_in_handler = true;
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 5);
    assert_int_equal(p.ctl.closed, 1);
    end_ask(&p.ctl, "web", 0); /* on a dead link */
    assert_int_equal(p.ctl.answers, 5);
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 6);
    assert_int_equal(p.ctl.result, -ECONNRESET);
    pair_end(&p);
}

static void a_call_times_out_and_its_late_answer_is_ignored(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    end_ask(&p.ctl, "web", 700);
    loop_advance(p.loop, 699);
    assert_int_equal(p.ctl.answers, 0);
    loop_advance(p.loop, 1);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, -ETIMEDOUT);
    reply_ok(p.hub.kept, NULL);
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.closed, 0);
    pair_end(&p);
}

static void close_says_why_and_flushes(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    for (int i = 0; i < 100; i++)
        link_notify(p.hub.link, MSG_EVENT, &(struct msg_event){ .seq = i + 1, .kind = (char *)"push" });
    link_close(p.hub.link, "the hub is being upgraded");
    assert_int_equal(p.hub.closed, 0);
    end_settle(p.loop);
    assert_int_equal(p.ctl.calls, 100);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.closed, 1);
    assert_string_equal(p.ctl.reason, "the hub is being upgraded");
    pair_end(&p);
}

static void handlers_may_close_and_free(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.close_in_handler = p.hub.free_in_closed = true;
    end_ask(&p.ctl, "web", 0);
    end_ask(&p.ctl, "web", 0);
    end_settle(p.loop);
    assert_int_equal(p.hub.calls, 1);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.answers, 2);
    pair_end(&p);
    struct pair q = { 0 };
    pair_start(&q, ROLE_ADMIN);
    q.hub.free_in_handler = true;
    end_ask(&q.ctl, "web", 0);
    end_settle(q.loop);
    assert_int_equal(q.hub.closed, 0);
    assert_int_equal(q.ctl.closed, 1);
    pair_end(&q);
}

static void heartbeats_keep_an_idle_link(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    loop_advance(p.loop, 3600 * CLOCK_MS_PER_S);
    assert_int_equal(p.hub.closed + p.ctl.closed, 0);
    pair_end(&p);
}

static void roles_decide(void **state)
{
    static const struct {
        enum role role;
        bool expired;
        enum error_kind kind;
        const char *text;
    } rows[] = {
        { ROLE_ADMIN, false, ERROR_NONE, "" },
        { ROLE_DEPLOYER, false, ERROR_NONE, "" },
        { ROLE_VIEWER, false, ERROR_DENIED, "deploy is not for viewer \"ops\"" },
        { ROLE_DRONE, false, ERROR_DENIED, "deploy is not for drone \"ops\"" },
        { ROLE_NONE, false, ERROR_DENIED, "deploy needs an identity: join first" },
        { ROLE_ADMIN, true, ERROR_DENIED, "the certificate of ops expired; it may only renew" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct pair p = { 0 };
        pair_start(&p, rows[i].role);
        link_set_peer(p.hub.link,
            &(struct peer){ .role = rows[i].role, .name = (char *)"ops", .expired = rows[i].expired });
        link_call(p.ctl.link, MSG_DEPLOY,
            &(struct msg_deploy){ .request_id = (char *)"request-1", .target = (char *)"web" }, 0,
            end_answer_other, &p.ctl);
        end_settle(p.loop);
        assert_int_equal(p.ctl.answers, 1);
        assert_int_equal(p.ctl.kind, rows[i].kind);
        if (rows[i].kind)
            assert_string_equal(p.ctl.text, rows[i].text);
        pair_end(&p);
    }
}

static void a_refused_hello_says_why(void **state)
{
    struct pair p = { 0 };
    p.hub.check = -EACCES;
    pair_begin(&p, ROLE_ADMIN);
    end_settle(p.loop);
    assert_int_equal(p.hub.connected + p.ctl.connected, 0);
    assert_int_equal(p.hub.closed, 1);
    assert_int_equal(p.ctl.closed, 1);
    assert_string_equal(p.ctl.reason, "not somebody");
    assert_int_equal(link_refusal(p.ctl.link), ERROR_DENIED);
    pair_end(&p);
}

static void too_many_calls_are_busy(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    for (int i = 0; i < LINK_CALLS_MAX; i++)
        link_call(p.ctl.link, MSG_PING, &(struct msg_empty){ 0 }, 0, NULL, NULL);
    end_ask(&p.ctl, "web", 0);
    end_settle(p.loop);
    assert_int_equal(p.ctl.answers, 1);
    assert_int_equal(p.ctl.result, -EBUSY);
    assert_int_equal(p.hub.calls, 0);
    pair_end(&p);
}

static void an_answer_longer_than_a_frame_is_an_error(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    p.hub.keep = true;
    end_ask(&p.ctl, "web", 0);
    end_settle(p.loop);
    enum { N = 30 };
    struct status_row rows[N] = { 0 };
    char *big = xcalloc(1, 40001);
    memset(big, 'x', 40000);
    for (int i = 0; i < N; i++)
        rows[i] = (struct status_row){ .service = (char *)"web", .version = (char *)"1.0.0", .summary = big };
    reply_ok(p.hub.kept, &(struct msg_status){ .releases = rows, .n_releases = N });
    end_settle(p.loop);
    assert_int_equal(p.ctl.kind, ERROR_INTERNAL);
    assert_non_null(strstr(p.ctl.text, "status: the answer has 12"));
    assert_int_equal(p.hub.closed, 0);
    free(big);
    pair_end(&p);
}

static void congestion_is_told_and_ends(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    char *text = xcalloc(1, 8001);
    memset(text, 'x', 8000);
    struct log_line line = { .text = text };
    link_pause(p.ctl.link, true);
    int n = 0;
    while (!link_is_congested(p.hub.link)) {
        link_notify(p.hub.link, MSG_STREAM_LINES, &(struct msg_stream_lines){ .lines = &line, .n_lines = 1 });
        n++;
        end_settle(p.loop);
        assert_true(n < 10000);
    }
    assert_true(link_output_bytes(p.hub.link) > LINK_OUTPUT_HIGH);
    loop_advance(p.loop, 60 * CLOCK_MS_PER_S); /* silence of a paused link does not count on its side */
    assert_int_equal(p.ctl.closed, 0);
    link_pause(p.ctl.link, false);
    end_settle(p.loop);
    assert_int_equal(p.ctl.calls, n);
    assert_int_equal(p.hub.drained, 1);
    assert_false(link_is_congested(p.hub.link));
    free(text);
    pair_end(&p);
}

static void a_peer_that_takes_nothing_is_dropped(void **state)
{
    struct pair p = { 0 };
    pair_start(&p, ROLE_ADMIN);
    char *text = xcalloc(1, 8001);
    memset(text, 'x', 8000);
    struct log_line line = { .text = text };
    link_pause(p.ctl.link, true);
    for (int i = 0; i < 2000 && p.hub.closed == 0; i++) {
        link_notify(p.hub.link, MSG_STREAM_LINES, &(struct msg_stream_lines){ .lines = &line, .n_lines = 1 });
        end_settle(p.loop);
    }
    assert_int_equal(p.hub.closed, 1);
    assert_non_null(strstr(p.hub.reason, "too slow"));
    free(text);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_call_and_answer),
        cmocka_unit_test(notices_arrive_in_order_without_answer),
        cmocka_unit_test(a_kept_reply_is_answered_later_and_outlives_its_link),
        cmocka_unit_test(every_waiting_call_completes_once_on_loss),
        cmocka_unit_test(a_call_times_out_and_its_late_answer_is_ignored),
        cmocka_unit_test(close_says_why_and_flushes),
        cmocka_unit_test(handlers_may_close_and_free),
        cmocka_unit_test(heartbeats_keep_an_idle_link),
        cmocka_unit_test(roles_decide),
        cmocka_unit_test(a_refused_hello_says_why),
        cmocka_unit_test(too_many_calls_are_busy),
        cmocka_unit_test(an_answer_longer_than_a_frame_is_an_error),
        cmocka_unit_test(congestion_is_told_and_ends),
        cmocka_unit_test(a_peer_that_takes_nothing_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
