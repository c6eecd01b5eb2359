/* SPDX-License-Identifier: MIT */
#include "droned/seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

struct walk {
    int64_t entries, bytes, max_bytes;
};

static int walk_directory(struct walk *walk, int dir_fd, const char *path, int depth, struct error *err);

/* A relative target must not climb above the tree's top: each ".." takes away a level, each name adds one. An
 * absolute one only leads where every instance sees the tree. */
static bool link_stays_inside(const char *target, int depth)
{
    static const char top[] = "/srv/stagecoach/app/";
    if (target[0] == '/') {
        if (strncmp(target, top, sizeof(top) - 1) != 0)
            return false;
        target += sizeof(top) - 1;
        depth = 0;
    }
    for (const char *s = target; *s;) {
        size_t len = strcspn(s, "/");
        if (len == 2 && s[0] == '.' && s[1] == '.') {
            if (--depth < 0)
                return false;
        } else if (len > 0 && !(len == 1 && s[0] == '.')) {
            depth++;
        }
        s += len + (s[len] == '/');
    }
    return true;
}

static int seal_link(int dir_fd, const char *name, const char *path, int depth, struct error *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
    if (n < 0)
        return error_set_errno(err, -errno, "can't read the link %s", path);
    target[n] = '\0';
    if (!link_stays_inside(target, depth))
        return error_set(err, -EACCES, "the link %s leads out of the tree, to \"%s\"", path, target);
    if (fchownat(dir_fd, name, geteuid(), getegid(), AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, -errno, "can't own %s", path);
    return 0;
}

/* The descriptor is what was looked at: nobody can put something else in its place meanwhile. */
static int own(int fd, const struct stat *st, const char *path, struct error *err)
{
    if (S_ISREG(st->st_mode) && (st->st_mode & (S_ISUID | S_ISGID)))
        return error_set(err, -EACCES, "%s has a set-id bit", path);
    mode_t mode = S_ISDIR(st->st_mode) ? 0555 : (st->st_mode & 0111) ? 0555 : 0444;
    if ((st->st_uid != geteuid() || st->st_gid != getegid()) && fchown(fd, geteuid(), getegid()) < 0)
        return error_set_errno(err, -errno, "can't own %s", path);
    if ((st->st_mode & 07777) != mode && fchmod(fd, mode) < 0)
        return error_set_errno(err, -errno, "can't write-protect %s", path);
    return 0;
}

static int seal_entry(
    struct walk *walk, int dir_fd, const char *name, const char *path, int depth, struct error *err)
{
    struct stat st;
    if (++walk->entries > SEAL_ENTRIES_MAX)
        return error_set(err, -EFBIG, "the tree has more than %d files", SEAL_ENTRIES_MAX);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, -errno, "can't look at %s", path);
    if (S_ISLNK(st.st_mode))
        return seal_link(dir_fd, name, path, depth, err);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return error_set(err, -EACCES, "%s is neither file, directory nor link", path);
    _cleanup_(close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, -errno, "can't open %s", path);
    if (S_ISDIR(st.st_mode)) {
        int r = walk_directory(walk, fd, path, depth + 1, err);
        return r < 0 ? r : own(fd, &st, path, err);
    }
    walk->bytes += (int64_t)st.st_blocks * 512;
    if (walk->max_bytes > 0 && walk->bytes > walk->max_bytes)
        return error_set(err, -EFBIG, "the tree is larger than %lld bytes", (long long)walk->max_bytes);
    return own(fd, &st, path, err);
}

static int walk_directory(struct walk *walk, int dir_fd, const char *path, int depth, struct error *err)
{
    if (depth > SEAL_DEPTH_MAX)
        return error_set(
            err, -ELOOP, "%s: directories below each other deeper than %d", path, SEAL_DEPTH_MAX);
    int copy = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir)
        return error_set_errno(err, -errno, "can't list %s", path);
    int r = 0;
    struct dirent *entry;
    while (r >= 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        _cleanup_(free_ptr) char *below = xasprintf("%s%s%s", path, path[0] ? "/" : "", entry->d_name);
        r = seal_entry(walk, dir_fd, entry->d_name, below, depth, err);
    }
    closedir(dir);
    return r;
}

static int seal(const char *path, int64_t max_bytes, struct error *err)
{
    struct walk walk = { .max_bytes = max_bytes };
    struct stat st;
    _cleanup_(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, -errno, "can't open %s", path);
    int r = walk_directory(&walk, fd, "", 0, err);
    if (r < 0)
        return r;
    /* The top keeps its owner's write bit: it is renamed, and a directory that moves has to be writable. */
    if (fchown(fd, geteuid(), getegid()) < 0 || fchmod(fd, 0755) < 0)
        return error_set_errno(err, -errno, "can't own %s", path);
    if (syncfs(fd) < 0)
        return error_set_errno(err, -errno, "can't bring %s to disk", path);
    return 0;
}

int main(int argc, char **argv)
{
    static const char option[] = "--max-bytes=";
    int64_t max_bytes = 0;
    int at = 1;
    if (argc > 1 && strncmp(argv[1], option, sizeof(option) - 1) == 0) {
        max_bytes = strtoll(argv[1] + sizeof(option) - 1, NULL, 10);
        at++;
    }
    if (argc != at + 1) {
        fprintf(stderr, "usage: stagecoach-seal [--max-bytes=N] DIRECTORY\n");
        return 2;
    }
    struct error err;
    if (seal(argv[at], max_bytes, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}
