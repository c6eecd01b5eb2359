/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "routerd/certs.h"
#include "routerd/feed.h"
#include "routerd/generation_state.h"
#include "routerd/handover.h"
#include "routerd/routerd.h"
#include "routerd/successor.h"
#include "routerd/sums.h"
#include "routerd/tickets.h"
#include "routerd/traffic.h"

/* --- next, or older: what the one in charge says ------------------------------------------------------------ */

/* Everything is ours now. */
static void take_charge(struct generation *g)
{
    struct strbuf table _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error err;
    g->state = GENERATION_PRESENT;
    log_info(NULL, "generation %" PRId64 " serves", g->number);
    for (size_t i = 0; i < g->n_heritage; i++)
        peer_adopt(g,
            peer_new(g, steal_fd(&g->heritage[i].fd), g->heritage[i].number, g->heritage[i].pid, PEER_OLDER));
    g->n_heritage = 0;
    if (g->above_fd >= 0) {
        io_free(steal_ptr(g->above));
        struct peer *before = peer_new(g, steal_fd(&g->above_fd), g->number - 1, g->above_pid, PEER_OLDER);
        peer_adopt(g, before);
    }
    routerd_take_charge(g->routerd);
    /* Theirs may be another one. */
    if (!list_empty(&g->older) && feed_text(g->routerd->feed, &table, &err) == 0)
        generation_push(g, strbuf_str(&table), table.len);
}

static void on_above_gone(struct generation *g)
{
    io_free(steal_ptr(g->above));
    close_fd(&g->above_fd);
    if (g->state == GENERATION_OLDER) {
        log_warning(NULL, "the present generation is gone; this one finishes with the table it has");
        return;
    }
    if (g->listens) {
        take_charge(g);
        return;
    }
    log_error(NULL, "the generation before is gone; this one can't know what it left, and ends");
    routerd_stop(g->routerd);
}

static void on_table(struct generation *g, const struct handover_message *m)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error err;
    int r = handover_remember(m->fd, FEED_TABLE_MAX, &text, &err);
    g->table_asked = strtoll(m->text, NULL, 10);
    if (r == 0)
        r = feed_serve_text(g->routerd->feed, strbuf_str(&text), text.len, &err);
    if (r < 0)
        handover_say(g->above_fd, HANDOVER_REFUSED, -1, "%s", err.text);
    /* Whoever asks anew wants to know all counts, too. */
    if (g->state == GENERATION_OLDER)
        traffic_report_anew(g->routerd->traffic);
}

static void on_word_from_above(struct generation *g, const struct handover_message *m)
{
    switch (m->word) {
    case HANDOVER_TABLE:
        on_table(g, m);
        break;
    case HANDOVER_GO:
        g->listens = true;
        routerd_accept(g->routerd);
        handover_say(g->above_fd, HANDOVER_LISTENING, -1, "%s", "");
        break;
    case HANDOVER_MAIN:
        if (g->state == GENERATION_NEXT)
            take_charge(g);
        break;
    case HANDOVER_END:
        routerd_stop(g->routerd);
        break;
    default:
        break;
    }
}

static void on_above(unsigned ready, void *arg)
{
    struct generation *g = arg;
    struct handover_message m;
    int r;
    while (g->above && (r = handover_hear(g->above_fd, g->buffer, &m)) != -EAGAIN) {
        if (r == 0) {
            on_above_gone(g);
        } else {
            on_word_from_above(g, &m);
            close_fd(&m.fd);
        }
    }
}

static void hear_above(struct generation *g, int fd)
{
    g->above_fd = fd;
    g->above = io_new(g->routerd->loop, fd, IO_READ, on_above, g);
}

/* How many certificates there are, where any are asked for. */
static void say_ready(struct generation *g, int64_t epoch)
{
    const struct certs *certs = g->routerd->certs;
    if (certs)
        handover_say(g->above_fd, HANDOVER_READY, -1, "%" PRId64 " %zu", epoch, certs_count(certs));
    else
        handover_say(g->above_fd, HANDOVER_READY, -1, "%" PRId64, epoch);
}

void generation_served(struct generation *g, int64_t epoch)
{
    if (!g)
        return;
    if (g->state == GENERATION_NEXT && !g->listens)
        say_ready(g, epoch);
    else if (g->table_asked > 0 && g->above_fd >= 0)
        handover_say(g->above_fd, HANDOVER_SERVED, -1, "%" PRId64, g->table_asked);
    g->table_asked = 0;
}

void generation_refuse(struct generation *g, const char *reason)
{
    if (g->state == GENERATION_NEXT)
        handover_say(g->above_fd, HANDOVER_FAILED, -1, "%s", reason);
}

/* --- in charge: the next one -------------------------------------------------------------------------------- */

static void tell(struct generation *g, bool done, const char *text)
{
    generation_told_fn fn = g->told;
    g->told = NULL;
    if (fn)
        fn(g->told_arg, done, text);
}

static void fail_reload(struct generation *g, const char *reason)
{
    struct peer *p = steal_ptr(g->next);
    char *text _cleanup_(free_ptr) = xstrdup(reason);
    str_set(&g->failure, text);
    timer_clear(&g->start_limit);
    log_error(NULL, "reload failed: %s; this generation serves on", text);
    if (p) {
        if (p->pid > 1)
            kill(p->pid, SIGKILL);
        if (p->state == PEER_GOING)
            routerd_resume(g->routerd);
        sums_leave(g->sums, steal_ptr(p->said), true);
        peer_close(p);
    }
    daemon_ready("reload failed: %s", text);
    tell(g, false, text);
    routerd_wake(g->routerd, ROUTERD_STOPPED);
}

static void on_start_timeout(void *arg)
{
    struct generation *g = arg;
    fail_reload(g, "the next generation did not serve in time (Reload= in routerd.conf)");
}

/* Nothing is committed from now on until the next one has the link to the hub. */
static void let_go(struct generation *g)
{
    g->next->state = PEER_GOING;
    routerd_pause(g->routerd);
    if (handover_say(g->next->fd, HANDOVER_GO, -1, "%s", "") < 0)
        fail_reload(g, "the next generation does not listen");
}

/* A directory that is away for a moment: what this one read before would be lost with it. */
static bool lacks_certificates(const struct generation *g, const char *count)
{
    const struct certs *certs = g->routerd->certs;
    return certs && certs_count(certs) > 0 && *count && strtoll(count, NULL, 10) == 0;
}

/* Since it read the table from disk the hub may have committed another one. A given file it watches itself. */
static void on_ready(struct generation *g, const char *text)
{
    struct strbuf table _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error err;
    char *rest;
    int64_t epoch = strtoll(text, &rest, 10);
    if (g->next->state != PEER_STARTING)
        return;
    if (lacks_certificates(g, rest))
        fail_reload(g, "the next generation found no certificate, and this one has some; its log says why");
    else if (epoch >= routerd_epoch(g->routerd) || g->routerd->settings.table)
        let_go(g);
    else if (feed_text(g->routerd->feed, &table, &err) < 0)
        fail_reload(g, err.text);
    else
        peer_push(g->next, strbuf_str(&table), table.len);
}

/* The next one is in charge. To the older ones it speaks itself; they tell it all that they count. */
static void step_back(struct generation *g)
{
    struct peer *p = steal_ptr(g->next), *older, *following;
    char text[128];
    snprintf(text, sizeof(text), "generation %" PRId64 " serves (process %d)", p->number, (int)p->pid);
    log_info(NULL, "%s; generation %" PRId64 " finishes what it has", text, g->number);
    timer_clear(&g->start_limit);
    daemon_hand_over(p->pid);
    g->state = GENERATION_OLDER;
    list_for_each_safe (older, following, &g->older, link) {
        sums_leave(g->sums, steal_ptr(older->said), true);
        peer_close(older);
    }
    sums_leave(g->sums, steal_ptr(p->said), true);
    io_free(steal_ptr(p->io));
    hear_above(g, steal_fd(&p->fd));
    peer_close(p);
    handover_say(g->above_fd, HANDOVER_MAIN, -1, "%s", "");
    tell(g, true, text);
    timer_set(&g->drain_limit, g->routerd->settings.drain_ms);
    routerd_step_back(g->routerd);
}

void generation_on_next(struct generation *g, const struct handover_message *m)
{
    struct peer *p = g->next;
    switch (m->word) {
    case HANDOVER_HELLO:
        p->pid = (pid_t)strtol(m->text, NULL, 10);
        break;
    case HANDOVER_READY:
        on_ready(g, m->text);
        break;
    case HANDOVER_REFUSED:
    case HANDOVER_FAILED:
        fail_reload(g, m->text);
        break;
    case HANDOVER_LISTENING:
        if (p->state == PEER_GOING)
            step_back(g);
        break;
    default:
        break;
    }
}

void generation_on_next_gone(struct generation *g)
{
    fail_reload(g, "the next generation ended before it served; its log says why");
}

/* --- starting it -------------------------------------------------------------------------------------------- */

struct handed {
    struct successor_fd *fds;
    size_t n, cap;
    char **names;
};

static void hand(struct handed *h, int fd, char *name)
{
    h->fds = xgrow(h->fds, h->n, &h->cap, sizeof(*h->fds));
    h->fds[h->n++] = (struct successor_fd){ fd, name };
    strv_push_take(&h->names, name);
}

static void collect(struct generation *g, int above_fd, int tickets_fd, struct handed *h)
{
    struct routerd *r = g->routerd;
    const struct peer *p;
    for (int i = 0; i < r->n_sockets; i++)
        hand(h, r->sockets[i].fd, xstrdup(r->sockets[i].name ? r->sockets[i].name : "http"));
    list_for_each (p, &g->older, link)
        hand(h, p->fd, xasprintf(GENERATION_FD_OLDER "%" PRId64 "-%d", p->number, (int)p->pid));
    hand(h, above_fd, xasprintf(GENERATION_FD_ABOVE "%d", (int)getpid()));
    if (tickets_fd >= 0)
        hand(h, tickets_fd, xstrdup(GENERATION_FD_TICKETS));
}

static int start(struct generation *g, struct error *err)
{
    struct routerd *r = g->routerd;
    struct handed h = { 0 };
    int ends[2];
    if (getpid() == 1)
        return error_set(
            err, -ENOTSUP, "a router that is process 1 can't be replaced: the machine would go with it");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return error_set_errno(err, -errno, "can't make a socket");
    int tickets _cleanup_(close_fd) = -1;
    if (r->tickets && tickets_export(r->tickets, &tickets, err) < 0)
        log_warning(NULL, "TLS sessions will not be resumed: %s", err->text);
    collect(g, ends[1], tickets, &h);
    int result = successor_start(g->path, g->argv, g->number + 1, h.fds, h.n, &g->child, err);
    free(h.fds);
    strv_free(h.names);
    close(ends[1]);
    if (result < 0) {
        close(ends[0]);
        return result;
    }
    g->next = peer_new(g, ends[0], g->number + 1, 0, PEER_STARTING);
    timer_set(&g->start_limit, r->settings.reload_ms);
    return 0;
}

void generation_reload(struct generation *g, generation_told_fn told, void *arg)
{
    struct error err;
    const char *refusal = g->state != GENERATION_PRESENT ? "this generation is not the present one"
        : g->next                                        ? "a reload is under way"
        : g->routerd->stopping                           ? "the router is ending"
                                                         : NULL;
    if (refusal) {
        log_warning(NULL, "no reload: %s", refusal);
        if (told)
            told(arg, false, refusal);
        return;
    }
    g->told = told;
    g->told_arg = arg;
    str_set(&g->failure, NULL);
    daemon_reloading();
    log_info(NULL, "reload: starting generation %" PRId64, g->number + 1);
    if (start(g, &err) < 0)
        fail_reload(g, err.text);
}

void generation_tick(struct generation *g)
{
    if (!g)
        return;
    if (g->child > 0 && waitpid(g->child, NULL, WNOHANG) != 0)
        g->child = 0;
    if (g->state == GENERATION_OLDER && g->above_fd >= 0)
        handover_say(g->above_fd, HANDOVER_LEFT, -1, "%" PRId64, routerd_connections(g->routerd));
}

/* --- life --------------------------------------------------------------------------------------------------- */

static void on_drain_limit(void *arg)
{
    struct generation *g = arg;
    log_info(NULL,
        "generation %" PRId64 ": its time to drain is over (Drain= in routerd.conf); %" PRId64
        " connections end",
        g->number, routerd_connections(g->routerd));
    routerd_stop(g->routerd);
}

struct generation *generation_new(int64_t number, char *path, char **argv)
{
    struct generation *g = xcalloc(1, sizeof(*g));
    char *rest;
    int fd;
    g->number = number;
    g->path = path;
    g->argv = argv;
    g->above_fd = g->tickets_fd = -1;
    g->state = GENERATION_PRESENT;
    g->sums = sums_new();
    g->buffer = xmalloc(HANDOVER_TEXT_MAX + 1);
    list_init(&g->older);
    if (daemon_take_named_fd(GENERATION_FD_ABOVE, &g->above_fd, &rest)) {
        g->state = GENERATION_NEXT;
        g->above_pid = (pid_t)strtol(rest, NULL, 10);
        free(rest);
        handover_say(g->above_fd, HANDOVER_HELLO, -1, "%d %" PRId64, (int)getpid(), number);
    }
    if (daemon_take_named_fd(GENERATION_FD_TICKETS, &g->tickets_fd, &rest))
        free(rest);
    while (daemon_take_named_fd(GENERATION_FD_OLDER, &fd, &rest)) {
        const char *dash = strchr(rest, '-');
        g->heritage = xrealloc(g->heritage, (g->n_heritage + 1) * sizeof(*g->heritage));
        g->heritage[g->n_heritage++] =
            (struct heritage){ fd, strtoll(rest, NULL, 10), dash ? (pid_t)strtol(dash + 1, NULL, 10) : 0 };
        free(rest);
    }
    return g;
}

void generation_take_tickets(struct generation *g, struct tickets *tickets)
{
    struct error err;
    if (!g || !tickets || g->tickets_fd < 0)
        return;
    if (tickets_import(tickets, g->tickets_fd, &err) < 0)
        log_warning(NULL, "TLS sessions will not be resumed: %s", err.text);
    close_fd(&g->tickets_fd);
}

void generation_attach(struct generation *g, struct routerd *r)
{
    g->routerd = r;
    r->generation = g;
    timer_init(&g->start_limit, r->loop, on_start_timeout, g);
    timer_init(&g->drain_limit, r->loop, on_drain_limit, g);
    if (g->above_fd >= 0)
        hear_above(g, g->above_fd);
}

void generation_free(struct generation *g)
{
    struct peer *p, *next;
    if (!g)
        return;
    if (g->next)
        fail_reload(g, "the router ends");
    list_for_each_safe (p, next, &g->older, link) {
        sums_leave(g->sums, steal_ptr(p->said), true);
        peer_close(p);
    }
    io_free(g->above);
    /* The one above takes the end of above_fd for that of this process, which may still have lines to write: exit closes it. */
    close_fd(&g->tickets_fd);
    for (size_t i = 0; i < g->n_heritage; i++)
        close_fd(&g->heritage[i].fd);
    timer_done(&g->start_limit);
    timer_done(&g->drain_limit);
    sums_free(g->sums);
    free(g->heritage);
    free(g->path);
    free(g->failure);
    free(g->buffer);
    free(g);
}
