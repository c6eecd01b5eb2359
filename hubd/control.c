/* SPDX-License-Identifier: MIT */
#include "hubd/control.h"

#include "hubd/drone.h"
#include "hubd/enroll.h"
#include "hubd/events.h"
#include "hubd/router.h"
#include "hubd/session.h"
#include "hubd/streams.h"

static CONTROL_HANDLER(on_deploy_watch)
{
    events_watch_deploy(owner, m, reply);
}

static CONTROL_HANDLER(on_monitor)
{
    events_monitor(owner, m, reply);
}

static CONTROL_HANDLER(on_history)
{
    const struct session *session = owner;
    events_history(session->hub, m, reply);
}

static CONTROL_HANDLER(on_logs)
{
    streams_logs(owner, m, reply);
}

/* clang-format off */
const struct link_handler control_handlers[] = {
    /* session */
    { MSG_JOIN,            on_join },
    { MSG_RENEW,           on_renew },
    { MSG_GOODBYE,         on_goodbye },
    { MSG_DOCUMENT_BEGIN,  on_document_begin },
    { MSG_DOCUMENT_PART,   on_document_part },
    { MSG_DOCUMENT_END,    on_document_end },
    /* people */
    { MSG_TOKEN_CREATE,    on_token_create },
    { MSG_TOKEN_LIST,      on_token_list },
    { MSG_TOKEN_REVOKE,    on_token_revoke },
    { MSG_DEPLOY,          on_deploy },
    { MSG_ROLLBACK,        on_rollback },
    { MSG_SCALE,           on_scale },
    { MSG_START,           on_start },
    { MSG_STOP,            on_stop },
    { MSG_RESTART,         on_restart },
    { MSG_DEPLOY_WATCH,    on_deploy_watch },
    { MSG_LIST,            on_list },
    { MSG_SERVERS,         on_servers },
    { MSG_PS,              on_ps },
    { MSG_STATUS,          on_status },
    { MSG_DEPS,            on_deps },
    { MSG_HISTORY,         on_history },
    { MSG_MONITOR,         on_monitor },
    { MSG_LOGS,            on_logs },
    { MSG_HOST_LIST,       on_host_list },
    { MSG_HOST_REMOVE,     on_host_remove },
    { MSG_VERSION,         on_version },
    { MSG_IDENTITY_REVOKE, on_identity_revoke },
    { MSG_HUB_STATUS,      on_hub_status },
    { MSG_ROUTERS,         on_routers },
    /* drones */
    { MSG_INSTANCE_REPORT, on_instance_report },
    { MSG_HOST_REPORT,     on_host_report },
    { MSG_STREAM_LINES,    on_stream_lines },
    { MSG_STREAM_END,      on_stream_end },
    /* routers */
    { MSG_TRAFFIC_REPORT,  on_traffic_report },
    { 0, NULL },
};
/* clang-format on */
