/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/remote.h"

#define PIN "7c1f0d9e52aa00000000000000000000000000000000000000000000000000ff"

static char directory[] = "/tmp/test_remote.XXXXXX";

static mode_t mode_of(const char *relative)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/stagecoach/%s", directory, relative);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void what_is_saved_is_loaded(void **state)
{
    struct remotes remotes = { 0 }, again;
    assert_int_equal(remotes_load(&remotes, NULL), 0);
    assert_int_equal(remotes.n_remotes, 0);
    struct remote *prod = remotes_add(&remotes, "prod");
    prod->hub = xstrdup("hub1:7000");
    prod->pin = xstrdup(PIN);
    const struct msg_identity said = { .fleet = (char[]){ "f1" },
        .name = (char[]){ "ops" },
        .role = ROLE_DEPLOYER,
        .services = (char *[]){ (char[]){ "web" }, (char[]){ "auth" }, NULL },
        .expires_us = 3000 };
    remote_set_identity(prod, &said, (wall_t){ 1000 });
    str_set(&remotes.default_remote, "prod");
    struct remote *staging = remotes_add(&remotes, "staging");
    staging->hub = xstrdup("hub2:7000");
    staging->pin = xstrdup(PIN);
    umask(0);
    assert_int_equal(remotes_save(&remotes, NULL), 0);
    const struct remote_identity id = { (char[]){ "key" }, (char[]){ "cert" }, (char[]){ "ca" } };
    assert_int_equal(remote_identity_save("prod", &id, NULL), 0);
    assert_int_equal(remotes_load(&again, NULL), 0);
    assert_true(schema_equal(&remotes_schema, &remotes, &again));
    assert_string_equal(remotes_by_hub(&again, "hub2:7000")->name, "staging");
    remotes_clear(&again);
    remotes_clear(&remotes);
}

static void only_the_owner_can_read(void **state)
{
    assert_int_equal(mode_of(""), 0700);
    assert_int_equal(mode_of("remotes.json"), 0600);
    assert_int_equal(mode_of("prod"), 0700);
    assert_int_equal(mode_of("prod/key.pem"), 0600);
    assert_int_equal(mode_of("prod/cert.pem"), 0600);
    assert_int_equal(mode_of("prod/ca.pem"), 0600);
}

static void renewing_keeps_key_and_ca(void **state)
{
    struct remote_identity id;
    assert_int_equal(
        remote_identity_save("prod", &(struct remote_identity){ .cert_pem = (char[]){ "new" } }, NULL), 0);
    assert_int_equal(remote_identity_load("prod", &id, NULL), 0);
    assert_string_equal(id.key_pem, "key");
    assert_string_equal(id.cert_pem, "new");
    assert_string_equal(id.ca_pem, "ca");
    remote_identity_done(&id);
}

static void removed_is_gone(void **state)
{
    struct remotes remotes;
    assert_int_equal(remotes_load(&remotes, NULL), 0);
    remotes_remove(&remotes, "prod");
    remotes_remove(&remotes, "never");
    assert_int_equal(remotes.n_remotes, 1);
    assert_string_equal(remotes.remotes[0].name, "staging");
    assert_null(remotes.default_remote);
    remotes_clear(&remotes);
    assert_int_equal(remote_identity_remove("prod", NULL), 0);
    struct error err;
    struct remote_identity id;
    assert_true(remote_identity_load("prod", &id, &err) < 0);
    assert_non_null(strstr(err.text, "join again"));
}

static void a_broken_file_is_named(void **state)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/stagecoach/remotes.json", directory);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "{\"remotes\":[{\"name\":\"../x\"}]}", 30), 30);
    close(fd);
    struct remotes remotes;
    struct error err = { 0 };
    assert_true(remotes_load(&remotes, &err) < 0);
    assert_non_null(strstr(err.text, "remotes.json"));
    assert_int_equal(remotes.n_remotes, 0);
}

static void renewal_from_a_third_on(void **state)
{
    static const struct {
        int64_t now_us;
        bool wanted;
    } rows[] = { { 1000, false }, { 1999, false }, { 2000, true }, { 9000, true } };
    const struct remote remote = { .issued_us = 1000, .expires_us = 4000 };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(remote_wants_renewal(&remote, (wall_t){ rows[i].now_us }), rows[i].wanted);
}

static void names_and_tokens(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } names[] = { { "prod", true }, { "eu-1.prod", true }, { "", false }, { "-x", false }, { "a/b", false },
        { "..", false }, { "a..b", false }, { "A", false }, { "a b", false }, { "\033", false },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false } };
    static const struct {
        const char *token;
        bool pinned;
    } tokens[] = { { "sc1." PIN ".secret", true }, { "sc1." PIN ".", false }, { "sc1." PIN, false },
        { "sc2." PIN ".secret", false }, { "beepboop", false }, { "", false },
        { "sc1.ZZ1f0d9e52aa00000000000000000000000000000000000000000000000000ff.s", false } };
    char pin[65];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (name_is_remote(names[i].name) != names[i].good)
            fail_msg("\"%s\"", names[i].name);
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++)
        if (token_pin(tokens[i].token, pin) != tokens[i].pinned)
            fail_msg("\"%s\"", tokens[i].token);
    assert_true(token_pin("sc1." PIN ".secret", pin));
    assert_string_equal(pin, PIN);
}

static void tokens_from_files(void **state)
{
    static const struct {
        const char *content, *expected;
    } rows[] = { { "sc1.a.b\n", "sc1.a.b" }, { "  word \n\n", "word" }, { "two words\n", "two" },
        { "\n", NULL }, { "", NULL } };
    _cleanup_(free_ptr) char *path = xasprintf("%s/token", directory);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ssize_t len = (ssize_t)strlen(rows[i].content);
        assert_int_equal(write(fd, rows[i].content, (size_t)len), len);
        close(fd);
        _cleanup_(free_ptr) char *token = NULL;
        int r = token_read(path, &token, NULL);
        assert_int_equal(r == 0, rows[i].expected != NULL);
        if (rows[i].expected)
            assert_string_equal(token, rows[i].expected);
    }
    unlink(path);
}

static int setup(void **state)
{
    if (!mkdtemp(directory))
        return -1;
    return setenv("XDG_CONFIG_HOME", directory, 1);
}

static int teardown(void **state)
{
    static const char *const rests[] = { "stagecoach/remotes.json", "stagecoach", "." };
    for (size_t i = 0; i < ARRAY_SIZE(rests); i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", directory, rests[i]);
        if (unlink(path) < 0 && rmdir(path) < 0 && strcmp(rests[i], ".") != 0)
            return -1;
    }
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(only_the_owner_can_read),
        cmocka_unit_test(renewing_keeps_key_and_ca),
        cmocka_unit_test(removed_is_gone),
        cmocka_unit_test(a_broken_file_is_named),
        cmocka_unit_test(renewal_from_a_third_on),
        cmocka_unit_test(names_and_tokens),
        cmocka_unit_test(tokens_from_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
