/* SPDX-License-Identifier: MIT */
#pragma once

/* The JSON-RPC 2.0 object around each message: call, notice, result or error. What is inside stays text here;
 * schema.h reads it. Pure. */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"

enum envelope_kind { ENVELOPE_CALL, ENVELOPE_NOTICE, ENVELOPE_RESULT, ENVELOPE_ERROR };

struct envelope {
    enum envelope_kind kind;
    int64_t id; /* calls, results, errors; both sides count from 1 for their own calls. Errors: 0 = of none */
    char *method;  /* calls, notices */
    char *body;    /* params, result or error.data as JSON text; "{}" if absent */
    int64_t code;  /* errors */
    char *message; /* errors */
};

_must_check_ int envelope_read(const char *text, size_t len, struct envelope *ret, struct error *err);
void envelope_print(const struct envelope *envelope, struct strbuf *out);
void envelope_done(struct envelope *envelope);
