/* SPDX-License-Identifier: MIT */
#include "routerd/routerd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "common/statefile.h"
#include "common/strv.h"
#include "common/table.h"
#include "common/wire.h"
#include "routerd/endpoint.h"
#include "routerd/feed.h"
#include "routerd/front.h"
#include "routerd/headers.h"
#include "routerd/match.h"
#include "routerd/traffic.h"
#include "routerd/uplink.h"
#include "routerd/worker.h"

#define WORKERS_DEFAULT_MAX 16

/* --- waking main ----------------------------------------------------------------------------------------- */

void routerd_wake(struct routerd *r, unsigned why)
{
    unsigned before = atomic_fetch_or_explicit(&r->wake_bits, why, memory_order_acq_rel);
    if (before)
        return;
    uint64_t one = 1;
    ssize_t n = write(r->wake_fd, &one, sizeof(one));
    (void)n;
}

void routerd_retire(struct routerd *r, struct match_table *table)
{
    struct match_table *head = atomic_load_explicit(&r->retired, memory_order_relaxed);
    do
        table->next_retired = head;
    while (!atomic_compare_exchange_weak_explicit(
        &r->retired, &head, table, memory_order_release, memory_order_relaxed));
    routerd_wake(r, ROUTERD_RETIRED);
}

static void forget_serial(struct routerd *r, int64_t serial)
{
    for (size_t i = 0; i < r->n_live_serials; i++) {
        if (r->live_serials[i] == serial) {
            r->live_serials[i] = r->live_serials[--r->n_live_serials];
            return;
        }
    }
}

/* Slots that only freed tables named may be given to other endpoints. */
static void sweep(struct routerd *r)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < r->n_live_serials; i++)
        oldest = r->live_serials[i] < oldest ? r->live_serials[i] : oldest;
    registry_sweep(r->registry, oldest);
}

static void free_table(struct routerd *r, struct match_table *table)
{
    forget_serial(r, table->serial);
    match_free(table);
}

static void free_retired(struct routerd *r)
{
    struct match_table *t = atomic_exchange_explicit(&r->retired, NULL, memory_order_acquire);
    while (t) {
        struct match_table *next = t->next_retired;
        free_table(r, t);
        t = next;
    }
}

static void check_served(struct routerd *r)
{
    if (r->serving || !r->table)
        return;
    for (unsigned i = 0; i < r->n_workers; i++) {
        if (atomic_load_explicit(&r->workers[i]->serving, memory_order_acquire) < r->table->serial)
            return;
    }
    r->serving = true;
    if (!r->ready) {
        r->ready = true;
        daemon_ready("epoch %" PRId64, routerd_epoch(r));
    }
    traffic_report(r->traffic, true);
    routerd_served_fn fn = r->served_fn;
    r->served_fn = NULL;
    if (fn)
        fn(r->served_arg);
}

static void check_stopped(struct routerd *r)
{
    if (!r->stopping)
        return;
    for (unsigned i = 0; i < r->n_workers; i++) {
        if (r->workers[i]->started && !atomic_load(&r->workers[i]->ended))
            return;
    }
    loop_stop(r->loop);
}

static void on_wake(unsigned ready, void *arg)
{
    struct routerd *r = arg;
    uint64_t n;
    if (read(r->wake_fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
        return;
    unsigned why = atomic_exchange_explicit(&r->wake_bits, 0, memory_order_acq_rel);
    if (why & ROUTERD_RETIRED)
        free_retired(r);
    if (why & ROUTERD_DRAINED)
        traffic_report_soon(r->traffic);
    if (why & ROUTERD_SERVED)
        check_served(r);
    if (why & ROUTERD_STOPPED)
        check_stopped(r);
}

/* --- tables ---------------------------------------------------------------------------------------------- */

struct claim {
    struct routerd *routerd;
    int64_t serial;
};

static uint32_t claim_slot(
    void *arg, const char *id, const char *address, bool draining, int64_t max_in_flight)
{
    const struct claim *claim = arg;
    return registry_claim(claim->routerd->registry, id, address, max_in_flight, claim->serial);
}

int routerd_compile(struct routerd *r, const struct table *table, struct match_table **ret, struct error *err)
{
    struct claim claim = { r, r->serial + 1 };
    int result = match_build(table, claim_slot, &claim, ret, err);
    if (result < 0)
        return result;
    (*ret)->serial = ++r->serial;
    r->live_serials = xgrow(r->live_serials, r->n_live_serials, &r->live_serials_cap, sizeof(int64_t));
    r->live_serials[r->n_live_serials++] = r->serial;
    return 0;
}

void routerd_drop(struct routerd *r, struct match_table *table)
{
    if (table && match_unref(table))
        free_table(r, table);
}

/* Endpoints that take no new request are watched: the hub waits for their counts. */
static void mark_draining(struct routerd *r, const struct match_table *table)
{
    bool *live = xcalloc(r->registry->n_slots + 1, sizeof(*live));
    for (uint32_t i = 0; i < table->n_slots; i++)
        live[table->slots[i]] |= !table->slot_draining[i];
    for (uint32_t i = 0; i < r->registry->n_slots; i++) {
        struct endpoint *e = registry_at(r->registry, i);
        if (e)
            atomic_store_explicit(&e->draining, !live[i], memory_order_relaxed);
    }
    free(live);
}

void routerd_serve(struct routerd *r, struct match_table *table, routerd_served_fn fn, void *arg)
{
    struct match_table *old = r->table;
    /* Whoever waited for an earlier table is served by this one. */
    routerd_served_fn before = r->served_fn;
    void *before_arg = r->served_arg;
    r->table = table;
    r->serving = false;
    r->served_fn = fn;
    r->served_arg = arg;
    mark_draining(r, table);
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_post(r->workers[i], table);
    routerd_drop(r, old);
    if (before)
        before(before_arg);
}

int64_t routerd_epoch(const struct routerd *r)
{
    return r->table ? r->table->epoch : 0;
}

/* --- what the workers ask -------------------------------------------------------------------------------- */

bool routerd_trusts(const struct routerd *r, const uint8_t *address, size_t len)
{
    for (size_t i = 0; i < r->n_trusted; i++) {
        if (network_contains(&r->trusted[i], address, len))
            return true;
    }
    return false;
}

bool routerd_is_alive(void *arg)
{
    struct routerd *r = arg;
    uint64_t beats = 0;
    for (unsigned i = 0; i < r->n_workers; i++) {
        uint64_t beat = atomic_load_explicit(&r->workers[i]->counters.beat, memory_order_relaxed);
        if (beat == r->workers[i]->beat_seen)
            return false;
        r->workers[i]->beat_seen = beat;
        beats += beat;
    }
    return beats > 0;
}

/* --- every second ---------------------------------------------------------------------------------------- */

static void tell_status(struct routerd *r)
{
    char text[sizeof(r->status)];
    int64_t in_flight = 0, connections = 0;
    for (unsigned i = 0; i < r->n_workers; i++) {
        in_flight += atomic_load_explicit(&r->workers[i]->counters.in_flight, memory_order_relaxed);
        connections += atomic_load_explicit(&r->workers[i]->counters.connections, memory_order_relaxed);
    }
    const char *trouble = r->uplink ? uplink_trouble(r->uplink) : NULL;
    snprintf(text, sizeof(text),
        "epoch %" PRId64 ", %u routes, %" PRId64 " in flight, %" PRId64 " connections%s%s", routerd_epoch(r),
        r->table ? r->table->n_routes : 0, in_flight, connections, trouble ? "; no hub: " : "",
        trouble ? trouble : "");
    if (strcmp(text, r->status) == 0)
        return;
    memcpy(r->status, text, sizeof(text));
    daemon_status("%s", text);
}

static void watch_descriptors(struct worker *worker)
{
    int64_t starved = atomic_load_explicit(&worker->counters.starved, memory_order_relaxed);
    if (starved > worker->starved_seen)
        log_warning(
            NULL, "out of descriptors: clients wait in the kernel's queue (LimitNOFILE= of the unit)");
    worker->starved_seen = starved;
}

static void on_tick(void *arg)
{
    struct routerd *r = arg;
    for (unsigned i = 0; i < r->n_workers; i++) {
        access_drain(r->workers[i]->access);
        watch_descriptors(r->workers[i]);
    }
    traffic_report(r->traffic, false);
    sweep(r);
    tell_status(r);
    timer_set(&r->tick, ROUTERD_TICK_MS);
}

/* --- listening ------------------------------------------------------------------------------------------- */

static void add_socket(struct routerd *r, int fd, unsigned flags)
{
    r->sockets = xrealloc(r->sockets, (size_t)(r->n_sockets + 1) * sizeof(*r->sockets));
    r->sockets[r->n_sockets++] = (struct routerd_socket){ fd, flags };
}

/* "ADDRESS" or "ADDRESS,proxy" */
static int open_listener(struct routerd *r, const char *text, unsigned flags, struct error *err)
{
    const char *comma = strchr(text, ',');
    _cleanup_(free_ptr) char *address = comma ? xstrndup(text, (size_t)(comma - text)) : xstrdup(text);
    int fd;
    if (comma && strcmp(comma, ",proxy") != 0)
        return error_set(err, -EINVAL, "Listen: \"%s\": behind an address only \",proxy\" may stand", text);
    int result = wire_listen(address, flags & LISTENER_TLS ? 443 : 80, &fd, err);
    if (result == 0)
        add_socket(r, fd, flags | (comma ? LISTENER_PROXY : 0));
    return result;
}

static int open_listeners(struct routerd *r, struct error *err)
{
    char *address;
    int result = 0;
    strv_for_each (address, r->settings.listen) {
        if (result == 0)
            result = open_listener(r, address, 0, err);
    }
    strv_for_each (address, r->settings.listen_tls) {
        if (result == 0)
            result = open_listener(r, address, LISTENER_TLS, err);
    }
    if (result == 0 && r->n_sockets == 0)
        return error_set(err, -EINVAL,
            "no socket to listen on: systemd hands over none named \"http\" or \"https\", and Listen= is "
            "empty");
    return result;
}

/* Socket j is worker j's; with more sockets than workers some have several, with fewer some share one. */
static int hand_out_listeners(struct routerd *r, struct error *err)
{
    unsigned n = (unsigned)r->n_sockets;
    for (unsigned i = 0; i < (n > r->n_workers ? n : r->n_workers); i++) {
        /* Every worker gets its own copy of the descriptors it shares. */
        struct routerd_socket *s = &r->sockets[i % n];
        bool shared = i >= n || i + n < r->n_workers;
        int fd = shared ? fcntl(s->fd, F_DUPFD_CLOEXEC, 3) : s->fd;
        if (fd < 0)
            return error_set_errno(err, -errno, "can't share a listening socket");
        worker_listen(r->workers[i % r->n_workers], fd, s->flags);
        if (!shared)
            s->fd = -1;
    }
    for (unsigned i = 0; i < n; i++)
        close_fd(&r->sockets[i].fd);
    free(r->sockets);
    r->sockets = NULL;
    r->n_sockets = 0;
    return 0;
}

/* --- starting -------------------------------------------------------------------------------------------- */

static int read_trusted(struct routerd *r, struct error *err)
{
    char *text;
    strv_for_each (text, r->settings.trusted_proxies) {
        r->trusted = xrealloc(r->trusted, (r->n_trusted + 1) * sizeof(*r->trusted));
        if (!network_parse(text, &r->trusted[r->n_trusted]))
            return error_set(err, -EINVAL, "TrustedProxies: \"%s\" is no network such as 10.0.0.0/8", text);
        r->n_trusted++;
    }
    return 0;
}

/* A key from a file; else one that every router of the fleet can make; else one of our own that is kept. */
static int load_cookie_key(struct routerd *r, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *own = xasprintf("%s/cookie.key", r->settings.state_directory);
    const char *given = r->settings.cookie_key;
    const char *fleet = r->uplink ? uplink_fleet(r->uplink) : NULL;
    struct assign_key *key = &r->cookie_key;
    if (!given && fleet) {
        struct sha256 sha;
        unsigned char sum[SHA256_SIZE];
        sha256_init(&sha);
        sha256_update(&sha, "stagecoach sticky cookie of fleet ", 34);
        sha256_update(&sha, fleet, strlen(fleet));
        sha256_final(&sha, sum);
        memcpy(key->bytes, sum, sizeof(key->bytes));
        key->id = 'f';
        return 0;
    }
    int result = statefile_read(given ? given : own, 4096, &text, err);
    if (result == 0 && text.len != sizeof(key->bytes))
        return error_set(err, -EINVAL, "%s: must hold %zu bytes, not %zu", given ? given : own,
            sizeof(key->bytes), text.len);
    if (result < 0 && given)
        return result;
    key->id = given ? 'k' : 'o';
    if (result == 0) {
        memcpy(key->bytes, text.data, sizeof(key->bytes));
        return 0;
    }
    random_bytes(key->bytes, sizeof(key->bytes));
    struct error ignored;
    if (statefile_write(own, key->bytes, sizeof(key->bytes), 0600, &ignored) < 0)
        log_debug(NULL, "sticky cookies will not outlive this process: %s", ignored.text);
    return 0;
}

/* So that workers never have to ask whether there is a table. */
static int serve_nothing_yet(struct routerd *r, struct error *err)
{
    struct table empty = { .format = TABLE_FORMAT };
    struct match_table *table;
    int result = routerd_compile(r, &empty, &table, err);
    if (result == 0)
        routerd_serve(r, table, NULL, NULL);
    return result;
}

struct routerd *routerd_new(
    struct loop *loop, struct settings *settings, struct routerd_socket *sockets, int n_sockets)
{
    struct routerd *r = xcalloc(1, sizeof(*r));
    r->loop = loop;
    r->settings = *settings;
    memset(settings, 0, sizeof(*settings));
    r->sockets = sockets;
    r->n_sockets = n_sockets;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    r->n_workers = (unsigned)(r->settings.workers > 0 ? r->settings.workers
            : cpus < 1                                ? 1
            : cpus < WORKERS_DEFAULT_MAX              ? cpus
                                                      : WORKERS_DEFAULT_MAX);
    r->registry = registry_new(r->n_workers);
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->wake_io = io_new(loop, r->wake_fd, IO_READ, on_wake, r);
    timer_init(&r->tick, loop, on_tick, r);
    r->workers = xcalloc(r->n_workers, sizeof(*r->workers));
    for (unsigned i = 0; i < r->n_workers; i++)
        r->workers[i] = worker_new(r, i);
    r->traffic = traffic_new(r);
    return r;
}

int routerd_start(struct routerd *r, struct error *err)
{
    int result = read_trusted(r, err);
    if (result == 0 && r->n_sockets == 0)
        result = open_listeners(r, err);
    if (result == 0)
        result = hand_out_listeners(r, err);
    if (result == 0 && !r->settings.table)
        result = uplink_new(r, &r->uplink, err);
    if (result == 0)
        result = load_cookie_key(r, err);
    if (result == 0)
        result = serve_nothing_yet(r, err);
    if (result == 0)
        result = feed_new(r, &r->feed, err);
    for (unsigned i = 0; result == 0 && i < r->n_workers; i++) {
        result = worker_start(r->workers[i]);
        if (result < 0)
            error_set_errno(err, result, "can't start a thread");
    }
    if (result < 0)
        return result;
    r->started = true;
    if (r->uplink)
        uplink_start(r->uplink);
    timer_set(&r->tick, ROUTERD_TICK_MS);
    return 0;
}

void routerd_reload(struct routerd *r, struct settings *settings)
{
    /* Workers read the settings without asking: what is in place stays until the next start. */
    config_clear(&settings_table, settings);
    r->status[0] = '\0'; /* "reloaded" stands there now */
    feed_reload(r->feed);
}

/* --- the end --------------------------------------------------------------------------------------------- */

void routerd_stop(struct routerd *r)
{
    if (r->stopping)
        return;
    r->stopping = true;
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_stop(r->workers[i]);
    check_stopped(r);
}

void routerd_free(struct routerd *r)
{
    if (!r)
        return;
    uplink_free(r->uplink);
    feed_free(r->feed);
    for (unsigned i = 0; i < r->n_workers; i++) {
        if (!r->workers[i]->started)
            continue;
        worker_stop(r->workers[i]);
        pthread_join(r->workers[i]->thread, NULL);
        access_drain(r->workers[i]->access);
    }
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_free(r->workers[i]);
    free(r->workers);
    free_retired(r);
    routerd_drop(r, r->table);
    traffic_free(r->traffic);
    timer_done(&r->tick);
    io_free(r->wake_io);
    close(r->wake_fd);
    registry_free(r->registry);
    for (int i = 0; i < r->n_sockets; i++)
        close_fd(&r->sockets[i].fd);
    free(r->sockets);
    free(r->live_serials);
    free(r->trusted);
    config_clear(&settings_table, &r->settings);
    free(r);
}
