/* SPDX-License-Identifier: MIT */
#pragma once

/* This machine as a member of a fleet: the identity that `join` left on disk, and the one link to the hub that is kept with
 * it: connecting with back-off, saying hello, renewing the certificate in time. Without a hub everything here rests, and
 * nothing else does. What is said on the link, and what it means, is the owner's (droned/uplink.h, routerd/uplink.h). */

#include <stdbool.h>

#include "common/document.h"
#include "common/error.h"
#include "common/identity.h"
#include "common/link.h"
#include "common/messages.h"
#include "common/stream.h"

#define MEMBER_RETRY_MIN_MS     200
#define MEMBER_RETRY_MAX_MS     10000
#define MEMBER_RENEW_TIMEOUT_MS 30000
#define MEMBER_DOWNLOADS        "http/1.1" /* ALPN of what is not frames */

struct loop;
struct member;
struct tls_context;

enum member_change {
    MEMBER_READ,    /* the identity, anew */
    MEMBER_REACHED, /* the hub, hello follows: member_local() says our end */
    MEMBER_LINKED,
    MEMBER_LOST,   /* the link; one that never came about is only trouble */
    MEMBER_TROUBLE /* is another one now, or over */
};

struct member_spec {
    const char *identity_dir;
    const char *plain_hub; /* a socket: neither identity nor TLS, and plain_name is our name. NULL: none */
    const char *plain_name;
    const char *hub;       /* wins over the address that was joined; NULL: none */
    const char *meanwhile; /* for the log, behind what is wrong: "what runs, runs on" */
    bool downloads;        /* member_dial and member_tls are asked for MEMBER_DOWNLOADS, too */
    /* Their owner is the member: member_owner(). They stay the caller's. */
    const struct link_handler *handlers;
    void (*fill_hello)(void *owner, struct msg_hello *hello);
    void (*on_change)(void *owner, enum member_change change);
    void *owner;
};

/* Rests until it is started. Texts are copied. */
struct member *member_new(struct loop *loop, const struct member_spec *spec);
void member_free(struct member *member);
/* Reads the identity, for who wants to know it before the link is there; that there is none is trouble. */
void member_read(struct member *member);
/* Connects, now and whenever the link is lost. */
void member_start(struct member *member);

void *member_owner(const struct member *member);
/* Empty before it is read. */
const struct identity *member_identity(const struct member *member);
bool member_is_linked(const struct member *member);
/* For calls and documents; NULL without one. */
struct link *member_link(const struct member *member);
/* Why there is no link: "not joined yet; …", "can't reach hub1:7000: …"; NULL if there is one. */
const char *member_trouble(const struct member *member);
/* Our address of the connection that was just made; NULL otherwise. */
const char *member_local(const struct member *member);
/* A notice; dropped without a link. */
void member_send(struct member *member, enum msg_type type, const void *m);

/* Another connection to the same hub with our certificate; alpn: PROTOCOL_ALPN or MEMBER_DOWNLOADS. NULL with err: there is
 * no identity. */
struct stream *member_dial(
    struct member *member, const char *alpn, stream_fn fn, void *arg, struct error *err);
/* For who connects by itself; borrowed until the identity is read anew. NULL: plain, or no identity. */
struct tls_context *member_tls(const struct member *member, const char *alpn);
/* A stream can be spoken on: with TLS that is later than being connected. */
bool member_is_ready_event(const struct member *member, enum stream_event event);

/* --- documents that arrive ------------------------------------------------------------------------------------ */

/* Handlers for their beginnings and parts. The end is the owner's, by member_sink. */
void member_on_document_begin(void *member, struct link *link, const void *m, struct reply *reply);
void member_on_document_part(void *member, struct link *link, const void *m, struct reply *reply);
struct document_sink *member_sink(struct member *member);
