/* SPDX-License-Identifier: MIT */
#include "common/pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/mem.h"
#include "tests/fakes/fake_pki.h"

static void certificates_say_who(void **state)
{
    struct fake_ca ca = { 0 };
    struct fake_identity id = { 0 };
    struct pki_identity read = { 0 };
    struct error err;
    char spki[SHA256_HEX_SIZE];

    fake_ca_init(&ca, "fleet-1");
    fake_identity_init(&id, &ca, ROLE_DRONE, "app1", 3600);
    assert_int_equal(pki_cert_read(id.cert_pem, &read, &err), 0);
    assert_string_equal(read.fleet, "fleet-1");
    assert_int_equal(read.role, ROLE_DRONE);
    assert_string_equal(read.name, "app1");
    assert_int_equal(strlen(read.serial), 32);
    assert_false(read.is_ca);
    assert_int_equal(pki_key_spki(id.key_pem, spki, &err), 0);
    assert_string_equal(read.spki, spki);
    assert_in_range(wall_diff_ms(read.not_after, clock_wall()), 3590000, 3600000);
    assert_true(wall_diff_ms(read.not_before, clock_wall()) <= -PKI_BACKDATE_S * 1000 + 5000);
    pki_identity_done(&read);

    assert_int_equal(pki_cert_read(ca.cert_pem, &read, &err), 0);
    assert_true(read.is_ca);
    assert_int_equal(read.role, ROLE_NONE);
    assert_null(read.name);
    assert_string_equal(read.spki, ca.pin);
    pki_identity_done(&read);
    fake_identity_done(&id);
    fake_ca_done(&ca);
}

struct uri_case {
    const char *uri;
    enum role role; /* ROLE_NONE: refused */
    const char *fleet, *name;
};

/* clang-format off */
static const struct uri_case uris[] = {
    { "stagecoach://f1/drone/app1",          ROLE_DRONE, "f1", "app1" },
    { "stagecoach://f1/hub/hub1.example",    ROLE_HUB,   "f1", "hub1.example" },
    { "stagecoach://f1/admin/ops@x",         ROLE_ADMIN, "f1", "ops@x" },
    { "stagecoach://f1/none/app1",           ROLE_NONE, NULL, NULL },
    { "stagecoach://f1/root/app1",           ROLE_NONE, NULL, NULL },
    { "stagecoach://f1/drone/",              ROLE_NONE, NULL, NULL },
    { "stagecoach://f1/drone/a/b",           ROLE_NONE, NULL, NULL },
    { "stagecoach://f1/drone/../app1",       ROLE_NONE, NULL, NULL },
    { "stagecoach://f1/drone",               ROLE_NONE, NULL, NULL },
    { "stagecoach:///drone/app1",            ROLE_NONE, NULL, NULL },
    { "stagecoach://F1/drone/app1",          ROLE_NONE, NULL, NULL },
    { "stagecoach://-f/drone/app1",          ROLE_NONE, NULL, NULL },
    { "https://f1/drone/app1",               ROLE_NONE, NULL, NULL },
    { "",                                    ROLE_NONE, NULL, NULL },
};
/* clang-format on */

static void identities_are_parsed_strictly(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(uris); i++) {
        char *fleet = NULL, *name = NULL;
        enum role role = ROLE_NONE;
        int r = pki_uri_parse(uris[i].uri, &fleet, &role, &name, &(struct error){ 0 });
        if ((r == 0) != (uris[i].role != ROLE_NONE) || role != uris[i].role)
            fail_msg("%s: %d", uris[i].uri, r);
        if (r == 0) {
            assert_string_equal(fleet, uris[i].fleet);
            assert_string_equal(name, uris[i].name);
            char *again = pki_uri(fleet, role, name);
            assert_string_equal(again, uris[i].uri);
            free(again);
        }
        free(fleet);
        free(name);
    }
}

static void requests_are_judged(void **state)
{
    struct error err;
    char spki[SHA256_HEX_SIZE], key_spki[SHA256_HEX_SIZE];
    char *key = NULL, *csr = NULL;

    assert_int_equal(pki_key_new(&key, &err), 0);
    assert_int_equal(pki_csr_new(key, "anything", &csr, &err), 0);
    assert_int_equal(pki_csr_spki(csr, spki, &err), 0);
    assert_int_equal(pki_key_spki(key, key_spki, &err), 0);
    assert_string_equal(spki, key_spki);

    /* One changed character in the middle: the signature, or the form, no longer holds. */
    char *broken = xstrdup(csr);
    char *at = broken + strlen(broken) / 2;
    *at = *at == 'A' ? 'B' : 'A';
    assert_true(pki_csr_spki(broken, spki, &err) < 0);
    assert_int_equal(pki_csr_spki("no request", spki, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "not a certificate request in PEM"));
    char *huge = xcalloc(1, PKI_PEM_MAX + 2);
    memset(huge, 'A', PKI_PEM_MAX + 1);
    assert_int_equal(pki_csr_spki(huge, spki, &err), -EMSGSIZE);
    assert_int_equal(pki_key_spki(csr, spki, &err), -EBADMSG);
    free(huge);
    free(broken);
    free(key);
    free(csr);
}

static void a_request_with_another_kind_of_key_is_refused(void **state)
{
    /* RSA 2048, made once with openssl req -new. */
    static const char rsa[] = "-----BEGIN CERTIFICATE REQUEST-----\n"
#include "tests/unit/rsa_csr.inc"
                              "-----END CERTIFICATE REQUEST-----\n";
    char spki[SHA256_HEX_SIZE];
    struct error err;
    assert_int_equal(pki_csr_spki(rsa, spki, &err), -EBADMSG);
    assert_string_equal(err.text, "the key of the certificate request must be EC P-256");
}

static void signing_checks_its_arguments(void **state)
{
    struct fake_ca ca = { 0 }, other = { 0 };
    struct error err;
    char *key = NULL, *csr = NULL, *cert = NULL;
    char *bad[] = { (char *)"not-an-address", NULL },
         *dns[] = { (char *)"hub1", (char *)"hub1.example", NULL };
    char *addresses[] = { (char *)"10.0.0.1", (char *)"::1", NULL };

    fake_ca_init(&ca, "fleet-1");
    fake_ca_init(&other, "fleet-2");
    assert_int_equal(pki_key_new(&key, &err), 0);
    assert_int_equal(pki_csr_new(key, "x", &csr, &err), 0);
    struct pki_leaf leaf = { .ca_cert_pem = ca.cert_pem,
        .ca_key_pem = ca.key_pem,
        .csr_pem = csr,
        .fleet = "fleet-1",
        .name = "hub1",
        .role = ROLE_HUB,
        .dns = dns,
        .addresses = addresses,
        .now = clock_wall(),
        .valid_s = 60 };
    assert_int_equal(pki_leaf_sign(&leaf, &cert, &err), 0);
    free(steal_ptr(cert));
    leaf.addresses = bad;
    assert_int_equal(pki_leaf_sign(&leaf, &cert, &err), -EINVAL);
    assert_string_equal(err.text, "\"not-an-address\" is no address for a certificate");
    leaf.addresses = NULL;
    leaf.name = "a/b";
    assert_int_equal(pki_leaf_sign(&leaf, &cert, &err), -EINVAL);
    leaf.name = "hub1";
    leaf.ca_key_pem = other.key_pem;
    assert_int_equal(pki_leaf_sign(&leaf, &cert, &err), -EBADMSG);
    assert_null(cert);
    free(key);
    free(csr);
    fake_ca_done(&ca);
    fake_ca_done(&other);
}

static void fingerprints_for_people(void **state)
{
    char buf[32];
    assert_string_equal(pki_fingerprint_text("7c1f0d9e52aa0102", buf), "7c1f 0d9e 52aa …");
    assert_string_equal(pki_fingerprint_text("", buf), "   …");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_say_who),
        cmocka_unit_test(identities_are_parsed_strictly),
        cmocka_unit_test(requests_are_judged),
        cmocka_unit_test(a_request_with_another_kind_of_key_is_refused),
        cmocka_unit_test(signing_checks_its_arguments),
        cmocka_unit_test(fingerprints_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
