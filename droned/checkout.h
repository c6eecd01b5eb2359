/* SPDX-License-Identifier: MIT */
#pragma once

/* Commits on this host: sources/APP/COMMIT, verified, never written again, shared by all its instances. What is
 * missing is fetched as a pack from the hub, once, however many wait for it. The work on objects is the helper's
 * (common/gitwork.h); this module owns the directories:
 *
 *   repos/APP.git             objects; the helper's
 *   commits/APP/COMMIT        an empty file: all objects of this commit are in the repository
 *   incoming/                 trees while the helper writes them
 *   sources/APP/COMMIT        trees, whole */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define CHECKOUTS_AT_ONCE    4
#define CHECKOUT_KEEP_UNUSED 3 /* trees of an app that nothing uses any more are kept, the newest so many */

struct checkouts;
struct loop;
struct pack;
struct pack_spec;
struct trash;

struct checkout_stats {
    int64_t objects, bytes, ms; /* of the pack that came; 0: it was here */
};

/* result: 0; -ENOENT the hub does not have it; -EAGAIN could not be fetched now; other: refused for good. Runs
 * once, never before checkout_ensure has returned. */
typedef void (*checkout_fn)(void *arg, int result, const char *reason, const struct checkout_stats *stats);

struct checkouts_spec {
    const char *state_dir;
    const char *gitwork; /* NULL: the installed one */
    const char *seal;    /* NULL: the installed one */
    struct trash *trash;
    uid_t uid; /* 0: the helper runs as we do */
    gid_t gid;
    /* Starts the download: fills hub and tls of spec and calls pack_new. NULL with errno -EAGAIN's reason in
     * err: the hub can't be reached now. */
    struct pack *(*open_pack)(void *owner, struct pack_spec *spec, struct error *err);
    /* True while something here runs from it, or is going to. */
    bool (*is_used)(void *owner, const char *app, const char *commit);
    void *owner;
};

struct checkouts *checkouts_new(struct loop *loop, const struct checkouts_spec *spec);
void checkouts_free(struct checkouts *checkouts);

/* base_hint: a commit that the host probably has; NULL: we choose. */
void checkout_ensure(struct checkouts *checkouts, const char *app, const char *commit, const char *base_hint,
    checkout_fn fn, void *arg);
/* No callback with this arg comes any more. */
void checkout_forget(struct checkouts *checkouts, const void *arg);
/* sources/APP/COMMIT. Caller frees. */
char *checkout_path(const struct checkouts *checkouts, const char *app, const char *commit);
/* Removes trees of the app that are not used, but for the newest. */
void checkouts_collect(struct checkouts *checkouts, const char *app);
