/* SPDX-License-Identifier: MIT */
#pragma once

/* Shared by the two halves of client.h: client.c (connecting and calls) and client_open.c (which hub, as whom). */

#include "common/link.h"
#include "common/loop.h"
#include "common/sha256.h"
#include "common/stream.h"
#include "ctl/client.h"

struct client {
    struct ctl *ctl;
    struct loop *loop; /* weak: the run's */
    char *address;
    bool is_socket;
    struct remotes remotes;
    struct remote *remote; /* weak: in remotes */
    struct remote_identity identity;
    char *pin; /* expected; NULL: any */
    char shown[SHA256_HEX_SIZE];

    struct stream *stream; /* until the link takes it */
    struct link *link;
    bool connected;
    bool closed;
    int close_code;
    bool pin_mismatch;
    int64_t hub_time_us;          /* of its last hello */
    enum error_kind refusal_kind; /* of our hello */
    char *reason;

    const struct client_call *call; /* under way */
    bool answered;
    int result;
    enum error_kind kind; /* of a refusal */
    char *refusal;

    void (*on_loss)(void *arg);
    void *loss_arg;
    bool interrupted;
    bool timed_out;
    bool pause_over;
    struct timer deadline;
    struct timer pause;
};

struct client *client_new(struct ctl *ctl, const char *address);
/* One try. -ENOLINK: not now; -EREMOTEIO: the hub does not want us. */
_must_check_ int client_connect(struct client *client, struct error *err);
