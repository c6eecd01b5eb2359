/* SPDX-License-Identifier: MIT */
#pragma once

/* What pki.c and tls.c share about a certificate that the TLS library has parsed. For these two alone; foreign
 * types by their incomplete names. */

#include "common/pki.h"

struct x509_st;
struct evp_pkey_st;

void pki_x509_spki(struct evp_pkey_st *key, char ret[static SHA256_HEX_SIZE]);
void pki_x509_identity(struct x509_st *cert, struct pki_identity *ret);
