/* SPDX-License-Identifier: MIT */
#include "common/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/mem.h"
#include "common/pki_x509.h"
#include "common/tls_state.h"

int tls_library_error(struct error *err, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return error_set(err, -EBADMSG, reason ? "%s: %s" : "%s", what, reason);
}

/* --- contexts ---------------------------------------------------------------------------------------------- */

static X509 *read_cert(const char *pem, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    if (!cert)
        tls_library_error(err, "not a certificate in PEM");
    return cert;
}

static int use_identity(struct tls_context *c, const char *cert_pem, const char *key_pem, struct error *err)
{
    X509 *cert = read_cert(cert_pem, err);
    if (!cert)
        return -EBADMSG;
    BIO *bio = BIO_new_mem_buf(key_pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    bool ok = key && SSL_CTX_use_certificate(c->ssl, cert) == 1 && SSL_CTX_use_PrivateKey(c->ssl, key) == 1 &&
        SSL_CTX_check_private_key(c->ssl) == 1;
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok ? 0
              : tls_library_error(err, key ? "certificate and key don't fit" : "not a private key in PEM");
}

static int add_alpn(struct tls_context *c, const char *name, struct error *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > 255 || c->alpn_len + len + 1 > sizeof(c->alpn))
        return error_set(err, -EINVAL, "\"%s\" does not fit as a protocol name", name);
    c->alpn[c->alpn_len] = (unsigned char)len;
    memcpy(c->alpn + c->alpn_len + 1, name, len);
    c->alpn_len += (unsigned)len + 1;
    return 0;
}

struct tls_context *tls_context_make(bool is_server)
{
    struct tls_context *c = xcalloc(1, sizeof(*c));
    c->n_refs = 1;
    c->is_server = is_server;
    ERR_clear_error();
    c->ssl = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (!c->ssl)
        abort();
    SSL_CTX_set_mode(c->ssl,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(c->ssl, 1);
    return c;
}

static struct tls_context *fleet_context(bool is_server)
{
    struct tls_context *c = tls_context_make(is_server);
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION);
    /* Frames and HTTP bodies say where they end, so a peer that forgets close_notify cuts nothing off. */
    SSL_CTX_set_options(c->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(c->ssl, 0);
    return c;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    if (c)
        c->n_refs++;
    return c;
}

void tls_context_free(struct tls_context *c)
{
    if (!c || --c->n_refs > 0)
        return;
    SSL_CTX_free(c->ssl);
    X509_free(c->ca);
    free(c->fleet);
    free(c->out);
    free(c->record);
    free(c);
}

static void context_done(struct tls_context **c)
{
    tls_context_free(*c);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
    unsigned in_len, void *arg)
{
    struct tls_context *c = arg;
    if (SSL_select_next_proto((unsigned char **)out, out_len, c->alpn, c->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

int tls_server_new(const struct tls_server *spec, struct tls_context **ret, struct error *err)
{
    _cleanup_(context_done) struct tls_context *c = fleet_context(true);
    int r = use_identity(c, spec->cert_pem, spec->key_pem, err);

    if (r < 0)
        return r;
    c->ca = read_cert(spec->ca_pem, err);
    if (!c->ca)
        return -EBADMSG;
    pki_x509_spki(X509_get0_pubkey(c->ca), c->pin);
    for (const char *const *a = spec->alpn; a && *a; a++)
        if ((r = add_alpn(c, *a, err)) < 0)
            return r;
    /* The CA travels in the chain: a joiner compares its key with the pin. */
    if (SSL_CTX_add1_chain_cert(c->ssl, c->ca) != 1 ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(c->ssl), c->ca) != 1 ||
        SSL_CTX_add_client_CA(c->ssl, c->ca) != 1)
        return tls_library_error(err, "can't use the CA's certificate");
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c->ssl), X509_V_FLAG_NO_CHECK_TIME);
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
    *ret = steal_ptr(c);
    return 0;
}

/* --- believing the hub --------------------------------------------------------------------------------------- */

/* The certificate that everything hangs on: the CA we hold, or the one in the peer's chain. Its key is compared
 * with the pin; nothing else about it counts. */
static X509 *find_anchor(struct tls_session *s, STACK_OF(X509) * chain)
{
    struct tls_context *c = s->context;
    char spki[SHA256_HEX_SIZE];
    X509 *first_ca = NULL;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *cert = sk_X509_value(chain, i);
        if (X509_check_ca(cert) != 1)
            continue;
        pki_x509_spki(X509_get0_pubkey(cert), spki);
        if (c->pin[0] && strcmp(spki, c->pin) == 0) {
            memcpy(s->fleet->facts.ca_spki, spki, sizeof(spki));
            return cert;
        }
        if (!first_ca) {
            first_ca = cert;
            memcpy(s->fleet->facts.ca_spki, spki, sizeof(spki));
        }
    }
    if (!first_ca && c->ca) {
        memcpy(s->fleet->facts.ca_spki, c->pin, sizeof(c->pin));
        return c->ca; /* no CA in the chain: the signature will tell */
    }
    if (!first_ca) {
        tls_session_fail(s, "it shows no certificate authority and so is no hub");
        return NULL;
    }
    if (c->pin[0]) {
        s->fleet->facts.pin_mismatch = true;
        tls_session_fail(
            s, "it shows another key (%.4s…) than expected (%.4s…)", s->fleet->facts.ca_spki, c->pin);
        return NULL;
    }
    return first_ca;
}

static bool chain_holds(struct tls_session *s, X509 *leaf, X509 *anchor)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool ok = false;

    if (!store || !check)
        abort();
    X509_STORE_add_cert(store, anchor);
    if (X509_STORE_CTX_init(check, store, leaf, NULL) == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(check);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
        ok = X509_verify_cert(check) == 1;
    }
    if (!ok)
        tls_session_fail(s, "its certificate is not from its own certificate authority: %s",
            X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
    X509_STORE_CTX_free(check);
    X509_STORE_free(store);
    return ok;
}

static bool is_hub(struct tls_session *s, X509 *leaf)
{
    struct pki_identity *peer = &s->fleet->facts.peer;
    const char *fleet = s->context->fleet;

    pki_identity_done(peer);
    pki_x509_identity(leaf, peer);
    if (peer->role != ROLE_HUB) {
        tls_session_fail(s, "its certificate is not a hub's");
        return false;
    }
    if (fleet && strcmp(fleet, peer->fleet) != 0) {
        tls_session_fail(s, "it is the hub of another fleet (%s, not %s)", peer->fleet, fleet);
        return false;
    }
    s->fleet->facts.has_peer = true;
    return true;
}

/* In place of the library's own judgement, which looks at dates and host names and knows no pins. */
static int judge_hub(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    X509 *anchor = find_anchor(s, X509_STORE_CTX_get0_untrusted(store));

    if (anchor && chain_holds(s, leaf, anchor) && is_hub(s, leaf)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

int tls_client_new(const struct tls_client *spec, struct tls_context **ret, struct error *err)
{
    _cleanup_(context_done) struct tls_context *c = fleet_context(false);
    int r;

    if (spec->cert_pem && (r = use_identity(c, spec->cert_pem, spec->key_pem, err)) < 0)
        return r;
    if (spec->alpn && (r = add_alpn(c, spec->alpn, err)) < 0)
        return r;
    if (c->alpn_len > 0)
        SSL_CTX_set_alpn_protos(c->ssl, c->alpn, c->alpn_len);
    if (spec->ca_pem) {
        c->ca = read_cert(spec->ca_pem, err);
        if (!c->ca)
            return -EBADMSG;
        pki_x509_spki(X509_get0_pubkey(c->ca), c->pin);
    } else if (spec->pin) {
        if (strlen(spec->pin) != SHA256_HEX_SIZE - 1)
            return error_set(err, -EINVAL, "a pin has %d hex digits", SHA256_HEX_SIZE - 1);
        memcpy(c->pin, spec->pin, SHA256_HEX_SIZE);
    }
    c->fleet = xstrdup(spec->fleet);
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(c->ssl, judge_hub, NULL);
    *ret = steal_ptr(c);
    return 0;
}
