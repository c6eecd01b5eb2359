/* SPDX-License-Identifier: MIT */
#include "ctl/git.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define LINE_MAX_BYTES 4096

extern char **environ;

/* out_fd: where its output goes, -1: ours; then its errors are not shown either. */
static int start(const char *const *args, char *const *env, int out_fd, pid_t *ret, struct error *err)
{
    _cleanup_(strv_freep) char **argv = NULL;
    strv_push(&argv, "git");
    for (; *args; args++)
        strv_push(&argv, *args);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE); /* which we ignore, and a child would go on ignoring */
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    if (out_fd >= 0) {
        posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    int r = posix_spawnp(ret, "git", &actions, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (r == ENOENT)
        return error_set(err, -r, "git is not installed");
    return r ? error_set_errno(err, -r, "can't start git") : 0;
}

static int wait_for(pid_t pid, int *ret_status, struct error *err)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, -errno, "can't wait for git");
    return 0;
}

int git_run(const char *const *args, const char *const *env, int *ret_status, struct error *err)
{
    _cleanup_(strv_freep) char **full = strv_copy(environ);
    for (; env && *env; env++) {
        _cleanup_(free_ptr) char *key = xstrndup(*env, strcspn(*env, "="));
        pairs_set(&full, key, *env + strlen(key) + 1);
    }
    pid_t pid;
    int r = start(args, full, -1, &pid, err);
    return r < 0 ? r : wait_for(pid, ret_status, err);
}

char *git_line(const char *const *args)
{
    int fds[2], status = -1;
    pid_t pid;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return xstrdup("");
    int r = start(args, environ, fds[1], &pid, NULL);
    close(fds[1]);
    char line[LINE_MAX_BYTES + 1];
    size_t len = 0;
    ssize_t n = 0;
    while (r >= 0 && len < LINE_MAX_BYTES && (n = read(fds[0], line + len, LINE_MAX_BYTES - len)) > 0)
        len += (size_t)n;
    close(fds[0]);
    if (r < 0 || wait_for(pid, &status, NULL) < 0 || status != 0)
        len = 0;
    line[len] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return xstrdup(line);
}

char *git_top(void)
{
    char *top = git_line((const char *const[]){ "rev-parse", "--show-toplevel", NULL });
    if (*top)
        return top;
    free(top);
    return NULL;
}

/* --- names ------------------------------------------------------------------------------------------------ */

/* "git@host:team/My Shop.git" → "my-shop" */
static char *app_from(const char *path)
{
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    if (len > 4 && memcmp(path + len - 4, ".git", 4) == 0)
        len -= 4;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/' && path[begin - 1] != ':')
        begin--;
    struct strbuf name = STRBUF_INIT;
    for (size_t i = begin; i < len && name.len < NAME_APP_MAX; i++) {
        unsigned char c = (unsigned char)path[i];
        if (isalnum(c) && c < 0x80)
            strbuf_addc(&name, (char)tolower(c));
        else if (name.len > 0 && name.data[name.len - 1] != '-')
            strbuf_addc(&name, '-');
    }
    while (name.len > 0 && name.data[name.len - 1] == '-')
        name.data[--name.len] = '\0';
    return strbuf_steal(&name);
}

int git_app_name(const char *given, char **ret, struct error *err)
{
    if (given && !name_is_app(given))
        return error_set(err, -EINVAL,
            "\"%s\" can't be the name of an app: a-z, 0-9 and single dashes, a letter "
            "first, at most %d",
            given, NAME_APP_MAX);
    if (given) {
        *ret = xstrdup(given);
        return 0;
    }
    _cleanup_(free_ptr) char *top = git_top();
    if (!top)
        return error_set(err, -EINVAL, "this is not inside a git work tree");
    _cleanup_(free_ptr) char *origin = git_line((const char *const[]){ "remote", "get-url", "origin", NULL });
    _cleanup_(free_ptr) char *name = app_from(*origin ? origin : top);
    if (!name_is_app(name))
        return error_set(err, -EINVAL, "\"%s\" can't be the name of an app; say one: --app=NAME", name);
    *ret = steal_ptr(name);
    return 0;
}

char *git_url(const struct remote *remote, const char *app)
{
    return xasprintf("https://%s/%s.git", remote->hub, app);
}

/* --- setting up ------------------------------------------------------------------------------------------- */

static int run_quietly(const char *const *args, const char *what, struct error *err)
{
    int status = 0;
    int r = git_run(args, NULL, &status, err);
    if (r >= 0 && status != 0)
        r = error_set(err, -EIO, "git could not %s", what);
    return r;
}

static int set_remote(const struct remote *remote, const char *url, struct error *err)
{
    _cleanup_(free_ptr) char *key = xasprintf("remote.%s.url", remote->name);
    _cleanup_(free_ptr) char *now =
        git_line((const char *const[]){ "config", "--local", "--get", key, NULL });
    if (strcmp(now, url) == 0)
        return 0;
    if (*now)
        return error_set(
            err, -EEXIST, "git has a remote \"%s\" already (%s); not changed", remote->name, now);
    return run_quietly(
        (const char *const[]){ "remote", "add", remote->name, url, NULL }, "add the remote", err);
}

int git_set_up(const struct remote *remote, const char *app, struct error *err)
{
    static const struct {
        const char *key, *file;
    } rows[] = {
        { "sslCAInfo", "ca.pem" },
        { "sslCert", "cert.pem" },
        { "sslKey", "key.pem" },
    };
    _cleanup_(free_ptr) char *url = git_url(remote, app);
    int r = set_remote(remote, url, err);
    for (size_t i = 0; i < ARRAY_SIZE(rows) && r >= 0; i++) {
        _cleanup_(free_ptr) char *key = xasprintf("http.https://%s/.%s", remote->hub, rows[i].key);
        _cleanup_(free_ptr) char *path = remote_path(remote->name, rows[i].file);
        r = run_quietly(
            (const char *const[]){ "config", "--local", key, path, NULL }, "write its configuration", err);
    }
    return r;
}
