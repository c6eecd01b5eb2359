/* SPDX-License-Identifier: MIT */
#include "routerd/access_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define BATCH         (64 * 1024) /* written at once */
#define FILE_MODE     0600
#define WRITE_WAIT_MS 1000 /* for a pipe that is full, before its lines are dropped */

struct access_file {
    char *path;
    enum access_format format;
    unsigned n_workers;
    struct access_ring **rings;
    pthread_t thread;
    int wake_fd;
    _Atomic bool stop, reopen, woken;
    _Atomic uint64_t lines, bytes, dropped;
    _Atomic bool failing;
    /* the thread's own */
    int fd;
    bool inside_line; /* a write ended there */
    mono_t checked, failed;
    uint64_t dropped_before; /* this failure began, for the log */
    size_t n_batch, n_batch_lines;
    char batch[BATCH];
};

/* --- the file --------------------------------------------------------------------------------------------- */

/* Without O_NONBLOCK a pipe that nobody reads would hold us for ever. */
static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
    return fd < 0 ? -errno : fd;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(
        counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void set_failing(struct access_file *f, int code)
{
    bool before = atomic_load_explicit(&f->failing, memory_order_relaxed);
    if (code < 0)
        f->failed = clock_mono();
    if (code < 0 && !before) {
        f->dropped_before = atomic_load_explicit(&f->dropped, memory_order_relaxed);
        log_error(NULL, "can't write the access log %s: %s; requests go on, their lines are dropped", f->path,
            strerror(-code));
    } else if (code == 0 && before) {
        log_info(NULL, "the access log %s is written again; %" PRIu64 " lines were dropped", f->path,
            atomic_load_explicit(&f->dropped, memory_order_relaxed) - f->dropped_before);
    }
    atomic_store_explicit(&f->failing, code < 0, memory_order_relaxed);
}

static void reopen(struct access_file *f)
{
    int fd = open_file(f->path);
    if (fd < 0) {
        set_failing(f, fd);
        return;
    }
    close_fd(&f->fd);
    f->fd = fd;
    f->inside_line = false;
}

/* Does the name lead elsewhere by now? */
static bool was_moved(const struct access_file *f)
{
    struct stat ours, named;
    return fstat(f->fd, &ours) < 0 || stat(f->path, &named) < 0 || ours.st_ino != named.st_ino ||
        ours.st_dev != named.st_dev;
}

static void check_file(struct access_file *f)
{
    mono_t now = clock_mono();
    bool asked = atomic_exchange(&f->reopen, false);
    if (!asked && mono_diff_ms(now, f->checked) < ACCESS_FILE_CHECK_MS)
        return;
    f->checked = now;
    if (asked || f->fd < 0 || was_moved(f))
        reopen(f);
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static int write_some(struct access_file *f, const char *data, size_t len, size_t *done)
{
    struct pollfd p = { .fd = f->fd, .events = POLLOUT };
    while (*done < len) {
        ssize_t n = write(f->fd, data + *done, len - *done);
        if (n >= 0)
            *done += (size_t)n;
        else if (errno == EAGAIN && poll(&p, 1, WRITE_WAIT_MS) <= 0)
            return -EAGAIN;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return 0;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t n = 0;
    for (const char *end = data + len; (data = memchr(data, '\n', (size_t)(end - data))); data++)
        n++;
    return n;
}

/* A line that was cut by a full disk is ended before the next one begins. */
static int end_cut_line(struct access_file *f)
{
    size_t done = 0;
    if (!f->inside_line)
        return 0;
    int r = write_some(f, "\n", 1, &done);
    f->inside_line = r < 0;
    return r;
}

/* After a failure everything is dropped for a while, or each batch would wait anew. */
static bool may_try(const struct access_file *f)
{
    return f->fd >= 0 &&
        (!atomic_load_explicit(&f->failing, memory_order_relaxed) ||
            mono_diff_ms(clock_mono(), f->failed) >= ACCESS_FILE_CHECK_MS);
}

static void flush(struct access_file *f)
{
    size_t done = 0, lines = f->n_batch_lines;
    if (f->n_batch == 0)
        return;
    int r = may_try(f) ? end_cut_line(f) : -EBADF;
    if (r == 0)
        r = write_some(f, f->batch, f->n_batch, &done);
    if (done > 0)
        f->inside_line = f->batch[done - 1] != '\n';
    size_t written = r == 0 ? lines : count_lines(f->batch, done);
    count(&f->lines, written);
    count(&f->bytes, done);
    count(&f->dropped, lines - written);
    if (r != -EBADF)
        set_failing(f, r);
    f->n_batch = f->n_batch_lines = 0;
}

static void drain(struct access_file *f, struct access_ring *ring)
{
    const struct access_record *r;
    while ((r = access_peek(ring))) {
        if (BATCH - f->n_batch < ACCESS_LINE_MAX)
            flush(f);
        size_t n = access_format_line(f->format, r, f->batch + f->n_batch);
        access_take(ring);
        if (n == 0)
            count(&f->dropped, 1);
        f->n_batch += n;
        f->n_batch_lines += n > 0;
    }
    count(&f->dropped, access_dropped(ring));
}

static void *thread_main(void *arg)
{
    struct access_file *f = arg;
    struct pollfd p = { .fd = f->wake_fd, .events = POLLIN };
    uint64_t n;
    pthread_setname_np(pthread_self(), "access");
    for (bool last = false; !last;) {
        if (poll(&p, 1, ACCESS_FILE_LOOK_MS) > 0 && read(f->wake_fd, &n, sizeof(n)) < 0)
            n = 0;
        /* What is put after this look wakes us again. */
        atomic_store(&f->woken, false);
        last = atomic_load(&f->stop);
        check_file(f);
        for (unsigned i = 0; i < f->n_workers; i++)
            drain(f, f->rings[i]);
        flush(f);
    }
    return NULL;
}

/* --- for others -------------------------------------------------------------------------------------------- */

static void ring_bell(struct access_file *f)
{
    uint64_t one = 1;
    if (write(f->wake_fd, &one, sizeof(one)) < 0)
        return; /* it rings already */
}

void access_file_wake(struct access_file *f)
{
    if (atomic_load_explicit(&f->woken, memory_order_relaxed) || atomic_exchange(&f->woken, true))
        return;
    ring_bell(f);
}

void access_file_reopen(struct access_file *f)
{
    atomic_store(&f->reopen, true);
    ring_bell(f);
}

struct access_ring *access_file_ring(struct access_file *f, unsigned worker)
{
    return f->rings[worker];
}

struct access_file_stats access_file_stats(struct access_file *f)
{
    return (struct access_file_stats){
        .lines = atomic_load_explicit(&f->lines, memory_order_relaxed),
        .bytes = atomic_load_explicit(&f->bytes, memory_order_relaxed),
        .dropped = atomic_load_explicit(&f->dropped, memory_order_relaxed),
        .failing = atomic_load_explicit(&f->failing, memory_order_relaxed),
    };
}

static void free_file(struct access_file *f)
{
    for (unsigned i = 0; i < f->n_workers; i++)
        access_ring_free(f->rings[i]);
    free(f->rings);
    free(f->path);
    close_fd(&f->fd);
    close_fd(&f->wake_fd);
    free(f);
}

int access_file_new(const char *path, enum access_format format, unsigned n_workers, struct access_file **ret,
    struct error *err)
{
    int fd = open_file(path);
    if (fd < 0)
        return error_set(err, fd, "can't open the access log %s: %s", path, strerror(-fd));
    struct access_file *f = xcalloc(1, sizeof(*f));
    f->path = xstrdup(path);
    f->format = format;
    f->n_workers = n_workers;
    f->fd = fd;
    f->checked = clock_mono();
    f->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f->rings = xcalloc(n_workers, sizeof(struct access_ring *));
    for (unsigned i = 0; i < n_workers; i++)
        f->rings[i] = access_ring_new(ACCESS_FILE_RING);
    /* A file that may not grow any more is one that can't be written, and no more. */
    signal(SIGXFSZ, SIG_IGN);
    int r = pthread_create(&f->thread, NULL, thread_main, f);
    if (r != 0) {
        free_file(f);
        return error_set_errno(err, -r, "can't start a thread");
    }
    *ret = f;
    return 0;
}

void access_file_free(struct access_file *f)
{
    if (!f)
        return;
    atomic_store(&f->stop, true);
    ring_bell(f);
    pthread_join(f->thread, NULL);
    free_file(f);
}
