/* SPDX-License-Identifier: MIT */
#pragma once

/* The one way to change the hub's state: decide, store, then act. Commands wait in a queue; each decides when
 * the one before it is durable, so it always sees a state in which nothing is half done. `decide` reads state
 * and facts and fills a transaction; `done` runs once the store has it, with the state already changed, or
 * with the reason why not. Also keeps the answers to request ids. */

#include <stdbool.h>

#include "common/error.h"
#include "common/messages.h"
#include "hubd/txn.h"

#define COMMANDS_WAITING_MAX 4096 /* above it: "the hub is busy" */
#define REQUEST_ID_DAYS      7

struct hubd;
struct link;
struct reply;

/* 0: commit what txn holds (nothing: done follows at once). Negative with err: refused, nothing happens.
 * err->code picks what the caller is told: -ENOENT not found, -EACCES or -EPERM denied, -EBUSY conflict,
 * -EAGAIN busy, -EIO and -ENOSPC unavailable, -EINVAL fields, everything else refused. */
typedef int (*command_decide_fn)(struct hubd *hub, struct txn *txn, void *arg, struct error *err);
/* Exactly once, never before hubd_command has returned; result as decide's or the store's. May be NULL.
 * Frees arg. */
typedef void (*command_done_fn)(struct hubd *hub, int result, const struct error *err, void *arg);

void hubd_command(
    struct hubd *hub, const char *name, command_decide_fn decide, command_done_fn done, void *arg);

/* The same for a message of a person or a joiner: checks and keeps request_id (NULL: not repeatable), answers
 * through reply. `decide` fills `answer`, a zeroed struct of the message's answer schema that the command owns.
 * m is copied. `after` may be NULL: it runs after a commit that succeeded, before the answer goes out. */
struct request {
    struct hubd *hub;
    struct reply *reply;
    const struct msg_info *info;
    char *request_id;
    bool refused; /* too many wait already */
    char *who;    /* name of the person */
    enum role role;
    void *m; /* copy of the message */
    void *answer;
    void *arg; /* the caller's; freed by free_arg */
    void (*free_arg)(void *arg);
    void (*after)(struct request *request);
    int (*decide)(struct request *request, struct txn *txn, struct error *err);
};

/* An answer that holds a secret is not to be kept: pass request_id NULL then.
 * Returns the request (owned by the queue) so that arg, free_arg and after can be set right away. */
struct request *hubd_request(struct hubd *hub, struct link *link, struct reply *reply, enum msg_type type,
    const char *request_id, const void *m,
    int (*decide)(struct request *request, struct txn *txn, struct error *err));

/* What a refusal is called on the wire. */
enum error_kind command_error_kind(const struct error *err);
