/* SPDX-License-Identifier: MIT */
/* Which hub is meant, and who we are there. */
#include "ctl/client_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/messages.h"
#include "common/pki.h"
#include "common/schema.h"

/* --- renewing --------------------------------------------------------------------------------------------- */

static int store_renewed(struct client *client, const struct msg_identity *m, struct error *err)
{
    _cleanup_(close_fd) int lock = -1;
    int r = remotes_lock(&lock, err);
    if (r < 0)
        return r;
    struct remotes now = { 0 };
    r = remotes_load(&now, err);
    struct remote *remote = r < 0 ? NULL : remotes_find(&now, client->remote->name);
    if (remote && strcmp(remote->pin, client->remote->pin) == 0) {
        remote_set_identity(remote, m, client_hub_time(client));
        struct remote_identity id = { .cert_pem = m->cert_pem };
        r = remote_identity_save(remote->name, &id, err);
        if (r >= 0)
            r = remotes_save(&now, err);
        str_set(&client->identity.cert_pem, m->cert_pem);
    }
    remotes_clear(&now);
    return r;
}

/* A certificate that is past a third of its time is replaced on the way. Only an expired one makes a failure
 * worth telling. */
static int renew(struct client *client, struct error *err)
{
    wall_t now = client_hub_time(client);
    if (!client->remote || !remote_wants_renewal(client->remote, now))
        return 0;
    bool expired = now.us >= client->remote->expires_us;
    _cleanup_(free_ptr) char *csr = NULL, *id = ctl_request_id();
    struct msg_identity answer = { 0 };
    int r = pki_csr_new(client->identity.key_pem, client->remote->user, &csr, err);
    if (r >= 0)
        r = client_ask(
            client, MSG_RENEW, &(struct msg_renew){ .request_id = id, .csr_pem = csr }, &answer, err);
    if (r >= 0)
        r = store_renewed(client, &answer, err);
    if (msg_by_type(MSG_RENEW)->answer)
        schema_clear(msg_by_type(MSG_RENEW)->answer, &answer);
    if (r < 0)
        return expired ? error_prefix(err, "your certificate for %s has expired and could not be renewed",
                             client->remote->name)
                       : 0;
    return expired ? client_connect(client, err) : 0;
}

/* --- which hub -------------------------------------------------------------------------------------------- */

static bool is_socket_address(const char *address)
{
    return address[0] == '/' || strncmp(address, "unix:", 5) == 0;
}

static int no_hub(const struct remotes *remotes, struct error *err)
{
    if (remotes->n_remotes > 0)
        return error_set(err, -EINVAL,
            "there are %zu remotes and none is the default: say --remote=NAME, or "
            "stagecoachctl remote default NAME",
            remotes->n_remotes);
    return error_set(err, -ENOTCONN,
        "no hub is known here; add one: stagecoachctl remote add NAME "
        "--hub=HOST:%d --token-file=FILE",
        PROTOCOL_PORT);
}

/* The remote that is meant; NULL with 0: the local socket. */
static int choose_remote(
    const struct ctl *ctl, const struct remotes *remotes, struct remote **ret, struct error *err)
{
    const char *name = args_text(&ctl->args, "remote");
    const char *hub = args_text(&ctl->args, "hub");
    if (hub) {
        _cleanup_(free_ptr) char *with_port = xasprintf("%s:%d", hub, PROTOCOL_PORT);
        *ret = remotes_by_hub(remotes, hub);
        if (!*ret)
            *ret = remotes_by_hub(remotes, with_port);
        return *ret ? 0
                    : error_set(err, -EINVAL,
                          "no remote is kept for %s; add it: stagecoachctl remote add "
                          "NAME --hub=%s --token-file=FILE",
                          hub, hub);
    }
    if (name) {
        *ret = remotes_find(remotes, name);
        return *ret ? 0
                    : error_set(err, -EINVAL, "there is no remote \"%s\"; stagecoachctl remote list", name);
    }
    if (remotes->default_remote && (*ret = remotes_find(remotes, remotes->default_remote)))
        return 0;
    if (remotes->n_remotes == 1) {
        *ret = &remotes->remotes[0];
        return 0;
    }
    *ret = NULL;
    if (remotes->n_remotes == 0 && access(HUB_LOCAL_SOCKET, F_OK) == 0)
        return 0;
    return no_hub(remotes, err);
}

static int open_remote(struct ctl *ctl, struct client **ret, struct error *err)
{
    struct remotes remotes;
    struct remote *remote = NULL;
    int r = remotes_load(&remotes, err);
    if (r >= 0)
        r = choose_remote(ctl, &remotes, &remote, err);
    struct remote_identity identity = { 0 };
    if (r >= 0 && remote)
        r = remote_identity_load(remote->name, &identity, err);
    if (r < 0) {
        remotes_clear(&remotes);
        return r;
    }
    struct client *client = client_new(ctl, remote ? remote->hub : HUB_LOCAL_SOCKET);
    client->remotes = remotes;
    client->remote = remote;
    client->identity = identity;
    client->is_socket = !remote;
    client->pin = remote ? xstrdup(remote->pin) : NULL;
    *ret = client;
    return 0;
}

int client_open(struct ctl *ctl, struct client **ret, struct error *err)
{
    struct client *client = NULL;
    const char *hub = args_text(&ctl->args, "hub");
    int r = 0;
    if (hub && is_socket_address(hub)) {
        client = client_new(ctl, hub);
        client->is_socket = true;
    } else {
        r = open_remote(ctl, &client, err);
    }
    if (r >= 0)
        r = client_connect(client, err);
    if (r >= 0)
        r = renew(client, err);
    if (r < 0) {
        client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}

int client_open_joining(
    struct ctl *ctl, const char *hub, const char *pin, struct client **ret, struct error *err)
{
    struct client *client = client_new(ctl, hub);
    client->is_socket = is_socket_address(hub);
    client->pin = xstrdup(pin);
    int r = client_connect(client, err);
    if (r < 0) {
        client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}
