/* SPDX-License-Identifier: MIT */
#include "routerd/certs.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/tls_certificate.h"
#include "tests/fakes/fake_certs.h"

#define DAY_MS INT64_C(86400000)

static struct fake_cert ec, rsa; /* their keys serve all others */
static char logged[4096];

static void keep_line(enum log_level level, const struct log_about *about, const char *text)
{
    if (level <= LOG_LEVEL_INFO)
        strncat(logged, text, sizeof(logged) - strlen(logged) - 1);
}

static int make_keys(void **state)
{
    ec = fake_cert_make("DNS:key.example", FAKE_KEY_EC, 90);
    rsa = fake_cert_make("DNS:key.example", FAKE_KEY_RSA, 90);
    log_set_sink(keep_line);
    return 0;
}

static int free_keys(void **state)
{
    log_set_sink(NULL);
    fake_cert_done(&ec);
    fake_cert_done(&rsa);
    return 0;
}

/* --- one certificate ----------------------------------------------------------------------------------------- */

static void names_cover_hosts(void **state)
{
    static const struct {
        const char *host;
        bool covered;
    } rows[] = {
        { "web.example", true },
        { "WEB.Example", true },
        { "web.example.", true },
        { "web.exampl", false },
        { "web.example2", false },
        { "xweb.example", false },
        { "a.wild.example", true },
        { "wild.example", false },
        { "a.b.wild.example", false },
        { ".wild.example", false },
        { "*.wild.example", true },
        { "10.1.2.3", true },
        { "10.1.2.4", false },
        { "[2001:db8::1]", true },
        { "[2001:DB8:0::1]", true },
        { "[2001:db8::2]", false },
        { "[2001:db8::1", false },
        { "2001:db8::1", false },
        { "", false },
        { ".", false },
        { "*", false },
    };
    struct tls_certificate *c;
    struct fake_cert f =
        fake_cert_with_key("DNS:Web.example,DNS:*.wild.example,IP:10.1.2.3,IP:2001:db8::1", ec.key, 90);
    size_t n;
    assert_int_equal(tls_certificate_new(f.chain, f.key, &c, NULL), 0);
    tls_certificate_names(c, &n);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (tls_certificate_covers(c, rows[i].host, strlen(rows[i].host)) != rows[i].covered)
            fail_msg("\"%s\"", rows[i].host);
    }
    tls_certificate_unref(c);
    fake_cert_done(&f);
}

static void what_can_not_be_shown_is_refused(void **state)
{
    struct fake_cert nameless = fake_cert_with_key(NULL, ec.key, 90);
    struct fake_cert brief = fake_cert_make("DNS:short.example", FAKE_KEY_RSA_SHORT, 90);
    struct fake_cert other = fake_cert_make("DNS:other.example", FAKE_KEY_EC, 90);
    static const char broken_key[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    static const char sealed_key[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    static const char sealed_old_key[] =
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
        "00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    char *wrong_order = xasprintf("%s%s", rsa.chain, ec.chain);
    char *broken_chain =
        xasprintf("%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ec.chain);
    const struct {
        const char *chain, *key, *sentence;
    } rows[] = {
        { "", ec.key, "no certificate in PEM" },
        { ec.key, ec.key, "no certificate in PEM" },
        { ec.chain, "", "no private key" },
        { ec.chain, ec.chain, "no private key" },
        { ec.chain, broken_key, "the private key can't be read" },
        { ec.chain, sealed_key, "the private key has a password" },
        { ec.chain, sealed_old_key, "the private key has a password" },
        { ec.chain, rsa.key, "the key is RSA, the certificate ECDSA" },
        { rsa.chain, ec.key, "the key is ECDSA, the certificate RSA" },
        { ec.chain, other.key, "don't fit (the server's own certificate must come first)" },
        { wrong_order, ec.key, "don't fit (the server's own certificate must come first)" },
        { nameless.chain, ec.key, "bears no name" },
        { brief.chain, brief.key, "RSA key of 1024 bits" },
        { broken_chain, ec.key, "of the chain can't be read" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_certificate *c = NULL;
        struct error err;
        assert_true(tls_certificate_new(rows[i].chain, rows[i].key, &c, &err) < 0);
        if (!strstr(err.text, rows[i].sentence))
            fail_msg("\"%s\" is not in \"%s\"", rows[i].sentence, err.text);
    }
    free(wrong_order);
    free(broken_chain);
    fake_cert_done(&nameless);
    fake_cert_done(&brief);
    fake_cert_done(&other);
}

/* --- a directory --------------------------------------------------------------------------------------------- */

struct place {
    struct loop *loop;
    char dir[64];
    struct certs *certs;
};

static void place_init(struct place *p, const char *fallback, bool strict)
{
    snprintf(p->dir, sizeof(p->dir), "/tmp/test-certs-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->loop = loop_new_fake();
    logged[0] = '\0';
    p->certs = certs_new(p->loop, p->dir, fallback, strict);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static void place_done(struct place *p)
{
    certs_free(p->certs);
    loop_free(p->loop);
    assert_int_equal(nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void put_text(struct place *p, const char *name, const char *text)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", p->dir, name), *new = xasprintf("%s.new", path);
    fake_cert_write(new, text);
    assert_int_equal(rename(new, path), 0);
}

static void put(struct place *p, const char *label, const char *names, const struct fake_cert *key, int days)
{
    struct fake_cert f = fake_cert_with_key(names, key->key, days);
    _cleanup_(free_ptr) char *folder = xasprintf("%s/%s", p->dir, label);
    _cleanup_(free_ptr) char *chain = xasprintf("%s/fullchain.pem", label);
    _cleanup_(free_ptr) char *secret = xasprintf("%s/privkey.pem", label);
    mkdir(folder, 0700);
    put_text(p, secret, f.key);
    put_text(p, chain, f.chain);
    fake_cert_done(&f);
}

/* Kinds that are shown: "ecdsa", "rsa", "ecdsa rsa", "" none. */
static const char *shown(struct place *p, const char *name)
{
    struct tls_certificate *c[2] = { NULL, NULL };
    const char *text = "";
    if (certs_choose(p->certs, name, strlen(name), c))
        text = c[1] ? "ecdsa rsa" : tls_certificate_is_rsa(c[0]) ? "rsa" : "ecdsa";
    tls_certificate_unref(c[0]);
    tls_certificate_unref(c[1]);
    return text;
}

static int64_t ends(struct place *p, const char *name)
{
    struct tls_certificate *c[2] = { NULL, NULL };
    assert_true(certs_choose(p->certs, name, strlen(name), c));
    int64_t t = tls_certificate_expires(c[0]).us;
    tls_certificate_unref(c[0]);
    tls_certificate_unref(c[1]);
    return t;
}

static void names_choose_exactly_then_by_wildcard(void **state)
{
    struct place p;
    place_init(&p, NULL, true);
    assert_string_equal(shown(&p, ""), "");
    assert_non_null(strstr(logged, "no certificate in"));
    put(&p, "b-both", "DNS:both.example,DNS:*.both.example", &ec, 90);
    put(&p, "b-both-rsa", "DNS:both.example", &rsa, 90);
    put(&p, "c", "DNS:www.both.example", &rsa, 90);
    certs_look(p.certs);
    assert_string_equal(shown(&p, "both.example"), "ecdsa rsa");
    assert_string_equal(shown(&p, "x.both.example"), "ecdsa");
    assert_string_equal(shown(&p, "www.both.example"), "rsa");
    assert_string_equal(shown(&p, "x.www.both.example"), "");
    assert_string_equal(shown(&p, "else.example"), "");
    assert_string_equal(shown(&p, "*.both.example"), "ecdsa");
    assert_string_equal(shown(&p, ".both.example"), "");
    assert_string_equal(shown(&p, ""), "ecdsa"); /* the first: "*.both.example" bears its first name */
    place_done(&p);
}

static void the_fallback_is_the_one_that_is_named(void **state)
{
    struct place p;
    place_init(&p, "z", false);
    put(&p, "a", "DNS:a.example", &rsa, 90);
    certs_look(p.certs);
    assert_string_equal(shown(&p, ""), "");
    put(&p, "z", "DNS:z.example", &ec, 90);
    certs_look(p.certs);
    assert_string_equal(shown(&p, ""), "ecdsa");
    assert_string_equal(shown(&p, "unknown.example"), "ecdsa");
    assert_string_equal(shown(&p, "a.example"), "rsa");
    place_done(&p);
}

static void of_two_the_one_that_lasts_longer_is_shown(void **state)
{
    struct place p;
    place_init(&p, NULL, true);
    put(&p, "a", "DNS:a.example", &ec, 90);
    put(&p, "b", "DNS:a.example", &ec, 60);
    certs_look(p.certs);
    int64_t longer = ends(&p, "a.example");
    put(&p, "c", "DNS:a.example", &ec, 120);
    certs_look(p.certs);
    assert_true(ends(&p, "a.example") > longer);
    place_done(&p);
}

static void a_bad_file_leaves_the_one_in_place(void **state)
{
    struct place p;
    place_init(&p, NULL, true);
    put(&p, "a", "DNS:a.example", &ec, 90);
    certs_look(p.certs);
    put_text(&p, "a/fullchain.pem", "nonsense");
    logged[0] = '\0';
    certs_look(p.certs);
    assert_string_equal(shown(&p, "a.example"), "ecdsa");
    assert_non_null(strstr(logged, "certificate a: no certificate in PEM"));
    assert_non_null(strstr(logged, "the one in place stays"));
    logged[0] = '\0';
    certs_look(p.certs);
    assert_string_equal(logged, ""); /* told once */
    put(&p, "a", "DNS:b.example", &ec, 90);
    certs_look(p.certs);
    assert_string_equal(shown(&p, "a.example"), "");
    assert_string_equal(shown(&p, "b.example"), "ecdsa");
    place_done(&p);
}

static void pairs_of_files_and_single_files_are_read(void **state)
{
    struct place p;
    struct fake_cert one = fake_cert_with_key("DNS:one.example", ec.key, 90);
    struct fake_cert two = fake_cert_with_key("DNS:two.example", rsa.key, 90);
    _cleanup_(free_ptr) char *both = xasprintf("%s%s", one.chain, one.key);
    place_init(&p, NULL, true);
    put_text(&p, "one.pem", both);
    put_text(&p, "two.crt", two.chain);
    put_text(&p, "two.key", two.key);
    put_text(&p, ".hidden.pem", "nonsense");
    put_text(&p, "README", "nonsense");
    logged[0] = '\0';
    certs_look(p.certs);
    assert_string_equal(shown(&p, "one.example"), "ecdsa");
    assert_string_equal(shown(&p, "two.example"), "rsa");
    assert_null(strstr(logged, "no certificate in PEM"));
    assert_int_equal(certs_count(p.certs), 2);
    fake_cert_done(&one);
    fake_cert_done(&two);
    place_done(&p);
}

static void an_end_that_is_near_is_told_once_a_day(void **state)
{
    struct place p;
    place_init(&p, NULL, true);
    /* The loop's day is not ours, by which certificates are made. */
    int64_t apart_ms = wall_diff_ms(loop_wall(p.loop), clock_wall());
    put(&p, "a", "DNS:a.example", &ec, (int)(apart_ms / DAY_MS) + 10);
    certs_look(p.certs);
    assert_non_null(strstr(logged, "certificate a: ends in "));
    logged[0] = '\0';
    loop_advance(p.loop, DAY_MS / 2);
    assert_null(strstr(logged, "ends in"));
    loop_advance(p.loop, DAY_MS / 2 + CERTS_LOOK_MS);
    assert_non_null(strstr(logged, "certificate a: ends in "));
    loop_advance(p.loop, 10 * DAY_MS);
    assert_non_null(strstr(logged, "certificate a: expired on "));
    place_done(&p);
}

static void one_that_is_new_and_expired_is_told_in_one_sentence(void **state)
{
    struct place p;
    char stamp[CLOCK_STAMP_MAX];
    place_init(&p, NULL, true);
    int64_t apart_ms = wall_diff_ms(loop_wall(p.loop), clock_wall());
    put(&p, "a", "DNS:a.example", &ec, (int)(apart_ms / DAY_MS) - 2);
    logged[0] = '\0';
    certs_look(p.certs);
    wall_format_http((wall_t){ ends(&p, "a.example") }, stamp);
    _cleanup_(free_ptr) char *sentence =
        xasprintf("certificate a: new, but expired on %.11s: clients will refuse it", stamp + 5);
    const char *at = strstr(logged, sentence);
    if (!at)
        fail_msg("\"%s\" is not in \"%s\"", sentence, logged);
    assert_null(strstr(at + strlen(sentence), "expired"));
    place_done(&p);
}

static void move_away(struct place *p, char *away, size_t size)
{
    snprintf(away, size, "%s.away", p->dir);
    assert_int_equal(rename(p->dir, away), 0);
    logged[0] = '\0';
    loop_advance(p->loop, CERTS_SETTLE_MS);
}

static void a_directory_that_is_away_takes_nothing_along(void **state)
{
    struct place p;
    char away[80];
    place_init(&p, NULL, true);
    put(&p, "a", "DNS:a.example", &ec, 900);
    put_text(&p, "bad.pem", "nonsense");
    certs_look(p.certs);
    move_away(&p, away, sizeof(away));
    assert_string_equal(shown(&p, "a.example"), "ecdsa");
    assert_non_null(strstr(logged, "can't read "));
    assert_non_null(strstr(logged, "; what was read before stays"));
    assert_null(strstr(logged, "gone"));
    logged[0] = '\0';
    loop_advance(p.loop, 3 * CERTS_UNREADABLE_MS);
    assert_string_equal(logged, ""); /* told once */

    assert_int_equal(rename(away, p.dir), 0);
    put(&p, "b", "DNS:b.example", &ec, 900);
    loop_advance(p.loop, CERTS_UNREADABLE_MS);
    assert_non_null(strstr(logged, "can be read again"));
    assert_string_equal(shown(&p, "a.example"), "ecdsa");
    assert_string_equal(shown(&p, "b.example"), "ecdsa");
    put(&p, "c", "DNS:c.example", &ec, 900);
    loop_advance(p.loop, CERTS_SETTLE_MS);
    assert_string_equal(shown(&p, "c.example"), "ecdsa");
    place_done(&p);
}

static void another_directory_in_its_place_is_read_and_watched(void **state)
{
    struct place p;
    char away[80];
    place_init(&p, NULL, true);
    put(&p, "a", "DNS:a.example", &ec, 900);
    certs_look(p.certs);
    move_away(&p, away, sizeof(away));
    assert_int_equal(mkdir(p.dir, 0700), 0);
    put(&p, "b", "DNS:b.example", &ec, 900);
    loop_advance(p.loop, CERTS_UNREADABLE_MS);
    assert_string_equal(shown(&p, "a.example"), "");
    assert_string_equal(shown(&p, "b.example"), "ecdsa");
    put(&p, "b", "DNS:b.example", &rsa, 900);
    loop_advance(p.loop, CERTS_SETTLE_MS);
    assert_string_equal(shown(&p, "b.example"), "rsa");
    assert_int_equal(nftw(away, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    place_done(&p);
}

static void a_folder_that_can_not_be_entered_is_not_gone(void **state)
{
    struct place p;
    place_init(&p, NULL, true);
    put(&p, "a", "DNS:a.example", &ec, 900);
    certs_look(p.certs);
    _cleanup_(free_ptr) char *folder = xasprintf("%s/a", p.dir), *hidden = xasprintf("%s/.a", p.dir);
    assert_int_equal(rename(folder, hidden), 0);
    assert_int_equal(symlink("a", folder), 0); /* a loop of links: what every user, also root, can't enter */
    logged[0] = '\0';
    certs_look(p.certs);
    assert_string_equal(shown(&p, "a.example"), "ecdsa");
    assert_non_null(strstr(logged, "the one in place stays"));
    assert_int_equal(unlink(folder), 0);
    certs_look(p.certs);
    assert_string_equal(shown(&p, "a.example"), "");
    assert_non_null(strstr(logged, "certificate a: gone"));
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_cover_hosts),
        cmocka_unit_test(what_can_not_be_shown_is_refused),
        cmocka_unit_test(names_choose_exactly_then_by_wildcard),
        cmocka_unit_test(the_fallback_is_the_one_that_is_named),
        cmocka_unit_test(of_two_the_one_that_lasts_longer_is_shown),
        cmocka_unit_test(a_bad_file_leaves_the_one_in_place),
        cmocka_unit_test(pairs_of_files_and_single_files_are_read),
        cmocka_unit_test(an_end_that_is_near_is_told_once_a_day),
        cmocka_unit_test(one_that_is_new_and_expired_is_told_in_one_sentence),
        cmocka_unit_test(a_directory_that_is_away_takes_nothing_along),
        cmocka_unit_test(another_directory_in_its_place_is_read_and_watched),
        cmocka_unit_test(a_folder_that_can_not_be_entered_is_not_gone),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
