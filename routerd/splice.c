/* SPDX-License-Identifier: MIT */
#include "routerd/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/wire.h"

bool splice_ready(struct splice *s)
{
    if (s->fds[1] > 0)
        return true;
    if (s->failed || pipe2(s->fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        *s = (struct splice){ .failed = true };
        return false;
    }
    /* The kernel may allow less; then more calls move the same. */
    (void)fcntl(s->fds[1], F_SETPIPE_SZ, SPLICE_PIPE);
    return true;
}

void splice_done(struct splice *s)
{
    if (s->fds[1] > 0) {
        close(s->fds[0]);
        close(s->fds[1]);
    }
    s->fds[0] = s->fds[1] = 0;
}

struct splice_result splice_move(struct splice *s, struct wire *from, struct wire *to, uint64_t len)
{
    struct splice_result r = { .moved = wire_splice_in(
                                   from, s->fds[1], len < SPLICE_PIPE ? (size_t)len : SPLICE_PIPE) };
    size_t rest = r.moved > 0 ? (size_t)r.moved : 0;
    while (rest > 0) {
        ssize_t n = wire_splice_out(to, s->fds[0], rest);
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            splice_done(s);
            r.out_failed = true;
            return r;
        }
        rest -= (size_t)n;
    }
    r.rest = rest;
    return r;
}

size_t splice_read_rest(struct splice *s, char *buf, size_t len)
{
    ssize_t n = read(s->fds[0], buf, len);
    return n > 0 ? (size_t)n : 0;
}
