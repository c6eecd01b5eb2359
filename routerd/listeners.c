/* SPDX-License-Identifier: MIT */
#include "routerd/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "common/wire.h"
#include "routerd/front.h"
#include "routerd/routerd.h"
#include "routerd/status.h"
#include "routerd/worker.h"

/* A name may hold no colon; an address does. */
#define COLON "%3A"

/* What a descriptor's name says of it. The second half are ours: what Listen= had opened in the generation before. */
static const struct {
    const char *name;
    unsigned flags;
} kinds[] = {
    { "http", 0 },
    { "https", LISTENER_TLS },
    { "http-proxy", LISTENER_PROXY },
    { "https-proxy", LISTENER_TLS | LISTENER_PROXY },
    { "status", LISTENER_STATUS },
};

static const struct {
    const char *prefix;
    unsigned flags;
    int default_port;
    const char *key; /* in settings */
} opened_kinds[] = {
    { "listen=", 0, 80, "Listen" },
    { "listen-tls=", LISTENER_TLS, 443, "ListenTLS" },
    { "status=", LISTENER_STATUS, 0, "Status" },
};
#define OPENED_STATUS 2

static void add(struct routerd_socket **list, int *n, int fd, unsigned flags, char *name)
{
    *list = xrealloc(*list, (size_t)(*n + 1) * sizeof(**list));
    (*list)[(*n)++] = (struct routerd_socket){ fd, flags, name };
}

int listeners_take(struct routerd_socket **ret)
{
    int n = 0;
    *ret = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        _cleanup_(free_ptr) int *fds = NULL;
        int n_fds = daemon_take_fds(kinds[i].name, &fds);
        for (int j = 0; j < n_fds; j++)
            add(ret, &n, fds[j], kinds[i].flags, xstrdup(kinds[i].name));
    }
    for (size_t i = 0; i < ARRAY_SIZE(opened_kinds); i++) {
        int fd;
        char *rest;
        while (daemon_take_named_fd(opened_kinds[i].prefix, &fd, &rest)) {
            add(ret, &n, fd, opened_kinds[i].flags | (strstr(rest, ",proxy") ? LISTENER_PROXY : 0),
                xasprintf("%s%s", opened_kinds[i].prefix, rest));
            free(rest);
        }
    }
    return n;
}

static bool is_opened(const struct routerd_socket *s)
{
    return s->name && strchr(s->name, '=') != NULL;
}

static char *opened_name(const char *prefix, const char *text)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_adds(&out, prefix);
    for (const char *p = text; *p; p++) {
        if (*p == ':')
            strbuf_adds(&out, COLON);
        else
            strbuf_addc(&out, *p);
    }
    return strbuf_steal(&out);
}

/* As DeferAcceptSec= of the units: the kernel hands over a connection when its first bytes are there, or after so long. */
#define LISTENERS_DEFER_S 5

/* "ADDRESS" or "ADDRESS,proxy" */
static int split_one(size_t kind, const char *text, char **ret_address, bool *ret_proxy, struct error *err)
{
    const char *key = opened_kinds[kind].key, *comma = strchr(text, ',');
    _cleanup_(free_ptr) char *name = opened_name(opened_kinds[kind].prefix, text);
    struct wire_address parsed;
    if (comma && strcmp(comma, ",proxy") != 0)
        return error_set(err, -EINVAL, "%s: \"%s\": behind an address only \",proxy\" may stand", key, text);
    if (strlen(name) > LISTENERS_NAME_MAX)
        return error_set(err, -EINVAL, "%s: \"%s\" is too long", key, text);
    _cleanup_(free_ptr) char *address = comma ? xstrndup(text, (size_t)(comma - text)) : xstrdup(text);
    int r = wire_address_parse(address, opened_kinds[kind].default_port, &parsed, err);
    if (r < 0)
        return error_prefix(err, "%s", key);
    *ret_address = steal_ptr(address);
    *ret_proxy = comma != NULL;
    return 0;
}

/* Whoever reaches the path may connect, as to a port: nothing can be changed there. */
#define UNIX_MODE 0666

static void open_to_everybody(const char *address)
{
    const char *path = strncmp(address, "unix:", 5) == 0 ? address + 5 : address;
    if (path[0] == '/' && chmod(path, UNIX_MODE) < 0)
        log_warning(NULL, "%s: can't be opened to everybody: %s", path, strerror(errno));
}

static int open_one(struct routerd *r, size_t kind, const char *text, struct error *err)
{
    _cleanup_(free_ptr) char *address = NULL;
    bool proxy;
    int fd, result = split_one(kind, text, &address, &proxy, err);
    if (result == 0)
        result = wire_listen(address, opened_kinds[kind].default_port, &fd, err);
    if (result == 0 && kind != OPENED_STATUS)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){ LISTENERS_DEFER_S }, sizeof(int));
    if (result < 0)
        return result;
    open_to_everybody(address);
    add(&r->sockets, &r->n_sockets, fd, opened_kinds[kind].flags | (proxy ? LISTENER_PROXY : 0),
        opened_name(opened_kinds[kind].prefix, text));
    log_info(NULL, "%s=%s: open", opened_kinds[kind].key, text);
    return 0;
}

static int check_one(size_t kind, const char *text, struct error *err)
{
    _cleanup_(free_ptr) char *address = NULL;
    bool proxy;
    return split_one(kind, text, &address, &proxy, err);
}

int listeners_check(const struct settings *settings, struct error *err)
{
    char *text;
    int result = settings->status ? check_one(OPENED_STATUS, settings->status, err) : 0;
    strv_for_each (text, settings->listen) {
        if (result == 0)
            result = check_one(0, text, err);
    }
    strv_for_each (text, settings->listen_tls) {
        if (result == 0)
            result = check_one(1, text, err);
    }
    return result;
}

static bool is_there(const struct routerd *r, const char *name)
{
    for (int i = 0; i < r->n_sockets; i++) {
        if (strcmp(r->sockets[i].name ? r->sockets[i].name : "", name) == 0)
            return true;
    }
    return false;
}

static int open_kind(struct routerd *r, size_t kind, char **addresses, char ***wanted, struct error *err)
{
    char *text;
    int result = 0;
    strv_for_each (text, addresses) {
        _cleanup_(free_ptr) char *name = opened_name(opened_kinds[kind].prefix, text);
        if (result == 0 && !is_there(r, name))
            result = open_one(r, kind, text, err);
        strv_push(wanted, name);
    }
    return result;
}

/* Clients are served without it, too. */
static void open_status(struct routerd *r, char ***wanted)
{
    const char *text = r->settings.status;
    struct error err;
    for (int i = 0; i < r->n_sockets; i++) {
        if ((r->sockets[i].flags & LISTENER_STATUS) && !is_opened(&r->sockets[i]))
            return;
    }
    if (!text)
        return;
    _cleanup_(free_ptr) char *name = opened_name(opened_kinds[OPENED_STATUS].prefix, text);
    if (!is_there(r, name) && open_one(r, OPENED_STATUS, text, &err) < 0)
        log_warning(NULL, "nothing is served at Status=: %s", err.text);
    strv_push(wanted, name);
}

static int count_for_clients(const struct routerd *r)
{
    int n = 0;
    for (int i = 0; i < r->n_sockets; i++)
        n += !(r->sockets[i].flags & LISTENER_STATUS);
    return n;
}

static void drop(struct routerd *r, int i)
{
    close(r->sockets[i].fd);
    free(r->sockets[i].name);
    r->sockets[i] = r->sockets[--r->n_sockets];
}

int listeners_open(struct routerd *r, struct error *err)
{
    _cleanup_(strv_freep) char **wanted = NULL;
    bool given = false;
    int result = 0;
    for (int i = 0; i < r->n_sockets; i++)
        given = given || (!is_opened(&r->sockets[i]) && !(r->sockets[i].flags & LISTENER_STATUS));
    if (!given) {
        result = open_kind(r, 0, r->settings.listen, &wanted, err);
        if (result == 0)
            result = open_kind(r, 1, r->settings.listen_tls, &wanted, err);
    }
    open_status(r, &wanted);
    for (int i = r->n_sockets - 1; result == 0 && i >= 0; i--) {
        if (is_opened(&r->sockets[i]) && !strv_contains(wanted, r->sockets[i].name))
            drop(r, i);
    }
    if (result == 0 && count_for_clients(r) == 0)
        return error_set(err, -EINVAL,
            "no socket to listen on: systemd hands over none named \"http\" or \"https\", and Listen= is "
            "empty");
    return result;
}

/* --- which worker watches which --------------------------------------------------------------------------- */

static bool same_address(const struct routerd_socket *a, const struct routerd_socket *b)
{
    struct sockaddr_storage x = { 0 }, y = { 0 };
    socklen_t x_len = sizeof(x), y_len = sizeof(y);
    return a->flags == b->flags && getsockname(a->fd, (struct sockaddr *)&x, &x_len) == 0 &&
        getsockname(b->fd, (struct sockaddr *)&y, &y_len) == 0 && x_len == y_len &&
        memcmp(&x, &y, x_len) == 0;
}

/* What the kernel takes of an answer beyond what is on its way: without it a client that does not read costs megabytes of
 * its memory, which no limit of ours counts. */
#define LISTENERS_UNSENT_MAX (256 * 1024)

static int give(struct routerd *r, const struct routerd_socket *s, unsigned worker, struct error *err)
{
    int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return error_set_errno(err, -errno, "can't share a listening socket");
    /* Connections inherit both. Not for unix sockets, which refuse them. Without the first the last piece of an answer in
     * several waits for the client's delayed acknowledgement, whoever made the socket. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){ LISTENERS_UNSENT_MAX }, sizeof(int));
    worker_listen(r->workers[worker], fd, s->flags);
    return 0;
}

int listeners_hand_out(struct routerd *r, struct error *err)
{
    bool *done = xcalloc((size_t)r->n_sockets + 1, sizeof(*done));
    int *group = xcalloc((size_t)r->n_sockets + 1, sizeof(*group)), result = 0;
    for (int i = 0; i < r->n_sockets; i++)
        done[i] = r->sockets[i].flags & LISTENER_STATUS;
    for (int i = 0; i < r->n_sockets && result == 0; i++) {
        unsigned n = 0;
        for (int j = i; j < r->n_sockets && !done[i]; j++) {
            if (!done[j] && (j == i || same_address(&r->sockets[i], &r->sockets[j])))
                group[n++] = j;
        }
        for (unsigned j = 0; j < n; j++)
            done[group[j]] = true;
        for (unsigned j = 0; n > 0 && result == 0 && j < (n > r->n_workers ? n : r->n_workers); j++)
            result = give(r, &r->sockets[group[j % n]], j % r->n_workers, err);
    }
    free(done);
    free(group);
    return result;
}

void listeners_give_status(struct routerd *r)
{
    for (int i = 0; i < r->n_sockets; i++) {
        int fd = r->sockets[i].flags & LISTENER_STATUS ? fcntl(r->sockets[i].fd, F_DUPFD_CLOEXEC, 3) : -1;
        if (fd >= 0)
            status_listen(r->status_socket, fd);
    }
}

void listeners_close(struct routerd *r)
{
    while (r->n_sockets > 0)
        drop(r, r->n_sockets - 1);
    free(r->sockets);
    r->sockets = NULL;
}
