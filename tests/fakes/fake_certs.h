/* SPDX-License-Identifier: MIT */
#pragma once

/* Certificates as a public server shows them: signed by themselves, for any names. */

#include <stdbool.h>

enum fake_key { FAKE_KEY_EC, FAKE_KEY_RSA, FAKE_KEY_RSA_SHORT };

struct fake_cert {
    char *chain, *key; /* PEM */
};

/* names: separated by commas, as "DNS:a.example,IP:10.0.0.1"; NULL: the certificate bears none. */
struct fake_cert fake_cert_make(const char *names, enum fake_key kind, int days);
/* The same with the key of another one: making keys takes time. */
struct fake_cert fake_cert_with_key(const char *names, const char *key_pem, int days);
void fake_cert_done(struct fake_cert *cert);
void fake_cert_write(const char *path, const char *text);
