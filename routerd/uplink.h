/* SPDX-License-Identifier: MIT */
#pragma once

/* What is said on the link to the hub (common/member.h keeps it): hello with the epoch in place, tables in, reports out.
 * Without a hub nothing else stops. What a table means is feed.h's. */

#include <stdbool.h>

#include "common/member.h"
#include "common/messages.h"

struct routerd;
struct uplink;

/* Reads the identity, if this host has joined. */
struct uplink *uplink_new(struct routerd *routerd);
void uplink_start(struct uplink *uplink);
void uplink_free(struct uplink *uplink);

/* All workers serve the table: a commit that waits for it is answered. */
void uplink_served(struct uplink *uplink);
bool uplink_is_connected(const struct uplink *uplink);
void uplink_send(struct uplink *uplink, enum msg_type type, const void *m);
const char *uplink_trouble(const struct uplink *uplink); /* why there is no link, NULL if there is one */
const char *uplink_fleet(const struct uplink *uplink);   /* NULL before join */
