/* SPDX-License-Identifier: MIT */
#include "routerd/tickets.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/secret.h"

#define EXPORT_FORMAT UINT64_C(0x7374616765746b31)

enum { PREVIOUS, CURRENT, NEXT, N_KEYS };

struct tickets {
    pthread_rwlock_t lock; /* of the keys */
    struct tls_ticket_key keys[N_KEYS];
    wall_t rotated;
    int64_t rotation_ms;
};

struct exported {
    uint64_t format;
    int64_t rotated_us;
    struct tls_ticket_key keys[N_KEYS];
};

struct tickets *tickets_new(int64_t rotation_ms, wall_t now)
{
    struct tickets *t = xcalloc(1, sizeof(*t));
    pthread_rwlock_init(&t->lock, NULL);
    random_bytes(t->keys, sizeof(t->keys));
    t->rotated = now;
    t->rotation_ms = rotation_ms;
    return t;
}

void tickets_free(struct tickets *t)
{
    if (!t)
        return;
    pthread_rwlock_destroy(&t->lock);
    explicit_bzero(t, sizeof(*t));
    free(t);
}

enum tls_ticket_use tickets_key(struct tickets *t, const unsigned char *name, struct tls_ticket_key *ret)
{
    enum tls_ticket_use use = TLS_TICKET_UNKNOWN;
    pthread_rwlock_rdlock(&t->lock);
    for (int i = 0; i < N_KEYS && use == TLS_TICKET_UNKNOWN; i++) {
        if (name ? memcmp(t->keys[i].name, name, TLS_TICKET_NAME_SIZE) != 0 : i != CURRENT)
            continue;
        *ret = t->keys[i];
        use = i == PREVIOUS ? TLS_TICKET_RENEW : TLS_TICKET_GOOD;
    }
    pthread_rwlock_unlock(&t->lock);
    return use;
}

void tickets_tick(struct tickets *t, wall_t now)
{
    int64_t age_ms = wall_diff_ms(now, t->rotated);
    if (age_ms >= 0 && age_ms < t->rotation_ms)
        return;
    pthread_rwlock_wrlock(&t->lock);
    /* A host that slept, or whose clock was set, may have missed some. */
    int64_t n = age_ms < 0 ? 1 : age_ms / t->rotation_ms;
    for (int64_t i = 0; i < n && i < N_KEYS; i++) {
        t->keys[PREVIOUS] = t->keys[CURRENT];
        t->keys[CURRENT] = t->keys[NEXT];
        random_bytes(&t->keys[NEXT], sizeof(t->keys[NEXT]));
    }
    t->rotated = now;
    pthread_rwlock_unlock(&t->lock);
}

int tickets_export(struct tickets *t, int *ret_fd, struct error *err)
{
    struct exported out = { .format = EXPORT_FORMAT };
    _cleanup_(close_fd) int fd = memfd_create("ticket keys", MFD_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, -errno, "can't make memory for the ticket keys");
    pthread_rwlock_rdlock(&t->lock);
    out.rotated_us = t->rotated.us;
    memcpy(out.keys, t->keys, sizeof(out.keys));
    pthread_rwlock_unlock(&t->lock);
    ssize_t n = pwrite(fd, &out, sizeof(out), 0);
    explicit_bzero(&out, sizeof(out));
    if (n != (ssize_t)sizeof(out))
        return error_set_errno(err, n < 0 ? -errno : -EIO, "can't pass on the ticket keys");
    *ret_fd = steal_fd(&fd);
    return 0;
}

int tickets_import(struct tickets *t, int fd, struct error *err)
{
    struct exported in;
    ssize_t n = pread(fd, &in, sizeof(in), 0);
    if (n != (ssize_t)sizeof(in) || in.format != EXPORT_FORMAT)
        return error_set(err, n < 0 ? -errno : -EBADMSG, "these are no ticket keys");
    pthread_rwlock_wrlock(&t->lock);
    memcpy(t->keys, in.keys, sizeof(t->keys));
    t->rotated.us = in.rotated_us;
    pthread_rwlock_unlock(&t->lock);
    explicit_bzero(&in, sizeof(in));
    return 0;
}
