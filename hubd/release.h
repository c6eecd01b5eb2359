/* SPDX-License-Identifier: MIT */
#pragma once

/* Releases and their names: what "web", "web@^0.2", a tag or a commit means, and which version a commit gets
 * when it is pushed. Plain versions belong to the commit that was pushed first with them; later commits get
 * "+g" and 8 digits of their hash. Pure, but for release_find, which asks the repository where the state alone
 * can't tell. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "hubd/state.h"

struct hubd;
struct manifest;
struct manifest_service;
struct txn;

enum release_form {
    RELEASE_LATEST, /* nothing said */
    RELEASE_EXACT,  /* 0.2.2, 0.2.2+g35819ef7 */
    RELEASE_RANGE,  /* ^0.2, 0.2.x, >=1 <2 */
    RELEASE_COMMIT, /* 4 to 40 hex digits */
    RELEASE_TAG,    /* anything else that may be a tag */
    RELEASE_FORM_MAX_
};
enum release_form release_form(const char *what);

/* The state can't tell: a tag or a commit that only the repository knows. */
enum { RELEASE_ASK_REPOSITORY = 1 };

/* 0 with *ret, RELEASE_ASK_REPOSITORY, or refused with the sentence for people. what NULL: the latest. */
_must_check_ int release_resolve(const struct state *state, const char *service, const char *what,
    const struct release **ret, struct error *err);

/* The release that a commit is, NULL if it is none of this service. */
const struct release *release_of_commit(const struct state *state, const char *service, const char *commit);
/* Highest precedence, among equals the one registered last; NULL without any. */
const struct release *release_latest(const struct state *state, const char *service);

/* A commit that a prefix can mean. */
struct release_candidate {
    const char *commit;
    const char *subject;
    int64_t time_s;
};
/* "3581 means two commits of shop: 35819ef7 (web@0.2.2, 2 hours ago), …"; -EINVAL. */
int release_ambiguous(const struct state *state, const char *service, const char *app, const char *prefix,
    const struct release_candidate *candidates, size_t n, wall_t now, struct error *err);
/* What web@WHAT is not, when neither state nor repository has it; -ENOENT. */
int release_unknown(const struct state *state, const char *service, const char *what, struct error *err);

/* Who pushes what. */
struct release_push {
    const char *app;
    const char *branch; /* "main", a tag, or NULL */
    const char *commit;
    const char *subject;
    wall_t now;
};

/* Whether the app may have these services and routes; 0 or refused by name. */
_must_check_ int release_check(
    const struct state *state, const char *app, const struct manifest *manifest, struct error *err);
/* Puts the releases of a commit into the transaction, those that are not there yet, in the manifest's order.
 * *ret_keys (a vector, the caller's) gets the key of each: "web/0.2.2". */
_must_check_ int release_register(struct txn *txn, const struct release_push *push,
    const struct manifest *manifest, char ***ret_keys, struct error *err);

/* "refs/stagecoach/releases/web/0.2.2_g35819ef7". Caller frees. */
char *release_ref(const struct release *release);

/* Anything that people name. Never calls back before it has returned, and exactly once: release (valid during
 * the call) or NULL with the sentence for people. A commit that is named for the first time is registered. */
typedef void (*release_found_fn)(
    struct hubd *hub, const struct release *release, const struct error *err, void *arg);
void release_find(struct hubd *hub, const char *target, release_found_fn fn, void *arg);
