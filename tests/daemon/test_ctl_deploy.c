/* SPDX-License-Identifier: MIT */
/* Watching a deploy: to its end, through a loss of the hub, up to a time limit, until Ctrl-C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "tests/fakes/ctl_hub.h"

#define OPERATION                                                                                 \
    "{\"deploy\":\"d-4f2a\",\"service\":\"web\",\"version\":\"0.2.2\","                           \
    "\"commit\":\"35819ef700000000000000000000000000000000\",\"subject\":\"Fix the cart total\"," \
    "\"hosts\":[\"app1\"]}"
#define EVENT(seq, phase, rest) \
    "{\"deploy\":\"d-4f2a\",\"seq\":" #seq ",\"phase\":\"" phase "\",\"status\":\"done\"," rest "}\n"
#define EVENTS                                                \
    EVENT(1, "fetch", "\"host\":\"app1\",\"elapsed_ms\":100") \
    EVENT(2, "start", "\"host\":\"app1\",\"instance\":\"3f9a12c0\",\"text\":\":20117\"")
#define MORE_EVENTS \
    EVENT(2, "start", "\"text\":\"again\"") EVENT(3, "switch", "\"text\":\"epoch 2\",\"elapsed_ms\":6")
#define RESULT(outcome, text)                                                                       \
    "{\"deploy\":\"d-4f2a\",\"outcome\":\"" outcome "\",\"service\":\"web\",\"version\":\"0.2.2\"," \
    "\"text\":\"" text "\",\"elapsed_ms\":4300}"
#define HEADER "deploy d-4f2a  web@0.2.2  35819ef7 \"Fix the cart total\"  on app1\n"
#define LINES  "  ✓ fetch     app1 0.1s\n  ✓ start     app1 3f9a12c0 :20117\n"

static struct ctl_run run_line(struct ctl_hub *hub, const char *line, const struct ctl_hub_row *script)
{
    _cleanup_(strv_freep) char **words = strv_split(line, " ");
    strv_push_take(&words, xasprintf("--hub=%s", ctl_hub_address(hub)));
    ctl_hub_script(hub, script);
    return ctl_hub_run(hub, (const char *const *)words);
}

static void outcomes_are_exit_statuses(void **state)
{
    static const struct {
        const char *result;
        int status;
        const char *last;
    } rows[] = {
        // clang-format off
        { RESULT("done", "web@0.2.2 serves."),               0, "web@0.2.2 serves. 4.3s\n" },
        { RESULT("failed", "web@0.2.2 is not running."),     1,
          "web@0.2.2 is not running. 4.3s\nMore: stagecoachctl logs web@0.2.2\n" },
        { RESULT("reverted", "web@0.2.1 serves again."),     5, "web@0.2.1 serves again. 4.3s\n" },
        { RESULT("incomplete", "incomplete: router r2"),     4, "incomplete: router r2 4.3s\n" },
        // clang-format on
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct ctl_hub_row script[] = { { MSG_DEPLOY, OPERATION },
            { MSG_DEPLOY_WATCH, rows[i].result, .notice = MSG_DEPLOY_EVENT, .notices = EVENTS }, { 0 } };
        struct ctl_hub *hub = ctl_hub_new(false);
        struct ctl_run run = run_line(hub, "deploy web@0.2.2", script);
        _cleanup_(free_ptr) char *expected = xasprintf("%s%s%s", HEADER, LINES, rows[i].last);
        assert_string_equal(strbuf_str(&run.out), expected);
        assert_int_equal(run.status, rows[i].status);
        assert_string_equal(ctl_hub_calls(hub),
            "deploy {\"request_id\":\"ID\",\"target\":\"web@0.2.2\"}\n"
            "deploy_watch {\"deploy\":\"d-4f2a\",\"output\":true}\n");
        ctl_run_done(&run);
        ctl_hub_free(hub);
    }
}

static void a_lost_hub_is_found_again(void **state)
{
    static const struct ctl_hub_row script[] = {
        { MSG_DEPLOY, .after = AFTER_HANG_UP },
        { MSG_DEPLOY, OPERATION },
        { MSG_DEPLOY_WATCH, .notice = MSG_DEPLOY_EVENT, .notices = EVENTS, .after = AFTER_HANG_UP },
        { MSG_DEPLOY_WATCH, .after = AFTER_HANG_UP },
        { MSG_DEPLOY_WATCH, RESULT("done", "web@0.2.2 serves."), .notice = MSG_DEPLOY_EVENT,
            .notices = MORE_EVENTS },
        { 0 },
    };
    struct ctl_hub *hub = ctl_hub_new(false);
    struct ctl_run run = run_line(hub, "deploy web@0.2.2", script);
    assert_string_equal(
        strbuf_str(&run.out), HEADER LINES "  ✓ switch    epoch 2   6 ms\nweb@0.2.2 serves. 4.3s\n");
    assert_int_equal(run.status, 0);
    assert_true(ctl_hub_repeated(hub)); /* the same request, not a second one */
    assert_string_equal(ctl_hub_calls(hub),
        "deploy {\"request_id\":\"ID\",\"target\":\"web@0.2.2\"}\n"
        "deploy {\"request_id\":\"ID\",\"target\":\"web@0.2.2\"}\n"
        "deploy_watch {\"deploy\":\"d-4f2a\",\"output\":true}\n"
        "deploy_watch {\"deploy\":\"d-4f2a\",\"after\":2,\"output\":true}\n"
        "deploy_watch {\"deploy\":\"d-4f2a\",\"after\":2,\"output\":true}\n");
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void time_is_over_but_the_deploy_goes_on(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_DEPLOY, OPERATION },
        { MSG_DEPLOY_WATCH, .notice = MSG_DEPLOY_EVENT, .notices = EVENTS, .after = AFTER_SILENCE }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    struct ctl_run run = run_line(hub, "deploy web@0.2.2 --timeout=400ms", script);
    _cleanup_(free_ptr) char *expected = xasprintf(
        "time is over; the deploy goes on; stagecoachctl --hub=%s wait d-4f2a\n", ctl_hub_address(hub));
    assert_string_equal(strbuf_str(&run.err), expected);
    assert_int_equal(run.status, 4);
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void wait_takes_it_up_again(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_DEPLOY_WATCH, RESULT("done", "web@0.2.2 serves."),
                                                     .notice = MSG_DEPLOY_EVENT, .notices = EVENTS },
        { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    struct ctl_run run = run_line(hub, "wait d-4f2a", script);
    assert_string_equal(strbuf_str(&run.out), LINES "web@0.2.2 serves. 4.3s\n");
    assert_int_equal(run.status, 0);
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void json_is_one_object_per_line(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_DEPLOY, OPERATION },
        { MSG_DEPLOY_WATCH, RESULT("done", "web@0.2.2 serves."), .notice = MSG_DEPLOY_EVENT,
            .notices = EVENTS },
        { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    struct ctl_run run = run_line(hub, "deploy web@0.2.2 --json", script);
    _cleanup_(strv_freep) char **lines = strv_split(strbuf_str(&run.out), "\n");
    const struct schema *const schemas[] = { msg_by_type(MSG_DEPLOY)->answer, &msg_deploy_event_schema,
        &msg_deploy_event_schema, msg_by_type(MSG_DEPLOY_WATCH)->answer };
    assert_int_equal(strv_len(lines), ARRAY_SIZE(schemas));
    for (size_t i = 0; i < ARRAY_SIZE(schemas); i++) {
        struct error err = { 0 };
        void *m = xcalloc(1, schemas[i]->size);
        if (schema_read(schemas[i], lines[i], strlen(lines[i]), m, &err) < 0)
            fail_msg("%s: %s", lines[i], err.text);
        schema_clear(schemas[i], m);
        free(m);
    }
    assert_non_null(strstr(lines[3], "\"outcome\":\"done\""));
    assert_int_equal(run.status, 0);
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void on_a_terminal_lines_change_in_place(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_DEPLOY, OPERATION },
        { MSG_DEPLOY_WATCH, RESULT("done", "web@0.2.2 serves."), .notice = MSG_DEPLOY_EVENT,
            .notices = EVENTS },
        { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    _cleanup_(free_ptr) char *address = xasprintf("--hub=%s", ctl_hub_address(hub));
    ctl_hub_script(hub, script);
    struct ctl_run run =
        ctl_hub_run_terminal(hub, (const char *const[]){ "deploy", "web@0.2.2", address, NULL }, 80, NULL);
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(strbuf_str(&run.out), "\r\033[1A"));
    assert_non_null(strstr(strbuf_str(&run.out), "\033[32m✓\033[0m fetch"));
    const char *last = strstr(strbuf_str(&run.out), "web@0.2.2 serves. 4.3s\r\n");
    assert_non_null(last);
    assert_string_equal(last, "web@0.2.2 serves. 4.3s\r\n");
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void ctrl_c_leaves_the_deploy_alone(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_DEPLOY, OPERATION },
        { MSG_DEPLOY_WATCH, .notice = MSG_DEPLOY_EVENT, .notices = EVENTS, .after = AFTER_SILENCE }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    _cleanup_(free_ptr) char *address = xasprintf("--hub=%s", ctl_hub_address(hub));
    ctl_hub_script(hub, script);
    struct ctl_run run = ctl_hub_run_terminal(
        hub, (const char *const[]){ "deploy", "web@0.2.2", address, NULL }, 80, ":20117");
    assert_int_equal(run.status, 4);
    assert_non_null(strstr(strbuf_str(&run.out), "the deploy goes on; stagecoachctl --hub="));
    assert_non_null(strstr(strbuf_str(&run.out), "wait d-4f2a"));
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_are_exit_statuses),
        cmocka_unit_test(a_lost_hub_is_found_again),
        cmocka_unit_test(time_is_over_but_the_deploy_goes_on),
        cmocka_unit_test(wait_takes_it_up_again),
        cmocka_unit_test(json_is_one_object_per_line),
        cmocka_unit_test(on_a_terminal_lines_change_in_place),
        cmocka_unit_test(ctrl_c_leaves_the_deploy_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
