/* SPDX-License-Identifier: MIT */
#pragma once

/* What changes in heads on their way through: fields of this hop go, Host and framing are written anew, X-Forwarded-*
 * Forwarded, X-Real-IP and Via say who asked. Heads are always written from parsed parts. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"

struct match_rules;

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

/* What the exchange knows of an answer beside its head; the same for every version of HTTP. */
struct answer_extra {
    const struct match_rules *rules; /* of the route, NULL: none */
    const char *cookie;              /* a Set-Cookie value of our own, or NULL */
    bool upgrade;                    /* 101: a tunnel follows, Connection and Upgrade pass */
    bool tls;                        /* of the client's connection */
};

struct answer_style {
    enum answer_framing framing;
    bool close;          /* "Connection: close" */
    bool say_keep_alive; /* HTTP/1.0 clients have to be told */
    struct answer_extra extra;
};

/* The answer's head as the client gets it. */
void headers_answer(struct http1_out *out, const struct http1_head *head, const struct answer_style *style);
/* The same fields one by one, framing and connection aside, for versions that do not write text. Returns how many of at
 * most `max` there are; negative: more. What they point to lives as long as head and extra. */
int headers_answer_fields(
    const struct http1_head *head, const struct answer_extra *extra, struct http1_field *ret, int max);

/* Trailer fields and the empty line. */
void headers_trailers(struct http1_out *out, const struct http1_head *trailers);

/* "10.0.0.0/8", "2001:db8::/32", "unix" */
struct network {
    uint8_t bytes[16];
    uint8_t prefix; /* bits */
    uint8_t len;    /* 4, 16; 0: unix */
};
bool network_parse(const char *text, struct network *ret);
bool network_contains(const struct network *network, const uint8_t *address, size_t len);
