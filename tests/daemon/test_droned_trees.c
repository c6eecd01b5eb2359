/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "common/strv.h"
#include "common/wire.h"
#include "droned/build.h"
#include "droned/checkout.h"
#include "droned/pack.h"
#include "droned/systemd.h"
#include "droned/trash.h"
#include "tests/fakes/fake_systemd.h"
#include "tests/fakes/loopback.h"

/* Commits and builds on a host: a hub that answers as it is told, helpers that are scripts, a fake systemd. */

#define HUB      loopback_port(28400)
#define COMMIT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct trees {
    struct loop *loop;
    char dir[64];
    struct stream_listener *listener;
    struct stream *streams[32];
    int n_streams;
    char *requests;         /* first lines, joined by '|' */
    const char *answers[8]; /* one per request, in order */
    int n_answers;
    struct trash *trash;
    struct checkouts *checkouts;
    struct fake_systemd *fake;
    struct systemd *systemd;
    struct builds *builds;
    int n_done, result;
    char *reason;
    char **lines;
    struct checkout_stats stats;
    bool used, hub_away;
};

static void on_client(void *arg, struct stream *stream, enum stream_event event)
{
    struct trees *t = arg;
    if (event != STREAM_DATA)
        return;
    size_t len;
    const char *data = stream_data(stream, &len);
    char *line = xasprintf("%s%s%.*s", t->requests ? t->requests : "", t->requests ? "|" : "",
        (int)(strstr(data, " HTTP/") - data - 4), data + 4);
    free(t->requests);
    t->requests = line;
    stream_consume(stream, len);
    const char *answer = t->answers[t->n_answers++];
    stream_write(stream, answer, strlen(answer));
    stream_end(stream);
}

static void on_accept(void *arg, struct stream *stream)
{
    struct trees *t = arg;
    t->streams[t->n_streams++] = stream;
    stream_set_owner(stream, on_client, t);
}

static struct pack *open_pack(void *owner, struct pack_spec *spec, struct error *err)
{
    struct trees *t = owner;
    if (t->hub_away) {
        error_set(err, -EAGAIN, "waiting for the hub");
        return NULL;
    }
    spec->hub = HUB;
    return pack_new(t->loop, spec);
}

static bool is_used(void *owner, const char *app, const char *commit)
{
    const struct trees *t = owner;
    return t->used;
}

static bool is_build_used(void *owner, const char *app, const char *commit, const char *key)
{
    return true;
}

static int open_bus(void *owner, struct sd_bus **ret)
{
    const struct trees *t = owner;
    return fake_systemd_open(t->fake, ret);
}

static void on_unit(void *owner, const struct unit_status *unit, bool gone)
{
    struct trees *t = owner;
    builds_on_unit(t->builds, unit, gone);
}

static void on_ready(void *owner)
{
    struct trees *t = owner;
    builds_on_ready(t->builds);
}

static void on_checkout(void *arg, int result, const char *reason, const struct checkout_stats *stats)
{
    struct trees *t = arg;
    t->n_done++;
    t->result = result;
    str_set(&t->reason, reason);
    t->stats = *stats;
}

static void on_build(void *arg, int result, const char *reason, char **lines, int64_t ms)
{
    struct trees *t = arg;
    t->n_done++;
    t->result = result;
    str_set(&t->reason, reason);
    strv_free(t->lines);
    t->lines = strv_copy(lines);
}

/* Helpers are real processes: their end is waited for, not guessed. */
static void run_until_done(struct trees *t, int n)
{
    for (int i = 0; i < 3000 && t->n_done < n; i++) {
        loop_turn(t->loop, 2);
        loop_advance(t->loop, 1);
    }
    row_int("answers", t->n_done, n);
}

static void settle(struct trees *t)
{
    for (int i = 0; i < 50; i++)
        loop_turn(t->loop, 0);
}

static int setup(void **state)
{
    struct trees *t = xcalloc(1, sizeof(*t));
    struct error err;
    int fd;
    t->loop = loop_new_fake();
    snprintf(t->dir, sizeof(t->dir), "/tmp/stagecoach-trees-XXXXXX");
    if (!mkdtemp(t->dir) || wire_listen(HUB, 0, &fd, &err) < 0)
        return -1;
    struct stream_options options = { 0 };
    t->listener = stream_listener_new(t->loop, fd, &options, on_accept, t);
    t->fake = fake_systemd_new(t->loop);
    t->systemd = systemd_new(t->loop,
        &(struct systemd_spec){ .open_bus = open_bus, .on_unit = on_unit, .on_ready = on_ready, .owner = t });
    _cleanup_(free_ptr) char *trash = xasprintf("%s/trash", t->dir);
    t->trash = trash_new(t->loop, trash);
    t->checkouts = checkouts_new(t->loop,
        &(struct checkouts_spec){ .state_dir = t->dir,
            .gitwork = getenv("FAKE_GITWORK"),
            .seal = getenv("STAGECOACH_SEAL"),
            .trash = t->trash,
            .open_pack = open_pack,
            .is_used = is_used,
            .owner = t });
    t->builds = builds_new(t->loop,
        &(struct builds_spec){ .state_dir = t->dir,
            .seal = getenv("STAGECOACH_SEAL"),
            .at_once = 1,
            .bytes_max = 1 << 20,
            .systemd = t->systemd,
            .trash = t->trash,
            .is_used = is_build_used,
            .owner = t });
    *state = t;
    settle(t);
    return 0;
}

static int teardown(void **state)
{
    struct trees *t = *state;
    builds_free(t->builds);
    checkouts_free(t->checkouts);
    systemd_free(t->systemd);
    fake_systemd_free(t->fake);
    trash_free(t->trash);
    for (int i = 0; i < t->n_streams; i++)
        stream_free(t->streams[i]);
    stream_listener_free(t->listener);
    loop_turn(t->loop, 0);
    loop_free(t->loop);
    _cleanup_(free_ptr) char *command = xasprintf("chmod -R u+w %s; rm -rf %s", t->dir, t->dir);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(99);
    }
    waitpid(pid, NULL, 0);
    free(t->requests);
    free(t->reason);
    strv_free(t->lines);
    free(t);
    return 0;
}

static char *content(struct trees *t, const char *path)
{
    _cleanup_(free_ptr) char *full = xasprintf("%s/%s", t->dir, path);
    struct strbuf text = STRBUF_INIT;
    if (statefile_read(full, 1 << 20, &text, NULL) < 0) {
        strbuf_done(&text);
        return NULL;
    }
    return strbuf_steal(&text);
}

#define OK(body, len) "HTTP/1.1 200 OK\r\nContent-Length: " len "\r\nConnection: close\r\n\r\n" body

/* --- commits ------------------------------------------------------------------------------------------------------ */

static void one_fetch_serves_all_that_wait(void **state)
{
    struct trees *t = *state;
    t->answers[0] = OK("pack-one", "8");
    for (int i = 0; i < 3; i++)
        checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
    run_until_done(t, 3);
    assert_int_equal(t->result, 0);
    assert_string_equal(t->requests, "/pack/shop/" COMMIT_A);
    assert_int_equal(t->stats.objects, 14);
    assert_int_equal(t->stats.bytes, 8);
    _cleanup_(free_ptr) char *text = content(t, "sources/shop/" COMMIT_A "/content");
    assert_string_equal(text, "pack-one");
    /* And the next one needs no hub. */
    t->hub_away = true;
    checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
    run_until_done(t, 4);
    assert_int_equal(t->result, 0);
}

static void what_is_here_is_the_base_of_the_next(void **state)
{
    struct trees *t = *state;
    t->answers[0] = OK("one", "3");
    t->answers[1] = OK("two", "3");
    checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
    run_until_done(t, 1);
    checkout_ensure(
        t->checkouts, "shop", COMMIT_B, "cccccccccccccccccccccccccccccccccccccccc", on_checkout, t);
    run_until_done(t, 2);
    assert_string_equal(t->requests, "/pack/shop/" COMMIT_A "|/pack/shop/" COMMIT_B "?base=" COMMIT_A);
}

static void a_pack_that_does_not_fit_is_asked_for_whole(void **state)
{
    struct trees *t = *state;
    t->answers[0] = OK("one", "3");
    t->answers[1] = OK("thin", "4");
    t->answers[2] = OK("two", "3");
    checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
    run_until_done(t, 1);
    checkout_ensure(t->checkouts, "shop", COMMIT_B, COMMIT_A, on_checkout, t);
    run_until_done(t, 2);
    assert_int_equal(t->result, 0);
    assert_non_null(strstr(t->requests, COMMIT_B "?base=" COMMIT_A "|/pack/shop/" COMMIT_B));
}

static void failures_say_whether_to_try_again(void **state)
{
    static const struct {
        const char *name, *answer;
        int result;
        const char *says;
    } rows[] = {
        { "not there", "HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\nno such commit \x1b[", -ENOENT,
            "the hub answered 404: no such commit \\x1b[" },
        { "not for us", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", -EACCES,
            "the hub answered 403" },
        { "busy", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", -EAGAIN, "503" },
        { "cut off", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", -EAGAIN, "in the middle" },
        { "no HTTP", "nonsense\r\n\r\n", -EPROTO, "no HTTP" },
        { "broken pack", OK("broken", "6"), -EACCES, "the pack can't be read" },
        { "a link for a tree", OK("evil", "4"), -EACCES, "can't open" },
    };
    struct trees *t = *state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        t->n_answers = 0;
        t->answers[0] = rows[i].answer;
        checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
        run_until_done(t, (int)i + 1);
        row_int(rows[i].name, t->result, rows[i].result);
        if (!strstr(t->reason, rows[i].says))
            fail_msg("%s: says \"%s\"", rows[i].name, t->reason);
        _cleanup_(free_ptr) char *tree = xasprintf("%s/sources/shop/" COMMIT_A, t->dir);
        row_true(rows[i].name, access(tree, F_OK) < 0);
    }
}

static void without_a_hub_it_waits(void **state)
{
    struct trees *t = *state;
    t->hub_away = true;
    checkout_ensure(t->checkouts, "shop", COMMIT_A, NULL, on_checkout, t);
    run_until_done(t, 1);
    assert_int_equal(t->result, -EAGAIN);
}

static void unused_trees_go_but_for_the_newest(void **state)
{
    struct trees *t = *state;
    for (int i = 0; i < 6; i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/sources/shop/%c%s", t->dir, "012345"[i], &COMMIT_A[1]);
        struct error err;
        assert_int_equal(statefile_mkdir(path, 0755, &err), 0);
        struct timespec times[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    checkouts_collect(t->checkouts, "shop");
    for (int i = 0; i < 6; i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/sources/shop/%c%s", t->dir, "012345"[i], &COMMIT_A[1]);
        row_int(path, access(path, F_OK) == 0, i >= 6 - CHECKOUT_KEEP_UNUSED);
    }
}

/* --- builds -------------------------------------------------------------------------------------------------------- */

static struct order build_order(void)
{
    return (struct order){
        .id = (char *)"3f9a12c0",
        .app = (char *)"shop",
        .service = (char *)"web",
        .version = (char *)"0.2.2",
        .commit = (char *)COMMIT_A,
        .run = { .build = (char *)"npm ci", .build_timeout_ms = 60000 },
    };
}

static char *build_unit(void)
{
    struct order order = build_order();
    _cleanup_(free_ptr) char *key = build_key(&order);
    return xasprintf("stagecoach-build-shop-%s.service", key);
}

static void one_build_serves_all_instances(void **state)
{
    struct trees *t = *state;
    struct order order = build_order();
    _cleanup_(free_ptr) char *unit = build_unit();
    _cleanup_(free_ptr) char *key = build_key(&order);
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    order.service = (char *)"auth";
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    settle(t);
    assert_int_equal(fake_systemd_calls(t->fake, "StartTransientUnit"), 1);
    _cleanup_(free_ptr) char *made = xasprintf("%s/building/%s/made", t->dir, key);
    struct error err;
    assert_int_equal(statefile_write(made, "yes", 3, 0644, &err), 0);
    fake_systemd_finish(t->fake, unit);
    run_until_done(t, 2);
    assert_int_equal(t->result, 0);
    _cleanup_(free_ptr) char *name = xasprintf("builds/shop/" COMMIT_A "-%s/made", key);
    _cleanup_(free_ptr) char *text = content(t, name);
    assert_string_equal(text, "yes");
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    run_until_done(t, 3);
    assert_int_equal(fake_systemd_calls(t->fake, "StartTransientUnit"), 1);
}

static void a_failed_build_is_remembered_until_it_is_asked_for(void **state)
{
    struct trees *t = *state;
    struct order order = build_order();
    _cleanup_(free_ptr) char *unit = build_unit();
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    settle(t);
    fake_systemd_fail_oneshot(t->fake, unit, 7);
    run_until_done(t, 1);
    assert_int_equal(t->result, -EACCES);
    assert_non_null(strstr(t->reason, "the build exited with status 7 after"));
    assert_null(fake_systemd_unit(t->fake, unit));
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    run_until_done(t, 2);
    assert_non_null(strstr(t->reason, "--rebuild"));
    assert_int_equal(fake_systemd_calls(t->fake, "StartTransientUnit"), 1);
    build_ensure(t->builds, &order, "/source", true, on_build, t);
    settle(t);
    fake_systemd_finish(t->fake, unit);
    run_until_done(t, 3);
    assert_int_equal(t->result, 0);
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    run_until_done(t, 4);
    assert_int_equal(t->result, 0);
}

static void a_build_with_links_out_is_refused(void **state)
{
    struct trees *t = *state;
    struct order order = build_order();
    _cleanup_(free_ptr) char *unit = build_unit();
    _cleanup_(free_ptr) char *key = build_key(&order);
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    settle(t);
    _cleanup_(free_ptr) char *link = xasprintf("%s/building/%s/out", t->dir, key);
    assert_int_equal(symlink("/etc/shadow", link), 0);
    fake_systemd_finish(t->fake, unit);
    run_until_done(t, 1);
    assert_int_equal(t->result, -EACCES);
    assert_non_null(strstr(t->reason, "the link out leads out of the tree"));
}

static void a_build_that_runs_is_waited_for_by_the_next_drone(void **state)
{
    struct trees *t = *state;
    struct order order = build_order();
    _cleanup_(free_ptr) char *unit = build_unit();
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    settle(t);
    builds_free(t->builds);
    t->builds = builds_new(t->loop,
        &(struct builds_spec){ .state_dir = t->dir,
            .seal = getenv("STAGECOACH_SEAL"),
            .at_once = 1,
            .bytes_max = 1 << 20,
            .systemd = t->systemd,
            .trash = t->trash,
            .is_used = is_build_used,
            .owner = t });
    build_ensure(t->builds, &order, "/source", false, on_build, t);
    settle(t);
    assert_int_equal(fake_systemd_calls(t->fake, "StartTransientUnit"), 1);
    fake_systemd_finish(t->fake, unit);
    run_until_done(t, 1);
    assert_int_equal(t->result, 0);
}

static void another_command_is_another_build(void **state)
{
    struct order a = build_order(), b = build_order(), none = build_order();
    b.run.build = (char *)"npm ci --omit=dev";
    none.run.build = NULL;
    _cleanup_(free_ptr) char *first = build_key(&a), *second = build_key(&b);
    assert_string_not_equal(first, second);
    assert_null(build_key(&none));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_fetch_serves_all_that_wait),
        T(what_is_here_is_the_base_of_the_next),
        T(a_pack_that_does_not_fit_is_asked_for_whole),
        T(failures_say_whether_to_try_again),
        T(without_a_hub_it_waits),
        T(unused_trees_go_but_for_the_newest),
        T(one_build_serves_all_instances),
        T(a_failed_build_is_remembered_until_it_is_asked_for),
        T(a_build_with_links_out_is_refused),
        T(a_build_that_runs_is_waited_for_by_the_next_drone),
        T(another_command_is_another_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
