/* SPDX-License-Identifier: MIT */
#include "common/proxy_header.h"

#include "tests/unit/rows.h"

#include <stdlib.h>

#include "common/mem.h"

/* haproxy.org/download/2.8/doc/proxy-protocol.txt, edition of 2020. */

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4        "\xc0\x00\x02\x01\x0a\x00\x00\x05\xd4\x31\x01\xbb" /* 192.0.2.1:54321 → 10.0.0.5:443 */
#define V4_TEXT   "192.0.2.1:54321 10.0.0.5:443"
#define V6                                       \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x50\x1f\x90"
#define ZEROES_100                                                                                         \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

#define BYTES(literal) (literal), sizeof(literal) - 1
#define REST           "GET / HTTP/1.1\r\n" /* behind every header: belongs to the connection */

struct header_case {
    const char *name, *bytes;
    size_t len;
    const char *expected; /* "source destination[ tls]", "own", "more", or a part of the reason */
};

/* clang-format off */
static const struct header_case cases[] = {
    /* 2.1: version 1 */
    { "tcp4", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 54321 443\r\n"), V4_TEXT },
    { "tcp4, longest", BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
      "255.255.255.255:65535 255.255.255.255:65535" },
    { "tcp6", BYTES("PROXY TCP6 2001:db8::1 ::1 80 0\r\n"), "[2001:db8::1]:80 [::1]:0" },
    { "tcp6, upper case", BYTES("PROXY TCP6 2001:DB8::A ::1 80 80\r\n"), "[2001:db8::a]:80 [::1]:80" },
    { "tcp6, longest", BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
    { "unknown, short", BYTES("PROXY UNKNOWN\r\n"), "own" },
    { "unknown, whatever follows", BYTES("PROXY UNKNOWN anything at all\r\n"), "own" },
    { "unknown, longest", BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), "own" },
    { "unknown and more in one word", BYTES("PROXY UNKNOWNS\r\n"), "six words" },
    { "no line end in 107 bytes", BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n"), "too long" },
    { "tcp4 without a port", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 54321\r\n"), "six words" },
    { "tcp4 with a word more", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 54321 443 1\r\n"), "six words" },
    { "two blanks", BYTES("PROXY TCP4  192.0.2.1 10.0.0.5 54321 443\r\n"), "six words" },
    { "blank at the end", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 54321 443 \r\n"), "six words" },
    { "tab", BYTES("PROXY TCP4\t192.0.2.1 10.0.0.5 54321 443\r\n"), "six words" },
    { "port with a zero in front", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 054 443\r\n"), "malformed" },
    { "port too large", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 65536 443\r\n"), "malformed" },
    { "port of six digits", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 100000 443\r\n"), "malformed" },
    { "port with a sign", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 +1 443\r\n"), "malformed" },
    { "octet with a zero in front", BYTES("PROXY TCP4 192.0.02.1 10.0.0.5 1 443\r\n"), "malformed" },
    { "octet too large", BYTES("PROXY TCP4 192.0.256.1 10.0.0.5 1 443\r\n"), "malformed" },
    { "three octets", BYTES("PROXY TCP4 192.0.2 10.0.0.5 1 443\r\n"), "malformed" },
    { "tcp4 with an ipv6 address", BYTES("PROXY TCP4 ::1 10.0.0.5 1 443\r\n"), "malformed" },
    { "tcp6 with an ipv4 address", BYTES("PROXY TCP6 192.0.2.1 ::1 1 443\r\n"), "malformed" },
    { "tcp6 with two double colons", BYTES("PROXY TCP6 1::2::3 ::1 1 443\r\n"), "malformed" },
    { "address with NUL", BYTES("PROXY TCP4 192.0.2.1\0 10.0.0.5 1 443\r\n"), "malformed" },
    { "family in small letters", BYTES("PROXY tcp4 192.0.2.1 10.0.0.5 1 443\r\n"), "another protocol" },
    { "udp4", BYTES("PROXY UDP4 192.0.2.1 10.0.0.5 1 443\r\n"), "another protocol" },
    { "name in small letters", BYTES("proxy TCP4 192.0.2.1 10.0.0.5 1 443\r\n"), "no PROXY header" },
    { "blank in front", BYTES(" PROXY TCP4 192.0.2.1 10.0.0.5 1 443\r\n"), "no PROXY header" },
    { "bare LF", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 1 443\n"), "bare LF" },
    { "bare CR", BYTES("PROXY TCP4 192.0.2.1\r10.0.0.5 1 443\r\n"), "bare CR" },
    { "two CR", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 1 443\r\r\n"), "bare CR" },
    { "http at once", BYTES("GET / HTTP/1.1\r\n"), "no PROXY header" },
    { "tls at once", BYTES("\x16\x03\x01"), "no PROXY header" },
    { "http method that begins alike", BYTES("PROPFIND / HTTP/1.1\r\n"), "no PROXY header" },
    { "nothing", BYTES(""), "more" },
    { "half a name", BYTES("PRO"), "more" },
    { "no line end yet", BYTES("PROXY TCP4 192.0.2.1 10.0.0.5 1 443\r"), "more" },

    /* 2.2: version 2 */
    { "v2 tcp4", BYTES(SIGNATURE "\x21\x11\x00\x0c" V4), V4_TEXT },
    { "v2 tcp6", BYTES(SIGNATURE "\x21\x21\x00\x24" V6), "[2001:db8::1]:80 [2001:db8::2]:8080" },
    { "v2 unix", BYTES(SIGNATURE "\x21\x31\x00\xd8" ZEROES_100 "\0\0\0\0\0\0\0\0" ZEROES_100 "\0\0\0\0\0\0\0\0"),
      "local local" },
    { "v2 local", BYTES(SIGNATURE "\x20\x00\x00\x00"), "own" },
    { "v2 local with a family and addresses", BYTES(SIGNATURE "\x20\x11\x00\x0c" V4), "own" },
    { "v2 local, its block is passed over", BYTES(SIGNATURE "\x20\xff\x00\x02zz"), "own" },
    { "v2 unspec", BYTES(SIGNATURE "\x21\x00\x00\x00"), "own" },
    { "v2 unspec with a block", BYTES(SIGNATURE "\x21\x00\x00\x03zzz"), "own" },
    { "v2 version 1", BYTES(SIGNATURE "\x11\x11\x00\x0c" V4), "version or command" },
    { "v2 version 3", BYTES(SIGNATURE "\x31\x11\x00\x0c" V4), "version or command" },
    { "v2 other command", BYTES(SIGNATURE "\x22\x11\x00\x0c" V4), "version or command" },
    { "v2 udp", BYTES(SIGNATURE "\x21\x12\x00\x0c" V4), "another family" },
    { "v2 datagram of unix", BYTES(SIGNATURE "\x21\x32\x00\x0c" V4), "another family" },
    { "v2 unspecified transport", BYTES(SIGNATURE "\x21\x10\x00\x0c" V4), "another family" },
    { "v2 transport without a family", BYTES(SIGNATURE "\x21\x01\x00\x0c" V4), "another family" },
    { "v2 fourth family", BYTES(SIGNATURE "\x21\x41\x00\x0c" V4), "another family" },
    { "v2 addresses cut off", BYTES(SIGNATURE "\x21\x11\x00\x0b" V4), "too short" },
    { "v2 tcp6 with the length of tcp4", BYTES(SIGNATURE "\x21\x21\x00\x0c" V4), "too short" },
    { "v2 unix cut off", BYTES(SIGNATURE "\x21\x31\x00\x64" ZEROES_100), "too short" },
    { "v2 too long", BYTES(SIGNATURE "\x21\x11\x0f\xf1" V4), "too long" },
    { "v2 of 65535", BYTES(SIGNATURE "\x21\x11\xff\xff" V4), "too long" },
    { "v2 signature only", BYTES(SIGNATURE), "more" },
    { "v2 half a signature", BYTES("\r\n\r\n\0\r"), "more" },
    { "v2 without all its addresses yet", BYTES(SIGNATURE "\x21\x11\x00\x0c\xc0\x00"), "more" },
    { "v2 other signature", BYTES("\r\n\r\n\0\r\nQUIZ\n\x21\x11\x00\x0c" V4), "no PROXY header" },
    { "empty lines", BYTES("\r\n\r\n\r\n"), "no PROXY header" },

    /* 2.2: records */
    { "v2 record", BYTES(SIGNATURE "\x21\x11\x00\x11" V4 "\x01\x00\x02h2"), V4_TEXT },
    { "v2 empty record", BYTES(SIGNATURE "\x21\x11\x00\x0f" V4 "\x04\x00\x00"), V4_TEXT },
    { "v2 unknown record", BYTES(SIGNATURE "\x21\x11\x00\x10" V4 "\xee\x00\x01x"), V4_TEXT },
    { "v2 record of two bytes", BYTES(SIGNATURE "\x21\x11\x00\x0e" V4 "\x04\x00"), "cut off" },
    { "v2 record longer than the header", BYTES(SIGNATURE "\x21\x11\x00\x10" V4 "\x01\x00\x02h"), "cut off" },
    { "v2 checksum", BYTES(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\xb6\xa4\x31\xad"), V4_TEXT },
    { "v2 checksum is wrong", BYTES(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\xb6\xa4\x31\xac"), "wrong checksum" },
    { "v2 checksum of three bytes", BYTES(SIGNATURE "\x21\x11\x00\x12" V4 "\x03\x00\x03zzz"), "malformed checksum" },
    { "v2 tls", BYTES(SIGNATURE "\x21\x11\x00\x14" V4 "\x20\x00\x05\x01\0\0\0\0"), V4_TEXT " tls" },
    { "v2 tls with its version", BYTES(SIGNATURE "\x21\x11\x00\x1e" V4 "\x20\x00\x0f\x01\0\0\0\0\x21\x00\x07TLSv1.3"),
      V4_TEXT " tls" },
    { "v2 plain client", BYTES(SIGNATURE "\x21\x11\x00\x14" V4 "\x20\x00\x05\x00\0\0\0\0"), V4_TEXT },
    { "v2 tls cut off", BYTES(SIGNATURE "\x21\x11\x00\x13" V4 "\x20\x00\x04\x01\0\0\0"), "malformed TLS" },
    { "v2 tls with a part that is cut off", BYTES(SIGNATURE "\x21\x11\x00\x17" V4 "\x20\x00\x08\x01\0\0\0\0\x21\x00\x07"),
      "malformed TLS" },
    { "v2 id too long", BYTES(SIGNATURE "\x21\x11\x00\x90" V4 "\x05\x00\x81" ZEROES_100 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\0\0\0\0\0\0\0\0\0\0\0\0\0"), "too long" },
};
/* clang-format on */

/* What the parser says, in the words of the table; from memory of exactly that size. */
static void describe(const char *bytes, size_t len, char *text, size_t size, size_t *ret_header)
{
    struct proxy_header h;
    const char *reason = "";
    char *copy = xmalloc(len ? len : 1), source[WIRE_ADDRESS_TEXT_MAX], destination[WIRE_ADDRESS_TEXT_MAX];
    memcpy(copy, bytes, len);
    enum proxy_header_result r = proxy_header_parse(copy, len, &h, &reason);
    free(copy);
    *ret_header = h.size;
    if (r == PROXY_HEADER_MORE)
        snprintf(text, size, "more");
    else if (r == PROXY_HEADER_REFUSED)
        snprintf(text, size, "%s", reason);
    else if (h.is_own)
        snprintf(text, size, "own");
    else
        snprintf(text, size, "%s %s%s", wire_address_text(&h.source, source),
            wire_address_text(&h.destination, destination), h.tls ? " tls" : "");
}

static bool is_refusal(const char *text)
{
    return strstr(text, "PROXY ") != NULL;
}

static void every_header_is_what_it_says(void **state)
{
    char text[300];
    size_t header;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct header_case *c = &cases[i];
        describe(c->bytes, c->len, text, sizeof(text), &header);
        if (is_refusal(text))
            row_has(c->name, text, c->expected);
        else
            row_str(c->name, text, c->expected);
    }
}

/* Whatever of it has come, a header is not taken for another one; and what follows it stays. */
static void headers_may_come_byte_by_byte_and_end_where_they_end(void **state)
{
    char text[300], longer[1024];
    size_t header;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct header_case *c = &cases[i];
        bool refused = false;
        for (size_t len = 0; len < c->len; len++) {
            describe(c->bytes, len, text, sizeof(text), &header);
            refused |= is_refusal(text);
            if (!refused)
                row_str(c->name, text, "more");
        }
        describe(c->bytes, c->len, text, sizeof(text), &header);
        if (is_refusal(text) || strcmp(text, "more") == 0)
            continue;
        row_int(c->name, header, c->len);
        memcpy(longer, c->bytes, c->len);
        memcpy(longer + c->len, REST, sizeof(REST) - 1);
        describe(longer, c->len + sizeof(REST) - 1, text, sizeof(text), &header);
        row_str(c->name, text, c->expected);
        row_int(c->name, header, c->len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_header_is_what_it_says),
        cmocka_unit_test(headers_may_come_byte_by_byte_and_end_where_they_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
