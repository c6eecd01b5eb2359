/* SPDX-License-Identifier: MIT */
#pragma once

/* The link to the hub: connect, back-off, hello with the epoch in place, tables in, reports out, the certificate
 * renewed in time. Without a hub nothing else stops. What a table means is feed.h's. */

#include <stdbool.h>

#include "common/error.h"
#include "common/messages.h"

#define UPLINK_RETRY_MIN_MS     200
#define UPLINK_RETRY_MAX_MS     10000
#define UPLINK_RENEW_TIMEOUT_MS 30000

struct routerd;
struct uplink;

/* Reads the identity, if this host has joined. */
_must_check_ int uplink_new(struct routerd *routerd, struct uplink **ret, struct error *err);
void uplink_start(struct uplink *uplink);
void uplink_free(struct uplink *uplink);

/* All workers serve the table: a commit that waits for it is answered. */
void uplink_served(struct uplink *uplink);
bool uplink_is_connected(const struct uplink *uplink);
void uplink_send(struct uplink *uplink, enum msg_type type, const void *m);
const char *uplink_trouble(const struct uplink *uplink); /* why there is no link, NULL if there is one */
const char *uplink_fleet(const struct uplink *uplink);   /* NULL before join */
