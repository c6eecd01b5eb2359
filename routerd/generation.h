/* SPDX-License-Identifier: MIT */
#pragma once

/* Generations of one router. A reload starts the next process beside this one; when it could serve, it takes connections
 * and becomes the present generation, and this one an older one that finishes what it has. The present one owns the hub
 * link; tables go from it to the older ones, what is in flight there comes back, so that all of them are one router to the
 * hub. Older ones end by themselves when their last connection is gone, at the latest after Drain=; there are at most
 * GENERATION_OLDER_MAX of them.
 *
 * Whatever goes wrong before the next generation takes connections ends that one, and nothing else. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define GENERATION_OLDER_MAX 2 /* besides one that is being asked to end */
#define GENERATION_TABLE_MS \
    5000 /* for an older one to serve a table; then it is killed, for it would serve old answers */
#define GENERATION_END_MS 8000 /* for an older one to end once it was asked to */

struct generation;
struct msg_traffic_report;
struct routerd;
struct strbuf;
struct sums;
struct tickets;

/* The outcome of a reload, in one sentence. */
typedef void (*generation_told_fn)(void *arg, bool done, const char *text);

/* Takes the descriptors that the generation before handed over for this. argv is main's, path successor_path's (taken),
 * number successor_begin's. */
struct generation *generation_new(int64_t number, char *path, char **argv);
void generation_attach(struct generation *generation, struct routerd *routerd);
void generation_free(struct generation *generation);
int64_t generation_number(const struct generation *generation); /* of NULL: 1 */
/* This process can't serve: the generation before, if there is one, is told why. */
void generation_refuse(struct generation *generation, const char *reason);
/* True while another one is still in charge. */
bool generation_is_next(const struct generation *generation);

/* Starts the next generation. told (may be NULL) is called once, not before this returns. */
void generation_reload(struct generation *generation, generation_told_fn told, void *arg);

/* --- for routerd.c ---------------------------------------------------------------------------------------- */

/* Opens tickets that the generation before sealed. tickets may be NULL. */
void generation_take_tickets(struct generation *generation, struct tickets *tickets);
/* All workers serve the table that was posted last. */
void generation_served(struct generation *generation, int64_t epoch);
/* A table is served from now on: older generations get it too. */
void generation_push(struct generation *generation, const char *text, size_t len);
/* All of them serve what was pushed last. */
bool generation_all_serve(const struct generation *generation);
bool generation_has_older(const struct generation *generation);
/* They are asked to finish; routerd is woken when they are gone. */
void generation_end(struct generation *generation);
bool generation_is_alone(const struct generation *generation);
/* Every second. */
void generation_tick(struct generation *generation);
/* "; 2 older generations with 14 connections", or what the last reload failed of. */
void generation_describe(const struct generation *generation, struct strbuf *out);

/* --- counts ------------------------------------------------------------------------------------------------ */

/* True in an older one, whose reports go to the present one. */
bool generation_is_older(const struct generation *generation);
void generation_report(struct generation *generation, const struct msg_traffic_report *m);
/* What older generations count, and counted before they ended. */
struct sums *generation_sums(const struct generation *generation);
