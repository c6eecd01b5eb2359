/* SPDX-License-Identifier: MIT */
#pragma once

/* Who a host is in its fleet, on disk: DIR/{key,cert,ca}.pem and DIR/hub.json. `stagecoachctl join` writes it,
 * droned and routerd read it and keep its certificate fresh. Files only. */

#include <stdbool.h>
#include <sys/types.h>

#include "common/clock.h"
#include "common/error.h"

#define IDENTITY_FILE_MAX   (64 * 1024)
#define IDENTITY_RENEW_PART 3 /* renewed once a third of the lifetime is over */

struct identity {
    char *hub;  /* "hub1:7000" */
    char *pin;  /* SHA-256 of the hub CA's public key, hex */
    char *name; /* ours */
    char *fleet;
    char *key_pem, *cert_pem, *ca_pem;
};

/* -ENOENT: this host has not joined. */
_must_check_ int identity_load(const char *dir, struct identity *ret, struct error *err);
void identity_done(struct identity *id);

/* Writes all of it into a new folder beside dir and swaps the two, so that a reader finds the old identity or
 * the new one, never a mixture. Everything belongs to uid and gid ((uid_t)-1: leave as it is). */
_must_check_ int identity_save(
    const char *dir, const struct identity *id, uid_t uid, gid_t gid, struct error *err);
/* A renewed certificate of the same key. */
_must_check_ int identity_save_cert(const char *dir, const char *cert_pem, struct error *err);

/* True from a third of the certificate's lifetime on, and if it can't be read. */
bool identity_wants_renewal(const struct identity *id, wall_t now);
/* The hub takes nothing but `renew` from a link that began with such a certificate: after it, connect anew. */
bool identity_is_expired(const struct identity *id, wall_t now);
/* When to ask identity_wants_renewal() again: often enough for certificates of any length. */
#define IDENTITY_CHECKS       10 /* in what is left of the lifetime */
#define IDENTITY_CHECK_MIN_MS 1000
#define IDENTITY_CHECK_MAX_MS 3600000
int64_t identity_renewal_check_ms(const struct identity *id, wall_t now);
