/* SPDX-License-Identifier: MIT */
#pragma once

/* A hub for tests of stagecoachctl: listens on a socket of its own, plays a script, writes down what it was
 * asked, and runs the real program against itself. */

#include <stdbool.h>
#include <stddef.h>

#include "common/messages.h"
#include "common/strbuf.h"

/* One call, in the order of their coming. */
struct ctl_hub_row {
    enum msg_type type;
    const char *answer;                                         /* JSON; NULL: none */
    enum error_kind kind;                                       /* instead of an answer, with … */
    const char *error;                                          /* … this text */
    enum msg_type notice;                                       /* sent before, one per line of … */
    const char *notices;                                        /* … this JSON, separated by newlines */
    enum { AFTER_NOTHING, AFTER_HANG_UP, AFTER_SILENCE } after; /* instead of answering */
};

struct ctl_hub;

/* tls: listens on a port, with a CA of its own, and signs who joins with any token. */
struct ctl_hub *ctl_hub_new(bool tls);
void ctl_hub_free(struct ctl_hub *hub);

/* Rows end with type 0; kept by reference. */
void ctl_hub_script(struct ctl_hub *hub, const struct ctl_hub_row *rows);
const char *ctl_hub_address(const struct ctl_hub *hub); /* for --hub= */
const char *ctl_hub_pin(const struct ctl_hub *hub);
const char *ctl_hub_directory(const struct ctl_hub *hub); /* its temporary folder: HOME of the program */
/* "method {params}" lines of all calls so far; request ids are "ID", secrets "…". */
const char *ctl_hub_calls(const struct ctl_hub *hub);
/* Two requests with the same method bore the same request id. */
bool ctl_hub_repeated(const struct ctl_hub *hub);
/* Another CA from now on, as after a rebuild of the hub. */
void ctl_hub_rebuild(struct ctl_hub *hub);
void ctl_hub_stop_listening(struct ctl_hub *hub);

struct ctl_run {
    struct strbuf out, err;
    int status; /* exit status, -1: killed */
};

/* Runs the program with these words (NULL-terminated, without argv[0]) to its end, at most 20 s. */
struct ctl_run ctl_hub_run(struct ctl_hub *hub, const char *const *words);
void ctl_run_done(struct ctl_run *run);
/* On a pseudo-terminal of so many columns; out holds what came out of it. After the output has `interrupt_at` in
 * it (may be NULL) Ctrl-C is typed. */
struct ctl_run ctl_hub_run_terminal(
    struct ctl_hub *hub, const char *const *words, int columns, const char *interrupt_at);
