/* SPDX-License-Identifier: MIT */
#pragma once

/* Where git's hooks ask: a local socket on which pre-receive hands over what a push would change and hears
 * whether it may, and post-receive hears what it has brought. Each push has a secret of its own, in the
 * environment of its hooks, which says who pushes to which app; without it nobody is heard. What a push means is
 * push.h's.
 *
 *   hook:  "stagecoach-hook 1", "secret HEX", "pre-receive" or "post-receive", "quarantine PATH",
 *          "ref OLD NEW NAME"..., "end"
 *   hub:   "say TEXT"..., then "ok" or "refuse TEXT" */

#include "common/error.h"
#include "hubd/enroll.h"

#define GIT_HOOK_INPUT_MAX (4 * 1024 * 1024)
#define GIT_HOOK_INPUT_MS  10000

struct git_hooks;
struct hubd;

struct git_hooks *git_hooks_new(struct hubd *hub);
void git_hooks_free(struct git_hooks *hooks);
_must_check_ int git_hooks_start(struct git_hooks *hooks, struct error *err);

/* A push begins: its secret, borrowed until git_hooks_close. who is copied. */
const char *git_hooks_open(struct git_hooks *hooks, const char *app, const struct enroll_guest *who);
void git_hooks_close(struct git_hooks *hooks, const char *secret);
