/* SPDX-License-Identifier: MIT */
#pragma once

/* The routing tables of the epoch under way or decided last, and of the one before it: as text for routers that need the
 * whole, as a diff for those that hold the one before. Both are made when first asked for. Pure. */

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "common/table.h"
#include "hubd/txn.h"

/* A diff that names more rows, and more than that part of all, is no gain. */
#define TABLES_DIFF_SMALL 100
#define TABLES_DIFF_PART  4

struct tables {
    struct table base, next;
    bool has_base, has_next;
    struct strbuf text, diff; /* of next; from base to next */
    bool no_diff;             /* it would not pay */
};

void tables_done(struct tables *tables);
/* The rows as `view` leaves them are the table of `epoch`; those in the state that of `decided`. */
void tables_plan(struct tables *tables, const struct txn *view, int64_t decided, int64_t epoch);
/* Text of that epoch's table; false: it is not kept. */
bool tables_text(struct tables *tables, int64_t epoch, struct strbuf *ret);
/* What leads from one epoch to the other; false: the whole has to be sent. */
bool tables_diff(struct tables *tables, int64_t base, int64_t epoch, struct strbuf *ret);
/* Does the table say what only routers with "table/2" understand? */
bool tables_need_2(const struct tables *tables, int64_t epoch);
