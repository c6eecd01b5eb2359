/* SPDX-License-Identifier: MIT */
#include "common/network.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool parse_address(const char *text, size_t n, uint8_t bytes[16], uint8_t *len)
{
    char address[INET6_ADDRSTRLEN + 1];

    if (n >= sizeof(address))
        return false;
    memcpy(address, text, n);
    address[n] = '\0';
    *len = strchr(address, ':') ? 16 : 4;
    return inet_pton(*len == 16 ? AF_INET6 : AF_INET, address, bytes) == 1;
}

bool network_parse(const char *text, struct network *ret)
{
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);

    *ret = (struct network){ .len = 0 };
    if (strcmp(text, "unix") == 0)
        return true;
    if (!parse_address(text, n, ret->bytes, &ret->len))
        return false;
    ret->prefix = (uint8_t)(ret->len * 8);
    if (slash) {
        char *end;
        unsigned long bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end || bits > ret->prefix)
            return false;
        ret->prefix = (uint8_t)bits;
    }
    return true;
}

bool network_is(const char *text)
{
    struct network network;

    return network_parse(text, &network);
}

bool network_contains(const struct network *network, const uint8_t *address, size_t len)
{
    if (network->len != len)
        return false;
    size_t whole = network->prefix / 8;
    unsigned rest = network->prefix % 8;
    if (whole > 0 && memcmp(network->bytes, address, whole) != 0)
        return false;
    return rest == 0 || ((network->bytes[whole] ^ address[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

bool network_contains_text(const struct network *network, const char *address)
{
    uint8_t bytes[16], len = 0;

    if (strcmp(address, "unknown") != 0 && !parse_address(address, strlen(address), bytes, &len))
        return false;
    return network_contains(network, bytes, len);
}
