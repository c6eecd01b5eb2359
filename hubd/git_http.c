/* SPDX-License-Identifier: MIT */
#include "hubd/git_http.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/child.h"
#include "common/http1.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/enroll.h"
#include "hubd/git_hooks.h"
#include "hubd/http_conn.h"
#include "hubd/http_routes.h"
#include "hubd/hubd.h"
#include "hubd/push.h"
#include "hubd/repo.h"

enum git_service { GIT_UPLOAD, GIT_RECEIVE };
static const char *const service_names[] = { "upload-pack", "receive-pack" };

/* One request that a git child answers. It lives until both have ended. */
struct git_call {
    struct list of_git;
    struct git_http *git;
    struct http_conn *conn; /* weak: NULL once the request is over */
    struct child *child;
    enum git_service service;
    bool advertise; /* GET info/refs */
    bool bare;      /* protocol 2 wants no service line before its own */
    bool body_whole;
    bool exited;
    char *app;
    char *path;
    char *protocol; /* GIT_PROTOCOL, NULL without */
    char *secret;   /* of the push */
    struct enroll_guest who;
    struct strbuf said; /* standard error */
    struct timer limit; /* once the client is gone */
};

struct git_http {
    struct hubd *hub;
    struct list waiting, active;
    size_t n_waiting;
    int64_t n_active;
};

static void start_waiting(struct git_http *git);

/* --- life cycle ------------------------------------------------------------------------------------------------ */

static void call_free(void *obj)
{
    struct git_call *call = obj;
    list_remove(&call->of_git);
    timer_done(&call->limit);
    child_free(call->child);
    if (call->secret)
        git_hooks_close(call->git->hub->git_hooks, call->secret);
    free(call->secret);
    free(call->app);
    free(call->path);
    free(call->protocol);
    enroll_guest_done(&call->who);
    strbuf_done(&call->said);
    free(call);
}

struct git_http *git_http_new(struct hubd *hub)
{
    struct git_http *git = xcalloc(1, sizeof(*git));
    git->hub = hub;
    list_init(&git->waiting);
    list_init(&git->active);
    return git;
}

/* Connections are gone by then. */
void git_http_free(struct git_http *git)
{
    if (!git)
        return;
    while (!list_empty(&git->waiting))
        call_free(list_first(&git->waiting, struct git_call, of_git));
    while (!list_empty(&git->active))
        call_free(list_first(&git->active, struct git_call, of_git));
    free(git);
}

int64_t git_http_children(const struct git_http *git)
{
    return git ? git->n_active : 0;
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static void add_pkt(struct strbuf *out, const char *text)
{
    strbuf_addf(out, "%04zx%s", strlen(text) + 4, text);
}

/* git shows a status as a bare number; a sentence it shows as it is. */
static void refuse_in_git(struct http_conn *conn, enum git_service service, const char *reason)
{
    _cleanup_(strbuf_done) struct strbuf out = STRBUF_INIT;
    char type[64];
    _cleanup_(free_ptr) char *line = xasprintf("# service=git-%s\n", service_names[service]);
    _cleanup_(free_ptr) char *refusal = xasprintf("ERR %s\n", reason);
    add_pkt(&out, line);
    strbuf_adds(&out, "0000");
    add_pkt(&out, refusal);
    snprintf(type, sizeof(type), "application/x-git-%s-advertisement", service_names[service]);
    http_answer_begin(conn, 200, type, (int64_t)out.len);
    http_answer_data(conn, out.data, out.len);
    http_answer_end(conn);
}

static void refuse(struct http_conn *conn, const struct git_call *call, int status, const char *reason)
{
    if (call->advertise) {
        refuse_in_git(conn, call->service, reason);
        return;
    }
    _cleanup_(free_ptr) char *text = xasprintf("%s\n", reason);
    http_answer(conn, status, NULL, text);
}

/* --- the child's side ------------------------------------------------------------------------------------------------ */

static void begin_answer(struct git_call *call)
{
    char type[64];
    snprintf(type, sizeof(type), "application/x-git-%s-%s", service_names[call->service],
        call->advertise ? "advertisement" : "result");
    http_answer_begin(call->conn, 200, type, -1);
    if (call->advertise && !call->bare) {
        _cleanup_(strbuf_done) struct strbuf out = STRBUF_INIT;
        _cleanup_(free_ptr) char *line = xasprintf("# service=git-%s\n", service_names[call->service]);
        add_pkt(&out, line);
        strbuf_adds(&out, "0000");
        http_answer_data(call->conn, out.data, out.len);
    }
}

static void on_child_stdout(struct child *child, const char *data, size_t len, void *arg)
{
    struct git_call *call = arg;
    if (!call->conn || len == 0)
        return;
    if (!http_answer_has_begun(call->conn))
        begin_answer(call);
    if (!http_answer_data(call->conn, data, len))
        child_pause_stdout(child, true);
}

static void on_child_stderr(struct child *child, const char *data, size_t len, void *arg)
{
    struct git_call *call = arg;
    size_t room = GIT_STDERR_MAX - call->said.len;
    strbuf_add(&call->said, data, len < room ? len : room);
}

static void on_child_drained(struct child *child, void *arg)
{
    struct git_call *call = arg;
    if (call->conn)
        http_pause_body(call->conn, false);
}

static bool app_is_being_pushed(const struct git_http *git, const char *app)
{
    struct git_call *call;
    list_for_each (call, &git->active, of_git)
        if (call->service == GIT_RECEIVE && !call->advertise && !call->exited && strcmp(call->app, app) == 0)
            return true;
    return false;
}

/* Whatever git and its hooks said: the refs are the truth. */
static void after_receive(struct git_call *call)
{
    struct hubd *hub = call->git->hub;
    if (app_is_being_pushed(call->git, call->app))
        return;
    repo_tidy(hub->repos, call->app);
    repo_maintain(hub->repos, call->app);
    if (repo_exists(hub->repos, call->app))
        push_register(hub->pushes, call->app, call->who.name, NULL, NULL);
}

static void log_exit(const struct git_call *call, int status)
{
    char text[64];
    _cleanup_(strbuf_done) struct strbuf said = STRBUF_INIT;
    strbuf_add_printable(&said, strbuf_str(&call->said), call->said.len, 500);
    log_info(&(struct log_about){ .app = call->app }, "git %s of %s for %s %s%s%s",
        service_names[call->service], call->app, call->who.name, child_status_text(status, text),
        said.len > 0 ? ": " : "", strbuf_str(&said));
}

static void on_child_exit(struct child *child, int status, void *arg)
{
    struct git_call *call = arg;
    struct git_http *git = call->git;
    call->exited = true;
    git->n_active--;
    if (status != 0)
        log_exit(call, status);
    if (call->service == GIT_RECEIVE && !call->advertise)
        after_receive(call);
    struct http_conn *conn = call->conn;
    if (!conn) {
        loop_free_later(git->hub->loop, call, call_free);
    } else if (!http_answer_has_begun(conn) && status != 0) {
        refuse(conn, call, 500, "git failed on the hub; its log says why");
    } else {
        if (!http_answer_has_begun(conn))
            begin_answer(call);
        http_answer_end(conn);
    }
    start_waiting(git);
}

static char **child_env(const struct git_call *call)
{
    struct hubd *hub = call->git->hub;
    char **env = repo_git_env(hub->repos);
    if (call->protocol)
        strv_push_take(&env, xasprintf("GIT_PROTOCOL=%s", call->protocol));
    if (call->secret) {
        strv_push_take(&env, xasprintf("STAGECOACH_HOOK_SOCKET=%s", hub->config.hook_socket));
        strv_push_take(&env, xasprintf("STAGECOACH_HOOK_SECRET=%s", call->secret));
    }
    return env;
}

static int start_child(struct git_call *call, struct error *err)
{
    struct hubd *hub = call->git->hub;
    const char *words[] = { service_names[call->service], "--stateless-rpc", call->path, NULL, NULL };
    if (call->advertise) {
        words[2] = "--http-backend-info-refs";
        words[3] = call->path;
    }
    char **argv = repo_git_argv(hub->repos, call->path, words), **env = child_env(call);
    struct child_spec spec = {
        .argv = (const char *const *)argv,
        .env = (const char *const *)env,
        .stdin_kind = call->advertise ? CHILD_STDIN_NULL : CHILD_STDIN_PIPE,
        .on_stdout = on_child_stdout,
        .on_stderr = on_child_stderr,
        .on_drained = on_child_drained,
        .on_exit = on_child_exit,
        .arg = call,
    };
    int r = child_start(hub->loop, &spec, &call->child, err);
    strv_free(argv);
    strv_free(env);
    return r;
}

/* --- the client's side -------------------------------------------------------------------------------------------------- */

static void on_body(void *arg, const char *data, size_t len)
{
    struct git_call *call = arg;
    if (call->child && !call->exited && child_write(call->child, data, len) > GIT_INPUT_HIGH)
        http_pause_body(call->conn, true);
}

static void on_body_end(void *arg)
{
    struct git_call *call = arg;
    call->body_whole = true;
    if (call->child && !call->exited)
        child_close_stdin(call->child);
}

static void on_room(void *arg)
{
    struct git_call *call = arg;
    if (call->child && !call->exited)
        child_pause_stdout(call->child, false);
}

static void on_limit(void *arg)
{
    struct git_call *call = arg;
    child_kill(call->child, SIGKILL);
}

/* The client is gone, or has its answer. A push whose last byte came goes on: it may have changed refs already,
 * and stopping it then helps nobody. */
static void on_gone(void *arg)
{
    struct git_call *call = arg;
    struct git_http *git = call->git;
    call->conn = NULL;
    if (!call->child || call->exited) {
        if (!call->child)
            git->n_waiting--;
        loop_free_later(git->hub->loop, call, call_free);
        return;
    }
    child_pause_stdout(call->child, false);
    bool goes_on = call->service == GIT_RECEIVE && call->body_whole;
    if (!goes_on)
        child_kill(call->child, SIGTERM);
    timer_set(&call->limit, goes_on ? GIT_DETACHED_MS : GIT_ABORTED_MS);
}

static const struct http_handler call_handler = {
    .on_body = on_body,
    .on_body_end = on_body_end,
    .on_room = on_room,
    .on_gone = on_gone,
};

/* --- order ------------------------------------------------------------------------------------------------------------------ */

static int prepare_receive(struct git_call *call, struct error *err)
{
    struct hubd *hub = call->git->hub;
    int r = repo_create(hub->repos, call->app, err);
    if (r == 0)
        call->secret = xstrdup(git_hooks_open(hub->git_hooks, call->app, &call->who));
    return r;
}

static void call_start(struct git_call *call)
{
    struct git_http *git = call->git;
    struct error err = { 0 };
    int r = 0;
    if (call->service == GIT_RECEIVE && !call->advertise)
        r = prepare_receive(call, &err);
    if (r == 0)
        r = start_child(call, &err);
    if (r < 0) {
        log_error(&(struct log_about){ .app = call->app }, "can't serve git for %s: %s", call->app, err.text);
        refuse(call->conn, call, 503, "the hub can't run git now; its log says why");
        return;
    }
    list_remove(&call->of_git);
    list_append(&git->active, &call->of_git);
    git->n_waiting--;
    git->n_active++;
    http_pause_body(call->conn, false);
}

static void start_waiting(struct git_http *git)
{
    struct git_call *call, *tmp;
    list_for_each_safe (call, tmp, &git->waiting, of_git) {
        if (git->n_active >= git->hub->config.git_children_max)
            return;
        if (call->conn)
            call_start(call);
    }
}

static void enqueue(struct http_conn *conn, struct git_call *call)
{
    struct git_http *git = call->git;
    list_append(&git->waiting, &call->of_git);
    git->n_waiting++;
    call->conn = conn;
    http_conn_set_handler(conn, &call_handler, call);
    http_pause_body(conn, true);
    start_waiting(git);
}

/* --- requests --------------------------------------------------------------------------------------------------------------- */

/* "/shop.git/info/refs" → "shop" and what follows. */
static bool split_path(const struct http1_head *head, char **ret_app, char **ret_rest)
{
    _cleanup_(free_ptr) char *path = xstrndup(head->path.ptr, head->path.len);
    char *dot = strstr(path, ".git/");
    if (path[0] != '/' || !dot)
        return false;
    *dot = '\0';
    *ret_app = xstrdup(path + 1);
    *ret_rest = xstrdup(dot + strlen(".git/"));
    return true;
}

static bool slice_is(struct http1_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

/* Only what is a known version goes into a child's environment. */
static char *protocol_of(const struct http1_head *head)
{
    const struct http1_field *field = http1_find_name(head, "Git-Protocol");
    static const char *const known[] = { "version=0", "version=1", "version=2" };
    for (size_t i = 0; field && i < ARRAY_SIZE(known); i++)
        if (slice_is(http1_value(field), known[i]))
            return xstrdup(known[i]);
    return NULL;
}

/* What is asked for: 0, or the status of a refusal. */
static int read_request(const struct http1_head *head, const char *rest, struct git_call *call)
{
    if (strcmp(rest, "info/refs") == 0) {
        _cleanup_(free_ptr) char *service = http_query(head, "service");
        call->advertise = true;
        if (head->method_id != HTTP1_METHOD_GET)
            return 405;
        if (service && strcmp(service, "git-receive-pack") == 0)
            call->service = GIT_RECEIVE;
        else if (!service || strcmp(service, "git-upload-pack") != 0)
            return 403; /* the old protocol, which reads files */
    } else if (strcmp(rest, "git-upload-pack") == 0 || strcmp(rest, "git-receive-pack") == 0) {
        call->service = rest[4] == 'r' ? GIT_RECEIVE : GIT_UPLOAD;
        char type[64];
        snprintf(type, sizeof(type), "application/x-git-%s-request", service_names[call->service]);
        const struct http1_field *field = http1_find(head, HTTP1_FIELD_CONTENT_TYPE);
        if (head->method_id != HTTP1_METHOD_POST)
            return 405;
        if (!field || !slice_is(http1_value(field), type))
            return 415;
    } else {
        return 404;
    }
    call->protocol = protocol_of(head);
    call->bare = call->service == GIT_UPLOAD && call->protocol && strcmp(call->protocol, "version=2") == 0;
    return 0;
}

static int check_rights(const struct git_call *call, struct error *err)
{
    const char *role = role_names[call->who.role];
    if (!role_is_person(call->who.role))
        return error_set(err, -EACCES, "a %s may not use git here", role);
    if (call->service == GIT_RECEIVE && call->who.role == ROLE_VIEWER)
        return error_set(err, -EACCES, "%s is a viewer and may not push", call->who.name);
    if (!name_is_app(call->app)) {
        _cleanup_(strbuf_done) struct strbuf safe = STRBUF_INIT;
        strbuf_add_printable(&safe, call->app, strlen(call->app), 60);
        return error_set(err, -EINVAL,
            "\"%s\" is no name for an app: lower-case letters, digits and single \"-\" inside, beginning "
            "with a "
            "letter, at most %d characters",
            strbuf_str(&safe), NAME_APP_MAX);
    }
    return 0;
}

static void serve(struct http_conn *conn, const struct http1_head *head, struct git_call *call)
{
    struct git_http *git = call->git;
    struct error err = { 0 };
    if (check_rights(call, &err) < 0) {
        refuse(conn, call, 403, err.text);
        goto out;
    }
    bool exists = repo_exists(git->hub->repos, call->app);
    if (!exists && call->service == GIT_UPLOAD) {
        _cleanup_(free_ptr) char *text = xasprintf("there is no app \"%s\"", call->app);
        refuse(conn, call, 404, text);
        goto out;
    }
    if (git->n_waiting >= GIT_CALLS_WAITING_MAX) {
        refuse(conn, call, 503, "the hub is busy with other pushes and fetches; try again in a minute");
        goto out;
    }
    /* Before a large push git asks with four bytes whether it may: it may, it has come so far. */
    if (call->service == GIT_RECEIVE && !call->advertise && head->body == HTTP1_BODY_LENGTH &&
        head->content_length == 4) {
        http_answer_begin(conn, 200, "application/x-git-receive-pack-result", 0);
        http_answer_end(conn);
        goto out;
    }
    call->path =
        exists || !call->advertise ? repo_path(git->hub->repos, call->app) : repo_template(git->hub->repos);
    enqueue(conn, call);
    return;
out:
    call_free(call);
}

bool git_http_serve(struct http_conn *conn, const struct http1_head *head)
{
    struct hubd *hub = http_conn_hub(conn);
    _cleanup_(free_ptr) char *app = NULL, *rest = NULL;
    struct error err = { 0 };
    if (!split_path(head, &app, &rest))
        return false;
    struct git_call *call = xcalloc(1, sizeof(*call));
    call->git = hub->git_http;
    call->app = steal_ptr(app);
    list_init(&call->of_git);
    timer_init(&call->limit, hub->loop, on_limit, call);
    int status = read_request(head, rest, call);
    int r = status == 0 ? http_who(conn, head, &call->who, &err) : 0;
    if (status == 0 && r == 0) {
        serve(conn, head, call);
        return true;
    }
    if (status != 0)
        http_answer(conn, status, NULL, "only git's smart HTTP is spoken here\n");
    else if (r == HTTP_NOBODY || !call->advertise)
        http_refuse(conn, r, &err);
    else
        refuse_in_git(conn, call->service, err.text);
    call_free(call);
    return true;
}
