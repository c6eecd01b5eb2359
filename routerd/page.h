/* SPDX-License-Identifier: MIT */
#pragma once

/* An answer of the status socket that is made in pieces, each in a moment, for main has other things to do: /metrics and
 * /status of thousands of endpoints. */

#include <stdbool.h>

#include "common/strbuf.h"

#define PAGE_PIECE (32 * 1024) /* about so much at once */

struct page;
struct routerd;

struct page_ops {
    /* Appends the next piece, which may be nothing while something is being added up. False: that was the last. */
    bool (*next)(struct page *page, struct strbuf *out);
    void (*free)(struct page *page);
};

/* Embedded in what makes it. */
struct page {
    const struct page_ops *ops;
    struct routerd *routerd;
    /* What is read from the registry in several steps must not be swept between them. */
    bool reads_registry;
};

/* Prometheus text 0.0.4. endpoints: samples of single endpoints too. */
struct page *metrics_page_new(struct routerd *routerd, bool endpoints);
/* JSON: struct router_status of common/messages.h. */
struct page *status_page_new(struct routerd *routerd);
