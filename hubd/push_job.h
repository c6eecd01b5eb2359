/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside push.h: one check or registration under way. push.c keeps the order and reads the manifests, push_check.c
 * and push_register.c know what comes before and after. */

#include "common/gitwork.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/map.h"
#include "hubd/push.h"
#include "hubd/push_text.h"

#define PUSH_HIDDEN_PREFIX "refs/stagecoach/"

struct manifest;

enum push_kind { PUSH_CHECK, PUSH_REGISTER };

struct pushes {
    struct hubd *hub;
    struct list waiting; /* struct push */
    struct list active;
    struct timer turn;
};

/* A command can't be taken back: what it holds on to knows when the push is gone. */
struct registration {
    struct push *push; /* weak: push_free clears it */
};

struct push {
    struct list of_pushes;
    struct pushes *pushes;
    enum push_kind kind;
    char *app;
    struct enroll_guest who;
    char *quarantine;
    char **refs;        /* pairs NAME=ID: check: what is pushed; register: all that there are */
    struct map *hidden; /* names of the releases' refs that there are */
    struct gitwork *work;
    char **tips; /* ids whose manifests are to be read, each once */
    size_t n_tips, tips_cap, tips_read;
    struct map *seen;                  /* the same as a set */
    struct registration *registration; /* its command waits */
    struct gitwork_row *rows;          /* of the tips */
    size_t n_rows;
    struct push_text text;
    char **lines;
    push_done_fn fn;
    void *arg;
};

struct push *push_new(
    struct pushes *pushes, enum push_kind kind, const char *app, push_done_fn fn, void *arg);
/* Calls back and frees itself later. */
void push_finish(struct push *push, int result, const char *reason);
/* Starts the helper with these arguments; the one before is gone. */
_must_check_ int push_helper(struct push *push, char *const *args, gitwork_done_fn fn, struct error *err);
/* An id whose manifest is to be read; once is enough. */
void push_add_tip(struct push *push, const char *id);
/* Reads the manifests of the tips, batch by batch, then push_end_check or push_end_register. */
void push_read_tips(struct push *push);
_must_check_ int push_read_manifest(
    const struct push *push, const struct gitwork_row *row, struct manifest *ret, struct error *err);

void push_begin_check(struct push *push);
void push_end_check(struct push *push);
void push_begin_register(struct push *push);
void push_end_register(struct push *push);
