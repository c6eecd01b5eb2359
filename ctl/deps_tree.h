/* SPDX-License-Identifier: MIT */
#pragma once

/* The dependency graph as a tree for people: every release that nobody depends on is a root. A release that
 * depends on itself, over whatever detour, ends its branch there and says so; one that was shown before is not
 * unfolded again. Pure. */

#include "common/messages.h"
#include "common/strbuf.h"
#include "ctl/style.h"

#define DEPS_DEPTH_MAX 32

void deps_tree_print(const struct msg_deps *deps, const struct style *style, struct strbuf *out);
