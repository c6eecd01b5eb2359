/* SPDX-License-Identifier: MIT */
#include "common/table_diff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/sha256.h"
#include "common/strv.h"

#define SUM_DIGITS   32
#define FILTER_WORDS 64

/* --- the shape ------------------------------------------------------------------------------------------- */

static bool is_sum(const char *s)
{
    return strlen(s) == SUM_DIGITS && strspn(s, "0123456789abcdef") == SUM_DIGITS;
}

/* clang-format off */
static const struct field diff_fields[] = {
    F_INT(struct table_diff,    format, FIELD_REQUIRED, 1, TABLE_DIFF_FORMAT),
    F_STRING(struct table_diff, fleet,  0, .max = 64),
    F_INT(struct table_diff,    base,   FIELD_REQUIRED, 0, 0),
    F_INT(struct table_diff,    epoch,  FIELD_REQUIRED, 0, 0),
    F_STRING(struct table_diff, sum,    FIELD_REQUIRED, .check = is_sum, .must = "32 hex digits"),
    F_STRV(struct table_diff,   routes_removed,   0, .max = TABLE_ROUTES_MAX),
    F_LIST(struct table_diff,   routes,           0, &table_route_schema, .max = TABLE_ROUTES_MAX),
    F_STRV(struct table_diff,   services_removed, 0, .check = name_is_service,
        .must = table_service_must, .max = TABLE_ROUTES_MAX),
    F_LIST(struct table_diff,   services,         0, &table_service_schema, .max = TABLE_ROUTES_MAX),
};
/* clang-format on */

static const struct schema diff_schema = SCHEMA("diff", struct table_diff, diff_fields, true);

/* Routes and services alike: rows with a key and a sum. */
struct kind {
    const char *what;
    const struct schema *schema;
    size_t size, sum_offset;
    void (*print_key)(const void *row, struct strbuf *out);
    const char *(*begin)(const void *row); /* what the key begins with, up to a "/" */
};

/* As table_route_key() of table.c says it, without memory of its own. */
static void print_route_key(const void *row, struct strbuf *out)
{
    const struct table_route *route = row;
    size_t len = route->path ? strlen(route->path) : 0;

    if (len > 0 && route->path[len - 1] == '/')
        len--;
    strbuf_adds(out, route->host);
    strbuf_add(out, route->path ? route->path : "", len);
}

static void print_service_key(const void *row, struct strbuf *out)
{
    strbuf_adds(out, ((const struct table_service *)row)->name);
}

static const char *begin_of_route(const void *row)
{
    return ((const struct table_route *)row)->host;
}

static const char *begin_of_service(const void *row)
{
    return ((const struct table_service *)row)->name;
}

static const struct kind route_kind = { "route", &table_route_schema, sizeof(struct table_route),
    offsetof(struct table_route, sum), print_route_key, begin_of_route };
static const struct kind service_kind = { "service", &table_service_schema, sizeof(struct table_service),
    offsetof(struct table_service, sum), print_service_key, begin_of_service };

/* Rows of one kind, where a table or a diff has them. */
struct rows {
    const struct kind *kind;
    void *items; /* &table->routes, …: a pointer of the row's type, hence read and set by memcpy */
    size_t *n;
    char ***removed; /* of a diff */
};

static struct rows rows_of(const struct kind *kind, void *items, size_t *n, char ***removed)
{
    return (struct rows){ kind, items, n, removed };
}

static char *get_items(const struct rows *rows)
{
    char *items;

    memcpy(&items, rows->items, sizeof(items));
    return items;
}

static void set_items(const struct rows *rows, void *items)
{
    memcpy(rows->items, &items, sizeof(items));
}

static void *row_at(const struct rows *rows, size_t i)
{
    return get_items(rows) + i * rows->kind->size;
}

static struct table_sum *sum_of(const struct kind *kind, void *row)
{
    return (struct table_sum *)(void *)((char *)row + kind->sum_offset);
}

/* clang-format off */
#define ROUTES_OF(t)   rows_of(&route_kind, &(t)->routes, &(t)->n_routes, NULL)
#define SERVICES_OF(t) rows_of(&service_kind, &(t)->services, &(t)->n_services, NULL)
/* clang-format on */

/* --- sums ------------------------------------------------------------------------------------------------- */

/* Rows may stand in any order, so theirs are added up; a sum is 0 only where there is no row. */
static void sum_add(struct table_sum *to, const struct table_sum *sum)
{
    to->words[0] += sum->words[0];
    to->words[1] += sum->words[1];
}

static void sum_take(struct table_sum *from, const struct table_sum *sum)
{
    from->words[0] -= sum->words[0];
    from->words[1] -= sum->words[1];
}

static void sum_print(const struct table_sum *sum, char text[SUM_DIGITS + 1])
{
    snprintf(text, SUM_DIGITS + 1, "%016" PRIx64 "%016" PRIx64, sum->words[0], sum->words[1]);
}

static void sum_row(const struct kind *kind, void *row, struct strbuf *text)
{
    struct sha256 sha;
    unsigned char digest[SHA256_SIZE];
    struct table_sum *sum = sum_of(kind, row);

    if (!table_sum_is_empty(sum))
        return;
    strbuf_clear(text);
    strbuf_adds(text, kind->what);
    schema_print(kind->schema, row, text);
    sha256_init(&sha);
    sha256_update(&sha, text->data, text->len);
    sha256_final(&sha, digest);
    /* Bytes in one order on all machines. */
    for (size_t i = 0; i < 2 * sizeof(uint64_t); i++)
        sum->words[i / 8] = sum->words[i / 8] << 8 | digest[i];
    sum->words[0] |= (uint64_t)table_sum_is_empty(sum);
}

static void sum_all(const struct rows *rows, struct table_sum *total, struct strbuf *text)
{
    for (size_t i = 0; i < *rows->n; i++) {
        sum_row(rows->kind, row_at(rows, i), text);
        sum_add(total, sum_of(rows->kind, row_at(rows, i)));
    }
}

void table_sum_rows(struct table *table)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct rows routes = rows_of(&route_kind, &table->routes, &table->n_routes, NULL);
    struct rows services = rows_of(&service_kind, &table->services, &table->n_services, NULL);

    table->sum = (struct table_sum){ { 0, 0 } };
    sum_all(&routes, &table->sum, &text);
    sum_all(&services, &table->sum, &text);
}

static void take_rows(const struct rows *from, const struct rows *to)
{
    for (size_t i = 0; i < *from->n && i < *to->n; i++)
        if (schema_equal(from->kind->schema, row_at(from, i), row_at(to, i)))
            *sum_of(to->kind, row_at(to, i)) = *sum_of(from->kind, row_at(from, i));
}

void table_sum_as(struct table *table, const struct table *like)
{
    struct table *from = (struct table *)(uintptr_t)like;
    struct rows from_routes = ROUTES_OF(from), from_services = SERVICES_OF(from);
    struct rows routes = ROUTES_OF(table), services = SERVICES_OF(table);

    take_rows(&from_routes, &routes);
    take_rows(&from_services, &services);
    table_sum_rows(table);
}

/* --- making ----------------------------------------------------------------------------------------------- */

static const char *key_of(const struct rows *rows, size_t i, struct strbuf *text)
{
    strbuf_clear(text);
    rows->kind->print_key(row_at(rows, i), text);
    return strbuf_str(text);
}

static void add_copy(const struct rows *to, size_t *cap, const void *row)
{
    set_items(to, xgrow(get_items(to), *to->n, cap, to->kind->size));
    void *copy = row_at(to, (*to->n)++);
    schema_copy(to->kind->schema, row, copy);
    *sum_of(to->kind, copy) = *sum_of(to->kind, (void *)(uintptr_t)row);
}

/* Most rows stay where they are. */
static bool is_same_at(const struct rows *a, const struct rows *b, size_t i)
{
    return i < *a->n && i < *b->n &&
        table_sum_is_equal(sum_of(a->kind, row_at(a, i)), sum_of(b->kind, row_at(b, i)));
}

static void make_rows(const struct rows *base, const struct rows *next, const struct rows *ret)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct map *before = map_new(NULL);
    size_t cap = 0;

    for (size_t i = 0; i < *base->n; i++)
        if (!is_same_at(base, next, i))
            map_set(before, key_of(base, i, &text), row_at(base, i));
    for (size_t i = 0; i < *next->n; i++) {
        if (is_same_at(base, next, i))
            continue;
        void *old = map_steal(before, key_of(next, i, &text)), *row = row_at(next, i);
        if (!old || !table_sum_is_equal(sum_of(base->kind, old), sum_of(next->kind, row)))
            add_copy(ret, &cap, row);
    }
    map_for_each (it, before)
        strv_push(ret->removed, it.key);
    map_free(before);
}

void table_diff_make(const struct table *base_table, const struct table *next_table, struct table_diff *ret)
{
    struct table *base = (struct table *)(uintptr_t)base_table, *next = (struct table *)(uintptr_t)next_table;
    struct rows base_routes = ROUTES_OF(base), next_routes = ROUTES_OF(next);
    struct rows base_services = SERVICES_OF(base), next_services = SERVICES_OF(next);
    char sum[SUM_DIGITS + 1];

    sum_print(&next->sum, sum);
    *ret = (struct table_diff){ .format = TABLE_DIFF_FORMAT,
        .fleet = xstrdup(next->fleet),
        .base = base->epoch,
        .epoch = next->epoch,
        .sum = xstrdup(sum) };
    struct rows routes = rows_of(&route_kind, &ret->routes, &ret->n_routes, &ret->routes_removed);
    struct rows services = rows_of(&service_kind, &ret->services, &ret->n_services, &ret->services_removed);
    make_rows(&base_routes, &next_routes, &routes);
    make_rows(&base_services, &next_services, &services);
}

size_t table_diff_size(const struct table_diff *diff)
{
    return diff->n_routes + diff->n_services + strv_len(diff->routes_removed) +
        strv_len(diff->services_removed);
}

void table_diff_print(const struct table_diff *diff, struct strbuf *out)
{
    schema_print(&diff_schema, diff, out);
}

void table_diff_clear(struct table_diff *diff)
{
    schema_clear(&diff_schema, diff);
}

/* --- reading ----------------------------------------------------------------------------------------------- */

int table_diff_read(const char *text, size_t len, struct table_diff *ret, struct error *err)
{
    int result = schema_read(&diff_schema, text, len, ret, err);

    if (result < 0)
        return result;
    struct table part = { .fleet = ret->fleet, .services = ret->services, .n_services = ret->n_services };
    result = table_check_services(&part, err);
    for (size_t i = 0; i < ret->n_routes && result == 0; i++) {
        _cleanup_(free_ptr) char *key = table_route_key(&ret->routes[i]);
        result = table_route_check(&ret->routes[i], key, err);
        if (result < 0)
            error_prefix(err, "diff");
    }
    if (result < 0) {
        table_diff_clear(ret);
        return result;
    }
    part.routes = ret->routes;
    part.n_routes = ret->n_routes;
    table_sum_rows(&part);
    return 0;
}

/* --- applying ---------------------------------------------------------------------------------------------- */

/* What the diff names, and where the table has it. */
struct target {
    size_t at; /* SIZE_MAX: nowhere */
};

struct plan {
    struct rows table, diff;
    struct target *removed, *rows; /* as diff.removed and diff.items */
    size_t n_removed;
    struct map *by_key; /* → one of the above */
    uint64_t begins[FILTER_WORDS];
};

/* The first look at a row of a large table: does any key begin as its own? */
static unsigned filter_bit(const char *begin)
{
    uint32_t h = 2166136261;

    for (; *begin && *begin != '/'; begin++)
        h = (h ^ (unsigned char)*begin) * 16777619;
    return (h ^ h >> 15) % (FILTER_WORDS * 64);
}

static int plan_name(struct plan *plan, const char *key, struct target *target, struct error *err)
{
    target->at = SIZE_MAX;
    if (map_get(plan->by_key, key))
        return error_set(err, -EINVAL, "diff: it names the %s %s twice", plan->diff.kind->what, key);
    map_set(plan->by_key, key, target);
    unsigned bit = filter_bit(key);
    plan->begins[bit / 64] |= UINT64_C(1) << bit % 64;
    return 0;
}

static int plan_make(struct plan *plan, const struct rows *table, const struct rows *diff, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    int result = 0;

    *plan = (struct plan){ .table = *table, .diff = *diff, .n_removed = strv_len(*diff->removed) };
    plan->removed = xcalloc(plan->n_removed + 1, sizeof(*plan->removed));
    plan->rows = xcalloc(*diff->n + 1, sizeof(*plan->rows));
    plan->by_key = map_new(NULL);
    for (size_t i = 0; i < plan->n_removed && result == 0; i++)
        result = plan_name(plan, (*diff->removed)[i], &plan->removed[i], err);
    for (size_t i = 0; i < *diff->n && result == 0; i++)
        result = plan_name(plan, key_of(diff, i, &text), &plan->rows[i], err);
    for (size_t i = 0; i < *table->n && result == 0 && map_size(plan->by_key) > 0; i++) {
        unsigned bit = filter_bit(table->kind->begin(row_at(table, i)));
        struct target *target = plan->begins[bit / 64] & UINT64_C(1) << bit % 64
            ? map_get(plan->by_key, key_of(table, i, &text))
            : NULL;
        if (target)
            target->at = i;
    }
    for (size_t i = 0; i < plan->n_removed && result == 0; i++)
        if (plan->removed[i].at == SIZE_MAX)
            result = error_set(
                err, -EINVAL, "diff: there is no %s %s to remove", diff->kind->what, (*diff->removed)[i]);
    return result;
}

static void plan_done(struct plan *plan)
{
    free(plan->removed);
    free(plan->rows);
    map_free(plan->by_key);
}

static int from_the_end(const void *a, const void *b)
{
    const struct target *x = a, *y = b;

    return (x->at < y->at) - (x->at > y->at);
}

static void swap_rows(char *a, char *b, size_t size)
{
    char kept[sizeof(struct table_route) > sizeof(struct table_service) ? sizeof(struct table_route)
                                                                        : sizeof(struct table_service)];

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

/* Rows that are gone leave their place to the last one. Can't fail; the diff is what leads back afterwards. */
static void plan_do(struct plan *plan, struct table_sum *total)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    const struct rows *table = &plan->table, *diff = &plan->diff;
    size_t size = table->kind->size, n_back = 0, n_diff = *diff->n;
    char *back = xcalloc(n_diff + plan->n_removed + 1, size);
    char **added = NULL;

    set_items(table, xrealloc(get_items(table), (*table->n + n_diff + 1) * size));
    for (size_t i = 0; i < n_diff; i++) {
        sum_add(total, sum_of(diff->kind, row_at(diff, i)));
        if (plan->rows[i].at == SIZE_MAX)
            continue;
        swap_rows(row_at(table, plan->rows[i].at), row_at(diff, i), size);
        sum_take(total, sum_of(diff->kind, row_at(diff, i)));
        memcpy(back + n_back++ * size, row_at(diff, i), size);
    }
    qsort(plan->removed, plan->n_removed, sizeof(*plan->removed), from_the_end);
    for (size_t i = 0; i < plan->n_removed; i++) {
        char *row = row_at(table, plan->removed[i].at), *last = row_at(table, --*table->n);
        sum_take(total, sum_of(table->kind, row));
        memcpy(back + n_back++ * size, row, size);
        memmove(row, last, size);
    }
    for (size_t i = 0; i < n_diff; i++)
        if (plan->rows[i].at == SIZE_MAX) {
            strv_push(&added, key_of(diff, i, &text));
            memcpy(row_at(table, (*table->n)++), row_at(diff, i), size);
        }
    free(get_items(diff));
    strv_free(*diff->removed);
    set_items(diff, back);
    *diff->n = n_back;
    *diff->removed = added;
}

static int check_base(const struct table *table, const struct table_diff *diff, struct error *err)
{
    if (table->epoch != diff->base)
        return error_set(err, -ESTALE, "diff: it changes epoch %" PRId64 ", and this is %" PRId64, diff->base,
            table->epoch);
    if (strcmp(table->fleet ? table->fleet : "", diff->fleet ? diff->fleet : "") != 0)
        return error_set(err, -ESTALE, "diff: it is for another fleet");
    return 0;
}

static int apply_unchecked(struct table *table, struct table_diff *diff, struct error *err)
{
    struct rows table_routes = ROUTES_OF(table), table_services = SERVICES_OF(table);
    struct rows routes = rows_of(&route_kind, &diff->routes, &diff->n_routes, &diff->routes_removed);
    struct rows services =
        rows_of(&service_kind, &diff->services, &diff->n_services, &diff->services_removed);
    struct plan route_plan, service_plan = { .by_key = NULL };
    char before[SUM_DIGITS + 1];
    int result = plan_make(&route_plan, &table_routes, &routes, err);

    if (result == 0)
        result = plan_make(&service_plan, &table_services, &services, err);
    if (result == 0) {
        sum_print(&table->sum, before);
        plan_do(&route_plan, &table->sum);
        plan_do(&service_plan, &table->sum);
        table->epoch = diff->epoch;
        diff->epoch = diff->base;
        diff->base = table->epoch;
        str_set(&diff->sum, before);
    }
    plan_done(&route_plan);
    plan_done(&service_plan);
    return result;
}

int table_diff_apply(struct table *table, struct table_diff *diff, struct error *err)
{
    _cleanup_(free_ptr) char *wanted = xstrdup(diff->sum);
    char sum[SUM_DIGITS + 1];
    int result = check_base(table, diff, err);

    if (result == 0)
        result = apply_unchecked(table, diff, err);
    if (result < 0)
        return result;
    sum_print(&table->sum, sum);
    if (strcmp(sum, wanted) == 0 && table->n_routes <= TABLE_ROUTES_MAX &&
        table->n_services <= TABLE_ROUTES_MAX)
        return 0;
    struct error ignored;
    if (apply_unchecked(table, diff, &ignored) < 0)
        abort(); /* what was just done can be undone */
    return error_set(err, -EBADMSG, "diff: with it the table is not what the hub has");
}
