/* SPDX-License-Identifier: MIT */
#pragma once

/* What changes in heads on their way through: fields of this hop go, Host and framing are written anew, X-Forwarded-*
 * Forwarded, X-Real-IP and Via say who asked. Heads are always written from parsed parts. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

#define HEADERS_PSEUDONYM   "stagecoach"
#define HEADERS_ADDRESS_MAX 48

/* Who asks, as the connection knows. */
struct forward {
    char peer
        [HEADERS_ADDRESS_MAX]; /* address without port: "10.0.0.5", "2001:db8::1"; "unknown" for unix sockets */
    bool is_ipv6;
    bool trusted; /* the peer's own forwarding fields are kept and added to */
    bool tls;
};

/* The request as an endpoint gets it: HTTP/1.1, keep-alive. fallback_host stands in where HTTP/1.0 gave none. */
void headers_request(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    const char *fallback_host);

enum answer_framing {
    ANSWER_AS_IT_IS, /* no body, or the length that the head announces */
    ANSWER_CHUNKED,
    ANSWER_UNTIL_CLOSE,
};

struct answer_style {
    enum answer_framing framing;
    bool close;          /* "Connection: close" */
    bool say_keep_alive; /* HTTP/1.0 clients have to be told */
    bool upgrade;        /* 101: Connection and Upgrade pass */
    const char *cookie;  /* a Set-Cookie value of our own, or NULL */
};

/* The answer's head as the client gets it. */
void headers_answer(struct http1_out *out, const struct http1_head *head, const struct answer_style *style);

/* Trailer fields and the empty line. */
void headers_trailers(struct http1_out *out, const struct http1_head *trailers);

/* An answer of the router's own, body included ("404 no such host\n"); head_only for HEAD. */
void headers_own_answer(
    struct http1_out *out, int status, const char *text, int retry_after_s, bool close, bool head_only);

/* "10.0.0.0/8", "2001:db8::/32", "unix" */
struct network {
    uint8_t bytes[16];
    uint8_t prefix; /* bits */
    uint8_t len;    /* 4, 16; 0: unix */
};
bool network_parse(const char *text, struct network *ret);
bool network_contains(const struct network *network, const uint8_t *address, size_t len);
