/* SPDX-License-Identifier: MIT */
#pragma once

/* From the state to the routing table: routes of the services that have been promoted, their releases with
 * ranges (or without: reachable by version only), and the endpoints as the rows say. The same rows always give
 * the same table, so a router that comes back gets what the others have. Pure. */

#include "common/table.h"
#include "hubd/txn.h"

/* Reads the rows as view leaves them. The table is the caller's (table_clear). */
void routes_build(const struct txn *view, int64_t epoch, struct table *ret);

/* "www.example.com/shop" → host and path ("/" without one). Caller frees both. */
void routes_split(const char *route, char **ret_host, char **ret_path);

/* The service that has the route, NULL if it is free; `except` does not count. Borrowed from view. */
const char *routes_owner(const struct txn *view, const char *route, const char *except);
