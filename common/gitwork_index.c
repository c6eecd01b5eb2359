/* SPDX-License-Identifier: MIT */

/* Packs come in: indexed, thin ones completed, on disk before the job ends. */

#include "common/gitwork_job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/names.h"

#define READ_SIZE       (128 * 1024)
#define PACK_HEADER_LEN 12
#define LEFTOVER_AGE_S  3600

/* A job that was killed leaves its half pack behind. */
static void remove_leftovers(const char *pack_dir)
{
    DIR *dir = opendir(pack_dir);
    if (!dir)
        return;
    struct dirent *entry;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        if (strncmp(entry->d_name, "pack_git2_", 10) == 0 &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            now.tv_sec - st.st_mtime > LEFTOVER_AGE_S)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

static int open_or_make(const struct job *job, const char *path, git_repository **ret, struct error *err)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return job_open(job, path, ret, err);
    git_repository_init_options options = GIT_REPOSITORY_INIT_OPTIONS_INIT;
    options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR | GIT_REPOSITORY_INIT_NO_REINIT;
    options.initial_head = "main";
    if (git_repository_init_ext(ret, path, &options) < 0)
        return job_git_error(err, -EIO, "can't make the repository %s", path);
    return 0;
}

/* All of standard input into the indexer. Positive: a pack without objects, nothing to index. */
static int feed(git_indexer *indexer, git_indexer_progress *stats, int64_t *ret_bytes, struct error *err)
{
    _cleanup_(free_ptr) char *buf = xmalloc(READ_SIZE);
    unsigned char header[PACK_HEADER_LEN];
    int64_t total = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, buf, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, -errno, "can't read the pack");
        if (n == 0)
            break;
        for (ssize_t i = 0; total + i < PACK_HEADER_LEN && i < n; i++)
            header[total + i] = (unsigned char)buf[i];
        total += n;
        if (total > GITWORK_PACK_BYTES_MAX)
            return error_set(
                err, -EFBIG, "the pack is larger than %lld GiB", (long long)(GITWORK_PACK_BYTES_MAX >> 30));
        if (git_indexer_append(indexer, buf, (size_t)n, stats) < 0)
            return job_git_error(err, -EBADMSG, "the pack can't be read");
    }
    *ret_bytes = total;
    if (total < PACK_HEADER_LEN)
        return error_set(err, -EBADMSG, "the pack ends after %lld bytes", (long long)total);
    static const unsigned char none[4];
    return memcmp(header + 8, none, sizeof(none)) == 0 ? 1 : 0;
}

int job_index(const struct job *job, char **args, int n_args, struct error *err)
{
    git_repository *repo = NULL;
    git_odb *odb = NULL;
    git_indexer *indexer = NULL;
    git_indexer_progress stats = { 0 };
    int64_t bytes = 0;
    _cleanup_(free_ptr) char *pack_dir = xasprintf("%s/objects/pack", args[0]);

    int r = open_or_make(job, args[0], &repo, err);
    if (r == 0)
        r = job_confine(job, NULL, args[0], err);
    if (r < 0) {
        git_repository_free(repo);
        return r;
    }
    remove_leftovers(pack_dir);
    if (git_repository_odb(&odb, repo) < 0 || git_indexer_new(&indexer, pack_dir, 0444, odb, NULL) < 0) {
        r = job_git_error(err, -EIO, "can't write to %s", args[0]);
        goto out;
    }
    r = feed(indexer, &stats, &bytes, err);
    if (r == 0 && git_indexer_commit(indexer, &stats) < 0)
        r = job_git_error(err, -EBADMSG, "the pack is not whole");
    if (r >= 0) {
        job_row(&(struct gitwork_row){ .objects = r == 1 ? 0 : stats.total_objects, .bytes = bytes });
        r = 0;
    }
out:
    git_indexer_free(indexer);
    git_odb_free(odb);
    git_repository_free(repo);
    return r;
}

int job_has(const struct job *job, char **args, int n_args, struct error *err)
{
    git_repository *repo = NULL;
    struct stat st;
    if (stat(args[0], &st) < 0)
        return 0;
    int r = job_confine(job, args[0], NULL, err);
    if (r == 0)
        r = job_open(job, args[0], &repo, err);
    for (int i = 1; r == 0 && i < n_args; i++) {
        git_oid oid;
        git_commit *commit = NULL;
        git_tree *tree = NULL;
        if (!name_is_commit(args[i]) || git_oid_fromstr(&oid, args[i]) < 0)
            r = error_set(err, -EINVAL, "\"%.60s\" is no commit id", args[i]);
        else if (git_commit_lookup(&commit, repo, &oid) == 0 && git_commit_tree(&tree, commit) == 0)
            job_row(&(struct gitwork_row){ .commit = args[i] });
        git_tree_free(tree);
        git_commit_free(commit);
    }
    git_repository_free(repo);
    return r;
}
