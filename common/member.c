/* SPDX-License-Identifier: MIT */
#include "common/member.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/secret.h"
#include "common/strv.h"
#include "common/tls.h"

struct member {
    struct member_spec spec; /* texts are ours */
    struct loop *loop;
    struct identity id;
    bool has_identity;
    struct tls_context *tls, *tls_downloads;
    struct stream *stream; /* until it is a link */
    struct link *link;
    struct document_sink sink;
    struct timer retry, renew;
    int64_t retry_ms;
    char *trouble;
    char *logged; /* trouble that was logged last: each is logged once */
    bool renewing;
};

static void changed(struct member *m, enum member_change change)
{
    m->spec.on_change(m->spec.owner, change);
}

/* --- identity --------------------------------------------------------------------------------------------------- */

static void drop_identity(struct member *m)
{
    tls_context_free(steal_ptr(m->tls));
    tls_context_free(steal_ptr(m->tls_downloads));
    identity_done(&m->id);
    m->has_identity = false;
}

static int make_tls(struct member *m, const char *alpn, struct tls_context **ret, struct error *err)
{
    struct tls_client spec = { .cert_pem = m->id.cert_pem,
        .key_pem = m->id.key_pem,
        .alpn = alpn,
        .ca_pem = m->id.ca_pem,
        .fleet = m->id.fleet };
    return tls_client_new(&spec, ret, err);
}

static int read_identity(struct member *m, struct error *err)
{
    drop_identity(m);
    if (m->spec.plain_hub) {
        m->id = (struct identity){ .hub = xstrdup(m->spec.plain_hub), .name = xstrdup(m->spec.plain_name) };
        changed(m, MEMBER_READ);
        return 0;
    }
    int r = identity_load(m->spec.identity_dir, &m->id, err);
    if (r == -ENOENT)
        return error_set(err, r, "not joined yet; stagecoachctl join does it");
    if (r >= 0 && m->spec.hub)
        str_set(&m->id.hub, m->spec.hub);
    if (r >= 0)
        r = make_tls(m, PROTOCOL_ALPN, &m->tls, err);
    if (r >= 0 && m->spec.downloads)
        r = make_tls(m, MEMBER_DOWNLOADS, &m->tls_downloads, err);
    if (r < 0)
        return r;
    m->has_identity = true;
    changed(m, MEMBER_READ);
    return 0;
}

static void on_renewed(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct member *m = arg;
    const struct msg_identity *identity = answer;
    struct error err;
    m->renewing = false;
    if (result < 0) {
        log_warning(NULL, "can't renew our certificate: %s", reason ? reason : strerror(-result));
        return;
    }
    bool expired = identity_is_expired(&m->id, loop_wall(m->loop));
    if (identity_save_cert(m->spec.identity_dir, identity->cert_pem, &err) < 0 ||
        read_identity(m, &err) < 0) {
        log_error(NULL, "can't take over our renewed certificate: %s", err.text);
        return;
    }
    log_info(NULL, "our certificate was renewed");
    if (expired && m->link)
        link_close(m->link, "coming back with a renewed certificate");
}

static void on_renew_timer(void *arg)
{
    struct member *m = arg;
    struct error err;
    wall_t now = loop_wall(m->loop);
    timer_set(&m->renew, m->has_identity ? identity_renewal_check_ms(&m->id, now) : IDENTITY_CHECK_MAX_MS);
    if (!m->has_identity || m->renewing || !member_is_linked(m) || !identity_wants_renewal(&m->id, now))
        return;
    _cleanup_(free_ptr) char *csr = NULL;
    if (pki_csr_new(m->id.key_pem, m->id.name, &csr, &err) < 0) {
        log_error(NULL, "can't renew our certificate: %s", err.text);
        return;
    }
    _cleanup_(free_ptr) char *request = random_hex(16);
    struct msg_renew renew = { .request_id = request, .csr_pem = csr };
    m->renewing = true;
    link_call(m->link, MSG_RENEW, &renew, MEMBER_RENEW_TIMEOUT_MS, on_renewed, m);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static void set_trouble(struct member *m, const char *text)
{
    str_set(&m->trouble, text);
    if (text && (!m->logged || strcmp(m->logged, text) != 0)) {
        log_warning(NULL, "no link to the hub: %s; %s", text, m->spec.meanwhile);
        str_set(&m->logged, text);
    }
    changed(m, MEMBER_TROUBLE);
}

/* Half of the pause is random, so that a hub that comes back is not met by all at once. */
static void retry_later(struct member *m)
{
    uint32_t noise;
    random_bytes(&noise, sizeof(noise));
    int64_t half = m->retry_ms / 2;
    timer_set(&m->retry, half + (int64_t)(noise % (uint32_t)(half + 1)));
    m->retry_ms = m->retry_ms * 2 < MEMBER_RETRY_MAX_MS ? m->retry_ms * 2 : MEMBER_RETRY_MAX_MS;
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    struct member *m = owner;
    hello->version = (char *)STAGECOACH_VERSION;
    hello->name = m->id.name;
    hello->fleet = m->id.fleet;
    m->spec.fill_hello(m->spec.owner, hello);
}

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct member *m = owner;
    if (event == LINK_CONNECTED) {
        m->retry_ms = MEMBER_RETRY_MIN_MS;
        str_set(&m->logged, NULL);
        set_trouble(m, NULL);
        log_info(NULL, "linked to the hub at %s", m->id.hub);
        timer_set(&m->renew, 0);
        changed(m, MEMBER_LINKED);
    } else if (event == LINK_CLOSED) {
        document_sink_done(&m->sink);
        m->renewing = false;
        link_free(steal_ptr(m->link));
        changed(m, MEMBER_LOST);
        set_trouble(m, reason ? reason : "the hub closed the link");
        retry_later(m);
    }
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct member *m = arg;
    if (member_is_ready_event(m, event)) {
        struct link_spec spec = {
            .handlers = m->spec.handlers, .on_event = on_link_event, .owner = m, .fill_hello = fill_hello
        };
        changed(m, MEMBER_REACHED);
        m->link = link_new(m->loop, steal_ptr(m->stream), false, &spec);
    } else if (event == STREAM_ERROR || event == STREAM_CLOSED) {
        _cleanup_(free_ptr) char *text = xasprintf("can't reach %s: %s", m->id.hub, stream_error(stream));
        stream_free(steal_ptr(m->stream));
        set_trouble(m, text);
        retry_later(m);
    }
}

static void on_retry(void *arg)
{
    struct member *m = arg;
    struct error err;
    /* Read anew each time: `join` may have changed it. */
    if (read_identity(m, &err) >= 0)
        m->stream = member_dial(m, PROTOCOL_ALPN, on_stream, m, &err);
    if (m->stream)
        return;
    set_trouble(m, err.text);
    m->retry_ms = MEMBER_RETRY_MAX_MS;
    retry_later(m);
}

/* --- for others --------------------------------------------------------------------------------------------------- */

void *member_owner(const struct member *m)
{
    return m->spec.owner;
}

const struct identity *member_identity(const struct member *m)
{
    return &m->id;
}

bool member_is_linked(const struct member *m)
{
    return m->link && link_is_connected(m->link);
}

struct link *member_link(const struct member *m)
{
    return member_is_linked(m) ? m->link : NULL;
}

const char *member_trouble(const struct member *m)
{
    return m->trouble;
}

const char *member_local(const struct member *m)
{
    return m->stream ? stream_local(m->stream) : NULL;
}

void member_send(struct member *m, enum msg_type type, const void *message)
{
    if (member_is_linked(m))
        link_notify(m->link, type, message);
}

struct tls_context *member_tls(const struct member *m, const char *alpn)
{
    return strcmp(alpn, PROTOCOL_ALPN) == 0 ? m->tls : m->tls_downloads;
}

struct stream *member_dial(struct member *m, const char *alpn, stream_fn fn, void *arg, struct error *err)
{
    if (!m->id.hub) {
        error_set(err, -EAGAIN, "this host has not joined a hub");
        return NULL;
    }
    struct stream_options options = { .tls = member_tls(m, alpn), .default_port = PROTOCOL_PORT };
    return stream_connect(m->loop, m->id.hub, &options, fn, arg);
}

bool member_is_ready_event(const struct member *m, enum stream_event event)
{
    return event == (m->spec.plain_hub ? STREAM_CONNECTED : STREAM_TLS_READY);
}

/* --- documents ---------------------------------------------------------------------------------------------------- */

void member_on_document_begin(void *member, struct link *link, const void *message, struct reply *reply)
{
    struct member *m = member;
    struct error err;
    if (document_sink_begin(&m->sink, message, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

void member_on_document_part(void *member, struct link *link, const void *message, struct reply *reply)
{
    struct member *m = member;
    struct error err;
    if (document_sink_part(&m->sink, message, &err) < 0)
        log_debug(NULL, "%s", err.text);
}

struct document_sink *member_sink(struct member *m)
{
    return &m->sink;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static const char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

struct member *member_new(struct loop *loop, const struct member_spec *spec)
{
    struct member *m = xcalloc(1, sizeof(*m));
    m->loop = loop;
    m->spec = *spec;
    m->spec.identity_dir = copy(spec->identity_dir);
    m->spec.plain_hub = copy(spec->plain_hub);
    m->spec.plain_name = copy(spec->plain_name);
    m->spec.hub = copy(spec->hub);
    m->spec.meanwhile = copy(spec->meanwhile);
    m->retry_ms = MEMBER_RETRY_MIN_MS;
    timer_init(&m->retry, loop, on_retry, m);
    timer_init(&m->renew, loop, on_renew_timer, m);
    return m;
}

void member_read(struct member *m)
{
    struct error err;
    if (read_identity(m, &err) < 0)
        set_trouble(m, err.text);
}

void member_start(struct member *m)
{
    timer_set(&m->retry, 0);
}

void member_free(struct member *m)
{
    if (!m)
        return;
    timer_done(&m->retry);
    timer_done(&m->renew);
    stream_free(m->stream);
    link_free(m->link);
    document_sink_done(&m->sink);
    drop_identity(m);
    free((char *)m->spec.identity_dir);
    free((char *)m->spec.plain_hub);
    free((char *)m->spec.plain_name);
    free((char *)m->spec.hub);
    free((char *)m->spec.meanwhile);
    free(m->trouble);
    free(m->logged);
    free(m);
}
