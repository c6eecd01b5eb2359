/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"

static size_t walk(const struct json *v, size_t size)
{
    size_t offset, len, n = 1, items = 0;

    json_span(v, &offset, &len);
    must(len > 0 && offset + len <= size && json_line(v) >= 1);
    if (json_string(v))
        must(strlen(json_string(v)) == json_string_len(v) &&
            utf8_is_valid(json_string(v), json_string_len(v)));
    json_for_each(item, v)
    {
        items++;
        if (json_type(v) == JSON_OBJECT)
            must(json_get(v, json_key(item)) == item);
        n += walk(item, size);
    }
    must(items == json_size(v));
    return n;
}

/* What is taken is consistent, and a value cut out of the text means the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = { 0 };
    int line = 0;
    struct json *root = json_parse((const char *)data, size, &line, &err);

    if (!root) {
        must(line >= 1 && err.text[0] && utf8_is_valid(err.text, strlen(err.text)));
        return 0;
    }
    size_t n = walk(root, size), offset, len;
    json_span(root, &offset, &len);
    struct json *again = json_parse((const char *)data + offset, len, NULL, &err);
    must(again && walk(again, len) == n);
    json_free(again);
    json_free(root);
    return 0;
}
