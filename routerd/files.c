/* SPDX-License-Identifier: MIT */
#include "routerd/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/mem.h"

#define WELL_KNOWN "/.well-known"

bool files_name(struct http1_slice path, char ret[FILES_PATH_MAX], size_t *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '%') {
            int high = i + 2 < path.len ? http1_hex_value(path.ptr[i + 1]) : -1;
            int low = high >= 0 ? http1_hex_value(path.ptr[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            if (c == '\0' || c == '/')
                return false;
            i += 2;
        }
        if (len + 1 >= FILES_PATH_MAX)
            return false;
        ret[len++] = c;
    }
    ret[len] = '\0';
    *ret_len = len;
    return true;
}

/* Segments that may be names of files to show: none begins with a dot, and none is empty. */
static bool is_plain(const char *path)
{
    for (const char *s = path; *s; s++) {
        bool known = s == path && strncmp(s, WELL_KNOWN "/", sizeof(WELL_KNOWN)) == 0;
        if (*s == '\\' || (*s == '/' && (s[1] == '/' || s[1] == '\0')) ||
            (*s == '/' && s[1] == '.' && !known))
            return false;
    }
    return *path == '/';
}

static int read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -ENOENT;
    if ((uint64_t)st.st_size > max)
        return -EFBIG;
    size_t size = (size_t)st.st_size, len = 0;
    char *data = xmalloc(size + 1);
    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    /* One that shrinks meanwhile is what it is by now. */
    *ret = data;
    *ret_len = len;
    return 0;
}

/* No way out of the folder by links or "..". */
static int open_beneath(int folder, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
}

int files_read(const char *folder, struct http1_slice path, size_t max, char **ret, size_t *ret_len)
{
    char name[FILES_PATH_MAX];
    if (path.len >= sizeof(name))
        return -ENOENT;
    memcpy(name, path.ptr, path.len);
    name[path.len] = '\0';
    if (!is_plain(name))
        return -ENOENT;
    int dir _cleanup_(close_fd) = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd _cleanup_(close_fd) = dir < 0 ? -1 : open_beneath(dir, name + 1);
    return fd < 0 ? -ENOENT : read_all(fd, max, ret, ret_len);
}

const char *files_type(const char *path, size_t len)
{
    static const struct {
        const char *extension, *type;
    } types[] = {
        { "css", "text/css; charset=utf-8" },
        { "html", "text/html; charset=utf-8" },
        { "ico", "image/x-icon" },
        { "js", "text/javascript; charset=utf-8" },
        { "json", "application/json" },
        { "png", "image/png" },
        { "svg", "image/svg+xml" },
        { "txt", "text/plain; charset=utf-8" },
        { "xml", "application/xml" },
    };
    const char *slash = memrchr(path, '/', len);
    const char *name = slash ? slash + 1 : path;
    const char *dot = memrchr(name, '.', len - (size_t)(name - path));
    if (!dot)
        return "text/plain; charset=utf-8";
    size_t n = len - (size_t)(dot + 1 - path);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strlen(types[i].extension) == n && memcmp(types[i].extension, dot + 1, n) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}
