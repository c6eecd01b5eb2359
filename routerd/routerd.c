/* SPDX-License-Identifier: MIT */
#include "routerd/routerd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
#include "routerd/access_file.h"
#include "routerd/certs.h"
#include "routerd/endpoint.h"
#include "routerd/feed.h"
#include "routerd/front.h"
#include "routerd/generation.h"
#include "routerd/headers.h"
#include "routerd/health.h"
#include "routerd/match.h"
#include "routerd/status.h"
#include "routerd/tally.h"
#include "routerd/tickets.h"
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
    if (!status_reads_registry(r->status_socket))
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

/* The next generation has nothing to say to systemd before the office is its own. */
static void say_ready(struct routerd *r)
{
    if (r->ready || !r->serving || generation_is_next(r->generation))
        return;
    r->ready = true;
    daemon_ready("epoch %" PRId64, routerd_epoch(r));
}

static void check_served(struct routerd *r)
{
    if (r->serving || !r->table)
        return;
    for (unsigned i = 0; i < r->n_workers; i++) {
        const struct worker *w = r->workers[i];
        /* One that has ended, since it had no connection left, takes no table and answers nobody. */
        if (!atomic_load(&w->ended) &&
            atomic_load_explicit(&w->serving, memory_order_acquire) < r->table->serial)
            return;
    }
    if (!generation_all_serve(r->generation))
        return;
    r->serving = true;
    r->served_at = loop_wall(r->loop);
    say_ready(r);
    traffic_report(r->traffic, true);
    generation_served(r->generation, routerd_epoch(r));
    uplink_served(r->uplink);
}

static void check_stopped(struct routerd *r)
{
    if (!r->stopping && !r->draining)
        return;
    if (!generation_is_alone(r->generation))
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
    if (why & ROUTERD_HEALTH)
        health_soon(r->health);
    if (why & (ROUTERD_SERVED | ROUTERD_STOPPED))
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
    void *arg, const char *release, const struct table_service *service, const struct table_endpoint *e)
{
    const struct claim *claim = arg;
    int64_t max = e->max_in_flight > 0 ? e->max_in_flight : service->limits.max_in_flight;
    return registry_claim(
        claim->routerd->registry, release, e->id ? e->id : e->address, e->address, max, claim->serial);
}

int routerd_compile(struct routerd *r, const struct table *table, struct match_table **ret, struct error *err)
{
    struct claim claim = { r, r->serial + 1 };
    struct match_slot_ops slots = { claim_slot, &claim };
    int result = match_build(table, r->table, &slots, ret, err);
    if (result < 0)
        return result;
    (*ret)->serial = ++r->serial;
    health_attach(r->health, *ret);
    r->live_serials = xgrow(r->live_serials, r->n_live_serials, &r->live_serials_cap, sizeof(int64_t));
    r->live_serials[r->n_live_serials++] = r->serial;
    return 0;
}

void routerd_drop(struct routerd *r, struct match_table *table)
{
    if (table && match_unref(table))
        free_table(r, table);
}

void routerd_serve(struct routerd *r, struct match_table *table)
{
    struct match_table *old = r->table;
    r->table = table;
    r->serving = false;
    health_enter(r->health, table);
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_post(r->workers[i], table);
    /* The workers need not wait for what looks at every endpoint. */
    health_serve(r->health, table);
    routerd_drop(r, old);
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

int64_t routerd_connections(const struct routerd *r)
{
    int64_t n = 0;
    for (unsigned i = 0; i < r->n_workers; i++)
        n += atomic_load_explicit(&r->workers[i]->counters.connections, memory_order_relaxed);
    return n;
}

static void tell_status(struct routerd *r)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    int64_t in_flight = 0;
    if (generation_is_next(r->generation))
        return;
    for (unsigned i = 0; i < r->n_workers; i++)
        in_flight += atomic_load_explicit(&r->workers[i]->counters.in_flight, memory_order_relaxed);
    const char *trouble = r->uplink ? uplink_trouble(r->uplink) : NULL;
    strbuf_addf(&text, "epoch %" PRId64 ", %u routes, %" PRId64 " in flight, %" PRId64 " connections%s%s",
        routerd_epoch(r), r->table ? r->table->n_routes : 0, in_flight, routerd_connections(r),
        trouble ? "; no hub: " : "", trouble ? trouble : "");
    generation_describe(r->generation, &text);
    if (r->status && strcmp(strbuf_str(&text), r->status) == 0)
        return;
    free(r->status);
    r->status = strbuf_steal(&text);
    daemon_status("%s", r->status);
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
    if (r->tickets)
        tickets_tick(r->tickets, loop_wall(r->loop));
    health_tick(r->health);
    traffic_report(r->traffic, false);
    sweep(r);
    generation_tick(r->generation);
    tell_status(r);
    timer_set(&r->tick, ROUTERD_TICK_MS);
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
    struct error why;
    if (statefile_mkdir(r->settings.state_directory, 0700, &why) < 0 ||
        statefile_write(own, key->bytes, sizeof(key->bytes), 0600, &why) < 0)
        log_warning(NULL,
            "StateDir: %s; who was assigned a version by cookie is assigned anew after a restart", why.text);
    return 0;
}

/* So that workers never have to ask whether there is a table. */
static int serve_nothing_yet(struct routerd *r, struct error *err)
{
    struct table empty = { .format = TABLE_FORMAT };
    struct match_table *table;
    int result = routerd_compile(r, &empty, &table, err);
    if (result == 0)
        routerd_serve(r, table);
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
    r->registry->tally = tally_new();
    r->started_at = loop_wall(loop);
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->wake_io = io_new(loop, r->wake_fd, IO_READ, on_wake, r);
    timer_init(&r->tick, loop, on_tick, r);
    r->workers = xcalloc(r->n_workers, sizeof(*r->workers));
    for (unsigned i = 0; i < r->n_workers; i++)
        r->workers[i] = worker_new(r, i);
    r->traffic = traffic_new(r);
    r->status_socket = status_new(r);
    r->health = health_new(r);
    return r;
}

static int read_access_format(const struct settings *s, enum access_format *ret, struct error *err)
{
    const char *text = s->access_format ? s->access_format : "";
    for (*ret = 0; *ret < ACCESS_FORMAT_MAX_; ++*ret) {
        if (strcmp(text, access_format_names[*ret]) == 0)
            return 0;
    }
    return error_set(err, -EINVAL, "AccessFormat: must be json or combined, not \"%s\"", text);
}

static int open_access_log(struct routerd *r, struct error *err)
{
    const struct settings *s = &r->settings;
    enum access_format format;
    int result = read_access_format(s, &format, err);
    if (result < 0 || !s->access_log)
        return result;
    result = access_file_new(s->access_log, format, r->n_workers, &r->access_file, err);
    for (unsigned i = 0; result == 0 && i < r->n_workers; i++)
        r->workers[i]->access_file = access_file_ring(r->access_file, i);
    return result;
}

static int prepare_tls(struct routerd *r, struct error *err)
{
    bool wanted = false;
    int result = 0;
    for (int i = 0; i < r->n_sockets; i++)
        wanted = wanted || r->sockets[i].flags & LISTENER_TLS;
    if (!wanted)
        return 0;
    front_prepare(r);
    generation_take_tickets(r->generation, r->tickets);
    for (unsigned i = 0; result == 0 && i < r->n_workers; i++)
        result = front_prepare_worker(r, r->workers[i], err);
    return result;
}

static void warn_of_acme(const struct settings *s)
{
    struct stat st;
    if (s->acme_directory && (stat(s->acme_directory, &st) < 0 || !S_ISDIR(st.st_mode)))
        log_warning(
            NULL, "AcmeDirectory: there is no folder %s; certificates can't be asked for", s->acme_directory);
}

int routerd_check(struct routerd *r, struct error *err)
{
    enum access_format format;
    int result = read_trusted(r, err);
    if (result == 0)
        result = listeners_check(&r->settings, err);
    if (result == 0)
        result = read_access_format(&r->settings, &format, err);
    if (result < 0)
        return result;
    warn_of_acme(&r->settings);
    if (strv_len(r->settings.listen_tls) > 0)
        front_prepare(r);
    return r->settings.table ? feed_check(r, r->settings.table, err) : 0;
}

int routerd_start(struct routerd *r, struct error *err)
{
    int result = read_trusted(r, err);
    warn_of_acme(&r->settings);
    if (result == 0)
        result = listeners_open(r, err);
    if (result == 0)
        result = prepare_tls(r, err);
    if (result == 0)
        result = listeners_hand_out(r, err);
    if (result == 0 && !r->settings.table)
        r->uplink = uplink_new(r);
    if (result == 0)
        result = load_cookie_key(r, err);
    if (result == 0)
        result = open_access_log(r, err);
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
    timer_set(&r->tick, ROUTERD_TICK_MS);
    if (!generation_is_next(r->generation)) {
        routerd_accept(r);
        routerd_take_charge(r);
    }
    return 0;
}

/* --- from one generation to the next ---------------------------------------------------------------------- */

void routerd_accept(struct routerd *r)
{
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_accept(r->workers[i]);
    listeners_give_status(r);
}

void routerd_take_charge(struct routerd *r)
{
    feed_take_charge(r->feed);
    if (r->uplink)
        uplink_start(r->uplink);
    daemon_watchdog(r->loop, routerd_is_alive, r);
    say_ready(r);
}

void routerd_pause(struct routerd *r)
{
    uplink_free(steal_ptr(r->uplink));
}

void routerd_resume(struct routerd *r)
{
    if (r->settings.table)
        return;
    r->uplink = uplink_new(r);
    uplink_start(r->uplink);
}

void routerd_step_back(struct routerd *r)
{
    r->draining = true;
    /* Clients first: a disk may be slow to let go of a file. */
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_drain(r->workers[i]);
    status_close(r->status_socket);
    routerd_pause(r);
    health_stop(r->health);
    feed_step_back(r->feed);
    listeners_close(r);
    check_stopped(r);
}

/* --- the end --------------------------------------------------------------------------------------------- */

void routerd_stop(struct routerd *r)
{
    if (r->stopping)
        return;
    r->stopping = true;
    listeners_close(r);
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_stop(r->workers[i]);
    generation_end(r->generation);
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
    access_file_free(r->access_file);
    free_retired(r);
    routerd_drop(r, r->table);
    traffic_free(r->traffic);
    status_free(r->status_socket);
    health_free(r->health);
    certs_free(r->certs);
    tickets_free(r->tickets);
    timer_done(&r->tick);
    io_free(r->wake_io);
    close(r->wake_fd);
    tally_free(r->registry->tally);
    registry_free(r->registry);
    listeners_close(r);
    free(r->status);
    free(r->live_serials);
    free(r->trusted);
    config_clear(&settings_table, &r->settings);
    free(r);
}
