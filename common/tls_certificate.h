/* SPDX-License-Identifier: MIT */
#pragma once

/* A certificate with its chain and key, as a server shows it to anybody. Made whole and checked, then never changed, so
 * that threads share it by count. Where it lies and which name it is shown for is the owner's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"

#define TLS_CERTIFICATE_NAMES_MAX 1024
#define TLS_CHAIN_MAX             10
#define TLS_STAPLE_MAX            (64 * 1024)
#define TLS_STAPLE_SKEW_S         300 /* a response may be so much younger than our clock */

struct tls_certificate;

/* chain_pem: the certificate first, then what leads to an authority. Refused: a key that does not fit, no name in it, a
 * key that no client of today takes, a date long past is not (clients judge dates). */
_must_check_ int tls_certificate_new(
    const char *chain_pem, const char *key_pem, struct tls_certificate **ret, struct error *err);
/* An OCSP response to be shown with it. Refused: one that is for another certificate, not good (-EKEYREVOKED if it is
 * revoked), or out of date. Before it is shared only. */
_must_check_ int tls_certificate_staple(
    struct tls_certificate *certificate, const void *der, size_t len, wall_t now, struct error *err);
/* The same with the one of another reading of that certificate; false: it has none that is still good. */
bool tls_certificate_keep_staple(
    struct tls_certificate *certificate, const struct tls_certificate *old, wall_t now);
struct tls_certificate *tls_certificate_ref(struct tls_certificate *certificate);
void tls_certificate_unref(struct tls_certificate *certificate); /* NULL is fine */

/* Lower case, "*.example.org" among them; at least one. */
const char *const *tls_certificate_names(const struct tls_certificate *certificate, size_t *ret_n);
/* Does it bear that name (any case), itself or by a wildcard that stands for the first label? Addresses (in brackets
 * if they are IPv6) count where the certificate bears them. */
bool tls_certificate_covers(const struct tls_certificate *certificate, const char *name, size_t len);
bool tls_certificate_is_rsa(const struct tls_certificate *certificate);
wall_t tls_certificate_expires(const struct tls_certificate *certificate);
