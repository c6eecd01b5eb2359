/* SPDX-License-Identifier: MIT */
#pragma once

/* A collection too large for a frame (orders of a host, a routing table, a report): one JSON document that
 * travels as document_begin, parts of at most DOCUMENT_PART_MAX bytes and document_end with the SHA-256 of the
 * whole, and is applied whole or not at all. This module cuts and joins; what is inside is the receiver's. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "common/messages.h"
#include "common/sha256.h"
#include "common/strbuf.h"

struct link;
struct reply;

/* Runs exactly once with 0 when the peer has applied it, or with a negative errno and the reason. */
typedef void (*document_done_fn)(int result, const char *reason, void *arg);

/* Sends a document; text is copied. Cancelled (no callback) if the link is freed. Parts go out as the link has
 * room, so that a document never delays other messages by more than one part. */
void document_send(struct link *link, enum document_kind kind, int64_t revision, const char *text, size_t len,
    document_done_fn fn, void *arg);

/* Receiving side: one of these per link. A refused beginning or part is remembered and told again at the end,
 * which is the call that gets an answer. */
struct document_sink {
    struct strbuf text;
    enum document_kind kind;
    int64_t id, revision, bytes;
    bool open;
    struct sha256 sha;
    struct error refusal; /* code 0: none */
};

void document_sink_done(struct document_sink *sink);
/* Handlers of the three messages call these. document_sink_end returns 0 with sink->text whole and verified;
 * the caller applies it, answers, and calls document_sink_done. Refusals name what did not fit. */
_must_check_ int document_sink_begin(
    struct document_sink *sink, const struct msg_document_begin *m, struct error *err);
_must_check_ int document_sink_part(
    struct document_sink *sink, const struct msg_document_part *m, struct error *err);
_must_check_ int document_sink_end(
    struct document_sink *sink, const struct msg_document_end *m, struct error *err);
