/* SPDX-License-Identifier: MIT */
#pragma once

/* The routing table's epochs: what would have to change in the table is collected, prepared on
 * every connected router, decided in the store, then committed. Promotions need every connected router to have
 * the table; loss and return of endpoints don't wait. One epoch at a time, later changes coalesce. */

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

#define EPOCH_PREPARE_MS 2000 /* a connected router silent for so long at prepare aborts the epoch */
#define EPOCH_RETRY_MS   1000 /* after the store refused */

struct epochs;
struct hubd;
struct router;

struct epochs *epochs_new(struct hubd *hub);
void epochs_free(struct epochs *epochs);

/* Begins an epoch if the table would change and none is under way. */
void epochs_consider(struct hubd *hub);
/* The epoch that routers should hold now: the one being prepared, else the decided one. */
int64_t epochs_wanted(const struct hubd *hub);
/* Its table, as text. */
void epochs_table(const struct hubd *hub, int64_t epoch, struct strbuf *ret);
/* What leads to it from another one; false: the whole has to be sent. */
bool epochs_diff(const struct hubd *hub, int64_t base, int64_t epoch, struct strbuf *ret);
/* Has it rules, or limits, which "table/2" stands for? */
bool epochs_need_2(const struct hubd *hub, int64_t epoch);
/* A router has prepared, refused, or gone: look whether the epoch can go on. */
void epochs_router_changed(struct hubd *hub);
