/* SPDX-License-Identifier: MIT */
#include "routerd/handover.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"

/* clang-format off */
static const char *const words[] = {
    "end", "failed", "go", "hello", "left", "listening", "main", "ready", "refused", "served", "table", "traffic",
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(words) == HANDOVER_WORD_MAX_, "each word has a name");

union fd_space {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int handover_say(int socket, enum handover_word word, int fd, const char *fmt, ...)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    char *rest _cleanup_(free_ptr) = NULL;
    union fd_space space = { 0 };
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&rest, fmt, args) < 0)
        rest = NULL;
    va_end(args);
    if (!rest)
        return -ENOMEM;
    strbuf_adds(&text, words[word]);
    strbuf_addc(&text, ' ');
    strbuf_adds(&text, rest);
    if (text.len > HANDOVER_TEXT_MAX)
        return -EMSGSIZE;
    struct iovec part = { text.data, text.len };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fd >= 0) {
        m.msg_control = space.bytes;
        m.msg_controllen = sizeof(space.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static bool find_word(const char *text, struct handover_message *ret)
{
    size_t len = strcspn(text, " ");
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strlen(words[i]) == len && strncmp(words[i], text, len) == 0) {
            ret->word = (enum handover_word)i;
            return true;
        }
    }
    return false;
}

int handover_hear(int socket, char *buf, struct handover_message *ret)
{
    for (;;) {
        union fd_space space;
        struct iovec part = { buf, HANDOVER_TEXT_MAX };
        struct msghdr m = { .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = space.bytes,
            .msg_controllen = sizeof(space.bytes) };
        ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN ? -EAGAIN : 0;
        ret->fd = -1;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(&ret->fd, CMSG_DATA(c), sizeof(int));
        buf[n] = '\0';
        ret->text = buf + strcspn(buf, " ");
        ret->text += *ret->text == ' ';
        if (find_word(buf, ret))
            return 1;
        close_fd(&ret->fd);
    }
}

/* --- memory that is passed along -------------------------------------------------------------------------- */

int handover_memory(const char *name, const void *data, size_t len)
{
    _cleanup_(close_fd) int fd = memfd_create(name, MFD_CLOEXEC);
    int r = fd < 0 ? -errno : statefile_write_all(fd, data, len);
    return r < 0 ? r : steal_fd(&fd);
}

int handover_remember(int fd, size_t max, struct strbuf *ret, struct error *err)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 0)
        return error_set(err, -EBADF, "nothing was passed along");
    if ((size_t)st.st_size > max)
        return error_set(err, -EFBIG, "what was passed along is larger than %zu bytes", max);
    size_t len = (size_t)st.st_size, at = 0;
    strbuf_reserve(ret, len);
    while (at < len) {
        ssize_t n = pread(fd, ret->data + ret->len, len - at, (off_t)at);
        if (n <= 0)
            return error_set_errno(err, n < 0 ? -errno : -EIO, "can't read what was passed along");
        ret->len += (size_t)n;
        at += (size_t)n;
    }
    strbuf_add(ret, "", 0);
    return 0;
}
