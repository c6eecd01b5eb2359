/* SPDX-License-Identifier: MIT */
#include "common/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/mem.h"
#include "common/pki_x509.h"
#include "common/tls_state.h"

/* --- the socket under the library: never a SIGPIPE ---------------------------------------------------------- */

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do
        n = send(s->fd, data, (size_t)len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    s->system_error = n < 0 ? errno : 0;
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do
        n = recv(s->fd, data, (size_t)len, 0);
    while (n < 0 && errno == EINTR);
    s->system_error = n < 0 ? errno : 0;
    s->eof = n == 0;
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct tls_session *s = BIO_get_data(bio);
    if (command == BIO_CTRL_FLUSH)
        return 1;
    return command == BIO_CTRL_EOF ? s->eof : 0;
}

static BIO *bio_new(struct tls_session *s)
{
    static BIO_METHOD *method; /* only the main thread opens TLS; made once, kept for the process */
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stagecoach socket");
        if (!method)
            abort();
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    BIO *bio = BIO_new(method);
    if (!bio)
        abort();
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- sessions ------------------------------------------------------------------------------------------------ */

void tls_session_fail(struct tls_session *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->failure, sizeof(s->failure), fmt, args);
    va_end(args);
}

struct tls_session *tls_session_new(struct tls_context *context, int fd, bool is_server)
{
    struct tls_session *s = xcalloc(1, sizeof(*s));
    s->context = context;
    s->fd = fd;
    context->n_refs++;
    memcpy(s->facts.expected, context->pin, sizeof(s->facts.expected));
    ERR_clear_error();
    s->ssl = SSL_new(context->ssl);
    if (!s->ssl)
        abort();
    BIO *bio = bio_new(s);
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
    tls_context_free(s->context);
    pki_identity_done(&s->facts.peer);
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

    if (s->failure[0])
        return; /* told when it was found */
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

static void learn(struct tls_session *s)
{
    const unsigned char *alpn = NULL;
    unsigned len = 0;

    s->done = true;
    SSL_get0_alpn_selected(s->ssl, &alpn, &len);
    if (len > 0 && len < sizeof(s->alpn)) {
        memcpy(s->alpn, alpn, len);
        s->facts.alpn = s->alpn;
    }
    if (!s->context->is_server)
        return;
    X509 *cert = SSL_get1_peer_certificate(s->ssl);
    if (!cert)
        return;
    pki_x509_identity(cert, &s->facts.peer);
    memcpy(s->facts.ca_spki, s->context->pin, sizeof(s->facts.ca_spki));
    s->facts.has_peer = true;
    X509_free(cert);
}

int tls_session_handshake(struct tls_session *s, enum tls_want *ret_want)
{
    if (s->done)
        return 0;
    ERR_clear_error();
    s->system_error = 0;
    int r = SSL_do_handshake(s->ssl);
    if (r == 1) {
        learn(s);
        return 0;
    }
    r = outcome(s, r, ret_want);
    return r == 0 ? -ECONNRESET : r;
}

ssize_t tls_session_read(struct tls_session *s, void *buf, size_t len, enum tls_want *ret_want)
{
    if (s->failed)
        return s->failure[0] ? -EPROTO : -ECONNRESET;
    ERR_clear_error();
    s->system_error = 0;
    int n = SSL_read(s->ssl, buf, len > INT_MAX ? INT_MAX : (int)len);
    return n > 0 ? n : outcome(s, n, ret_want);
}

ssize_t tls_session_write(struct tls_session *s, const void *data, size_t len, enum tls_want *ret_want)
{
    if (s->failed)
        return s->failure[0] ? -EPROTO : -ECONNRESET;
    ERR_clear_error();
    s->system_error = 0;
    int n = SSL_write(s->ssl, data, len > INT_MAX ? INT_MAX : (int)len);
    if (n > 0)
        return n;
    n = outcome(s, n, ret_want);
    return n == 0 ? -EPIPE : n;
}

void tls_session_shutdown(struct tls_session *s)
{
    if (s->failed || !s->done)
        return;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}

const struct tls_facts *tls_session_facts(const struct tls_session *s)
{
    return &s->facts;
}

const char *tls_session_failure(const struct tls_session *s)
{
    return s->failure[0] ? s->failure : "TLS failed";
}
