/* SPDX-License-Identifier: MIT */
#pragma once

/* The searches of release_find (release.h) that are under way: freed with the hub, so that none of them calls
 * into what is gone. */

struct finds;
struct hubd;

struct finds *finds_new(struct hubd *hub);
void finds_free(struct finds *finds);
