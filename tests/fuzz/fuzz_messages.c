/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/messages.h"
#include "common/utf8.h"

/* What a schema takes it writes, and takes again as the same. */
static void try_schema(const struct schema *schema, const struct json *root)
{
    struct strbuf first = STRBUF_INIT, pretty = STRBUF_INIT, safe = STRBUF_INIT;
    void *a = xcalloc(1, schema->size), *b = xcalloc(1, schema->size), *c = xcalloc(1, schema->size);
    struct error err = { 0 };

    if (schema_read_json(schema, root, a, NULL, &err) < 0) {
        must(strncmp(err.text, schema->name, strlen(schema->name)) == 0);
        must(utf8_is_valid(err.text, strlen(err.text)));
    } else {
        schema_print(schema, a, &first);
        must(schema_read(schema, first.data, first.len, b, &err) == 0);
        must(schema_equal(schema, a, b));
        schema_print_pretty(schema, b, &pretty);
        schema_clear(schema, b);
        must(schema_read(schema, pretty.data, pretty.len, b, &err) == 0);
        schema_copy(schema, b, c);
        must(schema_equal(schema, a, c));
        schema_print_safe(schema, c, &safe);
        must(utf8_is_valid(safe.data, safe.len));
    }
    schema_clear(schema, a);
    schema_clear(schema, b);
    schema_clear(schema, c);
    free(a);
    free(b);
    free(c);
    strbuf_done(&first);
    strbuf_done(&pretty);
    strbuf_done(&safe);
}

/* Every input is tried as every message, answer and document. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root = json_parse((const char *)data, size, NULL, NULL);

    if (!root)
        return 0;
    for (int type = 0; type < MSG_MAX_; type++) {
        const struct msg_info *info = msg_by_type((enum msg_type)type);
        if (!info)
            continue;
        try_schema(info->schema, root);
        if (info->answer)
            try_schema(info->answer, root);
    }
    try_schema(&orders_schema, root);
    try_schema(&report_schema, root);
    json_free(root);
    return 0;
}
