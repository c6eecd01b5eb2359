/* SPDX-License-Identifier: MIT */
#include "routerd/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/table.h"
#include "routerd/match.h"
#include "routerd/routerd.h"

struct feed {
    struct routerd *routerd;
    char *path, *next_path;
    bool watches;
    struct match_table *next; /* prepared */
    int inotify_fd;
    struct io *inotify;
    char *file_name; /* within the watched folder */
    struct timer settle;
    char *refused; /* what was logged of the file last */
};

/* --- reading --------------------------------------------------------------------------------------------- */

static int compile_text(
    struct feed *feed, const char *text, size_t len, struct match_table **ret, struct error *err)
{
    struct table table;
    int r = table_read(text, len, &table, err);
    if (r < 0)
        return r;
    r = routerd_compile(feed->routerd, &table, ret, err);
    table_clear(&table);
    return r;
}

static int load(struct feed *feed, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct match_table *table;
    int r = statefile_read(feed->path, FEED_TABLE_MAX, &text, err);
    if (r < 0)
        return r;
    r = compile_text(feed, strbuf_str(&text), text.len, &table, err);
    if (r < 0)
        return error_prefix(err, "%s", feed->path);
    log_info(NULL, "%s: epoch %" PRId64 ", routes %u, services %u", feed->path, table->epoch, table->n_routes,
        table->n_services);
    routerd_serve(feed->routerd, table, NULL, NULL);
    return 0;
}

/* --- a watched file -------------------------------------------------------------------------------------- */

void feed_reload(struct feed *feed)
{
    struct error err;
    if (!feed->watches)
        return;
    if (load(feed, &err) >= 0) {
        str_set(&feed->refused, NULL);
        return;
    }
    if (!feed->refused || strcmp(feed->refused, err.text) != 0)
        log_error(NULL, "%s; the table in place stays", err.text);
    str_set(&feed->refused, err.text);
}

static void on_settled(void *arg)
{
    feed_reload(arg);
}

static bool names_file(const struct feed *feed, const char *data, ssize_t len)
{
    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= len;) {
        struct inotify_event event;
        memcpy(&event, data + at, sizeof(event));
        if (event.len > 0 && strcmp(data + at + (ssize_t)sizeof(event), feed->file_name) == 0)
            return true;
        at += (ssize_t)(sizeof(event) + event.len);
    }
    return false;
}

static void on_inotify(unsigned ready, void *arg)
{
    struct feed *feed = arg;
    char data[4096];
    ssize_t n = read(feed->inotify_fd, data, sizeof(data));
    if (n > 0 && names_file(feed, data, n))
        timer_set(&feed->settle, FEED_SETTLE_MS);
}

/* The folder is watched: an editor or `mv` puts a new file in the old one's place. */
static int watch(struct feed *feed, struct error *err)
{
    const char *slash = strrchr(feed->path, '/');
    _cleanup_(free_ptr) char *folder =
        slash ? xstrndup(feed->path, slash == feed->path ? 1 : (size_t)(slash - feed->path)) : xstrdup(".");
    feed->file_name = xstrdup(slash ? slash + 1 : feed->path);
    feed->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (feed->inotify_fd < 0 ||
        inotify_add_watch(feed->inotify_fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0)
        return error_set_errno(err, -errno, "can't watch %s", folder);
    feed->inotify = io_new(feed->routerd->loop, feed->inotify_fd, IO_READ, on_inotify, feed);
    return 0;
}

/* --- what the hub commits -------------------------------------------------------------------------------- */

static void drop_next(struct feed *feed)
{
    routerd_drop(feed->routerd, steal_ptr(feed->next));
}

/* A switch that is answered must be there after a power cut. That the rename itself is done can't be undone here, so a
 * failure is no refusal. */
static void sync_folder(const char *path)
{
    _cleanup_(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        log_warning(NULL, "can't sync %s: %s", path, strerror(errno));
}

int feed_prepare(struct feed *feed, int64_t epoch, const char *text, size_t len, struct error *err)
{
    struct match_table *table;
    int r = compile_text(feed, text, len, &table, err);
    if (r < 0)
        return r;
    if (table->epoch != epoch) {
        r = error_set(
            err, -EINVAL, "the table says epoch %" PRId64 ", the message %" PRId64, table->epoch, epoch);
        routerd_drop(feed->routerd, table);
        return r;
    }
    r = statefile_write(feed->next_path, text, len, 0640, err);
    if (r < 0) {
        routerd_drop(feed->routerd, table);
        return r;
    }
    drop_next(feed);
    feed->next = table;
    return 0;
}

int feed_check_prepared(struct feed *feed, int64_t epoch, struct error *err)
{
    if (feed->next && feed->next->epoch == epoch)
        return 0;
    return error_set(err, -ENOENT, "epoch %" PRId64 " is not prepared here", epoch);
}

int feed_commit(struct feed *feed, int64_t epoch, void (*fn)(void *arg), void *arg, struct error *err)
{
    struct routerd *routerd = feed->routerd;
    if (!feed->next && routerd->table && routerd->table->epoch == epoch && epoch > 0) {
        fn(arg);
        return 0;
    }
    int r = feed_check_prepared(feed, epoch, err);
    if (r < 0)
        return r;
    if (rename(feed->next_path, feed->path) < 0)
        return error_set_errno(err, -errno, "can't rename %s", feed->next_path);
    sync_folder(routerd->settings.state_directory);
    log_info(NULL, "epoch %" PRId64 ": routes %u, services %u", epoch, feed->next->n_routes,
        feed->next->n_services);
    routerd_serve(routerd, steal_ptr(feed->next), fn, arg);
    return 0;
}

void feed_abort(struct feed *feed)
{
    struct error err;
    if (!feed->next)
        return;
    drop_next(feed);
    if (statefile_remove(feed->next_path, &err) < 0)
        log_warning(NULL, "%s", err.text);
}

/* --- life ------------------------------------------------------------------------------------------------ */

static int start(struct feed *feed, struct error *err)
{
    if (feed->watches) {
        int r = load(feed, err);
        return r < 0 ? r : watch(feed, err);
    }
    struct error why;
    /* What was prepared and not decided when we ended is not known to be decided now. */
    if (unlink(feed->next_path) < 0 && errno != ENOENT)
        log_warning(NULL, "can't remove %s: %s", feed->next_path, strerror(errno));
    int r = load(feed, &why);
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
    feed->inotify_fd = -1;
    feed->watches = routerd->settings.table != NULL;
    feed->path = feed->watches ? xstrdup(routerd->settings.table)
                               : xasprintf("%s/table.json", routerd->settings.state_directory);
    feed->next_path = xasprintf("%s/table.next", routerd->settings.state_directory);
    timer_init(&feed->settle, routerd->loop, on_settled, feed);
    int r = start(feed, err);
    if (r < 0) {
        feed_free(feed);
        return r;
    }
    *ret = feed;
    return 0;
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    drop_next(feed);
    timer_done(&feed->settle);
    io_free(feed->inotify);
    close_fd(&feed->inotify_fd);
    free(feed->file_name);
    free(feed->refused);
    free(feed->path);
    free(feed->next_path);
    free(feed);
}
