/* SPDX-License-Identifier: MIT */
#pragma once

/* What tls.c (contexts: who we are, whom we believe) and tls_session.c (one connection) share. For these two
 * alone; the library's types by their incomplete names. */

#include "common/tls.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

#define TLS_ALPN_MAX    256
#define TLS_FAILURE_MAX 256

struct tls_context {
    struct ssl_ctx_st *ssl;
    int n_refs;
    bool is_server;
    unsigned char alpn[TLS_ALPN_MAX]; /* length-prefixed names, ours, best first */
    unsigned alpn_len;
    struct x509_st *ca;        /* client: NULL if only a pin, or nothing, is known */
    char pin[SHA256_HEX_SIZE]; /* client: "" none; server: the key of its own CA */
    char *fleet;               /* client: NULL any */
};

struct tls_session {
    struct tls_context *context;
    struct ssl_st *ssl;
    int fd;
    int system_error; /* of the last call to the socket, positive */
    bool eof, failed, done;
    char alpn[TLS_ALPN_MAX];
    struct tls_facts facts;
    char failure[TLS_FAILURE_MAX];
};

/* Why it fails, in words, where it is found out; before the library's own reason. */
void tls_session_fail(struct tls_session *s, const char *fmt, ...) _printf_(2, 3);
