/* SPDX-License-Identifier: MIT */
#include "hubd/front.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/stream.h"
#include "hubd/ca.h"
#include "hubd/http_conn.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

#define HTTP_ALPN  "http/1.1"
#define LOCAL_MODE 0660

struct front {
    struct hubd *hub;
    struct stream_listener **listeners; /* on the port */
    size_t n_listeners, listeners_cap;
    struct stream_listener *local;
    struct tls_context *tls;
    struct list arrivals; /* struct arrival: handshakes under way */
    struct list guests;   /* struct guest: HTTP connections */
    size_t n_arrivals, n_guests;
    mono_t said; /* when a flood was told of last */
};

/* A connection whose peer is not known yet. */
struct arrival {
    struct list of_front;
    struct front *front;
    struct stream *stream;
};

/* An HTTP connection. */
struct guest {
    struct list of_front;
    struct front *front;
    struct http_conn *conn;
};

/* --- who it is -------------------------------------------------------------------------------------------------- */

static void free_now(void *obj)
{
    free(obj);
}

static void arrival_end(struct arrival *arrival)
{
    list_remove(&arrival->of_front);
    arrival->front->n_arrivals--;
    loop_free_later(arrival->front->hub->loop, arrival, free_now);
}

static void on_guest_closed(void *arg)
{
    struct guest *guest = arg;
    list_remove(&guest->of_front);
    guest->front->n_guests--;
    loop_free_later(guest->front->hub->loop, guest, free_now);
}

static void hand_over(struct front *front, struct stream *stream, const struct tls_facts *facts)
{
    struct hubd *hub = front->hub;
    struct peer peer = { .role = ROLE_NONE, .address = (char *)stream_peer(stream) };
    if (facts->has_peer) {
        peer.role = facts->peer.role;
        peer.name = facts->peer.name;
        peer.fleet = facts->peer.fleet;
        peer.serial = facts->peer.serial;
        peer.key = (char *)facts->peer.spki;
        peer.expired = facts->peer.not_after.us <= loop_wall(hub->loop).us;
    }
    if (facts->alpn && strcmp(facts->alpn, PROTOCOL_ALPN) == 0) {
        session_new(hub, stream, &peer);
        return;
    }
    struct guest *guest = xcalloc(1, sizeof(*guest));
    guest->front = front;
    list_append(&front->guests, &guest->of_front);
    front->n_guests++;
    guest->conn = http_conn_new(hub, stream, &peer, on_guest_closed, guest);
}

static void on_arrival(void *arg, struct stream *stream, enum stream_event event)
{
    struct arrival *arrival = arg;
    switch (event) {
    case STREAM_TLS_READY:
        arrival_end(arrival);
        hand_over(arrival->front, stream, stream_tls(stream));
        break;
    case STREAM_ERROR:
        log_debug(NULL, "%s: %s", stream_peer(stream), stream_error(stream));
        break;
    case STREAM_TIMEOUT:
    case STREAM_CLOSED:
    case STREAM_EOF:
        arrival_end(arrival);
        stream_free(stream);
        break;
    case STREAM_CONNECTED:
    case STREAM_DATA:
    case STREAM_LOW:
        break;
    }
}

/* Joined peers have their sessions counted elsewhere: here only those that anybody can open. */
static size_t n_strangers(const struct front *front)
{
    size_t n = front->n_arrivals;
    struct session *session;
    list_for_each (session, &front->hub->sessions, of_hub)
        if (link_peer(session->link)->role == ROLE_NONE)
            n++;
    return n;
}

/* Whoever stands in the door longest makes room: a flood then costs the honest only another try. */
static bool make_room(struct front *front)
{
    struct arrival *oldest = list_first(&front->arrivals, struct arrival, of_front);
    mono_t now = loop_now(front->hub->loop);
    if (mono_diff_ms(now, front->said) > FRONT_SAID_MS) {
        log_warning(NULL, "more than %d connections of strangers at once; the oldest are dropped",
            FRONT_STRANGERS_MAX);
        front->said = now;
    }
    if (!oldest)
        return false;
    stream_free(oldest->stream);
    arrival_end(oldest);
    return true;
}

static void on_accept(void *arg, struct stream *stream)
{
    struct front *front = arg;
    if ((n_strangers(front) >= FRONT_STRANGERS_MAX && !make_room(front)) ||
        front->n_guests >= FRONT_CONNECTIONS_MAX) {
        stream_free(stream);
        return;
    }
    struct arrival *arrival = xcalloc(1, sizeof(*arrival));
    arrival->front = front;
    arrival->stream = stream;
    list_append(&front->arrivals, &arrival->of_front);
    front->n_arrivals++;
    stream_set_owner(stream, on_arrival, arrival);
}

/* Whoever can connect to the local socket is admin; its user name is who did it. */
static void on_accept_local(void *arg, struct stream *stream)
{
    struct front *front = arg;
    struct passwd pw, *found = NULL;
    char buf[4096];
    uid_t uid;
    gid_t gid;
    if (stream_credentials(stream, &uid, &gid) < 0) {
        stream_free(stream);
        return;
    }
    _cleanup_(free_ptr) char *name = NULL;
    if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == 0 && found)
        name = xstrdup(found->pw_name);
    else
        name = xasprintf("uid-%u", (unsigned)uid);
    struct peer peer = { .role = ROLE_ADMIN, .name = name, .address = (char *)"local" };
    session_new(front->hub, stream, &peer);
}

/* --- listening ------------------------------------------------------------------------------------------------------ */

static int make_tls(struct front *front, struct error *err)
{
    static const char *const alpn[] = { PROTOCOL_ALPN, HTTP_ALPN, NULL };
    struct tls_server spec = { .ca_pem = ca_cert_pem(front->hub->ca), .alpn = alpn };
    struct tls_context *tls = NULL;
    ca_server(front->hub->ca, &spec.cert_pem, &spec.key_pem);
    int r = tls_server_new(&spec, &tls, err);
    if (r < 0)
        return r;
    tls_context_free(front->tls);
    front->tls = tls;
    return 0;
}

static void on_renewed(void *arg)
{
    struct front *front = arg;
    struct error err = { 0 };
    if (make_tls(front, &err) < 0) {
        log_error(NULL, "the renewed certificate can't be used: %s", err.text);
        return;
    }
    for (size_t i = 0; i < front->n_listeners; i++)
        stream_listener_set_tls(front->listeners[i], front->tls);
    log_info(NULL, "renewed the hub's certificate");
}

static void add_listener(struct front *front, int fd)
{
    struct stream_options options = { .tls = front->tls };
    front->listeners =
        xgrow(front->listeners, front->n_listeners, &front->listeners_cap, sizeof(*front->listeners));
    front->listeners[front->n_listeners++] =
        stream_listener_new(front->hub->loop, fd, &options, on_accept, front);
}

static int listen_port(struct front *front, struct error *err)
{
    _cleanup_(free_ptr) int *fds = NULL;
    int n = daemon_take_fds("hub", &fds), fd;
    for (int i = 0; i < n; i++)
        add_listener(front, fds[i]);
    if (n > 0)
        return 0;
    int r = wire_listen(front->hub->config.listen, PROTOCOL_PORT, &fd, err);
    if (r == 0)
        add_listener(front, fd);
    return r;
}

static int listen_local(struct front *front, struct error *err)
{
    _cleanup_(free_ptr) int *fds = NULL;
    const char *path = front->hub->config.local_socket;
    int n = daemon_take_fds("local", &fds), fd = -1;
    if (n > 0) {
        fd = fds[0];
        for (int i = 1; i < n; i++)
            close(fds[i]);
    } else if (path && *path) {
        _cleanup_(free_ptr) char *address = xasprintf("unix:%s", path);
        int r = wire_listen(address, 0, &fd, err);
        if (r < 0)
            return r;
        if (chmod(path, LOCAL_MODE) < 0)
            return error_set_errno(err, -errno, "can't set the mode of %s", path);
    }
    if (fd >= 0)
        front->local =
            stream_listener_new(front->hub->loop, fd, &(struct stream_options){ 0 }, on_accept_local, front);
    return 0;
}

int front_new(struct hubd *hub, struct front **ret, struct error *err)
{
    struct front *front = xcalloc(1, sizeof(*front));
    front->hub = hub;
    list_init(&front->arrivals);
    list_init(&front->guests);
    front->said.us = loop_now(hub->loop).us - FRONT_SAID_MS * CLOCK_US_PER_MS - 1;
    int r = make_tls(front, err);
    if (r == 0)
        r = listen_port(front, err);
    if (r == 0)
        r = listen_local(front, err);
    if (r < 0) {
        front_free(front);
        return r;
    }
    ca_on_server_renewed(hub->ca, on_renewed, front);
    *ret = front;
    return 0;
}

void front_free(struct front *front)
{
    if (!front)
        return;
    if (front->hub->ca)
        ca_on_server_renewed(front->hub->ca, NULL, NULL);
    for (size_t i = 0; i < front->n_listeners; i++)
        stream_listener_free(front->listeners[i]);
    free(front->listeners);
    stream_listener_free(front->local);
    while (!list_empty(&front->arrivals)) {
        struct arrival *arrival = list_first(&front->arrivals, struct arrival, of_front);
        stream_free(arrival->stream);
        arrival_end(arrival);
    }
    while (!list_empty(&front->guests))
        http_conn_free(list_first(&front->guests, struct guest, of_front)->conn);
    tls_context_free(front->tls);
    free(front);
}
