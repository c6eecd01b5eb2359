/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/proxy_header.h"

/* A header is the same whatever follows it, and nothing shorter than it is one. */

static enum proxy_header_result parse(
    const uint8_t *data, size_t size, struct proxy_header *ret, const char **reason)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, data, size);
    enum proxy_header_result r = proxy_header_parse(copy, size, ret, reason);
    free(copy);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, part;
    const char *reason = NULL, *of_part = NULL;
    enum proxy_header_result r = parse(data, size, &whole, &reason);
    must(r != PROXY_HEADER_REFUSED || reason);
    if (r != PROXY_HEADER_DONE)
        return 0;
    must(whole.size > 0 && whole.size <= size && whole.size <= PROXY_HEADER_MAX);
    must(whole.is_own || (whole.source.len > 0 && whole.source.len == whole.destination.len));
    must(parse(data, whole.size, &part, &of_part) == PROXY_HEADER_DONE);
    must(memcmp(&whole.source, &part.source, sizeof(part.source)) == 0 && whole.tls == part.tls);
    must(parse(data, whole.size - 1, &part, &of_part) == PROXY_HEADER_MORE);
    return 0;
}
