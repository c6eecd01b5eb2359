/* SPDX-License-Identifier: MIT */
#pragma once

/* TLS contexts and sessions on a non-blocking socket. A context says who we are and whom we believe; a session is one
 * connection. Both belong to one thread. Events and deadlines are wire.h's and stream.h's; keys and certificates as such
 * are pki.h's. The contexts made here are the fleet's, and speak TLS 1.3 only; tls_public.h serves everybody else.
 *
 * A server asks for a client certificate and does not demand one. What chains to its CA is accepted and
 * described, also past its date; what does not is refused. A client believes the hub by the pin of its CA's
 * public key, or by a CA it holds already, and by the leaf's role; dates and host names are not looked at: the
 * hub's clock is the authority, and its address may change. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/pki.h"

struct tls_context;
struct tls_session;

/* Bound to their sessions by count: freeing a context that sessions use is fine, and so is replacing it. */
struct tls_server {
    const char *cert_pem, *key_pem;
    const char *ca_pem;      /* signs clients; sent in our chain */
    const char *const *alpn; /* ours, best first, ends with NULL; none in common: refused */
};
_must_check_ int tls_server_new(const struct tls_server *spec, struct tls_context **ret, struct error *err);

struct tls_client {
    const char *cert_pem, *key_pem; /* NULL: none shown */
    const char *alpn;
    /* Exactly one way to believe the hub: the pin (hex), or a CA; neither: any, and the caller looks at
     * facts->ca_spki and decides (trust on first use). With a CA its key is what counts. */
    const char *pin;
    const char *ca_pem;
    const char *fleet; /* NULL: any */
};
_must_check_ int tls_client_new(const struct tls_client *spec, struct tls_context **ret, struct error *err);
struct tls_context *tls_context_ref(struct tls_context *context); /* returned; NULL stays NULL */
void tls_context_free(struct tls_context *context);               /* gives one count back */

/* What the handshake told. Strings live as long as the session. */
struct tls_facts {
    const char *alpn; /* NULL: none was agreed */
    bool has_peer;    /* a certificate was shown, and believed */
    struct pki_identity peer;
    char ca_spki
        [SHA256_HEX_SIZE]; /* key that the peer's chain ends in, "" unknown; set on a pin mismatch too */
    char expected[SHA256_HEX_SIZE]; /* the pin, "" without one */
    bool pin_mismatch;              /* the handshake failed because these two differ */
};

/* --- for wire.c -------------------------------------------------------------------------------------------- */

struct tls_session *tls_session_new(struct tls_context *context, int fd, bool is_server);
void tls_session_free(struct tls_session *session);

enum tls_want {
    TLS_WANT_NOTHING,
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_WANT_CALL, /* reading: bytes came, and behind them an end or a failure that the next call tells */
};

/* The socket has become readable, by `eof` because the peer's direction ended. Reading asks the kernel only while there
 * may be something: what was emptied stays so until this is said. */
void tls_session_arrived(struct tls_session *session, bool eof);
/* Each: as read(2) and writev(2) with negative errno; -EAGAIN with *ret_want saying for what; -EPROTO with
 * tls_session_failure. Reading fills buf as far as it goes. Writing takes all that the socket takes, some 80 kB
 * by one system call, and says by TLS_WANT_WRITE, also beside a positive result, that it is full. */
int tls_session_handshake(struct tls_session *session, enum tls_want *ret_want);
ssize_t tls_session_read(struct tls_session *session, void *buf, size_t len, enum tls_want *ret_want);
ssize_t tls_session_writev(
    struct tls_session *session, const struct iovec *iov, int n, enum tls_want *ret_want);
/* What the next tls_session_writev writes is the last, if it takes all of it: close_notify goes along. */
void tls_session_last(struct tls_session *session);
void tls_session_shutdown(struct tls_session *session); /* sends close_notify, once; does not wait */
/* Before the socket is closed: a public session says so, unless it was abandoned, which shall not look like an end. */
void tls_session_end(struct tls_session *session);
void tls_session_abandon(struct tls_session *session);
/* Complete after the handshake, or after it failed as far as it got. NULL for public sessions. */
const struct tls_facts *tls_session_facts(const struct tls_session *session);
/* One clause for people: "the hub refused the certificate: it was revoked". */
const char *tls_session_failure(const struct tls_session *session);
