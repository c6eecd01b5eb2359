/* SPDX-License-Identifier: MIT */
#include "common/messages_checks.h"

#define LOAD_MAX 1000000000

/* clang-format off */
static const struct field query_fields[] = {
    M_TARGET(struct msg_query, target, 0),
    M_SHORT(struct msg_query,  cursor, 0),
    F_INT(struct msg_query,    limit,  FIELD_OMIT_EMPTY, 0, PAGE_MAX),
};

static const struct field release_row_fields[] = {
    M_SERVICE(struct release_row, service,         FIELD_REQUIRED),
    M_VERSION(struct release_row, version,         FIELD_REQUIRED),
    M_COMMIT(struct release_row,  commit,          0),
    M_APP(struct release_row,     app,             0),
    F_INT(struct release_row,     traffic_percent, 0, -1, 100, .fallback = -1),
    M_COUNT(struct release_row,   wanted,          0),
    M_COUNT(struct release_row,   running,         0),
    F_STRV(struct release_row,    addresses,       0, .max = INSTANCES_MAX),
    F_BOOL(struct release_row,    worker,          FIELD_OMIT_EMPTY),
    M_TIME(struct release_row,    last_hit_us,     FIELD_OMIT_EMPTY),
    M_TIME(struct release_row,    warm_until_us,   FIELD_OMIT_EMPTY),
    F_STRING(struct release_row,  note,            0),
};
static const struct schema release_row_schema =
    SCHEMA("list_row", struct release_row, release_row_fields, false);

static const struct field list_fields[] = {
    F_LIST(struct msg_list,  releases, FIELD_REQUIRED, &release_row_schema, .max = PAGE_MAX),
    M_SHORT(struct msg_list, next,     0),
};

static const struct field instance_state_fields[] = {
    M_INSTANCE(struct instance_state, id,            FIELD_REQUIRED),
    M_HOST(struct instance_state,     host,          0),
    M_APP(struct instance_state,      app,           0),
    M_SERVICE(struct instance_state,  service,       0),
    M_VERSION(struct instance_state,  version,       0),
    M_COMMIT(struct instance_state,   commit,        0),
    M_DEPLOY(struct instance_state,   deploy,        0),
    F_ENUM(struct instance_state,     phase,         FIELD_REQUIRED, instance_phase_names),
    M_COUNT(struct instance_state,    generation,    0),
    F_STRING(struct instance_state,   address,       0, .check = name_is_address,
        .must = "an address such as 10.0.0.11:20117"),
    M_COUNT(struct instance_state,    pid,           FIELD_OMIT_EMPTY),
    M_SHORT(struct instance_state,    unit,          0),
    M_TIME(struct instance_state,     since_us,      0),
    M_COUNT(struct instance_state,    restarts,      FIELD_OMIT_EMPTY),
    F_STRING(struct instance_state,   reason,        0),
    M_LINES(struct instance_state,    lines),
    M_COUNT(struct instance_state,    memory_bytes,  FIELD_OMIT_EMPTY),
    F_INT(struct instance_state,      fetch_ms,      FIELD_OMIT_EMPTY, -1, 0, .fallback = -1),
    F_INT(struct instance_state,      build_ms,      FIELD_OMIT_EMPTY, -1, 0, .fallback = -1),
    F_INT(struct instance_state,      start_ms,      FIELD_OMIT_EMPTY, -1, 0, .fallback = -1),
    F_INT(struct instance_state,      healthy_ms,    FIELD_OMIT_EMPTY, -1, 0, .fallback = -1),
    M_COUNT(struct instance_state,    fetch_objects, FIELD_OMIT_EMPTY),
    M_COUNT(struct instance_state,    fetch_bytes,   FIELD_OMIT_EMPTY),
    F_STRING(struct instance_state,   build,         0),
    M_COUNT(struct instance_state,    passes,        FIELD_OMIT_EMPTY),
};

static const struct field host_row_fields[] = {
    M_HOST(struct host_row,   host,              FIELD_REQUIRED),
    F_ENUM(struct host_row,   role,              FIELD_REQUIRED, member_role_names),
    M_SHORT(struct host_row,  address,           0),
    F_BOOL(struct host_row,   online,            0),
    M_TIME(struct host_row,   seen_us,           0),
    M_COUNT(struct host_row,  up_ms,             0),
    F_INT(struct host_row,    load_milli,        0, 0, LOAD_MAX),
    M_COUNT(struct host_row,  cores,             0),
    M_COUNT(struct host_row,  memory_bytes,      0),
    M_COUNT(struct host_row,  memory_free_bytes, 0),
    M_SHORT(struct host_row,  version,           0),
    F_STRING(struct host_row, note,              0),
    F_LIST(struct host_row,   instances,         0, &instance_state_schema),
};
static const struct schema host_row_schema = SCHEMA("host_row", struct host_row, host_row_fields, false);

static const struct field servers_fields[] = {
    F_LIST(struct msg_servers,  hosts, FIELD_REQUIRED, &host_row_schema, .max = PAGE_MAX),
    M_SHORT(struct msg_servers, next,  0),
};

static const struct field ps_fields[] = {
    F_LIST(struct msg_ps,  instances, FIELD_REQUIRED, &instance_state_schema, .max = PAGE_MAX),
    M_SHORT(struct msg_ps, next,      0),
};

static const struct field status_row_fields[] = {
    M_SERVICE(struct status_row, service,   FIELD_REQUIRED),
    M_VERSION(struct status_row, version,   FIELD_REQUIRED),
    F_STRING(struct status_row,  summary,   0),
    F_LIST(struct status_row,    instances, 0, &instance_state_schema),
};
static const struct schema status_row_schema =
    SCHEMA("status_row", struct status_row, status_row_fields, false);

static const struct field status_fields[] = {
    F_LIST(struct msg_status, releases, FIELD_REQUIRED, &status_row_schema),
};

static const struct field dep_row_fields[] = {
    M_SERVICE(struct dep_row, service,  FIELD_REQUIRED),
    M_VERSION(struct dep_row, version,  FIELD_REQUIRED),
    M_SHORT(struct dep_row,   name,     0),
    F_STRING(struct dep_row,  range,    0, .max = 512),
    M_SHORT(struct dep_row,   resolved, 0),
    F_STRING(struct dep_row,  missing,  0),
};
static const struct schema dep_row_schema = SCHEMA("dep_row", struct dep_row, dep_row_fields, false);

static const struct field deps_fields[] = {
    F_LIST(struct msg_deps, edges, FIELD_REQUIRED, &dep_row_schema),
};

static const struct field event_fields[] = {
    F_INT(struct msg_event,      seq,      FIELD_REQUIRED, 0, 0),
    M_TIME(struct msg_event,     at_us,    0),
    M_SHORT(struct msg_event,    who,      0),
    F_STRING(struct msg_event,   kind,     FIELD_REQUIRED, .min = 1, .max = 64),
    M_APP(struct msg_event,      app,      0),
    M_SERVICE(struct msg_event,  service,  0),
    M_VERSION(struct msg_event,  version,  0),
    M_HOST(struct msg_event,     host,     0),
    M_INSTANCE(struct msg_event, instance, 0),
    M_DEPLOY(struct msg_event,   deploy,   0),
    F_STRING(struct msg_event,   text,     0),
};

static const struct field history_query_fields[] = {
    M_TARGET(struct msg_history_query, target, 0),
    M_COUNT(struct msg_history_query,  before, FIELD_OMIT_EMPTY),
    F_INT(struct msg_history_query,    limit,  FIELD_OMIT_EMPTY, 0, PAGE_MAX),
};

static const struct field history_fields[] = {
    F_LIST(struct msg_history, events, FIELD_REQUIRED, &msg_event_schema, .max = PAGE_MAX),
};

static const struct field version_fields[] = {
    M_SHORT(struct msg_version,  program,     FIELD_REQUIRED),
    M_SHORT(struct msg_version,  version,     FIELD_REQUIRED),
    F_INT(struct msg_version,    protocol,    FIELD_REQUIRED, 1, 1000),
    F_STRING(struct msg_version, fleet,       0, .check = is_fleet_id, .must = must_fleet),
    M_SHORT(struct msg_version,  fingerprint, 0),
};

static const struct field status_item_fields[] = {
    F_STRING(struct status_item, name,  FIELD_REQUIRED, .min = 1, .max = TEXT_SHORT_MAX),
    F_STRING(struct status_item, value, FIELD_REQUIRED),
};
static const struct schema status_item_schema =
    SCHEMA("status_item", struct status_item, status_item_fields, false);

static const struct field hub_status_fields[] = {
    F_LIST(struct msg_hub_status, items, FIELD_REQUIRED, &status_item_schema),
};
/* clang-format on */

/* One shape under the names of the verbs, so that a refusal names the verb. */
const struct schema wire_list_query_schema = SCHEMA("list", struct msg_query, query_fields, false);
const struct schema wire_servers_query_schema = SCHEMA("servers", struct msg_query, query_fields, false);
const struct schema wire_ps_query_schema = SCHEMA("ps", struct msg_query, query_fields, false);
const struct schema wire_status_query_schema = SCHEMA("status", struct msg_query, query_fields, false);
const struct schema wire_deps_query_schema = SCHEMA("deps", struct msg_query, query_fields, false);
const struct schema wire_host_list_query_schema = SCHEMA("host_list", struct msg_query, query_fields, false);
const struct schema wire_history_query_schema =
    SCHEMA("history", struct msg_history_query, history_query_fields, false);

const struct schema instance_state_schema =
    SCHEMA("instance", struct instance_state, instance_state_fields, false);
const struct schema msg_event_schema = SCHEMA("event", struct msg_event, event_fields, false);
const struct schema wire_list_schema = SCHEMA("list", struct msg_list, list_fields, false);
const struct schema wire_servers_schema = SCHEMA("servers", struct msg_servers, servers_fields, false);
const struct schema wire_ps_schema = SCHEMA("ps", struct msg_ps, ps_fields, false);
const struct schema wire_status_schema = SCHEMA("status", struct msg_status, status_fields, false);
const struct schema wire_deps_schema = SCHEMA("deps", struct msg_deps, deps_fields, false);
const struct schema wire_history_schema = SCHEMA("history", struct msg_history, history_fields, false);
const struct schema wire_version_schema = SCHEMA("version", struct msg_version, version_fields, false);
const struct schema wire_hub_status_schema =
    SCHEMA("hub_status", struct msg_hub_status, hub_status_fields, false);
