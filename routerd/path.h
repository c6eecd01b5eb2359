/* SPDX-License-Identifier: MIT */
#pragma once

/* Paths as services may read them. They are passed on as they came; but what the router decides by a path must hold for
 * whoever decodes, merges and resolves it as well (RFC 3986 6.2.2). Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "common/http1.h"

/* There is only one way to read it: nothing encoded, no empty or dot segment, no parameter, no backslash. */
bool path_is_plain(struct http1_slice path);
/* The other way: decoded, backslashes as slashes, parameters of segments (";…") gone, empty segments merged, dot segments
 * resolved. ret has room for path.len + 1 bytes; returns the length. The path begins with "/". */
size_t path_normalize(struct http1_slice path, char *ret);
