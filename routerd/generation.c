/* SPDX-License-Identifier: MIT */
#include "routerd/generation.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "routerd/feed.h"
#include "routerd/generation_state.h"
#include "routerd/handover.h"
#include "routerd/routerd.h"
#include "routerd/sums.h"
#include "routerd/traffic.h"

/* --- peers ------------------------------------------------------------------------------------------------- */

static void free_peer(void *p)
{
    free(p);
}

void peer_close(struct peer *p)
{
    if (p->closed)
        return;
    p->closed = true;
    list_remove(&p->link);
    timer_done(&p->patience);
    io_free(p->io);
    close_fd(&p->fd);
    loop_free_later(p->generation->routerd->loop, p, free_peer);
}

/* Its socket is open, so the process is there and the number its own. */
static void kill_peer(struct peer *p, const char *why)
{
    log_warning(NULL, "generation %" PRId64 " (process %d) is killed: %s", p->number, (int)p->pid, why);
    if (p->pid > 1)
        kill(p->pid, SIGKILL);
}

static void on_patience(void *arg)
{
    struct peer *p = arg;
    kill_peer(p, p->state == PEER_ENDING ? "it did not end" : "it did not take the table");
}

static void end_peer(struct peer *p)
{
    if (p->state == PEER_ENDING)
        return;
    p->state = PEER_ENDING;
    handover_say(p->fd, HANDOVER_END, -1, "%s", "");
    timer_set(&p->patience, GENERATION_END_MS);
}

/* At most so many are kept; the oldest goes first. */
static void limit_older(struct generation *g)
{
    struct peer *p;
    size_t n = 0;
    list_for_each (p, &g->older, link)
        n += p->state == PEER_OLDER;
    list_for_each (p, &g->older, link) {
        if (n <= GENERATION_OLDER_MAX)
            return;
        if (p->state != PEER_OLDER)
            continue;
        log_info(NULL,
            "generation %" PRId64 " has to end with %" PRId64 " connections: %d older ones are kept",
            p->number, p->connections, GENERATION_OLDER_MAX);
        end_peer(p);
        n--;
    }
}

static void peer_is_gone(struct peer *p)
{
    struct generation *g = p->generation;
    sums_leave(g->sums, steal_ptr(p->said), false);
    log_info(NULL, "generation %" PRId64 " (process %d) has ended", p->number, (int)p->pid);
    peer_close(p);
    traffic_report_soon(g->routerd->traffic);
    routerd_wake(g->routerd, ROUTERD_SERVED | ROUTERD_STOPPED);
}

/* --- tables for them ---------------------------------------------------------------------------------------- */

void peer_push(struct peer *p, const char *text, size_t len)
{
    int fd _cleanup_(close_fd) = handover_memory("table", text, len);
    int r = fd < 0 ? fd : handover_say(p->fd, HANDOVER_TABLE, fd, "%" PRId64, ++p->pushed);
    /* It has just ended, which its socket will say. */
    if (r == -EPIPE || r == -ECONNRESET)
        return;
    if (r < 0)
        kill_peer(p, "it can't be given the table");
    else if (p->state == PEER_OLDER)
        timer_set(&p->patience, GENERATION_TABLE_MS);
}

void generation_push(struct generation *g, const char *text, size_t len)
{
    struct peer *p;
    if (!g || g->state != GENERATION_PRESENT)
        return;
    list_for_each (p, &g->older, link)
        peer_push(p, text, len);
}

bool generation_has_older(const struct generation *g)
{
    return g && !list_empty(&g->older);
}

bool generation_all_serve(const struct generation *g)
{
    const struct peer *p;
    if (!g || g->state != GENERATION_PRESENT)
        return true;
    list_for_each (p, &g->older, link) {
        if (p->served < p->pushed)
            return false;
    }
    return true;
}

static void on_served(struct peer *p, const char *text)
{
    int64_t n = strtoll(text, NULL, 10);
    if (n <= p->served || n > p->pushed)
        return;
    p->served = n;
    if (n == p->pushed && p->state == PEER_OLDER)
        timer_clear(&p->patience);
    routerd_wake(p->generation->routerd, ROUTERD_SERVED);
}

/* An older program may not understand a newer table, and what it has is wrong from now on. */
static void on_refused(struct peer *p, const char *text)
{
    log_warning(NULL, "generation %" PRId64 " has to end, it refuses the table: %s", p->number, text);
    end_peer(p);
}

static void on_traffic(struct peer *p, const char *text)
{
    struct generation *g = p->generation;
    const struct schema *schema = msg_by_type(MSG_TRAFFIC_REPORT)->schema;
    struct msg_traffic_report m;
    struct error err;
    if (schema_read(schema, text, strlen(text), &m, &err) < 0) {
        log_debug(NULL, "generation %" PRId64 ": %s", p->number, err.text);
        return;
    }
    for (size_t i = 0; i < m.n_endpoints; i++)
        sums_take(g->sums, p->said, &m.endpoints[i]);
    schema_clear(schema, &m);
    traffic_report_soon(g->routerd->traffic);
}

static void on_older(struct peer *p, const struct handover_message *m)
{
    switch (m->word) {
    case HANDOVER_SERVED:
        on_served(p, m->text);
        break;
    case HANDOVER_REFUSED:
        on_refused(p, m->text);
        break;
    case HANDOVER_LEFT:
        p->connections = strtoll(m->text, NULL, 10);
        break;
    case HANDOVER_TRAFFIC:
        on_traffic(p, m->text);
        break;
    default:
        break;
    }
}

static void on_peer(unsigned ready, void *arg)
{
    struct peer *p = arg;
    struct generation *g = p->generation;
    struct handover_message m;
    int r;
    while (!p->closed && (r = handover_hear(p->fd, g->buffer, &m)) != -EAGAIN) {
        if (r == 0 && p == g->next) {
            generation_on_next_gone(g);
        } else if (r == 0) {
            peer_is_gone(p);
        } else {
            if (p == g->next)
                generation_on_next(g, &m);
            else
                on_older(p, &m);
            close_fd(&m.fd);
        }
    }
}

struct peer *peer_new(struct generation *g, int fd, int64_t number, pid_t pid, enum peer_state state)
{
    struct peer *p = xcalloc(1, sizeof(*p));
    p->generation = g;
    p->state = state;
    p->fd = fd;
    p->number = number;
    p->pid = pid;
    p->said = sums_said_new();
    list_init(&p->link);
    timer_init(&p->patience, g->routerd->loop, on_patience, p);
    p->io = io_new(g->routerd->loop, fd, IO_READ, on_peer, p);
    return p;
}

void peer_adopt(struct generation *g, struct peer *p)
{
    p->state = PEER_OLDER;
    list_append(&g->older, &p->link);
    limit_older(g);
}

/* --- for routerd.c ------------------------------------------------------------------------------------------ */

int64_t generation_number(const struct generation *g)
{
    return g ? g->number : 1;
}

bool generation_is_next(const struct generation *g)
{
    return g && g->state == GENERATION_NEXT;
}

bool generation_is_older(const struct generation *g)
{
    return g && g->state == GENERATION_OLDER;
}

struct sums *generation_sums(const struct generation *g)
{
    return g ? g->sums : NULL;
}

void generation_end(struct generation *g)
{
    struct peer *p;
    if (!g)
        return;
    list_for_each (p, &g->older, link)
        end_peer(p);
}

bool generation_is_alone(const struct generation *g)
{
    return !g || (list_empty(&g->older) && !g->next);
}

void generation_report(struct generation *g, const struct msg_traffic_report *m)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    if (g->above_fd < 0)
        return;
    schema_print(msg_by_type(MSG_TRAFFIC_REPORT)->schema, m, &text);
    handover_say(g->above_fd, HANDOVER_TRAFFIC, -1, "%s", strbuf_str(&text));
}

void generation_describe(const struct generation *g, struct strbuf *out)
{
    const struct peer *p;
    int64_t connections = 0;
    size_t n = 0;
    if (!g)
        return;
    list_for_each (p, &g->older, link) {
        connections += p->connections;
        n++;
    }
    if (n > 0)
        strbuf_addf(
            out, "; %zu older generation%s with %" PRId64 " connections", n, n > 1 ? "s" : "", connections);
    if (g->failure)
        strbuf_addf(out, "; the last reload failed: %s", g->failure);
}
