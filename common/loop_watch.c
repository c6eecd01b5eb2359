/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/loop_state.h"
#include "common/mem.h"

/* The part of a loop that waits: descriptors by epoll, signals by an eventfd. */

#define WATCHES_MIN 64

/* --- descriptors ----------------------------------------------------------------------------------------- */

/* Words of loop.h are the kernel's. */
_Static_assert((int)LOOP_READ == (int)EPOLLIN && (int)LOOP_WRITE == (int)EPOLLOUT, "as epoll has them");
_Static_assert(
    (int)LOOP_EOF == (int)EPOLLRDHUP && (int)LOOP_BROKEN == ((int)EPOLLERR | (int)EPOLLHUP), "too");
_Static_assert(LOOP_EDGES == (unsigned)EPOLLET, "too");

void loop_watch_init(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        abort(); /* no descriptors at start: there is nothing to go on with */
    loop->signal_fd = -1;
}

static struct watch *watch_of(struct loop *loop, int fd)
{
    size_t needed = (size_t)fd + 1;
    if (needed > loop->watches_cap) {
        size_t cap = loop->watches_cap ? loop->watches_cap : WATCHES_MIN;
        while (cap < needed)
            cap *= 2;
        loop->watches = xrealloc(loop->watches, cap * sizeof(*loop->watches));
        memset(loop->watches + loop->watches_cap, 0, (cap - loop->watches_cap) * sizeof(*loop->watches));
        loop->watches_cap = cap;
    }
    return &loop->watches[fd];
}

int loop_watch(struct loop *loop, int fd, uint32_t events, loop_ready_fn fn, void *owner)
{
    struct watch *w = watch_of(loop, fd);
    bool known = w->fn && w->owner == owner;
    if (!known)
        w->generation++;
    struct epoll_event ev = { .events = events, .data.u64 = (uint64_t)w->generation << 32 | (uint32_t)fd };
    if (epoll_ctl(loop->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    w->fn = fn;
    w->owner = owner;
    return 0;
}

/* Closing takes a descriptor out of the set, but for copies that a child holds between fork and exec; their events have
 * an old generation. */
void loop_unwatch(struct loop *loop, int fd, const void *owner, bool closing)
{
    if (fd < 0 || (size_t)fd >= loop->watches_cap || loop->watches[fd].owner != owner)
        return;
    loop->watches[fd].fn = NULL;
    loop->watches[fd].owner = NULL;
    if (!closing)
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void loop_pass_watch(struct loop *loop, int fd, const void *from, void *to)
{
    struct watch *w = watch_of(loop, fd);
    if (w->owner == from)
        w->owner = to;
}

void loop_watch_turn(struct loop *loop, int wait_ms)
{
    struct epoll_event events[LOOP_EVENTS_PER_TURN];
    int n = epoll_wait(loop->epoll, events, LOOP_EVENTS_PER_TURN, wait_ms);
    for (int i = 0; i < n; i++) {
        const struct watch *w = &loop->watches[(uint32_t)events[i].data.u64];
        if (!w->fn || w->generation != events[i].data.u64 >> 32)
            continue;
        loop->n_handled++;
        w->fn(w->owner, events[i].events);
    }
}

/* --- foreign descriptors --------------------------------------------------------------------------------- */

struct io {
    struct loop *loop;
    io_fn fn;
    void *arg;
    int fd;
    unsigned events;
};

static void on_io(void *owner, unsigned events)
{
    struct io *io = owner;
    unsigned ready = 0;
    /* An end or an error is told to whoever waits for anything. */
    if (events & (LOOP_READ | LOOP_BROKEN))
        ready |= IO_READ;
    if (events & (LOOP_WRITE | LOOP_BROKEN))
        ready |= IO_WRITE;
    ready &= io->events;
    if (ready)
        io->fn(ready, io->arg);
}

struct io *io_new(struct loop *loop, int fd, unsigned events, io_fn fn, void *arg)
{
    struct io *io = xcalloc(1, sizeof(*io));
    io->loop = loop;
    io->fd = fd;
    io->fn = fn;
    io->arg = arg;
    io_set(io, events);
    return io;
}

void io_set(struct io *io, unsigned events)
{
    if (events == io->events)
        return;
    io->events = events;
    if (events == 0) {
        loop_unwatch(io->loop, io->fd, io, false);
        return;
    }
    int r = loop_watch(io->loop, io->fd,
        (events & IO_READ ? LOOP_READ : 0) | (events & IO_WRITE ? LOOP_WRITE : 0), on_io, io);
    assert(r == 0);
    (void)r;
}

void io_free(struct io *io)
{
    if (!io)
        return;
    io_set(io, 0);
    free(io);
}

/* --- signals --------------------------------------------------------------------------------------------- */

/* Of the one loop of the process that takes signals. */
static _Atomic uint64_t pending_signals;
static _Atomic int signal_bell = -1;

static void on_signal(int signo)
{
    int saved = errno, bell = atomic_load(&signal_bell);
    uint64_t one = 1;
    atomic_fetch_or(&pending_signals, UINT64_C(1) << signo);
    if (bell >= 0 && write(bell, &one, sizeof(one)) < 0)
        errno = 0; /* it rings already */
    errno = saved;
}

static void on_bell(unsigned ready, void *arg)
{
    struct loop *loop = arg;
    uint64_t n, signals;
    (void)ready;
    if (read(loop->signal_fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
        return;
    signals = atomic_exchange(&pending_signals, 0);
    for (int signo = 1; signo < LOOP_SIGNALS_MAX; signo++) {
        struct on_signal *s = &loop->signals[signo];
        if (signals & UINT64_C(1) << signo && s->fn)
            s->fn(signo, s->arg);
    }
}

void loop_on_signal(struct loop *loop, int signo, signal_fn fn, void *arg)
{
    assert(signo > 0 && signo < LOOP_SIGNALS_MAX);
    struct on_signal *s = &loop->signals[signo];
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    s->fn = fn;
    s->arg = arg;
    if (s->before)
        return;
    if (loop->signal_fd < 0) {
        loop->signal_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (loop->signal_fd < 0)
            abort(); /* no descriptors at start */
        loop->signal_io = io_new(loop, loop->signal_fd, IO_READ, on_bell, loop);
        atomic_store(&signal_bell, loop->signal_fd);
    }
    s->before = xcalloc(1, sizeof(*s->before));
    sigfillset(&action.sa_mask);
    sigaction(signo, &action, s->before);
}

static void forget_signals(struct loop *loop)
{
    for (int signo = 1; signo < LOOP_SIGNALS_MAX; signo++) {
        struct on_signal *s = &loop->signals[signo];
        if (s->before)
            sigaction(signo, s->before, NULL);
        free(s->before);
    }
    if (loop->signal_fd < 0)
        return;
    int own = loop->signal_fd;
    atomic_compare_exchange_strong(&signal_bell, &own, -1);
    io_free(loop->signal_io);
    close(loop->signal_fd);
}

void loop_watch_done(struct loop *loop)
{
    forget_signals(loop);
    close(loop->epoll);
    free(loop->watches);
}
