/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/tls.h"

#define TLS_RECORD_MAX 16384

_Static_assert(sizeof(struct event) <= sizeof(((struct wire *)0)->event_), "struct wire holds an event");

static struct event *event_of(struct wire *wire)
{
    return (struct event *)(void *)wire->event_;
}

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

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct wire *wire = arg;
    unsigned events = 0;

    loop_count_event(wire->loop);
    if (wire->connecting) {
        events = connect_ended(wire);
        if (wire->error) {
            wire->fn(wire, WIRE_CLOSED);
            return;
        }
    }
    if (what & EV_READ)
        events |= WIRE_READABLE;
    if (what & EV_WRITE)
        events |= WIRE_WRITABLE;
    if (what & EV_CLOSED) {
        events |= WIRE_CLOSED | WIRE_READABLE;
        wire->eof = true;
    }
    /* TLS: what waited to read may go on because we can write, and the other way round. */
    if ((events & WIRE_WRITABLE) && wire->read_wants_write)
        events |= WIRE_READABLE;
    if ((events & WIRE_READABLE) && wire->write_wants_read)
        events |= WIRE_WRITABLE;
    if (events & WIRE_READABLE)
        wire->readable = true;
    if (events & WIRE_WRITABLE)
        wire->writable = true;
    wire->fn(wire, events);
}

static void on_again(void *arg)
{
    struct wire *wire = arg;
    unsigned events = (wire->readable ? WIRE_READABLE : 0) | (wire->writable ? WIRE_WRITABLE : 0) |
        (wire->eof ? WIRE_CLOSED : 0);
    if (events && !wire->connecting)
        wire->fn(wire, events);
}

void wire_again(struct wire *wire)
{
    loop_soon(wire->loop, &wire->again);
}

/* --- life ------------------------------------------------------------------------------------------------ */

void wire_init(struct wire *wire, wire_fn fn)
{
    *wire = (struct wire){ .fn = fn, .fd = -1 };
    task_init(&wire->again, on_again, wire);
}

bool wire_is_open(const struct wire *wire)
{
    return wire->loop != NULL;
}

/* One registration for the socket's whole life, by edges: the bits in the wire say the rest. */
static void watch(struct wire *wire, struct loop *loop, int fd)
{
    wire->loop = loop;
    wire->fd = fd;
    event_assign(event_of(wire), loop_base(loop), fd,
        EV_READ | EV_WRITE | EV_ET | EV_PERSIST | (wire->is_socket ? EV_CLOSED : 0), on_event, wire);
    event_add(event_of(wire), NULL);
}

void wire_adopt(struct wire *wire, struct loop *loop, int fd)
{
    int type;
    socklen_t len = sizeof(type);
    int flags = fcntl(fd, F_GETFL);

    assert(!wire_is_open(wire));
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    wire->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    watch(wire, loop, fd);
}

void wire_adopt_accepted(struct wire *wire, struct loop *loop, int fd)
{
    assert(!wire_is_open(wire));
    wire->is_socket = true;
    watch(wire, loop, fd);
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
    watch(wire, loop, fd);
    return 0;
}

static void forget(struct wire *wire)
{
    event_del(event_of(wire));
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
    event_del(event_of(from));
    task_done(&from->again);
    to->tls = from->tls;
    to->is_socket = from->is_socket;
    to->readable = from->readable;
    to->writable = from->writable;
    to->eof = from->eof;
    to->read_wants_write = from->read_wants_write;
    to->write_wants_read = from->write_wants_read;
    wire_init(from, from->fn);
    watch(to, loop, fd);
    if (to->readable || to->eof)
        wire_again(to);
}

void wire_close(struct wire *wire)
{
    if (!wire_is_open(wire))
        return;
    int fd = wire->fd;
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

void wire_abort(struct wire *wire)
{
    if (wire_is_open(wire) && wire->is_socket)
        setsockopt(wire->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    wire_close(wire);
}

/* --- reading and writing --------------------------------------------------------------------------------- */

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
    return n;
}

ssize_t wire_read(struct wire *wire, void *buf, size_t len)
{
    if (!wire_is_open(wire))
        return -ENOTCONN;
    if (wire->connecting || !wire->readable)
        return -EAGAIN;
    if (wire->tls)
        return read_tls(wire, buf, len);

    ssize_t n;
    do
        n = wire->is_socket ? recv(wire->fd, buf, len, 0) : read(wire->fd, buf, len);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN)
            wire->readable = false;
        return -errno;
    }
    /* A short read does not end readability: a reset that came with this data (one edge for both, which libevent
     * reports like any other) is seen by the next read only. */
    return n;
}

static ssize_t write_tls(struct wire *wire, const struct iovec *iov, int n)
{
    unsigned char record[TLS_RECORD_MAX];
    enum tls_want want = TLS_WANT_NOTHING;
    const void *data = iov[0].iov_base;
    size_t len = iov[0].iov_len < TLS_RECORD_MAX ? iov[0].iov_len : TLS_RECORD_MAX;

    if (n > 1 && len < TLS_RECORD_MAX) {
        len = 0;
        for (int i = 0; i < n && len < TLS_RECORD_MAX; i++) {
            size_t part = TLS_RECORD_MAX - len < iov[i].iov_len ? TLS_RECORD_MAX - len : iov[i].iov_len;
            if (part)
                memcpy(record + len, iov[i].iov_base, part);
            len += part;
        }
        data = record;
    }
    ssize_t done = tls_session_write(wire->tls, data, len, &want);
    wire->write_wants_read = want == TLS_WANT_READ;
    if (done == -EAGAIN) {
        wire->writable = false;
        if (want == TLS_WANT_READ)
            wire->readable = false;
    }
    return done;
}

ssize_t wire_writev(struct wire *wire, const struct iovec *iov, int n)
{
    size_t wanted = 0;
    ssize_t done;

    if (!wire_is_open(wire))
        return -ENOTCONN;
    if (wire->connecting || !wire->writable)
        return -EAGAIN;
    for (int i = 0; i < n; i++)
        wanted += iov[i].iov_len;
    if (wanted == 0)
        return 0;
    if (wire->tls)
        return write_tls(wire, iov, n);
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    do
        done = wire->is_socket ? sendmsg(wire->fd, &msg, MSG_NOSIGNAL) : writev(wire->fd, iov, n);
    while (done < 0 && errno == EINTR);
    if (done < 0) {
        if (errno == EAGAIN)
            wire->writable = false;
        return -errno;
    }
    if ((size_t)done < wanted)
        wire->writable = false;
    return done;
}

ssize_t wire_write(struct wire *wire, const void *data, size_t len)
{
    return wire_writev(wire, &(struct iovec){ .iov_base = (void *)data, .iov_len = len }, 1);
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
