/* SPDX-License-Identifier: MIT */
#include "droned/systemd.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/strv.h"
#include "droned/bus.h"
#include "droned/systemd_internal.h"
#include "droned/unit_spec.h"

#define JOB_RETRIES_MAX 32 /* optional properties taken away, one at a time */

enum job_kind { JOB_START, JOB_STOP, JOB_KILL, JOB_RESET_FAILED };

/* One thing asked of systemd. Start and stop end with the JobRemoved of the path that the answer names, the
 * others with their answer. */
struct job {
    struct list link;
    struct systemd *systemd;
    enum job_kind kind;
    char *unit;
    struct unit_spec spec;
    int signal;
    int64_t timeout_ms;
    systemd_done_fn fn;
    void *arg;
    struct timer timer;
    sd_bus_slot *slot;               /* waits for its answer */
    char *path;                      /* of the job in systemd */
    char *early_path, *early_result; /* JobRemoved came before the answer */
    int result;                      /* completing: told by the timer, so never inside the asking call */
    char *text;
    bool sent, completing;
    int retries;
};

static void job_free(struct job *job)
{
    list_remove(&job->link);
    if (job->sent)
        job->systemd->n_active--;
    timer_done(&job->timer);
    sd_bus_slot_unref(job->slot);
    unit_spec_clear(&job->spec);
    free(job->unit);
    free(job->path);
    free(job->early_path);
    free(job->early_result);
    free(job->text);
    free(job);
}

static void complete(struct job *job, int result, const char *text)
{
    struct systemd *systemd = job->systemd;
    systemd_done_fn fn = job->fn;
    void *arg = job->arg;
    _cleanup_(free_ptr) char *kept = xstrdup(text ? text : "");
    job_free(job);
    if (fn)
        fn(arg, result, kept);
    systemd_jobs_pump(systemd);
}

static void complete_soon(struct job *job, int result, const char *text)
{
    job->completing = true;
    job->result = result;
    str_set(&job->text, text);
    timer_set(&job->timer, 0);
}

static void on_job_timer(void *arg)
{
    struct job *job = arg;
    if (job->completing)
        complete(job, job->result, job->text);
    else
        complete(job, -ETIMEDOUT, "systemd did not finish it in time");
}

/* --- ends ------------------------------------------------------------------------------------------------- */

// clang-format off
static const struct { const char *result; int code; const char *text; } job_results[] = {
    { "done",       0,          NULL },
    { "skipped",    0,          NULL },
    { "canceled",   -ECANCELED, "cancelled by another job" },
    { "dependency", -EIO,       "something it depends on failed" },
    { "failed",     -EIO,       "failed" },
    { "timeout",    -ETIMEDOUT, "did not finish in time" },
};

/* D-Bus errors that mean something to us. */
static const struct { const char *name; int code; } bus_errors[] = {
    { "org.freedesktop.systemd1.UnitExists",              -EEXIST },
    { "org.freedesktop.systemd1.NoSuchUnit",              -ENOENT },
    { "org.freedesktop.DBus.Error.NoReply",               -ECONNRESET },
    { "org.freedesktop.DBus.Error.Disconnected",          -ECONNRESET },
    { "org.freedesktop.DBus.Error.LimitsExceeded",        -EBUSY },
    { "org.freedesktop.DBus.Error.AccessDenied",          -EPERM },
    { "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", -EPERM },
};
// clang-format on

static void complete_by_result(struct job *job, const char *result)
{
    for (size_t i = 0; i < ARRAY_SIZE(job_results); i++)
        if (strcmp(job_results[i].result, result) == 0) {
            complete(job, job_results[i].code, job_results[i].text);
            return;
        }
    complete(job, -EIO, result);
}

void systemd_job_removed(struct systemd *systemd, const char *path, const char *unit, const char *result)
{
    struct job *job;
    list_for_each (job, &systemd->jobs, link) {
        if (job->path && strcmp(job->path, path) == 0) {
            complete_by_result(job, result);
            return;
        }
    }
    list_for_each (job, &systemd->jobs, link) {
        if (job->sent && !job->path && strcmp(job->unit, unit) == 0) {
            str_set(&job->early_path, path);
            str_set(&job->early_result, result);
        }
    }
}

/* systemd refuses a whole call for one property that it does not know. If that one is optional, the call is
 * made again without it, and so is every later one. */
static bool drop_refused_property(struct job *job, const sd_bus_error *error)
{
    if (job->kind != JOB_START || job->retries >= JOB_RETRIES_MAX || !error->message)
        return false;
    for (size_t i = 0; i < job->spec.n_rows; i++) {
        const struct unit_property *row = &job->spec.rows[i];
        _cleanup_(free_ptr) char *said = xasprintf("Cannot set property %s, or unknown property", row->name);
        if (!row->optional || !strstr(error->message, said))
            continue;
        log_warning(NULL, "this systemd does not know %s; units run without it", row->name);
        map_set(job->systemd->unknown_properties, row->name, (void *)row->name);
        job->retries++;
        return true;
    }
    return false;
}

static void send_job(struct job *job);

static void on_refused(struct job *job, const sd_bus_error *error)
{
    if (drop_refused_property(job, error)) {
        job->sent = false;
        job->systemd->n_active--;
        send_job(job);
        return;
    }
    int code = -EIO;
    for (size_t i = 0; i < ARRAY_SIZE(bus_errors); i++)
        if (sd_bus_error_has_name(error, bus_errors[i].name))
            code = bus_errors[i].code;
    if (code == -ENOENT && job->kind != JOB_START)
        complete(job, 0, NULL);
    else
        complete(job, code, error->message);
}

static int on_answer(sd_bus_message *m, void *arg, sd_bus_error *ret_error)
{
    struct job *job = arg;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    job->slot = sd_bus_slot_unref(job->slot);
    if (error) {
        on_refused(job, error);
        return 0;
    }
    if (job->kind != JOB_START && job->kind != JOB_STOP) {
        complete(job, 0, NULL);
        return 0;
    }
    const char *path;
    int r = sd_bus_message_read_basic(m, 'o', &path);
    if (r <= 0) {
        complete(job, -EBADMSG, "systemd answered without a job");
        return 0;
    }
    if (job->early_path && strcmp(job->early_path, path) == 0)
        complete_by_result(job, job->early_result);
    else
        job->path = xstrdup(path);
    return 0;
}

/* --- sending ----------------------------------------------------------------------------------------------- */

static int fill_message(struct job *job, sd_bus_message *m)
{
    switch (job->kind) {
    case JOB_START: {
        int r = sd_bus_message_append(m, "ss", job->unit, "fail");
        if (r >= 0)
            r = systemd_append_spec(m, &job->spec, job->systemd->unknown_properties);
        return r >= 0 ? sd_bus_message_append(m, "a(sa(sv))", 0) : r;
    }
    case JOB_STOP:
        return sd_bus_message_append(m, "ss", job->unit, "replace");
    case JOB_KILL:
        return sd_bus_message_append(m, "ssi", job->unit, "all", (int32_t)job->signal);
    case JOB_RESET_FAILED:
        return sd_bus_message_append(m, "s", job->unit);
    }
    return -EINVAL;
}

static void send_job(struct job *job)
{
    static const char *const methods[] = { "StartTransientUnit", "StopUnit", "KillUnit", "ResetFailedUnit" };
    struct systemd *systemd = job->systemd;
    sd_bus_message *m = NULL;
    job->sent = true;
    systemd->n_active++;
    timer_set(&job->timer, job->timeout_ms);
    int r = sd_bus_message_new_method_call(
        systemd->connection, &m, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, methods[job->kind]);
    if (r >= 0)
        r = fill_message(job, m);
    /* Time is ours to keep: the library's own time-out would end calls that PID 1 is merely slow with. */
    if (r >= 0)
        r = sd_bus_call_async(systemd->connection, &job->slot, m, on_answer, job, UINT64_MAX);
    sd_bus_message_unref(m);
    if (r < 0)
        complete_soon(job, r, strerror(-r));
    bus_sent(systemd->bus);
}

void systemd_jobs_pump(struct systemd *systemd)
{
    struct job *job, *tmp;
    if (!systemd->ready)
        return;
    list_for_each_safe (job, tmp, &systemd->jobs, link) {
        if (systemd->n_active >= SYSTEMD_JOBS_MAX)
            return;
        if (!job->sent && !job->completing)
            send_job(job);
    }
}

void systemd_jobs_lost(struct systemd *systemd)
{
    struct job *job, *tmp;
    list_for_each_safe (job, tmp, &systemd->jobs, link) {
        if (!job->sent || job->completing)
            continue;
        job->slot = sd_bus_slot_unref(job->slot);
        complete_soon(job, -ECONNRESET, "the connection to systemd was lost");
    }
}

void systemd_jobs_free(struct systemd *systemd)
{
    struct job *job, *tmp;
    list_for_each_safe (job, tmp, &systemd->jobs, link)
        job_free(job);
}

/* --- asking ------------------------------------------------------------------------------------------------ */

static struct job *job_new(struct systemd *systemd, enum job_kind kind, const char *unit, int64_t timeout_ms,
    systemd_done_fn fn, void *arg)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->systemd = systemd;
    job->kind = kind;
    job->unit = xstrdup(unit);
    job->timeout_ms = timeout_ms > 0 ? timeout_ms : SYSTEMD_JOB_MS;
    job->fn = fn;
    job->arg = arg;
    timer_init(&job->timer, systemd->loop, on_job_timer, job);
    list_append(&systemd->jobs, &job->link);
    return job;
}

static void copy_spec(const struct unit_spec *from, struct unit_spec *to)
{
    to->rows = xcalloc(from->n_rows ? from->n_rows : 1, sizeof(*to->rows));
    to->n_rows = to->cap = from->n_rows;
    for (size_t i = 0; i < from->n_rows; i++) {
        to->rows[i] = from->rows[i];
        to->rows[i].text = xstrdup(from->rows[i].text);
        to->rows[i].list = strv_copy(from->rows[i].list);
    }
}

void systemd_start(struct systemd *systemd, const char *unit, const struct unit_spec *spec,
    int64_t timeout_ms, systemd_done_fn fn, void *arg)
{
    struct job *job = job_new(systemd, JOB_START, unit, timeout_ms, fn, arg);
    copy_spec(spec, &job->spec);
    systemd_jobs_pump(systemd);
}

void systemd_stop(
    struct systemd *systemd, const char *unit, int64_t timeout_ms, systemd_done_fn fn, void *arg)
{
    job_new(systemd, JOB_STOP, unit, timeout_ms, fn, arg);
    systemd_jobs_pump(systemd);
}

void systemd_kill(struct systemd *systemd, const char *unit, int signal, systemd_done_fn fn, void *arg)
{
    job_new(systemd, JOB_KILL, unit, 0, fn, arg)->signal = signal;
    systemd_jobs_pump(systemd);
}

void systemd_reset_failed(struct systemd *systemd, const char *unit, systemd_done_fn fn, void *arg)
{
    job_new(systemd, JOB_RESET_FAILED, unit, 0, fn, arg);
    systemd_jobs_pump(systemd);
}

void systemd_forget(struct systemd *systemd, const void *arg)
{
    struct job *job;
    list_for_each (job, &systemd->jobs, link) {
        if (job->arg == arg)
            job->fn = NULL;
    }
}
