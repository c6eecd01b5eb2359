/* SPDX-License-Identifier: MIT */
#pragma once

/* One HTTP/1.1 connection on the hub's port: heads read, bodies unframed and unzipped, answers written, with
 * back-pressure both ways and a deadline on every phase. Requests of one connection are served one after the
 * other. What is asked for is decided by the dispatch function of http_routes.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/http1.h"
#include "common/list.h"

#define HTTP_HEAD_MAX      (16 * 1024)
#define HTTP_HEAD_MS       10000   /* from the connection, or the end of the answer before, to a whole head */
#define HTTP_BODY_IDLE_MS  60000   /* without a byte of the body */
#define HTTP_WRITE_IDLE_MS 60000   /* without the client taking a byte */
#define HTTP_WORK_MS       3600000 /* for an answer to begin, once the body is whole */
#define HTTP_DISCARD_MAX \
    (256 * 1024 * 1024) /* of a body that nobody wants, before the connection is closed */
#define HTTP_INFLATED_MAX (64 * 1024 * 1024) /* of a zipped body */

struct http_conn;
struct hubd;
struct loop;
struct peer;
struct stream;

/* What becomes of a request. Every function may answer and may end the connection. */
struct http_handler {
    /* Of the body, unframed and unzipped; borrowed. NULL: thrown away. */
    void (*on_body)(void *arg, const char *data, size_t len);
    void (*on_body_end)(void *arg);
    /* The client takes more, after http_answer_data said that it is slow. */
    void (*on_room)(void *arg);
    /* The request is over, answered or not; the handler frees what belongs to it. The last call. */
    void (*on_gone)(void *arg);
};

/* Takes over the stream; peer is copied. on_closed (may be NULL) runs once, before it frees itself. */
struct http_conn *http_conn_new(struct hubd *hub, struct stream *stream, const struct peer *peer,
    void (*on_closed)(void *arg), void *arg);
void http_conn_free(struct http_conn *conn);

struct hubd *http_conn_hub(const struct http_conn *conn);
const struct peer *http_conn_peer(const struct http_conn *conn);
void http_conn_set_handler(struct http_conn *conn, const struct http_handler *handler, void *arg);
/* Stop and go on with the body. */
void http_pause_body(struct http_conn *conn, bool pause);

/* A whole answer; text ends up as text/plain. fields NULL or "Name: value\r\n…". */
void http_answer(struct http_conn *conn, int status, const char *fields, const char *text);
/* An answer in parts; length -1: not known, sent in chunks. */
void http_answer_begin(struct http_conn *conn, int status, const char *content_type, int64_t length);
/* false: the client is slow, wait for on_room. */
bool http_answer_data(struct http_conn *conn, const void *data, size_t len);
void http_answer_end(struct http_conn *conn);
bool http_answer_has_begun(const struct http_conn *conn);
/* The answer can't be finished: the connection ends so that the client notices. */
void http_answer_abort(struct http_conn *conn);

/* In http_routes.c: a head has come. It answers, or sets a handler and answers later. */
void http_dispatch(struct http_conn *conn, const struct http1_head *head);
