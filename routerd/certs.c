/* SPDX-License-Identifier: MIT */
#include "routerd/certs.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/tls_certificate.h"
#include "common/tls_public.h"
#include "routerd/cert_source.h"

#define WATCH_EVENTS                                                                                 \
    (IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR | \
        IN_MOVE_SELF | IN_DELETE_SELF)

enum { ECDSA, RSA, N_KINDS };

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
    struct cert_source **sources; /* by label */
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

static const struct cert_source *fallback_of(const struct certs *certs)
{
    for (size_t i = 0; i < certs->n_sources; i++) {
        const struct cert_source *s = certs->sources[i];
        if (s->certificate && (!certs->fallback || strcmp(s->label, certs->fallback) == 0))
            return s;
    }
    return NULL;
}

static void publish(struct certs *certs)
{
    struct index *index = xcalloc(1, sizeof(*index)), *old = certs->index;
    const struct cert_source *fallback = fallback_of(certs);
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
    return strcmp(key, (*(struct cert_source *const *)item)->label);
}

static int compare_sources(const void *a, const void *b)
{
    return strcmp((*(struct cert_source *const *)a)->label, (*(struct cert_source *const *)b)->label);
}

/* n_old: those that are sorted; behind them stand the new ones of this look. */
static struct cert_source *old_source(struct certs *certs, size_t n_old, const char *label)
{
    struct cert_source **found = n_old == 0
        ? NULL
        : bsearch(label, certs->sources, n_old, sizeof(struct cert_source *), compare_label);
    return found ? *found : NULL;
}

static struct cert_source *find_source(struct certs *certs, size_t n_old, const char *label)
{
    struct cert_source *s = old_source(certs, n_old, label);
    if (s)
        return s;
    s = cert_source_new(label);
    certs->sources =
        xgrow(certs->sources, certs->n_sources, &certs->sources_cap, sizeof(struct cert_source *));
    certs->sources[certs->n_sources++] = s;
    return s;
}

/* What one entry of the directory is. NULL: nothing of ours. */
static struct cert_source *entry_source(struct certs *certs, size_t n_old, const char *name)
{
    const char *dot = strrchr(name, '.');
    bool is_pem = dot && strcmp(dot, ".pem") == 0, is_crt = dot && strcmp(dot, ".crt") == 0;
    if (name[0] == '.' || strlen(name) > CERTS_LABEL_MAX)
        return NULL;
    _cleanup_(free_ptr) char *folder = xasprintf("%s/%s", certs->directory, name);
    _cleanup_(free_ptr) char *chain = xasprintf("%s/fullchain.pem", folder);
    int error = access(chain, F_OK) < 0 ? errno : 0;
    struct cert_source *old = old_source(certs, n_old, name);
    if (old && error != 0 && !cert_source_is_gone(error))
        return old;
    if (error == 0) {
        struct cert_source *s = find_source(certs, n_old, name);
        cert_source_set_path(s, CERT_CHAIN, folder, "fullchain", ".pem");
        cert_source_set_path(s, CERT_KEY, folder, "privkey", ".pem");
        cert_source_set_path(s, CERT_STAPLE, folder, "ocsp", ".der");
        return s;
    }
    if (!is_pem && !is_crt)
        return NULL;
    _cleanup_(free_ptr) char *stem = xstrndup(name, (size_t)(dot - name));
    struct cert_source *s = find_source(certs, n_old, name);
    cert_source_set_path(s, CERT_CHAIN, certs->directory, name, "");
    cert_source_set_path(s, CERT_KEY, certs->directory, is_crt ? stem : NULL, ".key");
    cert_source_set_path(s, CERT_STAPLE, certs->directory, stem, ".ocsp");
    return s;
}

static bool drop_unseen(struct certs *certs)
{
    size_t kept = 0;
    for (size_t i = 0; i < certs->n_sources; i++) {
        struct cert_source *s = certs->sources[i];
        if (s->seen) {
            certs->sources[kept++] = s;
            continue;
        }
        log_info(NULL, "certificate %s: gone", s->label);
        cert_source_free(s);
    }
    bool dropped = kept < certs->n_sources;
    certs->n_sources = kept;
    return dropped;
}

static bool read_entry(struct certs *certs, size_t n_old, const struct dirent *d)
{
    if (d->d_name[0] != '.' && (d->d_type == DT_DIR || d->d_type == DT_LNK || d->d_type == DT_UNKNOWN))
        watch_folder(certs, d->d_name);
    struct cert_source *s = entry_source(certs, n_old, d->d_name);
    if (!s)
        return false;
    s->seen = true;
    if (!cert_source_take_marks(s))
        return false;
    /* When the directory is read for the first time, what is fine goes without saying. */
    cert_source_reload(s, certs->index != NULL, loop_wall(certs->loop));
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
        qsort(certs->sources, certs->n_sources, sizeof(struct cert_source *), compare_sources);
    return changed;
}

/* Once a day for each; of many at once the first ones by name. */
static void warn_of_ends(struct certs *certs)
{
    wall_t now = loop_wall(certs->loop);
    size_t n = 0;
    for (size_t i = 0; i < certs->n_sources; i++) {
        struct cert_source *s = certs->sources[i];
        int64_t left_ms = s->certificate ? wall_diff_ms(tls_certificate_expires(s->certificate), now) : 0;
        if (!s->certificate || left_ms > CERTS_WARN_DAYS * CERTS_DAY_MS ||
            wall_diff_ms(now, s->warned) < CERTS_DAY_MS)
            continue;
        s->warned = now;
        if (n++ < CERTS_WARNINGS)
            cert_source_warn(s, now);
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
        cert_source_free(certs->sources[i]);
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
