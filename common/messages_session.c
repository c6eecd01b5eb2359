/* SPDX-License-Identifier: MIT */
#include "common/messages_checks.h"

#include <string.h>

const char must_request_id[] = "8 to 64 letters, digits, \"-\" and \"_\"";
const char must_service[] = "the name of a service (lower-case letters, digits, single dashes, at most 41)";
const char must_app[] = "the name of an app (lower-case letters, digits, single dashes, at most 41)";
const char must_version[] = "a version such as 1.2.3";
const char must_commit[] = "a commit: 40 hex digits";
const char must_host[] = "the name of a host (lower-case letters, digits, dots, dashes, at most 63)";
const char must_person[] = "a name of lower-case letters, digits, \".\", \"-\", \"_\", \"@\", at most 63";
const char must_instance[] = "the id of an instance: 8 hex digits";
const char must_deploy[] = "the id of a deploy: \"d-\" and 4 to 12 hex digits";
const char must_env_value[] = "text of at most 32 KiB without control characters";
const char must_stream[] = "the id of a stream: 8 to 64 letters, digits, \"-\" and \"_\"";
const char must_fleet[] = "the id of a fleet: 1 to 64 letters, digits, \"-\" and \"_\"";

#define ID_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static bool is_id(const char *s, size_t min, size_t max)
{
    size_t len = strspn(s, ID_CHARACTERS);

    return s[len] == '\0' && len >= min && len <= max;
}

bool is_stream_id(const char *s)
{
    return is_id(s, 8, 64);
}

bool is_fleet_id(const char *s)
{
    return is_id(s, 1, 64);
}

static bool is_sha256(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* clang-format off */
static const struct field hello_fields[] = {
    F_INT(struct msg_hello,    protocol, FIELD_REQUIRED, 1, 1000),
    F_STRING(struct msg_hello, program,  FIELD_REQUIRED, .min = 1, .max = 64),
    F_STRING(struct msg_hello, version,  FIELD_REQUIRED, .min = 1, .max = 64),
    M_PERSON(struct msg_hello, name,     0),
    F_STRING(struct msg_hello, fleet,    0, .check = is_fleet_id, .must = must_fleet),
    M_COUNT(struct msg_hello,  counter,  FIELD_OMIT_EMPTY),
    F_STRV(struct msg_hello,   features, 0, .max = 64),
    F_STRING(struct msg_hello, stream,   FIELD_SECRET, .check = is_stream_id, .must = must_stream),
    F_STRING(struct msg_hello, address,  0, .max = 64),
    M_TIME(struct msg_hello,   time_us,  FIELD_OMIT_EMPTY),
};

static const struct field empty_fields[1]; /* none */

static const struct field goodbye_fields[] = {
    F_STRING(struct msg_goodbye, reason, 0, .max = 1024),
};

static const struct field join_fields[] = {
    M_REQUEST(struct msg_join),
    F_STRING(struct msg_join, token,   FIELD_REQUIRED | FIELD_SECRET, .min = 1, .max = 256),
    M_PERSON(struct msg_join, name,    0),
    F_STRING(struct msg_join, csr_pem, FIELD_REQUIRED, .min = 1, .max = CSR_MAX),
};

static const struct field identity_fields[] = {
    F_STRING(struct msg_identity,   cert_pem,   FIELD_REQUIRED, .min = 1, .max = PEM_MAX),
    F_STRING(struct msg_identity,   ca_pem,     FIELD_REQUIRED, .min = 1, .max = PEM_MAX),
    F_STRING(struct msg_identity,   fleet,      FIELD_REQUIRED, .check = is_fleet_id, .must = must_fleet),
    F_ENUM(struct msg_identity,     role,       FIELD_REQUIRED, member_role_names),
    M_PERSON(struct msg_identity,   name,       FIELD_REQUIRED),
    M_SERVICES(struct msg_identity, services,   0),
    M_TIME(struct msg_identity,     expires_us, 0),
};

static const struct field renew_fields[] = {
    M_REQUEST(struct msg_renew),
    F_STRING(struct msg_renew, csr_pem, FIELD_REQUIRED, .min = 1, .max = CSR_MAX),
};

static const struct field document_begin_fields[] = {
    F_ENUM(struct msg_document_begin,  kind,     FIELD_REQUIRED, document_kind_names),
    F_INT(struct msg_document_begin,   id,       FIELD_REQUIRED, 1, 0),
    M_COUNT(struct msg_document_begin, revision, 0),
    F_INT(struct msg_document_begin,   bytes,    FIELD_REQUIRED, 0, DOCUMENT_SIZE_MAX),
};

static const struct field document_part_fields[] = {
    F_INT(struct msg_document_part,    id,   FIELD_REQUIRED, 1, 0),
    F_STRING(struct msg_document_part, text, FIELD_REQUIRED, .min = 1, .max = DOCUMENT_PART_MAX),
};

static const struct field document_end_fields[] = {
    F_INT(struct msg_document_end,    id,     FIELD_REQUIRED, 1, 0),
    F_STRING(struct msg_document_end, sha256, FIELD_REQUIRED, .check = is_sha256, .must = "64 hex digits"),
};
/* clang-format on */

const struct schema wire_hello_schema = SCHEMA("hello", struct msg_hello, hello_fields, false);
const struct schema wire_empty_schema = {
    .name = "empty", .size = sizeof(struct msg_empty), .fields = empty_fields
};
const struct schema wire_goodbye_schema = SCHEMA("goodbye", struct msg_goodbye, goodbye_fields, false);
const struct schema wire_join_schema = SCHEMA("join", struct msg_join, join_fields, false);
const struct schema wire_identity_schema = SCHEMA("identity", struct msg_identity, identity_fields, false);
const struct schema wire_renew_schema = SCHEMA("renew", struct msg_renew, renew_fields, false);
const struct schema wire_document_begin_schema =
    SCHEMA("document_begin", struct msg_document_begin, document_begin_fields, false);
const struct schema wire_document_part_schema =
    SCHEMA("document_part", struct msg_document_part, document_part_fields, false);
const struct schema wire_document_end_schema =
    SCHEMA("document_end", struct msg_document_end, document_end_fields, false);
