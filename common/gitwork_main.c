/* SPDX-License-Identifier: MIT */

/* stagecoach-gitwork: one job on one repository, then it ends. What it is asked to do, and what it answers, is
 * described in gitwork.h. It needs no rights but on the paths it is given, reads no configuration of git beside
 * the repository's own, runs no filter, hook or other program, and opens no connection. */

#include "common/gitwork_job.h"

#include <errno.h>
#include <git2.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"

/* clang-format off */
static const struct {
    const char *name;
    job_fn fn;
    int min_args, max_args;
    const char *usage;
} jobs[] = {
    { "checkout", job_checkout, 3, 3, "[--fsync] REPO COMMIT DIRECTORY" },
    { "has",      job_has,      2, 1 + GITWORK_COMMITS_MAX, "REPO COMMIT..." },
    { "index",    job_index,    1, 1, "REPO <PACK" },
    { "manifest", job_manifest, 2, 1 + GITWORK_COMMITS_MAX,
      "[--quarantine=DIR] [--tag=NAME=COMMIT]... REPO COMMIT..." },
    { "refs",     job_refs,     1, 1, "REPO" },
    { "run",      job_run,      1, 1000, "[--read=PATH]... [--write=PATH]... PROGRAM ARGUMENT..." },
    { "resolve",  job_resolve,  2, 2, "REPO NAME" },
};
/* clang-format on */

void job_row(const struct gitwork_row *row)
{
    _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
    schema_print(&gitwork_row_schema, row, &line);
    strbuf_addc(&line, '\n');
    fwrite(line.data, 1, line.len, stdout);
}

int job_git_error(struct error *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char what[ERROR_TEXT_MAX];
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    const git_error *e = git_error_last();
    return error_set(err, code, "%s: %s", what, e && e->message ? e->message : "unknown failure");
}

int job_open(const struct job *job, const char *path, struct git_repository **ret, struct error *err)
{
    git_repository *repo = NULL;
    if (git_repository_open_bare(&repo, path) < 0)
        return job_git_error(err, -ENOENT, "can't open the repository %s", path);
    if (job->quarantine) {
        git_odb *odb = NULL;
        int r = git_repository_odb(&odb, repo);
        if (r == 0)
            r = git_odb_add_disk_alternate(odb, job->quarantine);
        git_odb_free(odb);
        if (r < 0) {
            git_repository_free(repo);
            return job_git_error(err, -ENOENT, "can't read the objects that were pushed");
        }
    }
    *ret = repo;
    return 0;
}

int job_commit(struct git_repository *repo, const char *hex, struct git_commit **ret, struct error *err)
{
    git_oid oid;
    if (!name_is_commit(hex) || git_oid_fromstr(&oid, hex) < 0)
        return error_set(err, -EINVAL, "\"%.60s\" is no commit id", hex);
    int r = git_commit_lookup(ret, repo, &oid);
    if (r == GIT_ENOTFOUND)
        return error_set(err, -ENOENT, "commit %.8s is not in the repository", hex);
    return r < 0 ? job_git_error(err, -EBADMSG, "commit %.8s can't be read", hex) : 0;
}

void job_describe(struct git_commit *commit, struct gitwork_row *row)
{
    char hex[GIT_OID_HEXSZ + 1];
    row->commit = xstrdup(git_oid_tostr(hex, sizeof(hex), git_commit_id(commit)));
    row->tree = xstrdup(git_oid_tostr(hex, sizeof(hex), git_commit_tree_id(commit)));
    row->time_s = git_commit_time(commit);
    const char *summary = git_commit_summary(commit);
    struct strbuf subject = STRBUF_INIT;
    if (summary)
        strbuf_add_printable(&subject, summary, strlen(summary), GITWORK_SUBJECT_MAX);
    row->subject = strbuf_steal(&subject);
}

/* What the library may reach: nothing of this machine's or this user's git configuration. */
static void library_init(void)
{
    git_libgit2_init();
    static const int levels[] = { GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_XDG,
        GIT_CONFIG_LEVEL_PROGRAMDATA };
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
        git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    git_libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "");
    git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 1);
    git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
    /* Objects are read once. */
    git_libgit2_opts(GIT_OPT_ENABLE_CACHING, 0);
#if LIBGIT2_VER_MAJOR > 1 || LIBGIT2_VER_MINOR >= 5
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
#endif
}

static int usage(FILE *to, int status)
{
    fprintf(to, "stagecoach-gitwork: git work for stagecoach-hubd and stagecoach-droned\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
        fprintf(to, "  stagecoach-gitwork %-8s %s\n", jobs[i].name, jobs[i].usage);
    return status;
}

static int run(size_t which, char **args, int n_args)
{
    struct job job = { 0 };
    struct error err = { 0 };
    int skip = 0;
    for (; skip < n_args && strncmp(args[skip], "--", 2) == 0; skip++) {
        if (strcmp(args[skip], "--fsync") == 0)
            job.fsync = true;
        else if (strncmp(args[skip], "--quarantine=", 13) == 0)
            job.quarantine = args[skip] + 13;
        else if (strncmp(args[skip], "--tag=", 6) == 0)
            strv_push(&job.tags, args[skip] + 6);
        else if (strncmp(args[skip], "--read=", 7) == 0)
            strv_push(&job.reads, args[skip] + 7);
        else if (strncmp(args[skip], "--write=", 8) == 0)
            strv_push(&job.writes, args[skip] + 8);
        else
            return usage(stderr, 2);
    }
    n_args -= skip;
    if (n_args < jobs[which].min_args || n_args > jobs[which].max_args)
        return usage(stderr, 2);
    library_init();
    int r = jobs[which].fn(&job, args + skip, n_args, &err);
    if (r < 0)
        job_row(&(struct gitwork_row){ .error = err.text });
    strv_free(job.tags);
    strv_free(job.reads);
    strv_free(job.writes);
    git_libgit2_shutdown();
    if (fflush(stdout) != 0)
        return 1;
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    umask(0077);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("stagecoach-gitwork " STAGECOACH_VERSION);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(jobs); i++)
        if (strcmp(argv[1], jobs[i].name) == 0)
            return run(i, argv + 2, argc - 2);
    return usage(stderr, 2);
}
