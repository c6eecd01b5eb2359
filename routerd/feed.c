/* SPDX-License-Identifier: MIT */
#include "routerd/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/table_diff.h"
#include "routerd/generation.h"
#include "routerd/journal.h"
#include "routerd/match.h"
#include "routerd/routerd.h"

struct feed {
    struct routerd *routerd;
    char *path;
    bool watches;
    struct journal *journal;  /* NULL where a file is watched */
    struct match_table *next; /* prepared */
    struct timer fold;
    int inotify_fd, inotify_watch;
    struct io *inotify;
    char *file_name; /* within the watched folder */
    struct timer settle;
    mono_t read_at; /* when it was read last, for a change */
    struct timer look;
    struct stamp {
        dev_t dev;
        ino_t ino; /* 0: there is none */
        off_t size;
        struct timespec changed;
    } stamp;       /* of the file that was read last */
    char *refused; /* what was logged of the file last */
};

/* --- reading --------------------------------------------------------------------------------------------- */

/* Who writes a table by hand may have forgotten the weights. */
static void warn_of_idle(const struct feed *feed, const struct table *table)
{
    for (size_t i = 0; i < table->n_services; i++) {
        const struct table_service *service = &table->services[i];
        size_t n = 0;
        for (size_t j = 0; j < service->n_releases; j++)
            n += service->releases[j].n_ranges;
        if (n == 0)
            log_warning(NULL, "%s: service %s: no release has a weight, its requests get 503", feed->path,
                service->name);
    }
}

static int compile_text(
    struct feed *feed, const char *text, size_t len, bool warn, struct match_table **ret, struct error *err)
{
    struct table table;
    int r = table_read(text, len, &table, err);
    if (r < 0)
        return r;
    table_sum_rows(&table);
    r = routerd_compile(feed->routerd, &table, ret, err);
    if (r == 0 && warn)
        warn_of_idle(feed, &table);
    table_clear(&table);
    return r;
}

/* The last table that the hub committed. */
static int load_journal(struct feed *feed, struct error *err)
{
    const struct table *table;
    struct match_table *compiled;
    _cleanup_(free_ptr) char *warning = NULL;
    int r = journal_load(feed->journal, &table, &warning, err);
    if (r < 0)
        return r;
    if (warning)
        log_error(NULL, "%s; epoch %" PRId64 " is served until the hub is there", warning, table->epoch);
    r = routerd_compile(feed->routerd, table, &compiled, err);
    if (r < 0)
        return error_prefix(err, "%s", feed->path);
    log_info(NULL, "%s: epoch %" PRId64 ", routes %u, services %u", feed->path, compiled->epoch,
        compiled->n_routes, compiled->n_services);
    routerd_serve(feed->routerd, compiled);
    return 0;
}

static struct stamp stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct stamp){ .ino = 0 };
    return (struct stamp){ st.st_dev, st.st_ino, st.st_size, st.st_ctim };
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
        a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static int read_file(struct feed *feed, struct strbuf *text, struct match_table **ret, struct error *err)
{
    int r = statefile_read(feed->path, FEED_TABLE_MAX, text, err);
    if (r < 0)
        return r;
    r = compile_text(feed, strbuf_str(text), text->len, true, ret, err);
    if (r < 0)
        return error_prefix(err, "%s", feed->path);
    /* A hub may have no routes yet; who writes a file has forgotten them. */
    if ((*ret)->n_routes == 0) {
        routerd_drop(feed->routerd, *ret);
        return error_set(err, -EINVAL, "%s: \"routes\" has no route: nobody would be answered", feed->path);
    }
    log_info(NULL, "%s: epoch %" PRId64 ", routes %u, services %u", feed->path, (*ret)->epoch,
        (*ret)->n_routes, (*ret)->n_services);
    return 0;
}

int feed_check(struct routerd *routerd, char *path, struct error *err)
{
    struct feed feed = { .routerd = routerd, .path = path };
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct match_table *table;
    int r = read_file(&feed, &text, &table, err);
    if (r == 0)
        routerd_drop(routerd, table);
    return r;
}

static int load(struct feed *feed, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct match_table *table;
    feed->stamp = stamp_of(feed->path);
    int r = read_file(feed, &text, &table, err);
    if (r < 0)
        return r;
    routerd_serve(feed->routerd, table);
    generation_push(feed->routerd->generation, strbuf_str(&text), text.len);
    return 0;
}

/* --- a watched file -------------------------------------------------------------------------------------- */

static void on_settled(void *arg)
{
    struct feed *feed = arg;
    struct error err;
    feed->read_at = loop_now(feed->routerd->loop);
    if (load(feed, &err) >= 0) {
        str_set(&feed->refused, NULL);
        return;
    }
    if (!feed->refused || strcmp(feed->refused, err.text) != 0)
        log_error(NULL, "%s; the table in place stays", err.text);
    str_set(&feed->refused, err.text);
}

/* What happened to the file: IN_*, or-ed. */
static uint32_t file_events(const struct feed *feed, const char *data, ssize_t len)
{
    uint32_t events = 0;
    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= len;) {
        struct inotify_event event;
        memcpy(&event, data + at, sizeof(event));
        if (event.len > 0 && strcmp(data + at + (ssize_t)sizeof(event), feed->file_name) == 0)
            events |= event.mask;
        at += (ssize_t)(sizeof(event) + event.len);
    }
    return events;
}

static void on_inotify(unsigned ready, void *arg)
{
    struct feed *feed = arg;
    char data[4096];
    ssize_t n = read(feed->inotify_fd, data, sizeof(data));
    uint32_t events = n > 0 ? file_events(feed, data, n) : 0;
    /* From the first change on: a file that changes all the time is read all the same. */
    if (!events || timer_is_set(&feed->settle))
        return;
    /* A file that was moved there is whole; another may still be written. */
    int64_t since_ms = (loop_now(feed->routerd->loop).us - feed->read_at.us) / CLOCK_US_PER_MS;
    timer_set(&feed->settle, events & IN_MOVED_TO ? FEED_REST_MS - since_ms : FEED_SETTLE_MS);
}

/* Behind a link much may change that nobody tells the folder. */
static void on_look(void *arg)
{
    struct feed *feed = arg;
    struct stamp now = stamp_of(feed->path);
    if (!is_same(&now, &feed->stamp) && !timer_is_set(&feed->settle))
        timer_set(&feed->settle, FEED_SETTLE_MS);
    timer_set(&feed->look, FEED_LOOK_MS);
}

/* The folder is watched: an editor or `mv` puts a new file in the old one's place. */
static int watch(struct feed *feed, struct error *err)
{
    const char *slash = strrchr(feed->path, '/');
    _cleanup_(free_ptr) char *folder =
        slash ? xstrndup(feed->path, slash == feed->path ? 1 : (size_t)(slash - feed->path)) : xstrdup(".");
    feed->file_name = xstrdup(slash ? slash + 1 : feed->path);
    feed->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (feed->inotify_fd >= 0)
        feed->inotify_watch =
            inotify_add_watch(feed->inotify_fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE);
    if (feed->inotify_watch < 0)
        return error_set_errno(err, -errno, "can't watch %s", folder);
    feed->inotify = io_new(feed->routerd->loop, feed->inotify_fd, IO_READ, on_inotify, feed);
    timer_set(&feed->look, FEED_LOOK_MS);
    return 0;
}

/* --- what the hub commits -------------------------------------------------------------------------------- */

static void drop_next(struct feed *feed)
{
    routerd_drop(feed->routerd, steal_ptr(feed->next));
}

static int prepare(struct feed *feed, int64_t epoch, const struct table *table, struct error *err)
{
    if (table->epoch != epoch)
        return error_set(
            err, -EINVAL, "the table says epoch %" PRId64 ", the message %" PRId64, table->epoch, epoch);
    struct match_table *compiled;
    int r = routerd_compile(feed->routerd, table, &compiled, err);
    if (r < 0)
        return r;
    r = journal_write(feed->journal, err);
    if (r < 0) {
        routerd_drop(feed->routerd, compiled);
        return r;
    }
    feed->next = compiled;
    return 0;
}

int feed_prepare(
    struct feed *feed, int64_t epoch, const char *text, size_t len, bool is_diff, struct error *err)
{
    const struct table *table;
    drop_next(feed);
    int r = journal_stage(feed->journal, text, len, is_diff, &table, err);
    if (r < 0)
        return r;
    r = prepare(feed, epoch, table, err);
    if (r < 0)
        journal_abort(feed->journal);
    return r;
}

int feed_check_prepared(struct feed *feed, int64_t epoch, struct error *err)
{
    if (feed->next && feed->next->epoch == epoch)
        return 0;
    return error_set(err, -ENOENT, "epoch %" PRId64 " is not prepared here", epoch);
}

static void push(struct feed *feed)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error err;
    if (!generation_has_older(feed->routerd->generation))
        return;
    if (feed_text(feed, &text, &err) < 0)
        log_error(NULL, "older generations keep the table they have: %s", err.text);
    else
        generation_push(feed->routerd->generation, strbuf_str(&text), text.len);
}

int feed_commit(struct feed *feed, int64_t epoch, struct error *err)
{
    struct routerd *routerd = feed->routerd;
    if (!feed->next && routerd->table && routerd->table->epoch == epoch && epoch > 0)
        return 0;
    int r = feed_check_prepared(feed, epoch, err);
    if (r < 0)
        return r;
    r = journal_commit(feed->journal, err);
    if (r < 0)
        return r;
    log_info(NULL, "epoch %" PRId64 ": routes %u, services %u", epoch, feed->next->n_routes,
        feed->next->n_services);
    routerd_serve(routerd, steal_ptr(feed->next));
    push(feed);
    if (journal_is_long(feed->journal))
        timer_set(&feed->fold, FEED_FOLD_MS);
    return 0;
}

void feed_abort(struct feed *feed)
{
    drop_next(feed);
    if (feed->journal) {
        journal_abort(feed->journal);
        journal_clean(feed->journal);
    }
}

/* Requests are served by other threads meanwhile. */
static void on_fold(void *arg)
{
    struct feed *feed = arg;
    struct error err;
    if (journal_fold(feed->journal, &err) < 0)
        log_warning(NULL, "%s; the diffs stay", err.text);
}

/* --- life ------------------------------------------------------------------------------------------------ */

static int start(struct feed *feed, struct error *err)
{
    if (feed->watches) {
        int r = load(feed, err);
        return r < 0 ? r : watch(feed, err);
    }
    struct error why;
    int r = load_journal(feed, &why);
    if (r == -ENOENT)
        log_info(NULL, "no table yet; the hub will send one");
    else if (r < 0)
        log_error(NULL, "%s; waiting for the hub", why.text);
    return 0;
}

int feed_new(struct routerd *routerd, struct feed **ret, struct error *err)
{
    struct feed *feed = xcalloc(1, sizeof(*feed));
    feed->routerd = routerd;
    feed->inotify_fd = feed->inotify_watch = -1;
    feed->watches = routerd->settings.table != NULL;
    feed->path = feed->watches ? xstrdup(routerd->settings.table)
                               : xasprintf("%s/table.json", routerd->settings.state_directory);
    if (!feed->watches)
        feed->journal = journal_new(routerd->settings.state_directory);
    timer_init(&feed->fold, routerd->loop, on_fold, feed);
    timer_init(&feed->settle, routerd->loop, on_settled, feed);
    timer_init(&feed->look, routerd->loop, on_look, feed);
    int r = start(feed, err);
    if (r < 0) {
        feed_free(feed);
        return r;
    }
    *ret = feed;
    return 0;
}

void feed_take_charge(struct feed *feed)
{
    struct error err;
    if (feed->watches)
        return;
    journal_clean(feed->journal);
    /* The generation before us may have committed since we read it. */
    if (!journal_is_current(feed->journal) && load_journal(feed, &err) < 0 && err.code != -ENOENT)
        log_error(NULL, "%s; waiting for the hub", err.text);
}

void feed_step_back(struct feed *feed)
{
    drop_next(feed);
    if (feed->journal)
        journal_abort(feed->journal);
    timer_clear(&feed->settle);
    timer_clear(&feed->look);
    timer_clear(&feed->fold);
    if (!feed->inotify)
        return;
    io_free(steal_ptr(feed->inotify));
    inotify_rm_watch(feed->inotify_fd, feed->inotify_watch);
}

int feed_text(struct feed *feed, struct strbuf *ret, struct error *err)
{
    if (feed->watches)
        return statefile_read(feed->path, FEED_TABLE_MAX, ret, err);
    journal_text(feed->journal, ret);
    return 0;
}

int feed_serve_text(struct feed *feed, const char *text, size_t len, struct error *err)
{
    struct match_table *table;
    int r = compile_text(feed, text, len, false, &table, err);
    if (r == 0)
        routerd_serve(feed->routerd, table);
    return r;
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    feed_step_back(feed);
    /* Only here: on a busy machine the kernel takes seconds for this. */
    close_fd(&feed->inotify_fd);
    timer_done(&feed->settle);
    timer_done(&feed->look);
    timer_done(&feed->fold);
    journal_free(feed->journal);
    free(feed->file_name);
    free(feed->refused);
    free(feed->path);
    free(feed);
}
