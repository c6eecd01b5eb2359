/* SPDX-License-Identifier: MIT */
#include "hubd/tables.h"

#include <string.h>

#include "common/table_diff.h"
#include "hubd/routes.h"

void tables_done(struct tables *tables)
{
    table_clear(&tables->base);
    table_clear(&tables->next);
    strbuf_done(&tables->text);
    strbuf_done(&tables->diff);
    *tables = (struct tables){ .has_base = false };
}

static void build(const struct txn *view, int64_t epoch, struct table *ret)
{
    routes_build(view, epoch, ret);
    table_sum_rows(ret);
}

/* After a start of the hub the state says what was decided; what it says can differ from what was sent in rows that
 * nobody asks for, and then the router that refuses the diff gets the whole. */
static void take_base(struct tables *tables, const struct txn *view, int64_t decided)
{
    table_clear(&tables->base);
    if (tables->has_next && tables->next.epoch == decided) {
        tables->base = tables->next;
        tables->next = (struct table){ 0 };
    } else {
        struct txn *state = txn_new(txn_state(view));
        build(state, decided, &tables->base);
        txn_free(state);
    }
    tables->has_base = true;
}

void tables_plan(struct tables *tables, const struct txn *view, int64_t decided, int64_t epoch)
{
    if (!tables->has_base || tables->base.epoch != decided)
        take_base(tables, view, decided);
    table_clear(&tables->next);
    routes_build(view, epoch, &tables->next);
    table_sum_as(&tables->next, &tables->base);
    tables->has_next = true;
    tables->no_diff = false;
    strbuf_done(&tables->text);
    strbuf_done(&tables->diff);
}

bool tables_text(struct tables *tables, int64_t epoch, struct strbuf *ret)
{
    if (!tables->has_next || tables->next.epoch != epoch)
        return false;
    if (tables->text.len == 0)
        table_print(&tables->next, &tables->text);
    strbuf_add(ret, tables->text.data, tables->text.len);
    return true;
}

static void make_diff(struct tables *tables)
{
    struct table_diff diff;
    table_diff_make(&tables->base, &tables->next, &diff);
    size_t size = table_diff_size(&diff), rows = tables->next.n_routes + tables->next.n_services;
    tables->no_diff = size > TABLES_DIFF_SMALL && size > rows / TABLES_DIFF_PART;
    if (!tables->no_diff)
        table_diff_print(&diff, &tables->diff);
    table_diff_clear(&diff);
}

bool tables_diff(struct tables *tables, int64_t base, int64_t epoch, struct strbuf *ret)
{
    if (!tables->has_base || !tables->has_next || tables->base.epoch != base || tables->next.epoch != epoch)
        return false;
    if (tables->diff.len == 0 && !tables->no_diff)
        make_diff(tables);
    if (tables->no_diff)
        return false;
    strbuf_add(ret, tables->diff.data, tables->diff.len);
    return true;
}

bool tables_need_2(const struct tables *tables, int64_t epoch)
{
    return tables->has_next && tables->next.epoch == epoch && table_needs_2(&tables->next);
}
