/* SPDX-License-Identifier: MIT */
/* Every verb, as the real program against a fake hub: what is sent, what is printed, how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/strv.h"
#include "tests/fakes/ctl_hub.h"

#define RELEASE(s, v) \
    "{\"service\":\"" s "\",\"version\":\"" v "\",\"traffic_percent\":100,\"wanted\":1,\"running\":1}"

static const struct {
    const char *name, *line;
    struct ctl_hub_row script[3];
    const char *out, *err; /* whole; NULL: not looked at */
    int status;
    const char *calls; /* whole */
} rows[] = {
    // clang-format off
    { "list", "list",
      { { MSG_LIST, "{\"releases\":[" RELEASE("web", "0.2.2") "]}" } },
      "SERVICE  VERSION  COMMIT  TRAFFIC  INSTANCES  ADDRESSES  LAST HIT\n"
      "web      0.2.2               100%  1/1                   never\n",
      "", 0, "list {\"limit\":1000}\n" },
    { "pages are joined", "list web",
      { { MSG_LIST, "{\"releases\":[" RELEASE("web", "0.1.0") "],\"next\":\"p2\"}" },
        { MSG_LIST, "{\"releases\":[" RELEASE("web", "0.2.0") "]}" } },
      "SERVICE  VERSION  COMMIT  TRAFFIC  INSTANCES  ADDRESSES  LAST HIT\n"
      "web      0.1.0               100%  1/1                   never\n"
      "web      0.2.0               100%  1/1                   never\n",
      "", 0,
      "list {\"target\":\"web\",\"limit\":1000}\nlist {\"target\":\"web\",\"cursor\":\"p2\",\"limit\":1000}\n" },
    { "pages that never end", "ps",
      { { MSG_PS, "{\"instances\":[],\"next\":\"p2\"}" }, { MSG_PS, "{\"instances\":[],\"next\":\"p2\"}" } },
      "", "stagecoachctl: the hub sends the same page of the list over and over\n", 1, NULL },
    { "json", "list --json",
      { { MSG_LIST, "{\"releases\":[],\"next\":null}" } },
      "{\"releases\":[]}\n", "", 0, "list {\"limit\":1000}\n" },
    { "options before the verb", "--json --timeout 5s list",
      { { MSG_LIST, "{\"releases\":[]}" } }, "{\"releases\":[]}\n", "", 0, NULL },
    { "a refusal", "deploy web@0.2.4 --instances=9",
      { { MSG_DEPLOY, .kind = ERROR_REFUSED, .error = "9 instances of web@0.2.4 don't fit\n  app1  room for 3\x1b[1m" } },
      "", "refused: 9 instances of web@0.2.4 don't fit\n  app1  room for 3\\x1b[1m\n", 1,
      "deploy {\"request_id\":\"ID\",\"target\":\"web@0.2.4\",\"instances\":9}\n" },
    { "what is not there", "status wbe",
      { { MSG_STATUS, .kind = ERROR_NOT_FOUND, .error = "there is no service \"wbe\"" } },
      "", "stagecoachctl: there is no service \"wbe\"\n", 1, NULL },
    { "a refusal for programs", "scale web=3 --json",
      { { MSG_SCALE, .kind = ERROR_DENIED, .error = "only viewers" } },
      "{\"error\":\"only viewers\",\"status\":1}\n", "refused: only viewers\n", 1, NULL },
    { "everything that deploy takes",
      "deploy web --host=app1 --host app2 --no-traffic --env=A=1 --supersede --rebuild --no-wait",
      { { MSG_DEPLOY, "{\"deploy\":\"d-4f2a\",\"service\":\"web\",\"version\":\"0.2.2\",\"hosts\":[\"app1\"]}" } },
      "deploy d-4f2a  web@0.2.2  on app1\n", NULL, 0,
      "deploy {\"request_id\":\"ID\",\"target\":\"web\",\"hosts\":[\"app1\",\"app2\"],\"no_traffic\":true,"
      "\"supersede\":true,\"rebuild\":true,\"env\":{\"A\":\"…\"}}\n" },
    { "nothing to do", "deploy web",
      { { MSG_DEPLOY, "{\"text\":\"web@0.2.2 runs already, 2 of 2\"}" } },
      "web@0.2.2 runs already, 2 of 2\n", "", 0, NULL },
    { "scale with a blank", "scale web@0.2.2 3 --no-wait",
      { { MSG_SCALE, "{\"deploy\":\"d-4f2a\"}" } }, "deploy d-4f2a\n", NULL, 0,
      "scale {\"request_id\":\"ID\",\"target\":\"web@0.2.2\",\"instances\":3}\n" },
    { "scale without a number", "scale web", { { 0 } }, "", NULL, 2, "" },
    { "scale beyond the limit", "scale web=1001", { { 0 } }, "", NULL, 2, "" },
    { "rollback", "rollback web --no-wait",
      { { MSG_ROLLBACK, "{\"deploy\":\"d-4f2b\",\"service\":\"web\",\"version\":\"0.2.1\"}" } },
      "deploy d-4f2b  web@0.2.1\n", NULL, 0, "rollback {\"request_id\":\"ID\",\"target\":\"web\"}\n" },
    { "stop", "stop 3f9a12c0 --no-wait", { { MSG_STOP, "{\"text\":\"3f9a12c0 is stopped\"}" } },
      "3f9a12c0 is stopped\n", "", 0, "stop {\"request_id\":\"ID\",\"target\":\"3f9a12c0\"}\n" },
    { "start", "start web", { { MSG_START, "{\"text\":\"nothing to do\"}" } }, "nothing to do\n", "", 0, NULL },
    { "restart", "restart web", { { MSG_RESTART, "{\"text\":\"nothing to do\"}" } }, "nothing to do\n", "", 0, NULL },
    { "servers", "servers app1",
      { { MSG_SERVERS, "{\"hosts\":[{\"host\":\"app1\",\"role\":\"drone\",\"online\":true}]}" } },
      "app1  (nothing runs here)\n", "", 0, "servers {\"target\":\"app1\",\"limit\":1000}\n" },
    { "ps of nothing", "ps web", { { MSG_PS, "{\"instances\":[]}" } }, "nothing runs\n", "", 0, NULL },
    { "status", "status web",
      { { MSG_STATUS, "{\"releases\":[{\"service\":\"web\",\"version\":\"0.2.2\",\"summary\":\"not running\"}]}" } },
      "web@0.2.2   not running\n", "", 0, "status {\"target\":\"web\",\"limit\":1000}\n" },
    { "deps", "deps",
      { { MSG_DEPS, "{\"edges\":[{\"service\":\"web\",\"version\":\"0.2.2\",\"name\":\"auth\",\"range\":\"^0.2\","
                    "\"resolved\":\"0.2.0\"}]}" } },
      "web@0.2.2\n└── auth@0.2.0            ^0.2\n", "", 0, NULL },
    { "history", "history web -n 5 --before=100",
      { { MSG_HISTORY, "{\"events\":[{\"seq\":8,\"at_us\":1795254060000000,\"kind\":\"push\",\"text\":\"x\"}]}" } },
      "2026-11-21 09:41:00  push  x\n", "", 0, "history {\"target\":\"web\",\"before\":100,\"limit\":5}\n" },
    { "hosts", "host list",
      { { MSG_HOST_LIST, "{\"hosts\":[{\"host\":\"edge\",\"role\":\"router\",\"online\":true,\"version\":\"0.1.0\"}]}" } },
      "HOST  ROLE    ADDRESS  STATE      VERSION  NOTE\nedge  router           connected  0.1.0\n", "", 0, NULL },
    { "host remove", "host remove edge --router", { { MSG_HOST_REMOVE, "{}" } },
      "router \"edge\" is removed\n", "", 0,
      "host_remove {\"request_id\":\"ID\",\"role\":\"router\",\"name\":\"edge\"}\n" },
    { "revoke", "revoke drone app1", { { MSG_IDENTITY_REVOKE, "{}" } },
      "drone \"app1\" is not let in any more\n", "", 0,
      "identity_revoke {\"request_id\":\"ID\",\"role\":\"drone\",\"name\":\"app1\"}\n" },
    { "token create", "token create --role=deployer --uses=2 --valid=2h --service=web",
      { { MSG_TOKEN_CREATE, "{\"id\":\"0a1b2c3d\",\"token\":\"sc1.x.y\",\"role\":\"deployer\"}" } },
      "sc1.x.y\n", "", 0,
      "token_create {\"request_id\":\"ID\",\"role\":\"deployer\",\"uses\":2,\"valid_ms\":7200000,\"services\":[\"web\"]}\n" },
    { "token without a role", "token create", { { 0 } }, "", NULL, 2, "" },
    { "token of no role", "token create --role=king", { { 0 } }, "",
      "stagecoachctl: a role is one of admin, deployer, viewer, drone or router, not \"king\"\n"
      "usage: stagecoachctl token create --role=ROLE [--uses=N] [--valid=TIME] [--name=NAME] [--service=SERVICE]... "
      "[--password=PASSWORD]\n", 2, "" },
    { "token list", "token list --json", { { MSG_TOKEN_LIST, "{\"tokens\":[]}" } }, "{\"tokens\":[]}\n", "", 0, NULL },
    { "token revoke", "token revoke 0a1b2c3d", { { MSG_TOKEN_REVOKE, "{}" } },
      "token 0a1b2c3d is revoked\n", "", 0, "token_revoke {\"request_id\":\"ID\",\"id\":\"0a1b2c3d\"}\n" },
    { "logs", "logs web -n 2",
      { { MSG_LOGS, "{}", .notice = MSG_STREAM_LINES,
          .notices = "{\"lines\":[{\"at_us\":1795254060000000,\"host\":\"app1\",\"service\":\"web\",\"version\":\"0.2.2\","
                     "\"instance\":\"3f9a12c0\",\"text\":\"GET / \\u001b[2J\"}]}" } },
      "09:41:00 app1 web@0.2.2 3f9a12c0 | GET / \\x1b[2J\n", "", 0, "logs {\"target\":\"web\",\"lines\":2}\n" },
    { "logs that break off", "logs web",
      { { MSG_LOGS, "{\"reason\":\"app1 was too slow\"}" } },
      "", "stagecoachctl: the log ends here: app1 was too slow\n", 1, NULL },
    { "logs for programs", "logs web --json",
      { { MSG_LOGS, "{}", .notice = MSG_STREAM_LINES, .notices = "{\"lines\":[{\"instance\":\"3f9a12c0\",\"text\":\"x\"}]}" } },
      NULL, "", 0, NULL },
    { "monitor", "monitor --after=5",
      { { MSG_MONITOR, "{}", .notice = MSG_EVENT,
          .notices = "{\"seq\":6,\"at_us\":1795254060000000,\"who\":\"ops\",\"kind\":\"deploy\",\"service\":\"web\","
                     "\"version\":\"0.2.2\",\"text\":\"begun\"}" } },
      "09:41:00  ops       deploy     web@0.2.2  begun\n", "", 0, "monitor {\"after\":5}\n" },
    { "version", "version",
      { { MSG_VERSION, "{\"program\":\"stagecoach-hubd\",\"version\":\"0.1.0\",\"protocol\":1}" } },
      "stagecoachctl " STAGECOACH_VERSION "\nstagecoach-hubd 0.1.0  protocol 1\n", "", 0, NULL },
    { "hub status", "hub status", { { MSG_HUB_STATUS, "{\"items\":[{\"name\":\"links\",\"value\":\"3\"}]}" } },
      "links  3\n", "", 0, NULL },
    { "an unknown verb", "lst", { { 0 } }, "", "stagecoachctl: there is no verb \"lst\", did you mean \"list\"?\n", 2, "" },
    { "an unknown verb of a family", "token make", { { 0 } }, "", NULL, 2, "" },
    { "a deploy that is none", "wait 4f2a", { { 0 } }, "", NULL, 2, "" },
    { "push without a remote", "push", { { 0 } }, "", NULL, 2, "" },
    { "older habits", "ls", { { MSG_LIST, "{\"releases\":[]}" } }, NULL, "", 0, "list {\"limit\":1000}\n" },
    // clang-format on
};

static bool differs(const char *got, const char *expected)
{
    return expected && strcmp(got, expected) != 0;
}

static void verbs_do_what_they_say(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ctl_hub *hub = ctl_hub_new(false);
        _cleanup_(strv_freep) char **words = strv_split(rows[i].line, " ");
        strv_push_take(&words, xasprintf("--hub=%s", ctl_hub_address(hub)));
        ctl_hub_script(hub, rows[i].script);
        struct ctl_run run = ctl_hub_run(hub, (const char *const *)words);
        const char *out = strbuf_str(&run.out), *err = strbuf_str(&run.err);
        if (run.status != rows[i].status || differs(out, rows[i].out) || differs(err, rows[i].err) ||
            differs(ctl_hub_calls(hub), rows[i].calls))
            fail_msg("%s: status %d, out\n%s\nerr\n%s\ncalls\n%s", rows[i].name, run.status, out, err,
                ctl_hub_calls(hub));
        ctl_run_done(&run);
        ctl_hub_free(hub);
    }
}

static void no_hub_is_status_3(void **state)
{
    static const struct {
        const char *words[4];
        const char *err;
    } cases[] = {
        // clang-format off
        { { "list", "--hub=/nonexistent/hub.sock", NULL },
          "stagecoachctl: can't reach /nonexistent/hub.sock: no such file or directory; is stagecoach-hubd enabled there?\n" },
        { { "deploy", "web", "--hub=/nonexistent/hub.sock", NULL }, NULL },
        // clang-format on
    };
    struct ctl_hub *hub = ctl_hub_new(false);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ctl_run run = ctl_hub_run(hub, cases[i].words);
        assert_int_equal(run.status, 3);
        if (cases[i].err)
            assert_string_equal(strbuf_str(&run.err), cases[i].err);
        ctl_run_done(&run);
    }
    ctl_hub_free(hub);
}

static void a_silent_hub_ends_at_the_timeout(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_LIST, .after = AFTER_SILENCE }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(false);
    _cleanup_(free_ptr) char *address = xasprintf("--hub=%s", ctl_hub_address(hub));
    ctl_hub_script(hub, script);
    struct ctl_run run = ctl_hub_run(hub, (const char *const[]){ "list", "--timeout=300ms", address, NULL });
    assert_int_equal(run.status, 4);
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

static void help_is_everywhere(void **state)
{
    static const char *const lines[] = { "help", "--help", "help deploy", "deploy --help", "token create -h",
        "help token", "--version" };
    struct ctl_hub *hub = ctl_hub_new(false);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        _cleanup_(strv_freep) char **words = strv_split(lines[i], " ");
        struct ctl_run run = ctl_hub_run(hub, (const char *const *)words);
        if (run.status != 0 || run.out.len == 0 || run.err.len > 0)
            fail_msg("%s: status %d, %s", lines[i], run.status, strbuf_str(&run.err));
        ctl_run_done(&run);
    }
    ctl_hub_free(hub);
}

/* What shells offer is read off the same tables. */
static void completion_knows_verbs_options_and_names(void **state)
{
    static const struct {
        const char *words[8];
        const char *out;
    } cases[] = {
        { { "dep", NULL }, "deploy\ndeps\n" },
        { { "remote", "re", NULL }, "remove\n" },
        { { "deploy", "--no-", NULL }, "--no-traffic\n--no-wait\n" },
        { { "token", "create", "--role=d", NULL }, "--role=deployer\n--role=drone\n" },
        { { "deploy", "w", NULL }, "" },
        { { "nonsense", "x", NULL }, "" },
    };
    struct ctl_hub *hub = ctl_hub_new(false);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(strv_freep) char **words = NULL;
        strv_push(&words, "complete");
        strv_push(&words, "--hub=/nonexistent/hub.sock");
        strv_push(&words, "--");
        for (const char *const *w = cases[i].words; *w; w++)
            strv_push(&words, *w);
        struct ctl_run run = ctl_hub_run(hub, (const char *const *)words);
        assert_string_equal(strbuf_str(&run.out), cases[i].out);
        assert_int_equal(run.status, 0);
        ctl_run_done(&run);
    }
    ctl_hub_free(hub);
}

static void completion_asks_the_hub_for_releases(void **state)
{
    static const struct ctl_hub_row script[] = {
        { MSG_LIST, "{\"releases\":[" RELEASE("web", "0.1.0") "," RELEASE("web", "0.2.0") "]}" },
        { MSG_LIST, "{\"releases\":[" RELEASE("web", "0.1.0") "," RELEASE("web", "0.2.0") "]}" },
        { 0 },
    };
    struct ctl_hub *hub = ctl_hub_new(false);
    _cleanup_(free_ptr) char *address = xasprintf("--hub=%s", ctl_hub_address(hub));
    ctl_hub_script(hub, script);
    struct ctl_run run =
        ctl_hub_run(hub, (const char *const[]){ "complete", address, "--", "deploy", "w", NULL });
    assert_string_equal(strbuf_str(&run.out), "web\n");
    ctl_run_done(&run);
    run = ctl_hub_run(hub, (const char *const[]){ "complete", address, "--", "deploy", "web@0.2", NULL });
    assert_string_equal(strbuf_str(&run.out), "web@0.2.0\n");
    ctl_run_done(&run);
    ctl_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs_do_what_they_say),
        cmocka_unit_test(no_hub_is_status_3),
        cmocka_unit_test(a_silent_hub_ends_at_the_timeout),
        cmocka_unit_test(help_is_everywhere),
        cmocka_unit_test(completion_knows_verbs_options_and_names),
        cmocka_unit_test(completion_asks_the_hub_for_releases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
