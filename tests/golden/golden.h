/* SPDX-License-Identifier: MIT */
#pragma once

/* One sample per message and document, in the form the project writes it. A file is never edited once its
 * version is released: it shows that what was written then can still be read. */

#include <stdlib.h>

#include "common/mem.h"
#include "common/messages.h"
#include "common/schema.h"
#include "common/statefile.h"
#include "common/table.h"

struct sample {
    const char *what; /* "deploy", "deploy (answer)", "orders" */
    const struct schema *schema;
    char *path;
};

/* Of every message, its answer if it has fields, and every document; the caller frees with samples_free. */
static inline struct sample *samples_list(const char *root, size_t *ret_n)
{
    const struct {
        const char *name;
        const struct schema *schema;
    } documents[] = { { "orders", &orders_schema }, { "report", &report_schema },
        { "table", &table_schema } };
    struct sample *samples = xcalloc(2 * MSG_MAX_ + ARRAY_SIZE(documents), sizeof(*samples));
    size_t n = 0;

    for (int type = 0; type < MSG_MAX_; type++) {
        const struct msg_info *info = msg_by_type((enum msg_type)type);
        if (!info)
            continue;
        samples[n++] = (struct sample){ info->method, info->schema,
            xasprintf("%s/tests/golden/messages/%s.json", root, info->method) };
        if (info->answer)
            samples[n++] = (struct sample){ info->method, info->answer,
                xasprintf("%s/tests/golden/messages/%s.answer.json", root, info->method) };
    }
    for (size_t i = 0; i < ARRAY_SIZE(documents); i++)
        samples[n++] = (struct sample){ documents[i].name, documents[i].schema,
            xasprintf("%s/tests/golden/documents/%s.json", root, documents[i].name) };
    *ret_n = n;
    return samples;
}

static inline void samples_free(struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(samples[i].path);
    free(samples);
}
