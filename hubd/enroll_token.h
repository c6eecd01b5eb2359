/* SPDX-License-Identifier: MIT */
#pragma once

/* Tokens: their text and hash, finding one, and the verbs that make, list and revoke them. Between enroll.c, which
 * lets people and hosts in by them, and enroll_token.c. */

#include <stdbool.h>

#include "common/error.h"
#include "common/messages.h"
#include "hubd/txn.h"

struct token;

/* What is kept of a secret; the caller's. */
char *token_hash(const char *secret);
/* NULL if there is none with this hash. */
const struct token *token_find(const struct state *state, const char *hash);
/* Sentences: fill err and return -EACCES. */
int token_refuse_expired(const struct token *token, struct error *err);
int token_refuse_unknown(struct error *err);
bool token_name_fits(enum role role, const char *name);

/* An event about who may come in. host may be NULL. */
void enroll_tell(struct txn *txn, const char *kind, const char *who, const char *host, const char *text);
