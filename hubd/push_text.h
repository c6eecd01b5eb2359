/* SPDX-License-Identifier: MIT */
#pragma once

/* What the pusher reads behind "remote:": the releases of each tip, what was registered, and how to deploy it.
 * Pure. */

#include <stdbool.h>
#include <stddef.h>

struct release;
struct state;

struct push_text {
    char **tips;     /* lines */
    char **releases; /* lines */
    char *deploy;    /* "web@0.2.2": the one to name in the hint */
    char **names;    /* all that were registered */
    size_t n_tips;
};

void push_text_done(struct push_text *text);

/* keys: "web/0.2.2" of each release of the commit. Without any: why not, or NULL when nothing describes services. */
void push_text_tip(
    struct push_text *text, const char *app, const char *commit, char *const *keys, const char *fault);
/* A release that is new; plain is the version that its manifest says. */
void push_text_release(
    struct push_text *text, const struct release *release, const char *plain, const struct state *state);
/* The lines; a vector, the caller's. */
char **push_text_lines(const struct push_text *text);
/* One line for the history; the caller's. */
char *push_text_event(const struct push_text *text, const char *app);
