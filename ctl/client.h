/* SPDX-License-Identifier: MIT */
#pragma once

/* The connection of one command to one hub: which hub, as whom, and calls made one after the other, each run to
 * its end. A connection that is lost in the middle is made again with back-off and the call repeated: the hub
 * answers a repeated request as it did the first time. Prints nothing but notices of such a loss.
 *
 * Errors carry one of these codes; the rest of ctl turns nothing else into an exit status:
 *   -ENOLINK    no hub could be reached (STATUS_UNREACHABLE)
 *   -ENOTCONN   no hub is known here (STATUS_UNREACHABLE)
 *   -ETIME      --timeout is over (STATUS_GOES_ON)
 *   -EINTR      interrupted by the user (STATUS_GOES_ON)
 *   -EREMOTEIO  the hub refuses (STATUS_FAILED); text is the hub's
 *   -EINVAL     a mistake on the command line (STATUS_USAGE)
 *   others      failed (STATUS_FAILED) */

#include <stdbool.h>

#include "common/error.h"
#include "common/messages.h"
#include "ctl/ctl.h"
#include "ctl/remote.h"

#define HUB_LOCAL_SOCKET      "/run/stagecoach/hub.sock"
#define CLIENT_ANSWER_MS      30000 /* for calls that answer at once */
#define CLIENT_RETRY_FIRST_MS 100   /* after a loss; doubled each time … */
#define CLIENT_RETRY_MAX_MS   5000  /* … up to this, ± a quarter */
#define CLIENT_RETRY_MS       20000 /* a call that answers at once is given up then */

struct client;

typedef void (*client_notice_fn)(void *arg, const void *m);

struct client_call {
    enum msg_type type;
    const void *m;        /* looked at anew when the call is repeated */
    void *answer;         /* struct of the answer, or NULL; the caller clears it */
    bool long_lived;      /* answered when something has ended: no time limit but --timeout */
    enum msg_type notice; /* that comes before the answer; 0: none */
    client_notice_fn on_notice;
    void *arg;
};

/* The hub that the command line means, as whoever we are there. */
_must_check_ int client_open(struct ctl *ctl, struct client **ret, struct error *err);

/* A hub to be joined: pin NULL = whatever it shows (client_pin tells). */
_must_check_ int client_open_joining(
    struct ctl *ctl, const char *hub, const char *pin, struct client **ret, struct error *err);
void client_free(struct client *client);

_must_check_ int client_run(struct client *client, const struct client_call *call, struct error *err);
/* The plain form: asks, fills *ret_answer (may be NULL). */
_must_check_ int client_ask(
    struct client *client, enum msg_type type, const void *m, void *ret_answer, struct error *err);

/* Everything from now on together; 0: without limit. A new client begins with --timeout. */
void client_set_timeout(struct client *client, int64_t ms);
/* Runs before the line that tells of a lost hub goes to standard error: whoever draws on the terminal makes room. */
void client_on_loss(struct client *client, void (*fn)(void *arg), void *arg);
/* An interrupt (Ctrl-C) ends the call under way with -EINTR instead of the program. */
void client_catch_interrupt(struct client *client);

/* Key of the hub's CA as shown, hex; "" on the local socket. */
const char *client_pin(const struct client *client);
/* The remote in use, NULL on the local socket. */
const struct remote *client_remote(const struct client *client);

/* The hub's clock as of its hello; ours if it did not say. Certificates live by the hub's. */
wall_t client_hub_time(const struct client *client);

/* What the hub is called on the command line: "--remote=prod" for hints, or "". Caller frees. */
char *client_hint(const struct client *client);
