/* SPDX-License-Identifier: MIT */
#pragma once

/* What a push means: before git takes it, each tip's manifest is read out of the quarantine and judged; after
 * that, and at start, the refs are compared with those recorded last and every new tip becomes releases in the
 * store. It does not talk to git's clients (git_http.h) nor to the hooks (git_hooks.h). */

#include <stdbool.h>

#include "common/error.h"
#include "hubd/enroll.h"

#define PUSH_TIPS_MAX   10000 /* refs in one push */
#define PUSH_BATCH      500   /* manifests read by one helper */
#define PUSH_JOBS_MAX   4     /* helpers at work at a time, for all apps */
#define PUSH_LINES_TIPS 20    /* tips told of one by one to the pusher */

struct hubd;
struct pushes;

struct pushes *pushes_new(struct hubd *hub);
void pushes_free(struct pushes *pushes);
/* At start: registers what was received and not yet recorded. */
void pushes_start(struct pushes *pushes);

/* Exactly once, never before the call has returned. 0: lines are for the pusher (a vector, borrowed). Negative:
 * refused, reason is one sentence. */
typedef void (*push_done_fn)(void *arg, int result, const char *reason, char *const *lines);

struct push; /* one check or registration under way; freed by itself after its callback */

/* refs: pairs "refs/heads/main=NEWID", without deletions. */
struct push *push_check(struct pushes *pushes, const char *app, const struct enroll_guest *who,
    const char *quarantine, char *const *refs, push_done_fn fn, void *arg);
struct push *push_register(
    struct pushes *pushes, const char *app, const char *who, push_done_fn fn, void *arg);
void push_cancel(struct push *push); /* fn will not run; a registration goes on */
