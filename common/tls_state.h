/* SPDX-License-Identifier: MIT */
#pragma once

/* What the files of TLS share: tls.c (the fleet's contexts: who we are, whom we believe), tls_public.c (the context that
 * serves anybody), tls_session.c (one connection), tls_bio.c (the socket under it). For these alone; the library's types
 * by their incomplete names. */

#include "common/tls.h"
#include "common/tls_public.h"

struct bio_st;
struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

#define TLS_ALPN_MAX    256
#define TLS_FAILURE_MAX 256
#define TLS_RECORD_MAX  16384
/* A connection begins with records that fit into a few segments, so that its reader can begin early. */
#define TLS_RECORD_FIRST 4096
#define TLS_FIRST_BYTES  16384
#define TLS_WRITE_MAX \
    (5 * TLS_RECORD_MAX)              /* plain bytes of one call: as many records go out by one system call */
#define TLS_WRITE_SLOW TLS_RECORD_MAX /* the same, while the peer takes less than is offered */
#define TLS_UNSENT_MAX (2 * TLS_WRITE_MAX) /* of one session; nothing is read that would need more */

struct tls_context {
    struct ssl_ctx_st *ssl;
    int n_refs;
    bool is_server;
    const struct tls_public *public_; /* of a public context; NULL: the fleet's */
    unsigned char alpn[TLS_ALPN_MAX]; /* length-prefixed names, ours, best first */
    unsigned alpn_len;
    struct x509_st *ca;        /* client: NULL if only a pin, or nothing, is known */
    char pin[SHA256_HEX_SIZE]; /* client: "" none; server: the key of its own CA */
    char *fleet;               /* client: NULL any */

    /* What a call of the library wants to send, gathered so that it leaves by one system call. Empty between calls. */
    char *out;
    size_t out_len, out_cap;
    char *record; /* TLS_RECORD_MAX: where parts of one record come together */
};

/* What only the fleet's sessions know. */
struct tls_fleet {
    char alpn[TLS_ALPN_MAX];
    struct tls_facts facts;
};

struct tls_session {
    struct tls_context *context;
    struct ssl_st *ssl;
    struct tls_fleet *fleet;          /* NULL: a public one */
    struct tls_certificate *shown[2]; /* public: what is shown to this client */
    char *unsent;                     /* ciphertext that the socket did not take, or that waits for company */
    char *failure;                    /* NULL: none yet */
    uint32_t unsent_start, unsent_end, unsent_cap;
    uint32_t n_first; /* plain bytes sent, up to TLS_FIRST_BYTES */
    int fd;
    int system_error;           /* of the last call to the socket, positive */
    uint16_t owed;              /* bytes that are on their way and were not reported as written */
    bool eof;                   /* the peer's direction has ended on the socket */
    bool may_read;              /* the socket may have more; false: it was emptied, and no event came since */
    bool eof_near;              /* the end was announced: reading goes on until it is seen */
    bool failed, done;          /* done: the handshake */
    bool last;                  /* the next write is: close_notify goes along */
    bool slow;                  /* the last write left something over */
    bool no_name;               /* public: there is no certificate for the name that was asked for */
    unsigned char failure_kind; /* enum tls_failure_kind */
};

/* Why it fails, in words, where it is found out; before the library's own reason. */
void tls_session_fail(struct tls_session *s, const char *fmt, ...) _printf_(2, 3);

/* tls_bio.c: the library's end of the socket. What it writes is gathered in the context. */
struct bio_st *tls_bio_new(struct tls_session *s);
/* Sends what is gathered and left over. 0: all, or as much as can be and the rest is kept; else a negative errno. */
int tls_bio_flush(struct tls_session *s);
/* Keeps what is gathered for the next flush. */
void tls_bio_keep(struct tls_session *s);
static inline bool tls_bio_has_unsent(const struct tls_session *s)
{
    return s->unsent_end > s->unsent_start;
}

/* tls.c */
struct tls_context *tls_context_make(bool is_server);
int tls_library_error(struct error *err, const char *what);

/* tls_public.c: a new session of a public context, and its end. */
void tls_public_begin(struct tls_session *s);
void tls_public_end(struct tls_session *s);
unsigned char tls_public_kind(unsigned long library_error);
/* Which of the shown certificates it was. */
void tls_public_learn(struct tls_session *s);
