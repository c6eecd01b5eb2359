/* SPDX-License-Identifier: MIT */
#include "routerd/trace.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/secret.h"
#include "tests/unit/rows.h"

/* Which ids a request gets, and which of the client's pass. */

#define TRACE   "0af7651916cd43dd8448eb211c80319c"
#define PARENT  "00-" TRACE "-b7ad6b7169203331-01"
#define SPAN    16
#define BIT(id) (UINT64_C(1) << HTTP1_FIELD_##id)

static void only_what_the_standard_allows_is_a_traceparent(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        { PARENT, true },
        { "00-" TRACE "-b7ad6b7169203331-ff", true },
        { "cc-" TRACE "-b7ad6b7169203331-01", true },
        { "cc-" TRACE "-b7ad6b7169203331-01-what comes later", true },
        { "cc-" TRACE "-b7ad6b7169203331-01x", false },
        { PARENT "-more", false },
        { "ff-" TRACE "-b7ad6b7169203331-01", false },
        { "00-00000000000000000000000000000000-b7ad6b7169203331-01", false },
        { "00-" TRACE "-0000000000000000-01", false },
        { "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false },
        { "00-" TRACE "-b7ad6b7169203331-0", false },
        { "00-" TRACE "-b7ad6b7169203331-0g", false },
        { "00_" TRACE "-b7ad6b7169203331-01", false },
        { "00-" TRACE "_b7ad6b7169203331-01", false },
        { "00-" TRACE "-b7ad6b7169203331_01", false },
        { "", false },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (trace_parent_is_valid((struct http1_slice){ rows[i].text, strlen(rows[i].text) }) !=
            rows[i].valid)
            fail_msg("\"%s\" should be %s", rows[i].text, rows[i].valid ? "valid" : "refused");
    }
}

/* Slices point into the result, so it stays. */
static const struct trace *make(const char *fields, const struct trace_policy *policy, bool trusted)
{
    static struct http1_head head;
    static char text[1024];
    struct http1_limits limits = { 0 };
    struct http1_fault fault;
    static const uint64_t seeds[TRACE_SEEDS] = { 1, 2, 3 };
    struct trace_source source;
    static struct trace t;
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    if (http1_request_parse(text, strlen(text), &limits, &head, &fault) != HTTP1_DONE)
        fail_msg("%s: %s", fields, fault.reason);
    trace_source_init(&source, seeds);
    trace_make(&t, &source, policy, &head, trusted);
    return &t;
}

static void the_clients_ids_pass_if_they_are_right_and_believed(void **state)
{
    static const struct trace_policy both = { .request_id = true, .trace = true, .trust = true },
                                     careful = { .request_id = true, .trace = true },
                                     id_only = { .request_id = true };
    static const struct {
        const char *fields;
        const struct trace_policy *policy;
        bool trusted;
        uint64_t drops;
        const char *request_id, *trace_id; /* NULL: a new one; "": none */
    } rows[] = {
        { "", &both, false, BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(TRACESTATE), NULL, NULL },
        { "", &id_only, false, BIT(X_REQUEST_ID), NULL, "" },
        { "traceparent: " PARENT "\r\n", &id_only, false, BIT(X_REQUEST_ID), NULL, "" },
        { "traceparent: " PARENT "\r\ntracestate: a=b\r\n", &both, false, BIT(X_REQUEST_ID), NULL, TRACE },
        { "traceparent: " PARENT "\r\n", &careful, false,
            BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(TRACESTATE), NULL, NULL },
        { "traceparent: " PARENT "\r\n", &careful, true, BIT(X_REQUEST_ID), NULL, TRACE },
        { "traceparent: 00-x\r\ntracestate: a=b\r\n", &both, true,
            BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(TRACESTATE), NULL, NULL },
        { "traceparent: " PARENT "\r\ntraceparent: " PARENT "\r\n", &both, true,
            BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(TRACESTATE), NULL, NULL },
        { "X-Request-Id: from-the-edge.7\r\n", &id_only, true, 0, "from-the-edge.7", "" },
        { "X-Request-Id: from-outside\r\n", &id_only, false, BIT(X_REQUEST_ID), NULL, "" },
        { "X-Request-Id: two words\r\n", &id_only, true, BIT(X_REQUEST_ID), NULL, "" },
        { "X-Request-Id:\r\n", &id_only, true, BIT(X_REQUEST_ID), NULL, "" },
        { "X-Request-Id: a\r\nX-Request-Id: b\r\n", &id_only, true, BIT(X_REQUEST_ID), NULL, "" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct trace *t = make(rows[i].fields, rows[i].policy, rows[i].trusted);
        struct http1_slice got[2] = { t->request_id, t->trace_id };
        const char *wanted[2] = { rows[i].request_id, rows[i].trace_id };
        if (t->drops != rows[i].drops)
            fail_msg("row %zu drops %llx", i, (unsigned long long)t->drops);
        for (int j = 0; j < 2; j++) {
            size_t n = wanted[j] ? strlen(wanted[j]) : TRACE_ID_LEN;
            if (got[j].len != n || (wanted[j] && n > 0 && memcmp(got[j].ptr, wanted[j], n) != 0))
                fail_msg("row %zu, id %d: \"%.*s\"", i, j, (int)got[j].len, got[j].ptr);
        }
    }
}

/* What is added is itself what the standard allows. */
static void new_fields_are_well_formed(void **state)
{
    static const struct trace_policy sampled = { .request_id = true, .trace = true, .sample_of_100 = 100 },
                                     unsampled = { .trace = true };
    const struct trace *t = make("", &sampled, false);
    char id[TRACE_ID_LEN + 1], parent[64];
    char fields[TRACE_FIELDS_MAX + 1] = "";
    memcpy(fields, t->fields, t->fields_len);
    assert_int_equal(sscanf(fields, "X-Request-Id: %32[0-9a-f]\r\ntraceparent: %55s\r\n", id, parent), 2);
    assert_int_equal(strlen(id), TRACE_ID_LEN);
    assert_true(trace_parent_is_valid((struct http1_slice){ parent, strlen(parent) }));
    assert_string_equal(parent + 53, "01");
    assert_memory_equal(t->fields + t->fields_len - 2, "\r\n", 2);
    t = make("", &unsampled, false);
    assert_memory_equal(t->fields + t->fields_len - 4, "00\r\n", 4);
}

/* Every digit in every place. */
static void ids_are_the_numbers_in_hex(void **state)
{
    static const uint64_t numbers[] = { 1, 0x0123456789abcdef, 0xfedcba9876543211, 0xffffffffffffffff,
        0x9a9a9a9a9a9a9a9b, 0x10 };
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct trace_source source;
        char wanted[SPAN + 1];
        const uint64_t seeds[TRACE_SEEDS] = { numbers[i] };
        trace_source_init(&source, seeds);
        snprintf(wanted, sizeof(wanted), "%016llx", (unsigned long long)(numbers[i] | 1));
        assert_memory_equal(source.high, wanted, SPAN);
    }
}

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_LEN);
}

static void ids_never_repeat(void **state)
{
    enum { SOURCES = 4, IDS = 5000 };
    static const struct trace_policy policy = { .request_id = true };
    static char ids[SOURCES * IDS][TRACE_ID_LEN];
    struct http1_head head = { 0 };
    for (int s = 0; s < SOURCES; s++) {
        struct trace_source source;
        uint64_t seeds[TRACE_SEEDS];
        random_bytes(seeds, sizeof(seeds));
        trace_source_init(&source, seeds);
        for (int i = 0; i < IDS; i++) {
            struct trace t;
            trace_make(&t, &source, &policy, &head, false);
            memcpy(ids[s * IDS + i], t.request_id.ptr, TRACE_ID_LEN);
        }
    }
    qsort(ids, SOURCES * IDS, TRACE_ID_LEN, by_text);
    for (int i = 1; i < SOURCES * IDS; i++)
        assert_memory_not_equal(ids[i - 1], ids[i], TRACE_ID_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_the_standard_allows_is_a_traceparent),
        cmocka_unit_test(the_clients_ids_pass_if_they_are_right_and_believed),
        cmocka_unit_test(new_fields_are_well_formed),
        cmocka_unit_test(ids_are_the_numbers_in_hex),
        cmocka_unit_test(ids_never_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
