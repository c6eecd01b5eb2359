/* SPDX-License-Identifier: MIT */
#include "common/tls_certificate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/mem.h"
#include "common/tls_certificate_state.h"
#include "common/tls_state.h"

#define RSA_BITS_MIN     2048
#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 2)

/* --- reading --------------------------------------------------------------------------------------------------- */

static int no_password(char *buf, int size, int writing, void *arg)
{
    return -1;
}

static int read_chain(struct tls_certificate *c, const char *pem, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x;
    ERR_clear_error();
    c->cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    c->chain = sk_X509_new_null();
    while (c->cert && (x = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
        sk_X509_push(c->chain, x);
    BIO_free(bio);
    if (!c->cert)
        return tls_library_error(err, "no certificate in PEM");
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return tls_library_error(err, "a certificate of the chain can't be read");
    ERR_clear_error();
    if (sk_X509_num(c->chain) > TLS_CHAIN_MAX)
        return error_set(err, -EBADMSG, "a chain of more than %d certificates", TLS_CHAIN_MAX);
    return 0;
}

/* Told which kind of key it is, the library tries one way to read it instead of all it has: a quarter of the time. */
static EVP_PKEY *decode_key(const char *kind, const char *pem_name, const unsigned char *der, size_t len)
{
    const char *structure = strcmp(pem_name, PEM_STRING_PKCS8INF) == 0 ? "PrivateKeyInfo" : "type-specific";
    EVP_PKEY *key = NULL;
    OSSL_DECODER_CTX *decoder =
        OSSL_DECODER_CTX_new_for_pkey(&key, "DER", structure, kind, EVP_PKEY_KEYPAIR, NULL, NULL);
    if (decoder)
        (void)OSSL_DECODER_from_data(decoder, &der, &len);
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

/* The first private key of the text, which may hold certificates and parameters too; kind: what it should be. */
static int find_key(const char *kind, const char *pem, EVP_PKEY **ret, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    char *name, *header;
    unsigned char *der;
    EVP_PKEY *key = NULL;
    long len;
    bool found = false, has_password = false;
    while (!found && PEM_read_bio(bio, &name, &header, &der, &len) == 1) {
        const char *end = strstr(name, "PRIVATE KEY");
        found = end && strcmp(end, "PRIVATE KEY") == 0;
        has_password = found && (header[0] != '\0' || strcmp(name, PEM_STRING_PKCS8) == 0);
        if (found && !has_password && !(key = decode_key(kind, name, der, (size_t)len)))
            key = decode_key(NULL, name, der, (size_t)len);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (!found)
        return error_set(err, -EBADMSG, "no private key in PEM");
    if (has_password)
        return error_set(err, -EBADMSG, "the private key has a password");
    if (!key)
        return error_set(err, -EBADMSG, "the private key can't be read");
    *ret = key;
    return 0;
}

static const char *kind_of(const EVP_PKEY *key)
{
    const char *name = EVP_PKEY_get0_type_name(key);
    return strcmp(name, "EC") == 0 ? "ECDSA" : strcmp(name, "ED25519") == 0 ? "Ed25519" : name;
}

static int check_pair(const struct tls_certificate *c, const EVP_PKEY *public, struct error *err)
{
    bool fits = X509_check_private_key(c->cert, c->key) == 1, fits_another = false;
    for (int i = 0; !fits && i < sk_X509_num(c->chain); i++)
        fits_another |= X509_check_private_key(sk_X509_value(c->chain, i), c->key) == 1;
    ERR_clear_error();
    if (fits)
        return 0;
    if (!fits_another && !EVP_PKEY_is_a(c->key, EVP_PKEY_get0_type_name(public)))
        return error_set(
            err, -EBADMSG, "the key is %s, the certificate %s", kind_of(c->key), kind_of(public));
    return error_set(
        err, -EBADMSG, "certificate and key don't fit (the server's own certificate must come first)");
}

static int read_key(struct tls_certificate *c, const char *pem, struct error *err)
{
    EVP_PKEY *public = X509_get0_pubkey(c->cert);
    ERR_clear_error();
    if (!public)
        return error_set(err, -EBADMSG, "the certificate's key can't be read");
    int r = find_key(EVP_PKEY_get0_type_name(public), pem, &c->key, err);
    if (r == 0)
        r = check_pair(c, public, err);
    if (r < 0)
        return r;
    c->is_rsa = EVP_PKEY_is_a(c->key, "RSA") || EVP_PKEY_is_a(c->key, "RSA-PSS");
    if (c->is_rsa && EVP_PKEY_get_bits(c->key) < RSA_BITS_MIN)
        return error_set(err, -EBADMSG, "an RSA key of %d bits, at least %d are needed",
            EVP_PKEY_get_bits(c->key), RSA_BITS_MIN);
    if (!c->is_rsa && !EVP_PKEY_is_a(c->key, "EC") && !EVP_PKEY_is_a(c->key, "ED25519"))
        return error_set(err, -EBADMSG, "a key that is not ECDSA, Ed25519 or RSA");
    return 0;
}

static wall_t wall_of(const ASN1_TIME *t)
{
    struct tm tm;
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return (wall_t){ 0 };
    return (wall_t){ (int64_t)timegm(&tm) * 1000000 };
}

/* --- names ----------------------------------------------------------------------------------------------------- */

/* As Host fields write it; IPv6 in brackets. */
static bool address_text(const unsigned char *bytes, int len, char *buf)
{
    if (len == 4)
        return inet_ntop(AF_INET, bytes, buf, ADDRESS_TEXT_MAX);
    if (len != 16)
        return false;
    char *end = buf;
    *end++ = '[';
    if (!inet_ntop(AF_INET6, bytes, end, ADDRESS_TEXT_MAX - 2))
        return false;
    end += strlen(end);
    memcpy(end, "]", 2);
    return true;
}

static bool name_is_sane(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool star = name[i] == '*' && i == 0 && len > 2 && name[1] == '.';
        if (!isalnum((unsigned char)name[i]) && !strchr("-._[]:", name[i]) && !star)
            return false;
    }
    return len > 0 && len <= TLS_NAME_MAX;
}

static void add_name(struct tls_certificate *c, const char *name, size_t len)
{
    if (!name_is_sane(name, len) || c->n_names == TLS_CERTIFICATE_NAMES_MAX)
        return;
    char *copy = xstrndup(name, len);
    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    c->names = xrealloc(c->names, (c->n_names + 1) * sizeof(*c->names));
    c->names[c->n_names++] = copy;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(struct tls_certificate *c, struct error *err)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(c->cert, NID_subject_alt_name, NULL, NULL);
    char text[ADDRESS_TEXT_MAX];
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        int type;
        const ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);
        if (type == GEN_DNS)
            add_name(c, (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
        else if (type == GEN_IPADD && address_text(ASN1_STRING_get0_data(s), ASN1_STRING_length(s), text))
            add_name(c, text, strlen(text));
    }
    GENERAL_NAMES_free(all);
    if (c->n_names == 0)
        return error_set(err, -EBADMSG, "it bears no name (subjectAltName)");
    qsort(c->names, c->n_names, sizeof(*c->names), compare_names);
    return 0;
}

static bool bears(const struct tls_certificate *c, const char *name, size_t len)
{
    size_t low = 0, high = c->n_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(c->names[mid], name, len);
        if (order == 0 && c->names[mid][len] == '\0')
            return true;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

bool tls_certificate_covers(const struct tls_certificate *c, const char *name, size_t len)
{
    char lower[TLS_NAME_MAX + 1];
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > TLS_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
    lower[len] = '\0';
    if (lower[0] == '[') {
        unsigned char bytes[16];
        char text[ADDRESS_TEXT_MAX];
        lower[len - 1] = '\0';
        return inet_pton(AF_INET6, lower + 1, bytes) == 1 && address_text(bytes, 16, text) &&
            bears(c, text, strlen(text));
    }
    if (bears(c, lower, len))
        return true;
    char *dot = memchr(lower, '.', len);
    if (!dot || dot == lower)
        return false;
    *--dot = '*';
    return bears(c, dot, len - (size_t)(dot - lower));
}

/* --- life ------------------------------------------------------------------------------------------------------ */

int tls_certificate_new(
    const char *chain_pem, const char *key_pem, struct tls_certificate **ret, struct error *err)
{
    struct tls_certificate *c = xcalloc(1, sizeof(*c));
    atomic_init(&c->n_refs, 1);
    int r = read_chain(c, chain_pem, err);
    if (r == 0)
        r = read_key(c, key_pem, err);
    if (r == 0)
        r = read_names(c, err);
    if (r < 0) {
        tls_certificate_unref(c);
        return r;
    }
    c->expires = wall_of(X509_get0_notAfter(c->cert));
    *ret = c;
    return 0;
}

struct tls_certificate *tls_certificate_ref(struct tls_certificate *c)
{
    if (c)
        atomic_fetch_add_explicit(&c->n_refs, 1, memory_order_relaxed);
    return c;
}

void tls_certificate_unref(struct tls_certificate *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < c->n_names; i++)
        free(c->names[i]);
    free(c->names);
    free(c->staple);
    X509_free(c->cert);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    free(c);
}

const char *const *tls_certificate_names(const struct tls_certificate *c, size_t *ret_n)
{
    *ret_n = c->n_names;
    return (const char *const *)c->names;
}

bool tls_certificate_is_rsa(const struct tls_certificate *c)
{
    return c->is_rsa;
}

wall_t tls_certificate_expires(const struct tls_certificate *c)
{
    return c->expires;
}

/* --- OCSP ------------------------------------------------------------------------------------------------------ */

/* The response's word on this certificate, by its serial number; with the issuer at hand by the issuer too. */
static OCSP_SINGLERESP *find_single(const struct tls_certificate *c, OCSP_BASICRESP *basic)
{
    X509 *issuer = sk_X509_num(c->chain) > 0 ? sk_X509_value(c->chain, 0) : NULL;
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        const OCSP_CERTID *id = OCSP_SINGLERESP_get0_id(single);
        ASN1_OBJECT *digest;
        ASN1_INTEGER *serial;
        OCSP_id_get0_info(NULL, &digest, NULL, &serial, (OCSP_CERTID *)id);
        if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(c->cert)) != 0)
            continue;
        if (!issuer)
            return single;
        OCSP_CERTID *own = OCSP_cert_to_id(EVP_get_digestbyobj(digest), c->cert, issuer);
        bool same = own && OCSP_id_cmp(own, id) == 0;
        OCSP_CERTID_free(own);
        if (same)
            return single;
    }
    return NULL;
}

static int judge_single(
    struct tls_certificate *c, OCSP_SINGLERESP *single, wall_t now, wall_t *ret_until, struct error *err)
{
    ASN1_GENERALIZEDTIME *from, *until;
    int reason;
    if (!single)
        return error_set(err, -EBADMSG, "the OCSP response is for another certificate");
    int status = OCSP_single_get0_status(single, &reason, NULL, &from, &until);
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return error_set(err, status == V_OCSP_CERTSTATUS_REVOKED ? -EKEYREVOKED : -EBADMSG,
            "the OCSP response does not say \"good\"");
    *ret_until = wall_of(until);
    if (!until || ret_until->us <= now.us)
        return error_set(err, -EBADMSG, "the OCSP response is past its date");
    if (wall_of(from).us > now.us + TLS_STAPLE_SKEW_S * INT64_C(1000000))
        return error_set(err, -EBADMSG, "the OCSP response is from the future");
    return 0;
}

int tls_certificate_staple(
    struct tls_certificate *c, const void *der, size_t len, wall_t now, struct error *err)
{
    const unsigned char *p = der;
    wall_t until = { 0 };
    if (len > TLS_STAPLE_MAX)
        return error_set(err, -EMSGSIZE, "an OCSP response of more than %d bytes", TLS_STAPLE_MAX);
    ERR_clear_error();
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &p, (long)len);
    OCSP_BASICRESP *basic = response ? OCSP_response_get1_basic(response) : NULL;
    int r = 0;
    if (!basic || OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        r = tls_library_error(err, "not a successful OCSP response in DER");
    if (r == 0)
        r = judge_single(c, find_single(c, basic), now, &until, err);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    if (r < 0)
        return r;
    free(c->staple);
    c->staple = (unsigned char *)xmemdup(der, len);
    c->staple_len = len;
    c->staple_expires = until;
    return 0;
}

bool tls_certificate_keep_staple(struct tls_certificate *c, const struct tls_certificate *old, wall_t now)
{
    return old->staple && tls_certificate_staple(c, old->staple, old->staple_len, now, NULL) == 0;
}
