/* SPDX-License-Identifier: MIT */

/* A commit's tree as files. The tree is a stranger's: every name is checked, nothing is opened through a link,
 * nothing that exists is opened at all, and links are made last, when no file is written any more. Objects are
 * checked against their ids by the library as they are read, so what is written is what the commit names. */

#include "common/gitwork_job.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"

#define BLOB_BYTES_MAX     (INT64_C(1) << 30) /* a file is read whole */
#define LINK_TARGET_MAX    4095
#define NAME_BYTES_MAX     255
#define LINKS_FOLLOWED_MAX 40 /* as the kernel: then the path leads nowhere */

struct link_entry {
    char *path; /* from the top */
    char *target;
};

struct checkout {
    git_repository *repo;
    git_odb *odb;
    int top;            /* descriptor of DIRECTORY */
    struct strbuf path; /* of the entry at hand, from the top, for messages */
    int depth;
    struct link_entry *links;
    size_t n_links, links_cap;
    struct gitwork_row row;
};

/* --- names ------------------------------------------------------------------------------------------------- */

/* ".git" as any file system may understand it: case aside, NTFS' short name and trailing dots and blanks,
 * characters that HFS+ leaves out. */
static bool is_dot_git(const char *name)
{
    char plain[NAME_BYTES_MAX + 1];
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)name; *p && *p != ':'; p++) {
        /* U+200C…U+200F, U+202A…U+202E, U+206A…U+206F, U+FEFF */
        if (p[0] == 0xe2 && p[1] == 0x80 &&
            ((p[2] >= 0x8c && p[2] <= 0x8f) || (p[2] >= 0xaa && p[2] <= 0xae))) {
            p += 2;
            continue;
        }
        if ((p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xaa && p[2] <= 0xaf) ||
            (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)) {
            p += 2;
            continue;
        }
        plain[n++] = (char)tolower(*p);
    }
    plain[n] = '\0';
    while (n > 0 && (plain[n - 1] == '.' || plain[n - 1] == ' '))
        plain[--n] = '\0';
    return strcmp(plain, ".git") == 0 || strcmp(plain, "git~1") == 0;
}

/* NULL: fine; else why not. */
static const char *name_fault(const char *name)
{
    size_t len = strlen(name);
    if (len == 0)
        return "has an empty name";
    if (len > NAME_BYTES_MAX)
        return "has a name longer than 255 bytes";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "is no name of a file";
    if (strchr(name, '/'))
        return "has a \"/\" in its name";
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return "has a control character in its name";
    return is_dot_git(name) ? "may not be called so: git keeps its own files there" : NULL;
}

static int refuse(struct checkout *co, struct error *err, const char *why)
{
    _cleanup_(strbuf_done) struct strbuf path = STRBUF_INIT;
    strbuf_add_printable(&path, strbuf_str(&co->path), co->path.len, 300);
    return error_set(err, -EINVAL, "\"%s\" %s", strbuf_str(&path), why);
}

static int refuse_errno(struct checkout *co, struct error *err, int code, const char *what)
{
    if (code == -EEXIST)
        return refuse(co, err, "is there twice");
    _cleanup_(strbuf_done) struct strbuf path = STRBUF_INIT;
    strbuf_add_printable(&path, strbuf_str(&co->path), co->path.len, 300);
    return error_set_errno(err, code, "can't %s \"%s\"", what, strbuf_str(&path));
}

/* --- entries ------------------------------------------------------------------------------------------------ */

static int open_beneath(int dir, const char *name, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
    long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));
    /* systemd's RestrictSUIDSGID= answers so, because it can't look into the struct. Names on the way are directories
     * that were made here, and the last one is not followed: that is all that is needed. */
    if (fd < 0 && errno == ENOSYS)
        fd = openat(dir, name, (int)how.flags | O_NOFOLLOW, (mode_t)mode);
    return fd < 0 ? -errno : (int)fd;
}

static int read_blob(
    struct checkout *co, const git_tree_entry *entry, int64_t max, git_odb_object **ret, struct error *err)
{
    size_t size;
    git_object_t type;
    const git_oid *id = git_tree_entry_id(entry);
    if (git_odb_read_header(&size, &type, co->odb, id) < 0)
        return job_git_error(err, -EBADMSG, "\"%s\" can't be read", strbuf_str(&co->path));
    if (type != GIT_OBJECT_BLOB)
        return refuse(co, err, "is no file in the repository");
    if ((int64_t)size > max)
        return refuse(co, err,
            max == LINK_TARGET_MAX ? "is a link with a target longer than 4095 bytes"
                                   : "is larger than 1 GiB");
    co->row.bytes += (int64_t)size;
    if (co->row.bytes > GITWORK_TREE_BYTES_MAX)
        return error_set(err, -EFBIG, "the files of the commit are larger than %lld GiB",
            (long long)(GITWORK_TREE_BYTES_MAX >> 30));
    if (git_odb_read(ret, co->odb, id) < 0)
        return job_git_error(err, -EBADMSG, "\"%s\" can't be read", strbuf_str(&co->path));
    return 0;
}

static int put_file(struct checkout *co, int dir, const git_tree_entry *entry, mode_t mode, struct error *err)
{
    git_odb_object *blob = NULL;
    int r = read_blob(co, entry, BLOB_BYTES_MAX, &blob, err);
    if (r < 0)
        return r;
    _cleanup_(close_fd) int fd = open_beneath(dir, git_tree_entry_name(entry),
        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    r = fd < 0 ? fd : statefile_write_all(fd, git_odb_object_data(blob), git_odb_object_size(blob));
    git_odb_object_free(blob);
    if (r < 0)
        return refuse_errno(co, err, r, "write");
    co->row.files++;
    return 0;
}

/* Text of the target: relative, and never above the top on its way, whatever else is a link there. */
static const char *target_fault(const char *path, const char *target, size_t len)
{
    if (len == 0)
        return "is a link to nothing";
    if (strlen(target) != len)
        return "is a link with a NUL in its target";
    if (*target == '/')
        return "is a link to an absolute path; only links that stay inside the repository are checked out";
    int depth = 0;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    for (const char *p = target; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && memcmp(p, "..", 2) == 0)
            depth--;
        else if (n > 0 && !(n == 1 && *p == '.'))
            depth++;
        if (depth < 0)
            return "is a link that leads out of the repository";
        p += n + (p[n] == '/');
    }
    return NULL;
}

static int keep_link(struct checkout *co, const git_tree_entry *entry, struct error *err)
{
    git_odb_object *blob = NULL;
    int r = read_blob(co, entry, LINK_TARGET_MAX, &blob, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *target = xmemdup(git_odb_object_data(blob), git_odb_object_size(blob));
    const char *fault = target_fault(strbuf_str(&co->path), target, git_odb_object_size(blob));
    git_odb_object_free(blob);
    if (fault)
        return refuse(co, err, fault);
    co->links = xgrow(co->links, co->n_links, &co->links_cap, sizeof(*co->links));
    co->links[co->n_links++] =
        (struct link_entry){ .path = xstrdup(strbuf_str(&co->path)), .target = steal_ptr(target) };
    return 0;
}

static int put_tree(struct checkout *co, int dir, const git_oid *id, struct error *err);

static int put_directory(struct checkout *co, int dir, const git_tree_entry *entry, struct error *err)
{
    const char *name = git_tree_entry_name(entry);
    if (co->depth + 1 > GITWORK_PATH_DEPTH_MAX)
        return error_set(
            err, -ELOOP, "the directories of the commit are more than %d deep", GITWORK_PATH_DEPTH_MAX);
    if (mkdirat(dir, name, 0755) < 0)
        return refuse_errno(co, err, -errno, "make");
    _cleanup_(close_fd) int sub = open_beneath(
        dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (sub < 0)
        return refuse_errno(co, err, sub, "open");
    co->row.directories++;
    co->depth++;
    int r = put_tree(co, sub, git_tree_entry_id(entry), err);
    co->depth--;
    return r;
}

static int put_entry(struct checkout *co, int dir, const git_tree_entry *entry, struct error *err)
{
    const char *fault = name_fault(git_tree_entry_name(entry));
    if (fault)
        return refuse(co, err, fault);
    if (co->row.files + co->row.directories + (int64_t)co->n_links >= GITWORK_FILES_MAX)
        return error_set(err, -EFBIG, "the commit has more than %d files", GITWORK_FILES_MAX);
    switch (git_tree_entry_filemode(entry)) {
    case GIT_FILEMODE_TREE:
        return put_directory(co, dir, entry, err);
    case GIT_FILEMODE_BLOB:
        return put_file(co, dir, entry, 0644, err);
    case GIT_FILEMODE_BLOB_EXECUTABLE:
        return put_file(co, dir, entry, 0755, err);
    case GIT_FILEMODE_LINK:
        return keep_link(co, entry, err);
    case GIT_FILEMODE_COMMIT:
        return refuse(
            co, err, "is a submodule, and submodules are not checked out: put its files into the repository");
    default:
        return refuse(co, err, "has a mode that is not known");
    }
}

static int put_tree(struct checkout *co, int dir, const git_oid *id, struct error *err)
{
    git_tree *tree = NULL;
    if (git_tree_lookup(&tree, co->repo, id) < 0)
        return job_git_error(err, -EBADMSG, "directory \"%s\" can't be read", strbuf_str(&co->path));
    int r = 0;
    size_t before = co->path.len, n = git_tree_entrycount(tree);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
        strbuf_addf(&co->path, "%s%s", before > 0 ? "/" : "", git_tree_entry_name(entry));
        r = put_entry(co, dir, entry, err);
        co->path.len = before;
        if (co->path.data)
            co->path.data[before] = '\0';
    }
    git_tree_free(tree);
    return r;
}

/* --- links, last --------------------------------------------------------------------------------------------- */

/* Drops the last name of a path; false if there is none. */
static bool path_up(struct strbuf *path)
{
    if (path->len == 0)
        return false;
    char *slash = strrchr(path->data, '/');
    path->len = slash ? (size_t)(slash - path->data) : 0;
    path->data[path->len] = '\0';
    return true;
}

/* Follows a link as the kernel would, in thought: all links are known, and everything else is a directory, a file
 * or missing. */
static bool leads_out(const struct map *links, const char *path)
{
    _cleanup_(strbuf_done) struct strbuf at = STRBUF_INIT;
    _cleanup_(free_ptr) char *rest = xstrdup(path);
    size_t done = 0;
    for (int followed = 0; rest[done] && followed <= LINKS_FOLLOWED_MAX;) {
        size_t n = strcspn(rest + done, "/"), before = at.len;
        const char *name = rest + done;
        done += n + (name[n] == '/');
        if (n == 0 || (n == 1 && *name == '.'))
            continue;
        if (n == 2 && memcmp(name, "..", 2) == 0) {
            if (!path_up(&at))
                return true;
            continue;
        }
        if (before > 0)
            strbuf_addc(&at, '/');
        strbuf_add(&at, name, n);
        const char *target = map_get(links, strbuf_str(&at));
        if (target) {
            char *longer = xasprintf("%s/%s", target, rest + done);
            free(rest);
            rest = longer;
            done = 0;
            followed++;
            path_up(&at);
        }
    }
    return false;
}

/* Links through links may leave although the text of each looks harmless. */
static int check_links(struct checkout *co, struct error *err)
{
    struct map *links = map_new(NULL);
    int r = 0;
    for (size_t i = 0; i < co->n_links; i++)
        map_set(links, co->links[i].path, co->links[i].target);
    for (size_t i = 0; r == 0 && i < co->n_links; i++)
        if (leads_out(links, co->links[i].path)) {
            strbuf_clear(&co->path);
            strbuf_adds(&co->path, co->links[i].path);
            r = refuse(co, err, "is a link that leads out of the repository");
        }
    map_free(links);
    return r;
}

static int put_links(struct checkout *co, struct error *err)
{
    int r = check_links(co, err);
    for (size_t i = 0; r == 0 && i < co->n_links; i++) {
        const char *path = co->links[i].path, *slash = strrchr(path, '/');
        _cleanup_(free_ptr) char *parent = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
        strbuf_clear(&co->path);
        strbuf_adds(&co->path, path);
        /* A directory that is a link by now was one name used for two things. */
        _cleanup_(close_fd) int dir = open_beneath(
            co->top, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (dir < 0)
            return refuse_errno(co, err, dir, "open the directory of");
        if (symlinkat(co->links[i].target, dir, slash ? slash + 1 : path) < 0)
            return refuse_errno(co, err, -errno, "make");
        co->row.links++;
    }
    return r;
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

/* Empties a directory of ours; links are removed, not followed. */
static void remove_content(int dir_fd)
{
    DIR *dir = fdopendir(dir_fd);
    if (!dir) {
        close(dir_fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno != EISDIR)
            continue;
        int sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0)
            remove_content(sub);
        unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
}

static int fill(struct checkout *co, git_commit *commit, bool do_fsync, struct error *err)
{
    int r = put_tree(co, co->top, git_commit_tree_id(commit), err);
    if (r == 0)
        r = put_links(co, err);
    if (r == 0 && fchmod(co->top, 0755) < 0)
        r = error_set_errno(err, -errno, "can't set the mode of the directory");
    if (r == 0 && do_fsync && syncfs(co->top) < 0)
        r = error_set_errno(err, -errno, "can't write the files to the disk");
    return r;
}

/* Makes DIRECTORY and opens it; on failure of what follows the caller removes it by parent and name. */
static int make_top(const char *path, int *ret_parent, const char **ret_name, int *ret_top, struct error *err)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(free_ptr) char *parent_path =
        !slash ? xstrdup(".") : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    const char *name = slash ? slash + 1 : path;
    if (name_fault(name))
        return error_set(err, -EINVAL, "\"%s\" is no directory to check out to", path);
    _cleanup_(close_fd) int parent = open(parent_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return error_set_errno(err, -errno, "can't open %s", parent_path);
    if (mkdirat(parent, name, 0700) < 0)
        return error_set_errno(err, -errno, "can't make %s", path);
    int top = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return error_set_errno(err, -errno, "can't open %s", path);
    *ret_parent = steal_fd(&parent);
    *ret_name = name;
    *ret_top = top;
    return 0;
}

int job_checkout(const struct job *job, char **args, int n_args, struct error *err)
{
    struct checkout co = { .top = -1 };
    git_commit *commit = NULL;
    _cleanup_(close_fd) int parent = -1;
    const char *name = NULL;
    umask(0022);
    int r = job_open(job, args[0], &co.repo, err);
    if (r == 0)
        r = job_commit(co.repo, args[1], &commit, err);
    if (r == 0 && git_repository_odb(&co.odb, co.repo) < 0)
        r = job_git_error(err, -EIO, "can't open the objects of %s", args[0]);
    if (r == 0)
        r = make_top(args[2], &parent, &name, &co.top, err);
    if (r == 0) {
        r = job_confine_checkout(job, args[0], co.top, parent, err);
        if (r == 0)
            r = fill(&co, commit, job->fsync, err);
        if (r < 0) {
            remove_content(steal_fd(&co.top));
            unlinkat(parent, name, AT_REMOVEDIR);
        }
    }
    if (r == 0) {
        job_describe(commit, &co.row);
        job_row(&co.row);
    }
    close_fd(&co.top);
    for (size_t i = 0; i < co.n_links; i++) {
        free(co.links[i].path);
        free(co.links[i].target);
    }
    free(co.links);
    free(co.row.commit);
    free(co.row.tree);
    free(co.row.subject);
    strbuf_done(&co.path);
    git_commit_free(commit);
    git_odb_free(co.odb);
    git_repository_free(co.repo);
    return r;
}
