/* SPDX-License-Identifier: MIT */
#include "routerd/front.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "routerd/routerd.h"
#include "routerd/worker.h"

void front_describe(struct worker *worker, const struct wire_address *peer, struct forward *ret)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer->sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer->sa;
    const uint8_t *bytes = NULL;
    size_t len = 0;
    if (peer->sa.ss_family == AF_INET) {
        bytes = (const uint8_t *)&in->sin_addr;
        len = 4;
    } else if (peer->sa.ss_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        bytes = in6->sin6_addr.s6_addr + (mapped ? 12 : 0);
        len = mapped ? 4 : 16;
    }
    if (bytes)
        inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, ret->peer, sizeof(ret->peer));
    else
        memcpy(ret->peer, "unknown", sizeof("unknown"));
    ret->is_ipv6 = len == 16;
    ret->trusted = routerd_trusts(worker->routerd, bytes, len);
}

void front_new(struct worker *worker, int fd, const struct wire_address *peer, unsigned flags)
{
    (void)worker;
    (void)peer;
    (void)flags;
    close(fd);
}
