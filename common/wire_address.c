/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "common/mem.h"

static int parse_port(const char *text, const char *s, int *ret, struct error *err)
{
    int port = 0;
    size_t n = strspn(s, "0123456789");
    if (n == 0 || n > 5 || s[n] != '\0')
        return error_set(err, -EINVAL, "\"%s\": a port from 0 to 65535 must follow the last colon", text);
    for (size_t i = 0; i < n; i++)
        port = port * 10 + (s[i] - '0');
    if (port > 65535)
        return error_set(err, -EINVAL, "\"%s\": the port is above 65535", text);
    *ret = port;
    return 0;
}

int wire_host_split(const char *text, int default_port, char **ret_host, int *ret_port, struct error *err)
{
    const char *host = text, *host_end, *port_text = NULL;
    int port = default_port;

    if (text[0] == '[') {
        host = text + 1;
        host_end = strchr(host, ']');
        if (!host_end || (host_end[1] != '\0' && host_end[1] != ':'))
            return error_set(err, -EINVAL, "\"%s\": after \"[\" comes an IPv6 address and \"]\"", text);
        port_text = host_end[1] == ':' ? host_end + 2 : NULL;
    } else {
        const char *colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL; /* a bare IPv6 address */
        host_end = colon ? colon : text + strlen(text);
        port_text = colon ? colon + 1 : NULL;
    }
    if (host_end == host)
        return error_set(err, -EINVAL, "\"%s\": there is no host", text);
    if (port_text) {
        int r = parse_port(text, port_text, &port, err);
        if (r < 0)
            return r;
    } else if (default_port == 0) {
        return error_set(
            err, -EINVAL, "\"%s\": there is no port, as in 10.0.0.5:80 (a path begins with /)", text);
    }
    *ret_host = xstrndup(host, (size_t)(host_end - host));
    *ret_port = port;
    return 0;
}

static int parse_path(const char *text, const char *path, struct wire_address *ret, struct error *err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ret->sa;
    size_t len = strlen(path);

    if (path[0] != '/')
        return error_set(err, -EINVAL, "\"%s\": a path must begin with /", text);
    if (len >= sizeof(un->sun_path))
        return error_set(
            err, -ENAMETOOLONG, "\"%s\": at most %zu bytes are possible", text, sizeof(un->sun_path) - 1);
    memset(ret, 0, sizeof(*ret));
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len + 1);
    ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

int wire_address_parse(const char *text, int default_port, struct wire_address *ret, struct error *err)
{
    _cleanup_(free_ptr) char *host = NULL;
    struct wire_address a = { .len = 0 };
    struct sockaddr_in *in = (struct sockaddr_in *)&a.sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.sa;
    int port, r;

    if (strncmp(text, "unix:", 5) == 0)
        return parse_path(text, text + 5, ret, err);
    if (text[0] == '/')
        return parse_path(text, text, ret, err);
    r = wire_host_split(text, default_port, &host, &port, err);
    if (r < 0)
        return r;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        a.len = sizeof(*in);
    } else if (strcmp(host, "*") == 0 || inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6; /* "*": any address is all zeros, and takes IPv4 too */
        in6->sin6_port = htons((uint16_t)port);
        a.len = sizeof(*in6);
    } else {
        return error_set(err, -EDESTADDRREQ, "\"%s\" is a name, not an address such as 10.0.0.5:80", host);
    }
    *ret = a;
    return 0;
}

char *wire_address_text(const struct wire_address *address, char *buf)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (address->len >= sizeof(sa_family_t) && address->sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(buf, WIRE_ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->len >= sizeof(sa_family_t) && address->sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->sa;
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        if (is_v4)
            inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof(host));
        else
            inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(buf, WIRE_ADDRESS_TEXT_MAX, is_v4 ? "%s:%u" : "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(buf, WIRE_ADDRESS_TEXT_MAX, "local");
    }
    return buf;
}
