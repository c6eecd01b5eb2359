/* SPDX-License-Identifier: MIT */
#pragma once

/* The hub's table as it lies in the state directory, and in memory: table.json, and the diffs since, each in a file named
 * by the epoch that it changes (table.117.diff), so that a small change is a small write. What the hub sends is staged
 * (read and judged), written as table.next and fsynced, and committed by a rename: after a power cut there is the table
 * before it or the one with it. Now and then the diffs are folded into table.json. Knows no compiled tables. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "common/table.h"

#define JOURNAL_TABLE_MAX (64 * 1024 * 1024)
#define JOURNAL_DIFFS_MAX 64 /* files before they are folded in */

struct journal;

struct journal *journal_new(const char *folder);
void journal_free(struct journal *journal);

/* Reads what is there; -ENOENT: no table. A diff that does not fit ends the reading, with a warning in *ret_warning (the
 * caller's to free, NULL: none). The table stays the journal's, valid until the next call. */
_must_check_ int journal_load(
    struct journal *journal, const struct table **ret, char **ret_warning, struct error *err);
/* False: another process has committed since it was read. */
bool journal_is_current(const struct journal *journal);

/* What is staged goes first, if anything is. The table is what it will be: for compiling. */
_must_check_ int journal_stage(struct journal *journal, const char *text, size_t len, bool is_diff,
    const struct table **ret, struct error *err);
/* To disk; nothing of it counts yet. */
_must_check_ int journal_write(struct journal *journal, struct error *err);
_must_check_ int journal_commit(struct journal *journal, struct error *err);
void journal_abort(struct journal *journal);
/* Removes what was staged when the process before us ended: it is not known to be decided now. */
void journal_clean(struct journal *journal);

/* Appends the committed table. */
void journal_text(struct journal *journal, struct strbuf *ret);
/* More diffs than are kept: journal_fold() is due, when there is time. */
bool journal_is_long(const struct journal *journal);
_must_check_ int journal_fold(struct journal *journal, struct error *err);
