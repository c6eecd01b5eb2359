/* SPDX-License-Identifier: MIT */
#pragma once

/* What commands print: one struct of functions, implemented twice, for people (output_text.c) and for programs
 * (output_json.c, which prints the structs of the wire by their tables and builds nothing of its own). Functions
 * append to `text`; output_flush writes it. Errors go to standard error and are not part of this. */

#include <stdbool.h>

#include "common/clock.h"
#include "common/messages.h"
#include "common/strbuf.h"
#include "ctl/style.h"

struct output;
struct progress;
struct remotes;
struct router_status;

struct output_ops {
    // clang-format off
    void (*deploy_event)(struct output *o, const struct msg_deploy_event *m);
    void (*deploy_result)(struct output *o, const struct msg_deploy_result *m);
    void (*deps)(struct output *o, const struct msg_deps *m);
    void (*done)(struct output *o, const char *text);      /* a change without an answer of its own */
    void (*event)(struct output *o, const struct msg_event *m);
    void (*history)(struct output *o, const struct msg_history *m);
    void (*host_list)(struct output *o, const struct msg_servers *m);
    void (*hub_status)(struct output *o, const struct msg_hub_status *m);
    void (*identity)(struct output *o, const char *text, const struct msg_identity *m); /* joined */
    void (*list)(struct output *o, const struct msg_list *m);
    void (*log_lines)(struct output *o, const struct msg_stream_lines *m);
    void (*operation)(struct output *o, const struct msg_operation *m);
    void (*ps)(struct output *o, const struct msg_ps *m);
    void (*remotes)(struct output *o, const struct remotes *m);
    void (*router)(struct output *o, const struct router_status *before, const struct router_status *now);
    void (*routers)(struct output *o, const struct msg_routers *m);
    void (*servers)(struct output *o, const struct msg_servers *m);
    void (*status)(struct output *o, const struct msg_status *m);
    void (*token)(struct output *o, const struct msg_token *m);
    void (*tokens)(struct output *o, const struct msg_tokens *m);
    void (*version)(struct output *o, const struct msg_version *m); /* NULL: no hub could be asked */
    // clang-format on
};

extern const struct output_ops output_text;
extern const struct output_ops output_json;

struct output {
    const struct output_ops *ops;
    struct style style;
    struct strbuf text;
    wall_t now;
    const char *hub;           /* weak: how others reach the hub, for hints; NULL: not known */
    bool pretty;               /* JSON on several lines */
    struct progress *progress; /* weak: text, while a deploy is watched */
};

/* Writes and empties `text`; a reader that went away ends the program quietly, as a pager's user expects. */
void output_flush(struct output *o);
