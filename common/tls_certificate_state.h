/* SPDX-License-Identifier: MIT */
#pragma once

/* What tls_certificate.c makes and tls_public.c shows. For these two alone. */

#include <stdatomic.h>

#include "common/tls_certificate.h"

struct evp_pkey_st;
struct stack_st_X509;
struct x509_st;

struct tls_certificate {
    _Atomic int n_refs;
    struct x509_st *cert;
    struct stack_st_X509 *chain;
    struct evp_pkey_st *key;
    char **names; /* sorted */
    size_t n_names;
    bool is_rsa;
    wall_t expires;
    unsigned char *staple; /* NULL: none */
    size_t staple_len;
    wall_t staple_expires;
};
