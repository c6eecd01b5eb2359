/* SPDX-License-Identifier: MIT */
#pragma once

/* Commits for drones: GET /pack/APP/COMMIT?base=COMMIT answers with one pack that holds the commit and its tree,
 * without history and without what the base has. Each (commit, base) is computed once, by stock git, into a
 * cache of bounded size that every drone is served from. A drone gets only what it is ordered to run. */

#include "common/error.h"

#define PACK_MAKING_MAX    2  /* computed at a time */
#define PACK_TRANSFERS_MAX 16 /* served at a time; others wait in order */
#define PACK_WAITING_MAX   4096
#define PACK_CHUNK         (64 * 1024)

struct http1_head;
struct http_conn;
struct hubd;
struct packs;

struct packs *packs_new(struct hubd *hub);
void packs_free(struct packs *packs);
/* An empty directory: packs are quickly made again, and what is there may be half written. */
_must_check_ int packs_start(struct packs *packs, struct error *err);

void pack_serve(struct http_conn *conn, const struct http1_head *head);
