/* SPDX-License-Identifier: MIT */
#pragma once

/* git's smart HTTP: who may push or fetch, one stock git child per request, its input and output streamed with
 * back-pressure, a bounded number of them at a time. An app is made by its first push. What a push means is
 * push.h's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define GIT_CALLS_WAITING_MAX 64           /* requests that wait for a child; more are told to come back */
#define GIT_INPUT_HIGH        (256 * 1024) /* bytes for a child that stop the client, until they are taken */
#define GIT_DETACHED_MS       (10 * 60 * 1000) /* for a push whose client left after its last byte */
#define GIT_ABORTED_MS        5000             /* between SIGTERM and SIGKILL for one that left before */
#define GIT_STDERR_MAX        2048

struct git_http;
struct http1_head;
struct http_conn;
struct hubd;

struct git_http *git_http_new(struct hubd *hub);
void git_http_free(struct git_http *git);

/* False: the path is not one of git's. */
bool git_http_serve(struct http_conn *conn, const struct http1_head *head);
int64_t git_http_children(const struct git_http *git);
