/* SPDX-License-Identifier: MIT */
#pragma once

/* Logs and build output for the hub, each on a connection of its own that we dial, so that they never delay
 * orders. The journal is read as fast as the connection takes the lines, no faster. */

#include "common/error.h"
#include "common/messages.h"

#define STREAMS_MAX    64    /* at once */
#define STREAM_DIAL_MS 15000 /* until the hub has joined it to its client */
#define STREAM_TAIL_MS 60000 /* at its end, without a byte taken: a reader may be slow, and the hub with it */

struct droned;
struct streams;

struct streams *streams_new(struct droned *droned);
void streams_free(struct streams *streams);
/* -EINVAL: nothing such here; -EBUSY: too many. */
_must_check_ int streams_open(struct streams *streams, const struct msg_stream_open *m, struct error *err);
