/* SPDX-License-Identifier: MIT */
#pragma once

/* What the tables of messages_*.c share: schemas, and rows for fields that mean the same in every message.
 * For these files only; others include messages.h. */

#include "common/messages.h"
#include "common/names.h"
#include "common/semver.h"

#define TEXT_SHORT_MAX 256 /* names of things that have no whitelist */
#define PEM_MAX        32768
#define CSR_MAX        16384
#define LINES_MAX      10000
#define DAY_MS         INT64_C(86400000)

/* Rows of members that mean the same wherever they are; the member is given, its checks are not. */
#define M_REQUEST(s) \
    F_STRING(s, request_id, FIELD_REQUIRED, .check = name_is_request_id, .must = must_request_id)
#define M_SERVICE(s, m, fl)  F_STRING(s, m, fl, .check = name_is_service, .must = must_service)
#define M_APP(s, m, fl)      F_STRING(s, m, fl, .check = name_is_app, .must = must_app)
#define M_VERSION(s, m, fl)  F_STRING(s, m, fl, .check = semver_is_valid, .must = must_version)
#define M_COMMIT(s, m, fl)   F_STRING(s, m, fl, .check = name_is_commit, .must = must_commit)
#define M_HOST(s, m, fl)     F_STRING(s, m, fl, .check = name_is_host, .must = must_host)
#define M_PERSON(s, m, fl)   F_STRING(s, m, fl, .check = name_is_person, .must = must_person)
#define M_INSTANCE(s, m, fl) F_STRING(s, m, fl, .check = name_is_instance, .must = must_instance)
#define M_DEPLOY(s, m, fl)   F_STRING(s, m, fl, .check = name_is_deploy, .must = must_deploy)
#define M_HOSTS(s, m, fl)    F_STRV(s, m, fl, .max = 1000, .check = name_is_host, .must = must_host)
#define M_SERVICES(s, m, fl) F_STRV(s, m, fl, .max = 1000, .check = name_is_service, .must = must_service)
#define M_SHORT(s, m, fl)    F_STRING(s, m, fl, .max = TEXT_SHORT_MAX)
#define M_TARGET(s, m, fl)   F_STRING(s, m, fl, .min = FIELD_REQUIRED & (fl), .max = TEXT_SHORT_MAX)
#define M_LINES(s, m)        F_STRV(s, m, 0, .max = LINES_MAX)
#define M_COUNT(s, m, fl)    F_INT(s, m, fl, 0, 0) /* anything that is not negative */
#define M_TIME(s, m, fl)     F_INT(s, m, fl, 0, 0) /* microseconds since 1970 UTC */
#define M_ENV(s, m)                                                                                    \
    F_PAIRS(s, m, FIELD_SECRET, .max = 1000, .check = name_is_env_value, .check_key = name_is_env_key, \
        .must = must_env_value)

extern const char must_request_id[], must_service[], must_app[], must_version[], must_commit[], must_host[],
    must_person[], must_instance[], must_deploy[], must_env_value[], must_stream[], must_fleet[];

bool is_stream_id(const char *s); /* [A-Za-z0-9_-]{8,64} */
bool is_fleet_id(const char *s);  /* [A-Za-z0-9_-]{1,64} */

/* Roles that a person or machine can have, by enum role; the others have no name here. */
extern const char *const member_role_names[ROLE_MAX_];

/* messages_session.c */
extern const struct schema wire_hello_schema, wire_empty_schema, wire_goodbye_schema, wire_join_schema,
    wire_identity_schema, wire_renew_schema, wire_document_begin_schema, wire_document_part_schema,
    wire_document_end_schema;

/* messages_people.c */
extern const struct schema wire_token_create_schema, wire_token_schema, wire_tokens_schema,
    wire_token_revoke_schema, wire_identity_revoke_schema, wire_deploy_schema, wire_rollback_schema,
    wire_scale_schema, wire_start_schema, wire_stop_schema, wire_restart_schema, wire_deploy_watch_schema,
    wire_deploy_result_schema, wire_host_remove_schema, wire_monitor_schema, wire_logs_schema;

/* messages_lists.c */
extern const struct schema wire_list_query_schema, wire_servers_query_schema, wire_ps_query_schema,
    wire_status_query_schema, wire_deps_query_schema, wire_host_list_query_schema, wire_list_schema,
    wire_servers_schema, wire_ps_schema, wire_status_schema, wire_deps_schema, wire_history_query_schema,
    wire_history_schema, wire_version_schema, wire_hub_status_schema;

/* messages_hosts.c */
extern const struct schema wire_orders_change_schema, wire_instance_report_schema, wire_host_report_schema,
    wire_stream_open_schema, wire_stream_lines_schema, wire_stream_end_schema, wire_table_prepare_schema,
    wire_table_commit_schema, wire_table_abort_schema, wire_traffic_report_schema, wire_routers_schema;
