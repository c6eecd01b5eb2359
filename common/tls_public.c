/* SPDX-License-Identifier: MIT */
#include "common/tls_public.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>

#include "common/mem.h"
#include "common/tls_certificate_state.h"
#include "common/tls_state.h"

/* What is fast in hardware first; a client that puts ChaCha first has no such hardware, and gets its way. */
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_12                                               \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256:P-384"
#define SIGNATURES                                                                  \
    "ECDSA+SHA256:ed25519:ECDSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA256:RSA-PSS+SHA384:" \
    "RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"
#define SECURITY_LEVEL 2 /* 112 bits */

/* --- choosing a certificate ------------------------------------------------------------------------------------ */

static void drop_shown(struct tls_session *s)
{
    for (int i = 0; i < 2; i++) {
        tls_certificate_unref(s->shown[i]);
        s->shown[i] = NULL;
    }
}

/* RFC 6066: a list of names of which only the type 0 exists. False: malformed. */
static bool parse_name(const unsigned char *data, size_t len, char *ret, size_t *ret_len)
{
    if (len < 5 || (size_t)(data[0] << 8 | data[1]) != len - 2 || data[2] != 0)
        return false;
    size_t n = (size_t)(data[3] << 8 | data[4]);
    if (n != len - 5 || n == 0 || n > TLS_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = data[5 + i];
        if (c <= ' ' || c >= 0x7f)
            return false;
        ret[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    *ret_len = n;
    return true;
}

/* Before anything else is decided, and for resumed sessions too. */
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    const struct tls_public *public = arg;
    struct tls_session *s = SSL_get_app_data(ssl);
    const unsigned char *data;
    char name[TLS_NAME_MAX];
    size_t len, name_len = 0;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &len) == 1 &&
        !parse_name(data, len, name, &name_len)) {
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    drop_shown(s); /* a second hello, after a retry, asks again */
    if (!public->choose(public->arg, name, name_len, s->shown)) {
        s->no_name = true;
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int on_certificate(SSL *ssl, void *arg)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    for (int i = 0; i < 2; i++) {
        struct tls_certificate *c = s->shown[i];
        if (c && SSL_use_cert_and_key(ssl, c->cert, c->key, c->chain, 1) != 1)
            return 0;
    }
    return s->shown[0] != NULL;
}

static struct tls_certificate *in_use(const struct tls_session *s)
{
    const X509 *x = SSL_get_certificate(s->ssl);
    return s->shown[1] && s->shown[1]->cert == x ? s->shown[1] : s->shown[0];
}

static int on_status(SSL *ssl, void *arg)
{
    const struct tls_certificate *c = in_use(SSL_get_app_data(ssl));
    if (!c || !c->staple || c->staple_expires.us <= clock_wall().us)
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(c->staple, c->staple_len);
    if (!copy)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, c->staple_len);
    return SSL_TLSEXT_ERR_OK;
}

/* --- tickets --------------------------------------------------------------------------------------------------- */

static bool key_mac(EVP_MAC_CTX *mac, struct tls_ticket_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"sha256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int on_ticket(
    SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_session *s = SSL_get_app_data(ssl);
    const struct tls_public *public = s->context->public_;
    struct tls_ticket_key key;
    enum tls_ticket_use use = public->ticket_key(public->arg, encrypt ? NULL : name, &key);
    int r = 0;

    if (use == TLS_TICKET_UNKNOWN)
        return 0;
    if (encrypt) {
        memcpy(name, key.name, sizeof(key.name));
        r = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
                EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 && key_mac(mac, &key)
            ? 1
            : -1;
    } else if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) != 1 ||
        !key_mac(mac, &key)) {
        r = -1;
    } else {
        /* Clients of 1.3 use a ticket once, so that nobody can tell their connections belong together. */
        r = use == TLS_TICKET_RENEW || SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return r;
}

/* --- contexts -------------------------------------------------------------------------------------------------- */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
    unsigned in_len, void *arg)
{
    const struct tls_context *c = arg;
    if (SSL_select_next_proto((unsigned char **)out, out_len, c->alpn, c->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

int tls_public_new(const struct tls_public *spec, struct tls_context **ret, struct error *err)
{
    static const unsigned char alpn[] = "\x02h2\x08http/1.1\x08http/1.0";
    static const unsigned char id[] = "stagecoach";
    struct tls_context *c = tls_context_make(true);
    size_t skip = spec->http2 ? 0 : 3;

    c->public_ = spec;
    c->alpn_len = sizeof(alpn) - 1 - skip;
    memcpy(c->alpn, alpn + skip, c->alpn_len);
    SSL_CTX_set_min_proto_version(c->ssl, spec->only_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl,
        SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION |
            SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
    SSL_CTX_set_security_level(c->ssl, SECURITY_LEVEL);
    SSL_CTX_set_session_id_context(c->ssl, id, sizeof(id) - 1);
    SSL_CTX_set_timeout(c->ssl, TLS_TICKET_LIFETIME_S);
    SSL_CTX_set_num_tickets(c->ssl, 1);
    SSL_CTX_set_max_early_data(c->ssl, 0);
    SSL_CTX_set_client_hello_cb(c->ssl, on_client_hello, (void *)spec);
    SSL_CTX_set_cert_cb(c->ssl, on_certificate, NULL);
    SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
    SSL_CTX_set_tlsext_status_cb(c->ssl, on_status);
    if (SSL_CTX_set_ciphersuites(c->ssl, CIPHERS_13) != 1 ||
        SSL_CTX_set_cipher_list(c->ssl, CIPHERS_12) != 1 || SSL_CTX_set1_groups_list(c->ssl, GROUPS) != 1 ||
        SSL_CTX_set1_sigalgs_list(c->ssl, SIGNATURES) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ssl, on_ticket) != 1) {
        tls_context_free(c);
        return tls_library_error(err, "the TLS library lacks what is needed");
    }
    *ret = c;
    return 0;
}

/* --- sessions -------------------------------------------------------------------------------------------------- */

void tls_public_begin(struct tls_session *s)
{
    s->failure_kind = TLS_FAILURE_CLOSED;
}

void tls_public_end(struct tls_session *s)
{
    drop_shown(s);
}

/* One is enough from here on; a resumed session showed none, and is judged by the first. */
void tls_public_learn(struct tls_session *s)
{
    struct tls_certificate *c = tls_certificate_ref(in_use(s));
    drop_shown(s);
    s->shown[0] = c;
}

const char *const tls_failure_kind_names[TLS_FAILURE_KIND_MAX_] = {
    [TLS_FAILURE_OTHER] = "other",
    [TLS_FAILURE_CLOSED] = "closed",
    [TLS_FAILURE_HTTP] = "http",
    [TLS_FAILURE_NOT_TLS] = "not-tls",
    [TLS_FAILURE_VERSION] = "version",
    [TLS_FAILURE_CIPHER] = "cipher",
    [TLS_FAILURE_NAME] = "name",
    [TLS_FAILURE_PROTOCOL] = "protocol",
    [TLS_FAILURE_ALERT] = "alert",
};

unsigned char tls_public_kind(unsigned long e)
{
    static const struct {
        int reason;
        enum tls_failure_kind kind;
    } kinds[] = {
        { SSL_R_CALLBACK_FAILED, TLS_FAILURE_NAME },
        { SSL_R_CLIENTHELLO_TLSEXT, TLS_FAILURE_NAME },
        { SSL_R_HTTPS_PROXY_REQUEST, TLS_FAILURE_HTTP },
        { SSL_R_HTTP_REQUEST, TLS_FAILURE_HTTP },
        { SSL_R_NO_APPLICATION_PROTOCOL, TLS_FAILURE_PROTOCOL },
        { SSL_R_NO_SHARED_CIPHER, TLS_FAILURE_CIPHER },
        { SSL_R_NO_SHARED_GROUPS, TLS_FAILURE_CIPHER },
        { SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, TLS_FAILURE_CIPHER },
        { SSL_R_NO_SUITABLE_KEY_SHARE, TLS_FAILURE_CIPHER },
        { SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TLS_FAILURE_CIPHER },
        { SSL_R_PACKET_LENGTH_TOO_LONG, TLS_FAILURE_NOT_TLS },
        { SSL_R_UNEXPECTED_EOF_WHILE_READING, TLS_FAILURE_CLOSED },
        { SSL_R_UNSUPPORTED_PROTOCOL, TLS_FAILURE_VERSION },
        { SSL_R_VERSION_TOO_LOW, TLS_FAILURE_VERSION },
        { SSL_R_WRONG_SSL_VERSION, TLS_FAILURE_VERSION },
        { SSL_R_WRONG_VERSION_NUMBER, TLS_FAILURE_NOT_TLS },
    };
    int reason = ERR_GET_REASON(e);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (kinds[i].reason == reason)
            return (unsigned char)kinds[i].kind;
    }
    return reason >= SSL_AD_REASON_OFFSET ? TLS_FAILURE_ALERT : TLS_FAILURE_OTHER;
}

enum tls_failure_kind tls_public_failure(const struct tls_session *s)
{
    return s->no_name ? TLS_FAILURE_NAME : (enum tls_failure_kind)s->failure_kind;
}

bool tls_public_is_http2(const struct tls_session *s)
{
    const unsigned char *alpn;
    unsigned len;
    SSL_get0_alpn_selected(s->ssl, &alpn, &len);
    return len == 2 && memcmp(alpn, "h2", 2) == 0;
}

bool tls_public_is_resumed(const struct tls_session *s)
{
    return SSL_session_reused(s->ssl) == 1;
}

const struct tls_certificate *tls_public_shown(const struct tls_session *s)
{
    return s->shown[0];
}

uint16_t tls_public_version(const struct tls_session *s)
{
    return (uint16_t)SSL_version(s->ssl);
}

uint16_t tls_public_cipher(const struct tls_session *s)
{
    return (uint16_t)SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(s->ssl));
}
