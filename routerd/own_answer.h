/* SPDX-License-Identifier: MIT */
#pragma once

/* Answers of the router's own: errors, redirects, small files. Made as a parsed head plus content, so that they go to
 * clients of any HTTP version the same way as an endpoint's. Pure. */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/clock.h"
#include "common/http1.h"

#define OWN_ANSWER_TEXT_MAX 512

struct own_answer {
    int status;
    const char *text;                /* one line for people; goes as "503 text" where there is no body */
    const char *reason;              /* for the log; NULL: of 5xx the text, else none */
    int retry_after_s;               /* 0: not said */
    const char *location, *allow;    /* NULL: none */
    const char *body, *content_type; /* NULL: the text, as text/plain */
    size_t body_len;
    void *memory; /* that some of these lie in; freed by who made the answer */
};

/* What the head's fields point to. */
struct own_answer_store {
    char text[OWN_ANSWER_TEXT_MAX], retry_after[16], date[CLOCK_STAMP_MAX];
    int64_t date_s; /* what `date` says */
};

/* What Date says in the answers made from now on; the text is made anew when the second is another one. */
void own_answer_set_time(struct own_answer_store *store, int64_t unix_s);

/* Of content, in answer to that method. */
size_t own_answer_bytes(const struct own_answer *own, enum http1_method method);
/* Fills *head and *content; returns how many parts of content there are (0 or 1). Everything lives as long as `store`
 * and what `own` points to. */
int own_answer_make(const struct own_answer *own, enum http1_method method, struct own_answer_store *store,
    struct http1_head *head, struct iovec *content);
