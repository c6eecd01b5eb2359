/* SPDX-License-Identifier: MIT */
#pragma once

/* One run of stagecoachctl: what was asked, where output goes, how long it may take. Parses, asks, prints;
 * decides nothing about the fleet. */

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "ctl/args.h"
#include "ctl/output.h"

struct loop;
struct verb;

enum exit_status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1, /* failed or refused */
    STATUS_USAGE = 2,
    STATUS_UNREACHABLE = 3, /* no hub */
    STATUS_GOES_ON = 4,     /* timed out, interrupted or incomplete: the operation goes on */
    STATUS_REVERTED = 5,
};

struct ctl {
    const struct verb *verb;
    struct args args;
    struct output output;
    struct loop *loop;
    int64_t timeout_ms; /* of --timeout; 0: none */
};

/* A verb's function: an exit status, or negative with err, which main prints and turns into one (client.h says
 * how). */
typedef int (*verb_fn)(struct ctl *ctl, struct error *err);

struct verb {
    const char *words; /* "token create" */
    const char *usage; /* arguments and options: args.h */
    verb_fn fn;
    const char *help; /* one line */
};

/* Returns the exit status. */
int ctl_main(int argc, char **argv);

/* A new id for a request that changes something; repeating the request repeats the id. Caller frees. */
char *ctl_request_id(void);

/* --- the verbs, by family -------------------------------------------------------------------------------- */

/* cmd_deploy.c */
int cmd_deploy(struct ctl *ctl, struct error *err);
int cmd_restart(struct ctl *ctl, struct error *err);
int cmd_rollback(struct ctl *ctl, struct error *err);
int cmd_scale(struct ctl *ctl, struct error *err);
int cmd_start(struct ctl *ctl, struct error *err);
int cmd_stop(struct ctl *ctl, struct error *err);
int cmd_wait(struct ctl *ctl, struct error *err);
/* cmd_look.c */
int cmd_deps(struct ctl *ctl, struct error *err);
int cmd_history(struct ctl *ctl, struct error *err);
int cmd_host_list(struct ctl *ctl, struct error *err);
int cmd_hub_status(struct ctl *ctl, struct error *err);
int cmd_list(struct ctl *ctl, struct error *err);
int cmd_ps(struct ctl *ctl, struct error *err);
int cmd_servers(struct ctl *ctl, struct error *err);
int cmd_status(struct ctl *ctl, struct error *err);
int cmd_status_router(struct ctl *ctl, struct error *err);
int cmd_version(struct ctl *ctl, struct error *err);
/* cmd_follow.c */
int cmd_logs(struct ctl *ctl, struct error *err);
int cmd_monitor(struct ctl *ctl, struct error *err);
/* cmd_identity.c */
int cmd_host_remove(struct ctl *ctl, struct error *err);
int cmd_revoke(struct ctl *ctl, struct error *err);
int cmd_token_create(struct ctl *ctl, struct error *err);
int cmd_token_list(struct ctl *ctl, struct error *err);
int cmd_token_revoke(struct ctl *ctl, struct error *err);
/* cmd_join.c */
int cmd_join(struct ctl *ctl, struct error *err);
/* cmd_remote.c */
int cmd_remote_add(struct ctl *ctl, struct error *err);
int cmd_remote_default(struct ctl *ctl, struct error *err);
int cmd_remote_git(struct ctl *ctl, struct error *err);
int cmd_remote_list(struct ctl *ctl, struct error *err);
int cmd_remote_remove(struct ctl *ctl, struct error *err);
int cmd_remote_trust(struct ctl *ctl, struct error *err);
/* cmd_push.c */
int cmd_push(struct ctl *ctl, struct error *err);
/* cmd_complete.c */
int cmd_complete(struct ctl *ctl, struct error *err);
/* help.c */
int cmd_help(struct ctl *ctl, struct error *err);
