/* SPDX-License-Identifier: MIT */
#include "hubd/enroll_token.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "common/strv.h"
#include "hubd/ca.h"
#include "hubd/command.h"
#include "hubd/enroll.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

/* --- tokens as text -------------------------------------------------------------------------------------------- */

const char *enroll_token_secret(const char *token, const char *spki, struct error *err)
{
    size_t prefix = strlen(TOKEN_PREFIX), pin = SHA256_HEX_SIZE - 1;
    if (strncmp(token, TOKEN_PREFIX, prefix) != 0 || strlen(token) <= prefix + pin ||
        token[prefix + pin] != '.' || strspn(token + prefix, "0123456789abcdef") != pin)
        return token;
    if (strncmp(token + prefix, spki, pin) != 0) {
        error_set(err, -EACCES,
            "this token is of another hub (key %.4s %.4s …), this one has key %.4s %.4s …", token + prefix,
            token + prefix + 4, spki, spki + 4);
        return NULL;
    }
    return token + prefix + pin + 1;
}

char *token_hash(const char *secret)
{
    char hex[SHA256_HEX_SIZE];
    return xstrdup(sha256_hex(secret, strlen(secret), hex));
}

/* All of them are compared, and each in constant time: nothing is learned from how long a refusal takes. */
const struct token *token_find(const struct state *state, const char *hash)
{
    const struct token *found = NULL;
    state_for_each(it, state, STATE_TOKEN)
    {
        const struct token *token = it.value;
        if (secret_equal(token->hash, hash))
            found = token;
    }
    return found;
}

int token_refuse_expired(const struct token *token, struct error *err)
{
    char stamp[CLOCK_STAMP_MAX];
    return error_set(err, -EACCES,
        "this token expired at %s; make a new one with: stagecoachctl token create --role=%s",
        wall_format_utc((wall_t){ token->expires_us }, stamp), role_names[token->role]);
}

int token_refuse_unknown(struct error *err)
{
    return error_set(err, -EACCES, "this token is not known here: it is mistyped, or it was revoked");
}

bool token_name_fits(enum role role, const char *name)
{
    return role_is_person(role) ? name_is_person(name) : name_is_host(name);
}

void enroll_tell(struct txn *txn, const char *kind, const char *who, const char *host, const char *text)
{
    struct msg_event event = {
        .kind = (char *)kind,
        .who = (char *)who,
        .host = (char *)host,
        .text = (char *)text,
    };
    txn_event(txn, &event);
}

/* --- tokens: create, list, revoke ---------------------------------------------------------------------------------------- */

static int check_new_token(const struct msg_token_create *m, struct error *err)
{
    if (m->role != ROLE_DRONE && m->role != ROLE_ROUTER && !role_is_person((enum role)m->role))
        return error_set(err, -EINVAL, "a token is for admin, deployer, viewer, drone or router");
    if (m->name && !token_name_fits((enum role)m->role, m->name))
        return error_set(err, -EINVAL, "\"%.80s\" is no name for a %s", m->name, role_names[m->role]);
    if (m->services && *m->services && m->role != ROLE_DEPLOYER)
        return error_set(err, -EINVAL, "only deployers are limited to services");
    char *service;
    strv_for_each (service, m->services)
        if (!name_is_service(service))
            return error_set(err, -EINVAL, "\"%.80s\" is no service name", service);
    if (strv_len(m->services) > TOKEN_SERVICES_MAX)
        return error_set(err, -EINVAL, "a token can name at most %d services", TOKEN_SERVICES_MAX);
    if (m->uses < 0 || m->uses > TOKEN_USES_MAX)
        return error_set(err, -EINVAL, "a token is good for 1 to %d uses", TOKEN_USES_MAX);
    if (m->valid_ms < 0 || m->valid_ms > TOKEN_VALID_MAX_MS)
        return error_set(
            err, -EINVAL, "a token is good for at most %" PRId64 " days", TOKEN_VALID_MAX_MS / 86400000);
    size_t len = m->password ? strlen(m->password) : TOKEN_PASSWORD_MIN;
    if (len < TOKEN_PASSWORD_MIN || len > TOKEN_PASSWORD_MAX)
        return error_set(
            err, -EINVAL, "a password must have %d to %d characters", TOKEN_PASSWORD_MIN, TOKEN_PASSWORD_MAX);
    return 0;
}

/* Tokens whose end nobody has to be told of any more. */
static void drop_old_tokens(struct txn *txn, int64_t now_us)
{
    const struct state *state = txn_state(txn);
    state_for_each(it, state, STATE_TOKEN)
    {
        const struct token *token = it.value;
        if (token->expires_us + TOKEN_KEPT_MS * CLOCK_US_PER_MS < now_us)
            txn_delete(txn, STATE_TOKEN, it.key);
    }
}

static void fill_token(struct msg_token *row, const struct token *token)
{
    row->id = xstrdup(token->id);
    row->role = token->role;
    row->name = xstrdup(token->name);
    row->services = strv_copy(token->services);
    row->uses_left = token->uses_left;
    row->expires_us = token->expires_us;
    row->created_by = xstrdup(token->created_by);
}

static void secret_free(void *arg)
{
    secret_erase(arg);
    free(arg);
}

static int decide_token_create(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_token_create *m = request->m;
    struct msg_token *answer = request->answer;
    const char *secret = request->arg;
    const struct state *state = txn_state(txn);
    int64_t now_us = loop_wall(request->hub->loop).us;
    int r = check_new_token(m, err);
    if (r < 0)
        return r;
    if (map_size(state->rows[STATE_TOKEN]) >= TOKENS_MAX)
        return error_set(err, -EBUSY, "there are %d tokens already; revoke some first", TOKENS_MAX);
    _cleanup_(free_ptr) char *hash = token_hash(secret);
    if (token_find(state, hash))
        return error_set(err, -EEXIST, "there is a token with this password already");
    drop_old_tokens(txn, now_us);
    _cleanup_(free_ptr) char *id = random_hex(4);
    while (txn_get(txn, STATE_TOKEN, id)) {
        free(id);
        id = random_hex(4);
    }
    struct token *token = txn_edit(txn, STATE_TOKEN, id);
    token->id = xstrdup(id);
    token->hash = steal_ptr(hash);
    token->role = m->role;
    token->name = xstrdup(m->name);
    token->services = strv_copy(m->services);
    token->uses_left = m->uses ? m->uses : 1;
    token->created_us = now_us;
    token->expires_us = now_us + (m->valid_ms ? m->valid_ms : TOKEN_VALID_DEFAULT_MS) * CLOCK_US_PER_MS;
    token->created_by = xstrdup(request->who);
    fill_token(answer, token);
    answer->token = xasprintf(TOKEN_PREFIX "%s.%s", ca_spki(request->hub->ca), secret);
    _cleanup_(free_ptr) char *text = xasprintf("token %s for a %s, %" PRId64 " %s", id, role_names[m->role],
        token->uses_left, token->uses_left == 1 ? "use" : "uses");
    enroll_tell(txn, "token", request->who, NULL, text);
    return 0;
}

void on_token_create(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_token_create *create = m;
    char *secret = create->password ? xstrdup(create->password) : random_base64url(TOKEN_SECRET_BYTES);
    /* No request id: the answer holds the secret, which is not kept. A repeated call makes another token. */
    struct request *request =
        hubd_request(session->hub, link, reply, MSG_TOKEN_CREATE, NULL, m, decide_token_create);
    if (!request) {
        secret_free(secret);
        return;
    }
    request->arg = secret;
    request->free_arg = secret_free;
}

void on_token_list(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    const struct state *state = &session->hub->state;
    int64_t now_us = loop_wall(session->hub->loop).us;
    struct msg_tokens answer = { 0 };
    answer.tokens = xcalloc(map_size(state->rows[STATE_TOKEN]) + 1, sizeof(*answer.tokens));
    state_for_each(it, state, STATE_TOKEN)
    {
        const struct token *token = it.value;
        if (token->expires_us > now_us && token->uses_left > 0)
            fill_token(&answer.tokens[answer.n_tokens++], token);
    }
    reply_ok(reply, &answer);
    schema_clear(msg_by_type(MSG_TOKEN_LIST)->answer, &answer);
}

static int decide_token_revoke(struct request *request, struct txn *txn, struct error *err)
{
    const struct msg_token_revoke *m = request->m;
    if (!txn_get(txn, STATE_TOKEN, m->id))
        return error_set(err, -ENOENT, "there is no token \"%.40s\"", m->id);
    txn_delete(txn, STATE_TOKEN, m->id);
    _cleanup_(free_ptr) char *text = xasprintf("token %s revoked", m->id);
    enroll_tell(txn, "token", request->who, NULL, text);
    return 0;
}

void on_token_revoke(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_token_revoke *revoke = m;
    hubd_request(session->hub, link, reply, MSG_TOKEN_REVOKE, revoke->request_id, m, decide_token_revoke);
}
