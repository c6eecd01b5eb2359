/* SPDX-License-Identifier: MIT */
/* Joining and remotes, over TLS with a CA of the fake hub's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/identity.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/statefile.h"
#include "common/strv.h"
#include "tests/fakes/ctl_hub.h"

static struct ctl_run run_line(struct ctl_hub *hub, const char *line)
{
    _cleanup_(strv_freep) char **words = strv_split(line, " ");
    return ctl_hub_run(hub, (const char *const *)words);
}

static void put(struct ctl_hub *hub, const char *file, const char *text)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", ctl_hub_directory(hub), file);
    assert_int_equal(statefile_write(path, text, strlen(text), 0600, NULL), 0);
}

static char *get(struct ctl_hub *hub, const char *file)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", ctl_hub_directory(hub), file);
    struct strbuf text = STRBUF_INIT;
    assert_int_equal(statefile_read(path, 1024 * 1024, &text, NULL), 0);
    return strbuf_steal(&text);
}

static void put_token(struct ctl_hub *hub, const char *pin, const char *secret)
{
    _cleanup_(free_ptr) char *token = xasprintf("sc1.%s.%s\n", pin, secret);
    put(hub, "token", token);
}

/* Runs a line with %s replaced by the hub's address; compares status and, if given, part of what it says. */
static void expect(struct ctl_hub *hub, const char *line, int status, const char *says)
{
    _cleanup_(strv_freep) char **parts = strv_split(line, "%");
    _cleanup_(free_ptr) char *whole =
        strv_len(parts) > 1 ? xasprintf("%s%s%s", parts[0], ctl_hub_address(hub), parts[1]) : xstrdup(line);
    struct ctl_run run = run_line(hub, whole);
    _cleanup_(free_ptr) char *all = xasprintf("%s%s", strbuf_str(&run.out), strbuf_str(&run.err));
    if (run.status != status || (says && !strstr(all, says)))
        fail_msg("%s: status %d\n%s", whole, run.status, all);
    ctl_run_done(&run);
}

static void a_host_joins(void **state)
{
    struct ctl_hub *hub = ctl_hub_new(true);
    _cleanup_(free_ptr) char *dir = xasprintf("%s/drone/identity", ctl_hub_directory(hub));
    struct identity id;
    struct stat st;
    put_token(hub, ctl_hub_pin(hub), "drone-secret");
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone", 0, "app1 joined 127.0.0.1:");
    assert_int_equal(identity_load(dir, &id, NULL), 0);
    assert_string_equal(id.hub, ctl_hub_address(hub));
    assert_string_equal(id.pin, ctl_hub_pin(hub));
    assert_string_equal(id.name, "app1");
    struct pki_identity who = { 0 };
    assert_int_equal(pki_cert_read(id.cert_pem, &who, NULL), 0);
    assert_int_equal(who.role, ROLE_DRONE);
    assert_false(identity_wants_renewal(&id, clock_wall()));
    pki_identity_done(&who);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    _cleanup_(free_ptr) char *key = xstrdup(id.key_pem);
    identity_done(&id);
    /* A second time only when told so, and then everything is new. */
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone", 1, "has joined");
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone --again", 0, "app1 joined");
    assert_int_equal(identity_load(dir, &id, NULL), 0);
    assert_string_not_equal(id.key_pem, key);
    identity_done(&id);
    ctl_hub_free(hub);
}

static void the_secret_is_sent_to_nobody_else(void **state)
{
    struct ctl_hub *hub = ctl_hub_new(true);
    static const char other[] = "00000000000000000000000000000000000000000000000000000000000000ff";
    put_token(hub, other, "drone-secret");
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone", 3, "shows another key");
    expect(hub, "remote add prod --hub=% --token-file=token", 3, "shows another key");
    put(hub, "token", "drone-secret");
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone", 2, "not a whole token");
    assert_string_equal(ctl_hub_calls(hub), "");
    ctl_hub_free(hub);
}

static void tokens_of_the_wrong_kind_are_named(void **state)
{
    struct ctl_hub *hub = ctl_hub_new(true);
    put_token(hub, ctl_hub_pin(hub), "drone-secret");
    expect(hub, "remote add prod --hub=% --token-file=token", 2, "this token is for a drone");
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "join % --token-file=token --name=app1 --state-dir=drone", 2, "is for a person");
    expect(hub, "join % --token-file=token --name=-x --state-dir=drone", 2, "can't be the name of a host");
    expect(hub, "join % --token-file=missing --state-dir=drone", 1, "can't read the token");
    expect(hub, "remote list", 0, "no remote is known");
    ctl_hub_free(hub);
}

static void a_person_adds_a_remote(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_LIST, "{\"releases\":[]}" },
        { MSG_LIST, "{\"releases\":[]}" }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(true);
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "remote add prod --hub=% --token-file=token", 0, "you are deployer \"ops\"");
    expect(hub, "remote add prod --hub=% --token-file=token", 1, "already");
    expect(hub, "remote list", 0, "*  prod  127.0.0.1:");
    ctl_hub_script(hub, script);
    expect(hub, "list", 0, NULL);
    expect(hub, "list +prod", 0, NULL);
    expect(hub, "list --remote=prdo", 2, "there is no remote \"prdo\"");
    expect(hub, "remote default", 0, "prod");
    expect(hub, "remote add two --hub=% --token-file=token", 0, NULL);
    expect(hub, "remote default two", 0, NULL);
    expect(hub, "remote remove two", 0, NULL);
    expect(hub, "remote remove two", 1, "there is no remote");
    expect(hub, "remote add ../x --hub=% --token-file=token", 2, "can't be the name");
    _cleanup_(free_ptr) char *remotes = get(hub, ".config/stagecoach/remotes.json");
    assert_null(strstr(remotes, "person-secret"));
    ctl_hub_free(hub);
}

static void a_password_trusts_on_first_use(void **state)
{
    struct ctl_hub *hub = ctl_hub_new(true);
    expect(hub, "remote add mysite --hub=% --password=beepboop", 0, "from now on only that one is believed");
    ctl_hub_rebuild(hub);
    expect(hub, "list", 3, "If the hub was rebuilt: stagecoachctl remote trust mysite");
    ctl_hub_free(hub);
}

static void a_rebuilt_hub_is_trusted_anew(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_LIST, "{\"releases\":[]}" }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(true);
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "remote add prod --hub=% --token-file=token", 0, NULL);
    expect(hub, "remote trust prod", 0, "shows the key that you trust");
    ctl_hub_rebuild(hub);
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "remote trust prod --token-file=token", 0, "now it is");
    ctl_hub_script(hub, script);
    expect(hub, "list", 0, NULL);
    ctl_hub_free(hub);
}

/* A third of the lifetime is over as far as our files say: the next command brings a new certificate. */
static void certificates_are_renewed_on_the_way(void **state)
{
    static const struct ctl_hub_row script[] = { { MSG_RENEW, .kind = ERROR_UNAVAILABLE, .error = "not now" },
        { MSG_LIST, "{\"releases\":[]}" }, { 0 } };
    static const struct ctl_hub_row plain[] = { { MSG_LIST, "{\"releases\":[]}" }, { 0 } };
    struct ctl_hub *hub = ctl_hub_new(true);
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "remote add prod --hub=% --token-file=token", 0, NULL);
    _cleanup_(free_ptr) char *before = get(hub, ".config/stagecoach/prod/cert.pem");
    _cleanup_(free_ptr) char *remotes = get(hub, ".config/stagecoach/remotes.json");
    char *issued = strstr(remotes, "\"issued_us\": ");
    assert_non_null(issued);
    issued += strlen("\"issued_us\": ");
    memcpy(issued, "10", 2); /* in 1994 or so */
    put(hub, ".config/stagecoach/remotes.json", remotes);
    ctl_hub_script(hub, script);
    expect(hub, "list", 0, NULL); /* a renewal that fails is tried again next time */
    ctl_hub_script(hub, plain);
    expect(hub, "list", 0, NULL);
    assert_non_null(strstr(ctl_hub_calls(hub), "renew {"));
    _cleanup_(free_ptr) char *after = get(hub, ".config/stagecoach/prod/cert.pem");
    assert_string_not_equal(before, after);
    ctl_hub_script(hub, plain);
    expect(hub, "list", 0, NULL);
    assert_null(strstr(ctl_hub_calls(hub), "renew {"));
    ctl_hub_free(hub);
}

/* In a work tree plain `git push prod` is set up, in the configuration of that repository only. */
static void git_is_set_up(void **state)
{
    struct ctl_hub *hub = ctl_hub_new(true);
    put_token(hub, ctl_hub_pin(hub), "person-secret");
    expect(hub, "remote add prod --hub=% --token-file=token", 0, NULL);
    expect(hub, "remote git prod", 2, "not inside a git work tree");
    _cleanup_(free_ptr) char *git = xasprintf("%s/.git", ctl_hub_directory(hub));
    assert_int_equal(mkdir(git, 0700), 0);
    put(hub, ".git/HEAD", "ref: refs/heads/main\n");
    put(hub, ".git/config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n");
    _cleanup_(free_ptr) char *objects = xasprintf("%s/objects", git), *refs = xasprintf("%s/refs", git);
    assert_int_equal(mkdir(objects, 0700) | mkdir(refs, 0700), 0);
    expect(hub, "remote git prod --app=shop", 0, "git push prod goes to app \"shop\"");
    _cleanup_(free_ptr) char *config = get(hub, ".git/config");
    _cleanup_(free_ptr) char *url = xasprintf("url = https://%s/shop.git", ctl_hub_address(hub));
    assert_non_null(strstr(config, url));
    assert_non_null(
        strstr(config, "sslcert = ") ? strstr(config, "sslcert = ") : strstr(config, "sslCert = "));
    expect(hub, "remote git prod --app=shop", 0, NULL); /* again changes nothing */
    expect(hub, "remote git prod --app=other", 1, "git has a remote \"prod\" already");
    expect(hub, "remote git prod --app=Sh*p", 2, "can't be the name of an app");
    ctl_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_joins),
        cmocka_unit_test(the_secret_is_sent_to_nobody_else),
        cmocka_unit_test(tokens_of_the_wrong_kind_are_named),
        cmocka_unit_test(a_person_adds_a_remote),
        cmocka_unit_test(a_password_trusts_on_first_use),
        cmocka_unit_test(a_rebuilt_hub_is_trusted_anew),
        cmocka_unit_test(certificates_are_renewed_on_the_way),
        cmocka_unit_test(git_is_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
