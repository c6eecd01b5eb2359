/* SPDX-License-Identifier: MIT */
#include "ctl/join.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/pki.h"
#include "common/schema.h"
#include "ctl/client.h"

char *join_hub_address(const char *hub)
{
    const char *colon = strrchr(hub, ':'), *bracket = strrchr(hub, ']');
    if (hub[0] == '/' || (colon && colon > bracket))
        return xstrdup(hub);
    return xasprintf("%s:%d", hub, PROTOCOL_PORT);
}

/* What came must belong to the hub that was pinned, and to the key that we made. */
static int check_answer(const struct client *client, const struct joined *joined, struct error *err)
{
    char ca[SHA256_HEX_SIZE], ours[SHA256_HEX_SIZE], theirs[SHA256_HEX_SIZE];
    int r = pki_cert_spki(joined->answer.ca_pem, ca, err);
    if (r >= 0)
        r = pki_key_spki(joined->id.key_pem, ours, err);
    if (r >= 0)
        r = pki_cert_spki(joined->answer.cert_pem, theirs, err);
    if (r < 0)
        return error_prefix(err, "what the hub sent is no identity");
    if (*client_pin(client) && strcmp(ca, client_pin(client)) != 0)
        return error_set(err, -EBADMSG, "the hub sent the certificate of another authority than it shows");
    if (strcmp(ours, theirs) != 0)
        return error_set(err, -EBADMSG, "the hub sent a certificate for another key than ours");
    return 0;
}

static int exchange(
    struct client *client, const struct joining *joining, struct joined *joined, struct error *err)
{
    _cleanup_(free_ptr) char *csr = NULL, *request = ctl_request_id();
    int r = pki_key_new(&joined->id.key_pem, err);
    if (r >= 0)
        r = pki_csr_new(joined->id.key_pem, joining->name ? joining->name : "joining", &csr, err);
    if (r < 0)
        return r;
    const struct msg_join m = {
        .request_id = request,
        .token = (char *)(uintptr_t)joining->token,
        .name = (char *)(uintptr_t)joining->name,
        .csr_pem = csr,
    };
    r = client_ask(client, MSG_JOIN, &m, &joined->answer, err);
    joined->at = client_hub_time(client);
    if (r >= 0)
        r = check_answer(client, joined, err);
    if (r < 0)
        return r;
    joined->id.cert_pem = xstrdup(joined->answer.cert_pem);
    joined->id.ca_pem = xstrdup(joined->answer.ca_pem);
    return 0;
}

int join_hub(struct ctl *ctl, const struct joining *joining, struct joined *ret, struct error *err)
{
    struct joined joined = { 0 };
    joined.was_pinned = token_pin(joining->token, joined.pin);
    if (!joined.was_pinned && joining->need_pin)
        return error_set(err, -EINVAL,
            "this is not a whole token (sc1.<key of the hub>.<secret>); without the key "
            "of the hub in it the secret is not sent");
    struct client *client = NULL;
    int r = client_open_joining(ctl, joining->hub, joined.was_pinned ? joined.pin : NULL, &client, err);
    if (r >= 0 && !joined.was_pinned)
        snprintf(joined.pin, sizeof(joined.pin), "%s", client_pin(client));
    if (r >= 0)
        r = exchange(client, joining, &joined, err);
    client_free(client);
    if (r < 0)
        joined_done(&joined);
    *ret = joined;
    return r;
}

void joined_done(struct joined *joined)
{
    remote_identity_done(&joined->id);
    schema_clear(msg_by_type(MSG_JOIN)->answer, &joined->answer);
    *joined = (struct joined){ 0 };
}
