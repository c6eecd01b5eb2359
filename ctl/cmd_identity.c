/* SPDX-License-Identifier: MIT */
/* Tokens, and hosts and people that are no longer believed. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/strv.h"
#include "ctl/client.h"
#include "ctl/ctl.h"

#define TOKEN_USES_MAX 10000
#define TOKEN_VALID_MS (60 * 60 * 1000)
#define ROLES_TEXT     "admin, deployer, viewer, drone or router"

static int role_of(const char *name, int *ret, struct error *err)
{
    for (int role = ROLE_ADMIN; name && role <= ROLE_ROUTER; role++)
        if (strcmp(role_names[role], name) == 0) {
            *ret = role;
            return 0;
        }
    if (!name)
        return error_set(err, -EINVAL, "say for whom: --role=ROLE, with " ROLES_TEXT);
    return error_set(err, -EINVAL, "a role is one of " ROLES_TEXT ", not \"%s\"", name);
}

/* How others reach the hub we are at: its remote's address, or this machine if it is ours. Caller frees. */
static char *hub_for_others(const struct client *client)
{
    const struct remote *remote = client_remote(client);
    if (remote)
        return xstrdup(remote->hub);
    char name[256] = "HUB";
    gethostname(name, sizeof(name) - 1);
    return xasprintf("%s:%d", name, PROTOCOL_PORT);
}

static int ask_token(struct ctl *ctl, const struct msg_token_create *m, struct error *err)
{
    struct client *client = NULL;
    struct msg_token answer = { 0 };
    struct output *o = &ctl->output;
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = client_ask(client, MSG_TOKEN_CREATE, m, &answer, err);
    if (r >= 0) {
        _cleanup_(free_ptr) char *hub = hub_for_others(client);
        o->hub = hub;
        o->ops->token(o, &answer);
        output_flush(o);
        o->hub = NULL;
    }
    schema_clear(msg_by_type(MSG_TOKEN_CREATE)->answer, &answer);
    client_free(client);
    return r;
}

int cmd_token_create(struct ctl *ctl, struct error *err)
{
    const struct args *a = &ctl->args;
    _cleanup_(free_ptr) char *id = ctl_request_id(), *password = NULL;
    _cleanup_(strv_freep) char **services = args_list(a, "service");
    struct msg_token_create m = {
        .request_id = id,
        .uses = args_number(a, "uses", 1),
        .valid_ms = args_time_ms(a, "valid", TOKEN_VALID_MS),
        .name = (char *)(uintptr_t)args_text(a, "name"),
        .services = services,
    };
    int r = role_of(args_text(a, "role"), &m.role, err);
    if (r < 0)
        return r;
    if (m.uses < 1 || m.uses > TOKEN_USES_MAX)
        return error_set(err, -EINVAL, "--uses must be a whole number from 1 to %d", TOKEN_USES_MAX);
    if (services && m.role != ROLE_DEPLOYER)
        return error_set(err, -EINVAL, "--service is for deployers; %s has none", args_text(a, "role"));
    const char *given = args_text(a, "password");
    if (given && strcmp(given, "-") == 0)
        r = password_read(&password, err);
    else
        password = xstrdup(given);
    if (r < 0)
        return r;
    m.password = password;
    r = ask_token(ctl, &m, err);
    secret_erase(password);
    return r;
}

int cmd_token_list(struct ctl *ctl, struct error *err)
{
    struct client *client = NULL;
    struct msg_tokens answer = { 0 };
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = client_ask(client, MSG_TOKEN_LIST, &(struct msg_empty){ 0 }, &answer, err);
    if (r >= 0) {
        ctl->output.ops->tokens(&ctl->output, &answer);
        output_flush(&ctl->output);
    }
    schema_clear(msg_by_type(MSG_TOKEN_LIST)->answer, &answer);
    client_free(client);
    return r;
}

/* A change whose answer says nothing. */
static int change(struct ctl *ctl, enum msg_type type, const void *m, const char *done, struct error *err)
{
    struct client *client = NULL;
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = client_ask(client, type, m, NULL, err);
    if (r >= 0) {
        ctl->output.ops->done(&ctl->output, done);
        output_flush(&ctl->output);
    }
    client_free(client);
    return r;
}

int cmd_token_revoke(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    const struct msg_token_revoke m = { .request_id = id, .id = ctl->args.words[0] };
    _cleanup_(free_ptr) char *done = xasprintf("token %s is revoked", m.id);
    return change(ctl, MSG_TOKEN_REVOKE, &m, done, err);
}

int cmd_revoke(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    struct msg_identity_revoke m = { .request_id = id, .name = ctl->args.words[1] };
    int r = role_of(ctl->args.words[0], &m.role, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *done =
        xasprintf("%s \"%s\" is not let in any more", role_names[m.role], m.name);
    return change(ctl, MSG_IDENTITY_REVOKE, &m, done, err);
}

int cmd_host_remove(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    struct msg_host_remove m = { .request_id = id, .role = ROLE_DRONE, .name = ctl->args.words[0] };
    if (args_has(&ctl->args, "router"))
        m.role = ROLE_ROUTER;
    _cleanup_(free_ptr) char *done = xasprintf("%s \"%s\" is removed", role_names[m.role], m.name);
    return change(ctl, MSG_HOST_REMOVE, &m, done, err);
}
