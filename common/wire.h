/* SPDX-License-Identifier: MIT */
#pragma once

/* The lower of two levels of input and output: one non-blocking descriptor in a loop, plain or TLS, without
 * any buffer of its own. It is embedded in its owner and small enough for thousands. Deadlines are the
 * owner's; buffers, framing and names are stream.h's.
 *
 * Events are edges, state is in the wire: an event says what became possible, wire_read and wire_writev go on
 * until -EAGAIN. Back-pressure is not calling wire_read; nothing has to be switched off for it. An owner that
 * stops before -EAGAIN for any other reason asks for another turn with wire_again. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define WIRE_ACCEPTS_PER_TURN 16
#define WIRE_ACCEPT_RETRY_MS  250 /* pause of a listener that ran out of descriptors */
#define WIRE_BACKLOG          511

#include "common/error.h"
#include "common/loop.h"

struct tls_context;
struct tls_facts;
struct tls_session;
struct wire;

enum wire_event {
    WIRE_READABLE = 1,
    WIRE_WRITABLE = 2,
    WIRE_CLOSED = 4,    /* the peer has ended its direction (bytes may still wait), or connecting failed: see
                         * wire->error */
    WIRE_CONNECTED = 8, /* after wire_connect; comes with WIRE_WRITABLE */
};

/* events: enum wire_event, or-ed; always at least one. The wire may be closed inside it, and its owner freed
 * by loop_free_later. */
typedef void (*wire_fn)(struct wire *wire, unsigned events);

struct wire {
    wire_fn fn;              /* its owner is found by container_of */
    struct loop *loop;       /* NULL: closed or never opened */
    struct tls_session *tls; /* NULL: plain */
    int fd;
    int error;               /* negative errno of a failed connect, 0 without */
    bool readable, writable; /* until -EAGAIN was seen */
    bool eof;                /* end of the peer's direction was announced (not yet read) */
    bool broken;             /* so was a failure */
    bool connecting;
    bool unwatched; /* adopted lazily, and still so */
    bool is_socket;
    bool read_wants_write, write_wants_read; /* TLS */
    struct task again;
};

/* Numeric addresses and paths: "10.0.0.5:80", "[::1]:80", "unix:/run/x.sock", "/run/x.sock". */
struct wire_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* default_port 0: a port is required. "*" as the host is any address. -EINVAL with the reason; -EDESTADDRREQ
 * if the host is no number (a name: stream.h resolves). */
_must_check_ int wire_address_parse(
    const char *text, int default_port, struct wire_address *ret, struct error *err);
/* The same text as host (without brackets) and port, for names too. */
_must_check_ int wire_host_split(
    const char *text, int default_port, char **ret_host, int *ret_port, struct error *err);
#define WIRE_ADDRESS_TEXT_MAX 128
/* "10.0.0.5:51234", "[::1]:80", "local" for unix sockets; buf of WIRE_ADDRESS_TEXT_MAX bytes, returned. */
char *wire_address_text(const struct wire_address *address, char *buf);

/* Makes *wire unopened: wire_close on it is harmless. */
void wire_init(struct wire *wire, wire_fn fn);
/* Takes the descriptor (made non-blocking and close-on-exec); events follow from the next turn on. */
void wire_adopt(struct wire *wire, struct loop *loop, int fd);
/* The same for what a listener hands over, which is a socket with both flags already: saves three system calls. */
void wire_adopt_accepted(struct wire *wire, struct loop *loop, int fd);
/* The same, taken to be readable and writable at once: the owner reads before it waits. The kernel is asked for events
 * when something said -EAGAIN, by wire_expect, or after LOOP_LATE_MS: a connection that is over by then never costs that
 * call. */
void wire_adopt_lazily(struct wire *wire, struct loop *loop, int fd);
/* Events are wanted from now on. */
void wire_expect(struct wire *wire);
/* Begins to connect; WIRE_CONNECTED or WIRE_CLOSED follows, never before this returned. Negative errno: could
 * not even begin. */
_must_check_ int wire_connect(struct wire *wire, struct loop *loop, const struct wire_address *address);
/* `to` (wire_init'ed) goes on where `from` was, with its descriptor and TLS session. What was told to `from` is not told
 * again: the owner of `to` reads at once, or asks for wire_again. `from` is as never opened. */
void wire_move(struct wire *from, struct wire *to);
/* Closes at once, what is unsent is lost. No event comes after it. */
void wire_close(struct wire *wire);
/* The same, and the peer of a plain TCP connection sees a reset, not an end. */
void wire_abort(struct wire *wire);
static inline bool wire_is_open(const struct wire *wire)
{
    return wire->loop != NULL;
}

/* > 0: bytes; 0: end of the peer's direction; -EAGAIN: wait for WIRE_READABLE; else a negative errno (TLS:
 * -EPROTO, and wire_failure says what). Only -EAGAIN promises another event: a short read does not, but it may be what
 * makes the next call say -EAGAIN without asking the kernel. */
ssize_t wire_read(struct wire *wire, void *buf, size_t len);
/* May write less than all. -EAGAIN: wait for WIRE_WRITABLE, then offer the same bytes (and more, if there are)
 * again. Gathers up to WIRE_IOV_MAX parts; for TLS they are coalesced into records. */
#define WIRE_IOV_MAX 16
ssize_t wire_writev(struct wire *wire, const struct iovec *iov, int n);
ssize_t wire_write(struct wire *wire, const void *data, size_t len);
/* Plain wires only: between the socket and a pipe, without a copy. As wire_read and wire_writev; the pipe has to be empty
 * before, or -EAGAIN may mean that it is full. */
ssize_t wire_splice_in(struct wire *wire, int pipe, size_t len);
ssize_t wire_splice_out(struct wire *wire, int pipe, size_t len);
/* Nothing waits to be read, and no end; asks the kernel if it isn't known. */
bool wire_is_quiet(struct wire *wire);
/* What the next wire_writev writes is the last, if it takes all of it: TLS says so along with it. */
void wire_last(struct wire *wire);
/* Ends our direction, after what was written. TLS: close_notify first. */
void wire_shutdown_write(struct wire *wire);
/* Sent bytes have been repeated WIRE_UNHEARD_REPEATS times without a word from the peer: its host is gone, or the
 * way to it. A peer that merely reads slowly is heard. False for unix sockets. */
#define WIRE_UNHEARD_REPEATS 3
bool wire_is_unheard(const struct wire *wire);
/* A silent peer is asked whether it is there after so many seconds, and again each WIRE_ALIVE_EVERY_S; after
 * WIRE_ALIVE_TRIES without a word the wire fails with -ETIMEDOUT. The kernel does it; not for unix sockets. */
#define WIRE_ALIVE_EVERY_S 2
#define WIRE_ALIVE_TRIES   3
void wire_keep_asking(const struct wire *wire, int after_s);
/* Bytes that were written and that the peer has not acknowledged: the kernel takes megabytes for a slow one. */
size_t wire_unsent(const struct wire *wire);
/* Another call of fn next turn with what is still readable or writable. */
void wire_again(struct wire *wire);

/* TLS. The session begins with the next wire_handshake: 0 done, -EAGAIN: go on at the next event, else failed
 * with err. wire_tls_facts is NULL before that and on plain wires. */
void wire_start_tls(struct wire *wire, struct tls_context *context, bool is_server);
_must_check_ int wire_handshake(struct wire *wire, struct error *err);
const struct tls_facts *wire_tls_facts(const struct wire *wire);
/* One clause on the last failed call that returned `code`: "connection reset by peer", "hub refused the
 * certificate: …". */
void wire_failure(const struct wire *wire, int code, struct error *err);

/* --- listening -------------------------------------------------------------------------------------------- */

/* fd: non-blocking, close-on-exec, taken by the callee. peer: its address. */
typedef void (*wire_accept_fn)(void *arg, int fd, const struct wire_address *peer);

struct wire_listener;

/* Watches a listening descriptor (taken). At most WIRE_ACCEPTS_PER_TURN a turn; without descriptors it pauses
 * for WIRE_ACCEPT_RETRY_MS and counts. */
struct wire_listener *wire_listener_new(struct loop *loop, int fd, wire_accept_fn fn, void *arg);
void wire_listener_free(struct wire_listener *listener);
void wire_listener_pause(struct wire_listener *listener, bool pause);
/* How often it ran out of descriptors. */
int64_t wire_listener_starved(const struct wire_listener *listener);

/* A listening socket on an address as above ("*:7000", port 0: any). A stale unix socket is replaced, a live
 * one refused. */
_must_check_ int wire_listen(const char *address, int default_port, int *ret_fd, struct error *err);
int wire_local_port(int fd); /* of a bound socket; 0 if it has none */
