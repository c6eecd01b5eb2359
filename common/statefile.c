/* SPDX-License-Identifier: MIT */
#include "common/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

/* The directory that path lies in, opened; *ret_name points into path. */
static int open_directory(const char *path, const char **ret_name, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir _cleanup_(free_ptr) = NULL;

    if (!slash)
        dir = xstrdup(".");
    else
        dir = slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
    *ret_name = slash ? slash + 1 : path;
    if (**ret_name == '\0')
        return error_set(err, -EINVAL, "can't write %s: it names a directory", path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : error_set_errno(err, -errno, "can't open %s", dir);
}

int statefile_write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Writes and syncs a new file `tmp` in the directory. */
static int write_new(int dir, const char *tmp, const void *data, size_t len, mode_t mode)
{
    int result, fd _cleanup_(close_fd) = -1;

    /* A leftover of a crash may have another owner or mode: it is not written into. */
    if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
        return -errno;
    fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    result = statefile_write_all(fd, data, len);
    if (result == 0 && fchmod(fd, mode) < 0)
        result = -errno;
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    if (result < 0)
        unlinkat(dir, tmp, 0);
    return result;
}

int statefile_write(const char *path, const void *data, size_t len, mode_t mode, struct error *err)
{
    const char *name;
    int dir _cleanup_(close_fd) = open_directory(path, &name, err);

    if (dir < 0)
        return dir;
    if (len > STATEFILE_SIZE_MAX)
        return error_set(err, -EFBIG, "can't write %s: %zu bytes are more than the limit of %d", path, len,
            STATEFILE_SIZE_MAX);
    char *tmp _cleanup_(free_ptr) = xasprintf(".%s.new", name);
    int result = write_new(dir, tmp, data, len, mode);
    if (result < 0)
        return error_set_errno(err, result, "can't write %s", path);
    if (renameat(dir, tmp, dir, name) < 0) {
        result = -errno;
        unlinkat(dir, tmp, 0);
        return error_set_errno(err, result, "can't replace %s", path);
    }
    if (fsync(dir) < 0)
        return error_set_errno(err, -errno, "can't sync the directory of %s", path);
    return 0;
}

int statefile_read(const char *path, size_t max, struct strbuf *ret, struct error *err)
{
    int fd _cleanup_(close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t before = ret->len;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, -errno, "can't read %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "can't read %s: it is not a file", path);
    while (true) {
        strbuf_reserve(ret, 16 * 1024);
        ssize_t n = read(fd, ret->data + ret->len, ret->cap - ret->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = -errno;
            ret->len = before;
            ret->data[before] = '\0';
            return error_set_errno(err, code, "can't read %s", path);
        }
        if (n == 0)
            break;
        ret->len += (size_t)n;
        ret->data[ret->len] = '\0';
        if (ret->len - before > max) {
            ret->len = before;
            ret->data[before] = '\0';
            return error_set(
                err, -EFBIG, "can't read %s: it is larger than the limit of %zu bytes", path, max);
        }
    }
    return 0;
}

int statefile_remove(const char *path, struct error *err)
{
    const char *name;
    int dir _cleanup_(close_fd) = open_directory(path, &name, err);

    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    if (unlinkat(dir, name, 0) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_set_errno(err, -errno, "can't remove %s", path);
    }
    if (fsync(dir) < 0)
        return error_set_errno(err, -errno, "can't sync the directory of %s", path);
    return 0;
}

/* Makes one directory, or accepts one that is there; a symlink is not one. */
static int make_one(const char *path, mode_t mode, struct error *err)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return error_set_errno(err, -errno, "can't make the directory %s", path);
    if (lstat(path, &st) < 0)
        return error_set_errno(err, -errno, "can't look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "can't make the directory %s: %s is in the way", path,
            S_ISLNK(st.st_mode) ? "a symbolic link" : "a file");
    return 0;
}

int statefile_mkdir(const char *path, mode_t mode, struct error *err)
{
    char *part _cleanup_(free_ptr) = xstrdup(path);
    struct stat st;

    /* What exists above may well be a symlink of the operator's; only the last part and what is made may not. */
    for (char *p = part + 1; *p; p++) {
        if (*p != '/' || p[1] == '\0' || p[1] == '/')
            continue;
        *p = '\0';
        int result = stat(part, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : make_one(part, mode, err);
        *p = '/';
        if (result < 0)
            return result;
    }
    size_t len = strlen(part);
    while (len > 1 && part[len - 1] == '/')
        part[--len] = '\0';
    return make_one(part, mode, err);
}
