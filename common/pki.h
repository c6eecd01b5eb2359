/* SPDX-License-Identifier: MIT */
#pragma once

/* Keys and certificates: what identity is made of. All keys are EC P-256; everything goes in and out as PEM
 * text. It opens no file and no connection. Beside tls*.c the only
 * module that sees the TLS library. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/messages.h"
#include "common/secret.h"
#include "common/sha256.h"

#define PKI_PEM_MAX    16384 /* of a certificate request or certificate that a peer sends */
#define PKI_CA_YEARS   10
#define PKI_BACKDATE_S 86400 /* certificates begin a day early: clocks differ */

/* Who a certificate speaks for: the URI stagecoach://FLEET/ROLE/NAME among its alternative names. */
struct pki_identity {
    char *fleet;
    enum role role;
    char *name;
    char *serial; /* hex, lower case */
    wall_t not_before, not_after;
    char spki[SHA256_HEX_SIZE]; /* SHA-256 of the public key (SubjectPublicKeyInfo) */
    bool is_ca;
};

void pki_identity_done(struct pki_identity *id);

/* "stagecoach://FLEET/ROLE/NAME". Caller frees. */
char *pki_uri(const char *fleet, enum role role, const char *name);
/* Parts of such a URI, checked. Caller frees both. */
_must_check_ int pki_uri_parse(
    const char *uri, char **ret_fleet, enum role *ret_role, char **ret_name, struct error *err);

_must_check_ int pki_key_new(char **ret_key_pem, struct error *err);
_must_check_ int pki_csr_new(const char *key_pem, const char *name, char **ret_csr_pem, struct error *err);
/* SHA-256 of the public key that a request, certificate or private key holds, in hex. The request's signature is
 * checked. */
_must_check_ int pki_csr_spki(const char *csr_pem, char ret[static SHA256_HEX_SIZE], struct error *err);
_must_check_ int pki_cert_spki(const char *cert_pem, char ret[static SHA256_HEX_SIZE], struct error *err);
_must_check_ int pki_key_spki(const char *key_pem, char ret[static SHA256_HEX_SIZE], struct error *err);

/* A self-signed CA, PKI_CA_YEARS long. */
_must_check_ int pki_ca_new(
    const char *key_pem, const char *fleet, wall_t now, char **ret_cert_pem, struct error *err);

struct pki_leaf {
    const char *ca_cert_pem, *ca_key_pem;
    const char *csr_pem; /* only its key is used */
    const char *fleet, *name;
    enum role role;
    char *const *dns;       /* alternative names; for the hub */
    char *const *addresses; /* "10.0.0.5", "::1" */
    wall_t now;
    int64_t valid_s;
};

_must_check_ int pki_leaf_sign(const struct pki_leaf *leaf, char **ret_cert_pem, struct error *err);
/* A CA or anything else without a role URI: role ROLE_NONE, no names. */
_must_check_ int pki_cert_read(const char *cert_pem, struct pki_identity *ret, struct error *err);

/* A fingerprint for people: "7c1f 0d9e 52aa …" (the first 12 hex digits); buf of 32 bytes, returned. */
char *pki_fingerprint_text(const char *hex, char *buf);
