/* SPDX-License-Identifier: MIT */
#pragma once

/* The sending half of conn_h1.c: answers framed and written, what is left queued; the client_ops of HTTP/1. */

#include <stdbool.h>

#include "routerd/exchange.h"

struct conn_h1;

extern const struct client_ops conn_h1_ops;

/* An answer of the connection's own to what is no request. */
void conn_h1_refuse(struct conn_h1 *conn, const struct http1_fault *fault, enum http1_method method);
/* The exchange is over: the next request, or the end of the connection. */
void conn_h1_done(struct conn_h1 *conn);
/* Writes what waits. */
void conn_h1_flush(struct conn_h1 *conn);
/* conn_h1.c: content is due within a window that begins now. */
void conn_h1_arm_body(struct conn_h1 *conn);
/* conn_h1.c: reads on, unless that is what is being done. */
void conn_h1_go_on(struct conn_h1 *conn);
