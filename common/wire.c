/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/tls.h"

/* --- events ---------------------------------------------------------------------------------------------- */

static unsigned connect_ended(struct wire *wire)
{
    int code = 0;
    socklen_t len = sizeof(code);
    if (getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        code = errno;
    wire->connecting = false;
    wire->error = -code;
    return code ? WIRE_CLOSED : WIRE_CONNECTED;
}

static void on_ready(void *owner, unsigned what)
{
    struct wire *wire = owner;
    unsigned events = 0;

    if (wire->connecting) {
        events = connect_ended(wire);
        if (wire->error) {
            wire->fn(wire, WIRE_CLOSED);
            return;
        }
    }
    if (what & (LOOP_READ | LOOP_BROKEN))
        events |= WIRE_READABLE;
    if (what & (LOOP_WRITE | LOOP_BROKEN))
        events |= WIRE_WRITABLE;
    if (what & LOOP_EOF) {
        events |= WIRE_CLOSED | WIRE_READABLE;
        wire->eof = true;
    }
    if (what & LOOP_BROKEN)
        wire->broken = true;
    /* TLS: what waited to read may go on because we can write, and the other way round. */
    if ((events & WIRE_WRITABLE) && wire->read_wants_write)
        events |= WIRE_READABLE;
    if ((events & WIRE_READABLE) && wire->write_wants_read)
        events |= WIRE_WRITABLE;
    if (events & WIRE_READABLE)
        wire->readable = true;
    if (events & WIRE_WRITABLE)
        wire->writable = true;
    if (wire->tls && (events & WIRE_READABLE))
        tls_session_arrived(wire->tls, wire->eof || wire->broken);
    if (events)
        wire->fn(wire, events);
}

static void watch(struct wire *wire);

static void on_again(void *arg)
{
    struct wire *wire = arg;
    if (wire->unwatched) {
        wire_expect(wire);
        return;
    }
    unsigned events = (wire->readable ? WIRE_READABLE : 0) | (wire->writable ? WIRE_WRITABLE : 0) |
        (wire->eof ? WIRE_CLOSED : 0);
    if (events && !wire->connecting)
        wire->fn(wire, events);
}

void wire_again(struct wire *wire)
{
    wire_expect(wire);
    loop_soon(wire->loop, &wire->again);
}

/* --- life ------------------------------------------------------------------------------------------------ */

void wire_init(struct wire *wire, wire_fn fn)
{
    *wire = (struct wire){ .fn = fn, .fd = -1 };
    task_init(&wire->again, on_again, wire);
}

/* One registration for the socket's whole life, by edges: the bits in the wire say the rest. */
static void watch(struct wire *wire)
{
    if (loop_watch(wire->loop, wire->fd, LOOP_READ | LOOP_WRITE | LOOP_EOF | LOOP_EDGES, on_ready, wire) <
        0) {
        /* A plain file is always ready; anything else says what it is when it is read. */
        wire->readable = wire->writable = wire->broken = true;
        wire_again(wire);
    }
}

static void open_watched(struct wire *wire, struct loop *loop, int fd)
{
    assert(!wire_is_open(wire));
    wire->loop = loop;
    wire->fd = fd;
    watch(wire);
}

void wire_expect(struct wire *wire)
{
    if (!wire->unwatched)
        return;
    wire->unwatched = false;
    task_done(&wire->again);
    watch(wire);
}

void wire_adopt(struct wire *wire, struct loop *loop, int fd)
{
    int type;
    socklen_t len = sizeof(type);
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    wire->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    open_watched(wire, loop, fd);
}

void wire_adopt_accepted(struct wire *wire, struct loop *loop, int fd)
{
    wire->is_socket = true;
    open_watched(wire, loop, fd);
}

void wire_adopt_lazily(struct wire *wire, struct loop *loop, int fd)
{
    assert(!wire_is_open(wire));
    wire->loop = loop;
    wire->fd = fd;
    wire->is_socket = wire->unwatched = true;
    wire->readable = wire->writable = true;
    loop_late(loop, &wire->again);
}

int wire_connect(struct wire *wire, struct loop *loop, const struct wire_address *address)
{
    int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert(!wire_is_open(wire));
    if (fd < 0)
        return -errno;
    if (address->sa.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (connect(fd, (const struct sockaddr *)&address->sa, address->len) < 0 && errno != EINPROGRESS) {
        int code = errno;
        close(fd);
        return -code;
    }
    wire->is_socket = true;
    wire->connecting = true;
    open_watched(wire, loop, fd);
    return 0;
}

static void forget(struct wire *wire)
{
    if (!wire->unwatched)
        loop_unwatch(wire->loop, wire->fd, wire, true);
    task_done(&wire->again);
    tls_session_free(wire->tls);
    wire_fn fn = wire->fn;
    wire_init(wire, fn);
}

void wire_move(struct wire *from, struct wire *to)
{
    struct loop *loop = from->loop;
    int fd = from->fd;

    assert(wire_is_open(from) && !wire_is_open(to) && !from->connecting);
    wire_expect(from);
    task_done(&from->again);
    to->tls = from->tls;
    to->is_socket = from->is_socket;
    to->readable = from->readable;
    to->writable = from->writable;
    to->eof = from->eof;
    to->broken = from->broken;
    to->read_wants_write = from->read_wants_write;
    to->write_wants_read = from->write_wants_read;
    to->loop = loop;
    to->fd = fd;
    wire_init(from, from->fn);
    loop_pass_watch(loop, fd, from, to);
}

void wire_close(struct wire *wire)
{
    if (!wire_is_open(wire))
        return;
    int fd = wire->fd;
    if (wire->tls)
        tls_session_end(wire->tls);
    forget(wire);
    close(fd);
}

bool wire_is_unheard(const struct wire *wire)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    if (!wire_is_open(wire) || getsockopt(wire->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return false;
    return info.tcpi_unacked > 0 && info.tcpi_retransmits >= WIRE_UNHEARD_REPEATS;
}

void wire_keep_asking(const struct wire *wire, int after_s)
{
    if (!wire_is_open(wire) || setsockopt(wire->fd, IPPROTO_TCP, TCP_KEEPIDLE, &after_s, sizeof(int)) < 0)
        return;
    setsockopt(wire->fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){ WIRE_ALIVE_EVERY_S }, sizeof(int));
    setsockopt(wire->fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){ WIRE_ALIVE_TRIES }, sizeof(int));
    setsockopt(wire->fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
}

size_t wire_unsent(const struct wire *wire)
{
    int n = 0;
    if (!wire_is_open(wire) || ioctl(wire->fd, SIOCOUTQ, &n) < 0)
        return 0;
    return (size_t)n;
}

void wire_abort(struct wire *wire)
{
    if (wire_is_open(wire) && wire->is_socket)
        setsockopt(wire->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    if (wire->tls)
        tls_session_abandon(wire->tls);
    wire_close(wire);
}

/* --- reading and writing --------------------------------------------------------------------------------- */

/* Nothing can be done now; an event tells when. */
static ssize_t wait_for_event(struct wire *wire)
{
    wire_expect(wire);
    return -EAGAIN;
}

static ssize_t read_tls(struct wire *wire, void *buf, size_t len)
{
    enum tls_want want = TLS_WANT_NOTHING;
    ssize_t n = tls_session_read(wire->tls, buf, len, &want);
    wire->read_wants_write = want == TLS_WANT_WRITE;
    if (n == -EAGAIN) {
        wire->readable = false;
        if (want == TLS_WANT_WRITE)
            wire->writable = false;
    }
    /* An end that lies behind these bytes: no event will tell of it. */
    if (want == TLS_WANT_CALL)
        wire->eof = true;
    return n;
}

ssize_t wire_read(struct wire *wire, void *buf, size_t len)
{
    if (!wire_is_open(wire))
        return -ENOTCONN;
    if (wire->connecting || !wire->readable)
        return wait_for_event(wire);
    if (wire->tls)
        return read_tls(wire, buf, len);

    ssize_t n;
    do
        n = wire->is_socket ? recv(wire->fd, buf, len, 0) : read(wire->fd, buf, len);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN)
            return -errno;
        wire->readable = false;
        return wait_for_event(wire);
    }
    /* Emptied, and the call that would say so is saved: an end or a reset that came with these bytes was announced with
     * them, and one that comes later is an event of its own. */
    if ((size_t)n < len && wire->is_socket && !wire->eof && !wire->broken)
        wire->readable = false;
    return n;
}

static ssize_t write_tls(struct wire *wire, const struct iovec *iov, int n)
{
    enum tls_want want = TLS_WANT_NOTHING;
    ssize_t done = tls_session_writev(wire->tls, iov, n, &want);
    wire->write_wants_read = want == TLS_WANT_READ;
    if (done == -EAGAIN || want == TLS_WANT_WRITE)
        wire->writable = false;
    if (done == -EAGAIN && want == TLS_WANT_READ)
        wire->readable = false;
    return done;
}

/* One part is the usual case, and cheaper to hand over. */
static ssize_t write_plain(const struct wire *wire, const struct iovec *iov, int n)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    if (!wire->is_socket)
        return writev(wire->fd, iov, n);
    if (n == 1)
        return send(wire->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
    return sendmsg(wire->fd, &msg, MSG_NOSIGNAL);
}

ssize_t wire_writev(struct wire *wire, const struct iovec *iov, int n)
{
    size_t wanted = 0;
    ssize_t done;

    if (!wire_is_open(wire))
        return -ENOTCONN;
    if (wire->connecting || !wire->writable)
        return wait_for_event(wire);
    for (int i = 0; i < n; i++)
        wanted += iov[i].iov_len;
    if (wanted == 0)
        return 0;
    if (wire->tls)
        return write_tls(wire, iov, n);
    do
        done = write_plain(wire, iov, n);
    while (done < 0 && errno == EINTR);
    if (done < 0 && errno != EAGAIN)
        return -errno;
    if (done < (ssize_t)wanted) {
        wire->writable = false;
        wire_expect(wire);
    }
    return done < 0 ? -EAGAIN : done;
}

ssize_t wire_write(struct wire *wire, const void *data, size_t len)
{
    return wire_writev(wire, &(struct iovec){ .iov_base = (void *)data, .iov_len = len }, 1);
}

ssize_t wire_splice_in(struct wire *wire, int pipe, size_t len)
{
    if (!wire_is_open(wire) || wire->tls)
        return -ENOTCONN;
    if (wire->connecting || !wire->readable)
        return wait_for_event(wire);
    ssize_t n = splice(wire->fd, NULL, pipe, NULL, len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n >= 0)
        return n;
    if (errno != EAGAIN)
        return -errno;
    wire->readable = false;
    return wait_for_event(wire);
}

ssize_t wire_splice_out(struct wire *wire, int pipe, size_t len)
{
    if (!wire_is_open(wire) || wire->tls)
        return -ENOTCONN;
    if (wire->connecting || !wire->writable)
        return wait_for_event(wire);
    ssize_t n = splice(pipe, NULL, wire->fd, NULL, len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n >= 0)
        return n;
    if (errno != EAGAIN)
        return -errno;
    wire->writable = false;
    return wait_for_event(wire);
}

bool wire_is_quiet(struct wire *wire)
{
    char byte;
    if (wire->eof || wire->broken || !wire_is_open(wire))
        return false;
    if (!wire->readable)
        return true;
    if (wire->tls || recv(wire->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return false;
    wire->readable = false;
    return true;
}

void wire_last(struct wire *wire)
{
    if (wire->tls)
        tls_session_last(wire->tls);
}

void wire_shutdown_write(struct wire *wire)
{
    if (!wire_is_open(wire))
        return;
    if (wire->tls)
        tls_session_shutdown(wire->tls);
    if (wire->is_socket)
        shutdown(wire->fd, SHUT_WR);
}

/* --- TLS ------------------------------------------------------------------------------------------------- */

void wire_start_tls(struct wire *wire, struct tls_context *context, bool is_server)
{
    assert(wire_is_open(wire) && !wire->tls);
    wire->tls = tls_session_new(context, wire->fd, is_server);
}

int wire_handshake(struct wire *wire, struct error *err)
{
    enum tls_want want = TLS_WANT_NOTHING;
    int r = tls_session_handshake(wire->tls, &want);
    wire_expect(wire);
    wire->read_wants_write = wire->write_wants_read = false;
    if (r == -EAGAIN) {
        if (want == TLS_WANT_WRITE)
            wire->writable = false;
        else
            wire->readable = false;
        return r;
    }
    if (r < 0)
        wire_failure(wire, r, err);
    else
        /* The session reads ahead: it may hold what came right behind the handshake, and no edge tells of that. */
        wire->readable = true;
    return r;
}

const struct tls_facts *wire_tls_facts(const struct wire *wire)
{
    return wire->tls ? tls_session_facts(wire->tls) : NULL;
}

void wire_failure(const struct wire *wire, int code, struct error *err)
{
    char text[128];

    if (wire->tls && code == -EPROTO) {
        error_set(err, code, "%s", tls_session_failure(wire->tls));
        return;
    }
    snprintf(text, sizeof(text), "%s", strerror(-code));
    if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
        text[0] = (char)(text[0] - 'A' + 'a');
    error_set(err, code, "%s", text);
}
