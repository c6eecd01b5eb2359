/* SPDX-License-Identifier: MIT */
#include "hubd/state.h"

#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"

/* clang-format off */
const char *const wanted_names[] = { "running", "stopped", "warm", "retired", "gone" };
_Static_assert(ARRAY_SIZE(wanted_names) == WANTED_MAX_, "one name per enum wanted");

const char *const endpoint_status_names[] = { "none", "active", "draining" };
_Static_assert(ARRAY_SIZE(endpoint_status_names) == ENDPOINT_STATUS_MAX_, "one name per enum endpoint_status");

const char *const deploy_kind_names[] = { "deploy", "rollback", "scale", "start", "stop", "restart" };
_Static_assert(ARRAY_SIZE(deploy_kind_names) == DEPLOY_KIND_MAX_, "one name per enum deploy_kind");

const char *const deploy_stage_names[] = {
    "starting", "preparing", "switched", "draining", "done", "failed", "reverted", "incomplete",
};
_Static_assert(ARRAY_SIZE(deploy_stage_names) == STAGE_MAX_, "one name per enum deploy_stage");


static const struct field meta_fields[] = {
    F_INT(struct meta, format, FIELD_REQUIRED, 1, STATE_FORMAT),
    F_STRING(struct meta, fleet, FIELD_REQUIRED),
    F_INT(struct meta, epoch, 0, 0, INT64_MAX),
    F_INT(struct meta, pushes, 0, 0, INT64_MAX),
};
const struct schema meta_schema = SCHEMA("meta", struct meta, meta_fields, false);

static const struct field app_fields[] = {
    F_STRING(struct app, name, FIELD_REQUIRED, .check = name_is_app, .must = "an app name"),
    F_STRING(struct app, created_by, 0),
    F_INT(struct app, created_us, 0, 0, INT64_MAX),
    F_STRV(struct app, refs, 0),
};
const struct schema app_schema = SCHEMA("app", struct app, app_fields, false);

static const struct field range_fields[] = {
    F_INT(struct table_range, first, FIELD_REQUIRED, 0, UINT32_MAX),
    F_INT(struct table_range, last, FIELD_REQUIRED, 0, UINT32_MAX),
};
static const struct schema range_schema = SCHEMA("range", struct table_range, range_fields, false);

static const struct field live_release_fields[] = {
    F_STRING(struct live_release, version, FIELD_REQUIRED),
    F_LIST(struct live_release, ranges, 0, &range_schema),
};
static const struct schema live_release_schema =
    SCHEMA("live_release", struct live_release, live_release_fields, false);

static const struct field live_set_fields[] = {
    F_LIST(struct live_set, releases, 0, &live_release_schema),
    F_INT(struct live_set, since_us, 0, 0, INT64_MAX),
    F_STRING(struct live_set, deploy, 0),
};
const struct schema live_set_schema = SCHEMA("live_set", struct live_set, live_set_fields, false);

static const struct field service_fields[] = {
    F_STRING(struct service, name, FIELD_REQUIRED, .check = name_is_service, .must = "a service name"),
    F_STRING(struct service, app, FIELD_REQUIRED, .check = name_is_app, .must = "an app name"),
    F_STRV(struct service, routes, 0),
    F_LIST(struct service, route_rules, 0, &table_route_schema),
    F_STRUCT(struct service, live, 0, &live_set_schema),
    F_LIST(struct service, previous, 0, &live_set_schema),
};
const struct schema service_schema = SCHEMA("service", struct service, service_fields, false);

static const struct field release_fields[] = {
    F_STRING(struct release, service, FIELD_REQUIRED, .check = name_is_service, .must = "a service name"),
    F_STRING(struct release, version, FIELD_REQUIRED),
    F_STRING(struct release, commit, FIELD_REQUIRED, .check = name_is_commit, .must = "a commit"),
    F_STRING(struct release, app, FIELD_REQUIRED, .check = name_is_app, .must = "an app name"),
    F_STRING(struct release, branch, 0),
    F_STRING(struct release, subject, 0),
    F_INT(struct release, seq, 0, 0, INT64_MAX),
    F_INT(struct release, pushed_us, 0, 0, INT64_MAX),
    F_STRV(struct release, routes, 0),
    F_LIST(struct release, route_rules, 0, &table_route_schema),
    F_PAIRS(struct release, depends, 0),
    F_INT(struct release, instances, 0, 0, INSTANCES_MAX),
    F_STRUCT(struct release, run, FIELD_REQUIRED, &run_spec_schema),
    F_STRUCT(struct release, requests, FIELD_OMIT_EMPTY, &requests_spec_schema),
};
const struct schema release_schema = SCHEMA("release", struct release, release_fields, false);

static const struct field host_fields[] = {
    F_STRING(struct host, name, FIELD_REQUIRED, .check = name_is_host, .must = "a host name"),
    F_STRING(struct host, address, 0),
    F_STRING(struct host, version, 0),
    F_INT(struct host, added_us, 0, 0, INT64_MAX),
    F_INT(struct host, orders_revision, 0, 0, INT64_MAX),
    F_STRING(struct host, cordoned, 0),
};
const struct schema host_schema = SCHEMA("host", struct host, host_fields, false);

static const struct field instance_fields[] = {
    F_STRING(struct instance, id, FIELD_REQUIRED, .check = name_is_instance, .must = "the id of an instance"),
    F_STRING(struct instance, host, FIELD_REQUIRED, .check = name_is_host, .must = "a host name"),
    F_STRING(struct instance, app, FIELD_REQUIRED),
    F_STRING(struct instance, service, FIELD_REQUIRED, .check = name_is_service, .must = "a service name"),
    F_STRING(struct instance, version, FIELD_REQUIRED),
    F_STRING(struct instance, commit, FIELD_REQUIRED, .check = name_is_commit, .must = "a commit"),
    F_STRING(struct instance, base_commit, 0),
    F_STRING(struct instance, branch, 0),
    F_STRING(struct instance, previous, 0),
    F_STRING(struct instance, deploy, 0),
    F_PAIRS(struct instance, env, 0),
    F_BOOL(struct instance, rebuild, 0),
    F_ENUM(struct instance, wanted, FIELD_REQUIRED, wanted_names),
    F_INT(struct instance, generation, 0, 0, INT64_MAX),
    F_BOOL(struct instance, hold, 0),
    F_INT(struct instance, created_us, 0, 0, INT64_MAX),
    F_INT(struct instance, warm_until_us, 0, 0, INT64_MAX),
    F_INT(struct instance, retired_us, 0, 0, INT64_MAX),
    F_STRING(struct instance, replaces, 0),
    F_STRING(struct instance, replaced_by, 0),
    F_ENUM(struct instance, endpoint, 0, endpoint_status_names),
    F_STRING(struct instance, address, 0),
    F_INT(struct instance, endpoint_epoch, 0, 0, INT64_MAX),
};
const struct schema instance_schema = SCHEMA("instance", struct instance, instance_fields, false);

static const struct field deploy_part_fields[] = {
    F_STRING(struct deploy_part, instance, FIELD_REQUIRED),
    F_STRING(struct deploy_part, host, FIELD_REQUIRED),
    F_BOOL(struct deploy_part, fresh, 0),
    F_INT(struct deploy_part, told, 0, 0, INT64_MAX),
};
static const struct schema deploy_part_schema =
    SCHEMA("deploy_part", struct deploy_part, deploy_part_fields, false);

static const struct field deploy_fields[] = {
    F_STRING(struct deploy, id, FIELD_REQUIRED, .check = name_is_deploy, .must = "the id of a deploy"),
    F_ENUM(struct deploy, kind, FIELD_REQUIRED, deploy_kind_names),
    F_ENUM(struct deploy, stage, FIELD_REQUIRED, deploy_stage_names),
    F_STRING(struct deploy, service, FIELD_REQUIRED),
    F_STRING(struct deploy, app, 0),
    F_STRING(struct deploy, version, 0),
    F_STRING(struct deploy, commit, 0),
    F_STRING(struct deploy, subject, 0),
    F_STRING(struct deploy, who, 0),
    F_BOOL(struct deploy, no_traffic, 0),
    F_BOOL(struct deploy, promote, 0),
    F_LIST(struct deploy, parts, 0, &deploy_part_schema),
    F_STRV(struct deploy, old, 0),
    F_STRING(struct deploy, replaced, 0),
    F_INT(struct deploy, step, 0, 0, INT64_MAX),
    F_INT(struct deploy, epoch, 0, 0, INT64_MAX),
    F_INT(struct deploy, created_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, stage_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, prepare_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, switch_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, ended_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, finished_before, 0, INT64_MIN, INT64_MAX),
    F_INT(struct deploy, failed_before, 0, INT64_MIN, INT64_MAX),
    F_INT(struct deploy, warm_until_us, 0, 0, INT64_MAX),
    F_INT(struct deploy, events, 0, 0, INT64_MAX),
    F_STRING(struct deploy, text, 0),
    F_STRING(struct deploy, reason, 0),
    F_STRV(struct deploy, lines, 0),
};
const struct schema deploy_schema = SCHEMA("deploy", struct deploy, deploy_fields, false);

static const struct field token_fields[] = {
    F_STRING(struct token, id, FIELD_REQUIRED),
    F_STRING(struct token, hash, FIELD_REQUIRED),
    F_ENUM(struct token, role, FIELD_REQUIRED, role_names),
    F_STRING(struct token, name, 0),
    F_STRV(struct token, services, 0),
    F_INT(struct token, uses_left, 0, 0, INT64_MAX),
    F_INT(struct token, created_us, 0, 0, INT64_MAX),
    F_INT(struct token, expires_us, 0, 0, INT64_MAX),
    F_STRING(struct token, created_by, 0),
    F_PAIRS(struct token, used_by, 0),
};
const struct schema token_schema = SCHEMA("token", struct token, token_fields, false);

static const struct field identity_fields[] = {
    F_ENUM(struct identity, role, FIELD_REQUIRED, role_names),
    F_STRING(struct identity, name, FIELD_REQUIRED),
    F_STRV(struct identity, services, 0),
    F_STRING(struct identity, key_hash, 0),
    F_STRING(struct identity, serial, 0),
    F_INT(struct identity, joined_us, 0, 0, INT64_MAX),
    F_INT(struct identity, expires_us, 0, 0, INT64_MAX),
    F_BOOL(struct identity, revoked, 0),
    F_STRV(struct identity, revoked_serials, 0),
};
const struct schema identity_schema = SCHEMA("identity", struct identity, identity_fields, false);

const struct collection_info state_collections[STATE_MAX_] = {
    [STATE_META]     = { "meta/",     &meta_schema },
    [STATE_APP]      = { "app/",      &app_schema },
    [STATE_SERVICE]  = { "service/",  &service_schema },
    [STATE_RELEASE]  = { "release/",  &release_schema },
    [STATE_DRONE]    = { "drone/",    &host_schema },
    [STATE_ROUTER]   = { "router/",   &host_schema },
    [STATE_INSTANCE] = { "instance/", &instance_schema },
    [STATE_DEPLOY]   = { "deploy/",   &deploy_schema },
    [STATE_TOKEN]    = { "token/",    &token_schema },
    [STATE_IDENTITY] = { "identity/", &identity_schema },
};
/* clang-format on */
