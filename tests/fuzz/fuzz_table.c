/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/table.h"

/* Ranges of a service are nothing, or everything exactly once: their widths then add up. */
static void check_ranges(const struct table_service *service)
{
    int64_t sum = 0;

    for (size_t i = 0; i < service->n_releases; i++)
        for (size_t k = 0; k < service->releases[i].n_ranges; k++) {
            const struct table_range *range = &service->releases[i].ranges[k];
            must(range->first >= 0 && range->first <= range->last && range->last <= UINT32_MAX);
            sum += range->last - range->first + 1;
        }
    must(sum == 0 || sum == INT64_C(1) << 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    struct error err = { 0 };
    struct table table, again;

    if (table_read((const char *)data, size, &table, &err) < 0) {
        must(err.text[0]);
        return 0;
    }
    for (size_t i = 0; i < table.n_services; i++) {
        check_ranges(&table.services[i]);
        for (size_t k = 0; k < table.services[i].n_releases; k++)
            for (size_t e = 0; e < table.services[i].releases[k].n_endpoints; e++)
                must(table.services[i].releases[k].endpoints[e].id);
    }
    table_print(&table, &first);
    must(table_read(first.data, first.len, &again, &err) == 0);
    table_print(&again, &second);
    must(strcmp(first.data, second.data) == 0);
    table_clear(&table);
    table_clear(&again);
    strbuf_done(&first);
    strbuf_done(&second);
    return 0;
}
