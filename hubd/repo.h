/* SPDX-License-Identifier: MIT */
#pragma once

/* The bare repositories under the state directory: where they are, making them, dropping what a broken push left
 * behind, and how stock git is called on them. What a push means is push.h's, serving is git_http.h's. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define REPO_PACKS_MAX 40 /* packs of a repository above which it is tidied up */

struct hubd;
struct repos;

struct repos *repos_new(struct hubd *hub);
void repos_free(struct repos *repos);
/* At start, before anybody can push: leftovers of a hub that was killed (locks, half packs) are removed. */
_must_check_ int repos_start(struct repos *repos, struct error *err);

/* Caller frees. */
char *repo_path(const struct repos *repos, const char *app);
/* An empty repository, for what a first push has to be told before there is one. Caller frees. */
char *repo_template(const struct repos *repos);
bool repo_exists(const struct repos *repos, const char *app);
/* One already there is fine. */
_must_check_ int repo_create(struct repos *repos, const char *app, struct error *err);
/* After a push that ended, with no other under way on the app: half packs go, and the whole repository if it
 * has neither refs nor an app in the state. */
void repo_tidy(struct repos *repos, const char *app);

/* After a push, with no other under way on the app: too many packs are joined, in the background. */
void repo_maintain(struct repos *repos, const char *app);

/* "git", its settings for this repository, then words; a vector, the caller's. */
char **repo_git_argv(const struct repos *repos, const char *path, const char *const *words);
/* The whole environment of a git child, plus what the caller pushes to it; the caller's. */
char **repo_git_env(const struct repos *repos);
/* Runs `git update-ref --stdin` with the lines, in the background, one at a time for an app; a failure is logged. */
void repo_update_refs(struct repos *repos, const char *app, const char *text);
