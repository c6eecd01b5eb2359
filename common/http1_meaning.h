/* SPDX-License-Identifier: MIT */
#pragma once

/* What the fields of a parsed head mean together: target, host, framing, persistence, upgrade, expectation. The second
 * half of http1_head.c, which finds the lines; for http1*.c only. */

#include "common/http1.h"

#define HTTP1_FIELD_NAME_LONGEST 25 /* of those that have an id */

static inline enum http1_result http1_refuse(struct http1_fault *fault, int status, const char *reason)
{
    *fault = (struct http1_fault){ status, reason };
    return HTTP1_REFUSED;
}

static inline void http1_head_reset(struct http1_head *head)
{
    memset(head, 0, offsetof(struct http1_head, fields));
    head->authority.ptr = head->host.ptr = ""; /* empty, but there: for those who copy it */
    head->port = -1;
}

/* http1_head.c: method_id of head->method; CONNECT and TRACE are refused. */
enum http1_result http1_know_method(struct http1_head *head, struct http1_fault *fault);
/* A service that maps names to CGI variables can't tell Content_Length from Content-Length: the field that such a name
 * stands for, or OTHER. */
enum http1_field_id http1_imitates(const char *name, size_t len);

enum http1_result http1_trailers_meaning(const struct http1_head *trailers, struct http1_fault *fault);
enum http1_result http1_request_meaning(struct http1_head *head, struct http1_fault *fault);
enum http1_result http1_response_meaning(
    struct http1_head *head, enum http1_method method_id, struct http1_fault *fault);
