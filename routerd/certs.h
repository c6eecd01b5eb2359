/* SPDX-License-Identifier: MIT */
#pragma once

/* The certificates of a directory, and which of them is shown for a name:
 *
 *     DIRECTORY/NAME/fullchain.pem + privkey.pem (+ ocsp.der)     as certbot's live/ has them
 *     DIRECTORY/NAME.pem (+ NAME.ocsp)                            chain and key in one file
 *     DIRECTORY/NAME.crt + NAME.key (+ NAME.ocsp)
 *
 * NAME is for people; the names that count are those in the certificate. Main reads them again when something changes
 * there, and every minute; connections keep what they were shown. A file that can't be used is refused with one sentence,
 * and what was read from that place before stays; so does all of it while the directory can't be read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/loop.h"

#define CERTS_LOOK_MS       60000 /* for what no notice tells: files behind links, network file systems */
#define CERTS_UNREADABLE_MS 2000  /* the same while the directory can't be read */
#define CERTS_SETTLE_MS     300   /* from the first notice to reading: writers replace several files */
#define CERTS_DAY_MS        INT64_C(86400000)
#define CERTS_WARN_DAYS     14 /* before the end of one */
#define CERTS_WARNINGS      10 /* of one day that are told one by one */
#define CERTS_FILE_MAX      (256 * 1024)
#define CERTS_LABEL_MAX     255

struct certs;
struct tls_certificate;

/* fallback: the NAME shown to who asks for no name; NULL: the first one. strict: who asks for a name that none bears is
 * refused, else gets the fallback. Reads the directory; that nothing is there is a warning. */
struct certs *certs_new(struct loop *loop, const char *directory, const char *fallback, bool strict);
void certs_free(struct certs *certs);
void certs_look(struct certs *certs); /* now */

/* Counts of one certificate or two of different kinds (ECDSA first); false: none. name in lower case, length 0: none was
 * asked for. By any thread. */
bool certs_choose(struct certs *certs, const char *name, size_t len, struct tls_certificate *ret[2]);

/* For the status page: every certificate in its order. problem: the sentence that refused what lies there now, or NULL;
 * certificate: the one in place, or NULL. */
typedef void (*certs_fn)(
    void *arg, const char *label, const struct tls_certificate *certificate, const char *problem);
void certs_each(const struct certs *certs, certs_fn fn, void *arg);
size_t certs_count(const struct certs *certs);
