/* SPDX-License-Identifier: MIT */
#include "routerd/front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/proxy_header.h"
#include "common/tls.h"
#include "routerd/certs.h"
#include "routerd/conn_h1.h"
#include "routerd/conn_h2.h"
#include "routerd/endpoint.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/tickets.h"
#include "routerd/wheel.h"
#include "routerd/worker.h"

struct front {
    struct wire wire;
    struct list link; /* in worker->fronts */
    struct worker *worker;
    struct wheel_node deadline;
    unsigned flags; /* enum listener_flags: what is still to come */
    bool shaking;   /* the handshake has begun */
    struct forward forward;
};

/* --- TLS of the process -------------------------------------------------------------------------------------- */

static bool choose(void *arg, const char *name, size_t len, struct tls_certificate *ret[2])
{
    const struct routerd *r = arg;
    return certs_choose(r->certs, name, len, ret);
}

static enum tls_ticket_use ticket_key(void *arg, const unsigned char *name, struct tls_ticket_key *ret)
{
    const struct routerd *r = arg;
    return tickets_key(r->tickets, name, ret);
}

void front_prepare(struct routerd *r)
{
    const struct settings *s = &r->settings;
    r->tickets = tickets_new(s->ticket_rotation_ms, loop_wall(r->loop));
    r->certs = certs_new(r->loop, s->certificates, s->default_certificate, s->strict_names);
    r->tls = (struct tls_public){
        .choose = choose,
        .ticket_key = ticket_key,
        .arg = r,
        .http2 = s->http2,
        .only_tls13 = s->only_tls13,
    };
}

int front_prepare_worker(struct routerd *r, struct worker *worker, struct error *err)
{
    return tls_public_new(&r->tls, &worker->tls, err);
}

/* --- who asks ------------------------------------------------------------------------------------------------ */

static size_t address_bytes(const struct wire_address *peer, const uint8_t **ret)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer->sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer->sa;
    *ret = NULL;
    if (peer->sa.ss_family == AF_INET) {
        *ret = (const uint8_t *)&in->sin_addr;
        return 4;
    }
    if (peer->sa.ss_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        *ret = in6->sin6_addr.s6_addr + (mapped ? 12 : 0);
        return mapped ? 4 : 16;
    }
    return 0;
}

void front_describe(struct worker *worker, const struct wire_address *peer, struct forward *ret)
{
    const uint8_t *bytes;
    size_t len = address_bytes(peer, &bytes);
    if (bytes)
        inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, ret->peer, sizeof(ret->peer));
    else
        memcpy(ret->peer, "unknown", sizeof("unknown"));
    ret->trusted = routerd_trusts(worker->routerd, bytes, len);
    ret->proxies = worker->routerd->trusted;
    ret->n_proxies = (uint32_t)worker->routerd->n_trusted;
}

bool front_host_allowed(const struct forward *forward, struct http1_slice host)
{
    return !forward->certificate || host.len == 0 ||
        tls_certificate_covers(forward->certificate, host.ptr, host.len);
}

/* --- the end ------------------------------------------------------------------------------------------------- */

static void free_later(void *p)
{
    free(p);
}

static void close_front(struct front *f)
{
    struct worker *worker = f->worker;
    wire_close(&f->wire);
    wheel_node_done(&worker->wheel, &f->deadline);
    list_remove(&f->link);
    endpoint_count(&worker->counters.connections, -1);
    loop_free_later(worker->loop, f, free_later);
    worker_check_room(worker);
}

void front_close_all(struct worker *worker)
{
    struct front *f, *next;
    list_for_each_safe (f, next, &worker->fronts, link)
        close_front(f);
}

/* Who speaks plain HTTP to a TLS port reads in plain text what is wrong. */
static void answer_plain(struct front *f)
{
    static const char text[] =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 36\r\n"
        "Connection: close\r\n\r\nThis port speaks TLS: ask by https.\n";
    (void)send(f->wire.fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void fail_handshake(struct front *f, const struct error *err)
{
    enum tls_failure_kind kind = tls_public_failure(f->wire.tls);
    endpoint_count(&f->worker->front.failed[kind], 1);
    log_debug(NULL, "TLS handshake with %s: %s", f->forward.peer, err->text);
    if (kind == TLS_FAILURE_HTTP)
        answer_plain(f);
    close_front(f);
}

static void on_deadline(struct wheel_node *node)
{
    struct front *f = container_of(node, struct front, deadline);
    endpoint_count(&f->worker->front.late, 1);
    close_front(f);
}

/* --- the PROXY header ---------------------------------------------------------------------------------------- */

static void refuse_proxy(struct front *f, const char *reason)
{
    endpoint_count(&f->worker->front.refused_proxy, 1);
    log_debug(NULL, "PROXY header from %s: %s", f->forward.peer, reason);
    close_front(f);
}

static bool may_send_proxy(const struct front *f)
{
    return f->worker->routerd->n_trusted == 0 || f->forward.trusted;
}

/* True: it was read. What is behind it stays in the socket. */
static bool read_proxy(struct front *f)
{
    struct proxy_header header;
    const char *reason = NULL;
    char *buf = f->worker->buffer;
    ssize_t n = recv(f->wire.fd, buf, PROXY_HEADER_MAX, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        refuse_proxy(f, "the connection ended before it");
        return false;
    }
    switch (proxy_header_parse(buf, (size_t)n, &header, &reason)) {
    case PROXY_HEADER_REFUSED:
        refuse_proxy(f, reason);
        return false;
    case PROXY_HEADER_MORE:
        if (f->wire.eof || n == PROXY_HEADER_MAX)
            refuse_proxy(f, "it is not whole");
        return false;
    case PROXY_HEADER_DONE:
        break;
    }
    (void)recv(f->wire.fd, buf, header.size, MSG_DONTWAIT);
    if (!header.is_own) {
        front_describe(f->worker, &header.source, &f->forward);
        f->forward.tls = header.tls;
    }
    f->flags &= ~(unsigned)LISTENER_PROXY;
    return true;
}

/* --- becoming a connection ----------------------------------------------------------------------------------- */

static void hand_over(struct front *f, bool http2)
{
    struct worker *worker = f->worker;
    if (http2)
        conn_h2_new(worker, &f->wire, &f->forward, NULL, 0);
    else
        conn_h1_take(worker, &f->wire, &f->forward);
    close_front(f);
}

static bool shake(struct front *f)
{
    struct worker *worker = f->worker;
    struct error err;
    if (!f->shaking)
        wire_start_tls(&f->wire, worker->tls, true);
    f->shaking = true;
    int r = wire_handshake(&f->wire, &err);
    if (r == -EAGAIN)
        return false;
    if (r < 0) {
        fail_handshake(f, &err);
        return false;
    }
    const struct tls_session *tls = f->wire.tls;
    endpoint_count(tls_public_is_resumed(tls) ? &worker->front.resumed : &worker->front.full, 1);
    f->forward.tls = true;
    f->forward.tls_version = tls_public_version(tls);
    f->forward.tls_cipher = tls_public_cipher(tls);
    if (worker->settings->strict_names)
        f->forward.certificate = tls_public_shown(tls);
    return true;
}

static void advance(struct front *f)
{
    if ((f->flags & LISTENER_PROXY) && !read_proxy(f))
        return;
    if ((f->flags & LISTENER_TLS) && !shake(f))
        return;
    hand_over(f, (f->flags & LISTENER_TLS) && tls_public_is_http2(f->wire.tls));
}

static void on_wire(struct wire *wire, unsigned events)
{
    advance(container_of(wire, struct front, wire));
}

void front_new(struct worker *worker, int fd, const struct wire_address *peer, unsigned flags)
{
    struct front *f = xcalloc(1, sizeof(*f));
    f->worker = worker;
    f->flags = flags;
    wheel_node_init(&f->deadline, on_deadline);
    list_append(&worker->fronts, &f->link);
    endpoint_count(&worker->counters.connections, 1);
    front_describe(worker, peer, &f->forward);
    wire_init(&f->wire, on_wire);
    wire_adopt_accepted(&f->wire, worker->loop, fd);
    wheel_set(&worker->wheel, &f->deadline, worker->settings->head_ms);
    if ((flags & LISTENER_PROXY) && !may_send_proxy(f)) {
        refuse_proxy(f, "the peer is not among TrustedProxies=");
        return;
    }
    /* The kernel hands over a connection when its first bytes are there: reading at once saves a turn. */
    f->wire.readable = f->wire.writable = true;
    advance(f);
}
