/* SPDX-License-Identifier: MIT */
#pragma once

/* What the hub wants of this host: checked whole, on disk before it is answered, then carried out. An order is
 * instances/ID.json; orders.json holds the fleet and the revision they belong to. Orders are strict: an unknown
 * key, a user that is not the service's own, a revision older than the one held refuse all of it. */

#include <stdint.h>
#include <stddef.h>

#include "common/error.h"
#include "common/messages.h"

#define ORDERS_FILE_FORMAT 1

struct droned;

/* At start: every instances/ID.json becomes an instance. Files that can't be read are left alone and said. */
_must_check_ int orders_load(struct droned *droned, struct error *err);

/* All that is wanted. What is here and not in it is stopped and forgotten. -ESTALE: older than what is held. */
_must_check_ int orders_replace(struct droned *droned, const struct orders *orders, struct error *err);
/* The same from the text of a document. */
_must_check_ int orders_replace_text(struct droned *droned, const char *text, size_t len, struct error *err);
/* A step from the revision held to the next. -ESTALE: it starts from another revision; the sender then sends
 * everything. */
_must_check_ int orders_change(
    struct droned *droned, const struct msg_orders_change *change, struct error *err);
