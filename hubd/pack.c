/* SPDX-License-Identifier: MIT */
#include "hubd/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/child.h"
#include "common/gitwork.h"
#include "common/http1.h"
#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/enroll.h"
#include "hubd/http_conn.h"
#include "hubd/http_routes.h"
#include "hubd/hubd.h"
#include "hubd/repo.h"

#define STDERR_KEPT 1024

enum pack_state { PACK_WAITING, PACK_MAKING, PACK_READY };

/* One file of the cache. A failed one is dropped at once, so that the next request tries again. */
struct pack {
    struct list of_packs; /* in order of use, the newest last */
    struct packs *packs;
    enum pack_state state;
    char *key, *app, *commit, *base, *path;
    int64_t size;
    int fd; /* being written */
    int write_error;
    struct gitwork *work;
    struct child *child;
    struct strbuf said;
    struct list transfers; /* that wait for it */
};

/* One drone's request. */
struct transfer {
    struct list of_pack; /* pack->transfers, packs->queue or packs->running */
    struct packs *packs;
    struct http_conn *conn;
    struct pack *pack; /* weak: while it waits for it */
    char *path;
    int fd;
    int64_t size, sent;
    bool running;
};

struct packs {
    struct hubd *hub;
    char *directory;
    struct map *by_key;
    struct list packs;
    struct list queue; /* transfers ready to go */
    struct list running;
    size_t n_waiting, n_running, n_making;
    int64_t bytes;
    struct timer turn;
};

static void make_next(struct packs *packs);

/* --- serving ----------------------------------------------------------------------------------------------------- */

static void transfer_free(void *obj)
{
    struct transfer *transfer = obj;
    close_fd(&transfer->fd);
    free(transfer->path);
    free(transfer);
}

static void on_transfer_gone(void *arg)
{
    struct transfer *transfer = arg;
    struct packs *packs = transfer->packs;
    list_remove(&transfer->of_pack);
    if (transfer->running)
        packs->n_running--;
    else
        packs->n_waiting--;
    timer_set(&packs->turn, 0);
    loop_free_later(packs->hub->loop, transfer, transfer_free);
}

static void send_more(void *arg)
{
    static char block[PACK_CHUNK];
    struct transfer *transfer = arg;
    if (!transfer->running)
        return;
    while (transfer->sent < transfer->size) {
        int64_t left = transfer->size - transfer->sent;
        ssize_t n = pread(transfer->fd, block, left < PACK_CHUNK ? (size_t)left : PACK_CHUNK, transfer->sent);
        if (n <= 0) {
            log_error(
                NULL, "can't read %s: %s", transfer->path, n < 0 ? strerror(errno) : "it became shorter");
            http_answer_abort(transfer->conn);
            return;
        }
        transfer->sent += n;
        if (!http_answer_data(transfer->conn, block, (size_t)n))
            break;
    }
    if (transfer->sent == transfer->size)
        http_answer_end(transfer->conn);
}

static const struct http_handler transfer_handler = { .on_room = send_more, .on_gone = on_transfer_gone };

static void transfer_start(struct transfer *transfer)
{
    struct packs *packs = transfer->packs;
    list_remove(&transfer->of_pack);
    list_append(&packs->running, &transfer->of_pack);
    packs->n_waiting--;
    packs->n_running++;
    transfer->running = true;
    http_answer_begin(transfer->conn, 200, "application/x-git-pack", transfer->size);
    send_more(transfer);
}

static void on_turn(void *arg)
{
    struct packs *packs = arg;
    while (packs->n_running < PACK_TRANSFERS_MAX && !list_empty(&packs->queue))
        transfer_start(list_first(&packs->queue, struct transfer, of_pack));
    make_next(packs);
}

/* The file stays open: it may leave the cache while it is sent. */
static void transfer_ready(struct transfer *transfer, const struct pack *pack)
{
    transfer->pack = NULL;
    transfer->size = pack->size;
    transfer->path = xstrdup(pack->path);
    transfer->fd = open(pack->path, O_RDONLY | O_CLOEXEC);
    list_remove(&transfer->of_pack);
    if (transfer->fd < 0) {
        log_error(NULL, "can't open %s: %s", pack->path, strerror(errno));
        http_answer(transfer->conn, 503, "Retry-After: 1\r\n", "the hub lost the pack; ask again\n");
        return;
    }
    list_append(&transfer->packs->queue, &transfer->of_pack);
    timer_set(&transfer->packs->turn, 0);
}

/* --- making ---------------------------------------------------------------------------------------------------------- */

static void pack_free(void *obj)
{
    struct pack *pack = obj;
    list_remove(&pack->of_packs);
    gitwork_free(pack->work);
    child_free(pack->child);
    close_fd(&pack->fd);
    strbuf_done(&pack->said);
    free(pack->key);
    free(pack->app);
    free(pack->commit);
    free(pack->base);
    free(pack->path);
    free(pack);
}

static void forget(struct pack *pack)
{
    struct packs *packs = pack->packs;
    map_steal(packs->by_key, pack->key);
    list_remove(&pack->of_packs);
    unlink(pack->path);
    packs->bytes -= pack->size;
    loop_free_later(packs->hub->loop, pack, pack_free);
}

static void fail(struct pack *pack, int status, const char *reason)
{
    _cleanup_(free_ptr) char *text = xasprintf("%s\n", reason);
    pack->packs->n_making--;
    log_warning(
        &(struct log_about){ .app = pack->app }, "no pack of %s %.8s: %s", pack->app, pack->commit, reason);
    while (!list_empty(&pack->transfers)) {
        struct transfer *transfer = list_first(&pack->transfers, struct transfer, of_pack);
        list_remove(&transfer->of_pack);
        http_answer(transfer->conn, status, NULL, text);
    }
    timer_set(&pack->packs->turn, 0);
    forget(pack);
}

static void trim(struct packs *packs)
{
    struct pack *pack, *tmp;
    list_for_each_safe (pack, tmp, &packs->packs, of_packs) {
        if (packs->bytes <= packs->hub->config.pack_cache_bytes)
            return;
        if (pack->state == PACK_READY)
            forget(pack);
    }
}

static void on_pack_output(struct child *child, const char *data, size_t len, void *arg)
{
    struct pack *pack = arg;
    while (len > 0 && pack->write_error == 0) {
        ssize_t n = write(pack->fd, data, len);
        if (n < 0 && errno != EINTR)
            pack->write_error = errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            pack->size += n;
            pack->packs->bytes += n;
        }
    }
    if (pack->write_error != 0)
        child_kill(child, SIGKILL);
}

static void on_pack_stderr(struct child *child, const char *data, size_t len, void *arg)
{
    struct pack *pack = arg;
    size_t room = STDERR_KEPT - pack->said.len;
    strbuf_add(&pack->said, data, len < room ? len : room);
}

static void on_pack_exit(struct child *child, int status, void *arg)
{
    struct pack *pack = arg;
    char text[64];
    if (pack->write_error != 0 || status != 0) {
        _cleanup_(strbuf_done) struct strbuf why = STRBUF_INIT;
        if (pack->write_error != 0) {
            strbuf_addf(&why, "can't write the pack: %s", strerror(pack->write_error));
        } else {
            strbuf_addf(&why, "git pack-objects %s: ", child_status_text(status, text));
            strbuf_add_printable(&why, strbuf_str(&pack->said), pack->said.len, 300);
        }
        fail(pack, 503, strbuf_str(&why));
        return;
    }
    close_fd(&pack->fd);
    pack->state = PACK_READY;
    pack->packs->n_making--;
    while (!list_empty(&pack->transfers))
        transfer_ready(list_first(&pack->transfers, struct transfer, of_pack), pack);
    trim(pack->packs);
    timer_set(&pack->packs->turn, 0);
}

/* Told that the commit is shallow, git leaves out its history, as for a clone of depth 1. */
static int run_git(struct pack *pack, bool has_base, struct error *err)
{
    struct hubd *hub = pack->packs->hub;
    static const char *const words[] = { "--shallow-file", "", "pack-objects", "--revs", "--thin",
        "--shallow", "--stdout", "--delta-base-offset", "-q", NULL };
    _cleanup_(free_ptr) char *path = repo_path(hub->repos, pack->app);
    _cleanup_(free_ptr) char *input = has_base
        ? xasprintf("--shallow %s\n%s\n^%s\n", pack->commit, pack->commit, pack->base)
        : xasprintf("--shallow %s\n%s\n", pack->commit, pack->commit);
    pack->fd = open(pack->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (pack->fd < 0)
        return error_set_errno(err, -errno, "can't write %s", pack->path);
    char **argv = repo_git_argv(hub->repos, path, words), **env = repo_git_env(hub->repos);
    strv_push_take(&env, xasprintf("GIT_DIR=%s", path));
    struct child_spec spec = {
        .argv = (const char *const *)argv,
        .env = (const char *const *)env,
        .stdin_kind = CHILD_STDIN_PIPE,
        .on_stdout = on_pack_output,
        .on_stderr = on_pack_stderr,
        .on_exit = on_pack_exit,
        .arg = pack,
    };
    int r = child_start(hub->loop, &spec, &pack->child, err);
    if (r == 0) {
        child_write(pack->child, input, strlen(input));
        child_close_stdin(pack->child);
    }
    strv_free(argv);
    strv_free(env);
    return r;
}

static void on_has(void *arg, int result, const char *reason, const struct gitwork_row *rows, size_t n_rows)
{
    struct pack *pack = arg;
    struct error err = { 0 };
    bool has_commit = false, has_base = false;
    for (size_t i = 0; i < n_rows; i++) {
        has_commit = has_commit || strcmp(rows[i].commit, pack->commit) == 0;
        has_base = has_base || (pack->base && strcmp(rows[i].commit, pack->base) == 0);
    }
    if (result < 0 || !has_commit) {
        _cleanup_(free_ptr) char *text = result < 0
            ? xstrdup(reason)
            : xasprintf("the source of %s %.8s is missing: push it again", pack->app, pack->commit);
        fail(pack, 404, text);
    } else if (run_git(pack, has_base, &err) < 0) {
        fail(pack, 503, err.text);
    }
}

static void make(struct pack *pack)
{
    struct hubd *hub = pack->packs->hub;
    struct error err = { 0 };
    _cleanup_(free_ptr) char *path = repo_path(hub->repos, pack->app);
    const char *args[] = { "has", path, pack->commit, pack->base, NULL };
    struct gitwork_spec spec = {
        .program = hub->config.gitwork, .args = args, .on_done = on_has, .arg = pack
    };
    pack->state = PACK_MAKING;
    pack->packs->n_making++;
    if (gitwork_start(hub->loop, &spec, &pack->work, &err) < 0)
        fail(pack, 503, err.text);
}

static void make_next(struct packs *packs)
{
    struct pack *pack, *tmp;
    list_for_each_safe (pack, tmp, &packs->packs, of_packs) {
        if (packs->n_making >= PACK_MAKING_MAX)
            return;
        if (pack->state == PACK_WAITING)
            make(pack);
    }
}

/* --- requests ------------------------------------------------------------------------------------------------------------ */

static struct pack *pack_get(struct packs *packs, const char *app, const char *commit, const char *base)
{
    _cleanup_(free_ptr) char *key = xasprintf("%s-%s-%s", app, commit, base ? base : "none");
    struct pack *pack = map_get(packs->by_key, key);
    if (pack) {
        list_remove(&pack->of_packs);
        list_append(&packs->packs, &pack->of_packs);
        return pack;
    }
    pack = xcalloc(1, sizeof(*pack));
    pack->packs = packs;
    pack->fd = -1;
    pack->app = xstrdup(app);
    pack->commit = xstrdup(commit);
    pack->base = xstrdup(base);
    pack->path = xasprintf("%s/%s.pack", packs->directory, key);
    pack->key = steal_ptr(key);
    list_init(&pack->transfers);
    list_append(&packs->packs, &pack->of_packs);
    map_set(packs->by_key, pack->key, pack);
    return pack;
}

/* "/pack/shop/<40 digits>" */
static bool read_path(const struct http1_head *head, char **ret_app, char **ret_commit)
{
    _cleanup_(free_ptr) char *path = xstrndup(head->path.ptr, head->path.len);
    char *app = path + strlen("/pack/"), *slash = strchr(app, '/');
    if (!slash)
        return false;
    *slash = '\0';
    if (!name_is_app(app) || !name_is_commit(slash + 1))
        return false;
    *ret_app = xstrdup(app);
    *ret_commit = xstrdup(slash + 1);
    return true;
}

static bool is_ordered(const struct state *state, const char *host, const char *app, const char *commit)
{
    state_for_each(it, state, STATE_INSTANCE)
    {
        const struct instance *instance = it.value;
        if (strcmp(instance->host, host) == 0 && strcmp(instance->commit, commit) == 0 &&
            strcmp(instance->app, app) == 0)
            return true;
    }
    return false;
}

static int check_drone(struct http_conn *conn, const struct http1_head *head, const char *app,
    const char *commit, struct error *err)
{
    struct enroll_guest who = { 0 };
    int r = http_who(conn, head, &who, err);
    if (r == 0 && (who.role != ROLE_DRONE || !http_conn_peer(conn)->serial))
        r = error_set(err, -EACCES, "packs are for drones, by their certificate");
    else if (r == 0 && !is_ordered(&http_conn_hub(conn)->state, who.name, app, commit))
        r = error_set(err, -EACCES, "nothing of %s %.8s is ordered on %s", app, commit, who.name);
    enroll_guest_done(&who);
    return r;
}

void pack_serve(struct http_conn *conn, const struct http1_head *head)
{
    struct packs *packs = http_conn_hub(conn)->packs;
    struct error err = { 0 };
    _cleanup_(free_ptr) char *app = NULL, *commit = NULL;
    _cleanup_(free_ptr) char *base = http_query(head, "base");
    if (!read_path(head, &app, &commit) || (base && !name_is_commit(base))) {
        http_answer(conn, 404, NULL, "packs are at /pack/APP/COMMIT?base=COMMIT\n");
        return;
    }
    int r = check_drone(conn, head, app, commit, &err);
    if (r == 0 && packs->n_waiting >= PACK_WAITING_MAX)
        r = error_set(&err, -EBUSY, "too many hosts ask for packs at once");
    if (r != 0) {
        http_refuse(conn, r, &err);
        return;
    }
    struct transfer *transfer = xcalloc(1, sizeof(*transfer));
    transfer->packs = packs;
    transfer->conn = conn;
    transfer->fd = -1;
    list_init(&transfer->of_pack);
    packs->n_waiting++;
    http_conn_set_handler(conn, &transfer_handler, transfer);
    struct pack *pack = pack_get(packs, app, commit, base);
    if (pack->state == PACK_READY) {
        transfer_ready(transfer, pack);
        return;
    }
    transfer->pack = pack;
    list_append(&pack->transfers, &transfer->of_pack);
    timer_set(&packs->turn, 0);
}

/* --- life cycle ------------------------------------------------------------------------------------------------------------- */

struct packs *packs_new(struct hubd *hub)
{
    struct packs *packs = xcalloc(1, sizeof(*packs));
    packs->hub = hub;
    packs->directory = xasprintf("%s/packs", hub->config.state_dir);
    packs->by_key = map_new(NULL);
    list_init(&packs->packs);
    list_init(&packs->queue);
    list_init(&packs->running);
    timer_init(&packs->turn, hub->loop, on_turn, packs);
    return packs;
}

int packs_start(struct packs *packs, struct error *err)
{
    int r = statefile_mkdir(packs->directory, 0700, err);
    if (r < 0)
        return r;
    DIR *dir = opendir(packs->directory);
    if (!dir)
        return error_set_errno(err, -errno, "can't read %s", packs->directory);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    return 0;
}

void packs_free(struct packs *packs)
{
    if (!packs)
        return;
    timer_done(&packs->turn);
    while (!list_empty(&packs->packs))
        pack_free(list_first(&packs->packs, struct pack, of_packs));
    map_free(packs->by_key);
    free(packs->directory);
    free(packs);
}
