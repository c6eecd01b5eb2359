/* SPDX-License-Identifier: MIT */
#include "routerd/access.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "routerd/access_format.h"
#include "tests/unit/rows.h"

/* Records in rings, and what becomes of them in a file. */

static struct http1_slice slice(const char *s)
{
    return (struct http1_slice){ s, s ? strlen(s) : 0 };
}

static const struct access_record full = {
    .status = 200,
    .protocol = 11,
    .n_retries = 1,
    .tls_version = 0x0304,
    .tls_cipher = 0x1301,
    .wall_us = 1795243435123456,
    .duration_us = 1234567,
    .first_byte_us = 20,
    .bytes_in = 3,
    .bytes_out = 4096,
};

static const char *const full_texts[ACCESS_TEXT_MAX_] = {
    [ACCESS_PEER] = "2001:db8::1",
    [ACCESS_METHOD] = "GET",
    [ACCESS_HOST] = "www.example.com",
    [ACCESS_TARGET] = "/a?b=c",
    [ACCESS_REQUEST_ID] = "r1",
    [ACCESS_TRACE_ID] = "t1",
    [ACCESS_AGENT] = "curl/8",
    [ACCESS_REFERER] = "https://example.com/",
    [ACCESS_RELEASE] = "web@0.2.2",
    [ACCESS_ENDPOINT] = "3f9a12c0",
    [ACCESS_REASON] = "timed out",
};

/* One record through a ring, as a line. */
static void format(
    enum access_format format, const struct access_record *record, const char *const *texts, char *line)
{
    struct access_ring *ring = access_ring_new(ACCESS_JOURNAL_RING);
    struct http1_slice slices[ACCESS_TEXT_MAX_];
    for (int i = 0; i < ACCESS_TEXT_MAX_; i++)
        slices[i] = slice(texts[i]);
    assert_true(access_put(ring, record, slices));
    size_t n = access_format_line(format, access_peek(ring), line);
    access_take(ring);
    assert_null(access_peek(ring));
    assert_in_range(n, 1, ACCESS_LINE_MAX - 1);
    line[n] = '\0';
    access_ring_free(ring);
}

static void a_record_is_a_line(void **state)
{
    static char line[ACCESS_LINE_MAX + 1];
    format(ACCESS_JSON, &full, full_texts, line);
    assert_string_equal(line,
        "{\"time\":\"2026-11-21T06:43:55.123456Z\",\"peer\":\"2001:db8::1\",\"method\":\"GET\","
        "\"host\":\"www.example.com\",\"target\":\"/a?b=c\",\"protocol\":\"HTTP/1.1\",\"status\":200,"
        "\"bytes_in\":3,\"bytes_out\":4096,\"duration_s\":1.234567,\"first_byte_s\":0.000020,"
        "\"service\":\"web\",\"version\":\"0.2.2\",\"endpoint\":\"3f9a12c0\",\"retries\":1,"
        "\"request_id\":\"r1\",\"trace_id\":\"t1\",\"tls_version\":\"TLSv1.3\","
        "\"tls_cipher\":\"TLS_AES_128_GCM_SHA256\",\"user_agent\":\"curl/8\","
        "\"referer\":\"https://example.com/\",\"reason\":\"timed out\"}\n");
    format(ACCESS_COMBINED, &full, full_texts, line);
    assert_string_equal(line,
        "2001:db8::1 - - [21/Nov/2026:06:43:55 +0000] \"GET /a?b=c HTTP/1.1\" 200 4096 "
        "\"https://example.com/\" \"curl/8\"\n");
}

/* Refused before anything of it was understood, or left by its client. */
static void what_is_not_known_is_left_out(void **state)
{
    static char line[ACCESS_LINE_MAX + 1];
    static const struct access_record record = { .wall_us = 1795243435000000, .first_byte_us = -1 };
    const char *const texts[ACCESS_TEXT_MAX_] = { [ACCESS_PEER] = "10.0.0.1" };
    format(ACCESS_JSON, &record, texts, line);
    assert_string_equal(line,
        "{\"time\":\"2026-11-21T06:43:55.000000Z\",\"peer\":\"10.0.0.1\",\"status\":499,\"bytes_in\":0,"
        "\"bytes_out\":0,\"duration_s\":0.000000}\n");
    format(ACCESS_COMBINED, &record, texts, line);
    assert_string_equal(line, "10.0.0.1 - - [21/Nov/2026:06:43:55 +0000] \"-\" 499 0 \"-\" \"-\"\n");
}

static void whatever_a_client_sends_stays_inside_its_field(void **state)
{
    static const struct {
        const char *sent, *json, *combined;
    } rows[] = {
        { "a\"b", "a\"b", "a\\x22b" },
        { "a\\b", "a\\b", "a\\x5cb" },
        { "tab\there", "tab\there", "tab\\x09here" },
        { "line\nend", "line\nend", "line\\x0aend" },
        { "\x7f", "\x7f", "\\x7f" },
        { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\\xc3\\xbc\\xc3\\x9f" },
        { "bad\xff", "bad\xef\xbf\xbd", "bad\\xff" },
        { "cut\xe2\x82", "cut\xef\xbf\xbd\xef\xbf\xbd", "cut\\xe2\\x82" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\\xed\\xa0\\x80" },
    };
    static char line[ACCESS_LINE_MAX + 1], wanted[256];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *texts[ACCESS_TEXT_MAX_] = { [ACCESS_AGENT] = rows[i].sent };
        struct error err;
        format(ACCESS_JSON, &full, texts, line);
        struct json *json = json_parse(line, strlen(line), NULL, &err);
        if (!json)
            fail_msg("%s: %s", line, err.text);
        assert_string_equal(json_string(json_get(json, "user_agent")), rows[i].json);
        assert_int_equal(strchr(line, '\n') - line, strlen(line) - 1);
        json_free(json);
        format(ACCESS_COMBINED, &full, texts, line);
        snprintf(wanted, sizeof(wanted), "\"%s\"\n", rows[i].combined);
        assert_string_equal(strrchr(line, ' ') + 1, wanted);
    }
}

static void a_full_ring_drops_and_counts(void **state)
{
    struct access_ring *ring = access_ring_new(4096);
    struct http1_slice texts[ACCESS_TEXT_MAX_] = { 0 };
    int n_put = 0, n_taken = 0;
    texts[ACCESS_TARGET] = slice("/some/path");
    for (int i = 0; i < 1000; i++)
        n_put += access_put(ring, &full, texts);
    assert_in_range(n_put, 10, 999);
    assert_int_equal(access_dropped(ring), 1000 - n_put);
    assert_int_equal(access_dropped(ring), 0);
    for (; access_peek(ring); access_take(ring))
        n_taken++;
    assert_int_equal(n_taken, n_put);
    assert_true(access_put(ring, &full, texts));
    access_ring_free(ring);
}

/* Lengths of all kinds, so that the end of the ring is met everywhere; the reader checks each byte. */
#define RECORDS 20000

static void *put_all(void *arg)
{
    struct access_ring *ring = arg;
    static char letters[1024];
    for (unsigned i = 0; i < RECORDS;) {
        struct http1_slice texts[ACCESS_TEXT_MAX_] = { 0 };
        struct access_record r = full;
        r.bytes_in = i;
        memset(letters, 'a' + i % 26, i % 1000);
        texts[ACCESS_TARGET] = (struct http1_slice){ letters, i % 1000 };
        if (access_put(ring, &r, texts))
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void records_come_out_as_they_went_in(void **state)
{
    struct access_ring *ring = access_ring_new(8192);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, put_all, ring), 0);
    for (unsigned i = 0; i < RECORDS;) {
        const struct access_record *r = access_peek(ring);
        if (!r) {
            sched_yield();
            continue;
        }
        struct http1_slice target = access_text(r, ACCESS_TARGET);
        assert_int_equal(r->bytes_in, i);
        assert_int_equal(target.len, i % 1000);
        for (size_t j = 0; j < target.len; j++) {
            if (target.ptr[j] != (char)('a' + i % 26))
                fail_msg("record %u, byte %zu", i, j);
        }
        access_take(ring);
        i++;
    }
    pthread_join(thread, NULL);
    access_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_a_line),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(whatever_a_client_sends_stays_inside_its_field),
        cmocka_unit_test(a_full_ring_drops_and_counts),
        cmocka_unit_test(records_come_out_as_they_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
