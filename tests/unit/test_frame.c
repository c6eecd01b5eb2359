/* SPDX-License-Identifier: MIT */
#include "common/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/mem.h"

struct frame_case {
    const char *name;
    const char *bytes;
    size_t len;
    size_t max;
    int result;
    size_t frame_len;
    const char *text; /* part of the refusal */
};

#define BYTES(s) (s), sizeof(s) - 1

/* clang-format off */
static const struct frame_case cases[] = {
    { "nothing yet",              BYTES(""),                        10,      0,         0, NULL },
    { "half a header",            BYTES("\0\0\0"),                  10,      0,         0, NULL },
    { "header alone",             BYTES("\0\0\0\2"),                10,      0,         0, NULL },
    { "one byte missing",         BYTES("\0\0\0\2{"),               10,      0,         0, NULL },
    { "whole",                    BYTES("\0\0\0\2{}"),              10,      1,         2, NULL },
    { "whole, more behind",       BYTES("\0\0\0\2{}\0\0"),          10,      1,         2, NULL },
    { "exactly the limit",        BYTES("\0\0\0\3{ }"),             3,       1,         3, NULL },
    { "empty",                    BYTES("\0\0\0\0"),                10,      -EPROTO,   0, "empty" },
    { "one too long",             BYTES("\0\0\0\4{  }"),            3,       -EMSGSIZE, 0, "4 bytes; at most 3" },
    { "too long by header alone", BYTES("\0\1\0\0"),                65535,   -EMSGSIZE, 0, "65536 bytes; at most 65535" },
    { "high bit of each byte",    BYTES("\200\200\200\200"),        1048576, -EMSGSIZE, 0, "2155905152 bytes" },
    { "an HTTP client",           BYTES("GET / HTTP/1.1\r\n\r\n"),  1048576, -EMSGSIZE, 0, "1195725856 bytes" },
};
/* clang-format on */

static void peek_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct frame_case *c = &cases[i];
        struct error err = { 0 };
        size_t len = 0;
        int r = frame_peek(c->bytes, c->len, c->max, &len, &err);
        if (r != c->result || len != c->frame_len)
            fail_msg("%s: got %d, length %zu", c->name, r, len);
        if (c->text && !strstr(err.text, c->text))
            fail_msg("%s: says \"%s\"", c->name, err.text);
    }
}

static void header_reads_back(void **state)
{
    static const size_t lengths[] = { 1, 255, 256, 65535, 65536, 1048576 };
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        char *frame = xcalloc(1, FRAME_HEADER_LEN + lengths[i]);
        frame_header((unsigned char *)frame, lengths[i]);
        size_t len = 0;
        assert_int_equal(
            frame_peek(frame, FRAME_HEADER_LEN + lengths[i], 1048576, &len, &(struct error){ 0 }), 1);
        assert_int_equal(len, lengths[i]);
        free(frame);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peek_table),
        cmocka_unit_test(header_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
