/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the table comes from. With Table= a file: read, watched (looked at now and then where it lies behind a symbolic
 * link), read again when it changes. Else the state directory's journal (journal.h): the last one that the hub committed.
 * What the hub sends, whole or as what changes, is prepared (validated, compiled, fsynced) and then committed. An invalid
 * table is refused whole, and the one in place stays. Knows nothing of links to hubs (uplink.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define FEED_TABLE_MAX (64 * 1024 * 1024)
#define FEED_SETTLE_MS 50   /* after the file changed in place, until it is read */
#define FEED_REST_MS   10   /* at least, between two reads of files that were moved into its place */
#define FEED_LOOK_MS   2000 /* between two looks whether it is another one, where no change was told */
#define FEED_FOLD_MS   1000 /* after a switch, until the diffs become one table */

struct feed;
struct routerd;
struct strbuf;

/* Loads what there is. A given file must be there and right; a missing or broken one in the state directory is logged
 * and waits for the hub. */
_must_check_ int feed_new(struct routerd *routerd, struct feed **ret, struct error *err);
void feed_free(struct feed *feed);
/* Reads and compiles a table file, and says in the log what is in it; nothing is served. */
_must_check_ int feed_check(struct routerd *routerd, char *path, struct error *err);
/* The office is ours, or not any more: only its holder changes what is on disk. */
void feed_take_charge(struct feed *feed);
void feed_step_back(struct feed *feed);
/* Appends the text of the table that is on disk, diffs included. */
_must_check_ int feed_text(struct feed *feed, struct strbuf *ret, struct error *err);
/* Serves a table that another generation gives; nothing is written. */
_must_check_ int feed_serve_text(struct feed *feed, const char *text, size_t len, struct error *err);

/* --- the hub's ------------------------------------------------------------------------------------------- */

/* A whole table, or what changes of the one that is there. */
_must_check_ int feed_prepare(
    struct feed *feed, int64_t epoch, const char *text, size_t len, bool is_diff, struct error *err);
/* -ENOENT if that epoch is not prepared. */
_must_check_ int feed_check_prepared(struct feed *feed, int64_t epoch, struct error *err);
/* It is served once routerd->serving says so. An epoch that is given to the workers already is fine. */
_must_check_ int feed_commit(struct feed *feed, int64_t epoch, struct error *err);
/* What is prepared and not committed goes. */
void feed_abort(struct feed *feed);
