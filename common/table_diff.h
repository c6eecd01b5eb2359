/* SPDX-License-Identifier: MIT */
#pragma once

/* What changed between two routing tables: the rows that went, and those that are new or different. A table and a diff
 * made of the next one give just that next one, which the sum of its rows proves. Strict as the table. Pure. */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "common/table.h"

#define TABLE_DIFF_FORMAT  1
#define TABLE_DIFF_FEATURE "table-diff/1"

struct table_diff {
    int64_t format;
    char *fleet;
    int64_t base, epoch;   /* leads from one to the other */
    char *sum;             /* of all rows that are there then: 32 hex digits */
    char **routes_removed; /* keys: "www.example.com/shop" */
    struct table_route *routes;
    size_t n_routes;
    char **services_removed; /* names */
    struct table_service *services;
    size_t n_services;
};

/* Fills row->sum of every row that has none, and table->sum. Rows that are changed by hand afterwards must lose theirs. */
void table_sum_rows(struct table *table);
/* The same, where many rows are those of another table that has its sums: they are taken over. */
void table_sum_as(struct table *table, const struct table *like);

/* Both have their sums (table_sum_rows). */
void table_diff_make(const struct table *base, const struct table *next, struct table_diff *ret);
/* How many rows it names. */
size_t table_diff_size(const struct table_diff *diff);
void table_diff_print(const struct table_diff *diff, struct strbuf *out);
/* Reads and validates what can be said without the base. On failure *ret is empty. */
_must_check_ int table_diff_read(const char *text, size_t len, struct table_diff *ret, struct error *err);
/* The table, which has its sums, becomes the next one, and *diff what leads back. Refused, with nothing changed, if the
 * table is not the base or does not become what the sum says. */
_must_check_ int table_diff_apply(struct table *table, struct table_diff *diff, struct error *err);
void table_diff_clear(struct table_diff *diff);
