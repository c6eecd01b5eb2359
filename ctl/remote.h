/* SPDX-License-Identifier: MIT */
#pragma once

/* Hubs that stagecoachctl knows by name, and who we are there: remotes.json and a folder of key, certificate and
 * CA for each, below $XDG_CONFIG_HOME/stagecoach (~/.config/stagecoach), for nobody else's eyes and never in a
 * work tree. Files only; talking to hubs is client.h's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/messages.h"

#define REMOTES_FILE_MAX (1024 * 1024)
#define REMOTES_MAX      1000
#define RENEW_AFTER_PART 3 /* renewed once a third of the lifetime is over */

struct remote {
    char *name;
    char *hub; /* "hub1:7000" */
    char *pin; /* SHA-256 of the hub CA's public key, hex */
    char *fleet;
    char *user; /* our name there */
    int role;
    char **services;
    int64_t issued_us, expires_us; /* of our certificate */
};

struct remotes {
    char *default_remote;
    struct remote *remotes;
    size_t n_remotes;
};

extern const struct schema remotes_schema;

/* [a-z0-9] then [a-z0-9._-], 40 at most, no ".." */
bool name_is_remote(const char *s);

/* No file: none are known. */
_must_check_ int remotes_load(struct remotes *ret, struct error *err);
_must_check_ int remotes_save(const struct remotes *remotes, struct error *err);
void remotes_clear(struct remotes *remotes);

struct remote *remotes_find(const struct remotes *remotes, const char *name); /* weak; NULL: unknown */
struct remote *remotes_by_hub(const struct remotes *remotes, const char *hub);
struct remote *remotes_add(struct remotes *remotes, const char *name); /* which is new */
void remotes_remove(struct remotes *remotes, const char *name);

/* Keeps other runs from changing the files until the descriptor is closed. */
_must_check_ int remotes_lock(int *ret_fd, struct error *err);

/* --- who we are there ------------------------------------------------------------------------------------- */

struct remote_identity {
    char *key_pem, *cert_pem, *ca_pem;
};

void remote_identity_done(struct remote_identity *id);
_must_check_ int remote_identity_load(const char *name, struct remote_identity *ret, struct error *err);
/* What is NULL stays as it is on disk. */
_must_check_ int remote_identity_save(const char *name, const struct remote_identity *id, struct error *err);
_must_check_ int remote_identity_remove(const char *name, struct error *err);
/* Path of "key.pem", "cert.pem" or "ca.pem" of a remote. Caller frees. */
char *remote_path(const char *name, const char *file);

/* Copies what the hub said of us. */
void remote_set_identity(struct remote *remote, const struct msg_identity *m, wall_t now);
bool remote_wants_renewal(const struct remote *remote, wall_t now);

/* "sc1.<64 hex digits>.<secret>": true and the pin, or false: a bare secret, which pins nothing. */
bool token_pin(const char *token, char ret_pin[static 65]);
/* From a file or, "-", standard input: its first word. Caller frees (and erases). */
_must_check_ int token_read(const char *path, char **ret, struct error *err);
/* From standard input: its first line, which may have blanks in it. Caller frees (and erases). */
_must_check_ int password_read(char **ret, struct error *err);
