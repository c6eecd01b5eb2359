/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "common/mem.h"

static char *text_of(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *text = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return text;
}

static X509 *make(const char *names, EVP_PKEY *key, int days)
{
    static long serial = 1000;
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400L * days);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"fake", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    if (names) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        if (!e || X509_add_ext(x, e, -1) != 1)
            abort();
        X509_EXTENSION_free(e);
    }
    if (X509_sign(x, key, EVP_sha256()) == 0)
        abort();
    return x;
}

static struct fake_cert as_text(const char *names, EVP_PKEY *key, int days)
{
    X509 *x = make(names, key, days);
    BIO *chain = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(chain, x);
    PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL);
    X509_free(x);
    EVP_PKEY_free(key);
    return (struct fake_cert){ text_of(chain), text_of(secret) };
}

struct fake_cert fake_cert_make(const char *names, enum fake_key kind, int days)
{
    return as_text(names,
        kind == FAKE_KEY_EC ? EVP_EC_gen("P-256") : EVP_RSA_gen(kind == FAKE_KEY_RSA ? 2048U : 1024U), days);
}

struct fake_cert fake_cert_with_key(const char *names, const char *key_pem, int days)
{
    BIO *bio = BIO_new_mem_buf(key_pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return as_text(names, key, days);
}

void fake_cert_done(struct fake_cert *cert)
{
    free(cert->chain);
    free(cert->key);
}

void fake_cert_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}
