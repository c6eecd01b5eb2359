/* SPDX-License-Identifier: MIT */
#pragma once

/* One end of a link in a test: a real link on one side of a socketpair, with handlers of a few messages, that
 * writes down what happens to it. The other side is another one, or raw bytes. */

#include <stdbool.h>
#include <stdint.h>

#include "common/link.h"
#include "common/loop.h"

struct end {
    struct link *link;
    int connected, closed, drained;
    char reason[512];
    int calls;          /* handled */
    struct reply *kept; /* of "status", when keep is set */
    bool keep, close_in_handler, free_in_handler, free_in_closed;
    int check; /* what check_hello returns */
    int answers, result;
    enum error_kind kind;
    char text[512];
};

/* Runs the loop until nothing more happens at once. */
void end_settle(struct loop *loop);
/* Makes e->link on fd (taken); on the server's side the peer has this role and the name "ops". */
struct link *end_link(struct loop *loop, struct end *e, int fd, bool is_server, enum role role);
/* Calls "status"; its answer is written down. */
int64_t end_ask(struct end *e, const char *target, int64_t timeout_ms);
/* For link_call: writes down the answer, of status with the first row's summary; of others without a look at it. */
void end_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer);
void end_answer_other(void *arg, int result, enum error_kind kind, const char *reason, const void *answer);
