/* SPDX-License-Identifier: MIT */
#pragma once

/* Log lines from drones to people. Drones only dial out: the hub asks for a stream by id, the drone dials a
 * second connection that carries nothing else, and its lines go to the link of whoever asked. When that link is
 * full, the drone's connection is not read until it has room. */

#include <stdbool.h>

struct deploy;
struct hubd;
struct link;
struct msg_logs;
struct peer;
struct reply;
struct session;

#define STREAM_DIAL_MS    10000 /* a drone that was asked dials within this */
#define LOG_LINES_DEFAULT 100
#define LOG_LINES_MAX     10000
#define STREAMS_MAX       1024
#define STREAM_GATHER_MS  500 /* past lines of several hosts are put in order for so long */

/* `logs`: keeps the reply until all streams have ended. */
void streams_logs(struct session *session, const struct msg_logs *m, struct reply *reply);
/* Build output of instances of an open deploy that somebody watches; each is asked for once. */
void streams_build_output(struct hubd *hub, const struct deploy *deploy);

bool streams_expects(const struct hubd *hub, const struct peer *peer, const char *id);
void streams_attach(struct session *session, const char *id);
void streams_drained(struct session *session);
void streams_free_all(struct hubd *hub);
/* Of a reader, or of a drone's stream connection. */
void streams_drop_session(struct session *session);

void on_stream_lines(void *owner, struct link *link, const void *m, struct reply *reply);
void on_stream_end(void *owner, struct link *link, const void *m, struct reply *reply);
