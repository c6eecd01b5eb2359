/* SPDX-License-Identifier: MIT */
#include "hubd/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strv.h"
#include "hubd/control.h"
#include "hubd/drone.h"
#include "hubd/enroll.h"
#include "hubd/events.h"
#include "hubd/hubd.h"
#include "hubd/router.h"
#include "hubd/streams.h"

static char *features[] = { (char *)"orders/1", (char *)"table/1", (char *)"table/2", (char *)"table-diff/1",
    (char *)"streams/1", NULL };

static int check_hello(void *owner, struct link *link, const struct msg_hello *hello, struct error *err)
{
    struct session *session = owner;
    struct hubd *hub = session->hub;
    const struct peer *peer = link_peer(link);
    if (hub->enroll) {
        int r = enroll_check_peer(hub, peer, err);
        if (r < 0)
            return r;
    }
    const char *fleet = state_meta(&hub->state)->fleet;
    bool is_daemon = peer->role == ROLE_DRONE || peer->role == ROLE_ROUTER;
    if (is_daemon && hello->fleet && fleet && strcmp(hello->fleet, fleet) != 0)
        return error_set(err, -EPERM, "%s is of another fleet", peer->name);
    if (hello->stream && !streams_expects(hub, peer, hello->stream))
        return error_set(err, -ENOENT, "no stream \"%s\" is expected from here", hello->stream);
    return 0;
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    struct session *session = owner;
    struct hubd *hub = session->hub;
    *hello = (struct msg_hello){
        .protocol = PROTOCOL_VERSION,
        .program = (char *)"stagecoach-hubd",
        .version = (char *)STAGECOACH_VERSION,
        .name = (char *)"hub",
        .fleet = state_meta(&hub->state)->fleet,
        .counter = hub->state.revision,
        .features = features,
        .time_us = loop_wall(hub->loop).us,
    };
}

static void connected(struct session *session)
{
    const struct peer *peer = link_peer(session->link);
    const struct msg_hello *hello = link_hello(session->link);
    if (hello->stream)
        streams_attach(session, hello->stream);
    else if (peer->role == ROLE_DRONE)
        drone_connected(session);
    else if (peer->role == ROLE_ROUTER)
        router_connected(session);
}

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct session *session = owner;
    switch (event) {
    case LINK_CONNECTED:
        connected(session);
        break;
    case LINK_DRAINED:
        streams_drained(session);
        break;
    case LINK_CLOSED:
        log_debug(NULL, "link of %s closed: %s", session_who(session), reason ? reason : "");
        drone_disconnected(session, reason);
        router_disconnected(session, reason);
        session_free(session);
        break;
    }
}

struct session *session_new(struct hubd *hub, struct stream *stream, const struct peer *peer)
{
    struct session *session = xcalloc(1, sizeof(*session));
    session->hub = hub;
    list_init(&session->subscriptions);
    list_init(&session->log_views);
    list_init(&session->of_hub);
    list_append(&hub->sessions, &session->of_hub);
    struct link_spec spec = {
        .handlers = control_handlers,
        .on_event = on_event,
        .owner = session,
        .check_hello = check_hello,
        .fill_hello = fill_hello,
    };
    session->link = link_new(hub->loop, stream, true, &spec);
    link_set_peer(session->link, peer);
    return session;
}

void session_free(struct session *session)
{
    if (!session || session->closed)
        return;
    session->closed = true;
    list_remove(&session->of_hub);
    events_drop_session(session);
    streams_drop_session(session);
    link_free(steal_ptr(session->link));
    document_sink_done(&session->sink);
    hubd_session_ended(session->hub);
    loop_free_later(session->hub->loop, session, free);
}

void session_close(struct session *session, const char *reason_fmt, ...)
{
    struct error reason;
    va_list args;
    va_start(args, reason_fmt);
    error_vset(&reason, -EPERM, reason_fmt, args);
    va_end(args);
    link_close(session->link, "%s", reason.text);
}

const char *session_who(const struct session *session)
{
    const struct peer *peer = session->link ? link_peer(session->link) : NULL;
    return peer && peer->name ? peer->name : "nobody";
}

bool session_may_change(const struct session *session, const char *service, struct error *err)
{
    const struct peer *peer = link_peer(session->link);
    if (peer->role == ROLE_ADMIN)
        return true;
    if (peer->role != ROLE_DEPLOYER) {
        error_set(err, -EPERM, "a %s may not change %s", role_names[peer->role], service);
        return false;
    }
    _cleanup_(free_ptr) char *key = xasprintf("%s/%s", role_names[ROLE_DEPLOYER], peer->name);
    const struct identity *identity = state_get(&session->hub->state, STATE_IDENTITY, key);
    if (!identity ||
        (identity->services && *identity->services && !strv_contains(identity->services, service))) {
        error_set(err, -EPERM, "deployer \"%s\" may not change %s", peer->name, service);
        return false;
    }
    return true;
}

void session_close_all(struct hubd *hub, enum role role, const char *name, const char *reason)
{
    struct session *session, *tmp;
    list_for_each_safe (session, tmp, &hub->sessions, of_hub) {
        const struct peer *peer = link_peer(session->link);
        if (peer && peer->role == role && peer->name && strcmp(peer->name, name) == 0)
            session_close(session, "%s", reason);
    }
}
