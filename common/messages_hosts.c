/* SPDX-License-Identifier: MIT */
#include "common/messages_checks.h"

#include <string.h>

#define HOUR_MS        INT64_C(3600000)
#define UNIX_USER_MAX  32
#define SIGNAL_MAX     64
#define PROBE_PATH_MAX 1024
#define ORDERS_MAX     10000 /* of one host */

/* "dynamic" is one of these too. */
static bool is_user(const char *s)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz_";
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    return s[len] == '\0' && len >= 1 && len <= UNIX_USER_MAX && strchr(first, s[0]);
}

/* The target of a request line: what may stand between two spaces. */
static bool is_probe_path(const char *s)
{
    size_t len = strlen(s);

    if (s[0] != '/' || len > PROBE_PATH_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] <= 0x20 || s[i] >= 0x7F)
            return false;
    return true;
}

static bool is_endpoint_name(const char *s)
{
    size_t len = strlen(s);

    for (size_t i = 0; i < len; i++)
        if (s[i] <= 0x20 || s[i] >= 0x7F)
            return false;
    return len > 0 && len <= 128;
}

/* clang-format off */
static const struct field health_fields[] = {
    F_ENUM(struct health_spec,   kind,        FIELD_REQUIRED, health_kind_names),
    F_STRING(struct health_spec, path,        0, .check = is_probe_path,
        .must = "a path that begins with \"/\", without spaces"),
    F_STRV(struct health_spec,   command,     0, .max = 1000),
    F_INT(struct health_spec,    interval_ms, 0, 10, HOUR_MS, .fallback = 1000),
    F_INT(struct health_spec,    timeout_ms,  0, 10, HOUR_MS, .fallback = 2000),
    F_INT(struct health_spec,    deadline_ms, 0, 10, DAY_MS,  .fallback = 60000),
    F_INT(struct health_spec,    passes,      0, 1,  1000,    .fallback = 3),
};
static const struct schema health_schema = SCHEMA("health", struct health_spec, health_fields, true);

static const struct field limits_fields[] = {
    F_INT(struct limits_spec, memory_bytes, FIELD_OMIT_EMPTY, 0, 0),
    F_INT(struct limits_spec, cpu_percent,  FIELD_OMIT_EMPTY, 0, 1000000),
    F_INT(struct limits_spec, tasks,        FIELD_OMIT_EMPTY, 0, 10000000),
};
static const struct schema limits_schema = SCHEMA("limits", struct limits_spec, limits_fields, true);

static const struct field stop_fields[] = {
    F_INT(struct stop_spec, signal,   0, 1, SIGNAL_MAX, .fallback = 15),
    F_INT(struct stop_spec, drain_ms, 0, 0, DAY_MS, .fallback = 30000),
    F_INT(struct stop_spec, kill_ms,  0, 0, DAY_MS, .fallback = 10000),
};
static const struct schema stop_schema = SCHEMA("stop", struct stop_spec, stop_fields, true);

static const struct field run_spec_fields[] = {
    F_STRING(struct run_spec, build,            0),
    F_INT(struct run_spec,    build_timeout_ms, 0, 0, DAY_MS, .fallback = 600000),
    F_STRV(struct run_spec,   command,          FIELD_REQUIRED, .min = 1, .max = 1000),
    F_BOOL(struct run_spec,   port,             0),
    F_STRING(struct run_spec, user,             0, .check = is_user, .must = "\"dynamic\" or the name of a user"),
    M_ENV(struct run_spec,    env),
    F_STRUCT(struct run_spec, health,           0, &health_schema),
    F_STRUCT(struct run_spec, limits,           0, &limits_schema),
    F_STRUCT(struct run_spec, stop,             0, &stop_schema),
};

static const struct field order_fields[] = {
    M_INSTANCE(struct order, id,          FIELD_REQUIRED),
    M_APP(struct order,      app,         FIELD_REQUIRED),
    M_SERVICE(struct order,  service,     FIELD_REQUIRED),
    M_VERSION(struct order,  version,     FIELD_REQUIRED),
    M_COMMIT(struct order,   commit,      FIELD_REQUIRED),
    M_COMMIT(struct order,   base_commit, 0),
    F_STRING(struct order,   branch,      0, .check = name_is_tag, .must = "the name of a branch"),
    M_DEPLOY(struct order,   deploy,      0),
    F_STRING(struct order,   user,        0, .check = is_user, .must = "the name of a user"),
    M_VERSION(struct order,  previous,    0),
    F_BOOL(struct order,     stopped,     FIELD_OMIT_EMPTY),
    M_COUNT(struct order,    generation,  FIELD_OMIT_EMPTY),
    F_BOOL(struct order,     rebuild,     FIELD_OMIT_EMPTY),
    F_STRUCT(struct order,   run,         FIELD_REQUIRED, &run_spec_schema),
};

static const struct field orders_fields[] = {
    F_INT(struct orders,    format,   FIELD_REQUIRED, 1, 1),
    F_STRING(struct orders, fleet,    FIELD_REQUIRED, .check = is_fleet_id, .must = must_fleet),
    F_INT(struct orders,    revision, FIELD_REQUIRED, 0, 0),
    F_LIST(struct orders,   orders,   0, &order_schema, .max = ORDERS_MAX),
};

static const struct field orders_change_fields[] = {
    F_INT(struct msg_orders_change,  from_revision, FIELD_REQUIRED, 0, 0),
    F_INT(struct msg_orders_change,  revision,      FIELD_REQUIRED, 0, 0),
    F_LIST(struct msg_orders_change, put,           0, &order_schema, .max = ORDERS_MAX),
    F_STRV(struct msg_orders_change, drop,          0, .max = ORDERS_MAX, .check = name_is_instance,
        .must = must_instance),
};

static const struct field report_fields[] = {
    F_LIST(struct report,  instances, 0, &instance_state_schema, .max = ORDERS_MAX),
    M_COUNT(struct report, revision,  0),
};

static const struct field instance_report_fields[] = {
    F_STRUCT(struct msg_instance_report, instance, FIELD_REQUIRED, &instance_state_schema),
    F_BOOL(struct msg_instance_report,   gone,     FIELD_OMIT_EMPTY),
};

static const struct field host_report_fields[] = {
    M_COUNT(struct msg_host_report, up_ms,             0),
    M_COUNT(struct msg_host_report, load_milli,        0),
    M_COUNT(struct msg_host_report, cores,             0),
    M_COUNT(struct msg_host_report, memory_bytes,      0),
    M_COUNT(struct msg_host_report, memory_free_bytes, 0),
    M_COUNT(struct msg_host_report, disk_free_bytes,   0),
    M_SHORT(struct msg_host_report, os,                0),
};

static const struct field stream_open_fields[] = {
    F_STRING(struct msg_stream_open,   stream,   FIELD_REQUIRED | FIELD_SECRET, .check = is_stream_id,
        .must = must_stream),
    F_ENUM(struct msg_stream_open,     kind,     FIELD_REQUIRED, stream_kind_names),
    M_SERVICE(struct msg_stream_open,  service,  0),
    M_VERSION(struct msg_stream_open,  version,  0),
    M_INSTANCE(struct msg_stream_open, instance, 0),
    F_INT(struct msg_stream_open,      lines,    0, 0, 1000000),
    F_BOOL(struct msg_stream_open,     follow,   FIELD_OMIT_EMPTY),
};

static const struct field log_line_fields[] = {
    M_TIME(struct log_line,     at_us,    0),
    M_HOST(struct log_line,     host,     0),
    M_SERVICE(struct log_line,  service,  0),
    M_VERSION(struct log_line,  version,  0),
    M_INSTANCE(struct log_line, instance, 0),
    F_INT(struct log_line,      priority, 0, 0, 7, .fallback = 6),
    F_STRING(struct log_line,   text,     FIELD_REQUIRED),
};
static const struct schema log_line_schema = SCHEMA("log_line", struct log_line, log_line_fields, false);

static const struct field stream_lines_fields[] = {
    F_LIST(struct msg_stream_lines, lines, FIELD_REQUIRED, &log_line_schema, .max = LINES_MAX),
};

static const struct field stream_end_fields[] = {
    F_STRING(struct msg_stream_end, reason, 0),
};

static const struct field epoch_fields[] = {
    F_INT(struct msg_epoch, epoch, FIELD_REQUIRED, 1, 0),
};

static const struct field endpoint_traffic_fields[] = {
    F_STRING(struct endpoint_traffic, endpoint,    FIELD_REQUIRED, .check = is_endpoint_name,
        .must = "the id of an endpoint"),
    M_COUNT(struct endpoint_traffic,  in_flight,   0),
    M_COUNT(struct endpoint_traffic,  requests,    0),
    M_COUNT(struct endpoint_traffic,  status_1xx,  FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  status_2xx,  FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  status_3xx,  FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  status_4xx,  FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  status_5xx,  FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  failures,    FIELD_OMIT_EMPTY),
    M_TIME(struct endpoint_traffic,   last_hit_us, FIELD_OMIT_EMPTY),
    F_BOOL(struct endpoint_traffic,   ejected,     FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  p50_us,      FIELD_OMIT_EMPTY),
    M_COUNT(struct endpoint_traffic,  p99_us,      FIELD_OMIT_EMPTY),
};
static const struct schema endpoint_traffic_schema =
    SCHEMA("traffic_row", struct endpoint_traffic, endpoint_traffic_fields, false);

static const struct field router_brief_fields[] = {
    F_INT(struct router_brief,    generation,             0, 0, 0),
    M_SHORT(struct router_brief,  older,                  0),
    M_COUNT(struct router_brief,  connections,            0),
    M_COUNT(struct router_brief,  in_flight,              0),
    M_COUNT(struct router_brief,  ejected,                FIELD_OMIT_EMPTY),
    M_COUNT(struct router_brief,  interval_ms,            0),
    M_COUNT(struct router_brief,  requests,               0),
    M_COUNT(struct router_brief,  errors,                 0),
    M_COUNT(struct router_brief,  retries,                FIELD_OMIT_EMPTY),
    M_COUNT(struct router_brief,  bytes_in,               FIELD_OMIT_EMPTY),
    M_COUNT(struct router_brief,  bytes_out,              FIELD_OMIT_EMPTY),
    M_COUNT(struct router_brief,  p50_us,                 FIELD_OMIT_EMPTY),
    M_COUNT(struct router_brief,  p99_us,                 FIELD_OMIT_EMPTY),
    M_SHORT(struct router_brief,  certificate,            0),
    M_TIME(struct router_brief,   certificate_expires_us, FIELD_OMIT_EMPTY),
};
const struct schema router_brief_schema =
    SCHEMA("router", struct router_brief, router_brief_fields, false);

static const struct field router_row_fields[] = {
    M_HOST(struct router_row,   name,    FIELD_REQUIRED),
    F_BOOL(struct router_row,   online,  0),
    M_SHORT(struct router_row,  version, 0),
    F_INT(struct router_row,    epoch,   0, 0, 0),
    M_TIME(struct router_row,   seen_us, FIELD_OMIT_EMPTY),
    F_STRUCT(struct router_row, now,     0, &router_brief_schema),
};
static const struct schema router_row_schema =
    SCHEMA("router_row", struct router_row, router_row_fields, false);

static const struct field routers_fields[] = {
    F_LIST(struct msg_routers, routers, FIELD_REQUIRED, &router_row_schema),
};

static const struct field traffic_report_fields[] = {
    F_INT(struct msg_traffic_report,    epoch,     FIELD_REQUIRED, 0, 0),
    F_LIST(struct msg_traffic_report,   endpoints, 0, &endpoint_traffic_schema),
    F_STRUCT(struct msg_traffic_report, router,    0, &router_brief_schema),
};
/* clang-format on */

const struct schema run_spec_schema = SCHEMA("run", struct run_spec, run_spec_fields, true);
const struct schema order_schema = SCHEMA("order", struct order, order_fields, true);
const struct schema orders_schema = SCHEMA("orders", struct orders, orders_fields, true);
const struct schema report_schema = SCHEMA("report", struct report, report_fields, false);
const struct schema wire_orders_change_schema =
    SCHEMA("orders_change", struct msg_orders_change, orders_change_fields, true);
const struct schema wire_instance_report_schema =
    SCHEMA("instance_report", struct msg_instance_report, instance_report_fields, false);
const struct schema wire_host_report_schema =
    SCHEMA("host_report", struct msg_host_report, host_report_fields, false);
const struct schema wire_stream_open_schema =
    SCHEMA("stream_open", struct msg_stream_open, stream_open_fields, false);
const struct schema wire_stream_lines_schema =
    SCHEMA("stream_lines", struct msg_stream_lines, stream_lines_fields, false);
const struct schema wire_stream_end_schema =
    SCHEMA("stream_end", struct msg_stream_end, stream_end_fields, false);
const struct schema wire_table_prepare_schema = SCHEMA("table_prepare", struct msg_epoch, epoch_fields, true);
const struct schema wire_table_commit_schema = SCHEMA("table_commit", struct msg_epoch, epoch_fields, true);
const struct schema wire_table_abort_schema = SCHEMA("table_abort", struct msg_epoch, epoch_fields, true);
const struct schema wire_traffic_report_schema =
    SCHEMA("traffic_report", struct msg_traffic_report, traffic_report_fields, false);
const struct schema wire_routers_schema = SCHEMA("routers", struct msg_routers, routers_fields, false);
