/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"

struct wire_listener {
    struct io *io;
    int fd;
    struct timer retry;
    wire_accept_fn fn;
    void *arg;
    bool paused, starving;
    bool freed; /* inside fn, perhaps */
    int64_t n_starved;
};

static void update(struct wire_listener *l)
{
    io_set(l->io, l->paused || l->starving ? 0 : IO_READ);
}

static void on_retry(void *arg)
{
    struct wire_listener *l = arg;
    l->starving = false;
    update(l);
}

/* Level-triggered, so whatever is left waits for the next turn. */
static void on_ready(unsigned ready, void *arg)
{
    struct wire_listener *l = arg;

    for (int i = 0; i < WIRE_ACCEPTS_PER_TURN && !l->freed && !l->paused; i++) {
        struct wire_address peer = { .len = sizeof(peer.sa) };
        int fd = accept4(l->fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->fn(l->arg, fd, &peer);
            continue;
        }
        if (errno == EAGAIN)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            l->n_starved++;
            l->starving = true;
            update(l);
            timer_set(&l->retry, WIRE_ACCEPT_RETRY_MS);
            break;
        }
        /* Anything else is the fate of that one connection (aborted, filtered): the next one may be fine. */
    }
}

struct wire_listener *wire_listener_new(struct loop *loop, int fd, wire_accept_fn fn, void *arg)
{
    struct wire_listener *l = xcalloc(1, sizeof(*l));
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    l->fd = fd;
    l->fn = fn;
    l->arg = arg;
    timer_init(&l->retry, loop, on_retry, l);
    l->io = io_new(loop, fd, IO_READ, on_ready, l);
    return l;
}

static void free_now(void *obj)
{
    free(obj);
}

void wire_listener_free(struct wire_listener *l)
{
    if (!l || l->freed)
        return;
    l->freed = true;
    timer_done(&l->retry);
    io_free(l->io);
    close(l->fd);
    loop_free_later(l->retry.loop, l, free_now);
}

void wire_listener_pause(struct wire_listener *l, bool pause)
{
    l->paused = pause;
    update(l);
}

int64_t wire_listener_starved(const struct wire_listener *l)
{
    return l->n_starved;
}

/* A socket file that nobody listens on any more would refuse the bind for ever. */
static int clear_stale(const char *text, const struct wire_address *address, struct error *err)
{
    _cleanup_(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->sa;

    if (fd < 0)
        return error_set_errno(err, -errno, "can't make a socket");
    if (connect(fd, (const struct sockaddr *)&address->sa, address->len) == 0)
        return error_set(err, -EADDRINUSE, "%s: another process listens there", text);
    if (errno == ECONNREFUSED)
        unlink(un->sun_path);
    return 0;
}

int wire_listen(const char *text, int default_port, int *ret_fd, struct error *err)
{
    struct wire_address address;
    _cleanup_(close_fd) int fd = -1;
    int r = wire_address_parse(text, default_port, &address, err);

    if (r < 0)
        return r;
    if (address.sa.ss_family == AF_UNIX) {
        r = clear_stale(text, &address, err);
        if (r < 0)
            return r;
    }
    fd = socket(address.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && text[0] == '*') {
        /* A kernel without IPv6: any address means any IPv4 address. */
        struct sockaddr_in in = { .sin_family = AF_INET,
            .sin_port = ((struct sockaddr_in6 *)&address.sa)->sin6_port };
        *(struct sockaddr_in *)&address.sa = in;
        address.len = sizeof(in);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return error_set_errno(err, -errno, "can't make a socket");
    if (address.sa.ss_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (address.sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int));
    if (bind(fd, (const struct sockaddr *)&address.sa, address.len) < 0 || listen(fd, WIRE_BACKLOG) < 0)
        return error_set_errno(err, -errno, "can't listen on %s", text);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int wire_local_port(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return 0;
    if (sa.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&sa)->sin_port);
    if (sa.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
    return 0;
}
