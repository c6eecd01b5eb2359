/* SPDX-License-Identifier: MIT */
#include "droned/uplink.h"

#include <errno.h>
#include <string.h>

#include "common/document.h"
#include "common/identity.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/strv.h"
#include "common/tls.h"
#include "droned/droned.h"
#include "droned/orders.h"
#include "droned/streams.h"

struct uplink {
    struct droned *droned;
    struct loop *loop;
    char *identity_dir;
    struct identity id;
    bool has_identity;
    struct tls_context *tls, *http_tls;
    struct stream *stream; /* until it is a link */
    struct link *link;
    struct document_sink sink;
    struct timer retry, renew, report;
    int64_t retry_ms;
    char *trouble;
    char *logged; /* trouble that was logged last: each is logged once */
    bool renewing;
};

static const char *const features[] = { "orders/1", "streams/1", NULL };

static void connect_hub(struct uplink *uplink);

/* --- identity --------------------------------------------------------------------------------------------------------- */

static void drop_identity(struct uplink *uplink)
{
    tls_context_free(steal_ptr(uplink->tls));
    tls_context_free(steal_ptr(uplink->http_tls));
    identity_done(&uplink->id);
    uplink->has_identity = false;
}

static int make_tls(struct uplink *uplink, const char *alpn, struct tls_context **ret, struct error *err)
{
    const struct identity *id = &uplink->id;
    struct tls_client spec = { .cert_pem = id->cert_pem,
        .key_pem = id->key_pem,
        .alpn = alpn,
        .ca_pem = id->ca_pem,
        .fleet = id->fleet };
    return tls_client_new(&spec, ret, err);
}

static int load_identity(struct uplink *uplink, struct error *err)
{
    const char *plain = uplink->droned->seams.plain_hub;
    drop_identity(uplink);
    if (plain) {
        uplink->id = (struct identity){ .hub = xstrdup(plain), .name = xstrdup("test1") };
        droned_set_name(uplink->droned, uplink->id.name);
        return 0;
    }
    int r = identity_load(uplink->identity_dir, &uplink->id, err);
    if (r == -ENOENT)
        return error_set(err, r, "not joined yet; stagecoachctl join does it");
    if (r >= 0)
        r = make_tls(uplink, PROTOCOL_ALPN, &uplink->tls, err);
    if (r >= 0)
        r = make_tls(uplink, "http/1.1", &uplink->http_tls, err);
    if (r < 0)
        return r;
    uplink->has_identity = true;
    droned_set_name(uplink->droned, uplink->id.name);
    str_set(&uplink->droned->joined_fleet, uplink->id.fleet);
    return 0;
}

static void on_renewed(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct uplink *uplink = arg;
    const struct msg_identity *identity = answer;
    struct error err;
    uplink->renewing = false;
    if (result < 0) {
        log_warning(NULL, "can't renew our certificate: %s", reason ? reason : strerror(-result));
        return;
    }
    bool expired = identity_is_expired(&uplink->id, loop_wall(uplink->loop));
    if (identity_save_cert(uplink->identity_dir, identity->cert_pem, &err) < 0 ||
        load_identity(uplink, &err) < 0) {
        log_error(NULL, "can't take over our renewed certificate: %s", err.text);
        return;
    }
    log_info(NULL, "our certificate was renewed");
    if (expired && uplink->link)
        link_close(uplink->link, "coming back with a renewed certificate");
}

static void on_renew_timer(void *arg)
{
    struct uplink *uplink = arg;
    struct error err;
    wall_t now = loop_wall(uplink->loop);
    timer_set(&uplink->renew,
        uplink->has_identity ? identity_renewal_check_ms(&uplink->id, now) : IDENTITY_CHECK_MAX_MS);
    if (!uplink->has_identity || uplink->renewing || !uplink_is_connected(uplink) ||
        !identity_wants_renewal(&uplink->id, now))
        return;
    _cleanup_(free_ptr) char *csr = NULL;
    if (pki_csr_new(uplink->id.key_pem, uplink->id.name, &csr, &err) < 0) {
        log_error(NULL, "can't renew our certificate: %s", err.text);
        return;
    }
    _cleanup_(free_ptr) char *request = random_hex(16);
    struct msg_renew renew = { .request_id = request, .csr_pem = csr };
    uplink->renewing = true;
    link_call(uplink->link, MSG_RENEW, &renew, UPLINK_RENEW_TIMEOUT_MS, on_renewed, uplink);
}

/* --- trouble ------------------------------------------------------------------------------------------------------------ */

static void set_trouble(struct uplink *uplink, const char *text)
{
    str_set(&uplink->trouble, text);
    if (text && (!uplink->logged || strcmp(uplink->logged, text) != 0)) {
        log_warning(NULL, "no link to the hub: %s; what runs, runs on", text);
        str_set(&uplink->logged, text);
    }
    droned_update_status(uplink->droned);
}

/* Half of the pause is random, so that a hub that comes back is not met by all hosts at once. */
static void retry_later(struct uplink *uplink)
{
    uint32_t noise;
    random_bytes(&noise, sizeof(noise));
    int64_t half = uplink->retry_ms / 2;
    timer_set(&uplink->retry, half + (int64_t)(noise % (uint32_t)(half + 1)));
    uplink->retry_ms *= 2;
    if (uplink->retry_ms > UPLINK_RETRY_MAX_MS)
        uplink->retry_ms = UPLINK_RETRY_MAX_MS;
}

/* --- what comes ------------------------------------------------------------------------------------------------------- */

static enum error_kind kind_of(int code)
{
    switch (code) {
    case -ESTALE:
        return ERROR_CONFLICT;
    case -EPERM:
    case -EINVAL:
        return ERROR_REFUSED;
    case -EBADMSG:
        return ERROR_FIELDS;
    default:
        return ERROR_UNAVAILABLE;
    }
}

static void on_document_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = owner;
    struct error err;
    if (document_sink_begin(&uplink->sink, m, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

static void on_document_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = owner;
    struct error err;
    if (document_sink_part(&uplink->sink, m, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

static void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = owner;
    struct error err = { 0 };
    int r = document_sink_end(&uplink->sink, m, &err);
    if (r >= 0 && uplink->sink.kind != DOCUMENT_ORDERS)
        r = error_set(
            &err, -EINVAL, "a drone takes orders, not a %s", document_kind_names[uplink->sink.kind]);
    if (r >= 0)
        r = orders_replace_text(uplink->droned, strbuf_str(&uplink->sink.text), uplink->sink.text.len, &err);
    document_sink_done(&uplink->sink);
    if (r < 0) {
        log_error(NULL, "orders refused: %s", err.text);
        reply_error(reply, kind_of(r), "%s", err.text);
    } else {
        log_info(NULL, "orders of revision %lld taken over", (long long)uplink->droned->revision);
        reply_ok(reply, NULL);
    }
}

static void on_orders_change(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = owner;
    struct error err = { 0 };
    int r = orders_change(uplink->droned, m, &err);
    if (r < 0) {
        log_error(NULL, "orders refused: %s", err.text);
        reply_error(reply, kind_of(r), "%s", err.text);
    } else {
        reply_ok(reply, NULL);
    }
}

static void on_stream_open(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = owner;
    struct error err = { 0 };
    if (streams_open(uplink->droned->streams, m, &err) < 0)
        reply_error(reply, kind_of(err.code), "%s", err.text);
    else
        reply_ok(reply, NULL);
}

// clang-format off
static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, on_document_begin },
    { MSG_DOCUMENT_END,   on_document_end },
    { MSG_DOCUMENT_PART,  on_document_part },
    { MSG_ORDERS_CHANGE,  on_orders_change },
    { MSG_STREAM_OPEN,    on_stream_open },
    { 0, NULL },
};
// clang-format on

/* --- the link ---------------------------------------------------------------------------------------------------------- */

void uplink_fill_hello(struct uplink *uplink, const char *stream, struct msg_hello *hello)
{
    hello->program = (char *)"stagecoach-droned";
    hello->version = (char *)STAGECOACH_VERSION;
    hello->name = uplink->droned->name;
    hello->fleet = uplink->id.fleet;
    hello->counter = uplink->droned->revision;
    hello->features = (char **)features;
    hello->stream = (char *)stream;
    hello->address = uplink->droned->address;
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    uplink_fill_hello(owner, NULL, hello);
}

static void on_report_done(int result, const char *reason, void *arg)
{
    struct uplink *uplink = arg;
    if (result >= 0)
        return;
    log_warning(NULL, "the hub did not take our report: %s", reason ? reason : strerror(-result));
    timer_set(&uplink->report, UPLINK_REPORT_RETRY_MS);
}

/* Not before systemd has told what runs: the files only say what ran when they were written. */
void uplink_send_report(struct uplink *uplink)
{
    struct report report;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    if (!uplink_is_connected(uplink) || !uplink->droned->units_known)
        return;
    droned_fill_report(uplink->droned, &report);
    schema_print(&report_schema, &report, &text);
    schema_clear(&report_schema, &report);
    document_send(uplink->link, DOCUMENT_REPORT, uplink->droned->revision, strbuf_str(&text), text.len,
        on_report_done, uplink);
}

static void on_report_timer(void *arg)
{
    uplink_send_report(arg);
}

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct uplink *uplink = owner;
    if (event == LINK_CONNECTED) {
        uplink->retry_ms = UPLINK_RETRY_MIN_MS;
        str_set(&uplink->logged, NULL);
        set_trouble(uplink, NULL);
        log_info(NULL, "linked to the hub at %s", uplink->id.hub);
        uplink_send_report(uplink);
        timer_set(&uplink->renew, 0);
        timer_set(&uplink->droned->host_timer, 0);
        droned_update_status(uplink->droned);
    } else if (event == LINK_CLOSED) {
        document_sink_done(&uplink->sink);
        uplink->renewing = false;
        link_free(steal_ptr(uplink->link));
        set_trouble(uplink, reason ? reason : "the hub closed the link");
        retry_later(uplink);
    }
}

/* "10.0.0.11" of "10.0.0.11:43210", "::1" of "[::1]:43210". Caller frees; NULL for what is neither. */
static char *host_of(const char *local)
{
    const char *colon = strrchr(local, ':');
    if (!colon)
        return NULL;
    if (local[0] == '[' && colon > local + 2)
        return xstrndup(local + 1, (size_t)(colon - local) - 2);
    return xstrndup(local, (size_t)(colon - local));
}

static void become_link(struct uplink *uplink)
{
    struct link_spec spec = {
        .handlers = handlers, .on_event = on_link_event, .owner = uplink, .fill_hello = fill_hello
    };
    _cleanup_(free_ptr) char *local = host_of(stream_local(uplink->stream));
    if (local)
        droned_set_address(uplink->droned, local);
    uplink->link = link_new(uplink->loop, steal_ptr(uplink->stream), false, &spec);
}

bool uplink_is_ready_event(const struct uplink *uplink, enum stream_event event)
{
    return event == (uplink->droned->seams.plain_hub ? STREAM_CONNECTED : STREAM_TLS_READY);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct uplink *uplink = arg;
    if (uplink_is_ready_event(uplink, event)) {
        become_link(uplink);
    } else if (event == STREAM_ERROR || event == STREAM_CLOSED) {
        _cleanup_(free_ptr) char *text =
            xasprintf("can't reach %s: %s", uplink->id.hub, stream_error(stream));
        stream_free(steal_ptr(uplink->stream));
        set_trouble(uplink, text);
        retry_later(uplink);
    }
}

struct stream *uplink_dial(
    struct uplink *uplink, const char *alpn, stream_fn fn, void *arg, struct error *err)
{
    if (!uplink->id.hub) {
        error_set(err, -EAGAIN, "this host has not joined a hub");
        return NULL;
    }
    struct stream_options options = { .tls =
                                          strcmp(alpn, PROTOCOL_ALPN) == 0 ? uplink->tls : uplink->http_tls,
        .default_port = PROTOCOL_PORT };
    return stream_connect(uplink->loop, uplink->id.hub, &options, fn, arg);
}

static void connect_hub(struct uplink *uplink)
{
    struct error err;
    /* Read anew each time: `join --again` may have changed it. */
    int r = load_identity(uplink, &err);
    if (r >= 0)
        uplink->stream = uplink_dial(uplink, PROTOCOL_ALPN, on_stream, uplink, &err);
    if (uplink->stream)
        return;
    set_trouble(uplink, err.text);
    uplink->retry_ms = UPLINK_RETRY_MAX_MS;
    retry_later(uplink);
}

static void on_retry(void *arg)
{
    connect_hub(arg);
}

/* --- for others --------------------------------------------------------------------------------------------------------- */

void uplink_send(struct uplink *uplink, enum msg_type type, const void *m)
{
    if (uplink && uplink_is_connected(uplink))
        link_notify(uplink->link, type, m);
}

void uplink_say_goodbye(struct uplink *uplink, const char *reason)
{
    struct msg_goodbye goodbye = { .reason = (char *)reason };
    uplink_send(uplink, MSG_GOODBYE, &goodbye);
}

bool uplink_is_connected(const struct uplink *uplink)
{
    return uplink->link && link_is_connected(uplink->link);
}

const char *uplink_trouble(const struct uplink *uplink)
{
    return uplink->trouble;
}

const char *uplink_hub(const struct uplink *uplink)
{
    return uplink->id.hub;
}

struct tls_context *uplink_http_tls(struct uplink *uplink)
{
    return uplink->http_tls;
}

struct uplink *uplink_new(struct droned *droned)
{
    struct uplink *uplink = xcalloc(1, sizeof(*uplink));
    uplink->droned = droned;
    uplink->loop = droned->loop;
    uplink->identity_dir = xasprintf("%s/identity", droned->config->state_dir);
    uplink->retry_ms = UPLINK_RETRY_MIN_MS;
    timer_init(&uplink->retry, droned->loop, on_retry, uplink);
    timer_init(&uplink->renew, droned->loop, on_renew_timer, uplink);
    timer_init(&uplink->report, droned->loop, on_report_timer, uplink);
    timer_set(&uplink->retry, 0);
    return uplink;
}

void uplink_free(struct uplink *uplink)
{
    if (!uplink)
        return;
    timer_done(&uplink->retry);
    timer_done(&uplink->renew);
    timer_done(&uplink->report);
    link_free(uplink->link);
    stream_free(uplink->stream);
    document_sink_done(&uplink->sink);
    drop_identity(uplink);
    free(uplink->identity_dir);
    free(uplink->trouble);
    free(uplink->logged);
    free(uplink);
}
