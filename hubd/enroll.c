/* SPDX-License-Identifier: MIT */
#include "hubd/enroll.h"

#include <errno.h>
#include <string.h>

#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "common/strv.h"
#include "hubd/ca.h"
#include "hubd/command.h"
#include "hubd/enroll_limit.h"
#include "hubd/enroll_token.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

struct enroll {
    struct enroll_limit limit;
};

struct enroll *enroll_new(struct hubd *hub)
{
    return xcalloc(1, sizeof(struct enroll));
}

void enroll_free(struct enroll *enroll)
{
    free(enroll);
}

static char *identity_key(enum role role, const char *name)
{
    return xasprintf("%s/%s", role_names[role], name);
}

/* --- join --------------------------------------------------------------------------------------------------------- */

struct join {
    char *hash;                     /* of the secret */
    char key_hash[SHA256_HEX_SIZE]; /* of the joiner's public key */
    char *address;
};

static void join_free(void *arg)
{
    struct join *join = arg;
    free(join->hash);
    free(join->address);
    free(join);
}

/* The name that it gets, the caller's; or refused. */
static int choose_name(
    const struct token *token, const char *wanted, const char *key_hash, char **ret, struct error *err)
{
    if (token->name && wanted && strcmp(token->name, wanted) != 0)
        return error_set(err, -EACCES, "this token is for the name \"%s\", not \"%s\"", token->name, wanted);
    if (!wanted && !token->name && !role_is_person(token->role))
        return error_set(err, -EINVAL, "a %s needs a name to join", role_names[token->role]);
    if (wanted && !token_name_fits(token->role, wanted))
        return error_set(err, -EINVAL,
            "a name must be lower-case letters, digits, \"-\" and \".\", at most %d characters",
            NAME_HOST_MAX);
    if (wanted || token->name)
        *ret = xstrdup(wanted ? wanted : token->name);
    else
        *ret = xasprintf("%s-%.6s", role_names[token->role], key_hash);
    return 0;
}

/* A name belongs to the key that joined with it. */
static int check_name_free(const struct state *state, const struct token *token, const char *name,
    const char *key_hash, struct error *err)
{
    _cleanup_(free_ptr) char *key = identity_key(token->role, name);
    const struct identity *identity = state_get(state, STATE_IDENTITY, key);
    if (!identity || (token->name && strcmp(token->name, name) == 0))
        return 0;
    if (!identity->revoked && secret_equal(identity->key_hash, key_hash))
        return 0;
    return error_set(err, -EEXIST,
        "the name \"%s\" %s; to join with it again, make a token for it: "
        "stagecoachctl token create --role=%s --name=%s",
        name, identity->revoked ? "was revoked" : "is in use by another key", role_names[token->role], name);
}

/* The certificate, and the rows that go with it. */
static int issue(struct request *request, struct txn *txn, enum role role, const char *name,
    char *const *services, const char *csr_pem, const char *key_hash, struct error *err)
{
    struct ca *ca = request->hub->ca;
    struct msg_identity *answer = request->answer;
    _cleanup_(free_ptr) char *cert = NULL;
    struct pki_identity facts = { 0 };
    int r = ca_sign(ca, csr_pem, role, name, &cert, err);
    if (r == 0)
        r = pki_cert_read(cert, &facts, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *key = identity_key(role, name);
    struct identity *identity = txn_edit(txn, STATE_IDENTITY, key);
    bool same_key = secret_equal(identity->key_hash, key_hash);
    if (!identity->name || !same_key)
        identity->joined_us = loop_wall(request->hub->loop).us;
    identity->role = (int)role;
    str_set(&identity->name, name);
    str_set(&identity->key_hash, key_hash);
    str_set(&identity->serial, facts.serial);
    char **copy = strv_copy(services);
    strv_free(identity->services);
    identity->services = copy;
    identity->expires_us = facts.not_after.us;
    identity->revoked = false;

    answer->cert_pem = steal_ptr(cert);
    answer->ca_pem = xstrdup(ca_cert_pem(ca));
    answer->fleet = xstrdup(ca_fleet(ca));
    answer->role = role;
    answer->name = xstrdup(name);
    answer->services = strv_copy(services);
    answer->expires_us = facts.not_after.us;
    pki_identity_done(&facts);
    return 0;
}

/* The same key again: the answer was lost, or the machine asks once more. Its name, or NULL. */
static const char *name_of_earlier_use(
    const struct state *state, const struct token *token, const char *key_hash)
{
    const char *used = pairs_get(token->used_by, key_hash);
    const struct identity *identity = used ? state_get(state, STATE_IDENTITY, used) : NULL;
    if (!identity || identity->revoked || !secret_equal(identity->key_hash, key_hash))
        return NULL;
    return identity->name;
}

static int decide_join(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_join *m = request->m;
    const struct join *join = request->arg;
    const struct state *state = txn_state(txn);
    int64_t now_us = loop_wall(request->hub->loop).us;
    const struct token *token = token_find(state, join->hash);
    if (!token) {
        enroll_limit_failed(&request->hub->enroll->limit, join->address, loop_now(request->hub->loop));
        return token_refuse_unknown(err);
    }
    const char *wanted = m->name && *m->name ? m->name : NULL;
    const char *before = name_of_earlier_use(state, token, join->key_hash);
    if (before && (!wanted || strcmp(wanted, before) == 0))
        return issue(request, txn, token->role, before, token->services, m->csr_pem, join->key_hash, err);
    if (token->expires_us <= now_us)
        return token_refuse_expired(token, err);
    if (token->uses_left <= 0)
        return error_set(err, -EACCES,
            "this token is used up; make a new one with: stagecoachctl token create --role=%s",
            role_names[token->role]);
    _cleanup_(free_ptr) char *name = NULL;
    int r = choose_name(token, wanted, join->key_hash, &name, err);
    if (r == 0)
        r = check_name_free(state, token, name, join->key_hash, err);
    if (r == 0)
        r = issue(request, txn, token->role, name, token->services, m->csr_pem, join->key_hash, err);
    if (r < 0)
        return r;
    struct token *edited = txn_edit(txn, STATE_TOKEN, token->id);
    edited->uses_left--;
    _cleanup_(free_ptr) char *key = identity_key(token->role, name);
    pairs_set(&edited->used_by, join->key_hash, key);
    _cleanup_(free_ptr) char *text =
        xasprintf("%s joined as %s with token %s", name, role_names[token->role], token->id);
    enroll_tell(txn, "join", name, role_is_person(token->role) ? NULL : name, text);
    return 0;
}

void on_join(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    struct hubd *hub = session->hub;
    const struct msg_join *join_m = m;
    struct error err = { 0 };
    const char *address = link_peer(link)->address;
    if (!enroll_limit_allows(&hub->enroll->limit, address, loop_now(hub->loop))) {
        reply_error(reply, ERROR_BUSY, "too many wrong tokens from %.*s; try again in a minute",
            (int)enroll_limit_host_len(address), address);
        return;
    }
    struct join *join = xcalloc(1, sizeof(*join));
    const char *secret = enroll_token_secret(join_m->token, ca_spki(hub->ca), &err);
    if (!secret || pki_csr_spki(join_m->csr_pem, join->key_hash, &err) < 0) {
        reply_error(reply, secret ? ERROR_FIELDS : ERROR_DENIED, "%s", err.text);
        join_free(join);
        return;
    }
    join->hash = token_hash(secret);
    join->address = xstrdup(address);
    struct request *request = hubd_request(hub, link, reply, MSG_JOIN, join_m->request_id, m, decide_join);
    if (!request) {
        join_free(join);
        return;
    }
    request->arg = join;
    request->free_arg = join_free;
}

/* --- renew --------------------------------------------------------------------------------------------------------- */

static int decide_renew(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_renew *m = request->m;
    char key_hash[SHA256_HEX_SIZE];
    int r = pki_csr_spki(m->csr_pem, key_hash, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *key = identity_key(request->role, request->who);
    const struct identity *identity = state_get(txn_state(txn), STATE_IDENTITY, key);
    if (identity && identity->revoked)
        return error_set(err, -EACCES, "%s \"%s\" was revoked", role_names[request->role], request->who);
    if (!identity || !secret_equal(identity->key_hash, key_hash))
        return error_set(err, -EACCES,
            "a certificate is renewed for the key that it has; to change the key of \"%s\", join again",
            request->who);
    return issue(request, txn, request->role, request->who, identity->services, m->csr_pem, key_hash, err);
}

void on_renew(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    if (!link_peer(link)->serial) {
        reply_error(reply, ERROR_DENIED, "only who shows a certificate can renew it");
        return;
    }
    const struct msg_renew *renew = m;
    hubd_request(session->hub, link, reply, MSG_RENEW, renew->request_id, m, decide_renew);
}

/* --- who is let in ---------------------------------------------------------------------------------------------------- */

int enroll_check_peer(struct hubd *hub, const struct peer *peer, struct error *err)
{
    if (!peer->serial)
        return 0;
    if (!peer->name || peer->role == ROLE_NONE || peer->role == ROLE_HUB)
        return error_set(err, -EACCES, "this certificate is not one of a host or a person");
    if (!peer->fleet || strcmp(peer->fleet, ca_fleet(hub->ca)) != 0)
        return error_set(err, -EACCES, "this certificate is of another fleet");
    _cleanup_(free_ptr) char *key = identity_key(peer->role, peer->name);
    const struct identity *identity = state_get(&hub->state, STATE_IDENTITY, key);
    const char *role = role_names[peer->role];
    if (!identity) {
        /* After the loss of the state hosts come back with what they have: the CA knows them still. */
        if (!role_is_person(peer->role) && !peer->expired)
            return 0;
        return error_set(err, -EACCES, "%s \"%s\" is not known here; join again", role, peer->name);
    }
    if (identity->revoked)
        return error_set(err, -EACCES, "%s \"%s\" was revoked", role, peer->name);
    if (peer->key && !secret_equal(identity->key_hash, peer->key))
        return error_set(err, -EACCES, "%s \"%s\" has joined again with another key since", role, peer->name);
    return 0;
}

static char *guest_name(const struct token *token)
{
    return token->name ? xstrdup(token->name) : xasprintf("token-%s", token->id);
}

int enroll_authenticate(
    struct hubd *hub, const char *secret, const char *address, struct enroll_guest *ret, struct error *err)
{
    mono_t now = loop_now(hub->loop);
    if (!enroll_limit_allows(&hub->enroll->limit, address, now))
        return error_set(err, -EAGAIN, "too many wrong tokens from %.*s; try again in a minute",
            (int)enroll_limit_host_len(address), address);
    secret = enroll_token_secret(secret, ca_spki(hub->ca), err);
    if (!secret)
        return -EACCES;
    _cleanup_(free_ptr) char *hash = token_hash(secret);
    const struct token *token = token_find(&hub->state, hash);
    if (!token) {
        enroll_limit_failed(&hub->enroll->limit, address, now);
        return token_refuse_unknown(err);
    }
    if (token->expires_us <= loop_wall(hub->loop).us)
        return token_refuse_expired(token, err);
    if (token->uses_left <= 0)
        return error_set(err, -EACCES, "this token is used up");
    *ret = (struct enroll_guest){
        .role = (enum role)token->role,
        .name = guest_name(token),
        .services = strv_copy(token->services),
    };
    return 0;
}

void enroll_guest_done(struct enroll_guest *guest)
{
    free(guest->name);
    strv_free(guest->services);
    *guest = (struct enroll_guest){ 0 };
}

/* --- identities -------------------------------------------------------------------------------------------------------------- */

static int decide_identity_revoke(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_identity_revoke *m = request->m;
    _cleanup_(free_ptr) char *key = m->name ? identity_key((enum role)m->role, m->name) : xstrdup("");
    if (!txn_get(txn, STATE_IDENTITY, key))
        return error_set(
            err, -ENOENT, "no %s \"%.80s\" has joined", role_names[m->role], m->name ? m->name : "");
    struct identity *identity = txn_edit(txn, STATE_IDENTITY, key);
    if (identity->revoked)
        return 0;
    identity->revoked = true;
    if (identity->serial)
        strv_push(&identity->revoked_serials, identity->serial);
    _cleanup_(free_ptr) char *text = xasprintf("%s \"%s\" was revoked", role_names[m->role], m->name);
    enroll_tell(txn, "join", request->who, role_is_person((enum role)m->role) ? NULL : m->name, text);
    return 0;
}

static void after_identity_revoke(struct request *request)
{
    const struct msg_identity_revoke *m = request->m;
    session_close_all(request->hub, (enum role)m->role, m->name, "this identity was revoked");
}

void on_identity_revoke(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_identity_revoke *revoke = m;
    struct request *request = hubd_request(
        session->hub, link, reply, MSG_IDENTITY_REVOKE, revoke->request_id, m, decide_identity_revoke);
    if (request)
        request->after = after_identity_revoke;
}
