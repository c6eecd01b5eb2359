/* SPDX-License-Identifier: MIT */
#include "routerd/certs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/tls_certificate.h"
#include "common/tls_public.h"

#define DAY_MS INT64_C(86400000)
#define WATCH_EVENTS                                                                                 \
    (IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR | \
        IN_MOVE_SELF | IN_DELETE_SELF)

enum { ECDSA, RSA, N_KINDS };

/* What of a file tells that it is another one now. */
struct mark {
    bool there;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed;
};

enum { CHAIN, KEY, STAPLE, N_FILES };

struct source {
    char *label;
    char *paths[N_FILES]; /* key: NULL if it is in the chain's file */
    struct mark marks[N_FILES];
    struct tls_certificate *certificate; /* NULL: none yet */
    char *problem;                       /* with what lies there now */
    wall_t warned;
    bool seen;
};

/* Names to certificates, as workers look them up. Replaced whole. */
struct entry {
    struct tls_certificate *certificates[N_KINDS];
};

struct index {
    struct map *names; /* struct entry, which count */
    struct entry fallback;
};

struct certs {
    struct loop *loop;
    char *directory, *fallback;
    bool strict, told_empty;
    struct source **sources; /* by label */
    size_t n_sources, sources_cap;
    char *unreadable; /* why the directory can't be used; NULL: it can */
    int notify_fd, watched;
    struct io *notify;
    struct timer settle, look;
    pthread_rwlock_t lock; /* of the index */
    struct index *index;
};

/* --- the index ----------------------------------------------------------------------------------------------- */

static void entry_drop(void *value)
{
    struct entry *e = value;
    for (int i = 0; i < N_KINDS; i++)
        tls_certificate_unref(e->certificates[i]);
    free(e);
}

static void index_free(struct index *index)
{
    if (!index)
        return;
    for (int i = 0; i < N_KINDS; i++)
        tls_certificate_unref(index->fallback.certificates[i]);
    map_free(index->names);
    free(index);
}

/* Of two of one kind for one name the one that lasts longer is shown. */
static void entry_put(struct entry *e, struct tls_certificate *c)
{
    struct tls_certificate **slot = &e->certificates[tls_certificate_is_rsa(c) ? RSA : ECDSA];
    if (*slot && tls_certificate_expires(*slot).us >= tls_certificate_expires(c).us)
        return;
    tls_certificate_unref(*slot);
    *slot = tls_certificate_ref(c);
}

static void index_add(struct index *index, struct tls_certificate *c)
{
    size_t n;
    const char *const *names = tls_certificate_names(c, &n);
    for (size_t i = 0; i < n; i++) {
        struct entry *e = map_get(index->names, names[i]);
        if (!e)
            map_set(index->names, names[i], e = xcalloc(1, sizeof(*e)));
        entry_put(e, c);
    }
}

static const struct entry *index_find(const struct index *index, const char *name, size_t len)
{
    char key[TLS_NAME_MAX + 1];
    if (len == 0 || len > TLS_NAME_MAX)
        return NULL;
    memcpy(key, name, len);
    key[len] = '\0';
    const struct entry *e = map_get(index->names, key);
    char *dot = e ? NULL : strchr(key, '.');
    if (!dot || dot == key)
        return e;
    *--dot = '*';
    return map_get(index->names, dot);
}

static bool entry_give(const struct entry *e, struct tls_certificate *ret[2])
{
    int n = 0;
    for (int i = 0; e && i < N_KINDS; i++) {
        if (e->certificates[i])
            ret[n++] = tls_certificate_ref(e->certificates[i]);
    }
    return n > 0;
}

bool certs_choose(struct certs *certs, const char *name, size_t len, struct tls_certificate *ret[2])
{
    pthread_rwlock_rdlock(&certs->lock);
    const struct entry *e = index_find(certs->index, name, len);
    if (!e && (len == 0 || !certs->strict))
        e = &certs->index->fallback;
    bool found = entry_give(e, ret);
    pthread_rwlock_unlock(&certs->lock);
    return found;
}

static const struct source *fallback_of(const struct certs *certs)
{
    for (size_t i = 0; i < certs->n_sources; i++) {
        const struct source *s = certs->sources[i];
        if (s->certificate && (!certs->fallback || strcmp(s->label, certs->fallback) == 0))
            return s;
    }
    return NULL;
}

static void publish(struct certs *certs)
{
    struct index *index = xcalloc(1, sizeof(*index)), *old = certs->index;
    const struct source *fallback = fallback_of(certs);
    index->names = map_new(entry_drop);
    for (size_t i = 0; i < certs->n_sources; i++) {
        if (certs->sources[i]->certificate)
            index_add(index, certs->sources[i]->certificate);
    }
    if (fallback) {
        size_t n;
        const char *const *names = tls_certificate_names(fallback->certificate, &n);
        /* The other kind comes with it, if there is one for the same name. */
        const struct entry *e = map_get(index->names, names[0]);
        for (int i = 0; i < N_KINDS; i++)
            index->fallback.certificates[i] = tls_certificate_ref(e->certificates[i]);
    }
    pthread_rwlock_wrlock(&certs->lock);
    certs->index = index;
    pthread_rwlock_unlock(&certs->lock);
    index_free(old);
}

/* --- one certificate ----------------------------------------------------------------------------------------- */

/* Anything else that keeps a file from being read tells nothing about whether it is there. */
static bool is_gone(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

static struct mark mark_of(const char *path)
{
    struct stat st;
    struct mark m;
    memset(&m, 0, sizeof(m)); /* padding too: marks are compared as bytes */
    if (!path)
        return m;
    if (stat(path, &st) < 0) {
        m.there = !is_gone(errno);
        return m;
    }
    m.there = true;
    m.device = st.st_dev;
    m.inode = st.st_ino;
    m.size = st.st_size;
    m.written = st.st_mtim;
    m.changed = st.st_ctim;
    return m;
}

/* True: something about its files is new. */
static bool take_marks(struct source *s)
{
    bool changed = false;
    for (int i = 0; i < N_FILES; i++) {
        struct mark m = mark_of(s->paths[i]);
        changed |= memcmp(&m, &s->marks[i], sizeof(m)) != 0;
        memcpy(&s->marks[i], &m, sizeof(m));
    }
    return changed;
}

static void wipe(struct strbuf *text)
{
    if (text->data)
        explicit_bzero(text->data, text->len);
    strbuf_done(text);
}

static int staple(struct source *s, struct tls_certificate *c, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf der = STRBUF_INIT;
    if (!s->marks[STAPLE].there)
        return 0;
    int r = statefile_read(s->paths[STAPLE], TLS_STAPLE_MAX, &der, err);
    if (r == 0)
        r = tls_certificate_staple(c, der.data, der.len, clock_wall(), err);
    return r < 0 ? error_prefix(err, "%s", s->paths[STAPLE]) : 0;
}

static int load(struct source *s, struct tls_certificate **ret, struct error *err)
{
    _cleanup_(wipe) struct strbuf chain = STRBUF_INIT, key = STRBUF_INIT;
    int r = statefile_read(s->paths[CHAIN], CERTS_FILE_MAX, &chain, err);
    if (r == 0 && s->paths[KEY])
        r = statefile_read(s->paths[KEY], CERTS_FILE_MAX, &key, err);
    if (r < 0)
        return r;
    return tls_certificate_new(strbuf_str(&chain), strbuf_str(s->paths[KEY] ? &key : &chain), ret, err);
}

static void say_problem(struct source *s, const struct error *err, const char *rest)
{
    if (!s->problem || strcmp(s->problem, err->text) != 0)
        log_warning(NULL, "certificate %s: %s; %s", s->label, err->text, rest);
    str_set(&s->problem, err->text);
}

/* A response that is half-written or can't be read does not push out one that is good; one that says "revoked" does. */
static void staple_or_keep(struct source *s, struct tls_certificate *c)
{
    struct error err;
    int r = staple(s, c, &err);
    if (r == 0) {
        str_set(&s->problem, NULL);
        return;
    }
    bool kept =
        r != -EKEYREVOKED && s->certificate && tls_certificate_keep_staple(c, s->certificate, clock_wall());
    say_problem(s, &err, kept ? "the OCSP response in place stays" : "it is shown without an OCSP response");
}

/* "21 Nov 2026"; buf of CLOCK_STAMP_MAX bytes. */
static const char *format_date(wall_t t, char *buf)
{
    wall_format_http(t, buf);
    buf[strlen("Sat, 21 Nov 2026")] = '\0';
    return buf + strlen("Sat, ");
}

static void say_taken(struct source *s, const char *how, wall_t end, wall_t now)
{
    char date[CLOCK_STAMP_MAX];
    if (end.us > now.us) {
        log_info(NULL, "certificate %s: %s", s->label, how);
        return;
    }
    log_warning(NULL, "certificate %s: %s, but expired on %s: clients will refuse it", s->label, how,
        format_date(end, date));
    s->warned = now;
}

static void reload(struct certs *certs, struct source *s)
{
    struct tls_certificate *c;
    struct error err;
    if (load(s, &c, &err) < 0) {
        say_problem(s, &err, s->certificate ? "the one in place stays" : "it is not shown to anybody");
        return;
    }
    staple_or_keep(s, c);
    s->warned = (wall_t){ 0 };
    /* When the directory is read for the first time, what is fine goes without saying. */
    if (certs->index)
        say_taken(s, s->certificate ? "replaced" : "new", tls_certificate_expires(c), loop_wall(certs->loop));
    tls_certificate_unref(s->certificate);
    s->certificate = c;
}

static void source_free(struct source *s)
{
    for (int i = 0; i < N_FILES; i++)
        free(s->paths[i]);
    tls_certificate_unref(s->certificate);
    free(s->problem);
    free(s->label);
    free(s);
}

/* --- notices ------------------------------------------------------------------------------------------------- */

static void on_notice(unsigned ready, void *arg)
{
    struct certs *certs = arg;
    _Alignas(struct inotify_event) char events[4096];
    /* Which file it was does not matter: the marks tell. */
    while (read(certs->notify_fd, events, sizeof(events)) > 0)
        ;
    if (!timer_is_set(&certs->settle))
        timer_set(&certs->settle, CERTS_SETTLE_MS);
}

static void notices_init(struct certs *certs)
{
    certs->watched = -1;
    certs->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (certs->notify_fd >= 0)
        certs->notify = io_new(certs->loop, certs->notify_fd, IO_READ, on_notice, certs);
}

static void notices_done(struct certs *certs)
{
    io_free(certs->notify);
    certs->notify = NULL;
    close_fd(&certs->notify_fd);
}

static int watch(struct certs *certs, const char *path)
{
    return certs->notify_fd < 0 ? -1 : inotify_add_watch(certs->notify_fd, path, WATCH_EVENTS);
}

/* Before its files are read, so that no change in between is missed. */
static void watch_directory(struct certs *certs)
{
    int id = watch(certs, certs->directory);
    if (id >= 0 && certs->watched >= 0 && id != certs->watched) {
        /* Another directory lies there now; what happens in the one before and its folders is no news. */
        notices_done(certs);
        notices_init(certs);
        id = watch(certs, certs->directory);
    }
    if (id >= 0)
        certs->watched = id;
}

static void watch_folder(struct certs *certs, const char *name)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", certs->directory, name);
    (void)watch(certs, path);
}

/* --- the directory ------------------------------------------------------------------------------------------- */

static int compare_label(const void *key, const void *item)
{
    return strcmp(key, (*(struct source *const *)item)->label);
}

static int compare_sources(const void *a, const void *b)
{
    return strcmp((*(struct source *const *)a)->label, (*(struct source *const *)b)->label);
}

/* n_old: those that are sorted; behind them stand the new ones of this look. */
static struct source *old_source(struct certs *certs, size_t n_old, const char *label)
{
    struct source **found =
        n_old == 0 ? NULL : bsearch(label, certs->sources, n_old, sizeof(struct source *), compare_label);
    return found ? *found : NULL;
}

static struct source *find_source(struct certs *certs, size_t n_old, const char *label)
{
    struct source *s = old_source(certs, n_old, label);
    if (s)
        return s;
    s = xcalloc(1, sizeof(*s));
    memset(s->marks, 0, sizeof(s->marks));
    s->label = xstrdup(label);
    certs->sources = xgrow(certs->sources, certs->n_sources, &certs->sources_cap, sizeof(struct source *));
    certs->sources[certs->n_sources++] = s;
    return s;
}

static void set_path(struct source *s, int which, const char *directory, const char *name, const char *ending)
{
    _cleanup_(free_ptr) char *path = name ? xasprintf("%s/%s%s", directory, name, ending) : NULL;
    str_set(&s->paths[which], path);
}

/* What one entry of the directory is. NULL: nothing of ours. */
static struct source *entry_source(struct certs *certs, size_t n_old, const char *name)
{
    const char *dot = strrchr(name, '.');
    bool is_pem = dot && strcmp(dot, ".pem") == 0, is_crt = dot && strcmp(dot, ".crt") == 0;
    if (name[0] == '.' || strlen(name) > CERTS_LABEL_MAX)
        return NULL;
    _cleanup_(free_ptr) char *folder = xasprintf("%s/%s", certs->directory, name);
    _cleanup_(free_ptr) char *chain = xasprintf("%s/fullchain.pem", folder);
    int error = access(chain, F_OK) < 0 ? errno : 0;
    struct source *old = old_source(certs, n_old, name);
    if (old && error != 0 && !is_gone(error))
        return old;
    if (error == 0) {
        struct source *s = find_source(certs, n_old, name);
        set_path(s, CHAIN, folder, "fullchain", ".pem");
        set_path(s, KEY, folder, "privkey", ".pem");
        set_path(s, STAPLE, folder, "ocsp", ".der");
        return s;
    }
    if (!is_pem && !is_crt)
        return NULL;
    _cleanup_(free_ptr) char *stem = xstrndup(name, (size_t)(dot - name));
    struct source *s = find_source(certs, n_old, name);
    set_path(s, CHAIN, certs->directory, name, "");
    set_path(s, KEY, certs->directory, is_crt ? stem : NULL, ".key");
    set_path(s, STAPLE, certs->directory, stem, ".ocsp");
    return s;
}

static bool drop_unseen(struct certs *certs)
{
    size_t kept = 0;
    for (size_t i = 0; i < certs->n_sources; i++) {
        struct source *s = certs->sources[i];
        if (s->seen) {
            certs->sources[kept++] = s;
            continue;
        }
        log_info(NULL, "certificate %s: gone", s->label);
        source_free(s);
    }
    bool dropped = kept < certs->n_sources;
    certs->n_sources = kept;
    return dropped;
}

static bool read_entry(struct certs *certs, size_t n_old, const struct dirent *d)
{
    if (d->d_name[0] != '.' && (d->d_type == DT_DIR || d->d_type == DT_LNK || d->d_type == DT_UNKNOWN))
        watch_folder(certs, d->d_name);
    struct source *s = entry_source(certs, n_old, d->d_name);
    if (!s)
        return false;
    s->seen = true;
    if (!take_marks(s))
        return false;
    reload(certs, s);
    return true;
}

/* 0: it lies where it lay when it was opened, so that what was not seen in it is gone. */
static int check_place(const struct certs *certs, DIR *dir)
{
    struct stat opened, now;
    if (fstat(dirfd(dir), &opened) < 0 || stat(certs->directory, &now) < 0)
        return errno;
    return opened.st_dev == now.st_dev && opened.st_ino == now.st_ino ? 0 : ESTALE;
}

/* What is in place stays: it is not gone, only out of sight. */
static void set_unreadable(struct certs *certs, int error)
{
    const char *why = error == 0 ? NULL : strerror(error);
    if (!why && certs->unreadable)
        log_info(NULL, "%s can be read again", certs->directory);
    else if (why && (!certs->unreadable || strcmp(why, certs->unreadable) != 0))
        log_warning(NULL, "can't read %s: %s%s", certs->directory, why,
            certs->n_sources > 0 ? "; what was read before stays" : "");
    str_set(&certs->unreadable, why);
}

/* True: something changed. */
static bool read_directory(struct certs *certs)
{
    size_t n_old = certs->n_sources;
    bool changed = false;
    watch_directory(certs);
    DIR *dir = opendir(certs->directory);
    if (!dir) {
        set_unreadable(certs, errno);
        return false;
    }
    for (size_t i = 0; i < n_old; i++)
        certs->sources[i]->seen = false;
    struct dirent *d;
    for (errno = 0; (d = readdir(dir)); errno = 0)
        changed |= read_entry(certs, n_old, d);
    set_unreadable(certs, errno != 0 ? errno : check_place(certs, dir));
    closedir(dir);
    if (!certs->unreadable)
        changed |= drop_unseen(certs);
    if (certs->n_sources > 1)
        qsort(certs->sources, certs->n_sources, sizeof(struct source *), compare_sources);
    return changed;
}

/* Once a day for each; of many at once the first ones by name. */
static void warn_of_ends(struct certs *certs)
{
    wall_t now = loop_wall(certs->loop);
    char date[CLOCK_STAMP_MAX];
    size_t n = 0;
    for (size_t i = 0; i < certs->n_sources; i++) {
        struct source *s = certs->sources[i];
        int64_t left_ms = s->certificate ? wall_diff_ms(tls_certificate_expires(s->certificate), now) : 0;
        if (!s->certificate || left_ms > CERTS_WARN_DAYS * DAY_MS || wall_diff_ms(now, s->warned) < DAY_MS)
            continue;
        s->warned = now;
        if (n++ >= CERTS_WARNINGS)
            continue;
        if (left_ms <= 0)
            log_warning(NULL, "certificate %s: expired on %s: clients refuse it", s->label,
                format_date(tls_certificate_expires(s->certificate), date));
        else
            log_warning(NULL, "certificate %s: ends in %" PRId64 " days", s->label, left_ms / DAY_MS);
    }
    if (n > CERTS_WARNINGS)
        log_warning(NULL, "%zu more certificates end within %d days", n - CERTS_WARNINGS, CERTS_WARN_DAYS);
}

static void warn_of_nothing(struct certs *certs)
{
    bool empty = fallback_of(certs) == NULL;
    if (empty && !certs->told_empty && certs->fallback && certs_count(certs) > 0)
        log_warning(NULL, "no certificate %s in %s: clients that ask for no name are refused",
            certs->fallback, certs->directory);
    else if (empty && !certs->told_empty)
        log_warning(
            NULL, "no certificate in %s: TLS connections are refused until there is one", certs->directory);
    certs->told_empty = empty;
}

void certs_look(struct certs *certs)
{
    bool first = !certs->index;
    if (read_directory(certs) || first) {
        publish(certs);
        log_info(NULL, "certificates in %s: %zu", certs->directory, certs_count(certs));
    }
    warn_of_nothing(certs);
    warn_of_ends(certs);
    timer_clear(&certs->settle);
    timer_set(&certs->look, certs->unreadable ? CERTS_UNREADABLE_MS : CERTS_LOOK_MS);
}

static void on_look(void *arg)
{
    certs_look(arg);
}

/* --- life ---------------------------------------------------------------------------------------------------- */

struct certs *certs_new(struct loop *loop, const char *directory, const char *fallback, bool strict)
{
    struct certs *certs = xcalloc(1, sizeof(*certs));
    certs->loop = loop;
    certs->directory = xstrdup(directory);
    certs->fallback = xstrdup(fallback);
    certs->strict = strict;
    pthread_rwlock_init(&certs->lock, NULL);
    timer_init(&certs->settle, loop, on_look, certs);
    timer_init(&certs->look, loop, on_look, certs);
    notices_init(certs);
    certs_look(certs);
    return certs;
}

void certs_free(struct certs *certs)
{
    if (!certs)
        return;
    timer_done(&certs->settle);
    timer_done(&certs->look);
    notices_done(certs);
    index_free(certs->index);
    for (size_t i = 0; i < certs->n_sources; i++)
        source_free(certs->sources[i]);
    pthread_rwlock_destroy(&certs->lock);
    free(certs->sources);
    free(certs->unreadable);
    free(certs->directory);
    free(certs->fallback);
    free(certs);
}

void certs_each(const struct certs *certs, certs_fn fn, void *arg)
{
    for (size_t i = 0; i < certs->n_sources; i++)
        fn(arg, certs->sources[i]->label, certs->sources[i]->certificate, certs->sources[i]->problem);
}

size_t certs_count(const struct certs *certs)
{
    size_t n = 0;
    for (size_t i = 0; i < certs->n_sources; i++)
        n += certs->sources[i]->certificate != NULL;
    return n;
}
