/* SPDX-License-Identifier: MIT */
#pragma once

/* A fleet's identity papers for tests: a CA, and certificates of any role, name and time. */

#include "common/clock.h"
#include "common/messages.h"
#include "common/sha256.h"

struct fake_ca {
    char *key_pem, *cert_pem;
    char fleet[32];
    char pin[SHA256_HEX_SIZE];
};

struct fake_identity {
    char *key_pem, *cert_pem;
};

void fake_ca_init(struct fake_ca *ca, const char *fleet);
void fake_ca_done(struct fake_ca *ca);
/* valid_s counts from now and may be negative: expired. */
void fake_identity_init(
    struct fake_identity *id, const struct fake_ca *ca, enum role role, const char *name, int64_t valid_s);
void fake_identity_done(struct fake_identity *id);
