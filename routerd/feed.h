/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the table comes from. With Table= a file: read, watched, read again when it changes. Else the state
 * directory's table.json, the last one that the hub committed; what the hub sends is prepared as table.next beside it
 * (validated, compiled, fsynced) and committed by a rename. An invalid table is refused whole, and the one in place
 * stays. Knows nothing of links (uplink.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define FEED_TABLE_MAX (64 * 1024 * 1024)
#define FEED_SETTLE_MS 50 /* after the file moved, until it is read */

struct feed;
struct routerd;

/* Loads what there is. A given file must be there and right; a missing or broken one in the state directory is logged
 * and waits for the hub. */
_must_check_ int feed_new(struct routerd *routerd, struct feed **ret, struct error *err);
void feed_free(struct feed *feed);
/* Reads the file again (Table= only). */
void feed_reload(struct feed *feed);

/* --- the hub's ------------------------------------------------------------------------------------------- */

_must_check_ int feed_prepare(
    struct feed *feed, int64_t epoch, const char *text, size_t len, struct error *err);
/* -ENOENT if that epoch is not prepared. */
_must_check_ int feed_check_prepared(struct feed *feed, int64_t epoch, struct error *err);
/* fn runs when every worker serves it. An epoch that is served already is fine. */
_must_check_ int feed_commit(
    struct feed *feed, int64_t epoch, void (*fn)(void *arg), void *arg, struct error *err);
/* What is prepared and not committed goes. */
void feed_abort(struct feed *feed);
