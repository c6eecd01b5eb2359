/* SPDX-License-Identifier: MIT */
#include "routerd/metrics_router.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "routerd/access_file.h"
#include "routerd/certs.h"
#include "routerd/generation.h"
#include "routerd/match.h"
#include "routerd/process.h"
#include "routerd/routerd.h"
#include "routerd/uplink.h"
#include "routerd/worker.h"

#define PREFIX     "stagecoach_router_"
#define FDS_A_STEP 4096
#define LABEL_MAX  512

struct metrics_router {
    struct routerd *routerd;
    bool said; /* all but the count of descriptors */
    struct process_fds fds;
};

#define LOAD(counter) ((int64_t)atomic_load_explicit(&(counter), memory_order_relaxed))

static void family(struct strbuf *out, const char *name, enum metric_type type, const char *help)
{
    metrics_family(out, name, type, help);
}

static void one(struct strbuf *out, const char *name, enum metric_type type, const char *help, int64_t value)
{
    metrics_family(out, name, type, help);
    metrics_sample(out, name, NULL, value);
}

static void labelled(struct strbuf *out, const char *name, const char *key, const char *value, int64_t n)
{
    char label[LABEL_MAX];
    snprintf(label, sizeof(label), "%s=%s", key, value);
    const char *const labels[] = { label, NULL };
    metrics_sample(out, name, labels, n);
}

/* --- workers --------------------------------------------------------------------------------------------------- */

static void put_workers(struct strbuf *out, const struct routerd *r)
{
    /* clang-format off */
    static const struct { const char *name; enum metric_type type; size_t offset; const char *help; } rows[] = {
        { PREFIX "worker_requests_total",    METRIC_COUNTER, offsetof(struct worker_counters, requests),       "Requests that were understood." },
        { PREFIX "worker_h2_requests_total", METRIC_COUNTER, offsetof(struct worker_counters, h2_requests),    "Of these, requests over HTTP/2." },
        { PREFIX "worker_accepted_total",    METRIC_COUNTER, offsetof(struct worker_counters, accepted),       "Connections of clients that came to HTTP." },
        { PREFIX "worker_connections",       METRIC_GAUGE,   offsetof(struct worker_counters, connections),    "Connections of clients." },
        { PREFIX "worker_in_flight",         METRIC_GAUGE,   offsetof(struct worker_counters, in_flight),      "Requests and tunnels under way." },
        { PREFIX "worker_buffered_bytes",    METRIC_GAUGE,   offsetof(struct worker_counters, buffered_bytes), "What waits for slow readers." },
        { PREFIX "worker_starved_total",     METRIC_COUNTER, offsetof(struct worker_counters, starved),        "Times that accepting ran out of descriptors." },
        { PREFIX "worker_crowded_out_total", METRIC_COUNTER, offsetof(struct worker_counters, crowded_out),    "Connections cut off because too much waited for them." },
    };
    /* clang-format on */
    char index[16];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        family(out, rows[i].name, rows[i].type, rows[i].help);
        for (unsigned w = 0; w < r->n_workers; w++) {
            const char *at = (const char *)&r->workers[w]->counters + rows[i].offset;
            snprintf(index, sizeof(index), "%u", w);
            labelled(out, rows[i].name, "worker", index, LOAD(*(const _Atomic int64_t *)(const void *)at));
        }
    }
    int64_t longest_us = 0;
    for (unsigned w = 0; w < r->n_workers; w++) {
        int64_t us = LOAD(r->workers[w]->counters.longest_swap_us);
        longest_us = us > longest_us ? us : longest_us;
    }
    family(out, PREFIX "longest_swap_seconds", METRIC_GAUGE,
        "Longest time that a new table kept a worker from requests.");
    metrics_sample_seconds(out, PREFIX "longest_swap_seconds", NULL, longest_us);
}

/* Counters in arrays of the workers, summed by place. */
static int64_t sum_at(const struct routerd *r, size_t offset, size_t i)
{
    int64_t sum = 0;
    for (unsigned w = 0; w < r->n_workers; w++) {
        const void *at = (const char *)r->workers[w] + offset + i * sizeof(uint64_t);
        sum += LOAD(*(const _Atomic int64_t *)at);
    }
    return sum;
}

static void put_array(struct strbuf *out, const struct routerd *r, const char *name, const char *help,
    size_t offset, const char *key, const char *const *names, size_t n)
{
    family(out, name, METRIC_COUNTER, help);
    for (size_t i = 0; i < n; i++)
        labelled(out, name, key, names[i], sum_at(r, offset, i));
}

static void put_sums(struct strbuf *out, const struct routerd *r)
{
    static const char *const refusals[REFUSED_MAX_] = {
#define ROW(status) #status,
        WORKER_REFUSALS(ROW)
#undef ROW
            "other",
    };
#define AT(member) offsetof(struct worker, member)
    put_array(out, r, PREFIX "refused_total", "Requests that were not understood, by the answer's status.",
        AT(counters.refused), "status", refusals, REFUSED_MAX_);
    put_array(out, r, PREFIX "timeouts_total", "What ran out of time.", AT(counters.timeouts), "phase",
        worker_timeout_names, TIMED_OUT_MAX_);
    put_array(out, r, PREFIX "unrouted_answers_total",
        "Answers to requests that reached no release, by status class.", AT(counters.own), "class",
        status_class_names, STATUS_CLASS_MAX_);
    one(out, PREFIX "unrouted_unanswered_total", METRIC_COUNTER,
        "Requests that reached no release and whose client went away.",
        sum_at(r, AT(counters.unanswered), 0));
    family(out, PREFIX "tls_handshakes_total", METRIC_COUNTER, "Handshakes that were completed.");
    labelled(out, PREFIX "tls_handshakes_total", "kind", "full", sum_at(r, AT(front.full), 0));
    labelled(out, PREFIX "tls_handshakes_total", "kind", "resumed", sum_at(r, AT(front.resumed), 0));
    put_array(out, r, PREFIX "tls_failures_total", "Handshakes that were not, by reason.", AT(front.failed),
        "reason", tls_failure_kind_names, TLS_FAILURE_KIND_MAX_);
    one(out, PREFIX "handshake_timeouts_total", METRIC_COUNTER,
        "Connections that showed neither PROXY header nor handshake in time.", sum_at(r, AT(front.late), 0));
    one(out, PREFIX "proxy_refused_total", METRIC_COUNTER,
        "Connections without a right PROXY header from who may send one.",
        sum_at(r, AT(front.refused_proxy), 0));
#undef AT
}

/* --- the router -------------------------------------------------------------------------------------------------- */

static void put_certificate(
    void *arg, const char *label, const struct tls_certificate *certificate, const char *problem)
{
    struct strbuf *out = arg;
    if (certificate)
        labelled(out, PREFIX "certificate_expiry_timestamp_seconds", "certificate", label,
            tls_certificate_expires(certificate).us / CLOCK_US_PER_S);
}

static void put_router(struct strbuf *out, struct routerd *r)
{
    family(out, PREFIX "build_info", METRIC_GAUGE, "The version that runs.");
    labelled(out, PREFIX "build_info", "version", STAGECOACH_VERSION, 1);
    one(out, PREFIX "generation", METRIC_GAUGE, "Reloads of this router, plus one.",
        generation_number(r->generation));
    one(out, PREFIX "table_epoch", METRIC_GAUGE, "Epoch of the routing table that is served.",
        routerd_epoch(r));
    if (r->served_at.us > 0) {
        family(out, PREFIX "table_timestamp_seconds", METRIC_GAUGE, "Since when it is served.");
        metrics_sample_seconds(out, PREFIX "table_timestamp_seconds", NULL, r->served_at.us);
    }
    one(out, PREFIX "table_routes", METRIC_GAUGE, "Routes in it.", r->table ? r->table->n_routes : 0);
    one(out, PREFIX "table_services", METRIC_GAUGE, "Services in it.", r->table ? r->table->n_services : 0);
    if (r->uplink)
        one(out, PREFIX "hub_connected", METRIC_GAUGE, "1 while there is a link to the hub.",
            uplink_is_connected(r->uplink));
    if (r->certs && certs_count(r->certs) > 0) {
        family(
            out, PREFIX "certificate_expiry_timestamp_seconds", METRIC_GAUGE, "When the certificate ends.");
        certs_each(r->certs, put_certificate, out);
    }
    if (r->access_file) {
        struct access_file_stats s = access_file_stats(r->access_file);
        one(out, PREFIX "access_log_lines_total", METRIC_COUNTER, "Lines written.", (int64_t)s.lines);
        one(out, PREFIX "access_log_bytes_total", METRIC_COUNTER, "Bytes written.", (int64_t)s.bytes);
        one(out, PREFIX "access_log_dropped_total", METRIC_COUNTER,
            "Lines that were dropped, for the disk was too slow or full.", (int64_t)s.dropped);
        one(out, PREFIX "access_log_failing", METRIC_GAUGE, "1 while the file can't be written.", s.failing);
    }
}

/* --- the process: names that every exporter has ------------------------------------------------------------------ */

static void put_process(struct strbuf *out, const struct routerd *r)
{
    struct rlimit limit = { 0 };
    getrlimit(RLIMIT_NOFILE, &limit);
    family(out, "process_cpu_seconds_total", METRIC_COUNTER, "User and system time.");
    metrics_sample_seconds(out, "process_cpu_seconds_total", NULL, process_cpu_us());
    one(out, "process_resident_memory_bytes", METRIC_GAUGE, "Memory in use.", process_rss_bytes());
    one(out, "process_max_fds", METRIC_GAUGE, "Most descriptors.", (int64_t)limit.rlim_cur);
    family(out, "process_start_time_seconds", METRIC_GAUGE, "When this process started.");
    metrics_sample_seconds(out, "process_start_time_seconds", NULL, r->started_at.us);
}

bool metrics_router_next(struct metrics_router *m, struct strbuf *out)
{
    struct routerd *r = m->routerd;
    if (!m->said) {
        put_workers(out, r);
        put_sums(out, r);
        put_router(out, r);
        put_process(out, r);
        m->said = true;
        return true;
    }
    if (!process_fds_step(&m->fds, FDS_A_STEP))
        return true;
    one(out, "process_open_fds", METRIC_GAUGE, "Descriptors in use.", m->fds.n);
    return false;
}

struct metrics_router *metrics_router_new(struct routerd *routerd)
{
    struct metrics_router *m = xcalloc(1, sizeof(*m));
    m->routerd = routerd;
    return m;
}

void metrics_router_free(struct metrics_router *m)
{
    if (!m)
        return;
    process_fds_done(&m->fds);
    free(m);
}
