/* SPDX-License-Identifier: MIT */
#include "droned/uplink.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "droned/droned.h"
#include "droned/orders.h"
#include "droned/streams.h"

struct uplink {
    struct droned *droned;
    struct member *member;
    struct timer report;
};

static const char *const features[] = { "orders/1", "streams/1", NULL };

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

static void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *uplink = member_owner(owner);
    struct document_sink *sink = member_sink(owner);
    struct error err = { 0 };
    int r = document_sink_end(sink, m, &err);
    if (r >= 0 && sink->kind != DOCUMENT_ORDERS)
        r = error_set(&err, -EINVAL, "a drone takes orders, not a %s", document_kind_names[sink->kind]);
    if (r >= 0)
        r = orders_replace_text(uplink->droned, strbuf_str(&sink->text), sink->text.len, &err);
    document_sink_done(sink);
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
    struct uplink *uplink = member_owner(owner);
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
    struct uplink *uplink = member_owner(owner);
    struct error err = { 0 };
    if (streams_open(uplink->droned->streams, m, &err) < 0)
        reply_error(reply, kind_of(err.code), "%s", err.text);
    else
        reply_ok(reply, NULL);
}

// clang-format off
static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, member_on_document_begin },
    { MSG_DOCUMENT_END,   on_document_end },
    { MSG_DOCUMENT_PART,  member_on_document_part },
    { MSG_ORDERS_CHANGE,  on_orders_change },
    { MSG_STREAM_OPEN,    on_stream_open },
    { 0, NULL },
};
// clang-format on

/* --- the link ---------------------------------------------------------------------------------------------------------- */

static void fill_hello(void *owner, struct msg_hello *hello)
{
    const struct uplink *uplink = owner;
    hello->program = (char *)"stagecoach-droned";
    hello->counter = uplink->droned->revision;
    hello->features = (char **)features;
    hello->address = uplink->droned->address;
}

void uplink_fill_hello(struct uplink *uplink, const char *stream, struct msg_hello *hello)
{
    hello->version = (char *)STAGECOACH_VERSION;
    hello->name = uplink->droned->name;
    hello->fleet = member_identity(uplink->member)->fleet;
    hello->stream = (char *)stream;
    fill_hello(uplink, hello);
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
    document_send(member_link(uplink->member), DOCUMENT_REPORT, uplink->droned->revision, strbuf_str(&text),
        text.len, on_report_done, uplink);
}

static void on_report_timer(void *arg)
{
    uplink_send_report(arg);
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

static void take_identity(struct uplink *uplink)
{
    const struct identity *id = member_identity(uplink->member);
    droned_set_name(uplink->droned, id->name);
    if (id->fleet)
        str_set(&uplink->droned->joined_fleet, id->fleet);
}

static void take_address(struct uplink *uplink)
{
    _cleanup_(free_ptr) char *local = host_of(member_local(uplink->member));
    if (local)
        droned_set_address(uplink->droned, local);
}

static void on_change(void *owner, enum member_change change)
{
    struct uplink *uplink = owner;
    switch (change) {
    case MEMBER_READ:
        take_identity(uplink);
        break;
    case MEMBER_REACHED:
        take_address(uplink);
        break;
    case MEMBER_LINKED:
        uplink_send_report(uplink);
        timer_set(&uplink->droned->host_timer, 0);
        droned_update_status(uplink->droned);
        break;
    case MEMBER_TROUBLE:
        droned_update_status(uplink->droned);
        break;
    case MEMBER_LOST:
        break;
    }
}

/* --- for others --------------------------------------------------------------------------------------------------------- */

void uplink_send(struct uplink *uplink, enum msg_type type, const void *m)
{
    if (uplink)
        member_send(uplink->member, type, m);
}

void uplink_say_goodbye(struct uplink *uplink, const char *reason)
{
    struct msg_goodbye goodbye = { .reason = (char *)reason };
    uplink_send(uplink, MSG_GOODBYE, &goodbye);
}

bool uplink_is_connected(const struct uplink *uplink)
{
    return member_is_linked(uplink->member);
}

struct member *uplink_member(struct uplink *uplink)
{
    return uplink->member;
}

struct uplink *uplink_new(struct droned *droned)
{
    struct uplink *uplink = xcalloc(1, sizeof(*uplink));
    _cleanup_(free_ptr) char *identity_dir = xasprintf("%s/identity", droned->config->state_dir);
    struct member_spec spec = { .identity_dir = identity_dir,
        .plain_hub = droned->seams.plain_hub,
        .plain_name = "test1",
        .meanwhile = "what runs, runs on",
        .downloads = true,
        .handlers = handlers,
        .fill_hello = fill_hello,
        .on_change = on_change,
        .owner = uplink };
    uplink->droned = droned;
    uplink->member = member_new(droned->loop, &spec);
    timer_init(&uplink->report, droned->loop, on_report_timer, uplink);
    member_start(uplink->member);
    return uplink;
}

void uplink_free(struct uplink *uplink)
{
    if (!uplink)
        return;
    timer_done(&uplink->report);
    member_free(uplink->member);
    free(uplink);
}
