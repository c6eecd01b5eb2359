/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <string.h>

#include "common/schema.h"
#include "common/table_diff.h"

/* A diff against a table that is always the same. What is refused changes nothing; what leads somewhere, as by its own sum
 * it rarely does, leads back. */

static const char base_text[] =
    "{\"format\":1,\"fleet\":\"f\",\"epoch\":1,\"routes\":[{\"host\":\"a.b\",\"service\":\"web\"},"
    "{\"host\":\"a.b\",\"path\":\"/"
    "x\",\"service\":\"web\"},{\"host\":\"*.c\",\"service\":\"two\",\"https\":true}],"
    "\"services\":[{\"name\":\"web\",\"releases\":[{\"version\":\"1.0.0\"}]},{\"name\":\"two\"}]}";

static void load(struct table *ret)
{
    struct error err;

    must(table_read(base_text, sizeof(base_text) - 1, ret, &err) == 0);
    table_sum_rows(ret);
}

static void apply_as_it_is(struct table_diff *diff)
{
    struct table table, same, next;
    struct table_diff made;
    struct error err;

    load(&table);
    load(&same);
    if (table_diff_apply(&table, diff, &err) < 0) {
        must(err.text[0]);
        must(table_sum_is_equal(&table.sum, &same.sum) && table.epoch == same.epoch);
        must(table.n_routes == same.n_routes && table.n_services == same.n_services);
    } else {
        schema_copy(&table_schema, &table, &next);
        table_sum_rows(&next);
        must(table_sum_is_equal(&table.sum, &next.sum));
        table_diff_make(&same, &next, &made);
        must(table_diff_size(&made) <= table.n_routes + table.n_services + same.n_routes + same.n_services);
        table_diff_clear(&made);
        must(table_diff_apply(&table, diff, &err) == 0);
        must(table_sum_is_equal(&table.sum, &same.sum));
        table_clear(&next);
    }
    table_clear(&table);
    table_clear(&same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf text = STRBUF_INIT;
    struct table_diff diff, again;
    struct error err = { 0 };

    if (table_diff_read((const char *)data, size, &diff, &err) < 0) {
        must(err.text[0]);
        return 0;
    }
    table_diff_print(&diff, &text);
    must(table_diff_read(text.data, text.len, &again, &err) == 0);
    apply_as_it_is(&diff);
    table_diff_clear(&diff);
    table_diff_clear(&again);
    strbuf_done(&text);
    return 0;
}
