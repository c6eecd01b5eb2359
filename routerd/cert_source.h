/* SPDX-License-Identifier: MIT */
#pragma once

/* One certificate of the directory that certs.h reads: its files, whether they are others by now, and what was made of
 * them. Its log lines too. Main's. */

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "common/clock.h"

struct tls_certificate;

/* What of a file tells that it is another one now. */
struct cert_mark {
    bool there;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed;
};

enum { CERT_CHAIN, CERT_KEY, CERT_STAPLE, CERT_FILES };

struct cert_source {
    char *label;             /* for people */
    char *paths[CERT_FILES]; /* CERT_KEY: NULL if it is in the chain's file */
    struct cert_mark marks[CERT_FILES];
    struct tls_certificate *certificate; /* NULL: none yet */
    char *problem;                       /* with what lies there now */
    wall_t warned;                       /* of its end */
    bool seen;                           /* at the present look; the owner's */
};

struct cert_source *cert_source_new(const char *label);
void cert_source_free(struct cert_source *s);
/* name NULL: there is no such file. */
void cert_source_set_path(
    struct cert_source *s, int which, const char *directory, const char *name, const char *ending);
/* True: something about its files is new. */
bool cert_source_take_marks(struct cert_source *s);
/* Reads its files. What can't be used is told once, and what was read before stays. `tell`: also what is fine. */
void cert_source_reload(struct cert_source *s, bool tell, wall_t now);
/* Says when it ends. */
void cert_source_warn(const struct cert_source *s, wall_t now);
/* Does the errno say that a file is not there? Anything else that keeps it from being read tells nothing. */
bool cert_source_is_gone(int error);
