/* SPDX-License-Identifier: MIT */
#pragma once

/* What is said on the link to the hub (common/member.h keeps it): what is here goes out, what is wanted comes in. Without a
 * hub everything here rests, and nothing else does. */

#include <stdbool.h>

#include "common/member.h"
#include "common/messages.h"

#define UPLINK_REPORT_RETRY_MS 5000

struct droned;
struct uplink;

struct uplink *uplink_new(struct droned *droned);
void uplink_free(struct uplink *uplink);
bool uplink_is_connected(const struct uplink *uplink);
/* Who we are and how to reach the hub; borrowed. */
struct member *uplink_member(struct uplink *uplink);

/* All that is here, when it is known and there is a link: at each connection, and when units were read anew. */
void uplink_send_report(struct uplink *uplink);
/* Notices; dropped without a link, since a whole report follows each connection. */
void uplink_send(struct uplink *uplink, enum msg_type type, const void *m);
/* The host goes down: said once, so that the hub takes its endpoints out of the tables first. */
void uplink_say_goodbye(struct uplink *uplink, const char *reason);
/* Our whole hello on another connection, that of a stream. */
void uplink_fill_hello(struct uplink *uplink, const char *stream, struct msg_hello *hello);
