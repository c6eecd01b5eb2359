/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_pki.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/pki.h"

static void must(int r, const struct error *err)
{
    if (r >= 0)
        return;
    fprintf(stderr, "fake_pki: %s\n", err->text);
    abort();
}

void fake_ca_init(struct fake_ca *ca, const char *fleet)
{
    struct error err;
    snprintf(ca->fleet, sizeof(ca->fleet), "%s", fleet);
    must(pki_key_new(&ca->key_pem, &err), &err);
    must(pki_ca_new(ca->key_pem, fleet, clock_wall(), &ca->cert_pem, &err), &err);
    must(pki_cert_spki(ca->cert_pem, ca->pin, &err), &err);
}

void fake_ca_done(struct fake_ca *ca)
{
    free(ca->key_pem);
    free(ca->cert_pem);
}

void fake_identity_init(
    struct fake_identity *id, const struct fake_ca *ca, enum role role, const char *name, int64_t valid_s)
{
    struct error err;
    char *csr = NULL;
    must(pki_key_new(&id->key_pem, &err), &err);
    must(pki_csr_new(id->key_pem, name, &csr, &err), &err);
    struct pki_leaf leaf = { .ca_cert_pem = ca->cert_pem,
        .ca_key_pem = ca->key_pem,
        .csr_pem = csr,
        .fleet = ca->fleet,
        .name = name,
        .role = role,
        .now = clock_wall(),
        .valid_s = valid_s };
    must(pki_leaf_sign(&leaf, &id->cert_pem, &err), &err);
    free(csr);
}

void fake_identity_done(struct fake_identity *id)
{
    free(id->key_pem);
    free(id->cert_pem);
}
