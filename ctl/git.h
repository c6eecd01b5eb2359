/* SPDX-License-Identifier: MIT */
#pragma once

/* Stock git as the user has it: run with the terminal, or asked for one line. Arguments as vectors, no shell. */

#include <stdbool.h>

#include "common/error.h"
#include "ctl/remote.h"

/* Runs `git ARGS…` on our own input, output and errors, with env ("K=V") over the environment; *ret_status is as
 * of waitpid(2). */
_must_check_ int git_run(const char *const *args, const char *const *env, int *ret_status, struct error *err);
/* First line that `git ARGS…` prints, "" if it fails or prints nothing. Caller frees. */
char *git_line(const char *const *args);

/* Top of the work tree we are in; NULL outside of one. Caller frees. */
char *git_top(void);
/* Name that the app has on a hub: given, or that of the repository's origin, or of its folder, in the letters that
 * an app may have. Caller frees. */
_must_check_ int git_app_name(const char *given, char **ret, struct error *err);
/* "https://hub1:7000/shop.git". Caller frees. */
char *git_url(const struct remote *remote, const char *app);

/* Teaches the repository we are in the git remote of this name, with the hub's CA and our certificate, so that
 * plain `git push NAME` works. */
_must_check_ int git_set_up(const struct remote *remote, const char *app, struct error *err);
