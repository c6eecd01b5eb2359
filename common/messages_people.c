/* SPDX-License-Identifier: MIT */
#include "common/messages_checks.h"

#define PASSWORD_MIN   8
#define PASSWORD_MAX   200
#define LOG_LINES_MOST 10000

static bool is_token_id(const char *s)
{
    return name_is_instance(s); /* the same shape */
}

/* clang-format off */
static const struct field token_create_fields[] = {
    M_REQUEST(struct msg_token_create),
    F_ENUM(struct msg_token_create,     role,     FIELD_REQUIRED, member_role_names),
    F_INT(struct msg_token_create,      uses,     0, 1, 10000, .fallback = 1),
    F_INT(struct msg_token_create,      valid_ms, 0, 1000, 366 * DAY_MS, .fallback = 3600000),
    M_PERSON(struct msg_token_create,   name,     0),
    M_SERVICES(struct msg_token_create, services, 0),
    F_STRING(struct msg_token_create,   password, FIELD_SECRET, .min = PASSWORD_MIN, .max = PASSWORD_MAX),
};

static const struct field token_fields[] = {
    F_STRING(struct msg_token,   id,         FIELD_REQUIRED, .check = is_token_id, .must = "8 hex digits"),
    F_STRING(struct msg_token,   token,      FIELD_SECRET, .max = 256),
    F_ENUM(struct msg_token,     role,       FIELD_REQUIRED, member_role_names),
    M_PERSON(struct msg_token,   name,       0),
    M_SERVICES(struct msg_token, services,   0),
    M_COUNT(struct msg_token,    uses_left,  0),
    M_TIME(struct msg_token,     expires_us, 0),
    M_SHORT(struct msg_token,    created_by, 0),
};

static const struct field tokens_fields[] = {
    F_LIST(struct msg_tokens, tokens, FIELD_REQUIRED, &wire_token_schema),
};

static const struct field token_revoke_fields[] = {
    M_REQUEST(struct msg_token_revoke),
    F_STRING(struct msg_token_revoke, id, FIELD_REQUIRED, .check = is_token_id, .must = "8 hex digits"),
};

static const struct field identity_revoke_fields[] = {
    M_REQUEST(struct msg_identity_revoke),
    F_ENUM(struct msg_identity_revoke,   role, FIELD_REQUIRED, member_role_names),
    M_PERSON(struct msg_identity_revoke, name, FIELD_REQUIRED),
};

static const struct field deploy_fields[] = {
    M_REQUEST(struct msg_deploy),
    M_TARGET(struct msg_deploy, target,     FIELD_REQUIRED),
    F_INT(struct msg_deploy,    instances,  FIELD_OMIT_EMPTY, 0, INSTANCES_MAX),
    M_HOSTS(struct msg_deploy,  hosts,      0),
    F_BOOL(struct msg_deploy,   no_traffic, FIELD_OMIT_EMPTY),
    F_BOOL(struct msg_deploy,   supersede,  FIELD_OMIT_EMPTY),
    F_BOOL(struct msg_deploy,   rebuild,    FIELD_OMIT_EMPTY),
    M_ENV(struct msg_deploy,    env),
};

static const struct field rollback_fields[] = {
    M_REQUEST(struct msg_rollback),
    M_TARGET(struct msg_rollback, target, FIELD_REQUIRED),
};

static const struct field scale_fields[] = {
    M_REQUEST(struct msg_scale),
    M_TARGET(struct msg_scale, target,    FIELD_REQUIRED),
    F_INT(struct msg_scale,    instances, FIELD_REQUIRED, 0, INSTANCES_MAX),
    M_HOSTS(struct msg_scale,  hosts,     0),
};

static const struct field target_fields[] = {
    M_REQUEST(struct msg_target),
    M_TARGET(struct msg_target, target, FIELD_REQUIRED),
};

static const struct field operation_fields[] = {
    M_DEPLOY(struct msg_operation,  deploy,  0),
    M_SERVICE(struct msg_operation, service, 0),
    M_VERSION(struct msg_operation, version, 0),
    M_COMMIT(struct msg_operation,  commit,  0),
    F_STRING(struct msg_operation,  subject, 0),
    M_HOSTS(struct msg_operation,   hosts,   0),
    F_STRING(struct msg_operation,  text,    0),
};

static const struct field deploy_watch_fields[] = {
    M_DEPLOY(struct msg_deploy_watch, deploy, FIELD_REQUIRED),
    M_COUNT(struct msg_deploy_watch,  after,  FIELD_OMIT_EMPTY),
    F_BOOL(struct msg_deploy_watch,   output, FIELD_OMIT_EMPTY),
};

static const struct field deploy_event_fields[] = {
    M_DEPLOY(struct msg_deploy_event,   deploy,     FIELD_REQUIRED),
    F_INT(struct msg_deploy_event,      seq,        FIELD_REQUIRED, 0, 0),
    M_TIME(struct msg_deploy_event,     at_us,      0),
    F_ENUM(struct msg_deploy_event,     phase,      FIELD_REQUIRED, deploy_phase_names),
    F_ENUM(struct msg_deploy_event,     status,     FIELD_REQUIRED, step_status_names),
    M_HOST(struct msg_deploy_event,     host,       0),
    M_INSTANCE(struct msg_deploy_event, instance,   0),
    F_STRING(struct msg_deploy_event,   text,       0),
    M_LINES(struct msg_deploy_event,    lines),
    M_COUNT(struct msg_deploy_event,    elapsed_ms, 0),
};

static const struct field deploy_result_fields[] = {
    M_DEPLOY(struct msg_deploy_result,  deploy,     FIELD_REQUIRED),
    F_ENUM(struct msg_deploy_result,    outcome,    FIELD_REQUIRED, deploy_outcome_names),
    M_SERVICE(struct msg_deploy_result, service,    0),
    M_VERSION(struct msg_deploy_result, version,    0),
    F_STRING(struct msg_deploy_result,  text,       0),
    M_LINES(struct msg_deploy_result,   lines),
    M_COUNT(struct msg_deploy_result,   elapsed_ms, 0),
};

static const struct field host_remove_fields[] = {
    M_REQUEST(struct msg_host_remove),
    F_ENUM(struct msg_host_remove, role, FIELD_REQUIRED, member_role_names),
    M_HOST(struct msg_host_remove, name, FIELD_REQUIRED),
};

static const struct field monitor_fields[] = {
    M_TARGET(struct msg_monitor, target, 0),
    F_INT(struct msg_monitor,    after,  0, -1, 0, .fallback = -1),
};

static const struct field logs_fields[] = {
    M_TARGET(struct msg_logs, target, FIELD_REQUIRED),
    F_INT(struct msg_logs,    lines,  0, 0, LOG_LINES_MOST, .fallback = 100),
    F_BOOL(struct msg_logs,   follow, FIELD_OMIT_EMPTY),
};
/* clang-format on */

const struct schema wire_token_create_schema =
    SCHEMA("token_create", struct msg_token_create, token_create_fields, false);
const struct schema wire_token_schema = SCHEMA("token", struct msg_token, token_fields, false);
const struct schema wire_tokens_schema = SCHEMA("tokens", struct msg_tokens, tokens_fields, false);
const struct schema wire_token_revoke_schema =
    SCHEMA("token_revoke", struct msg_token_revoke, token_revoke_fields, false);
const struct schema wire_identity_revoke_schema =
    SCHEMA("identity_revoke", struct msg_identity_revoke, identity_revoke_fields, false);
const struct schema wire_deploy_schema = SCHEMA("deploy", struct msg_deploy, deploy_fields, false);
const struct schema wire_rollback_schema = SCHEMA("rollback", struct msg_rollback, rollback_fields, false);
const struct schema wire_scale_schema = SCHEMA("scale", struct msg_scale, scale_fields, false);
/* One shape under three names, so that a refusal names the verb. */
const struct schema wire_start_schema = SCHEMA("start", struct msg_target, target_fields, false);
const struct schema wire_stop_schema = SCHEMA("stop", struct msg_target, target_fields, false);
const struct schema wire_restart_schema = SCHEMA("restart", struct msg_target, target_fields, false);
const struct schema msg_operation_schema = SCHEMA("operation", struct msg_operation, operation_fields, false);
const struct schema wire_deploy_watch_schema =
    SCHEMA("deploy_watch", struct msg_deploy_watch, deploy_watch_fields, false);
const struct schema msg_deploy_event_schema =
    SCHEMA("deploy_event", struct msg_deploy_event, deploy_event_fields, false);
const struct schema wire_deploy_result_schema =
    SCHEMA("deploy_result", struct msg_deploy_result, deploy_result_fields, false);
const struct schema wire_host_remove_schema =
    SCHEMA("host_remove", struct msg_host_remove, host_remove_fields, false);
const struct schema wire_monitor_schema = SCHEMA("monitor", struct msg_monitor, monitor_fields, false);
const struct schema wire_logs_schema = SCHEMA("logs", struct msg_logs, logs_fields, false);
