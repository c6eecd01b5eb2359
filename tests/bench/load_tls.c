/* SPDX-License-Identifier: MIT */
#include "tests/bench/load.h"

#include <errno.h>
#include <openssl/ssl.h>

/* TLS as an ordinary client speaks it, but that it looks at no certificate. */

struct load_tls {
    SSL *ssl;
};

static SSL_CTX *context;
static SSL_SESSION *session; /* the newest, which TLS_RESUMED takes up */

static int on_session(SSL *ssl, SSL_SESSION *fresh)
{
    (void)ssl;
    if (options.tls != TLS_RESUMED)
        return 0;
    SSL_SESSION_free(session);
    session = fresh;
    return 1;
}

static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
}

void conn_start_tls(struct conn *c)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    if (!context)
        make_context();
    c->tls = xcalloc(1, sizeof(*c->tls));
    c->tls->ssl = SSL_new(context);
    SSL_set_fd(c->tls->ssl, c->fd);
    SSL_set_connect_state(c->tls->ssl);
    SSL_set_tlsext_host_name(c->tls->ssl, options.host);
    SSL_set_alpn_protos(c->tls->ssl, alpn, sizeof(alpn) - 1);
    if (session)
        SSL_set_session(c->tls->ssl, session);
}

/* As recv and send have it. */
static ssize_t result(struct conn *c, int n)
{
    if (n > 0)
        return n;
    switch (SSL_get_error(c->tls->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = ECONNRESET;
        return -1;
    }
}

int conn_handshake(struct conn *c)
{
    ssize_t n = result(c, SSL_do_handshake(c->tls->ssl));
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? 0 : -1;
    load.handshakes++;
    load.resumed += SSL_session_reused(c->tls->ssl);
    return 1;
}

ssize_t conn_recv(struct conn *c, void *data, size_t len)
{
    return c->tls ? result(c, SSL_read(c->tls->ssl, data, (int)len)) : recv(c->fd, data, len, 0);
}

ssize_t conn_send(struct conn *c, const void *data, size_t len)
{
    return c->tls ? result(c, SSL_write(c->tls->ssl, data, (int)len)) : send(c->fd, data, len, MSG_NOSIGNAL);
}

void conn_end_tls(struct conn *c)
{
    if (!c->tls)
        return;
    if (SSL_is_init_finished(c->tls->ssl))
        (void)SSL_shutdown(c->tls->ssl);
    SSL_free(c->tls->ssl);
    free(c->tls);
    c->tls = NULL;
}
