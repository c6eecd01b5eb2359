/* SPDX-License-Identifier: MIT */
#include "droned/journal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-journal.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "droned/unit_spec.h"

#define EXIT_TIMES                3
#define MESSAGE_UNIT_PROCESS_EXIT "98e322203f7a4ed290d09fe03c09fe15"
#define INVALIDATED_PAUSE_MS      50

static const int64_t exit_times_ms[EXIT_TIMES] = { 0, 50, 120 };

static journal_tail_fn tail_fn;
static void *tail_arg;

static void journal_closep(sd_journal **j)
{
    sd_journal_close(*j);
}

static int add_match(sd_journal *j, const char *field, const char *value)
{
    if (!value || !value[0])
        return 0;
    _cleanup_(free_ptr) char *match = xasprintf("%s=%s", field, value);
    return sd_journal_add_match(j, match, 0);
}

static int add_matches(sd_journal *j, const struct journal_match *match)
{
    int r = add_match(j, "STAGECOACH_SERVICE", match->service);
    if (r >= 0)
        r = add_match(j, "STAGECOACH_VERSION", match->version);
    if (r >= 0)
        r = add_match(j, "STAGECOACH_INSTANCE", match->instance);
    if (r >= 0)
        r = add_match(j, "STAGECOACH_BUILD", match->build);
    return r;
}

/* A field of the present entry without its name; borrowed until the next call. NULL if it has none. */
static const char *field_get(sd_journal *j, const char *name, size_t *ret_len)
{
    const void *data;
    size_t len, skip = strlen(name) + 1;
    if (sd_journal_get_data(j, name, &data, &len) < 0 || len < skip)
        return NULL;
    *ret_len = len - skip;
    return (const char *)data + skip;
}

static char *field_copy(sd_journal *j, const char *name)
{
    size_t len;
    const char *value = field_get(j, name, &len);
    return value ? xstrndup(value, len) : NULL;
}

static char *field_printable(sd_journal *j, const char *name)
{
    size_t len;
    const char *value = field_get(j, name, &len);
    struct strbuf text = STRBUF_INIT;
    strbuf_add_printable(&text, value ? value : "", value ? len : 0, JOURNAL_LINE_MAX);
    return strbuf_steal(&text);
}

static bool unit_has_prefix(sd_journal *j, const char *prefix)
{
    size_t len;
    const char *unit = field_get(j, "_SYSTEMD_UNIT", &len);
    return unit && len > strlen(prefix) && strncmp(unit, prefix, strlen(prefix)) == 0;
}

/* Daemons name services in their own lines too; a line of a service comes from its unit. */
static bool is_line_of_ours(sd_journal *j, const struct journal_match *match)
{
    return unit_has_prefix(j, match->build ? UNIT_PREFIX_BUILD : UNIT_PREFIX_RUN);
}

/* --- the last lines --------------------------------------------------------------------------------------------- */

void journal_set_tail(journal_tail_fn fn, void *arg)
{
    tail_fn = fn;
    tail_arg = arg;
}

static int tail_of(sd_journal *j, const struct journal_query *query, char ***ret)
{
    _cleanup_(strv_freep) char **newest_first = NULL;
    size_t n = 0;
    int r = sd_journal_seek_tail(j);
    for (int i = 0; r >= 0 && n < query->lines && i < JOURNAL_SCAN_MAX; i++) {
        uint64_t at_us;
        r = sd_journal_previous(j);
        if (r <= 0)
            break;
        if (sd_journal_get_realtime_usec(j, &at_us) < 0 || (int64_t)at_us < query->since_us)
            break;
        if (!is_line_of_ours(j, &query->match))
            continue;
        strv_push_take(&newest_first, field_printable(j, "MESSAGE"));
        n++;
    }
    while (n > 0)
        strv_push(ret, newest_first[--n]);
    return r < 0 ? r : 0;
}

int journal_tail(const struct journal_query *query, char ***ret, struct error *err)
{
    if (tail_fn)
        return tail_fn(tail_arg, query, ret);
    _cleanup_(journal_closep) sd_journal *j = NULL;
    int r = sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
    if (r >= 0)
        r = add_matches(j, &query->match);
    if (r >= 0)
        r = tail_of(j, query, ret);
    return r < 0 ? error_set_errno(err, r, "can't read the journal") : 0;
}

struct journal_exit {
    struct loop *loop;
    struct journal_query query;
    char *instance, *build;
    journal_exit_fn fn;
    void *arg;
    struct timer timer;
    int tries;
    char **lines;
};

static void on_exit_timer(void *arg)
{
    struct journal_exit *exit = arg;
    char **lines = NULL;
    /* A journal that can't be read has no last lines; the exit itself is told all the same. */
    if (journal_tail(&exit->query, &lines, NULL) < 0)
        exit->tries = EXIT_TIMES;
    bool settled = lines && strv_equal(lines, exit->lines);
    strv_free(exit->lines);
    exit->lines = lines;
    exit->tries++;
    if (!settled && exit->tries < EXIT_TIMES) {
        timer_set(&exit->timer, exit_times_ms[exit->tries] - exit_times_ms[exit->tries - 1]);
        return;
    }
    exit->fn(exit->arg, exit->lines);
}

struct journal_exit *journal_exit_new(
    struct loop *loop, const struct journal_query *query, journal_exit_fn fn, void *arg)
{
    struct journal_exit *exit = xcalloc(1, sizeof(*exit));
    exit->loop = loop;
    exit->query = *query;
    exit->instance = xstrdup(query->match.instance);
    exit->build = xstrdup(query->match.build);
    exit->query.match = (struct journal_match){ .instance = exit->instance, .build = exit->build };
    exit->fn = fn;
    exit->arg = arg;
    timer_init(&exit->timer, loop, on_exit_timer, exit);
    timer_set(&exit->timer, exit_times_ms[0]);
    return exit;
}

static void exit_destroy(void *p)
{
    struct journal_exit *exit = p;
    strv_free(exit->lines);
    free(exit->instance);
    free(exit->build);
    free(exit);
}

void journal_exit_free(struct journal_exit *exit)
{
    if (!exit)
        return;
    timer_done(&exit->timer);
    loop_free_later(exit->loop, exit, exit_destroy);
}

bool journal_unit_end(const char *unit, int64_t since_us, int64_t *ret_code, int64_t *ret_status)
{
    _cleanup_(journal_closep) sd_journal *j = NULL;
    uint64_t at_us;
    if (tail_fn || sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM) < 0 ||
        add_match(j, "_PID", "1") < 0 || add_match(j, "UNIT", unit) < 0 ||
        add_match(j, "MESSAGE_ID", MESSAGE_UNIT_PROCESS_EXIT) < 0 || sd_journal_seek_tail(j) < 0 ||
        sd_journal_previous(j) <= 0 || sd_journal_get_realtime_usec(j, &at_us) < 0 ||
        (int64_t)at_us < since_us)
        return false;
    _cleanup_(free_ptr) char *code = field_copy(j, "EXIT_CODE");
    _cleanup_(free_ptr) char *status = field_copy(j, "EXIT_STATUS");
    if (!code || !status)
        return false;
    *ret_code = strcmp(code, "exited") == 0 ? CLD_EXITED
        : strcmp(code, "dumped") == 0       ? CLD_DUMPED
                                            : CLD_KILLED;
    /* Signals are named: "9/KILL" or "KILL", exits "1" or "1/FAILURE", as systemd's version has it. */
    *ret_status = strtol(status, NULL, 10);
    for (int s = 1; *ret_code != CLD_EXITED && *ret_status == 0 && s < NSIG; s++)
        if (sigabbrev_np(s) && strcmp(sigabbrev_np(s), status) == 0)
            *ret_status = s;
    return true;
}

/* --- following ------------------------------------------------------------------------------------------------------ */

struct journal_follow {
    struct loop *loop;
    struct journal_follow_spec spec;
    char *service, *version, *instance, *build;
    sd_journal *j;
    struct io *io;
    struct timer timer;
    int64_t past; /* lines of the past still to give */
    bool paused, caught_up, ended;
};

static void log_line_from(sd_journal *j, struct log_line *ret)
{
    _cleanup_(free_ptr) char *priority = field_copy(j, "PRIORITY");
    uint64_t at_us = 0;
    (void)sd_journal_get_realtime_usec(j, &at_us);
    *ret = (struct log_line){
        .at_us = (int64_t)at_us,
        .service = field_copy(j, "STAGECOACH_SERVICE"),
        .version = field_copy(j, "STAGECOACH_VERSION"),
        .instance = field_copy(j, "STAGECOACH_INSTANCE"),
        .priority =
            priority && priority[0] >= '0' && priority[0] <= '7' && !priority[1] ? priority[0] - '0' : 6,
        .text = field_printable(j, "MESSAGE"),
    };
}

static void lines_free(struct log_line *lines, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(lines[i].service);
        free(lines[i].version);
        free(lines[i].instance);
        free(lines[i].text);
    }
    free(lines);
}

/* Moves to the first of the wanted lines of the past. */
static int seek_past(struct journal_follow *follow)
{
    int64_t found = 0;
    int r = sd_journal_seek_tail(follow->j);
    bool at_start = false;
    for (int i = 0; r >= 0 && i < JOURNAL_SCAN_MAX; i++) {
        r = sd_journal_previous(follow->j);
        if (r == 0)
            at_start = true;
        if (r <= 0)
            break;
        if (is_line_of_ours(follow->j, &follow->spec.match))
            found++;
        if (found > follow->past)
            break;
    }
    if (r >= 0 && at_start)
        r = sd_journal_seek_head(follow->j);
    return r < 0 ? r : 0;
}

static void follow_end(struct journal_follow *follow, const char *reason)
{
    if (follow->ended)
        return;
    follow->ended = true;
    timer_clear(&follow->timer);
    io_free(steal_ptr(follow->io));
    follow->spec.on_end(follow->spec.arg, reason);
}

/* One batch: bounded, so that a flood of lines does not hold up the loop. */
static void read_batch(struct journal_follow *follow)
{
    struct log_line *lines = xcalloc(JOURNAL_BATCH_LINES, sizeof(*lines));
    size_t n = 0, bytes = 0;
    int r = 1;
    for (int i = 0; i < JOURNAL_SCAN_MAX / 10 && n < JOURNAL_BATCH_LINES && bytes < JOURNAL_BATCH_BYTES;
         i++) {
        r = sd_journal_next(follow->j);
        if (r <= 0)
            break;
        if (!is_line_of_ours(follow->j, &follow->spec.match))
            continue;
        log_line_from(follow->j, &lines[n]);
        bytes += strlen(lines[n++].text);
    }
    if (n > 0)
        follow->spec.on_lines(follow->spec.arg, lines, n);
    lines_free(lines, n);
    if (follow->ended)
        return;
    if (r < 0)
        follow_end(follow, "the journal can't be read");
    else if (r > 0)
        timer_set(&follow->timer, 0);
    else if (!follow->spec.follow)
        follow_end(follow, NULL);
    else
        follow->caught_up = true;
}

static void on_follow_timer(void *arg)
{
    struct journal_follow *follow = arg;
    if (!follow->paused && !follow->ended)
        read_batch(follow);
}

static void on_follow_io(unsigned ready, void *arg)
{
    struct journal_follow *follow = arg;
    if (follow->ended)
        return;
    int r = sd_journal_process(follow->j);
    if (r < 0)
        follow_end(follow, "the journal can't be read");
    else if (!timer_is_set(&follow->timer))
        timer_set(&follow->timer, r == SD_JOURNAL_INVALIDATE ? INVALIDATED_PAUSE_MS : 0);
}

void journal_follow_pause(struct journal_follow *follow, bool pause)
{
    follow->paused = pause;
    if (!pause && !follow->ended)
        timer_set(&follow->timer, 0);
}

int journal_follow_new(
    struct loop *loop, const struct journal_follow_spec *spec, struct journal_follow **ret, struct error *err)
{
    struct journal_follow *follow = xcalloc(1, sizeof(*follow));
    follow->loop = loop;
    follow->spec = *spec;
    follow->service = xstrdup(spec->match.service);
    follow->version = xstrdup(spec->match.version);
    follow->instance = xstrdup(spec->match.instance);
    follow->build = xstrdup(spec->match.build);
    follow->spec.match =
        (struct journal_match){ follow->service, follow->version, follow->instance, follow->build };
    follow->past = spec->lines;
    timer_init(&follow->timer, loop, on_follow_timer, follow);
    int r = sd_journal_open(&follow->j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
    if (r >= 0)
        r = add_matches(follow->j, &follow->spec.match);
    int fd = r >= 0 ? sd_journal_get_fd(follow->j) : r;
    if (fd >= 0)
        r = seek_past(follow);
    if (fd < 0 || r < 0) {
        journal_follow_free(follow);
        return error_set_errno(err, fd < 0 ? fd : r, "can't read the journal");
    }
    follow->io = io_new(loop, fd, IO_READ, on_follow_io, follow);
    timer_set(&follow->timer, 0);
    *ret = follow;
    return 0;
}

static void follow_destroy(void *p)
{
    struct journal_follow *follow = p;
    sd_journal_close(follow->j);
    free(follow->service);
    free(follow->version);
    free(follow->instance);
    free(follow->build);
    free(follow);
}

void journal_follow_free(struct journal_follow *follow)
{
    if (!follow)
        return;
    follow->ended = true;
    timer_done(&follow->timer);
    io_free(steal_ptr(follow->io));
    loop_free_later(follow->loop, follow, follow_destroy);
}
