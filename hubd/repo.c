/* SPDX-License-Identifier: MIT */
#include "hubd/repo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/child.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/secret.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/hubd.h"

#define TEMPLATE_NAME    ".empty.git"
#define TRASH_PREFIX     ".trash-"
#define MAINTENANCE_NICE 19

/* A child that nobody waits for: it is logged when it fails. */
struct errand {
    struct list of_repos;
    struct repos *repos;
    struct child *child;
    char *what;
    struct strbuf said;
    void (*on_end)(struct repos *repos, const char *app); /* NULL: nothing follows */
    char *app;
};

/* Refs of an app that are to be set: one git at a time, or they would lock each other out. */
struct ref_updates {
    char **lines; /* that wait */
    bool running;
};

struct repos {
    struct hubd *hub;
    char *directory;
    struct list errands;
    struct map *updates; /* app → struct ref_updates */
};

/* --- errands ------------------------------------------------------------------------------------------------- */

static void errand_free(void *obj)
{
    struct errand *errand = obj;
    list_remove(&errand->of_repos);
    child_free(errand->child);
    strbuf_done(&errand->said);
    free(errand->what);
    free(errand->app);
    free(errand);
}

static void on_errand_output(struct child *child, const char *data, size_t len, void *arg)
{
    struct errand *errand = arg;
    if (errand->said.len + len < 2048)
        strbuf_add(&errand->said, data, len);
}

static void on_errand_exit(struct child *child, int status, void *arg)
{
    struct errand *errand = arg;
    char text[64];
    if (status != 0) {
        _cleanup_(strbuf_done) struct strbuf said = STRBUF_INIT;
        strbuf_add_printable(&said, strbuf_str(&errand->said), errand->said.len, 500);
        log_warning(NULL, "%s %s: %s", errand->what, child_status_text(status, text), strbuf_str(&said));
    }
    if (errand->on_end)
        errand->on_end(errand->repos, errand->app);
    loop_free_later(errand->repos->hub->loop, errand, errand_free);
}

/* NULL: it could not even begin, which was logged. */
static struct errand *errand_start(
    struct repos *repos, char *what, char *const *argv, const char *input, int niceness)
{
    struct errand *errand = xcalloc(1, sizeof(*errand));
    struct error err = { 0 };
    char **env = repo_git_env(repos);
    errand->repos = repos;
    errand->what = what;
    struct child_spec spec = {
        .argv = (const char *const *)argv,
        .env = (const char *const *)env,
        .stdin_kind = input ? CHILD_STDIN_PIPE : CHILD_STDIN_NULL,
        .merge_stderr = true,
        .nice = niceness,
        .on_stdout = on_errand_output,
        .on_exit = on_errand_exit,
        .arg = errand,
    };
    list_append(&repos->errands, &errand->of_repos);
    if (child_start(repos->hub->loop, &spec, &errand->child, &err) < 0) {
        log_warning(NULL, "%s: %s", what, err.text);
        errand_free(errand);
        errand = NULL;
    } else if (input) {
        child_write(errand->child, input, strlen(input));
        child_close_stdin(errand->child);
    }
    strv_free(env);
    return errand;
}

/* Renamed at once, so that it is gone for everybody; removed in the background. */
static void remove_tree(struct repos *repos, const char *path)
{
    _cleanup_(free_ptr) char *name = random_hex(8);
    _cleanup_(free_ptr) char *trash = xasprintf("%s/" TRASH_PREFIX "%s", repos->directory, name);
    if (rename(path, trash) < 0) {
        if (errno != ENOENT)
            log_warning(NULL, "can't remove %s: %s", path, strerror(errno));
        return;
    }
    char *argv[] = { (char *)"/bin/rm", (char *)"-rf", (char *)"--", trash, NULL };
    errand_start(repos, xasprintf("removing %s", path), argv, NULL, 0);
}

/* --- paths and command lines ------------------------------------------------------------------------------------- */

char *repo_path(const struct repos *repos, const char *app)
{
    return xasprintf("%s/%s.git", repos->directory, app);
}

char *repo_template(const struct repos *repos)
{
    return xasprintf("%s/" TEMPLATE_NAME, repos->directory);
}

bool repo_exists(const struct repos *repos, const char *app)
{
    _cleanup_(free_ptr) char *head = xasprintf("%s/%s.git/HEAD", repos->directory, app);
    return access(head, F_OK) == 0;
}

char **repo_git_argv(const struct repos *repos, const char *path, const char *const *words)
{
    /* Settings come with each call, not from a file in the repository, so that old repositories have them too. */
    static const char *const settings[] = {
        "core.fsync=committed,reference", /* a push that was acknowledged is on the disk */
        "gc.auto=0",                      /* maintenance has its own time */
        "receive.autogc=false",
        "receive.fsckObjects=true",
        "receive.unpackLimit=1", /* always a pack: one file to sync instead of many */
        "transfer.hideRefs=refs/stagecoach",
        "uploadpack.allowFilter=true",
    };
    const struct hubd_config *config = &repos->hub->config;
    char **argv = NULL;
    /* By the helper, which shuts git in: what is pushed is a stranger's, and keys and state are the same user's. */
    strv_push(&argv, config->gitwork);
    strv_push(&argv, "run");
    strv_push_take(&argv, xasprintf("--write=%s", path));
    strv_push_take(&argv, xasprintf("--read=%s", config->hooks_dir));
    strv_push(&argv, config->git);
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        strv_push(&argv, "-c");
        strv_push(&argv, settings[i]);
    }
    strv_push(&argv, "-c");
    strv_push_take(&argv, xasprintf("safe.directory=%s", path));
    strv_push(&argv, "-c");
    strv_push_take(&argv, xasprintf("core.hooksPath=%s", config->hooks_dir));
    strv_push(&argv, "-c");
    strv_push_take(&argv, xasprintf("receive.maxInputSize=%" PRId64, config->push_max_bytes));
    for (; *words; words++)
        strv_push(&argv, *words);
    return argv;
}

char **repo_git_env(const struct repos *repos)
{
    static const char *const fixed[] = { "PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C",
        "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
        "GIT_COMMITTER_NAME=stagecoach", "GIT_COMMITTER_EMAIL=stagecoach@localhost" };
    char **env = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        strv_push(&env, fixed[i]);
    return env;
}

static void updates_free(void *obj)
{
    struct ref_updates *updates = obj;
    strv_free(updates->lines);
    free(updates);
}

static void run_updates(struct repos *repos, const char *app)
{
    struct ref_updates *updates = map_get(repos->updates, app);
    updates->running = false;
    if (!updates->lines) {
        map_remove(repos->updates, app);
        return;
    }
    _cleanup_(free_ptr) char *path = repo_path(repos, app);
    _cleanup_(free_ptr) char *joined = strv_join(updates->lines, "\n");
    _cleanup_(free_ptr) char *text = xasprintf("%s\n", joined);
    const char *const words[] = { "-C", path, "update-ref", "--stdin", NULL };
    char **argv = repo_git_argv(repos, path, words);
    strv_free(updates->lines);
    updates->lines = NULL;
    struct errand *errand = errand_start(repos, xasprintf("keeping the releases of %s", app), argv, text, 0);
    if (errand) {
        updates->running = true;
        errand->on_end = run_updates;
        errand->app = xstrdup(app);
    }
    strv_free(argv);
}

void repo_update_refs(struct repos *repos, const char *app, const char *text)
{
    struct ref_updates *updates = map_get(repos->updates, app);
    if (!updates) {
        updates = xcalloc(1, sizeof(*updates));
        map_set(repos->updates, app, updates);
    }
    /* The same line twice would be a mistake to git. */
    char **lines = strv_split(text, "\n"), *line;
    strv_for_each (line, lines)
        if (!strv_contains(updates->lines, line))
            strv_push(&updates->lines, line);
    strv_free(lines);
    if (!updates->running)
        run_updates(repos, app);
}

/* --- making and dropping ------------------------------------------------------------------------------------------- */

/* What `git init --bare` makes, without its samples. HEAD last: it is what makes the rest a repository. */
static int make_bare(const char *path, struct error *err)
{
    static const char *const directories[] = { "objects/info", "objects/pack", "refs/heads", "refs/tags" };
    static const struct {
        const char *name, *text;
    } files[] = {
        { "config", "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n" },
        { "HEAD", "ref: refs/heads/main\n" },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++) {
        _cleanup_(free_ptr) char *directory = xasprintf("%s/%s", path, directories[i]);
        r = statefile_mkdir(directory, 0700, err);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++) {
        _cleanup_(free_ptr) char *file = xasprintf("%s/%s", path, files[i].name);
        r = statefile_write(file, files[i].text, strlen(files[i].text), 0600, err);
    }
    return r;
}

int repo_create(struct repos *repos, const char *app, struct error *err)
{
    if (repo_exists(repos, app))
        return 0;
    _cleanup_(free_ptr) char *path = repo_path(repos, app);
    return make_bare(path, err);
}

/* Directories that a killed receive leaves: objects that no ref names. */
static void remove_incoming(struct repos *repos, const char *path)
{
    _cleanup_(free_ptr) char *objects = xasprintf("%s/objects", path);
    DIR *dir = opendir(objects);
    if (!dir)
        return;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, "tmp_objdir-", 11) == 0) {
            _cleanup_(free_ptr) char *left = xasprintf("%s/%s", objects, entry->d_name);
            remove_tree(repos, left);
        }
    closedir(dir);
}

static bool directory_is_empty(const char *path, const char *sub)
{
    _cleanup_(free_ptr) char *whole = xasprintf("%s/%s", path, sub);
    DIR *dir = opendir(whole);
    if (!dir)
        return errno == ENOENT;
    struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    return empty;
}

static bool has_refs(const char *path)
{
    _cleanup_(free_ptr) char *packed = xasprintf("%s/packed-refs", path);
    return access(packed, F_OK) == 0 || !directory_is_empty(path, "refs/heads") ||
        !directory_is_empty(path, "refs/tags");
}

void repo_tidy(struct repos *repos, const char *app)
{
    _cleanup_(free_ptr) char *path = repo_path(repos, app);
    if (!state_get(&repos->hub->state, STATE_APP, app) && !has_refs(path))
        remove_tree(repos, path);
    else
        remove_incoming(repos, path);
}

/* --- maintenance --------------------------------------------------------------------------------------------------- */

static size_t count_packs(const char *path)
{
    _cleanup_(free_ptr) char *packs = xasprintf("%s/objects/pack", path);
    DIR *dir = opendir(packs);
    size_t n = 0;
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);
        n += len > 5 && strcmp(entry->d_name + len - 5, ".pack") == 0;
    }
    if (dir)
        closedir(dir);
    return n;
}

/* Each push leaves a pack. Small ones are joined until each is at least twice as large as the next, which costs
 * little and drops no object. */
void repo_maintain(struct repos *repos, const char *app)
{
    _cleanup_(free_ptr) char *path = repo_path(repos, app);
    if (count_packs(path) < REPO_PACKS_MAX)
        return;
    const char *const words[] = { "-C", path, "repack", "-d", "-q", "--geometric=2", NULL };
    char **argv = repo_git_argv(repos, path, words);
    errand_start(repos, xasprintf("joining the packs of %s", app), argv, NULL, MAINTENANCE_NICE);
    strv_free(argv);
}

/* --- start ----------------------------------------------------------------------------------------------------------- */

/* A lock that outlived its process would refuse every push to that ref. */
static void remove_locks(const char *path, int depth)
{
    DIR *dir = depth > 0 ? opendir(path) : NULL;
    if (!dir)
        return;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        _cleanup_(free_ptr) char *item = xasprintf("%s/%s", path, entry->d_name);
        size_t len = strlen(entry->d_name);
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            remove_locks(item, depth - 1);
        else if (len > 5 && strcmp(entry->d_name + len - 5, ".lock") == 0)
            unlink(item);
    }
    closedir(dir);
}

static void tidy_one(struct repos *repos, const char *name)
{
    enum { REF_DEPTH_MAX = 32 };
    size_t len = strlen(name);
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", repos->directory, name);
    if (strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0) {
        remove_tree(repos, path);
        return;
    }
    if (len <= 4 || strcmp(name + len - 4, ".git") != 0 || name[0] == '.')
        return;
    _cleanup_(free_ptr) char *app = xstrndup(name, len - 4);
    _cleanup_(free_ptr) char *refs = xasprintf("%s/refs", path);
    _cleanup_(free_ptr) char *packed = xasprintf("%s/packed-refs.lock", path);
    remove_locks(refs, REF_DEPTH_MAX);
    unlink(packed);
    /* Repositories without an app in the state stay: the state may be the part that was lost. */
    if (name_is_app(app))
        remove_incoming(repos, path);
}

int repos_start(struct repos *repos, struct error *err)
{
    int r = statefile_mkdir(repos->directory, 0700, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *template = repo_template(repos);
    _cleanup_(free_ptr) char *head = xasprintf("%s/HEAD", template);
    if (access(head, F_OK) < 0)
        r = make_bare(template, err);
    if (r < 0)
        return r;
    DIR *dir = opendir(repos->directory);
    if (!dir)
        return error_set_errno(err, -errno, "can't read %s", repos->directory);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        tidy_one(repos, entry->d_name);
    closedir(dir);
    return 0;
}

struct repos *repos_new(struct hubd *hub)
{
    struct repos *repos = xcalloc(1, sizeof(*repos));
    repos->hub = hub;
    repos->directory = xasprintf("%s/repos", hub->config.state_dir);
    list_init(&repos->errands);
    repos->updates = map_new(updates_free);
    return repos;
}

void repos_free(struct repos *repos)
{
    if (!repos)
        return;
    while (!list_empty(&repos->errands))
        errand_free(list_first(&repos->errands, struct errand, of_repos));
    map_free(repos->updates);
    free(repos->directory);
    free(repos);
}
