/* SPDX-License-Identifier: MIT */
#include "common/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

static enum proxy_header_result refuse(const char **reason, const char *text)
{
    *reason = text;
    return PROXY_HEADER_REFUSED;
}

/* --- version 1: one line --------------------------------------------------------------------------------- */

#define V1_WORDS_MAX 6

struct word {
    const char *ptr;
    size_t len;
};

static bool word_is(struct word w, const char *text)
{
    return w.len == strlen(text) && memcmp(w.ptr, text, w.len) == 0;
}

/* Words between single blanks; 0 if there is an empty one or one too many. */
static int split(const char *line, size_t len, struct word *words)
{
    const char *p = line, *end = line + len;
    for (int n = 0; n < V1_WORDS_MAX; n++) {
        const char *blank = memchr(p, ' ', (size_t)(end - p));
        words[n] = (struct word){ p, (size_t)((blank ? blank : end) - p) };
        if (words[n].len == 0)
            return 0;
        if (!blank)
            return n + 1;
        p = blank + 1;
    }
    return 0;
}

static bool read_port(struct word w, in_port_t *ret)
{
    unsigned port = 0;
    if (w.len > 5 || (w.len > 1 && w.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < w.len; i++) {
        if (w.ptr[i] < '0' || w.ptr[i] > '9')
            return false;
        port = port * 10 + (unsigned)(w.ptr[i] - '0');
    }
    *ret = htons((uint16_t)port);
    return port <= UINT16_MAX;
}

static bool read_ip(int family, struct word address, struct word port, struct wire_address *ret)
{
    char text[INET6_ADDRSTRLEN];
    struct sockaddr_in *in = (struct sockaddr_in *)&ret->sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->sa;
    if (address.len >= sizeof(text) || memchr(address.ptr, '\0', address.len))
        return false;
    memcpy(text, address.ptr, address.len);
    text[address.len] = '\0';
    *ret = (struct wire_address){ .len = family == AF_INET ? sizeof(*in) : sizeof(*in6) };
    ret->sa.ss_family = (sa_family_t)family;
    if (family == AF_INET)
        return inet_pton(AF_INET, text, &in->sin_addr) == 1 && read_port(port, &in->sin_port);
    return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1 && read_port(port, &in6->sin6_port);
}

static enum proxy_header_result read_line(
    const char *line, size_t len, struct proxy_header *ret, const char **reason)
{
    static const char unknown[] = "PROXY UNKNOWN";
    struct word words[V1_WORDS_MAX];
    /* What stands behind UNKNOWN is to be ignored. */
    if (len >= sizeof(unknown) - 1 && memcmp(line, unknown, sizeof(unknown) - 1) == 0 &&
        (len == sizeof(unknown) - 1 || line[sizeof(unknown) - 1] == ' ')) {
        ret->is_own = true;
        return PROXY_HEADER_DONE;
    }
    if (split(line, len, words) != V1_WORDS_MAX)
        return refuse(reason, "PROXY line without its six words");
    int family = word_is(words[1], "TCP4") ? AF_INET : word_is(words[1], "TCP6") ? AF_INET6 : AF_UNSPEC;
    if (family == AF_UNSPEC)
        return refuse(reason, "PROXY line of another protocol than TCP4 and TCP6");
    if (!read_ip(family, words[2], words[4], &ret->source) ||
        !read_ip(family, words[3], words[5], &ret->destination))
        return refuse(reason, "PROXY line with a malformed address or port");
    return PROXY_HEADER_DONE;
}

static enum proxy_header_result read_v1(
    const char *data, size_t len, struct proxy_header *ret, const char **reason)
{
    size_t max = len < PROXY_HEADER_V1_MAX ? len : PROXY_HEADER_V1_MAX;
    const char *lf = memchr(data, '\n', max), *cr = memchr(data, '\r', max);
    if (cr && cr + 1 < data + max && cr + 1 != lf)
        return refuse(reason, "PROXY line with a bare CR");
    if (lf && (!cr || cr + 1 != lf))
        return refuse(reason, "PROXY line with a bare LF");
    if (!lf)
        return len < PROXY_HEADER_V1_MAX ? PROXY_HEADER_MORE : refuse(reason, "PROXY line too long");
    ret->size = (size_t)(lf + 1 - data);
    return read_line(data, (size_t)(cr - data), ret, reason);
}

/* --- version 2: binary ----------------------------------------------------------------------------------- */

#define V2_FIXED    16
#define V2_UNIX_LEN 108

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX_STREAM = 0x31 };
enum { TLV_CRC32C = 0x03, TLV_UNIQUE_ID = 0x05, TLV_SSL = 0x20 };

#define TLV_UNIQUE_ID_MAX 128
#define TLV_SSL_FIXED     5 /* which of TLS and certificates there are, and whether they were verified */
#define TLV_SSL_CLIENT    0x01

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static unsigned read_u16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* CRC-32C, reflected, four bits at a time, with the bytes [skip, skip + 4) as zeroes. */
static uint32_t crc32c(const uint8_t *data, size_t len, size_t skip)
{
    uint32_t table[16], crc = UINT32_MAX;
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int bit = 0; bit < 4; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = i >= skip && i < skip + 4 ? 0 : data[i];
        crc = crc >> 4 ^ table[(crc ^ byte) & 15];
        crc = crc >> 4 ^ table[(crc ^ byte >> 4) & 15];
    }
    return ~crc;
}

/* The record at *at of data[0…end): false if there is none that fits. */
static bool next_record(const uint8_t *data, size_t end, size_t *at, uint8_t *ret_type,
    const uint8_t **ret_value, size_t *ret_len)
{
    if (end - *at < 3)
        return false;
    *ret_type = data[*at];
    *ret_len = read_u16(data + *at + 1);
    *ret_value = data + *at + 3;
    if (end - *at - 3 < *ret_len)
        return false;
    *at += 3 + *ret_len;
    return true;
}

static bool records_fit(const uint8_t *data, size_t len)
{
    uint8_t type;
    const uint8_t *value;
    size_t at = 0, n;
    while (at < len) {
        if (!next_record(data, len, &at, &type, &value, &n))
            return false;
    }
    return true;
}

static enum proxy_header_result read_records(
    const uint8_t *data, size_t at, size_t size, struct proxy_header *ret, const char **reason)
{
    bool summed = false;
    while (at < size) {
        uint8_t type;
        const uint8_t *value;
        size_t len;
        if (!next_record(data, size, &at, &type, &value, &len))
            return refuse(reason, "PROXY header with a record that is cut off");
        if (type == TLV_CRC32C) {
            if (len != 4 || summed)
                return refuse(reason, "PROXY header with a malformed checksum");
            uint32_t given = (uint32_t)read_u16(value) << 16 | read_u16(value + 2);
            if (crc32c(data, size, (size_t)(value - data)) != given)
                return refuse(reason, "PROXY header with a wrong checksum");
            summed = true;
        } else if (type == TLV_SSL) {
            if (len < TLV_SSL_FIXED || !records_fit(value + TLV_SSL_FIXED, len - TLV_SSL_FIXED))
                return refuse(reason, "PROXY header with a malformed TLS record");
            ret->tls = value[0] & TLV_SSL_CLIENT;
        } else if (type == TLV_UNIQUE_ID && len > TLV_UNIQUE_ID_MAX) {
            return refuse(reason, "PROXY header with an id that is too long");
        }
    }
    return PROXY_HEADER_DONE;
}

static void set_ip4(struct wire_address *ret, const uint8_t *address, const uint8_t *port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&ret->sa;
    *ret = (struct wire_address){ .len = sizeof(*in) };
    in->sin_family = AF_INET;
    memcpy(&in->sin_addr, address, 4);
    memcpy(&in->sin_port, port, 2);
}

static void set_ip6(struct wire_address *ret, const uint8_t *address, const uint8_t *port)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->sa;
    *ret = (struct wire_address){ .len = sizeof(*in6) };
    in6->sin6_family = AF_INET6;
    memcpy(&in6->sin6_addr, address, 16);
    memcpy(&in6->sin6_port, port, 2);
}

static void set_unix(struct wire_address *ret, const uint8_t *path)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ret->sa;
    _Static_assert(sizeof(un->sun_path) == V2_UNIX_LEN, "the header holds a whole sun_path");
    *ret = (struct wire_address){ .len = sizeof(*un) };
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, V2_UNIX_LEN);
}

/* Source and destination behind the fixed part. Positive: how many bytes they took. */
static int read_addresses(const uint8_t *p, size_t len, uint8_t family, struct proxy_header *ret)
{
    if (family == V2_TCP4 && len >= 12) {
        set_ip4(&ret->source, p, p + 8);
        set_ip4(&ret->destination, p + 4, p + 10);
        return 12;
    }
    if (family == V2_TCP6 && len >= 36) {
        set_ip6(&ret->source, p, p + 32);
        set_ip6(&ret->destination, p + 16, p + 34);
        return 36;
    }
    if (family == V2_UNIX_STREAM && len >= 2 * V2_UNIX_LEN) {
        set_unix(&ret->source, p);
        set_unix(&ret->destination, p + V2_UNIX_LEN);
        return 2 * V2_UNIX_LEN;
    }
    return -1;
}

static enum proxy_header_result read_v2(
    const uint8_t *data, size_t len, struct proxy_header *ret, const char **reason)
{
    if (len >= 13 && data[12] != V2_LOCAL && data[12] != V2_PROXY)
        return refuse(reason, "PROXY header with an unknown version or command");
    if (len < V2_FIXED)
        return PROXY_HEADER_MORE;
    uint8_t command = data[12], family = data[13];
    size_t size = V2_FIXED + read_u16(data + 14);
    if (size > PROXY_HEADER_MAX)
        return refuse(reason, "PROXY header too long");
    if (command == V2_PROXY && family != V2_UNSPEC && family != V2_TCP4 && family != V2_TCP6 &&
        family != V2_UNIX_STREAM)
        return refuse(reason, "PROXY header of another family than TCP and unix streams");
    if (len < size)
        return PROXY_HEADER_MORE;
    ret->size = size;
    if (command == V2_LOCAL || family == V2_UNSPEC) {
        ret->is_own = true;
        return PROXY_HEADER_DONE;
    }
    int used = read_addresses(data + V2_FIXED, size - V2_FIXED, family, ret);
    if (used < 0)
        return refuse(reason, "PROXY header too short for its addresses");
    return read_records(data, V2_FIXED + (size_t)used, size, ret, reason);
}

/* --- either ---------------------------------------------------------------------------------------------- */

static bool begins(const char *data, size_t len, const char *with, size_t n)
{
    return memcmp(data, with, len < n ? len : n) == 0;
}

enum proxy_header_result proxy_header_parse(
    const void *data, size_t len, struct proxy_header *ret, const char **reason)
{
    static const char v1_signature[] = "PROXY ";
    *ret = (struct proxy_header){ .is_own = false };
    if (len == 0)
        return PROXY_HEADER_MORE;
    if (begins(data, len, v1_signature, sizeof(v1_signature) - 1))
        return read_v1(data, len, ret, reason);
    if (begins(data, len, v2_signature, sizeof(v2_signature)))
        return read_v2(data, len, ret, reason);
    return refuse(reason, "no PROXY header where one is expected");
}
