/* SPDX-License-Identifier: MIT */
#include "hubd/git_hooks.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/secret.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "common/strv.h"
#include "hubd/hubd.h"
#include "hubd/push.h"
#include "hubd/repo.h"

#define SECRET_BYTES 24
#define NO_COMMIT    "0000000000000000000000000000000000000000"

/* A push whose hooks may call. */
struct open_push {
    char *secret;
    char *app;
    struct enroll_guest who;
};

/* One hook that calls. */
struct hook_call {
    struct list of_hooks;
    struct git_hooks *hooks;
    struct stream *stream;
    struct push *push; /* under way */
    char *app, *who;
    bool closed;
};

struct git_hooks {
    struct hubd *hub;
    struct stream_listener *listener;
    struct map *pushes; /* secret → struct open_push */
    struct list calls;
};

/* --- pushes -------------------------------------------------------------------------------------------------- */

static void open_push_free(void *obj)
{
    struct open_push *push = obj;
    secret_erase(push->secret);
    free(push->secret);
    free(push->app);
    enroll_guest_done(&push->who);
    free(push);
}

const char *git_hooks_open(struct git_hooks *hooks, const char *app, const struct enroll_guest *who)
{
    struct open_push *push = xcalloc(1, sizeof(*push));
    push->secret = random_hex(SECRET_BYTES);
    push->app = xstrdup(app);
    push->who = (struct enroll_guest){
        .role = who->role, .name = xstrdup(who->name), .services = strv_copy(who->services)
    };
    map_set(hooks->pushes, push->secret, push);
    return push->secret;
}

void git_hooks_close(struct git_hooks *hooks, const char *secret)
{
    map_remove(hooks->pushes, secret);
}

/* --- calls ----------------------------------------------------------------------------------------------------- */

static void call_free_now(void *obj)
{
    struct hook_call *call = obj;
    free(call->app);
    free(call->who);
    free(call);
}

static void call_free(struct hook_call *call)
{
    if (call->closed)
        return;
    call->closed = true;
    list_remove(&call->of_hooks);
    push_cancel(call->push);
    stream_free(call->stream);
    loop_free_later(call->hooks->hub->loop, call, call_free_now);
}

static void say(struct hook_call *call, const char *word, const char *text)
{
    _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "%s ", word);
    strbuf_add_printable(&line, text, strlen(text), 2000);
    strbuf_addc(&line, '\n');
    stream_write(call->stream, line.data, line.len);
}

static void refuse(struct hook_call *call, const char *text)
{
    if (call->app)
        log_info(&(struct log_about){ .app = call->app }, "push of %s by %s refused: %s", call->app,
            call->who, text);
    say(call, "refuse", text);
    stream_close(call->stream);
}

static void on_push_done(void *arg, int result, const char *reason, char *const *lines)
{
    struct hook_call *call = arg;
    char *line;
    call->push = NULL;
    if (result < 0) {
        refuse(call, reason);
        return;
    }
    strv_for_each (line, (char **)lines)
        say(call, "say", line);
    stream_write(call->stream, "ok\n", 3);
    stream_close(call->stream);
}

struct hook_input {
    const char *secret, *kind, *quarantine;
    char **refs; /* NAME=NEW, without deletions */
};

static int parse_ref(const char *text, struct hook_input *in, struct error *err)
{
    const char *second = strchr(text, ' '), *third = second ? strchr(second + 1, ' ') : NULL;
    if (!third || third - second - 1 != NAME_COMMIT_LEN)
        return error_set(err, -EBADMSG, "a hook said something that is not understood");
    _cleanup_(free_ptr) char *id = xstrndup(second + 1, NAME_COMMIT_LEN);
    if (strchr(third + 1, '=') || !name_is_commit(id))
        return error_set(err, -EINVAL, "\"%.100s\" is no name for a branch or tag here", third + 1);
    if (strcmp(id, NO_COMMIT) != 0)
        strv_push_take(&in->refs, xasprintf("%s=%s", third + 1, id));
    return 0;
}

static int parse_line(const char *line, struct hook_input *in, struct error *err)
{
    if (strncmp(line, "secret ", 7) == 0)
        in->secret = line + 7;
    else if (strcmp(line, "pre-receive") == 0 || strcmp(line, "post-receive") == 0)
        in->kind = line;
    else if (strncmp(line, "quarantine ", 11) == 0)
        in->quarantine = line + 11;
    else if (strncmp(line, "ref ", 4) == 0)
        return parse_ref(line + 4, in, err);
    else if (strcmp(line, "stagecoach-hook 1") != 0 && strcmp(line, "end") != 0)
        return error_set(err, -EBADMSG, "a hook said something that is not understood");
    return 0;
}

/* The quarantine is a directory that git made inside the repository's objects; git writes the path without
 * links, and with a "./" in it. */
static int check_quarantine(struct hook_call *call, const char *app, const char *path, struct error *err)
{
    _cleanup_(free_ptr) char *repo = repo_path(call->hooks->hub->repos, app);
    _cleanup_(free_ptr) char *real = realpath(repo, NULL);
    static const char *const inside[] = { "/objects/tmp_objdir-", "/./objects/tmp_objdir-" };
    size_t len = real ? strlen(real) : 0;
    if (!path)
        return 0;
    for (size_t i = 0; real && strncmp(path, real, len) == 0 && i < ARRAY_SIZE(inside); i++)
        if (strncmp(path + len, inside[i], strlen(inside[i])) == 0 &&
            !strchr(path + len + strlen(inside[i]), '/'))
            return 0;
    return error_set(err, -EACCES, "the pushed objects are not where they should be");
}

static void act(struct hook_call *call, const struct hook_input *in)
{
    struct git_hooks *hooks = call->hooks;
    struct hubd *hub = hooks->hub;
    struct error err = { 0 };
    const struct open_push *push = in->secret ? map_get(hooks->pushes, in->secret) : NULL;
    if (!push || !in->kind) {
        refuse(call, "this push is not known to the hub");
        return;
    }
    str_set(&call->app, push->app);
    str_set(&call->who, push->who.name);
    if (check_quarantine(call, push->app, in->quarantine, &err) < 0) {
        refuse(call, err.text);
        return;
    }
    if (strcmp(in->kind, "pre-receive") == 0)
        call->push =
            push_check(hub->pushes, push->app, &push->who, in->quarantine, in->refs, on_push_done, call);
    else
        call->push = push_register(hub->pushes, push->app, push->who.name, on_push_done, call);
}

static void on_input(struct hook_call *call)
{
    static const char end[] = "\nend\n";
    size_t len;
    const char *data = stream_data(call->stream, &len);
    if (call->push || len < sizeof(end) - 1 ||
        memcmp(data + len - (sizeof(end) - 1), end, sizeof(end) - 1) != 0)
        return;
    _cleanup_(free_ptr) char *text = xstrndup(data, len);
    stream_consume(call->stream, len);
    stream_set_deadline(call->stream, 0);
    struct hook_input in = { 0 };
    struct error err = { 0 };
    int r = 0;
    for (char *line = text, *next; r == 0 && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        r = parse_line(line, &in, &err);
    }
    if (r < 0)
        refuse(call, err.text);
    else
        act(call, &in);
    strv_free(in.refs);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct hook_call *call = arg;
    if (call->closed)
        return;
    switch (event) {
    case STREAM_DATA:
        on_input(call);
        break;
    case STREAM_EOF:
    case STREAM_TIMEOUT:
    case STREAM_ERROR:
    case STREAM_CLOSED:
        call_free(call);
        break;
    case STREAM_CONNECTED:
    case STREAM_TLS_READY:
    case STREAM_LOW:
        break;
    }
}

static void on_accept(void *arg, struct stream *stream)
{
    struct git_hooks *hooks = arg;
    uid_t uid;
    gid_t gid;
    /* Hooks run as the hub's own user. */
    if (stream_credentials(stream, &uid, &gid) < 0 || (uid != geteuid() && uid != 0)) {
        stream_free(stream);
        return;
    }
    struct hook_call *call = xcalloc(1, sizeof(*call));
    call->hooks = hooks;
    call->stream = stream;
    list_append(&hooks->calls, &call->of_hooks);
    stream_set_owner(stream, on_stream, call);
    stream_set_read_max(stream, GIT_HOOK_INPUT_MAX);
    stream_set_deadline(stream, GIT_HOOK_INPUT_MS);
}

/* --- life cycle -------------------------------------------------------------------------------------------------- */

struct git_hooks *git_hooks_new(struct hubd *hub)
{
    struct git_hooks *hooks = xcalloc(1, sizeof(*hooks));
    hooks->hub = hub;
    hooks->pushes = map_new(open_push_free);
    list_init(&hooks->calls);
    return hooks;
}

int git_hooks_start(struct git_hooks *hooks, struct error *err)
{
    const char *path = hooks->hub->config.hook_socket, *slash = strrchr(path, '/');
    _cleanup_(free_ptr) char *directory = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
    _cleanup_(free_ptr) char *address = xasprintf("unix:%s", path);
    int fd, r = statefile_mkdir(directory, 0700, err);
    if (r == 0)
        r = wire_listen(address, 0, &fd, err);
    if (r < 0)
        return r;
    if (chmod(path, 0600) < 0)
        log_warning(NULL, "can't set the mode of %s: %s", path, strerror(errno));
    hooks->listener =
        stream_listener_new(hooks->hub->loop, fd, &(struct stream_options){ 0 }, on_accept, hooks);
    return 0;
}

void git_hooks_free(struct git_hooks *hooks)
{
    if (!hooks)
        return;
    stream_listener_free(hooks->listener);
    while (!list_empty(&hooks->calls))
        call_free(list_first(&hooks->calls, struct hook_call, of_hooks));
    map_free(hooks->pushes);
    free(hooks);
}
