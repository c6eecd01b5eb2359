/* SPDX-License-Identifier: MIT */
#include "routerd/uplink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/document.h"
#include "common/identity.h"
#include "common/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/stream.h"
#include "common/table_diff.h"
#include "common/tls.h"
#include "routerd/feed.h"
#include "routerd/routerd.h"
#include "routerd/traffic.h"

struct uplink {
    struct routerd *routerd;
    char *identity_dir;
    struct identity id;
    struct tls_context *tls;
    bool plain;            /* the hub is a socket path: no identity, no TLS */
    struct stream *stream; /* until it is a link */
    struct link *link;
    struct document_sink sink;
    struct reply *committing; /* the commit that is answered when all workers serve it */
    struct timer retry, renew;
    int64_t retry_ms;
    char *trouble, *logged;
    bool renewing;
};

static const char *const features[] = { "table/1", "table/2", TABLE_DIFF_FEATURE, NULL };

/* --- identity -------------------------------------------------------------------------------------------- */

/* The hub's address of the configuration wins over the one that was joined. */
static int load_identity(struct uplink *u, struct error *err)
{
    const char *hub = u->routerd->settings.hub;
    tls_context_free(steal_ptr(u->tls));
    identity_done(&u->id);
    u->plain = hub && (hub[0] == '/' || strncmp(hub, "unix:", 5) == 0);
    if (u->plain) {
        u->id = (struct identity){ .hub = xstrdup(hub), .name = xstrdup("router") };
        return 0;
    }
    int r = identity_load(u->identity_dir, &u->id, err);
    if (r == -ENOENT)
        return error_set(err, r, "not joined yet; stagecoachctl join does it");
    if (r < 0)
        return r;
    if (hub)
        str_set(&u->id.hub, hub);
    struct tls_client spec = { .cert_pem = u->id.cert_pem,
        .key_pem = u->id.key_pem,
        .alpn = PROTOCOL_ALPN,
        .ca_pem = u->id.ca_pem,
        .fleet = u->id.fleet };
    return tls_client_new(&spec, &u->tls, err);
}

static void on_renewed(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct uplink *u = arg;
    const struct msg_identity *identity = answer;
    struct error err;
    u->renewing = false;
    if (result < 0) {
        log_warning(NULL, "can't renew our certificate: %s", reason ? reason : strerror(-result));
        return;
    }
    bool expired = identity_is_expired(&u->id, loop_wall(u->routerd->loop));
    if (identity_save_cert(u->identity_dir, identity->cert_pem, &err) < 0 || load_identity(u, &err) < 0) {
        log_error(NULL, "can't take over our renewed certificate: %s", err.text);
        return;
    }
    log_info(NULL, "our certificate was renewed");
    if (expired && u->link)
        link_close(u->link, "coming back with a renewed certificate");
}

static void on_renew_timer(void *arg)
{
    struct uplink *u = arg;
    struct error err;
    if (u->plain)
        return;
    wall_t now = loop_wall(u->routerd->loop);
    timer_set(&u->renew, identity_renewal_check_ms(&u->id, now));
    if (u->renewing || !uplink_is_connected(u) || !identity_wants_renewal(&u->id, now))
        return;
    _cleanup_(free_ptr) char *csr = NULL;
    if (pki_csr_new(u->id.key_pem, u->id.name, &csr, &err) < 0) {
        log_error(NULL, "can't renew our certificate: %s", err.text);
        return;
    }
    _cleanup_(free_ptr) char *request = random_hex(16);
    struct msg_renew renew = { .request_id = request, .csr_pem = csr };
    u->renewing = true;
    link_call(u->link, MSG_RENEW, &renew, UPLINK_RENEW_TIMEOUT_MS, on_renewed, u);
}

/* --- what comes ------------------------------------------------------------------------------------------ */

static void on_document_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *u = owner;
    struct error err;
    if (document_sink_begin(&u->sink, m, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

static void on_document_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *u = owner;
    struct error err;
    if (document_sink_part(&u->sink, m, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

static void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *u = owner;
    struct error err = { 0 };
    int r = document_sink_end(&u->sink, m, &err);
    bool is_diff = u->sink.kind == DOCUMENT_TABLE_DIFF;
    if (r >= 0 && u->sink.kind != DOCUMENT_TABLE && !is_diff)
        r = error_set(&err, -EINVAL, "a router takes tables, not %s", document_kind_names[u->sink.kind]);
    if (r >= 0)
        r = feed_prepare(
            u->routerd->feed, u->sink.revision, strbuf_str(&u->sink.text), u->sink.text.len, is_diff, &err);
    document_sink_done(&u->sink);
    if (r < 0) {
        log_error(NULL, "table refused: %s", err.text);
        reply_error(reply, r == -ENOSPC || r == -EIO ? ERROR_UNAVAILABLE : ERROR_REFUSED, "%s", err.text);
    } else {
        reply_ok(reply, NULL);
    }
}

static void on_prepare(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct uplink *u = owner;
    const struct msg_epoch *m = message;
    struct error err;
    if (feed_check_prepared(u->routerd->feed, m->epoch, &err) < 0)
        reply_error(reply, ERROR_CONFLICT, "%s", err.text);
    else
        reply_ok(reply, NULL);
}

void uplink_served(struct uplink *u)
{
    if (u && u->committing)
        reply_ok(steal_ptr(u->committing), NULL);
}

static void on_commit(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct uplink *u = owner;
    const struct msg_epoch *m = message;
    struct error err;
    if (u->committing) {
        reply_error(reply, ERROR_CONFLICT, "another epoch is being committed");
        return;
    }
    u->committing = reply;
    if (feed_commit(u->routerd->feed, m->epoch, &err) < 0) {
        log_error(NULL, "epoch %" PRId64 " not taken: %s", m->epoch, err.text);
        reply_error(steal_ptr(u->committing), ERROR_CONFLICT, "%s", err.text);
    } else if (u->routerd->serving) {
        uplink_served(u);
    }
}

static void on_abort(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct uplink *u = owner;
    const struct msg_epoch *m = message;
    struct error err;
    if (feed_check_prepared(u->routerd->feed, m->epoch, &err) >= 0)
        feed_abort(u->routerd->feed);
    reply_ok(reply, NULL);
}

/* clang-format off */
static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, on_document_begin },
    { MSG_DOCUMENT_END,   on_document_end },
    { MSG_DOCUMENT_PART,  on_document_part },
    { MSG_TABLE_ABORT,    on_abort },
    { MSG_TABLE_COMMIT,   on_commit },
    { MSG_TABLE_PREPARE,  on_prepare },
    { 0, NULL },
};
/* clang-format on */

/* --- the link -------------------------------------------------------------------------------------------- */

static void set_trouble(struct uplink *u, const char *text)
{
    str_set(&u->trouble, text);
    if (text && (!u->logged || strcmp(u->logged, text) != 0)) {
        log_warning(NULL, "no link to the hub: %s; what is routed, stays routed", text);
        str_set(&u->logged, text);
    }
}

/* Half of the pause is random, so that a hub that comes back is not met by all at once. */
static void retry_later(struct uplink *u)
{
    uint32_t noise;
    random_bytes(&noise, sizeof(noise));
    int64_t half = u->retry_ms / 2;
    timer_set(&u->retry, half + (int64_t)(noise % (uint32_t)(half + 1)));
    u->retry_ms = u->retry_ms * 2 < UPLINK_RETRY_MAX_MS ? u->retry_ms * 2 : UPLINK_RETRY_MAX_MS;
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    struct uplink *u = owner;
    hello->program = (char *)"stagecoach-routerd";
    hello->version = (char *)STAGECOACH_VERSION;
    hello->name = u->id.name;
    hello->fleet = u->id.fleet;
    hello->counter = routerd_epoch(u->routerd);
    hello->features = (char **)features;
}

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct uplink *u = owner;
    if (event == LINK_CONNECTED) {
        u->retry_ms = UPLINK_RETRY_MIN_MS;
        str_set(&u->logged, NULL);
        set_trouble(u, NULL);
        log_info(NULL, "linked to the hub at %s", u->id.hub);
        traffic_report(u->routerd->traffic, true);
        timer_set(&u->renew, 0);
    } else if (event == LINK_CLOSED) {
        /* What was prepared and not decided is dropped; the decided table comes again. */
        document_sink_done(&u->sink);
        feed_abort(u->routerd->feed);
        u->renewing = false;
        link_free(steal_ptr(u->link));
        set_trouble(u, reason ? reason : "the hub closed the link");
        retry_later(u);
    }
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct uplink *u = arg;
    if (event == (u->plain ? STREAM_CONNECTED : STREAM_TLS_READY)) {
        struct link_spec spec = {
            .handlers = handlers, .on_event = on_link_event, .owner = u, .fill_hello = fill_hello
        };
        u->link = link_new(u->routerd->loop, steal_ptr(u->stream), false, &spec);
    } else if (event == STREAM_ERROR || event == STREAM_CLOSED) {
        _cleanup_(free_ptr) char *text = xasprintf("can't reach %s: %s", u->id.hub, stream_error(stream));
        stream_free(steal_ptr(u->stream));
        set_trouble(u, text);
        retry_later(u);
    }
}

static void on_retry(void *arg)
{
    struct uplink *u = arg;
    struct error err;
    /* Read anew each time: `join` may have changed it. */
    if (load_identity(u, &err) < 0) {
        set_trouble(u, err.text);
        u->retry_ms = UPLINK_RETRY_MAX_MS;
        retry_later(u);
        return;
    }
    struct stream_options options = { .tls = u->tls, .default_port = PROTOCOL_PORT };
    u->stream = stream_connect(u->routerd->loop, u->id.hub, &options, on_stream, u);
}

/* --- for others ------------------------------------------------------------------------------------------- */

bool uplink_is_connected(const struct uplink *u)
{
    return u->link && link_is_connected(u->link);
}

void uplink_send(struct uplink *u, enum msg_type type, const void *m)
{
    if (uplink_is_connected(u))
        link_notify(u->link, type, m);
}

const char *uplink_trouble(const struct uplink *u)
{
    return u->trouble;
}

const char *uplink_fleet(const struct uplink *u)
{
    return u->id.fleet;
}

int uplink_new(struct routerd *routerd, struct uplink **ret, struct error *err)
{
    struct uplink *u = xcalloc(1, sizeof(*u));
    u->routerd = routerd;
    u->identity_dir = xasprintf("%s/identity", routerd->settings.state_directory);
    u->retry_ms = UPLINK_RETRY_MIN_MS;
    timer_init(&u->retry, routerd->loop, on_retry, u);
    timer_init(&u->renew, routerd->loop, on_renew_timer, u);
    struct error why;
    if (load_identity(u, &why) < 0)
        set_trouble(u, why.text);
    *ret = u;
    return 0;
}

void uplink_start(struct uplink *u)
{
    timer_set(&u->retry, 0);
}

void uplink_free(struct uplink *u)
{
    if (!u)
        return;
    timer_done(&u->retry);
    timer_done(&u->renew);
    if (u->committing)
        reply_error(steal_ptr(u->committing), ERROR_UNAVAILABLE, "this process of the router ends");
    stream_free(u->stream);
    link_free(u->link);
    document_sink_done(&u->sink);
    tls_context_free(u->tls);
    identity_done(&u->id);
    free(u->identity_dir);
    free(u->trouble);
    free(u->logged);
    free(u);
}
