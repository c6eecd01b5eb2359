/* SPDX-License-Identifier: MIT */
#pragma once

/* What there is over HTTP on the hub's port, and who asks: /APP.git/… (git_http.h), /pack/APP/COMMIT (pack.h),
 * /metrics and /healthz. */

#include "common/error.h"
#include "hubd/enroll.h"

struct http1_head;
struct http_conn;

/* Who asks: by client certificate, else by a token as Basic password (any user name). 0; HTTP_NOBODY: neither was
 * shown, ask for a token; negative: refused with the reason. */
enum { HTTP_NOBODY = 1 };
_must_check_ int http_who(
    struct http_conn *conn, const struct http1_head *head, struct enroll_guest *ret, struct error *err);
/* 401 that makes a client ask for a token, 403 or 503 by the error. */
void http_refuse(struct http_conn *conn, int who_result, const struct error *err);
/* Value of a parameter of the query ("a=b&c=d"), without decoding; caller frees; NULL if absent. */
char *http_query(const struct http1_head *head, const char *name);
