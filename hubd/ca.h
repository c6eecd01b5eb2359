/* SPDX-License-Identifier: MIT */
#pragma once

/* The hub's own certificate authority and the fleet's id: made once, kept in a directory of their own (0700)
 * apart from the state, so that either can be lost without the other. Also the hub's server certificate, which
 * is made at start and again by itself. Who gets a certificate is decided in enroll.h. */

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/messages.h"

#define CA_KEY_FILE   "ca-key.pem"
#define CA_CERT_FILE  "ca-cert.pem"
#define CA_FLEET_FILE "fleet"
#define CA_RENEW_CHECK_MS \
    (10 * 60 * 1000) /* how often names and age of the server certificate are looked at */

struct ca;
struct loop;

struct ca_spec {
    const char *directory;  /* …/identity */
    bool may_create;        /* the store is empty: a first start. Else a missing CA refuses */
    char *const *names;     /* further names of the hub, for its certificate */
    int64_t certificate_ms; /* lifetime of what it signs */
};

_must_check_ int ca_open(struct loop *loop, const struct ca_spec *spec, struct ca **ret, struct error *err);
void ca_free(struct ca *ca);

const char *ca_fleet(const struct ca *ca);
const char *ca_cert_pem(const struct ca *ca);
const char *ca_spki(const struct ca *ca); /* the pin: SHA-256 of the CA's public key, hex */

/* The key of the request, for one role and name. */
_must_check_ int ca_sign(struct ca *ca, const char *csr_pem, enum role role, const char *name,
    char **ret_cert_pem, struct error *err);

/* The hub's server certificate and key, borrowed until fn runs. fn runs after each renewal. */
void ca_server(const struct ca *ca, const char **ret_cert_pem, const char **ret_key_pem);
void ca_on_server_renewed(struct ca *ca, void (*fn)(void *arg), void *arg);
