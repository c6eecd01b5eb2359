/* SPDX-License-Identifier: MIT */
#include "common/pki.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/pki_x509.h"

#define SERIAL_BYTES     16
#define URI_SCHEME       "stagecoach://"
#define FLEET_MAX        64
#define SECONDS_PER_YEAR (INT64_C(365) * 86400 + 21600)

static void bio_done(BIO **bio)
{
    BIO_free_all(*bio);
}

static void pkey_done(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void x509_done(X509 **cert)
{
    X509_free(*cert);
}

static void req_done(X509_REQ **req)
{
    X509_REQ_free(*req);
}

/* "…: <the library's reason>". */
static int lib_error(struct error *err, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return error_set(err, -EBADMSG, reason ? "%s: %s" : "%s", what, reason);
}

/* Without this the library asks the terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int is_writing, void *arg)
{
    return -1;
}

/* --- PEM in and out -------------------------------------------------------------------------------------- */

static BIO *open_text(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (!bio)
        abort();
    ERR_clear_error();
    return bio;
}

static char *take_text(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    return xstrndup(data, len > 0 ? (size_t)len : 0);
}

static int read_key(const char *pem, EVP_PKEY **ret, struct error *err)
{
    _cleanup_(bio_done) BIO *bio = open_text(pem);
    *ret = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    return *ret ? 0 : lib_error(err, "not a private key in PEM");
}

static int read_cert(const char *pem, X509 **ret, struct error *err)
{
    _cleanup_(bio_done) BIO *bio = open_text(pem);
    *ret = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    return *ret ? 0 : lib_error(err, "not a certificate in PEM");
}

static int read_csr(const char *pem, X509_REQ **ret, struct error *err)
{
    _cleanup_(bio_done) BIO *bio = NULL;
    _cleanup_(req_done) X509_REQ *req = NULL;

    if (strnlen(pem, PKI_PEM_MAX + 1) > PKI_PEM_MAX)
        return error_set(err, -EMSGSIZE, "a certificate request has at most %d bytes", PKI_PEM_MAX);
    bio = open_text(pem);
    req = PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL);
    if (!req)
        return lib_error(err, "not a certificate request in PEM");
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    char group[32] = "";
    if (!key || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        strcmp(group, SN_X9_62_prime256v1) != 0)
        return error_set(err, -EBADMSG, "the key of the certificate request must be EC P-256");
    if (X509_REQ_verify(req, key) != 1)
        return error_set(err, -EBADMSG, "the certificate request is not signed by its own key");
    *ret = steal_ptr(req);
    return 0;
}

static char *cert_text(X509 *cert)
{
    _cleanup_(bio_done) BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509(bio, cert) != 1)
        abort();
    return take_text(bio);
}

/* --- the public key's digest ------------------------------------------------------------------------------ */

void pki_x509_spki(EVP_PKEY *key, char ret[static SHA256_HEX_SIZE])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0) {
        ret[0] = '\0'; /* equals no pin */
        return;
    }
    sha256_hex(der, (size_t)len, ret);
    OPENSSL_free(der);
}

int pki_csr_spki(const char *csr_pem, char ret[static SHA256_HEX_SIZE], struct error *err)
{
    _cleanup_(req_done) X509_REQ *req = NULL;
    int r = read_csr(csr_pem, &req, err);
    if (r < 0)
        return r;
    pki_x509_spki(X509_REQ_get0_pubkey(req), ret);
    return 0;
}

int pki_cert_spki(const char *cert_pem, char ret[static SHA256_HEX_SIZE], struct error *err)
{
    _cleanup_(x509_done) X509 *cert = NULL;
    int r = read_cert(cert_pem, &cert, err);
    if (r < 0)
        return r;
    pki_x509_spki(X509_get0_pubkey(cert), ret);
    return 0;
}

int pki_key_spki(const char *key_pem, char ret[static SHA256_HEX_SIZE], struct error *err)
{
    _cleanup_(pkey_done) EVP_PKEY *key = NULL;
    int r = read_key(key_pem, &key, err);
    if (r < 0)
        return r;
    pki_x509_spki(key, ret);
    return 0;
}

char *pki_fingerprint_text(const char *hex, char *buf)
{
    snprintf(
        buf, 32, "%.4s %.4s %.4s …", hex, strlen(hex) > 4 ? hex + 4 : "", strlen(hex) > 8 ? hex + 8 : "");
    return buf;
}

/* --- names ----------------------------------------------------------------------------------------------- */

char *pki_uri(const char *fleet, enum role role, const char *name)
{
    return xasprintf(URI_SCHEME "%s/%s/%s", fleet, role_names[role], name);
}

static bool is_fleet(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n <= FLEET_MAX && s[n] == '\0' && s[0] != '-';
}

int pki_uri_parse(const char *uri, char **ret_fleet, enum role *ret_role, char **ret_name, struct error *err)
{
    _cleanup_(free_ptr) char *fleet = NULL;
    _cleanup_(free_ptr) char *role_text = NULL;
    const char *slash, *name;
    int role = ROLE_NONE;

    if (strncmp(uri, URI_SCHEME, strlen(URI_SCHEME)) != 0)
        return error_set(err, -EBADMSG, "the certificate names no " URI_SCHEME " identity");
    uri += strlen(URI_SCHEME);
    slash = strchr(uri, '/');
    name = slash ? strchr(slash + 1, '/') : NULL;
    if (!name)
        return error_set(err, -EBADMSG, "the identity in the certificate is not FLEET/ROLE/NAME");
    fleet = xstrndup(uri, (size_t)(slash - uri));
    role_text = xstrndup(slash + 1, (size_t)(name - slash - 1));
    name++;
    for (int i = ROLE_NONE + 1; i < ROLE_MAX_; i++)
        if (strcmp(role_names[i], role_text) == 0)
            role = i;
    if (role == ROLE_NONE || !is_fleet(fleet) || !name_is_person(name))
        return error_set(err, -EBADMSG, "the identity in the certificate is not FLEET/ROLE/NAME");
    *ret_fleet = steal_ptr(fleet);
    *ret_role = (enum role)role;
    *ret_name = xstrdup(name);
    return 0;
}

static wall_t wall_of(const ASN1_TIME *t)
{
    struct tm tm;
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return (wall_t){ 0 };
    return (wall_t){ (int64_t)timegm(&tm) * CLOCK_US_PER_S };
}

static char *serial_text(const X509 *cert)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    char *hex = xcalloc(2 * (size_t)serial->length + 1, 1);
    for (int i = 0; i < serial->length; i++)
        snprintf(hex + 2 * i, 3, "%02x", serial->data[i]);
    return hex;
}

/* The one URI of ours. A second one would make the certificate mean two identities: then it means none. */
static void read_uri(X509 *cert, struct pki_identity *id)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false, twice = false;

    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *gn = sk_GENERAL_NAME_value(names, i);
        if (gn->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *s = gn->d.uniformResourceIdentifier;
        _cleanup_(free_ptr) char *uri = xstrndup((const char *)s->data, (size_t)s->length);
        twice = found;
        found = true;
        if (strlen(uri) != (size_t)s->length ||
            (!twice && pki_uri_parse(uri, &id->fleet, &id->role, &id->name, NULL) < 0))
            twice = true;
        if (twice)
            break;
    }
    GENERAL_NAMES_free(names);
    if (twice) {
        free(steal_ptr(id->fleet));
        free(steal_ptr(id->name));
        id->role = ROLE_NONE;
    }
}

void pki_x509_identity(X509 *cert, struct pki_identity *ret)
{
    *ret = (struct pki_identity){ .role = ROLE_NONE };
    read_uri(cert, ret);
    ret->serial = serial_text(cert);
    ret->not_before = wall_of(X509_get0_notBefore(cert));
    ret->not_after = wall_of(X509_get0_notAfter(cert));
    pki_x509_spki(X509_get0_pubkey(cert), ret->spki);
    ret->is_ca = X509_check_ca(cert) == 1;
    ERR_clear_error();
}

void pki_identity_done(struct pki_identity *id)
{
    free(id->fleet);
    free(id->name);
    free(id->serial);
    *id = (struct pki_identity){ .role = ROLE_NONE };
}

int pki_cert_read(const char *cert_pem, struct pki_identity *ret, struct error *err)
{
    _cleanup_(x509_done) X509 *cert = NULL;
    int r = read_cert(cert_pem, &cert, err);
    if (r < 0)
        return r;
    pki_x509_identity(cert, ret);
    return 0;
}

/* --- making keys, requests and certificates --------------------------------------------------------------- */

int pki_key_new(char **ret_key_pem, struct error *err)
{
    _cleanup_(pkey_done) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(bio_done) BIO *bio = BIO_new(BIO_s_mem());

    if (!key || !bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return lib_error(err, "can't make a key");
    *ret_key_pem = take_text(bio);
    return 0;
}

static bool set_common_name(X509_NAME *subject, const char *name)
{
    return X509_NAME_add_entry_by_NID(
               subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1;
}

int pki_csr_new(const char *key_pem, const char *name, char **ret_csr_pem, struct error *err)
{
    _cleanup_(pkey_done) EVP_PKEY *key = NULL;
    _cleanup_(req_done) X509_REQ *req = X509_REQ_new();
    _cleanup_(bio_done) BIO *bio = BIO_new(BIO_s_mem());
    int r = read_key(key_pem, &key, err);

    if (r < 0)
        return r;
    if (!req || !bio || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_pubkey(req, key) != 1 || !set_common_name(X509_REQ_get_subject_name(req), name) ||
        X509_REQ_sign(req, key, EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(bio, req) != 1)
        return lib_error(err, "can't make a certificate request");
    *ret_csr_pem = take_text(bio);
    return 0;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[SERIAL_BYTES];
    random_bytes(bytes, sizeof(bytes));
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and of one length */
    BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok;
}

static bool set_times(X509 *cert, wall_t now, int64_t valid_s)
{
    time_t at = (time_t)(now.us / CLOCK_US_PER_S);
    return ASN1_TIME_set(X509_getm_notBefore(cert), at - PKI_BACKDATE_S) &&
        ASN1_TIME_set(X509_getm_notAfter(cert), at + (time_t)valid_s);
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

int pki_ca_new(const char *key_pem, const char *fleet, wall_t now, char **ret_cert_pem, struct error *err)
{
    _cleanup_(pkey_done) EVP_PKEY *key = NULL;
    _cleanup_(x509_done) X509 *cert = X509_new();
    _cleanup_(free_ptr) char *name = xasprintf("Stagecoach %.32s", fleet);
    int r = read_key(key_pem, &key, err);

    if (r < 0)
        return r;
    if (!is_fleet(fleet))
        return error_set(err, -EINVAL, "\"%s\" can't be the id of a fleet", fleet);
    if (!cert || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        !set_times(cert, now, PKI_CA_YEARS * SECONDS_PER_YEAR) || X509_set_pubkey(cert, key) != 1 ||
        !set_common_name(X509_get_subject_name(cert), name) ||
        X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        X509_sign(cert, key, EVP_sha256()) <= 0)
        return lib_error(err, "can't make the CA's certificate");
    *ret_cert_pem = cert_text(cert);
    return 0;
}

static GENERAL_NAME *general_name(int type, const void *data, int len)
{
    GENERAL_NAME *gn = GENERAL_NAME_new();
    ASN1_STRING *s = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (!gn || !s || ASN1_STRING_set(s, data, len) != 1)
        abort();
    GENERAL_NAME_set0_value(gn, type, s);
    return gn;
}

/* Built as a structure, not from text: a name can't bring syntax of its own. */
static int add_names(X509 *cert, const struct pki_leaf *leaf, struct error *err)
{
    _cleanup_(free_ptr) char *uri = pki_uri(leaf->fleet, leaf->role, leaf->name);
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    int r = 0;

    sk_GENERAL_NAME_push(names, general_name(GEN_URI, uri, (int)strlen(uri)));
    for (char *const *d = leaf->dns; d && *d; d++)
        sk_GENERAL_NAME_push(names, general_name(GEN_DNS, *d, (int)strlen(*d)));
    for (char *const *a = leaf->addresses; a && *a; a++) {
        unsigned char bytes[16];
        int len = inet_pton(AF_INET, *a, bytes) == 1 ? 4 : inet_pton(AF_INET6, *a, bytes) == 1 ? 16 : 0;
        if (len > 0)
            sk_GENERAL_NAME_push(names, general_name(GEN_IPADD, bytes, len));
        else
            r = error_set(err, -EINVAL, "\"%s\" is no address for a certificate", *a);
    }
    if (r == 0 && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1)
        r = lib_error(err, "can't name the certificate");
    GENERAL_NAMES_free(names);
    return r;
}

int pki_leaf_sign(const struct pki_leaf *leaf, char **ret_cert_pem, struct error *err)
{
    _cleanup_(pkey_done) EVP_PKEY *ca_key = NULL;
    _cleanup_(x509_done) X509 *ca = NULL;
    _cleanup_(req_done) X509_REQ *req = NULL;
    _cleanup_(x509_done) X509 *cert = X509_new();
    int r;

    assert(leaf->role > ROLE_NONE && leaf->role < ROLE_MAX_);
    if (!is_fleet(leaf->fleet) || !name_is_person(leaf->name))
        return error_set(err, -EINVAL, "\"%s\" can't be a name in a certificate", leaf->name);
    if ((r = read_key(leaf->ca_key_pem, &ca_key, err)) < 0 ||
        (r = read_cert(leaf->ca_cert_pem, &ca, err)) < 0 || (r = read_csr(leaf->csr_pem, &req, err)) < 0)
        return r;
    if (X509_check_private_key(ca, ca_key) != 1)
        return lib_error(err, "the CA's key does not belong to its certificate");
    if (!cert || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        !set_times(cert, leaf->now, leaf->valid_s) || X509_set_pubkey(cert, X509_REQ_get0_pubkey(req)) != 1 ||
        !set_common_name(X509_get_subject_name(cert), leaf->name) ||
        X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
        !add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, ca, NID_ext_key_usage, "clientAuth,serverAuth") ||
        !add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, ca, NID_authority_key_identifier, "keyid"))
        return lib_error(err, "can't make a certificate");
    r = add_names(cert, leaf, err);
    if (r < 0)
        return r;
    if (X509_sign(cert, ca_key, EVP_sha256()) <= 0)
        return lib_error(err, "can't sign the certificate");
    *ret_cert_pem = cert_text(cert);
    return 0;
}
