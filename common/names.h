/* SPDX-License-Identifier: MIT */
#pragma once

/* What a legal name is, for everything that later becomes a path, a unit name, an argument, a log line or a
 * key. Whitelists only: no leading dash, no "..", no control characters can pass. Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define NAME_SERVICE_MAX      41
#define NAME_APP_MAX          41
#define NAME_HOST_MAX         63
#define NAME_INSTANCE_LEN     8
#define NAME_COMMIT_LEN       40
#define NAME_SHORT_COMMIT_LEN 8
#define NAME_REQUEST_ID_MAX   64
#define NAME_REF_MAX          200

bool name_is_service(const char *s);  /* [a-z]([a-z0-9-]{0,39}[a-z0-9])?, no "--" */
bool name_is_app(const char *s);      /* as a service */
bool name_is_host(const char *s);     /* [a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?, no "..", no "--" at start */
bool name_is_person(const char *s);   /* as a host name, also "_" and "@" inside */
bool name_is_instance(const char *s); /* 8 lower-case hex digits */
bool name_is_commit(const char *s);   /* 40 lower-case hex digits */
bool name_is_commit_prefix(const char *s); /* 4 to 40 lower-case hex digits */
bool name_is_deploy(const char *s);        /* "d-" and 4 to 12 lower-case hex digits */
bool name_is_request_id(const char *s);    /* [A-Za-z0-9_-]{8,64} */
bool name_is_env_key(const char *s);       /* [A-Za-z_][A-Za-z0-9_]{0,127} */
bool name_is_env_value(const char *s);     /* at most 32 KiB, no NUL, no newline but inside, valid UTF-8 */
bool name_is_dns(const char *s); /* a host name of a route, lower case, labels of RFC 1123; "*.x.y" too */
/* "/" or "/a/b": begins with "/", no "//", "/../", "?", "#", escapes, controls */
bool name_is_path_prefix(const char *s);
bool name_is_address(const char *s); /* IPv4 or [IPv6] and port: what an endpoint is */
bool name_is_ref(const char *s);     /* a git ref below refs/: whitelist, no "..", no leading dash */
bool name_is_tag(const char *s);     /* the last part of refs/tags/…, also with slashes */

/* "web", "web@0.2.2", "web@^0.2": splits at the first "@"; ret_what is NULL without one. Caller frees both. */
int name_split_target(const char *target, char **ret_service, char **ret_what, struct error *err);

/* The slice of a service: "stagecoach-" + service with each '-' as "\x2d" + ".slice". Caller frees. */
char *name_slice(const char *service);
/* "stagecoach-run-SERVICE-ID.service". Caller frees. */
char *name_unit(const char *service, const char *instance);
/* The user all instances of a service share: "sc-" + 12 hex digits of SHA-256(service). Caller frees. */
char *name_service_user(const char *service);
