/* SPDX-License-Identifier: MIT */
#include "common/messages.h"

#include <string.h>

#include "common/mem.h"
#include "common/messages_checks.h"

/* --- names of enums -------------------------------------------------------------------------------------- */

#define COMPLETE(names, max) _Static_assert(ARRAY_SIZE(names) == (max), #names " does not name every value")

const char *const role_names[] = { "none", "admin", "deployer", "viewer", "drone", "router", "hub" };
COMPLETE(role_names, ROLE_MAX_);

const char *const member_role_names[ROLE_MAX_] = {
    [ROLE_ADMIN] = "admin",
    [ROLE_DEPLOYER] = "deployer",
    [ROLE_VIEWER] = "viewer",
    [ROLE_DRONE] = "drone",
    [ROLE_ROUTER] = "router",
};

const char *const document_kind_names[] = { "orders", "report", "table", "table-diff" };
COMPLETE(document_kind_names, DOCUMENT_MAX_);

const char *const deploy_phase_names[] = { "fetch", "build", "start", "healthy", "switch", "drain" };
COMPLETE(deploy_phase_names, DEPLOY_PHASE_MAX_);

const char *const step_status_names[] = { "running", "done", "failed", "output" };
COMPLETE(step_status_names, STEP_STATUS_MAX_);

const char *const deploy_outcome_names[] = { "open", "done", "failed", "reverted", "incomplete" };
COMPLETE(deploy_outcome_names, OUTCOME_MAX_);

const char *const instance_phase_names[] = { "waiting", "fetching", "building", "starting", "probing",
    "running", "unhealthy", "backing-off", "stopping", "stopped", "failed" };
COMPLETE(instance_phase_names, INSTANCE_PHASE_MAX_);

const char *const health_kind_names[] = { "stays-up", "http", "tcp", "exec", "notify" };
COMPLETE(health_kind_names, HEALTH_KIND_MAX_);

const char *const stream_kind_names[] = { "logs", "build" };
COMPLETE(stream_kind_names, STREAM_KIND_MAX_);

/* --- the messages ---------------------------------------------------------------------------------------- */

#define FROM_MEMBER    (FROM_VIEWER | FROM_DRONE | FROM_ROUTER) /* any identity */
#define FROM_DOCUMENTS (FROM_DRONE | FROM_HUB)

/* clang-format off */
static const struct msg_info infos[] = {
    { MSG_HELLO,           "hello",           FROM_ANYBODY,   &wire_hello_schema,           &wire_hello_schema },
    { MSG_PING,            "ping",            FROM_ANYBODY,   &wire_empty_schema,           &wire_empty_schema },
    { MSG_GOODBYE,         "goodbye",         FROM_ANYBODY,   &wire_goodbye_schema,         NULL },
    { MSG_JOIN,            "join",            FROM_ANYBODY,   &wire_join_schema,            &wire_identity_schema },
    { MSG_RENEW,           "renew",           FROM_MEMBER,    &wire_renew_schema,           &wire_identity_schema },
    { MSG_DOCUMENT_BEGIN,  "document_begin",  FROM_DOCUMENTS, &wire_document_begin_schema,  NULL },
    { MSG_DOCUMENT_PART,   "document_part",   FROM_DOCUMENTS, &wire_document_part_schema,   NULL },
    { MSG_DOCUMENT_END,    "document_end",    FROM_DOCUMENTS, &wire_document_end_schema,    &wire_empty_schema },

    { MSG_TOKEN_CREATE,    "token_create",    FROM_ADMIN,     &wire_token_create_schema,    &wire_token_schema },
    { MSG_TOKEN_LIST,      "token_list",      FROM_ADMIN,     &wire_empty_schema,           &wire_tokens_schema },
    { MSG_TOKEN_REVOKE,    "token_revoke",    FROM_ADMIN,     &wire_token_revoke_schema,    &wire_empty_schema },
    { MSG_DEPLOY,          "deploy",          FROM_DEPLOYER,  &wire_deploy_schema,          &msg_operation_schema },
    { MSG_ROLLBACK,        "rollback",        FROM_DEPLOYER,  &wire_rollback_schema,        &msg_operation_schema },
    { MSG_SCALE,           "scale",           FROM_DEPLOYER,  &wire_scale_schema,           &msg_operation_schema },
    { MSG_START,           "start",           FROM_DEPLOYER,  &wire_start_schema,           &msg_operation_schema },
    { MSG_STOP,            "stop",            FROM_DEPLOYER,  &wire_stop_schema,            &msg_operation_schema },
    { MSG_RESTART,         "restart",         FROM_DEPLOYER,  &wire_restart_schema,         &msg_operation_schema },
    { MSG_DEPLOY_WATCH,    "deploy_watch",    FROM_VIEWER,    &wire_deploy_watch_schema,    &wire_deploy_result_schema },
    { MSG_DEPLOY_EVENT,    "deploy_event",    FROM_HUB,       &msg_deploy_event_schema,     NULL },
    { MSG_LIST,            "list",            FROM_VIEWER,    &wire_list_query_schema,      &wire_list_schema },
    { MSG_SERVERS,         "servers",         FROM_VIEWER,    &wire_servers_query_schema,   &wire_servers_schema },
    { MSG_PS,              "ps",              FROM_VIEWER,    &wire_ps_query_schema,        &wire_ps_schema },
    { MSG_STATUS,          "status",          FROM_VIEWER,    &wire_status_query_schema,    &wire_status_schema },
    { MSG_DEPS,            "deps",            FROM_VIEWER,    &wire_deps_query_schema,      &wire_deps_schema },
    { MSG_HISTORY,         "history",         FROM_VIEWER,    &wire_history_query_schema,   &wire_history_schema },
    { MSG_MONITOR,         "monitor",         FROM_VIEWER,    &wire_monitor_schema,         &wire_empty_schema },
    { MSG_EVENT,           "event",           FROM_HUB,       &msg_event_schema,            NULL },
    { MSG_LOGS,            "logs",            FROM_VIEWER,    &wire_logs_schema,            &wire_stream_end_schema },
    { MSG_HOST_LIST,       "host_list",       FROM_VIEWER,    &wire_host_list_query_schema, &wire_servers_schema },
    { MSG_HOST_REMOVE,     "host_remove",     FROM_ADMIN,     &wire_host_remove_schema,     &wire_empty_schema },
    { MSG_VERSION,         "version",         FROM_VIEWER,    &wire_empty_schema,           &wire_version_schema },
    { MSG_IDENTITY_REVOKE, "identity_revoke", FROM_ADMIN,     &wire_identity_revoke_schema, &wire_empty_schema },
    { MSG_HUB_STATUS,      "hub_status",      FROM_VIEWER,    &wire_empty_schema,           &wire_hub_status_schema },
    { MSG_ROUTERS,         "routers",         FROM_VIEWER,    &wire_empty_schema,           &wire_routers_schema },

    { MSG_ORDERS_CHANGE,   "orders_change",   FROM_HUB,       &wire_orders_change_schema,   &wire_empty_schema },
    { MSG_INSTANCE_REPORT, "instance_report", FROM_DRONE,     &wire_instance_report_schema, NULL },
    { MSG_HOST_REPORT,     "host_report",     FROM_DRONE,     &wire_host_report_schema,     NULL },
    { MSG_STREAM_OPEN,     "stream_open",     FROM_HUB,       &wire_stream_open_schema,     &wire_empty_schema },
    { MSG_STREAM_LINES,    "stream_lines",    FROM_DRONE | FROM_HUB, &wire_stream_lines_schema, NULL },
    { MSG_STREAM_END,      "stream_end",      FROM_DRONE | FROM_HUB, &wire_stream_end_schema,   NULL },

    { MSG_TABLE_PREPARE,   "table_prepare",   FROM_HUB,       &wire_table_prepare_schema,   &wire_empty_schema },
    { MSG_TABLE_COMMIT,    "table_commit",    FROM_HUB,       &wire_table_commit_schema,    &wire_empty_schema },
    { MSG_TABLE_ABORT,     "table_abort",     FROM_HUB,       &wire_table_abort_schema,     &wire_empty_schema },
    { MSG_TRAFFIC_REPORT,  "traffic_report",  FROM_ROUTER,    &wire_traffic_report_schema,  NULL },
};

/* Of whom a message may come from for each sender: whoever may do more may also do less. */
static const unsigned granted[ROLE_MAX_] = {
    [ROLE_NONE]     = FROM_ANYBODY,
    [ROLE_VIEWER]   = FROM_ANYBODY | FROM_VIEWER,
    [ROLE_DEPLOYER] = FROM_ANYBODY | FROM_VIEWER | FROM_DEPLOYER,
    [ROLE_ADMIN]    = FROM_ANYBODY | FROM_VIEWER | FROM_DEPLOYER | FROM_ADMIN,
    [ROLE_DRONE]    = FROM_ANYBODY | FROM_DRONE,
    [ROLE_ROUTER]   = FROM_ANYBODY | FROM_ROUTER,
    [ROLE_HUB]      = FROM_ANYBODY | FROM_HUB,
};
/* clang-format on */

const struct msg_info *msg_by_type(enum msg_type type)
{
    for (size_t i = 0; i < ARRAY_SIZE(infos); i++)
        if (infos[i].type == type)
            return &infos[i];
    return NULL;
}

const struct msg_info *msg_by_method(const char *method)
{
    for (size_t i = 0; i < ARRAY_SIZE(infos); i++)
        if (strcmp(infos[i].method, method) == 0)
            return &infos[i];
    return NULL;
}

bool msg_allowed(const struct msg_info *info, enum role sender)
{
    return sender >= 0 && sender < ROLE_MAX_ && (info->from & granted[sender]) != 0;
}
