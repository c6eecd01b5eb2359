/* SPDX-License-Identifier: MIT */
#pragma once

/* TLS for anybody, as a server on the open net offers it: versions 1.2 and 1.3, certificates by name, tickets for
 * resumption with keys that the owner keeps, no client certificates. Contexts are tls.h's, and so are the calls that work
 * on a session; this is what is different.
 *
 * A context and its sessions belong to one thread; certificates, and what the callbacks ask, are shared. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/tls_certificate.h"

struct tls_context;
struct tls_session;

#define TLS_NAME_MAX          255
#define TLS_TICKET_NAME_SIZE  16
#define TLS_TICKET_KEY_SIZE   32
#define TLS_TICKET_LIFETIME_S 86400 /* as told to clients; keys that are gone end it earlier */

struct tls_ticket_key {
    unsigned char name[TLS_TICKET_NAME_SIZE];
    unsigned char cipher[TLS_TICKET_KEY_SIZE], mac[TLS_TICKET_KEY_SIZE];
};

enum tls_ticket_use { TLS_TICKET_UNKNOWN, TLS_TICKET_GOOD, TLS_TICKET_RENEW };

struct tls_public {
    /* What is shown to who asks for that name (lower case; length 0: none was asked for): one certificate, or two of
     * different kinds; counts are handed over. False: there is none, and the handshake is refused. */
    bool (*choose)(void *arg, const char *name, size_t len, struct tls_certificate *ret[2]);
    /* name NULL: the key for new tickets; else the one that bears it. */
    enum tls_ticket_use (*ticket_key)(void *arg, const unsigned char *name, struct tls_ticket_key *ret);
    void *arg;
    bool http2; /* "h2" before "http/1.1" and "http/1.0" */
    bool only_tls13;
};
/* spec is used as long as the context lives. */
_must_check_ int tls_public_new(const struct tls_public *spec, struct tls_context **ret, struct error *err);

/* Why handshakes fail, for counters. */
enum tls_failure_kind {
    TLS_FAILURE_OTHER,
    TLS_FAILURE_CLOSED,   /* the client went away */
    TLS_FAILURE_HTTP,     /* plain HTTP came */
    TLS_FAILURE_NOT_TLS,  /* anything else that is no TLS */
    TLS_FAILURE_VERSION,  /* no version in common */
    TLS_FAILURE_CIPHER,   /* no cipher, group or signature in common */
    TLS_FAILURE_NAME,     /* no certificate for that name */
    TLS_FAILURE_PROTOCOL, /* no protocol in common (ALPN) */
    TLS_FAILURE_ALERT,    /* the client refused: the certificate, mostly */
    TLS_FAILURE_KIND_MAX_
};
extern const char *const tls_failure_kind_names[TLS_FAILURE_KIND_MAX_];
enum tls_failure_kind tls_public_failure(const struct tls_session *session);

/* --- after the handshake --------------------------------------------------------------------------------------- */

bool tls_public_is_http2(const struct tls_session *session);
bool tls_public_is_resumed(const struct tls_session *session);
/* What the client was shown; lives as long as the session. */
const struct tls_certificate *tls_public_shown(const struct tls_session *session);
/* As on the wire: 0x0304, 0x1301. */
uint16_t tls_public_version(const struct tls_session *session);
uint16_t tls_public_cipher(const struct tls_session *session);
