/* SPDX-License-Identifier: MIT */
#include "common/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/mem.h"
#include "common/pki_x509.h"
#include "common/tls_state.h"

/* --- sessions ------------------------------------------------------------------------------------------------ */

void tls_session_fail(struct tls_session *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    free(s->failure);
    s->failure = xmalloc(TLS_FAILURE_MAX);
    vsnprintf(s->failure, TLS_FAILURE_MAX, fmt, args);
    va_end(args);
}

struct tls_session *tls_session_new(struct tls_context *context, int fd, bool is_server)
{
    struct tls_session *s = xcalloc(1, sizeof(*s));
    s->context = tls_context_ref(context);
    s->fd = fd;
    s->may_read = true;
    if (context->public_) {
        tls_public_begin(s);
    } else {
        s->fleet = xcalloc(1, sizeof(*s->fleet));
        memcpy(s->fleet->facts.expected, context->pin, sizeof(s->fleet->facts.expected));
    }
    ERR_clear_error();
    s->ssl = SSL_new(context->ssl);
    if (!s->ssl)
        abort();
    BIO *bio = tls_bio_new(s);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    if (is_server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    return s;
}

void tls_session_free(struct tls_session *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    if (s->fleet)
        pki_identity_done(&s->fleet->facts.peer);
    else
        tls_public_end(s);
    tls_context_free(s->context);
    free(s->fleet);
    free(s->failure);
    free(s->unsent);
    free(s);
}

/* What the library or the peer's alert says, in words of an operator. %s: who the peer is. */
static const struct {
    int reason;
    const char *text;
} reasons[] = {
    /* clang-format off */
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA,           "%s refused the certificate: it is from another certificate authority" },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,      "%s refused the certificate" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,  "%s refused the certificate" },
    { SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "%s refused the certificate: it is not of the kind it takes" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,  "%s refused the certificate: it is past its date" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,  "%s refused the certificate: it was revoked" },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "%s wants a certificate" },
    { SSL_R_TLSV1_ALERT_ACCESS_DENIED,        "%s refused access" },
    { SSL_R_TLSV1_ALERT_DECRYPT_ERROR,        "%s refused the certificate: the key does not fit it" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,     "%s speaks another version of TLS; 1.3 is needed" },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,    "%s found no cipher in common" },
    { SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "%s speaks another protocol" },
    { SSL_R_NO_APPLICATION_PROTOCOL,          "%s speaks another protocol" },
    { SSL_R_UNSUPPORTED_PROTOCOL,             "%s speaks another version of TLS; 1.3 is needed" },
    { SSL_R_WRONG_VERSION_NUMBER,             "%s does not speak TLS" },
    { SSL_R_PACKET_LENGTH_TOO_LONG,           "%s does not speak TLS" },
    { SSL_R_HTTP_REQUEST,                     "%s speaks plain HTTP" },
    { SSL_R_UNEXPECTED_EOF_WHILE_READING,     "%s closed the connection" },
    /* clang-format on */
};

static void explain(struct tls_session *s)
{
    const char *peer = s->context->is_server ? "the client" : "the hub";
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);

    if (s->failure)
        return; /* told when it was found */
    if (!s->fleet)
        s->failure_kind = tls_public_kind(e);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        tls_session_fail(s, "%s shows a certificate that is not ours: %s", peer,
            X509_verify_cert_error_string(SSL_get_verify_result(s->ssl)));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
        if (reasons[i].reason == reason) {
            tls_session_fail(s, reasons[i].text, peer);
            return;
        }
    tls_session_fail(s, "TLS with %s failed: %s", peer, e ? ERR_reason_error_string(e) : "connection closed");
}

/* Turns the outcome of a library call that did not succeed into ours. 0 is the peer's proper end. */
static int outcome(struct tls_session *s, int result, enum tls_want *ret_want)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *ret_want = TLS_WANT_READ;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *ret_want = TLS_WANT_WRITE;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        s->failed = true;
        if (s->system_error)
            return -s->system_error;
        return s->done ? 0 : -ECONNRESET;
    default:
        s->failed = true;
        explain(s);
        ERR_clear_error();
        return -EPROTO;
    }
}

/* What the handshake told of the fleet's peer. */
static void learn(struct tls_session *s)
{
    struct tls_facts *facts = &s->fleet->facts;
    const unsigned char *alpn = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(s->ssl, &alpn, &len);
    if (len > 0 && len < sizeof(s->fleet->alpn)) {
        memcpy(s->fleet->alpn, alpn, len);
        facts->alpn = s->fleet->alpn;
    }
    if (!s->context->is_server)
        return;
    X509 *cert = SSL_get1_peer_certificate(s->ssl);
    if (!cert)
        return;
    pki_x509_identity(cert, &facts->peer);
    memcpy(facts->ca_spki, s->context->pin, sizeof(facts->ca_spki));
    facts->has_peer = true;
    X509_free(cert);
}

/* A public session's ticket leaves with the first answer, if there is one at once. */
static int end_handshake(struct tls_session *s)
{
    s->done = true;
    if (s->fleet) {
        learn(s);
        return tls_bio_flush(s);
    }
    tls_public_learn(s);
    tls_bio_keep(s);
    return 0;
}

static int failed_before(const struct tls_session *s)
{
    return s->failure ? -EPROTO : -ECONNRESET;
}

int tls_session_handshake(struct tls_session *s, enum tls_want *ret_want)
{
    if (s->done)
        return 0;
    ERR_clear_error();
    s->system_error = 0;
    int r = SSL_do_handshake(s->ssl);
    if (r == 1)
        return end_handshake(s);
    r = outcome(s, r, ret_want);
    int sent = tls_bio_flush(s);
    if (r == -EAGAIN && sent < 0)
        return sent;
    if (r == -EAGAIN && tls_bio_has_unsent(s))
        *ret_want = TLS_WANT_WRITE;
    return r == 0 ? -ECONNRESET : r;
}

void tls_session_arrived(struct tls_session *s, bool eof)
{
    s->may_read = true;
    s->eof_near |= eof;
}

/* Nothing came. What waited for company to be sent waits no longer. */
static ssize_t read_nothing(struct tls_session *s, ssize_t r, enum tls_want *ret_want)
{
    int sent = tls_bio_flush(s);
    if (r != -EAGAIN)
        return r;
    if (sent < 0)
        return sent;
    if (tls_bio_has_unsent(s))
        *ret_want = TLS_WANT_WRITE;
    return r;
}

ssize_t tls_session_read(struct tls_session *s, void *buf, size_t len, enum tls_want *ret_want)
{
    size_t total = 0;
    int n;
    if (s->failed)
        return failed_before(s);
    ERR_clear_error();
    s->system_error = 0;
    len = len > INT_MAX ? INT_MAX : len;
    while ((n = SSL_read(s->ssl, (char *)buf + total, (int)(len - total))) > 0) {
        total += (size_t)n;
        if (total == len || !(s->may_read || SSL_has_pending(s->ssl)))
            break;
    }
    ssize_t r = n > 0 ? n : outcome(s, n, ret_want);
    if (total == 0)
        return read_nothing(s, r, ret_want);
    *ret_want = r > 0 || r == -EAGAIN ? TLS_WANT_NOTHING : TLS_WANT_CALL;
    tls_bio_keep(s);
    return (ssize_t)total;
}

/* --- writing --------------------------------------------------------------------------------------------------- */

struct cursor {
    const struct iovec *iov;
    int n;
    size_t at; /* in iov[0] */
};

static void cursor_skip(struct cursor *c, size_t len)
{
    while (c->n > 0 && len >= c->iov->iov_len - c->at) {
        len -= c->iov->iov_len - c->at;
        c->iov++;
        c->n--;
        c->at = 0;
    }
    c->at += c->n > 0 ? len : 0;
}

/* The next piece of at most max bytes: as it lies, or brought together. */
static size_t next_piece(struct tls_context *context, struct cursor *c, size_t max, const void **ret)
{
    cursor_skip(c, 0); /* past empty parts */
    if (c->n == 0)
        return 0;
    size_t here = c->iov->iov_len - c->at, len = 0;
    *ret = (const char *)c->iov->iov_base + c->at;
    if (here >= max || c->n == 1) {
        len = here < max ? here : max;
        cursor_skip(c, len);
        return len;
    }
    if (!context->record)
        context->record = xmalloc(TLS_RECORD_MAX);
    while (c->n > 0 && len < max) {
        here = c->iov->iov_len - c->at;
        size_t part = here < max - len ? here : max - len;
        memcpy(context->record + len, (const char *)c->iov->iov_base + c->at, part);
        len += part;
        cursor_skip(c, part);
    }
    *ret = context->record;
    return len;
}

/* Encrypts up to max bytes into what the context gathers. */
static ssize_t encrypt(struct tls_session *s, struct cursor *cursor, size_t max, enum tls_want *ret_want)
{
    size_t taken = 0;
    while (taken < max) {
        size_t record = s->n_first < TLS_FIRST_BYTES ? TLS_RECORD_FIRST : TLS_RECORD_MAX;
        const void *data;
        size_t len = next_piece(s->context, cursor, record < max - taken ? record : max - taken, &data);
        if (len == 0)
            break;
        int n = SSL_write(s->ssl, data, (int)len);
        if (n <= 0) {
            n = outcome(s, n, ret_want);
            return taken > 0 ? (ssize_t)taken : n == 0 ? -EPIPE : n;
        }
        taken += (size_t)n;
        if (s->n_first < TLS_FIRST_BYTES)
            s->n_first += (uint32_t)n;
        if ((size_t)n < len)
            break;
    }
    return (ssize_t)taken;
}

/* What did not fit into the socket before. False: it still does not, or the connection is gone (*ret says which). */
static bool write_rest(struct tls_session *s, enum tls_want *ret_want, ssize_t *ret)
{
    if (!s->slow || !tls_bio_has_unsent(s))
        return true;
    *ret = tls_bio_flush(s);
    if (*ret == 0 && tls_bio_has_unsent(s)) {
        *ret_want = TLS_WANT_WRITE;
        *ret = -EAGAIN;
    }
    return *ret == 0;
}

static void say_goodbye(struct tls_session *s)
{
    if (s->failed || !s->done || SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN)
        return;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}

ssize_t tls_session_writev(struct tls_session *s, const struct iovec *iov, int n, enum tls_want *ret_want)
{
    struct cursor cursor = { iov, n, 0 };
    size_t max = s->slow ? TLS_WRITE_SLOW : TLS_WRITE_MAX;
    ssize_t done, taken;
    if (s->failed)
        return failed_before(s);
    ERR_clear_error();
    s->system_error = 0;
    if (!write_rest(s, ret_want, &done))
        return done;
    done = s->owed;
    cursor_skip(&cursor, s->owed);
    s->owed = 0;
    do {
        taken = encrypt(s, &cursor, max, ret_want);
        if (s->last && taken >= 0 && cursor.n == 0)
            say_goodbye(s);
        int sent = tls_bio_flush(s);
        if (sent < 0)
            return sent;
        if (taken < 0 && taken != -EAGAIN)
            return taken;
        done += taken > 0 ? taken : 0;
    } while (taken > 0 && cursor.n > 0 && !tls_bio_has_unsent(s));
    s->last = false;
    if (tls_bio_has_unsent(s)) {
        /* It is all on its way, but one byte is not reported: so the caller comes back for the rest. */
        *ret_want = TLS_WANT_WRITE;
        s->owed = done > 0;
        done -= s->owed;
    }
    return done > 0 ? done : -EAGAIN;
}

void tls_session_last(struct tls_session *s)
{
    s->last = true;
}

void tls_session_shutdown(struct tls_session *s)
{
    say_goodbye(s);
    (void)tls_bio_flush(s);
}

void tls_session_abandon(struct tls_session *s)
{
    s->failed = true;
}

void tls_session_end(struct tls_session *s)
{
    if (!s->fleet && !(s->slow && tls_bio_has_unsent(s)))
        tls_session_shutdown(s);
}

const struct tls_facts *tls_session_facts(const struct tls_session *s)
{
    return s->fleet ? &s->fleet->facts : NULL;
}

const char *tls_session_failure(const struct tls_session *s)
{
    return s->failure ? s->failure : "TLS failed";
}
