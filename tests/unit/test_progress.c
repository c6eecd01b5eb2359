/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/output.h"
#include "ctl/progress.h"

struct event_row {
    int phase, status;
    const char *host, *instance, *text;
    int64_t elapsed_ms;
    const char *lines[4];
};

static const struct event_row good_deploy[] = {
    // clang-format off
    { DEPLOY_FETCH,   STEP_DONE,    "app2", NULL,       "14 objects, 6.1 kB", 100, { NULL } },
    { DEPLOY_FETCH,   STEP_DONE,    "app1", NULL,       "14 objects, 6.1 kB", 100, { NULL } },
    { DEPLOY_BUILD,   STEP_RUNNING, "app1", NULL,       NULL,                 0,   { NULL } },
    { DEPLOY_BUILD,   STEP_OUTPUT,  "app1", NULL,       NULL,                 0,   { "added 71 packages", NULL } },
    { DEPLOY_BUILD,   STEP_DONE,    "app1", NULL,       "npm ci",             3200, { NULL } },
    { DEPLOY_BUILD,   STEP_DONE,    "app2", NULL,       "npm ci",             3400, { NULL } },
    { DEPLOY_START,   STEP_DONE,    "app1", "3f9a12c0", ":20117",             210, { NULL } },
    { DEPLOY_START,   STEP_DONE,    "app2", "81c05e2d", ":20042",             230, { NULL } },
    { DEPLOY_HEALTHY, STEP_DONE,    NULL,   NULL,       "3 of 3 /healthz",    400, { NULL } },
    { DEPLOY_SWITCH,  STEP_DONE,    NULL,   NULL,       "epoch 118 on 2 of 2 routers", 6, { NULL } },
    { DEPLOY_DRAIN,   STEP_DONE,    NULL,   NULL,       "web@0.2.1: 41 requests finished", 0, { NULL } },
    // clang-format on
};

static const struct event_row bad_deploy[] = {
    // clang-format off
    { DEPLOY_FETCH, STEP_DONE,    "app1", NULL,       NULL, 100, { NULL } },
    { DEPLOY_FETCH, STEP_DONE,    "app2", NULL,       NULL, 120, { NULL } },
    { DEPLOY_START, STEP_RUNNING, "app2", "81c05e2d", NULL, 0,   { NULL } },
    { DEPLOY_START, STEP_FAILED,  "app1", "3f9a12c0", "exited with status 1 after 0.21s", 210,
      { "Error: Cannot find module 'express'", "    at \033[31mModule\r", NULL } },
    // clang-format on
};

static char *run(const struct event_row *events, size_t n, const struct msg_deploy_result *result,
    const struct style *style)
{
    struct output o = { .ops = &output_text, .style = *style, .now = { 1000000000 } };
    struct progress *p = progress_new(&o, style->live);
    for (size_t i = 0; i < n; i++) {
        const struct msg_deploy_event m = {
            .deploy = (char[]){ "d-4f2a" },
            .seq = (int64_t)i + 1,
            .phase = events[i].phase,
            .status = events[i].status,
            .host = (char *)(uintptr_t)events[i].host,
            .instance = (char *)(uintptr_t)events[i].instance,
            .text = (char *)(uintptr_t)events[i].text,
            .lines = (char **)(uintptr_t)events[i].lines,
            .elapsed_ms = events[i].elapsed_ms,
        };
        progress_event(p, &m);
    }
    if (result)
        progress_result(p, result);
    progress_free(p);
    return strbuf_steal(&o.text);
}

/* The screen after all that: lines, with the escapes that progress uses carried out. */
static char *screen(const char *bytes)
{
    char **lines = NULL;
    size_t row = 0;
    struct strbuf line = STRBUF_INIT;
    for (const char *s = bytes; *s; s++) {
        if (*s == '\n') {
            if (row < strv_len(lines))
                str_set(&lines[row], strbuf_str(&line)); /* written over */
            else
                strv_push(&lines, strbuf_str(&line));
            strbuf_clear(&line);
            row++;
        } else if (*s == '\033') {
            char *end;
            long n = strtol(s + 2, &end, 10);
            assert_int_equal(s[1], '[');
            if (*end == 'A') {
                assert_true(n > 0 && (size_t)n <= row);
                row -= (size_t)n;
            } else if (*end == 'J') {
                for (size_t i = row; i < strv_len(lines); i++)
                    free(lines[i]);
                if (lines)
                    lines[row] = NULL;
            } else {
                assert_true(*end == 'm' || *end == 'K');
            }
            s = end;
        } else if (*s != '\r') {
            strbuf_addc(&line, *s);
        }
    }
    assert_int_equal(line.len, 0);
    char *joined = strv_join(lines, "\n");
    strv_free(lines);
    strbuf_done(&line);
    return joined;
}

static const struct msg_deploy_result good_result = {
    .outcome = OUTCOME_DONE,
    .text = (char[]){ "web@0.2.2 serves." },
    .elapsed_ms = 4300,
};

static const struct msg_deploy_result bad_result = {
    .outcome = OUTCOME_FAILED,
    .service = (char[]){ "web" },
    .version = (char[]){ "0.2.3" },
    .text = (char[]){ "web@0.2.3 is not running. web@0.2.2 serves on, untouched." },
    .elapsed_ms = 3600,
};

static void one_line_per_event(void **state)
{
    const struct style style = { .utf8 = true };
    _cleanup_(free_ptr) char *got = run(good_deploy, ARRAY_SIZE(good_deploy), &good_result, &style);
    assert_string_equal(got,
        "  ✓ fetch     app2 0.1s 14 objects, 6.1 kB\n"
        "  ✓ fetch     app1 0.1s 14 objects, 6.1 kB\n"
        "  · build     app1\n"
        "    app1 | added 71 packages\n"
        "  ✓ build     app1 3.2s npm ci\n"
        "  ✓ build     app2 3.4s npm ci\n"
        "  ✓ start     app1 3f9a12c0 :20117\n"
        "  ✓ start     app2 81c05e2d :20042\n"
        "  ✓ healthy   3 of 3 /healthz   0.4s\n"
        "  ✓ switch    epoch 118 on 2 of 2 routers   6 ms\n"
        "  ✓ drain     web@0.2.1: 41 requests finished\n"
        "web@0.2.2 serves. 4.3s\n");
}

static void lines_change_in_place(void **state)
{
    const struct style style = { .utf8 = true, .terminal = true, .live = true, .color = true, .width = 60 };
    _cleanup_(free_ptr) char *bytes = run(good_deploy, ARRAY_SIZE(good_deploy), &good_result, &style);
    _cleanup_(free_ptr) char *got = screen(bytes);
    assert_string_equal(got,
        "  ✓ fetch     app1 0.1s   app2 0.1s        14 objects, 6.1 kB\n"
        "  ✓ build     app1 3.2s   app2 3.4s        npm ci\n"
        "  ✓ start     app1 3f9a12c0 :20117   app2 81c05e2d :20042\n"
        "  ✓ healthy   3 of 3 /healthz   0.4s\n"
        "  ✓ switch    epoch 118 on 2 of 2 routers   6 ms\n"
        "  ✓ drain     web@0.2.1: 41 requests finished\n"
        "web@0.2.2 serves. 4.3s");
}

static void failures_show_why(void **state)
{
    static const char expected[] = "  ✓ fetch     app1 0.1s   app2 0.1s\n"
                                   "  ✗ start     app1 exited with status 1 after 0.21s\n"
                                   "    | Error: Cannot find module 'express'\n"
                                   "    |     at \\x1b[31mModule\\x0d\n"
                                   "web@0.2.3 is not running. web@0.2.2 serves on, untouched. 3.6s\n"
                                   "More: stagecoachctl logs web@0.2.3";
    const struct style live = { .utf8 = true, .terminal = true, .live = true, .width = 80 };
    _cleanup_(free_ptr) char *bytes = run(bad_deploy, ARRAY_SIZE(bad_deploy), &bad_result, &live);
    _cleanup_(free_ptr) char *got = screen(bytes);
    assert_string_equal(got, expected);
    const struct style ascii = { 0 };
    _cleanup_(free_ptr) char *plain = run(bad_deploy, ARRAY_SIZE(bad_deploy), &bad_result, &ascii);
    assert_non_null(strstr(plain, "  ! start     app1 exited with status 1 after 0.21s\n    | Error:"));
    assert_null(strchr(plain, '\033'));
}

/* A line that the terminal would wrap is two lines when they are counted back. */
static void live_lines_fit_the_terminal(void **state)
{
    const struct style style = { .utf8 = true, .terminal = true, .live = true, .width = 30 };
    _cleanup_(free_ptr) char *bytes = run(good_deploy, ARRAY_SIZE(good_deploy), NULL, &style);
    _cleanup_(free_ptr) char *got = screen(bytes);
    _cleanup_(strv_freep) char **lines = strv_split(got, "\n");
    char *line;
    size_t n = 0;
    strv_for_each (line, lines) {
        n++;
        assert_true(mbstowcs(NULL, line, 0) < 30);
    }
    assert_int_equal(n, DEPLOY_PHASE_MAX_);
}

static void build_output_of_the_last_host_stays_below(void **state)
{
    static const struct event_row events[] = {
        { DEPLOY_BUILD, STEP_RUNNING, "app1", NULL, NULL, 0, { NULL } },
        { DEPLOY_BUILD, STEP_OUTPUT, "app1", NULL, NULL, 0, { "one", "two", "three", NULL } },
        { DEPLOY_BUILD, STEP_OUTPUT, "app1", NULL, NULL, 0, { "four", "five", "six", NULL } },
        { DEPLOY_BUILD, STEP_OUTPUT, "app1", NULL, NULL, 0, { "seven\t\033[H", NULL } },
    };
    const struct style style = { .terminal = true, .live = true, .width = 80 };
    _cleanup_(free_ptr) char *bytes = run(events, ARRAY_SIZE(events), NULL, &style);
    _cleanup_(free_ptr) char *got = screen(bytes);
    assert_string_equal(got,
        "  . build     app1\n    two\n    three\n    four\n    five\n    six\n"
        "    seven\\x09\\x1b[H");
}

static void a_clock_runs_while_nothing_is_told(void **state)
{
    struct output o = {
        .ops = &output_text, .style = { .live = true, .terminal = true }, .now = { 1000000000 }
    };
    struct progress *p = progress_new(&o, true);
    progress_tick(p, 1000100000);
    assert_null(strchr(strbuf_str(&o.text), '\n'));
    strbuf_clear(&o.text);
    progress_tick(p, 1001500000);
    assert_string_equal(strbuf_str(&o.text), "  . 1.5s\033[K\n\033[J");
    strbuf_clear(&o.text);
    progress_result(p, &good_result);
    assert_string_equal(strbuf_str(&o.text), "\r\033[1A\033[Jweb@0.2.2 serves. 4.3s\n");
    progress_free(p);
    strbuf_done(&o.text);
}

static void what_is_out_of_range_is_ignored(void **state)
{
    static const struct event_row events[] = {
        { -1, STEP_DONE, "app1", NULL, NULL, 0, { NULL } },
        { DEPLOY_PHASE_MAX_, STEP_DONE, "app1", NULL, NULL, 0, { NULL } },
        { DEPLOY_FETCH, STEP_STATUS_MAX_, "app1", NULL, NULL, 0, { NULL } },
    };
    _cleanup_(free_ptr) char *got = run(events, ARRAY_SIZE(events), NULL, &(struct style){ .live = true });
    assert_string_equal(got, "");
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_per_event),
        cmocka_unit_test(lines_change_in_place),
        cmocka_unit_test(failures_show_why),
        cmocka_unit_test(live_lines_fit_the_terminal),
        cmocka_unit_test(build_output_of_the_last_host_stays_below),
        cmocka_unit_test(a_clock_runs_while_nothing_is_told),
        cmocka_unit_test(what_is_out_of_range_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
