/* SPDX-License-Identifier: MIT */
#pragma once

/* The exchange by which a token becomes an identity: the hub is pinned before the secret is sent, the key is made
 * here and never leaves, a lost answer is asked for again with the same key. Writes nothing to disk. */

#include "ctl/ctl.h"
#include "ctl/remote.h"

struct joining {
    const char *hub;
    const char *token; /* "sc1.<pin>.<secret>", or a bare secret */
    const char *name;  /* wanted; NULL: the hub's choice */
    bool need_pin;     /* a bare secret won't do */
};

struct joined {
    struct remote_identity id;
    struct msg_identity answer;
    wall_t at;       /* by the hub's clock */
    char pin[65];    /* of the hub */
    bool was_pinned; /* by the token; else taken on first use */
};

_must_check_ int join_hub(
    struct ctl *ctl, const struct joining *joining, struct joined *ret, struct error *err);
void joined_done(struct joined *joined);

/* "hub1" → "hub1:7000". Caller frees. */
char *join_hub_address(const char *hub);
