/* SPDX-License-Identifier: MIT */
#pragma once

/* The link to the hub: who we are (identity/ on disk), connecting with back-off, hello, telling what is, taking
 * what is wanted, keeping the certificate fresh. Without a hub everything here rests, and nothing else does. */

#include <stdbool.h>

#include "common/error.h"
#include "common/link.h"
#include "common/messages.h"
#include "common/stream.h"

#define UPLINK_RETRY_MIN_MS      200
#define UPLINK_RETRY_MAX_MS      10000
#define UPLINK_RENEW_TIMEOUT_MS  30000
#define UPLINK_REPORT_TIMEOUT_MS 60000
#define UPLINK_REPORT_RETRY_MS   5000

struct droned;
struct tls_context;
struct uplink;

struct uplink *uplink_new(struct droned *droned);
void uplink_free(struct uplink *uplink);
bool uplink_is_connected(const struct uplink *uplink);
/* Why not, for status: "not joined yet", "can't reach hub1:7000: …". */
const char *uplink_trouble(const struct uplink *uplink);
const char *uplink_hub(const struct uplink *uplink);

/* All that is here, when it is known and there is a link: at each connection, and when units were read anew. */
void uplink_send_report(struct uplink *uplink);
/* Notices; dropped without a link, since a whole report follows each connection. */
void uplink_send(struct uplink *uplink, enum msg_type type, const void *m);
/* The host goes down: said once, so that the hub takes its endpoints out of the tables first. */
void uplink_say_goodbye(struct uplink *uplink, const char *reason);

/* Another connection to the same hub with our certificate: for a stream of our own (PROTOCOL_ALPN) or a download
 * ("http/1.1"). NULL with err: there is no identity. */
struct stream *uplink_dial(
    struct uplink *uplink, const char *alpn, stream_fn fn, void *arg, struct error *err);
/* For a module that connects by itself; borrowed. NULL: plain, or no identity. */
struct tls_context *uplink_http_tls(struct uplink *uplink);
/* True once the stream can be spoken on: the event to wait for is TLS_READY, on a plain link CONNECTED. */
bool uplink_is_ready_event(const struct uplink *uplink, enum stream_event event);
/* Our part of a hello; stream: of the second connection, NULL for the first. */
void uplink_fill_hello(struct uplink *uplink, const char *stream, struct msg_hello *hello);
