/* SPDX-License-Identifier: MIT */
#include "routerd/uplink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/table_diff.h"
#include "routerd/feed.h"
#include "routerd/routerd.h"
#include "routerd/traffic.h"

struct uplink {
    struct routerd *routerd;
    struct member *member;
    struct reply *committing; /* the commit that is answered when all workers serve it */
};

static const char *const features[] = { "table/1", "table/2", TABLE_DIFF_FEATURE, NULL };

/* --- what comes ------------------------------------------------------------------------------------------ */

static void on_document_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct uplink *u = member_owner(owner);
    struct document_sink *sink = member_sink(owner);
    struct error err = { 0 };
    int r = document_sink_end(sink, m, &err);
    bool is_diff = sink->kind == DOCUMENT_TABLE_DIFF;
    if (r >= 0 && sink->kind != DOCUMENT_TABLE && !is_diff)
        r = error_set(&err, -EINVAL, "a router takes tables, not %s", document_kind_names[sink->kind]);
    if (r >= 0)
        r = feed_prepare(
            u->routerd->feed, sink->revision, strbuf_str(&sink->text), sink->text.len, is_diff, &err);
    document_sink_done(sink);
    if (r < 0) {
        log_error(NULL, "table refused: %s", err.text);
        reply_error(reply, r == -ENOSPC || r == -EIO ? ERROR_UNAVAILABLE : ERROR_REFUSED, "%s", err.text);
    } else {
        reply_ok(reply, NULL);
    }
}

static void on_prepare(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct uplink *u = member_owner(owner);
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
    struct uplink *u = member_owner(owner);
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
    struct uplink *u = member_owner(owner);
    const struct msg_epoch *m = message;
    struct error err;
    if (feed_check_prepared(u->routerd->feed, m->epoch, &err) >= 0)
        feed_abort(u->routerd->feed);
    reply_ok(reply, NULL);
}

/* clang-format off */
static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, member_on_document_begin },
    { MSG_DOCUMENT_END,   on_document_end },
    { MSG_DOCUMENT_PART,  member_on_document_part },
    { MSG_TABLE_ABORT,    on_abort },
    { MSG_TABLE_COMMIT,   on_commit },
    { MSG_TABLE_PREPARE,  on_prepare },
    { 0, NULL },
};
/* clang-format on */

static void fill_hello(void *owner, struct msg_hello *hello)
{
    const struct uplink *u = owner;
    hello->program = (char *)"stagecoach-routerd";
    hello->counter = routerd_epoch(u->routerd);
    hello->features = (char **)features;
}

static void on_change(void *owner, enum member_change change)
{
    struct uplink *u = owner;
    /* What was prepared and not decided is dropped; the decided table comes again. */
    if (change == MEMBER_LOST)
        feed_abort(u->routerd->feed);
    else if (change == MEMBER_LINKED)
        traffic_report(u->routerd->traffic, true);
}

/* --- for others ------------------------------------------------------------------------------------------- */

bool uplink_is_connected(const struct uplink *u)
{
    return member_is_linked(u->member);
}

void uplink_send(struct uplink *u, enum msg_type type, const void *m)
{
    member_send(u->member, type, m);
}

const char *uplink_trouble(const struct uplink *u)
{
    return member_trouble(u->member);
}

const char *uplink_fleet(const struct uplink *u)
{
    return member_identity(u->member)->fleet;
}

struct uplink *uplink_new(struct routerd *routerd)
{
    struct uplink *u = xcalloc(1, sizeof(*u));
    _cleanup_(free_ptr) char *identity_dir = xasprintf("%s/identity", routerd->settings.state_directory);
    const char *hub = routerd->settings.hub;
    bool plain = hub && (hub[0] == '/' || strncmp(hub, "unix:", 5) == 0);
    struct member_spec spec = { .identity_dir = identity_dir,
        .plain_hub = plain ? hub : NULL,
        .plain_name = "router",
        .hub = hub,
        .meanwhile = "what is routed, stays routed",
        .handlers = handlers,
        .fill_hello = fill_hello,
        .on_change = on_change,
        .owner = u };
    u->routerd = routerd;
    u->member = member_new(routerd->loop, &spec);
    member_read(u->member);
    return u;
}

void uplink_start(struct uplink *u)
{
    member_start(u->member);
}

void uplink_free(struct uplink *u)
{
    if (!u)
        return;
    if (u->committing)
        reply_error(steal_ptr(u->committing), ERROR_UNAVAILABLE, "this process of the router ends");
    member_free(u->member);
    free(u);
}
