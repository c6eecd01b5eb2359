/* SPDX-License-Identifier: MIT */
#pragma once

/* Who may come in: tokens, joining with a key of one's own, renewals, revocation. Tokens are kept as hashes;
 * certificates are signed by ca.h. What somebody may do once in is decided by the handlers of each verb. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "common/messages.h"
#include "hubd/state.h"

#define TOKEN_PREFIX           "sc1."
#define TOKEN_SECRET_BYTES     32
#define TOKEN_USES_MAX         10000
#define TOKEN_VALID_DEFAULT_MS INT64_C(3600000)
#define TOKEN_VALID_MAX_MS     (INT64_C(366) * 86400000)
#define TOKEN_PASSWORD_MIN     8
#define TOKEN_PASSWORD_MAX     200
#define TOKENS_MAX             10000
#define TOKEN_KEPT_MS          (INT64_C(7) * 86400000) /* an expired token is remembered, to say that it expired */
#define TOKEN_SERVICES_MAX     1000
#define ENROLL_FAILURES_MAX    20 /* wrong tokens from one address within ENROLL_WINDOW_MS */
#define ENROLL_WINDOW_MS       60000

struct enroll;
struct hubd;
struct link;
struct peer;
struct reply;

struct enroll *enroll_new(struct hubd *hub);
void enroll_free(struct enroll *enroll);

/* Whether a peer that shows a certificate is let in at all; 0 or refused with the reason. A peer that shows none
 * passes: what it may do without one is little. */
_must_check_ int enroll_check_peer(struct hubd *hub, const struct peer *peer, struct error *err);

/* A token shown as password over HTTP. */
struct enroll_guest {
    enum role role;
    char *name;      /* of the token, or "token-" and its id */
    char **services; /* deployers; empty: all */
};
_must_check_ int enroll_authenticate(
    struct hubd *hub, const char *secret, const char *address, struct enroll_guest *ret, struct error *err);
void enroll_guest_done(struct enroll_guest *guest);

/* Handlers; owner is the session. */
void on_join(void *owner, struct link *link, const void *m, struct reply *reply);
void on_renew(void *owner, struct link *link, const void *m, struct reply *reply);
void on_token_create(void *owner, struct link *link, const void *m, struct reply *reply);
void on_token_list(void *owner, struct link *link, const void *m, struct reply *reply);
void on_token_revoke(void *owner, struct link *link, const void *m, struct reply *reply);
void on_identity_revoke(void *owner, struct link *link, const void *m, struct reply *reply);

/* For tests: whole token → secret; NULL with err if its pin is of another hub. Borrowed from token. */
const char *enroll_token_secret(const char *token, const char *spki, struct error *err);
